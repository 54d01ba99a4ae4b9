//! What answers are made of: plain structs with stable names, because the HTTP API shows them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::PathChange;
use crate::{Time, TimeBasis};

/// Where and when an answer stands. With the same `index` and the same point it is the same
/// answer again, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AsOf {
    /// Newest record taken into account; `None` if there is no record at all.
    pub index: Option<u64>,
    /// The time the answer is for: the one asked for, or that of the record `index`.
    pub time: Option<Time>,
    /// Whose clock `time` is compared with. [`TimeBasis::Claimed`] if an imported recording takes
    /// part in the answer.
    pub time_basis: TimeBasis,
    /// The resource version asked for, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// A stretch in which nobody looked, and that an answer touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapSeen {
    /// The record that says so; `None` if the state says so itself (before the first list, after
    /// the last record).
    pub index: Option<u64>,
    /// The cluster; `None` means all that the source speaks of.
    pub cluster: Option<String>,
    /// API group; `None` means all.
    pub group: Option<String>,
    /// Plural name; `None` means all.
    pub resource: Option<String>,
    /// Last moment at which somebody surely looked; `None` means never before.
    pub from: Option<Time>,
    /// First moment at which somebody looked again; `None` means not yet.
    pub to: Option<Time>,
    /// Last resource version seen before.
    pub from_rv: Option<String>,
    /// First resource version at which the state was whole again.
    pub to_rv: Option<String>,
    /// Why, as a word: those of `record::GapReason`, or `not-covered-yet`, `never-listed`,
    /// `no-later-record`, `relisted`, `no-close`.
    pub reason: String,
    /// No version was missed; what happened was only seen late.
    pub recovered: bool,
    /// The state concluded it from the records; no source said so.
    pub derived: bool,
    /// The cause in words; may be empty.
    pub detail: String,
}

/// A recorded cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its id: uid of its namespace `kube-system`, or a name given at import.
    pub id: String,
    /// Its name for people; the id if no other is known.
    pub name: String,
    /// Objects that exist at the newest record.
    pub objects: u64,
    /// Effective time of its first record.
    pub first_seen: Option<Time>,
    /// Effective time of its newest record.
    pub last_seen: Option<Time>,
}

/// A resource type of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceType {
    /// The cluster.
    pub cluster: String,
    /// API group, `""` for the core group.
    pub group: String,
    /// The version in which it is recorded.
    pub version: String,
    /// Plural name.
    pub resource: String,
    /// Kind of its objects.
    pub kind: String,
    /// Singular name; may be empty.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether there is any record of its objects.
    pub recorded: bool,
}

/// Names an object, or rather one life of it: the same name may come back with another uid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// The cluster.
    pub cluster: String,
    /// API group, `""` for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name of its type.
    pub resource: String,
    /// Its kind.
    pub kind: String,
    /// Namespace, `""` for objects that have none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// What a version is the trace of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verb {
    /// It stood in a list: it has existed for a while.
    Listed,
    /// A watch said ADDED.
    Added,
    /// A watch said MODIFIED.
    Modified,
    /// A watch said DELETED; the version's body is the object's last state.
    Deleted,
    /// It was missing in a list: it ended within ([`Version::after_rv`], resource version].
    Vanished,
    /// Another object with its name and a new uid was seen, so it had ended before that.
    Replaced,
}

impl Verb {
    /// Whether the object does not exist after it.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Deleted | Self::Vanished | Self::Replaced)
    }

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Listed,
            1 => Self::Added,
            2 => Self::Modified,
            3 => Self::Deleted,
            4 => Self::Vanished,
            _ => Self::Replaced,
        }
    }
}

/// An audit event in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRef {
    /// Its record.
    pub index: u64,
    /// When the server received the request, by its own clock.
    pub time: Time,
    /// How it is known to be this request.
    pub basis: RequestBasis,
}

/// How a request is known to have made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RequestBasis {
    /// The event shows the object with this uid and resource version.
    ResourceVersion,
    /// The event names the object, and came between this version and the one before it; events name
    /// no cluster. It may have been another request.
    Name,
}

