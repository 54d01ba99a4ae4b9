//! Addresses: what a version of a pod, node or service says about them, and the index from an
//! address to all objects that ever had it.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Context, Fault, Fold, Stamp, unusable};
use crate::StateError;
use crate::tables::{AddressRow, IpKey, LifeRow, NetworkIp};

/// Roles in [`AddressRow::role`].
pub(crate) const POD: u8 = 0;
pub(crate) const NODE: u8 = 1;
pub(crate) const SERVICE: u8 = 2;

/// Annotation in which Multus reports secondary networks.
const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: PodMeta<'a>,
    #[serde(borrow, default)]
    spec: PodSpec<'a>,
    #[serde(borrow, default)]
    status: PodStatus<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodMeta<'a> {
    #[serde(borrow, default)]
    creation_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
    #[serde(default)]
    deletion_grace_period_seconds: Option<i64>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodSpec<'a> {
    #[serde(borrow, default)]
    node_name: Cow<'a, str>,
    #[serde(default)]
    host_network: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodStatus<'a> {
    #[serde(borrow, default)]
    phase: Cow<'a, str>,
    #[serde(borrow, default, rename = "podIP")]
    pod_ip: Cow<'a, str>,
    #[serde(borrow, default, rename = "podIPs")]
    pod_ips: Option<Vec<Ip<'a>>>,
    #[serde(default)]
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize)]
struct Ip<'a> {
    #[serde(borrow, default)]
    ip: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    #[serde(default)]
    state: ContainerState,
}

#[derive(Deserialize, Default)]
struct ContainerState {
    #[serde(default)]
    running: Option<serde::de::IgnoredAny>,
}

/// An entry of [`NETWORK_STATUS`].
#[derive(Deserialize)]
struct NetworkStatus {
    #[serde(default)]
    name: String,
    #[serde(default)]
    ips: Option<Vec<String>>,
    #[serde(default)]
    default: bool,
}

#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow, default)]
    status: NodeStatus<'a>,
}

#[derive(Deserialize, Default)]
struct NodeStatus<'a> {
    #[serde(borrow, default)]
    addresses: Option<Vec<NodeAddress<'a>>>,
}

#[derive(Deserialize)]
struct NodeAddress<'a> {
    #[serde(borrow, default)]
    address: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Service<'a> {
    #[serde(borrow, default)]
    spec: ServiceSpec<'a>,
    #[serde(borrow, default)]
    status: ServiceStatus<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec<'a> {
    #[serde(borrow, default, rename = "clusterIP")]
    cluster_ip: Cow<'a, str>,
    #[serde(borrow, default, rename = "clusterIPs")]
    cluster_ips: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default, rename = "externalIPs")]
    external_ips: Option<Vec<Cow<'a, str>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ServiceStatus<'a> {
    #[serde(borrow, default)]
    load_balancer: LoadBalancer<'a>,
}

#[derive(Deserialize, Default)]
struct LoadBalancer<'a> {
    #[serde(borrow, default)]
    ingress: Option<Vec<Ip<'a>>>,
}

impl Fold<'_> {
    /// What an object says about addresses; `None` if its type has none.
    pub(super) fn address(
        &mut self,
        context: &Context,
        raw: &RawValue,
    ) -> Result<Option<AddressRow>, Fault> {
        if !context.frame.group.is_empty() {
            return Ok(None);
        }
        let read = match context.frame.resource.as_str() {
            "pods" => read_pod(raw.get()),
            "nodes" => read_node(raw.get()),
            "services" => read_service(raw.get()),
            _ => return Ok(None),
        };
        read.map(Some).map_err(|e| unusable(format!("addresses of an object: {e}")))
    }

    /// Keeps the way from addresses to the object.
    pub(super) fn index_addresses(
        &mut self,
        stamp: Stamp,
        cluster: u32,
        object: u64,
        life: &mut LifeRow,
        address: &AddressRow,
    ) -> Result<(), StateError> {
        for entry in &address.ips {
            self.w.ips.insert((&entry.ip, cluster, object), ())?;
        }
        if address.role != POD || address.host_network || life.addressed {
            return Ok(());
        }
        let waiting = (cluster, u64::MAX, object);
        if address.ips.is_empty() {
            if life.versions == 0 {
                self.w.unaddressed.insert(waiting, stamp.index)?;
            }
        } else {
            life.addressed = true;
            let first = self.w.unaddressed.remove(waiting)?.map(|first| first.value());
            if let Some(first) = first {
                self.w.unaddressed.insert((cluster, stamp.index, object), first)?;
            }
        }
        Ok(())
    }
}

