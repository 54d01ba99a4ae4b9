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
    /// A pod with a network of its own that has ports on its node's address.
    HostPortPod,
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
    /// The object was removed, or vanished while nobody looked, and its containers may have run on;
    /// nobody saw the end.
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

/// A port that somebody asks about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`; `None` means any.
    pub protocol: Option<String>,
}

impl Port {
    /// Reads `443` or `443/tcp`.
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, protocol) = match text.split_once('/') {
            Some((number, protocol)) => (number, Some(protocol)),
            None => (text, None),
        };
        let port = number.trim().parse().ok().filter(|number| *number != 0);
        let number = port.ok_or_else(|| format!("{text:?} is no port; write 443 or 443/tcp"))?;
        let protocol = match protocol.map(str::trim) {
            None => None,
            Some(protocol) => Some(Self::protocol(protocol).ok_or_else(|| {
                format!("{protocol:?} is no protocol with ports; write tcp, udp or sctp")
            })?),
        };
        Ok(Self { number, protocol })
    }

    /// The name of a protocol with ports, from its name or its number in IP headers.
    pub fn protocol(text: &str) -> Option<String> {
        let name = match text.to_ascii_uppercase().as_str() {
            "TCP" | "6" => "TCP",
            "UDP" | "17" => "UDP",
            "SCTP" | "132" => "SCTP",
            _ => return None,
        };
        Some(name.to_owned())
    }

    /// Whether it is the port of this number and protocol.
    pub(crate) fn is(&self, number: u16, protocol: &str) -> bool {
        let asked = self.protocol.as_deref();
        self.number == number && asked.is_none_or(|asked| asked.eq_ignore_ascii_case(protocol))
    }
}

/// A port with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedPort {
    /// Its name; empty if it has none.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number; `None` means all.
    pub port: Option<u16>,
}

/// What an endpoint slice says of an endpoint; what it leaves out is as Kubernetes defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// It is to get traffic; true where nothing is said.
    pub ready: bool,
    /// It could answer; as `ready` where nothing is said.
    pub serving: bool,
    /// It is being ended; false where nothing is said.
    pub terminating: bool,
}

/// A service that a pod was an endpoint of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service; empty if the slice names none.
    pub service: String,
    /// Uid of the service, if the slice names it as its owner.
    pub uid: Option<String>,
    /// Name of the endpoint slice that says so.
    pub slice: String,
    /// How the pod stood in it.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// The ports of the endpoints.
    pub ports: Vec<NamedPort>,
}

/// Something that a service leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its addresses, or its host name.
    pub addresses: Vec<String>,
    /// The ports that are served there, of those that lead there from the port asked about.
    pub ports: Vec<NamedPort>,
    /// How it stood.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// The kind of what it is, usually `Pod`; empty if the slice does not say.
    pub kind: String,
    /// Namespace of it.
    pub namespace: String,
    /// Name of it.
    pub name: String,
    /// Uid of it.
    pub uid: String,
    /// The node it is on.
    pub node: Option<String>,
}

/// What a service led to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backends {
    /// How many there were.
    pub count: u64,
    /// At most [`crate::query::BACKENDS_SHOWN`] of them.
    pub shown: Vec<Backend>,
}

/// How an address leads to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

/// Where an address belongs that nobody is known to have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PlaceKind {
    /// In the range from which a node's pods get theirs. Bridges and routers of the network
    /// plug-in have one there, too.
    PodRange,
    /// In a range of service addresses.
    ServiceRange,
    /// In none of the ranges that the recorded clusters declare.
    External,
    /// It means something only on the host or link where it is used: loopback, link-local,
    /// multicast, unspecified.
    Local,
}

/// Where an address belongs that nobody is known to have had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// What kind of place it is.
    pub kind: PlaceKind,
    /// The range.
    pub range: Option<String>,
    /// The object that declares the range.
    pub of: Option<ObjectRef>,
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
    /// How the address leads to a service.
    pub via: Option<Via>,
    /// The port asked about, as it declares it. Others may use a port that they do not declare.
    pub port: Option<NamedPort>,
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
    /// Services that a pod was an endpoint of, at that point; `None` if it is not recorded
    /// or not asked for.
    pub services: Option<Vec<Selection>>,
    /// What a service led to at that point; `None` if it is not recorded or not asked for.
    pub backends: Option<Backends>,
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
    /// The port asked about.
    pub port: Option<Port>,
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
    /// Who held it or may have, likeliest first. What is said of one holds for the last moment of
    /// the stretch at which it may have held the address.
    pub candidates: Vec<Candidate>,
    /// Where the address belongs if there are no candidates.
    pub place: Option<Place>,
    /// Pods that ran then and of which no address is known: each may have had this one. At most
    /// [`crate::query::UNADDRESSED_SHOWN`] of them.
    pub unaddressed: Vec<ObjectRef>,
    /// How many such pods there are.
    pub unaddressed_count: u64,
    /// Blind stretches it touches.
    pub gaps: Vec<GapSeen>,
}
