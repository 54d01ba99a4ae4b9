//! Answers about addresses: who had one, what it led to, and how sure that is; of one address, or
//! of a whole log of flows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{GapSeen, Instant, LedgerPosition, ObjectName, TimeUsed};
use crate::error::ApiError;

/// How sure an answer about an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// Exactly one holder is possible.
    Certain,
    /// Several holders are possible; the truth is among them.
    Ambiguous,
    /// The recorder was blind, so another holder can't be ruled out.
    Unknown,
    /// The recorder saw all along, and nobody held it.
    None,
    /// The address is a node's own: the node, and every pod in its network.
    Node,
    /// The address is a virtual one of a service.
    Service,
}

/// Who had an address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpAnswer {
    /// `stele/v1`.
    pub api_version: String,
    /// `AddressAnswer`.
    pub kind: String,
    /// The address in its usual form.
    pub address: String,
    /// The port asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortAsked>,
    /// How sure the answer is.
    pub verdict: Verdict,
    /// Why it is not more sure, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where in the log the answer stands.
    pub ledger: LedgerPosition,
    /// Which time it is for.
    pub time: TimeUsed,
    /// Stretches in which the recorder was blind and that this answer touches.
    pub gaps: Vec<GapSeen>,
    /// Tolerance between the clocks: the items may have held the address within so many
    /// milliseconds of the time asked for.
    pub tolerance_ms: u64,
    /// Who held it, or may have, likeliest first. What is said of one holds for the last moment of
    /// the stretch at which it may have held the address.
    pub items: Vec<LeaseItem>,
    /// Where the address belongs, if nobody is known to have had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Pods that ran then and of which no address is known: each may have had this one.
    pub unaddressed: Vec<ObjectName>,
    /// How many such pods there are; `unaddressed` may show fewer.
    pub unaddressed_count: u64,
}

/// What kind of thing holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Holder {
    /// A pod with a network of its own.
    Pod,
    /// A pod in its node's network: it shares the address with everything else there.
    HostNetworkPod,
    /// A pod with a network of its own that has ports on its node's address.
    HostPortPod,
    /// A node.
    Node,
    /// A service.
    Service,
    /// Something that this version has no word for.
    Other,
}

/// How the end of a lease is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LeaseEnd {
    /// It has not ended.
    Open,
    /// The pod was seen ended; the address was free a little earlier.
    Terminal,
    /// The pod was seen deleted after an orderly end.
    Deleted,
    /// The object was removed, or vanished while nobody looked, and its containers may have run on.
    Unknown,
    /// As `unknown`, and then another pod was seen with the address.
    Superseded,
    /// It ended while nobody looked.
    Vanished,
    /// The object was seen without the address.
    Changed,
}

/// One holder of an address, over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseItem {
    /// What it is.
    pub holder: Holder,
    /// Which object.
    pub of: ObjectName,
    /// The address.
    pub ip: String,
    /// Which network: `default`, or the name in the pod's network status.
    pub network: String,
    /// Earliest moment at which it may have held the address.
    pub from: Instant,
    /// Latest moment at which it may have held it; absent if it may hold it still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
    /// From here it was reported with the address.
    pub reported_from: Instant,
    /// Up to here it was reported running with the address.
    pub reported_to: Instant,
    /// How the end is known.
    pub end: LeaseEnd,
    /// Whether the time asked for lies within what was reported; else it is only possible.
    pub reported: bool,
    /// For an instant 1 / number of items; for a stretch the part of it in which this one may have
    /// held the address, 0 to 1.
    pub share: f64,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How the address leads to a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// The port asked about, as it declares it. Others may use a port that they do not declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortItem>,
    /// A pod's phase at the time asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What controls it, nearest first, for example ReplicaSet, then Deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<OwnerItem>,
    /// Labels at the time asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The service account that a pod runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Images of its containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Services that a pod was an endpoint of; absent if endpoint slices are not recorded, or not
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<SelectionItem>>,
    /// Where a service led, through the port asked about if there is one; absent if endpoint slices
    /// are not recorded, or not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Backends>,
    /// When the object was first seen.
    pub first_seen: Instant,
    /// When the last other version of it was seen.
    pub last_seen: Instant,
    /// Index of the record that first shows it with the address.
    pub index: u64,
}

/// A link of an owner chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnerItem {
    /// `group/version` as the reference writes it.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Whether the owner itself is recorded; if not, the chain may go on beyond it.
    pub recorded: bool,
}

