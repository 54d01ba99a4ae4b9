//! The columns of common kinds, as people know them from kubectl.
//!
//! Ages are relative to the time that was asked for, never to the time of asking. A kind without a
//! table of its own shows NAME and AGE.

mod pods;
mod workloads;

use serde_json::Value;

use crate::when;

/// One column: title, whether it shows only with `-o wide`, and its text.
pub(crate) struct Column {
    title: &'static str,
    wide: bool,
    cell: fn(&Object<'_>) -> String,
}

impl Column {
    /// The title.
    pub(crate) const fn title(&self) -> &'static str {
        self.title
    }

    /// The text for `object`.
    pub(crate) fn cell(&self, object: &Object<'_>) -> String {
        (self.cell)(object)
    }
}

const fn column(title: &'static str, cell: fn(&Object<'_>) -> String) -> Column {
    Column { title, wide: false, cell }
}

const fn wide(title: &'static str, cell: fn(&Object<'_>) -> String) -> Column {
    Column { title, wide: true, cell }
}

/// An object and the time at which it is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    value: &'a Value,
    now_ns: i64,
}

impl<'a> Object<'a> {
    /// `value` as of `now_ns`.
    pub(crate) const fn new(value: &'a Value, now_ns: i64) -> Self {
        Self { value, now_ns }
    }

    fn at(&self, pointer: &str) -> &'a Value {
        self.value.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> String {
        scalar(self.at(pointer))
    }

    fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or(0)
    }

    fn list(&self, pointer: &str) -> &'a [Value] {
        self.at(pointer).as_array().map_or(&[], Vec::as_slice)
    }

    fn age(&self, pointer: &str) -> String {
        match self.at(pointer).as_str().and_then(when::parse_rfc3339) {
            Some(then) => when::age(then, self.now_ns),
            None => String::from("<unknown>"),
        }
    }

    /// `metadata.name`.
    pub(crate) fn name(&self) -> String {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`, empty for an object of the whole cluster.
    pub(crate) fn namespace(&self) -> String {
        self.text("/metadata/namespace")
    }
}

/// Text of a JSON scalar; empty for anything else.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

const NAME: Column = column("NAME", |o| o.name());
const AGE: Column = column("AGE", |o| o.age("/metadata/creationTimestamp"));

const GENERIC: &[Column] = &[NAME, AGE];

/// The columns for objects of `kind` in API `group`.
pub(crate) fn of(group: &str, kind: &str, show_wide: bool) -> Vec<&'static Column> {
    let all: &[Column] = match (group, kind) {
        ("", "Pod") => pods::POD,
        ("", "Node") => pods::NODE,
        ("", "Service") => SERVICE,
        ("", "ConfigMap") => CONFIG_MAP,
        ("", "Secret") => SECRET,
        ("", "Namespace") => NAMESPACE,
        ("", "Event") | ("events.k8s.io", "Event") => EVENT,
        ("", "PersistentVolumeClaim") => CLAIM,
        ("apps", "Deployment") => workloads::DEPLOYMENT,
        ("apps", "ReplicaSet") => workloads::REPLICA_SET,
        ("apps", "StatefulSet") => workloads::STATEFUL_SET,
        ("apps", "DaemonSet") => workloads::DAEMON_SET,
        ("batch", "Job") => workloads::JOB,
        ("batch", "CronJob") => workloads::CRON_JOB,
        _ => GENERIC,
    };
    all.iter().filter(|column| show_wide || !column.wide).collect()
}

const NAMESPACE: &[Column] = &[NAME, column("STATUS", |o| o.text("/status/phase")), AGE];

const CONFIG_MAP: &[Column] =
    &[NAME, column("DATA", |o| (keys(o, "/data") + keys(o, "/binaryData")).to_string()), AGE];

const SECRET: &[Column] = &[
    NAME,
    column("TYPE", |o| o.text("/type")),
    column("DATA", |o| keys(o, "/data").to_string()),
    AGE,
];

fn keys(object: &Object<'_>, pointer: &str) -> usize {
    object.at(pointer).as_object().map_or(0, serde_json::Map::len)
}

const SERVICE: &[Column] = &[
    NAME,
    column("TYPE", |o| o.text("/spec/type")),
    column("CLUSTER-IP", |o| o.text("/spec/clusterIP")),
    column("EXTERNAL-IP", external_ip),
    column("PORT(S)", ports),
    AGE,
    wide("SELECTOR", |o| labels(o.at("/spec/selector"))),
];

fn external_ip(service: &Object<'_>) -> String {
    let assigned = service.list("/status/loadBalancer/ingress").iter().map(|entry| {
        let ip = scalar(&entry["ip"]);
        if ip.is_empty() { scalar(&entry["hostname"]) } else { ip }
    });
    let named = service.list("/spec/externalIPs").iter().map(scalar);
    let all: Vec<_> = assigned.chain(named).collect();
    match service.text("/spec/type").as_str() {
        "ExternalName" => service.text("/spec/externalName"),
        "LoadBalancer" if all.is_empty() => String::from("<pending>"),
        _ => all.join(","),
    }
}

fn ports(service: &Object<'_>) -> String {
    let port = |entry: &Value| {
        let node = scalar(&entry["nodePort"]);
        let node = if node.is_empty() { node } else { format!(":{node}") };
        let protocol = entry["protocol"].as_str().unwrap_or("TCP");
        format!("{}{node}/{protocol}", scalar(&entry["port"]))
    };
    service.list("/spec/ports").iter().map(port).collect::<Vec<_>>().join(",")
}

/// `key=value,…` of a map, sorted.
fn labels(map: &Value) -> String {
    let Some(map) = map.as_object() else { return String::new() };
    map.iter().map(|(k, v)| format!("{k}={}", scalar(v))).collect::<Vec<_>>().join(",")
}

const CLAIM: &[Column] = &[
    NAME,
    column("STATUS", |o| o.text("/status/phase")),
    column("VOLUME", |o| o.text("/spec/volumeName")),
    column("CAPACITY", |o| o.text("/status/capacity/storage")),
    column("STORAGECLASS", |o| o.text("/spec/storageClassName")),
    AGE,
];

const EVENT: &[Column] = &[
    column("LAST SEEN", |o| {
        let candidates = [
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/deprecatedLastTimestamp",
            "/eventTime",
        ];
        let found = candidates.iter().find(|p| o.at(p).is_string());
        o.age(found.unwrap_or(&"/metadata/creationTimestamp"))
    }),
    column("TYPE", |o| o.text("/type")),
    column("REASON", |o| o.text("/reason")),
    column("OBJECT", |o| {
        let object = if o.at("/involvedObject").is_object() {
            o.at("/involvedObject")
        } else {
            o.at("/regarding")
        };
        format!("{}/{}", scalar(&object["kind"]).to_lowercase(), scalar(&object["name"]))
    }),
    wide("COUNT", |o| o.text("/count")),
    wide("NAME", |o| o.name()),
    column("MESSAGE", |o| {
        let message = o.text("/message");
        if message.is_empty() { o.text("/note") } else { message }
    }),
];

/// `names` and `images` of a pod template's containers, for `-o wide`.
fn containers(object: &Object<'_>, field: &str) -> String {
    let all = object.list("/spec/template/spec/containers").iter();
    all.map(|container| scalar(&container[field])).collect::<Vec<_>>().join(",")
}

fn selector(object: &Object<'_>) -> String {
    labels(object.at("/spec/selector/matchLabels"))
}

#[cfg(test)]
mod tests;