fn read_pod(text: &str) -> Result<AddressRow, serde_json::Error> {
    let pod: Pod<'_> = serde_json::from_str(text)?;
    let mut ips = Vec::new();
    let own = pod.status.pod_ips.unwrap_or_default();
    for ip in own.iter().map(|entry| entry.ip.as_ref()).chain([pod.status.pod_ip.as_ref()]) {
        add(&mut ips, ip, "");
    }
    let annotations = pod.metadata.annotations.unwrap_or_default();
    if let Some(status) = annotations.get(NETWORK_STATUS) {
        // Written by the CNI plug-in and free text to the API: if it can't be read, it says nothing.
        let networks: Vec<NetworkStatus> = serde_json::from_str(status).unwrap_or_default();
        for network in networks {
            let name = if network.default { "" } else { network.name.as_str() };
            for ip in network.ips.unwrap_or_default() {
                add(&mut ips, &ip, name);
            }
        }
    }
    let time = |text: Option<Cow<'_, str>>| Some(crate::Time::parse(&text?).ok()?.0);
    let containers = pod.status.container_statuses.unwrap_or_default();
    Ok(AddressRow {
        role: POD,
        ips,
        host_network: pod.spec.host_network,
        phase: pod.status.phase.into_owned(),
        due: time(pod.metadata.deletion_timestamp),
        grace_s: pod.metadata.deletion_grace_period_seconds,
        running: containers.iter().any(|container| container.state.running.is_some()),
        node: pod.spec.node_name.into_owned(),
        created: time(pod.metadata.creation_timestamp),
    })
}

fn read_node(text: &str) -> Result<AddressRow, serde_json::Error> {
    let node: Node<'_> = serde_json::from_str(text)?;
    let mut ips = Vec::new();
    for entry in node.status.addresses.unwrap_or_default() {
        add(&mut ips, &entry.address, "");
    }
    Ok(AddressRow { role: NODE, ips, ..AddressRow::default() })
}

fn read_service(text: &str) -> Result<AddressRow, serde_json::Error> {
    let service: Service<'_> = serde_json::from_str(text)?;
    let mut ips = Vec::new();
    let spec = service.spec;
    let lists = [spec.cluster_ips.unwrap_or_default(), spec.external_ips.unwrap_or_default()];
    for ip in lists.iter().flatten().chain([&spec.cluster_ip]) {
        add(&mut ips, ip, "");
    }
    for entry in service.status.load_balancer.ingress.unwrap_or_default() {
        add(&mut ips, &entry.ip, "");
    }
    Ok(AddressRow { role: SERVICE, ips, ..AddressRow::default() })
}

/// Adds an address, if it is one: nodes also report host names, services `None`.
fn add(ips: &mut Vec<NetworkIp>, text: &str, network: &str) {
    let Some(ip) = ip_key(text) else { return };
    let entry = NetworkIp { ip, network: network.to_owned() };
    if !ips.contains(&entry) {
        ips.push(entry);
    }
}

/// The one form of an address, whatever way it is written (I3): IPv4 is mapped into IPv6. A prefix
/// length, as some CNI plug-ins write it, is passed over.
pub(crate) fn ip_key(text: &str) -> Option<IpKey> {
    let text = text.trim();
    let text = text.split_once('/').map_or(text, |(address, _)| address);
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = text.parse().ok()?;
    Some(key_of(address))
}

/// The key of an address.
pub(crate) fn key_of(address: IpAddr) -> IpKey {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
