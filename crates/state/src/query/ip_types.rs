//! What an answer about an address is made of.

use serde::{Deserialize, Serialize};

use super::types::{AsOf, GapSeen, ObjectRef};
use crate::Time;

/// How sure an answer about an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// Exactly one holder is possible.
    Single,
    /// Several holders are possible; the truth is among them.
    Several,
    /// Somebody had to look and did not, so a holder that is not named can't be ruled out.
    Unknown,
    /// It was looked at all along, and nothing held the address.
    None,
    /// The address is a node's own: the node, and all host-network pods on it.
    Node,
    /// The address is a virtual one of a service.
    Service,
}

/// What kind of thing holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Holder {
    /// A pod with a network of its own.
    Pod,
    /// A pod in its node's network: it shares the address with everything else there.
    HostNetworkPod,
    /// A node.
    Node,
    /// A service.
    Service,
}

/// How the end of a lease is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LeaseEnd {
    /// It has not ended.
    Open,
    /// The pod was seen `Succeeded` or `Failed`; the address was free a little earlier.
    Terminal,
    /// The pod was seen deleted after an orderly end.
    Deleted,
    /// The object was removed while its containers may have run on; nobody saw the end.
    Unknown,
    /// As [`LeaseEnd::Unknown`], and then another pod was seen with the address.
    Superseded,
    /// It ended while nobody looked.
    Vanished,
    /// The object was seen without the address.
    Changed,
}

/// A link of an owner chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
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

/// Something that held an address, or may have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// What it is.
    pub holder: Holder,
    /// Which object.
    #[serde(rename = "of")]
    pub reference: ObjectRef,
    /// The address.
    pub ip: String,
    /// Which network: `default`, or the name in the pod's network status. The same address may
    /// exist in several.
    pub network: String,
    /// Earliest moment at which it may have held the address.
    pub from: Time,
    /// Latest moment at which it may have held it; `None` if it may hold it still.
    pub to: Option<Time>,
    /// From here it was reported with the address.
    pub reported_from: Time,
    /// Up to here it was reported running with the address.
    pub reported_to: Time,
    /// How the end is known.
    pub end: LeaseEnd,
    /// Whether the point asked for lies within what was reported; otherwise it is only possible.
    pub reported: bool,
    /// For a point: 1 / number of candidates. For a stretch: the part of it in which this one may
    /// have held the address, 0 to 1.
    pub share: f64,
    /// The node it runs on.
    pub node: Option<String>,
    /// A pod's phase at that point.
    pub phase: Option<String>,
    /// What controls it, nearest first, as of that point.
    pub owners: Vec<Owner>,
    /// Labels at that point.
    pub labels: std::collections::BTreeMap<String, String>,
    /// The service account a pod runs as.
    pub service_account: Option<String>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// First moment at which the object was seen.
    pub first_seen: Time,
    /// Last moment at which another version of it was seen.
    pub last_seen: Time,
    /// The record that first shows it with the address.
    pub index: u64,
}

/// Answer of [`crate::State::ip`] and [`crate::State::ip_range`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpAnswer {
    /// The address in its usual form.
    pub address: String,
    /// Where the answer stands; for a stretch, its end.
    pub as_of: AsOf,
    /// For a stretch: its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// Tolerance between the clocks: candidates are those that may have held the address within
    /// so many milliseconds of the point.
    pub tolerance_ms: u64,
    /// How sure it is.
    pub verdict: Verdict,
    /// Why it is not more sure, for people; may be empty.
    pub reason: String,
    /// Who held it or may have, likeliest first.
    pub candidates: Vec<Candidate>,
    /// Pods that ran then and of which no address is known: each may have had this one. At most
    /// [`crate::query::UNADDRESSED_SHOWN`] of them.
    pub unaddressed: Vec<ObjectRef>,
    /// How many such pods there are.
    pub unaddressed_count: u64,
    /// Blind stretches it touches.
    pub gaps: Vec<GapSeen>,
}
