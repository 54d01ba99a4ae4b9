//! Columns of pods and nodes. The STATUS of a pod follows kubectl: the phase, unless a container
//! or the deletion says something more telling.

use serde_json::Value;

use super::{AGE, Column, NAME, Object, column, scalar, wide};
use crate::when;

pub(super) const POD: &[Column] = &[
    NAME,
    column("READY", ready),
    column("STATUS", status),
    column("RESTARTS", restarts),
    AGE,
    wide("IP", |o| o.text("/status/podIP")),
    wide("NODE", |o| o.text("/spec/nodeName")),
];

pub(super) const NODE: &[Column] = &[
    NAME,
    column("STATUS", node_status),
    column("ROLES", roles),
    AGE,
    column("VERSION", |o| o.text("/status/nodeInfo/kubeletVersion")),
    wide("INTERNAL-IP", |o| node_address(o, "InternalIP")),
    wide("EXTERNAL-IP", |o| node_address(o, "ExternalIP")),
    wide("OS-IMAGE", |o| o.text("/status/nodeInfo/osImage")),
    wide("KERNEL-VERSION", |o| o.text("/status/nodeInfo/kernelVersion")),
    wide("CONTAINER-RUNTIME", |o| o.text("/status/nodeInfo/containerRuntimeVersion")),
];

fn ready(pod: &Object<'_>) -> String {
    let is_ready = |status: &&Value| status["ready"] == true;
    let started = |status: &&Value| status["state"]["running"].is_object();
    let main = pod.list("/status/containerStatuses").iter();
    let sidecars = pod.list("/spec/initContainers").iter().filter(|c| restartable(c));
    let sidecar_ready = pod
        .list("/status/initContainerStatuses")
        .iter()
        .filter(|status| sidecars.clone().any(|c| c["name"] == status["name"]))
        .filter(is_ready)
        .count();
    let total = pod.list("/spec/containers").len() + sidecars.clone().count();
    format!("{}/{total}", main.filter(is_ready).filter(started).count() + sidecar_ready)
}

fn restartable(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn status(pod: &Object<'_>) -> String {
    let own_reason = pod.text("/status/reason");
    if pod.at("/metadata/deletionTimestamp").is_string() {
        let lost = own_reason == "NodeLost";
        return String::from(if lost { "Unknown" } else { "Terminating" });
    }
    if let Some(initial) = init_status(pod) {
        return initial;
    }
    let phase = pod.text("/status/phase");
    let default = if own_reason.is_empty() { phase } else { own_reason };
    container_status(pod).unwrap_or(default)
}

/// The status while init containers are at work; `None` once all are done.
fn init_status(pod: &Object<'_>) -> Option<String> {
    let specs = pod.list("/spec/initContainers");
    for (done, current) in pod.list("/status/initContainerStatuses").iter().enumerate() {
        let state = &current["state"];
        let sidecar = specs.iter().any(|c| c["name"] == current["name"] && restartable(c));
        if state["terminated"]["exitCode"] == 0 || (sidecar && current["started"] == true) {
            continue;
        }
        if state["terminated"].is_object() {
            return Some(format!("Init:{}", termination(&state["terminated"])));
        }
        let waiting = scalar(&state["waiting"]["reason"]);
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{done}/{}", specs.len()));
    }
    None
}

/// What the last container with something to say says.
fn container_status(pod: &Object<'_>) -> Option<String> {
    let containers = pod.list("/status/containerStatuses");
    let mut reason = None;
    let mut running = false;
    for container in containers.iter().rev() {
        let state = &container["state"];
        let waiting = scalar(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            reason = Some(waiting);
        } else if state["terminated"].is_object() {
            reason = Some(termination(&state["terminated"]));
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
        }
    }
    if reason.as_deref() == Some("Completed") && running {
        return Some(String::from("Running"));
    }
    reason
}

fn termination(terminated: &Value) -> String {
    let reason = scalar(&terminated["reason"]);
    if !reason.is_empty() {
        return reason;
    }
    match terminated["signal"].as_i64() {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", scalar(&terminated["exitCode"])),
    }
}

fn restarts(pod: &Object<'_>) -> String {
    let containers = pod.list("/status/containerStatuses");
    let count: i64 = containers.iter().filter_map(|c| c["restartCount"].as_i64()).sum();
    let last = containers
        .iter()
        .filter_map(|c| c.pointer("/lastState/terminated/finishedAt")?.as_str())
        .filter_map(when::parse_rfc3339)
        .max();
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", when::age(last, pod.now_ns)),
        _ => count.to_string(),
    }
}

fn node_status(node: &Object<'_>) -> String {
    let ready = node.list("/status/conditions").iter().find(|c| c["type"] == "Ready");
    let word = match ready.and_then(|c| c["status"].as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.at("/spec/unschedulable") == true;
    format!("{word}{}", if cordoned { ",SchedulingDisabled" } else { "" })
}

fn roles(node: &Object<'_>) -> String {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let Some(labels) = node.at("/metadata/labels").as_object() else { return String::new() };
    let roles: Vec<_> = labels.keys().filter_map(|key| key.strip_prefix(PREFIX)).collect();
    roles.join(",")
}

fn node_address(node: &Object<'_>, wanted: &str) -> String {
    let found = node.list("/status/addresses").iter().find(|a| a["type"] == wanted);
    found.map(|a| scalar(&a["address"])).unwrap_or_default()
}