/// A port that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortAsked {
    /// Its number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortItem {
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// How an address leads to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Via {
    /// It is the service's own within the cluster.
    ClusterIp,
    /// It is one of its external addresses.
    ExternalIp,
    /// Its load balancer has it.
    LoadBalancer,
    /// It is a node's, and the port asked about leads to the service.
    NodePort,
    /// In a way that this version has no word for.
    Other,
}

/// A service that a pod was an endpoint of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelectionItem {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service; absent if the slice names none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Uid of the service, if the slice names it as its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The endpoint slice that says so.
    pub slice: String,
    /// It was to get traffic.
    pub ready: bool,
    /// It could answer.
    pub serving: bool,
    /// It was being ended.
    pub terminating: bool,
    /// The ports of the endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortItem>,
}

/// Where a service led.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backends {
    /// How many endpoints there were.
    pub count: u64,
    /// The first of them.
    pub items: Vec<BackendItem>,
}

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendItem {
    /// Its addresses, or its host name.
    pub addresses: Vec<String>,
    /// The ports that are served there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortItem>,
    /// It was to get traffic.
    pub ready: bool,
    /// It could answer.
    pub serving: bool,
    /// It was being ended.
    pub terminating: bool,
    /// Kind of what it is, usually `Pod`; absent if the slice does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The node it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Where an address belongs that nobody is known to have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PlaceKind {
    /// In the range from which a node's pods get theirs; network plug-ins use some there, too.
    PodRange,
    /// In a range of service addresses.
    ServiceRange,
    /// In none of the ranges that the recorded clusters declare.
    External,
    /// It means something only on the host or link where it is used.
    Local,
    /// Somewhere that this version has no word for.
    Other,
}

/// Where an address belongs that nobody is known to have had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// What kind of place it is.
    pub kind: PlaceKind,
    /// The range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// The object that declares the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<ObjectName>,
}

/// One line of a batch of questions: an address, or both ends of a connection, and a time.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchQuestion {
    /// Anything; the answer has it again.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub id: Option<Box<RawValue>>,
    /// The address, if it is one.
    #[serde(default)]
    pub ip: Option<String>,
    /// The port that the traffic to it was for.
    #[serde(default)]
    pub port: Option<u16>,
    /// Where a connection came from.
    #[serde(default)]
    pub src: Option<String>,
    /// Its port there.
    #[serde(default)]
    pub src_port: Option<u16>,
    /// Where it went.
    #[serde(default)]
    pub dst: Option<String>,
    /// Its port there.
    #[serde(default)]
    pub dst_port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`, or the number in IP headers. Of others no port is looked at.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Box<RawValue>>,
    /// The instant: a time, or a number of Unix seconds (also milli-, micro-, nanoseconds).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub at: Option<Box<RawValue>>,
    /// Begin of the stretch, written as `at`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub since: Option<Box<RawValue>>,
    /// End of the stretch, written as `at`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub until: Option<Box<RawValue>>,
}

/// The first line of the answer to a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchHead {
    /// `stele/v1`.
    pub api_version: String,
    /// `AddressBatch`.
    pub kind: String,
    /// Where in the log all the answers stand.
    pub ledger: LedgerPosition,
    /// Tolerance between the clocks.
    pub tolerance_ms: u64,
}

/// The answer to one line of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    /// Number of the line, from 1.
    pub line: u64,
    /// The `id` of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub id: Option<Box<RawValue>>,
    /// Who had `ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<BatchFound>,
    /// Who had `src`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src: Option<BatchFound>,
    /// Who had `dst`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst: Option<BatchFound>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// Who had an address of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchFound {
    /// The address in its usual form.
    pub address: String,
    /// How sure the answer is.
    pub verdict: Verdict,
    /// Why it is not more sure, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who held it, or may have, likeliest first.
    pub items: Vec<LeaseItem>,
    /// Where the address belongs, if nobody is known to have had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Stretches in which the recorder was blind and that this answer touches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapSeen>,
    /// How many pods ran then of which no address is known: each may have had this one.
    #[serde(default)]
    pub unaddressed_count: u64,
}

/// The last line of the answer to a batch. Without it the answer is not whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchEnd {
    /// `AddressBatchEnd`.
    pub kind: String,
    /// Lines that were answered.
    pub lines: u64,
    /// Those of them that have an error instead of an answer.
    pub errors: u64,
}
