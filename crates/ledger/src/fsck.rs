//! `fsck`: everything that is stored is derived again from its bytes, with nothing believed.
//!
//! Two stages. Objects are read and checked by themselves on several cores (`examine`); then they
//! are joined in the order of the log (`walk`). Memory: one object and its decoded records for each
//! core and as many waiting, and 64 bytes for each 256 records of the log.
//!
//! Goes on after a problem, and tells only of causes: a record that is lost is one problem, not also
//! each hash above it. With a mirror at hand, what it has is examined in place of what is damaged,
//! and may take its place if a signed checkpoint covers it; nothing is written here (`repair`).

mod candidate;
mod examine;
mod journal;
mod report;
mod streams;
mod walk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use bytes::Bytes;
use stele_merkle::{Checkpoint, LogVerifier, Note};
use stele_store::{ObjectName, Store, StoreError};

pub use self::candidate::Replacement;
pub(crate) use self::examine::{Content, Examined, examine, examine_bytes};
pub use self::journal::FsckStateError;
use self::journal::Journal;
pub use self::report::{
    ByteRange, FsckReport, Problem, Progress, RecordRange, Remedy, SourceRange,
};

pub(crate) use self::streams::Place;
pub(crate) use self::walk::{Previous, Walk};
use crate::format::digest_of;
use crate::info::{self, LogInfo, checkpoint_hint};
use crate::objects::{PACKS, SEGMENTS};

/// How often a check is begun anew because another process was packing meanwhile.
const MOVED_TRIES: usize = 4;

/// How a check is made. The default checks everything, on all cores, with no mirror.
#[derive(Default, Clone)]
pub struct FsckOptions<'a> {
    /// Threads that read and check objects; 0 is one for each core.
    pub threads: usize,
    /// File in which the check notes after each pack how far it is. If the file is there already,
    /// the check goes on where that one ended. Its content is believed: keep it where only you can
    /// write. Removed when a check is through. Not for use with a mirror: what an earlier run found
    /// would not be looked for in it.
    pub state: Option<PathBuf>,
    /// A copy of the log, to be asked for what is damaged here. It is not believed.
    pub mirror: Option<&'a dyn Store>,
    /// Ends the check soon after it becomes true.
    pub stop: Option<&'a AtomicBool>,
}

/// What a check gives.
#[derive(Debug, Clone, Default)]
pub struct FsckOutcome {
    /// What was found.
    pub report: FsckReport,
    /// What a mirror has for what is damaged, verified against a signed checkpoint.
    pub replacements: Vec<Replacement>,
}

/// Checks a whole ledger; goes on after a problem.
///
/// `verifier` holds the log's public keys as the caller knows them, never as the store names them.
/// The ledger may be open elsewhere: what is appended meanwhile is not looked at.
pub fn fsck(
    store: &dyn Store,
    verifier: &LogVerifier,
    progress: &mut dyn FnMut(&Progress),
) -> FsckReport {
    let outcome = fsck_with(store, verifier, &FsckOptions::default(), progress);
    outcome.expect("invariant: only a state file can make a check fail").report
}

/// As [`fsck`], with options.
///
/// # Errors
/// [`FsckStateError`] if the state file cannot be used.
pub fn fsck_with(
    store: &dyn Store,
    verifier: &LogVerifier,
    options: &FsckOptions<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FsckOutcome, FsckStateError> {
    let mut tries = 0;
    loop {
        let mut fsck = Fsck::new(store, verifier, options, progress)?;
        let packs = fsck.run()?;
        tries += 1;
        // Objects that are gone although they were listed: were they packed meanwhile?
        let now = || store.list(&format!("{PACKS}/"), None).ok();
        if !fsck.moved || tries == MOVED_TRIES || now() == Some(packs) {
            return fsck.outcome();
        }
    }
}

pub(crate) struct Fsck<'a> {
    store: &'a dyn Store,
    options: &'a FsckOptions<'a>,
    progress: &'a mut dyn FnMut(&Progress),
    done: Progress,
    walk: Walk,
    journal: Option<Journal>,
    /// The checkpoint beside the log, read before anything else.
    hint: Result<Option<Bytes>, StoreError>,
    /// The mirror's.
    mirror_hint: Option<Bytes>,
    replacements: Vec<Replacement>,
    /// An object was listed but is gone.
    moved: bool,
}

