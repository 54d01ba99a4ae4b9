//! Addresses: what a version of a pod, node, service or range of service addresses says of them.
//!
//! Not here: what is kept of it (`facts`), and from when to when it holds (`query::lease`).

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use super::reading::fits;
use crate::tables::{AddressRow, IpKey, NetworkIp, PortRow, RangeRow};

/// Roles in [`AddressRow::role`].
pub(crate) const POD: u8 = 0;
pub(crate) const NODE: u8 = 1;
pub(crate) const SERVICE: u8 = 2;
pub(crate) const RANGE: u8 = 3;

/// Network of a node's addresses on which a pod has ports without being in the node's network. No
/// plug-in names one so.
pub(crate) const HOST: &str = "/host";

/// Kinds in [`AddressRow::kinds`].
const CLUSTER: u8 = 0;
const EXTERNAL: u8 = 1;
const LOAD_BALANCER: u8 = 2;

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
    #[serde(borrow, default)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow, default)]
    init_containers: Option<Vec<Container<'a>>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    ports: Option<Vec<ContainerPort<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    protocol: Cow<'a, str>,
    #[serde(default)]
    container_port: u16,
    #[serde(default)]
    host_port: u16,
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
    #[serde(borrow, default, rename = "hostIP")]
    host_ip: Cow<'a, str>,
    #[serde(borrow, default, rename = "hostIPs")]
    host_ips: Option<Vec<Ip<'a>>>,
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
    spec: NodeSpec<'a>,
    #[serde(borrow, default)]
    status: NodeStatus<'a>,
}

#[derive(Deserialize, Default)]
struct NodeSpec<'a> {
    #[serde(borrow, default, rename = "podCIDR")]
    pod_cidr: Cow<'a, str>,
    #[serde(borrow, default, rename = "podCIDRs")]
    pod_cidrs: Option<Vec<Cow<'a, str>>>,
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
    #[serde(borrow, default)]
    ports: Option<Vec<ServicePort<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    protocol: Cow<'a, str>,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    node_port: u16,
}

#[derive(Deserialize)]
struct ServiceCidr<'a> {
    #[serde(borrow, default)]
    spec: ServiceCidrSpec<'a>,
}

#[derive(Deserialize, Default)]
struct ServiceCidrSpec<'a> {
    #[serde(borrow, default)]
    cidrs: Option<Vec<Cow<'a, str>>>,
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

/// What the JSON of an object says about addresses; `None` if its type says nothing of them.
pub(crate) fn addresses(
    group: &str,
    resource: &str,
    text: &str,
) -> Result<Option<AddressRow>, serde_json::Error> {
    match (group, resource) {
        ("", "pods") => read_pod(text),
        ("", "nodes") => read_node(text),
        ("", "services") => read_service(text),
        ("networking.k8s.io", "servicecidrs") => read_service_cidr(text),
        _ => return Ok(None),
    }
    .map(Some)
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
    let ports = host_ports(&pod.spec);
    if !ports.is_empty() && !pod.spec.host_network {
        let host = pod.status.host_ips.unwrap_or_default();
        for ip in host.iter().map(|entry| entry.ip.as_ref()).chain([pod.status.host_ip.as_ref()]) {
            add(&mut ips, ip, HOST);
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
        ports,
        ..AddressRow::default()
    })
}

/// The ports that a pod declares on its node's addresses.
fn host_ports(spec: &PodSpec<'_>) -> Vec<PortRow> {
    let containers = [&spec.containers, &spec.init_containers].into_iter().flatten().flatten();
    let declared = containers.flat_map(|container| container.ports.iter().flatten());
    declared
        .filter_map(|port| {
            // In the node's network a container's port is the node's.
            let host = if port.host_port == 0 && spec.host_network {
                port.container_port
            } else {
                port.host_port
            };
            (host != 0).then(|| PortRow {
                name: port.name.as_ref().to_owned(),
                protocol: protocol(&port.protocol),
                port: host,
                node_port: 0,
            })
        })
        .collect()
}

/// The protocol; Kubernetes means TCP where none is written.
fn protocol(text: &str) -> String {
    if text.is_empty() { "TCP".to_owned() } else { text.to_ascii_uppercase() }
}

fn read_node(text: &str) -> Result<AddressRow, serde_json::Error> {
    let node: Node<'_> = serde_json::from_str(text)?;
    let mut ips = Vec::new();
    for entry in node.status.addresses.unwrap_or_default() {
        add(&mut ips, &entry.address, "");
    }
    let spec = node.spec;
    let ranges = ranges(spec.pod_cidrs.iter().flatten().chain([&spec.pod_cidr]));
    Ok(AddressRow { role: NODE, ips, ranges, ..AddressRow::default() })
}

fn read_service(text: &str) -> Result<AddressRow, serde_json::Error> {
    let service: Service<'_> = serde_json::from_str(text)?;
    let (mut ips, mut kinds) = (Vec::new(), Vec::new());
    let spec = service.spec;
    let balancer = service.status.load_balancer.ingress.unwrap_or_default();
    let cluster = spec.cluster_ips.iter().flatten().chain([&spec.cluster_ip]);
    let all = cluster
        .map(|ip| (ip, CLUSTER))
        .chain(spec.external_ips.iter().flatten().map(|ip| (ip, EXTERNAL)))
        .chain(balancer.iter().map(|entry| (&entry.ip, LOAD_BALANCER)));
    for (ip, kind) in all {
        let before = ips.len();
        add(&mut ips, ip, "");
        kinds.extend((ips.len() > before).then_some(kind));
    }
    let ports = spec.ports.unwrap_or_default();
    let ports = ports.iter().map(|port| PortRow {
        name: port.name.as_ref().to_owned(),
        protocol: protocol(&port.protocol),
        port: port.port,
        node_port: port.node_port,
    });
    let ports = ports.collect();
    Ok(AddressRow { role: SERVICE, ips, kinds, ports, ..AddressRow::default() })
}

fn read_service_cidr(text: &str) -> Result<AddressRow, serde_json::Error> {
    let object: ServiceCidr<'_> = serde_json::from_str(text)?;
    let ranges = ranges(object.spec.cidrs.iter().flatten());
    Ok(AddressRow { role: RANGE, ranges, ..AddressRow::default() })
}

/// The ranges among the texts, each once.
fn ranges<'t>(texts: impl Iterator<Item = &'t Cow<'t, str>>) -> Vec<RangeRow> {
    let mut ranges: Vec<RangeRow> = Vec::new();
    for range in texts.filter_map(|text| range(text)) {
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

fn range(text: &str) -> Option<RangeRow> {
    let (base, prefix) = text.split_once('/')?;
    let address: IpAddr = base.parse().ok()?;
    let (shift, most) = if address.is_ipv4() { (96, 32) } else { (0, 128) };
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= most)?;
    let prefix = prefix + shift;
    Some(RangeRow { base: masked(&key_of(address), prefix), prefix })
}

/// The first address of the range of this prefix length that an address is in.
pub(crate) fn masked(ip: &IpKey, prefix: u8) -> IpKey {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    (u128::from_be_bytes(*ip) & mask).to_be_bytes()
}

/// Adds an address, if it is one: nodes also report host names, services `None`. Whoever may annotate a
/// pod may name a network as they like; one that is too long for a key is none.
fn add(ips: &mut Vec<NetworkIp>, text: &str, network: &str) {
    let Some(ip) = ip_key(text).filter(|_| fits("network", network).is_ok()) else { return };
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
