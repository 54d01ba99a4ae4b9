//! What a check counts, finds and says while it runs. Plain data; JSON by `serde`.
//!
//! Invariant: a problem is one cause. What cannot be checked because of it is counted as unchecked,
//! never told as a problem of its own.

use serde::{Deserialize, Serialize};
use stele_record::{Boot, Seq, SourceId};

/// How far a check has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The object that was looked at last.
    pub object: String,
    /// Objects done, those of an earlier run included.
    pub objects_done: u64,
    /// Objects in all.
    pub objects_total: u64,
    /// Bytes of these objects.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Records done, those of an earlier run included.
    pub records_done: u64,
    /// Records that the newest checkpoint signs, if there is one; more may be there.
    pub records_total: Option<u64>,
    /// Problems found.
    pub problems: u64,
}

/// Records that a problem is about, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRange {
    /// Index of the first one.
    pub first: u64,
    /// Index of the last one; unknown if nothing after it says where it ended.
    pub last: Option<u64>,
}

/// Bytes of an object that a problem is about, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// Offset of the first one.
    pub first: u64,
    /// Offset of the last one.
    pub last: u64,
}

/// Whose records a problem is about: consecutive records of one boot of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRange {
    /// The source's id.
    pub source: String,
    /// The boot.
    pub boot: u64,
    /// Sequence number of the first record.
    pub first_seq: u64,
    /// Sequence number of the last record.
    pub last_seq: u64,
}

impl SourceRange {
    pub(crate) fn new(source: &SourceId, boot: Boot, first: Seq, last: Seq) -> Self {
        Self { source: source.to_string(), boot: boot.0, first_seq: first.0, last_seq: last.0 }
    }
}

/// What can be done, or was done, about a problem with the help of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "why")]
pub enum Remedy {
    /// The mirror's object was verified against a signed checkpoint and can take the place.
    Available,
    /// The mirror's object has taken the place.
    Done,
    /// The mirror cannot help, and why.
    None(String),
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The object at fault; a hint is named `hints/NAME`.
    pub object: String,
    /// The records at fault, as far as they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordRange>,
    /// Whose records these are. For an object that is lost as a whole this is what the records
    /// around it tell; next to other losses a stretch is listed with each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceRange>,
    /// Where in the object the fault lies, as closely as its digests tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteRange>,
    /// The fault.
    pub what: String,
    /// What a mirror can do about it; absent if none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Problem {
    /// Where it is: the object and the records.
    pub fn place(&self) -> String {
        match self.records {
            None => self.object.clone(),
            Some(RecordRange { first, last: None }) => {
                format!("{}, records from {first} on", self.object)
            }
            Some(RecordRange { first, last: Some(last) }) if first == last => {
                format!("{}, record {first}", self.object)
            }
            Some(RecordRange { first, last: Some(last) }) => {
                format!("{}, records {first} to {last}", self.object)
            }
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place(), self.what)
    }
}

/// What a check found. The counts say what holds; what does not is in `problems`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FsckReport {
    /// Everything was looked at; `false` if the check was told to stop.
    pub complete: bool,
    /// The last object of those that an earlier run had checked and this one did not read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_after: Option<String>,
    /// Records in those objects.
    pub records_not_read_again: u64,
    /// Segments read.
    pub segments: u64,
    /// Packs read.
    pub packs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Headers of objects that are sound: digest, form, length of the object, link to the one
    /// before.
    pub headers: u64,
    /// Leaf hashes computed from records that are what was written.
    pub leaves: u64,
    /// Records that are what was written, payload included: each payload opens its commitment, and
    /// the object's tables say whose record it is.
    pub records: u64,
    /// Streams of objects whose first and next sequence number and chain head are those that the
    /// records give.
    pub streams: u64,
    /// Streams of objects for which this is not known, because records before are lost.
    pub streams_unchecked: u64,
    /// Seals of sources whose signature and chain hold.
    pub seals: u64,
    /// Seals that could not be checked, because the source's key or records before it are lost.
    pub seals_unchecked: u64,
    /// Tiles of packs whose root the records give.
    pub tiles: u64,
    /// Roots in headers of objects that the records give.
    pub roots: u64,
    /// Roots that could not be computed, because records before are lost.
    pub roots_unchecked: u64,
    /// Signed checkpoints, recorded in the log or beside it, whose root the records give.
    pub checkpoints: u64,
    /// Signed checkpoints whose root could not be compared, because records before are lost.
    pub checkpoints_unchecked: u64,
    /// Size of the largest checkpoint whose root the records give.
    pub signed_records: u64,
    /// Everything that is wrong; empty means that what was looked at is whole.
    pub problems: Vec<Problem>,
}