/// One version of an object, as it was first seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// How it was seen.
    pub verb: Verb,
    /// Its resource version; for [`Verb::Vanished`] that of the list it was missing in, for
    /// [`Verb::Replaced`] that of the object which took its name.
    pub resource_version: String,
    /// For an end that nobody saw: it came after this resource version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_rv: Option<String>,
    /// The record.
    pub index: u64,
    /// Position within the record: a page of a list holds many objects.
    pub ordinal: u32,
    /// Effective time of the record.
    pub time: Time,
    /// Whose clock that is.
    pub time_basis: TimeBasis,
    /// Values were replaced by keyed digests before it was recorded.
    pub redacted: bool,
    /// The object, byte for byte as the server sent it, but for `apiVersion` and `kind`: a list
    /// implies them, so they are put in front where they were missing. For an end that nobody saw
    /// it is the last version seen. `None` where a question left bodies out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Box<RawValue>>,
    /// The request that made it, as far as audit events tell. Only in a [`History`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<RequestRef>,
    /// The paths in which it differs from the version before it. Only in a [`History`] that was
    /// asked with them, and not of the first version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<PathChange>>,
}

/// An object at a point.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Which one.
    #[serde(rename = "of")]
    pub reference: ObjectRef,
    /// Its version at that point.
    pub version: Version,
}

impl Object {
    /// The object's JSON; `null` if bodies were left out.
    pub fn json(&self) -> &str {
        self.version.object.as_ref().map_or("null", |raw| raw.get())
    }
}

/// Answer of [`crate::State::list`] and [`crate::State::get`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Where the answer stands.
    pub as_of: AsOf,
    /// The types it covers.
    pub types: Vec<ResourceType>,
    /// The objects, in the order of type, namespace and name.
    pub objects: Vec<Object>,
    /// Blind stretches it touches.
    pub gaps: Vec<GapSeen>,
}

/// One life of a name: one uid.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Which object.
    #[serde(rename = "of")]
    pub reference: ObjectRef,
    /// Whether it exists at the point asked for.
    pub exists: bool,
    /// All its versions, in order.
    pub versions: Vec<Version>,
}

/// Answer of [`crate::State::history`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Where the answer stands.
    pub as_of: AsOf,
    /// All lives of the name, oldest first.
    pub lives: Vec<Life>,
    /// Blind stretches between the first version and the point asked for.
    pub gaps: Vec<GapSeen>,
}

/// One difference between two points.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Which object.
    #[serde(rename = "of")]
    pub reference: ObjectRef,
    /// Its version at the first point; `None` if it did not exist.
    pub before: Option<Version>,
    /// Its version at the second point; `None` if it did not exist.
    pub after: Option<Version>,
}

/// Answer of [`crate::State::diff`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Where the first side stands.
    pub from: AsOf,
    /// Where the second side stands.
    pub to: AsOf,
    /// What differs, in the order of type, namespace and name.
    pub differences: Vec<Difference>,
    /// Blind stretches at or between the two points.
    pub gaps: Vec<GapSeen>,
}

/// Position in the sequence of changes: a record and a place in it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// The record.
    pub index: u64,
    /// The place in it.
    pub ordinal: u32,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ChangeBody {
    /// An object got another version or ended.
    Object(Box<Object>),
    /// Somebody had been blind.
    Gap(Box<GapSeen>),
}

/// One entry of the sequence of changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where it stands.
    pub at: Cursor,
    /// What it is.
    pub body: ChangeBody,
}

/// Answer of [`crate::State::changes`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// The changes, in the order of the log.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub next: Cursor,
    /// All that was folded has been looked at; `false` if the limit ended the search.
    pub complete: bool,
}

/// What was recorded of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeCoverage {
    /// The type.
    pub of: ResourceType,
    /// End of its first whole list; before that it is not covered. `None` if it never was listed.
    pub from: Option<Time>,
    /// Last moment at which somebody surely looked.
    pub to: Option<Time>,
    /// Resource version it has been followed up to.
    pub resource_version: Option<String>,
    /// Blind stretches within the time asked for.
    pub gaps: Vec<GapSeen>,
}

/// A record that the fold could not use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The record.
    pub index: u64,
    /// Why it could not be used.
    pub reason: String,
}

/// Answer of [`crate::State::coverage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Where the answer stands.
    pub as_of: AsOf,
    /// Each type that is recorded, was discovered, or has a gap of its own.
    pub types: Vec<TypeCoverage>,
    /// Number of records that could not be used, ever.
    pub problem_count: u64,
    /// The newest of them, newest first, at most [`crate::query::PROBLEMS_SHOWN`].
    pub problems: Vec<Problem>,
}
