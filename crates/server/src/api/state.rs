//! Answers about clusters: what there was, what changed, when nobody looked.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{ChangedPath, Instant, LedgerPosition, RequestSeen, TimeUsed};

/// A stretch in which the recorder was blind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GapSeen {
    /// Index of the record that says so; absent if it follows from the records as a whole (nothing
    /// before the first list, nothing after the last record).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The cluster concerned, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// API group concerned; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Plural name of the resource concerned; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Last moment at which the recorder surely saw; absent if it never did before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// First moment at which it saw again; absent if it is still blind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
    /// Last resourceVersion seen before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_rv: Option<String>,
    /// First resourceVersion at which the state was whole again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_rv: Option<String>,
    /// Why, as a word.
    pub reason: String,
    /// Nothing was missed: it was only seen late.
    pub recovered: bool,
    /// It was concluded from the records; no source said so.
    #[serde(default)]
    pub derived: bool,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// A cluster that is, or was, recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterItem {
    /// Its id: uid of its namespace `kube-system`, or the name given at import.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Objects that exist at the newest record.
    pub objects: u64,
    /// When it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Instant>,
    /// When it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Instant>,
}

/// A resource type of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceItem {
    /// The cluster.
    pub cluster: String,
    /// API group, empty for the core group.
    pub group: String,
    /// The version in which it is recorded.
    pub version: String,
    /// Plural name.
    pub resource: String,
    /// Kind of its objects.
    pub kind: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether there is any record of its objects.
    pub recorded: bool,
}

/// Which object something is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// The cluster.
    pub cluster: String,
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name of the type.
    pub resource: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for objects that have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid: tells apart objects that had the same name.
    pub uid: String,
}

/// One version of an object.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectItem {
    /// Which object.
    pub of: ObjectName,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Index of the record that holds it.
    pub index: u64,
    /// Its place within that record (a page of a list holds many).
    pub ordinal: u32,
    /// When it was seen.
    pub seen: Instant,
    /// Values in it were replaced by keyed digests before it was recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// The object as the server sent it; `null` if the question had `bodies=false`.
    #[schema(value_type = Object)]
    pub object: Box<RawValue>,
}

/// A Kubernetes list: the answer to `raw=list`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RawList {
    /// `v1`.
    pub api_version: String,
    /// `List`.
    pub kind: String,
    /// Holds the resourceVersion that the list stands for, if one was asked for.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// The objects as the server sent them.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Box<RawValue>>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// It came to be.
    Added,
    /// It stood in a list: it is there with this version. Whether it is new was not seen.
    Listed,
    /// It has another version.
    Modified,
    /// It is gone.
    Deleted,
    /// It was missing in a list, so it is gone: since when is known only as `within`.
    Vanished,
    /// Another object with its name and a new uid was seen, so it is gone.
    Replaced,
}

/// One entry of an object's history.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// Which object.
    pub of: ObjectName,
    /// What happened.
    pub change: ChangeKind,
    /// The resourceVersion after it.
    pub resource_version: String,
    /// Index of the record that says so.
    pub index: u64,
    /// Place within that record.
    pub ordinal: u32,
    /// When it was seen.
    pub seen: Instant,
    /// Nobody saw the end itself: it came within these resourceVersions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<RvRange>,
    /// Values in it were replaced by keyed digests before it was recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// The request that made it, where an audit event tells. Only in a history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Box<RequestSeen>>,
    /// The paths in which it differs from the version before it. Left out unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangedPath>>,
    /// The object after it, or the last one seen if it ended. Left out unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub object: Option<Box<RawValue>>,
}

/// A stretch of resourceVersions: after the first, up to and with the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RvRange {
    /// Not later than this.
    pub after: String,
    /// Up to and with this.
    pub until: String,
}

/// One difference between two times.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffItem {
    /// Which object.
    pub of: ObjectName,
    /// What the difference is.
    pub change: ChangeKind,
    /// The version at the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<VersionSeen>,
    /// The version at the second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<VersionSeen>,
}

/// One version in a difference.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionSeen {
    /// Its resourceVersion.
    pub resource_version: String,
    /// Index of the record that holds it.
    pub index: u64,
    /// When it was seen.
    pub seen: Instant,
    /// Values in it were replaced by keyed digests before it was recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// The object.
    #[schema(value_type = Object)]
    pub object: Box<RawValue>,
}

/// For one resource of a cluster: from when to when it was recorded, and when not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoverageItem {
    /// The cluster.
    pub cluster: String,
    /// API group, empty for the core group.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// End of its first whole list, before which it is not covered; absent if there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Up to when it is known to be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
    /// The resourceVersion up to which it was followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// The part of the stretch asked for in which it was seen, 0 to 1.
    pub covered: f64,
    /// When it was not seen, within the stretch asked for.
    pub gaps: Vec<GapSeen>,
}

/// When each recorded type was seen, and what could not be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoverageAnswer {
    /// `stele/v1`.
    pub api_version: String,
    /// `Coverage`.
    pub kind: String,
    /// Where in the log the answer stands.
    pub ledger: LedgerPosition,
    /// Which time it is for.
    pub time: TimeUsed,
    /// All stretches in which the recorder was blind, each once.
    pub gaps: Vec<GapSeen>,
    /// Each recorded type.
    pub items: Vec<CoverageItem>,
    /// Number of records that the views could not use, ever.
    pub problem_count: u64,
    /// The newest of them.
    pub problems: Vec<ProblemItem>,
}

/// A record that the views could not use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemItem {
    /// The record.
    pub index: u64,
    /// Why it could not be used.
    pub reason: String,
}

/// Nothing of interest up to here: where a subscription goes on after a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchCursor {
    /// Index of the first record that was not looked at yet.
    pub next_index: u64,
}

/// What a subscription sends: a server-sent event whose `event` field is `change`, `gap`,
/// `cursor` or `end` and whose `data` is the JSON of the variant. Its `id` is `INDEX.ORDINAL`;
/// given back as `Last-Event-ID`, the subscription goes on behind it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WatchItem {
    /// `change`: an object changed.
    Change(HistoryItem),
    /// `gap`: the recorder was blind.
    Gap(GapSeen),
    /// `cursor`: nothing of interest up to here.
    Cursor(WatchCursor),
    /// `end`: the server ends the subscription, because the reader was too slow or the server
    /// stops. Subscribe again from here.
    End(WatchCursor),
}

impl WatchItem {
    /// Reads the `event` and `data` fields of a server-sent event; `None` for an event of a later
    /// version, which a reader passes over.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn read(event: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        Ok(match event {
            "change" => Some(Self::Change(serde_json::from_str(data)?)),
            "gap" => Some(Self::Gap(serde_json::from_str(data)?)),
            "cursor" => Some(Self::Cursor(serde_json::from_str(data)?)),
            "end" => Some(Self::End(serde_json::from_str(data)?)),
            _ => None,
        })
    }

    /// The `event` and `data` fields.
    ///
    /// # Errors
    /// Those of the serializer, which does not fail for these types.
    pub fn write(&self) -> Result<(&'static str, String), serde_json::Error> {
        Ok(match self {
            Self::Change(item) => ("change", serde_json::to_string(item)?),
            Self::Gap(item) => ("gap", serde_json::to_string(item)?),
            Self::Cursor(item) => ("cursor", serde_json::to_string(item)?),
            Self::End(item) => ("end", serde_json::to_string(item)?),
        })
    }
}
