//! Trust policies (C2SP tlog-policy): which logs and witnesses are known, and which cosignatures make
//! a checkpoint good enough.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <member>...
//! quorum <name>|none
//! ```
//!
//! Not here: whether a log of the policy signed ([`LogVerifier`]), and talking to a witness.
//! Invariants: a definition refers only to earlier lines, and no name is a member twice, so a witness
//! counts towards the quorum in one way only.

use std::collections::HashMap;

use crate::checkpoint::{LogVerifier, parse_decimal};
use crate::key::{Algorithm, VerifierKey};
use crate::note::{Note, NoteError, Verified};

/// Longest policy that is read, in bytes.
pub const POLICY_BYTES_MAX: usize = 1_048_576;

/// Most logs, most witnesses and most groups of a policy that is read.
pub const POLICY_ENTRIES_MAX: usize = 256;

/// The quorum that needs no witness, and therefore no name for anything else.
const NONE: &[u8] = b"none";

/// Why a text is no policy. Nothing of it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PolicyError {
    /// The line at fault, from 1; the one after the last if something is missing.
    pub line: usize,
    /// The fault.
    pub what: String,
}

/// A log that the policy accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key; the key's name is the log's origin.
    pub key: VerifierKey,
    /// Where it is, for whoever knows what to do there.
    pub url: Option<String>,
}

/// A witness that the policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name within the policy.
    pub name: String,
    /// Its key, of a kind that cosigns.
    pub key: VerifierKey,
    /// Its submission prefix.
    pub url: Option<String>,
}

/// What can be a member of a group, or the quorum: the position among witnesses or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    /// How many members must have cosigned.
    threshold: usize,
    members: Vec<Member>,
}

/// A trust policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// `None` if no cosignature is needed.
    quorum: Option<Member>,
}

