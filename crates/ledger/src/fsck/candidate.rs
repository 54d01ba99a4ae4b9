//! What a mirror has in place of what is damaged. It is examined like everything else and joined to
//! the log; that it may take the place is only said once a signed checkpoint covers it.
//!
//! Invariant: the mirror is not believed. Leaves are bound by the signed root, payloads and secrets
//! by the commitments in the leaves, the tables and chains by the leaves. Ledger times and the
//! writer's nonce, which no root covers, are bound by the object's own digest where it survives
//! here, or by the segment after it.

use bytes::Bytes;
use stele_store::{ObjectName, StoreError};

use super::examine::{Examined, examine_bytes, sources_of};
use super::report::Remedy;
use super::walk::{Hole, Previous, Verdict};
use super::{Content, Fsck};
use crate::format::{Digest, digest_of};
use crate::info::{self, LogInfo, checkpoint_hint};
use crate::objects::PACKS;

/// An object or hint of a mirror that was verified to be what belongs in the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The object; for a hint its name as hint.
    pub name: ObjectName,
    /// Whether it is a hint.
    pub hint: bool,
    /// Positions in the report of the problems that it ends.
    pub problems: Vec<usize>,
    /// Every byte is bound by hashes that are here. Otherwise the ledger times of its records are
    /// the mirror's word, within those of the records around it.
    pub exact: bool,
    /// SHA-256 of all of its bytes.
    pub(crate) digest: Digest,
    /// Size of the smallest tree that covers it.
    pub(crate) size: u64,
}