/// What is to be read.
struct Plan {
    packs: Vec<ObjectName>,
    /// Those that are read now, packs before segments.
    names: Vec<ObjectName>,
}

impl<'a> Fsck<'a> {
    fn new(
        store: &'a dyn Store,
        verifier: &'a LogVerifier,
        options: &'a FsckOptions<'a>,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Result<Self, FsckStateError> {
        // In this order, so that what another process does meanwhile only adds to what was seen.
        let mirror_hint =
            options.mirror.and_then(|mirror| mirror.read_hint(&checkpoint_hint()).ok().flatten());
        let hint = store.read_hint(&checkpoint_hint());
        let watched = hint.as_ref().ok().and_then(|note| stated_size(note.as_ref()?));
        let mut walk = Walk::new(verifier.clone(), watched);
        let journal = match &options.state {
            None => None,
            Some(path) => Some(Journal::open(path, store, &mut walk)?),
        };
        Ok(Self {
            store,
            options,
            progress,
            done: Progress::default(),
            walk,
            journal,
            hint,
            mirror_hint,
            replacements: Vec::new(),
            moved: false,
        })
    }

    /// Checks everything; gives the packs that were there.
    fn run(&mut self) -> Result<Vec<ObjectName>, FsckStateError> {
        let plan = self.plan();
        self.log_info();
        let threads = match self.options.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let lanes = threads.min(plan.names.len()).max(1);
        let (store, names) = (self.store, &plan.names);
        thread::scope(|scope| {
            // Each lane takes every so many-th object, so that they come out in order, and waits
            // with the next one until the last one was taken.
            let lane = |lane: usize| {
                let (sender, examined) = sync_channel(1);
                scope.spawn(move || {
                    let mine = names.iter().skip(lane).step_by(lanes);
                    mine.map(|name| examine(store, name)).all(|object| sender.send(object).is_ok())
                });
                examined
            };
            let examined: Vec<_> = (0..lanes).map(lane).collect();
            for (at, lane) in (0..names.len()).zip(examined.iter().cycle()) {
                if self.is_stopped() {
                    return Ok(());
                }
                let Ok(object) = lane.recv() else { break };
                self.take(object)?;
                self.done.objects_done += 1;
                let more = names.len() - at > 1;
                self.tell(more);
            }
            Ok(())
        })?;
        if !self.is_stopped() {
            self.end();
            self.walk.report.complete = true;
        }
        (self.progress)(&self.done);
        Ok(plan.packs)
    }

    fn is_stopped(&self) -> bool {
        self.options.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn tell(&mut self, more: bool) {
        self.done.problems = self.walk.report.problems.len() as u64;
        if more {
            (self.progress)(&self.done);
        }
    }

    fn plan(&mut self) -> Plan {
        let (segments, _) = self.list(SEGMENTS);
        let (packs, _) = self.list(PACKS);
        self.strangers();
        let done = self.journal.as_ref().map_or(0, Journal::packs);
        let names: Vec<_> = packs.iter().skip(done).chain(&segments).cloned().collect();
        let size = |name: &ObjectName| self.store.size(name).unwrap_or(0);
        let earlier = &self.walk.report;
        self.done.objects_done = done as u64;
        self.done.objects_total = (done + names.len()) as u64;
        self.done.records_done = earlier.records_not_read_again;
        self.done.bytes_done = packs.iter().take(done).map(size).sum();
        self.done.bytes_total = self.done.bytes_done + names.iter().map(size).sum::<u64>();
        let stated = self.hint.as_ref().ok().and_then(|note| stated_size(note.as_ref()?));
        self.done.records_total = stated;
        Plan { packs, names }
    }

    /// The objects of a directory: those that a ledger writes, and others.
    fn list(&mut self, directory: &str) -> (Vec<ObjectName>, Vec<ObjectName>) {
        let prefix = format!("{directory}/");
        match self.store.list(&prefix, None) {
            Ok(names) => names.into_iter().partition(|name| name.number_in(directory).is_some()),
            Err(error) => {
                self.walk.problem(&prefix, error.to_string());
                Default::default()
            }
        }
    }

    /// Objects that are none of a ledger's.
    fn strangers(&mut self) {
        // A store that cannot be listed was told of.
        let Ok(all) = self.store.list("", None) else { return };
        let known = |name: &ObjectName| {
            *name == info::name()
                || [PACKS, SEGMENTS].iter().any(|dir| name.number_in(dir).is_some())
        };
        for name in all.iter().filter(|name| !known(name)) {
            self.tell_once(name.as_str(), "no ledger writes an object of this name".to_owned());
        }
    }

    /// A problem that is found again by each run that goes on.
    fn tell_once(&mut self, object: &str, what: String) -> usize {
        let told = self.walk.report.problems.iter().position(|problem| problem.object == object);
        told.unwrap_or_else(|| self.walk.problem(object, what))
    }

    fn log_info(&mut self) {
        let name = info::name();
        let verifier = self.walk.verifier.clone();
        let check = |bytes: &Bytes| LogInfo::check(bytes, &verifier);
        let found = match self.store.read(&name) {
            Ok(bytes) => check(&bytes).map(|info| (info, bytes)),
            Err(StoreError::NotFound { .. }) => Err("it is missing".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let (info, previous) = match found {
            Ok((info, bytes)) => {
                self.done.bytes_done += bytes.len() as u64;
                let (digest, proven) = (digest_of(&[&bytes]), info.is_proven());
                (info, Previous::LogInfo { digest, proven })
            }
            Err(what) => {
                let problem = self.tell_once(name.as_str(), what);
                let Some((info, digest)) = self.log_info_of_mirror(problem) else { return };
                (info, Previous::Replacement(digest))
            }
        };
        self.walk.name_keys(&info);
        if self.journal.as_ref().is_none_or(|journal| journal.packs() == 0) {
            self.walk.previous = previous;
        }
    }

    /// Takes in the next object, or what the mirror has for it.
    fn take(&mut self, object: Examined) -> Result<(), FsckStateError> {
        let name = object.name.clone();
        let pack = name.number_in(PACKS).is_some();
        self.walk.report.bytes += object.len;
        self.done.bytes_done += object.len;
        self.done.object = name.to_string();
        let number = name.number_in(SEGMENTS);
        let packed = matches!((number, self.walk.next_segment), (Some(n), Some(next)) if n < next);
        let gone = matches!(&object.content, Err(unreadable) if unreadable.gone);
        self.moved |= gone;
        if packed && gone {
            // Retired since it was listed.
            return Ok(());
        }
        *(if pack { &mut self.walk.report.packs } else { &mut self.walk.report.segments }) += 1;
        if !packed {
            self.fill(&name, object.content.as_ref().ok());
        }
        let problems = self.walk.report.problems.len();
        self.tell_of(&object, packed);
        let damaged = self.walk.report.problems.len() > problems;
        if !(damaged && self.replace(&object, problems, packed)) {
            self.enter(&object, packed, problems);
            self.settle();
        }
        self.done.records_done = self.walk.next_index;
        if pack && let Some(journal) = &mut self.journal {
            journal.note(&object, &self.walk)?;
        }
        Ok(())
    }

    /// Tells what is wrong with an object by itself.
    fn tell_of(&mut self, object: &Examined, packed: bool) {
        match &object.content {
            Ok(content) => self.walk.tell_faults(&object.name, content),
            Err(unreadable) => {
                let problem = self.walk.problem(object.name.as_str(), unreadable.what.clone());
                let bytes = unreadable.bytes.as_ref().and_then(walk::byte_range);
                self.walk.report.problems[problem].bytes = bytes;
                let first = object.name.number_in(PACKS).unwrap_or(self.walk.next_index);
                let records = RecordRange { first, last: None };
                self.walk.report.problems[problem].records = (!packed).then_some(records);
            }
        }
    }

    /// Joins an object to those before it; `problem` tells of it if it cannot be read.
    fn enter(&mut self, object: &Examined, packed: bool, problem: usize) {
        let name = &object.name;
        let pack = name.number_in(PACKS);
        match &object.content {
            Ok(_) if packed => self.walk.packed_segment(),
            Ok(content) if pack.is_some() => self.walk.pack(name, content),
            Ok(content) => self.walk.segment(name, content),
            Err(_) if packed => {}
            Err(_) => {
                if let Some(first) = pack {
                    self.walk.close_losses(first);
                }
                self.walk.lose(problem);
                // Where a pack ends is only known from what follows.
                let number = name.number_in(SEGMENTS);
                self.walk.next_segment = number.and_then(|number| number.checked_add(1));
            }
        }
    }

    /// Tells of what is missing before an object, and lets the mirror fill it.
    fn fill(&mut self, name: &ObjectName, content: Option<&Content>) {
        while let Some(hole) = self.walk.hole_before(name, content) {
            if !self.fill_one(hole) {
                let number = name.number_in(SEGMENTS);
                self.walk.next_segment = number.or(self.walk.next_segment);
                return;
            }
        }
    }

    /// The checkpoint beside the log: it must be there, be signed, and be of these records.
    fn end(&mut self) {
        let hint = std::mem::replace(&mut self.hint, Ok(None));
        let mut problem = None;
        let name = format!("hints/{}", checkpoint_hint());
        let note = match hint {
            Err(error) => Err(error.to_string()),
            Ok(None) => Err("there is no signed checkpoint".to_owned()),
            Ok(Some(note)) => Ok(note),
        };
        let mirrored = self.mirror_hint.take();
        let signed = note.as_ref().ok().into_iter().chain(&mirrored);
        let signed = signed.filter_map(|note| self.walk.signed_size(note)).max().unwrap_or(0);
        if self.walk.has_open_losses() {
            self.walk.close_losses(signed);
            self.walk.next_index = self.walk.next_index.max(signed);
        }
        while let Some(hole) = self.walk.hole_at_end(signed) {
            if !self.fill_one(hole) {
                break;
            }
        }
        self.settle_keys();
        let mirrored = mirrored.filter(|note| self.walk.keys.open(note).is_ok());
        if let Err(what) = note.and_then(|note| self.walk.checkpoint(&note)) {
            problem = Some(self.walk.problem(&name, what));
        }
        self.judge(mirrored, problem);
    }

    /// The keys that the log names must have the ones among them that the caller knows.
    fn settle_keys(&mut self) {
        let Err(what) = self.walk.settle_keys() else { return };
        let name = info::name();
        let mirrored = self.replacements.iter().position(|replacement| replacement.name == name);
        match mirrored {
            Some(at) => {
                let refused = self.replacements.remove(at);
                self.refuse_all(&refused.problems, &format!("the mirror's object: {what}"));
            }
            None => drop(self.walk.problem(name.as_str(), what)),
        }
    }

    fn outcome(self) -> Result<FsckOutcome, FsckStateError> {
        let report = self.walk.report;
        if let (true, Some(journal)) = (report.complete, self.journal) {
            journal.remove()?;
        }
        Ok(FsckOutcome { report, replacements: self.replacements })
    }
}

/// The size in a note that nobody has verified.
fn stated_size(note: &[u8]) -> Option<u64> {
    let note = Note::parse(note).ok()?;
    Some(Checkpoint::parse(note.text()).ok()?.size.0)
}