/// What the witnesses of a policy say to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Their valid cosignatures: the position in [`Policy::witnesses`], and the key with its time.
    pub cosigned: Vec<(usize, Verified)>,
    /// Whether they make the quorum.
    pub quorum_met: bool,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`], with the line.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            let what = format!("the policy is longer than {POLICY_BYTES_MAX} bytes");
            return Err(PolicyError { line: 1, what });
        }
        let mut parser = Parser::default();
        let mut line = 0;
        for content in text.split(|byte| *byte == b'\n') {
            line += 1;
            parser.line(content).map_err(|what| PolicyError { line, what })?;
        }
        let Parser { logs, witnesses, groups, quorum, .. } = parser;
        let missing = || PolicyError { line, what: "there is no `quorum` line".to_owned() };
        Ok(Self { logs, witnesses, groups, quorum: quorum.ok_or_else(missing)? })
    }

    /// The logs, in the order of the file.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Believes the checkpoints of the policy's logs: those that any of their keys signed. Without
    /// logs nothing is believed.
    pub fn log_verifier(&self) -> LogVerifier {
        LogVerifier::new(self.logs.iter().map(|log| log.key.clone()))
    }

    /// What the witnesses say to a checkpoint. Whether its log signed it is not asked here.
    ///
    /// # Errors
    /// [`NoteError::WrongSignature`] if a line of a known witness does not fit: the note was altered,
    /// and nothing of it should be used.
    pub fn verdict(&self, note: &Note) -> Result<Verdict, NoteError> {
        let keys: Vec<_> = self.witnesses.iter().map(|witness| witness.key.clone()).collect();
        let verified = match note.verify(&keys) {
            Err(NoteError::NoKnownKey) => Vec::new(),
            other => other?,
        };
        let position =
            |by: &Verified| keys.iter().position(|key| key.id() == by.id && key.name() == by.name);
        let cosigned: Vec<_> =
            verified.into_iter().filter_map(|by| Some((position(&by)?, by))).collect();
        let quorum_met = self.is_met(&|witness| cosigned.iter().any(|(at, _)| *at == witness));
        Ok(Verdict { cosigned, quorum_met })
    }

    /// Whether the witnesses for which `cosigned` is true make the quorum.
    fn is_met(&self, cosigned: &dyn Fn(usize) -> bool) -> bool {
        // Members come before the groups they are in, so one pass settles all groups.
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let met = |member: &&Member| match **member {
                Member::Witness(at) => cosigned(at),
                Member::Group(at) => groups[at],
            };
            groups.push(group.members.iter().filter(met).count() >= group.threshold);
        }
        match self.quorum {
            None => true,
            Some(Member::Witness(at)) => cosigned(at),
            Some(Member::Group(at)) => groups[at],
        }
    }

    /// The quorum in words, for people: `2 of (a, b, 1 of (c, d))`.
    pub fn quorum_text(&self) -> String {
        let mut groups: Vec<String> = Vec::with_capacity(self.groups.len());
        let text = |member: &Member, groups: &[String]| match *member {
            Member::Witness(at) => self.witnesses[at].name.clone(),
            Member::Group(at) => groups[at].clone(),
        };
        for group in &self.groups {
            let members: Vec<_> = group.members.iter().map(|m| text(m, &groups)).collect();
            groups.push(format!("{} of ({})", group.threshold, members.join(", ")));
        }
        self.quorum.as_ref().map_or_else(|| "none".to_owned(), |member| text(member, &groups))
    }
}

#[derive(Default)]
struct Parser<'a> {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Option<Option<Member>>,
    /// Names are bytes: the specification gives them no encoding.
    names: HashMap<&'a [u8], Name>,
}

struct Name {
    member: Member,
    is_taken: bool,
}

impl<'a> Parser<'a> {
    fn line(&mut self, line: &'a [u8]) -> Result<(), String> {
        if let Some(byte) = line.iter().find(|b| (**b < b' ' && **b != b'\t') || **b == 0x7f) {
            return Err(format!("the control character {byte:#04x} is not allowed"));
        }
        let mut words = line.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        let Some(keyword) = words.next().filter(|word| !word.starts_with(b"#")) else {
            return Ok(());
        };
        let words: Vec<_> = words.collect();
        match keyword {
            b"log" => self.log(&words),
            b"witness" => self.witness(&words),
            b"group" => self.group(&words),
            b"quorum" => self.quorum(&words),
            other => Err(format!("unknown keyword {:?}", lossy(other))),
        }
    }

    fn log(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let (key, url) = match words {
            [key] => (key, None),
            [key, url] => (key, Some(lossy(url))),
            _ => return Err("expected log <vkey> [<url>]".to_owned()),
        };
        let key = verifier_key(key)?;
        room(self.logs.len(), "logs")?;
        if self.logs.iter().any(|log| log.key.key_bytes() == key.key_bytes()) {
            return Err("an earlier log has the same public key".to_owned());
        }
        self.logs.push(PolicyLog { key, url });
        Ok(())
    }

    fn witness(&mut self, words: &[&'a [u8]]) -> Result<(), String> {
        let (name, key, url) = match words {
            [name, key] => (name, key, None),
            [name, key, url] => (name, key, Some(lossy(url))),
            _ => return Err("expected witness <name> <vkey> [<url>]".to_owned()),
        };
        let key = verifier_key(key)?;
        if !matches!(key.algorithm(), Algorithm::Ed25519Cosignature | Algorithm::MlDsa44) {
            let what = "is no key for cosignatures (0x04 or 0x06)";
            return Err(format!("the key of witness {:?} {what}", lossy(name)));
        }
        room(self.witnesses.len(), "witnesses")?;
        if self.witnesses.iter().any(|witness| witness.key.key_bytes() == key.key_bytes()) {
            return Err("an earlier witness has the same public key".to_owned());
        }
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { name: lossy(name), key, url });
        Ok(())
    }

    fn group(&mut self, words: &[&'a [u8]]) -> Result<(), String> {
        let [name, threshold, members @ ..] = words else {
            return Err("expected group <name> all|any|<k> <member>...".to_owned());
        };
        if members.is_empty() {
            return Err(format!("group {:?} has no members", lossy(name)));
        }
        let threshold = match *threshold {
            b"all" => members.len(),
            b"any" => 1,
            number => str::from_utf8(number)
                .ok()
                .and_then(parse_decimal)
                .and_then(|k| usize::try_from(k).ok())
                .filter(|k| (1..=members.len()).contains(k))
                .ok_or_else(|| {
                    let (given, most) = (lossy(number), members.len());
                    format!("expected all, any or a number from 1 to {most}, not {given:?}")
                })?,
        };
        room(self.groups.len(), "groups")?;
        let members = members.iter().map(|member| self.take(member)).collect::<Result<_, _>>()?;
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name: lossy(name), threshold, members });
        Ok(())
    }

    fn quorum(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let [name] = words else { return Err("expected quorum <name>".to_owned()) };
        if self.quorum.is_some() {
            return Err("there is a `quorum` line already".to_owned());
        }
        self.quorum = Some(if *name == NONE { None } else { Some(self.find(name)?.member) });
        Ok(())
    }

    fn define(&mut self, name: &'a [u8], member: Member) -> Result<(), String> {
        if name == NONE || self.names.contains_key(name) {
            return Err(format!("the name {:?} is taken", lossy(name)));
        }
        self.names.insert(name, Name { member, is_taken: false });
        Ok(())
    }

    fn find(&mut self, name: &[u8]) -> Result<&mut Name, String> {
        let unknown = || format!("no earlier line defines {:?}", lossy(name));
        self.names.get_mut(name).ok_or_else(unknown)
    }

    /// The member of this name, which no group has had before.
    fn take(&mut self, name: &[u8]) -> Result<Member, String> {
        let found = self.find(name)?;
        if std::mem::replace(&mut found.is_taken, true) {
            return Err(format!("{:?} is a member of a group already", lossy(name)));
        }
        Ok(found.member)
    }
}

fn room(count: usize, what: &str) -> Result<(), String> {
    if count < POLICY_ENTRIES_MAX {
        Ok(())
    } else {
        Err(format!("more than {POLICY_ENTRIES_MAX} {what}"))
    }
}

fn verifier_key(text: &[u8]) -> Result<VerifierKey, String> {
    let text = str::from_utf8(text).map_err(|_| "the verifier key is not UTF-8".to_owned())?;
    text.parse().map_err(|e| format!("{e}"))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