impl Fsck<'_> {
    /// The mirror's `ledger/log-info`, if it can stand for the damaged one.
    pub(super) fn log_info_of_mirror(&mut self, problem: usize) -> Option<(LogInfo, Digest)> {
        let name = info::name();
        let bytes = self.ask_mirror(&name, problem)?;
        match LogInfo::check(&bytes, &self.walk.verifier) {
            Ok(info) => {
                let digest = digest_of(&[&bytes]);
                self.offer(name, vec![problem], digest, 0, true);
                Some((info, digest))
            }
            Err(what) => {
                self.refuse(problem, format!("the mirror's object is damaged too: {what}"));
                None
            }
        }
    }

    /// Joins the mirror's object in place of a damaged one, about which the problems from `first`
    /// on tell. Says whether it did.
    pub(super) fn replace(&mut self, damaged: &Examined, first: usize, packed: bool) -> bool {
        let problems: Vec<usize> = (first..self.walk.report.problems.len()).collect();
        let Some((candidate, digest)) = self.candidate(&damaged.name, &problems) else {
            return false;
        };
        let Ok(content) = &candidate.content else { return false };
        let exact = match &damaged.content {
            Ok(own) if own.digest != content.digest => {
                self.refuse_all(&problems, "the mirror's object has another header");
                return false;
            }
            Ok(_) => true,
            Err(unreadable) => unreadable.remains.are_of(&content.digest),
        };
        if packed {
            // Nothing is joined. The header binds every byte, if it is the one that was here.
            if exact {
                self.offer(damaged.name.clone(), problems, digest, content.head.end(), true);
            } else {
                self.refuse_all(&problems, "its records are in a pack; nothing else needs it");
            }
            return false;
        }
        self.join(&candidate, content, digest, problems, exact);
        true
    }

    /// Tells of one missing object and joins the mirror's. Says whether it did.
    pub(super) fn fill_one(&mut self, hole: Hole) -> bool {
        let problem = self.walk.problem_at(&hole.object, hole.records, hole.what);
        // Which kind of object is missing is a guess; the mirror knows.
        let mut names = vec![hole.object];
        let first = self.walk.next_index;
        names.push(crate::objects::pack_name(first));
        names.extend(self.walk.next_segment.map(crate::objects::segment_name));
        let mirror = self.options.mirror;
        names.retain(|name| mirror.is_some_and(|mirror| mirror.size(name).is_ok()));
        let found = names.first().and_then(|name| self.candidate(name, &[problem]));
        if let Some((candidate, digest)) = found
            && let Ok(content) = &candidate.content
        {
            let told = &mut self.walk.report.problems[problem];
            told.object = candidate.name.to_string();
            "it is missing".clone_into(&mut told.what);
            if let Some(records) = &mut told.records {
                records.last = content.head.end().checked_sub(1);
            }
            return self.join(&candidate, content, digest, vec![problem], false);
        }
        if self.options.mirror.is_some() && self.walk.report.problems[problem].remedy.is_none() {
            self.refuse(problem, "the mirror does not have it".to_owned());
        }
        self.walk.lose(problem);
        false
    }

    /// The mirror's object of this name, if it is sound by itself.
    fn candidate(&mut self, name: &ObjectName, problems: &[usize]) -> Option<(Examined, Digest)> {
        let bytes = self.ask_mirror(name, *problems.first()?)?;
        let candidate = examine_bytes(name, &bytes);
        let fault = match &candidate.content {
            Err(unreadable) => Some(unreadable.what.clone()),
            Ok(content) => content.faults.first().map(|(fault, _)| fault.what.clone()),
        };
        match fault {
            None => Some((candidate, digest_of(&[&bytes]))),
            Some(what) => {
                self.refuse_all(problems, &format!("the mirror's object is damaged too: {what}"));
                None
            }
        }
    }

    fn ask_mirror(&mut self, name: &ObjectName, problem: usize) -> Option<Bytes> {
        match self.options.mirror?.read(name) {
            Ok(bytes) => Some(bytes),
            Err(StoreError::NotFound { .. }) => {
                self.refuse(problem, "the mirror does not have it".to_owned());
                None
            }
            Err(error) => {
                self.refuse(problem, format!("the mirror cannot be read: {error}"));
                None
            }
        }
    }

    fn join(
        &mut self,
        candidate: &Examined,
        content: &Content,
        digest: Digest,
        problems: Vec<usize>,
        exact: bool,
    ) -> bool {
        let name = &candidate.name;
        let told = self.walk.report.problems.len();
        if name.number_in(PACKS).is_some() {
            self.walk.pack(name, content);
        } else {
            self.walk.segment(name, content);
            self.walk.previous = Previous::Replacement(content.digest);
        }
        self.settle();
        for problem in &problems {
            let told = &mut self.walk.report.problems[*problem];
            if let Some(records) = &mut told.records {
                records.last.get_or_insert(content.head.end() - 1);
            }
            if told.sources.is_empty() {
                // What packs hold of it is not lost.
                let first = told.records.map_or(0, |r| r.first).max(content.head.first);
                told.sources = sources_of(&content.head, &(first..content.head.end()));
            }
        }
        if self.walk.report.problems.len() > told {
            let what = self.walk.report.problems[told].what.clone();
            self.walk.report.problems.truncate(told);
            self.refuse_all(&problems, &format!("the mirror's object does not fit: {what}"));
            self.walk.lose(problems[0]);
            return false;
        }
        self.walk.unconfirmed |= !exact;
        self.offer(name.clone(), problems, digest, content.head.end(), exact);
        true
    }

    /// Takes in what the object that was just joined says of the replacement before it.
    pub(super) fn settle(&mut self) {
        match self.walk.verdict.take() {
            None => {}
            Some(Verdict::Exact) => {
                if let Some(last) = self.replacements.last_mut() {
                    last.exact = true;
                }
            }
            Some(Verdict::Refused) => {
                let Some(last) = self.replacements.pop() else { return };
                self.refuse_all(&last.problems, "the object after it does not follow the mirror's");
            }
        }
    }

    fn offer(
        &mut self,
        name: ObjectName,
        problems: Vec<usize>,
        digest: Digest,
        size: u64,
        exact: bool,
    ) {
        self.replacements.push(Replacement { name, hint: false, problems, exact, digest, size });
    }

    fn refuse(&mut self, problem: usize, why: String) {
        self.walk.report.problems[problem].remedy = Some(Remedy::None(why));
    }

    pub(super) fn refuse_all(&mut self, problems: &[usize], why: &str) {
        problems.iter().for_each(|problem| self.refuse(*problem, why.to_owned()));
    }

    /// The end: replacements that a checkpoint covers whose root they give are good. `hint` is the
    /// problem with the checkpoint beside the log, if there is one.
    pub(super) fn judge(&mut self, mirrored: Option<Bytes>, hint: Option<usize>) {
        let holds = mirrored.as_ref().map(|note| self.walk.checkpoint(note));
        if let Some(Err(what)) = &holds {
            // Signed by the log's key, and of another history than the one that is here.
            let object = format!("the mirror's hints/{}", checkpoint_hint());
            self.walk.problem(&object, what.clone());
        }
        if let (Some(problem), Some(note)) = (hint, mirrored) {
            if matches!(holds, Some(Ok(()))) && self.walk.tree.is_some() {
                let (name, digest) = (checkpoint_hint(), digest_of(&[&note]));
                let problems = vec![problem];
                let (exact, size) = (true, 0);
                let offer = Replacement { name, hint: true, problems, exact, digest, size };
                self.replacements.push(offer);
            } else {
                self.refuse(problem, "the mirror's checkpoint is not of these records".to_owned());
            }
        }
        let signed = self.walk.report.signed_records;
        let sound = self.walk.tree.is_some();
        let all = std::mem::take(&mut self.replacements);
        for replacement in all {
            let small = replacement.size == 0;
            if small || (sound && replacement.size <= signed) {
                for problem in &replacement.problems {
                    self.walk.report.problems[*problem].remedy = Some(Remedy::Available);
                }
                self.replacements.push(replacement);
            } else {
                let why = "no signed checkpoint shows that the mirror's object is the right one";
                self.refuse_all(&replacement.problems, why);
            }
        }
    }
}
