//! Columns of services, endpoints, ingresses and addresses.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    AGE, NAME, NONE, Object, Table, first_three, joined, labels, scalar, selector_or_none, text,
    wide,
};

pub(super) const TABLES: &[Table] = &[
    (
        "",
        "Service",
        &[
            NAME,
            text("Type", |o| o.text("/spec/type").into()),
            text("Cluster-IP", cluster_ip),
            text("External-IP", external_ip),
            text("Port(s)", ports),
            AGE,
            wide("Selector", |o| labels(o.at("/spec/selector"))),
        ],
        &["spec", "status.loadBalancer"],
    ),
    ("", "Endpoints", &[NAME, text("Endpoints", endpoints), AGE], &["subsets"]),
    (
        "discovery.k8s.io",
        "EndpointSlice",
        &[
            NAME,
            text("AddressType", |o| o.text("/addressType").into()),
            text("Ports", slice_ports),
            text("Endpoints", slice_endpoints),
            AGE,
        ],
        &["addressType", "ports", "endpoints.addresses"],
    ),
    (
        "networking.k8s.io",
        "Ingress",
        &[
            NAME,
            text("Class", |o| o.text_or("/spec/ingressClassName", NONE)),
            text("Hosts", hosts),
            text("Address", |o| balancer(o).join(",").into()),
            text("Ports", |o| if o.list("/spec/tls").is_empty() { "80" } else { "80, 443" }.into()),
            AGE,
        ],
        &["spec", "status.loadBalancer"],
    ),
    (
        "networking.k8s.io",
        "IngressClass",
        &[
            text("Name", |o| {
                super::storage::default_name(o, &["ingressclass.kubernetes.io/is-default-class"])
            }),
            text("Controller", |o| o.text("/spec/controller").into()),
            text("Parameters", parameters),
            AGE,
        ],
        &["metadata.annotations", "spec"],
    ),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        &[NAME, text("Pod-Selector", |o| selector_or_none(o.at("/spec/podSelector"))), AGE],
        &["spec.podSelector"],
    ),
    (
        "networking.k8s.io",
        "ServiceCIDR",
        &[NAME, text("CIDRs", |o| joined(o.list("/spec/cidrs"), ",").into()), AGE],
        &["spec.cidrs"],
    ),
    ("networking.k8s.io", "IPAddress", &[NAME, text("ParentRef", parent)], &["spec.parentRef"]),
];

fn cluster_ip(service: &Object<'_>) -> Value {
    match service.list("/spec/clusterIPs").first() {
        Some(first) => scalar(first).into(),
        // Servers before 1.20 know only the one field.
        None => service.text_or("/spec/clusterIP", NONE),
    }
}

/// Addresses and names that a load balancer has given, sorted.
fn balancer(object: &Object<'_>) -> Vec<String> {
    let entries = object.list("/status/loadBalancer/ingress").iter();
    let named = entries.map(|entry| {
        let ip = scalar(&entry["ip"]);
        if ip.is_empty() { scalar(&entry["hostname"]) } else { ip }
    });
    named.filter(|text| !text.is_empty()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn external_ip(service: &Object<'_>) -> Value {
    let named: Vec<String> = service.list("/spec/externalIPs").iter().map(scalar).collect();
    let or = |all: Vec<String>, none: &str| {
        if all.is_empty() { none.into() } else { all.join(",").into() }
    };
    match service.text("/spec/type").as_str() {
        "ClusterIP" | "NodePort" => or(named, NONE),
        "LoadBalancer" => or(balancer(service).into_iter().chain(named).collect(), "<pending>"),
        "ExternalName" => service.text("/spec/externalName").into(),
        _ => super::UNKNOWN.into(),
    }
}

fn ports(service: &Object<'_>) -> Value {
    let port = |entry: &Value| {
        let node = entry["nodePort"].as_i64().filter(|port| *port > 0);
        let node = node.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{node}/{}", scalar(&entry["port"]), scalar(&entry["protocol"]))
    };
    let all = service.list("/spec/ports").iter().map(port).collect::<Vec<_>>().join(",");
    if all.is_empty() { NONE.into() } else { all.into() }
}

/// Most addresses that are shown.
const SHOWN: usize = 3;

fn endpoints(object: &Object<'_>) -> Value {
    let subsets = object.list("/subsets");
    if subsets.is_empty() {
        return NONE.into();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = || subset["addresses"].as_array().into_iter().flatten();
        let ports = subset["ports"].as_array().map_or(&[][..], Vec::as_slice);
        if ports.is_empty() {
            all.extend(addresses().map(|address| scalar(&address["ip"])));
        }
        for port in ports {
            let port = scalar(&port["port"]);
            all.extend(addresses().map(|address| match scalar(&address["ip"]) {
                ip if ip.contains(':') => format!("[{ip}]:{port}"),
                ip => format!("{ip}:{port}"),
            }));
        }
    }
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    let text = all.join(",");
    if more > 0 { format!("{text} + {more} more...").into() } else { text.into() }
}

fn slice_ports(slice: &Object<'_>) -> Value {
    let port = |port: &Value| match (scalar(&port["port"]), port["name"].as_str()) {
        (number, _) if !number.is_empty() => number,
        (_, Some(name)) => name.to_owned(),
        _ => "*".to_owned(),
    };
    first_three(&slice.list("/ports").iter().map(port).collect::<Vec<_>>()).into()
}

fn slice_endpoints(slice: &Object<'_>) -> Value {
    let all = slice.list("/endpoints").iter();
    let addresses = all.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    first_three(&addresses.map(scalar).collect::<Vec<_>>()).into()
}

fn hosts(ingress: &Object<'_>) -> Value {
    let rules = ingress.list("/spec/rules");
    let (mut shown, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= shown.len() == SHOWN;
        let host = scalar(&rule["host"]);
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".into(),
        (_, false) => shown.join(",").into(),
        (_, true) => format!("{} + {} more...", shown.join(","), rules.len() - SHOWN).into(),
    }
}

fn parameters(class: &Object<'_>) -> Value {
    let parameters = class.at("/spec/parameters");
    if !parameters.is_object() {
        return NONE.into();
    }
    let group = parameters["apiGroup"].as_str().map(|group| format!(".{group}"));
    let (kind, name) = (scalar(&parameters["kind"]), scalar(&parameters["name"]));
    format!("{kind}{}/{name}", group.unwrap_or_default()).into()
}

fn parent(address: &Object<'_>) -> Value {
    let parent = address.at("/spec/parentRef");
    if !parent.is_object() {
        return NONE.into();
    }
    let field = |name: &str| scalar(&parent[name]);
    let mut text = field("resource").to_lowercase();
    if !field("group").is_empty() {
        text = format!("{text}.{}", field("group").to_lowercase());
    }
    if !field("namespace").is_empty() {
        text = format!("{text}/{}", field("namespace"));
    }
    format!("{text}/{}", field("name")).into()
}
