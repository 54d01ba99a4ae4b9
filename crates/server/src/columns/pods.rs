//! Columns of pods and nodes. The STATUS of a pod follows kubectl: the phase, unless a container
//! or the deletion says something more telling.

use serde_json::Value;

use super::{
    AGE, NAME, NONE, Object, Row, Table, UNKNOWN, age, labels, parse_rfc3339, scalar, text, wide,
};

pub(super) const TABLES: &[Table] = &[
    (
        "",
        "Pod",
        POD,
        &[
            "spec.nodeName",
            "spec.containers.name",
            "spec.initContainers.name",
            "spec.initContainers.restartPolicy",
            "spec.readinessGates",
            "status",
        ],
    ),
    (
        "",
        "PodTemplate",
        &[
            NAME,
            text("Containers", |o| containers(o, "/template/spec/containers", "name")),
            text("Images", |o| containers(o, "/template/spec/containers", "image")),
            text("Pod Labels", |o| labels(o.at("/template/metadata/labels"))),
        ],
        &["template"],
    ),
    (
        "",
        "Node",
        NODE,
        &[
            "metadata.labels",
            "spec.unschedulable",
            "status.conditions",
            "status.nodeInfo",
            "status.addresses",
        ],
    ),
];

const POD: &[Row] = &[
    NAME,
    text("Ready", |o| Pod::read(o).ready.into()),
    text("Status", |o| Pod::read(o).status.into()),
    text("Restarts", |o| Pod::read(o).restarts.into()),
    AGE,
    wide("IP", |o| o.text_or("/status/podIPs/0/ip", NONE)),
    wide("Node", |o| o.text_or("/spec/nodeName", NONE)),
    wide("Nominated Node", |o| o.text_or("/status/nominatedNodeName", NONE)),
    wide("Readiness Gates", readiness_gates),
];

const NODE: &[Row] = &[
    NAME,
    text("Status", node_status),
    text("Roles", roles),
    AGE,
    text("Version", |o| o.text("/status/nodeInfo/kubeletVersion").into()),
    wide("Internal-IP", |o| node_address(o, "InternalIP")),
    wide("External-IP", |o| node_address(o, "ExternalIP")),
    wide("OS-Image", |o| o.text_or("/status/nodeInfo/osImage", UNKNOWN)),
    wide("Kernel-Version", kernel),
    wide("Container-Runtime", |o| o.text_or("/status/nodeInfo/containerRuntimeVersion", UNKNOWN)),
];

/// Names or images of containers.
pub(super) fn containers(object: &Object<'_>, pointer: &str, field: &str) -> Value {
    let all = object.list(pointer).iter();
    all.map(|container| scalar(&container[field])).collect::<Vec<_>>().join(",").into()
}

/// What a pod's containers say together.
struct Pod {
    ready: String,
    status: String,
    restarts: String,
}

/// Restarts, and when the last one was.
#[derive(Default, Clone, Copy)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += container["restartCount"].as_i64().unwrap_or(0);
        let finished = container.pointer("/lastState/terminated/finishedAt");
        let finished = finished.and_then(Value::as_str).and_then(parse_rfc3339);
        self.last = self.last.max(finished);
    }
}

/// What init containers say.
struct Init {
    /// The status while they are at work.
    status: Option<String>,
    ready: usize,
    all: Restarts,
    /// Of those that run beside the others.
    sidecars: Restarts,
}

impl Pod {
    fn read(pod: &Object<'_>) -> Self {
        let sidecars = pod.list("/spec/initContainers").iter().filter(|c| is_sidecar(c)).count();
        let total = pod.list("/spec/containers").len() + sidecars;
        let init = Init::read(pod);
        let (mut ready, mut restarts) = (init.ready, init.all);
        let mut status = init.status.clone().unwrap_or_else(|| phase(pod));
        if init.status.is_none() || holds(pod, "Initialized") {
            restarts = init.sidecars;
            let main = pod.list("/status/containerStatuses");
            main.iter().for_each(|container| restarts.add(container));
            ready += main.iter().filter(|c| !waits_or_ended(c) && is_ready(c)).count();
            status = container_status(pod, status);
        }
        if pod.is_being_deleted() {
            let phase = pod.text("/status/phase");
            if pod.text("/status/reason") == "NodeLost" {
                status = "Unknown".to_owned();
            } else if !matches!(phase.as_str(), "Succeeded" | "Failed") {
                status = "Terminating".to_owned();
            }
        }
        let restarts = match restarts.last {
            Some(last) if restarts.count != 0 => {
                format!("{} ({} ago)", restarts.count, age(last, pod.now_ns))
            }
            _ => restarts.count.to_string(),
        };
        Self { ready: format!("{ready}/{total}"), status, restarts }
    }
}

impl Init {
    fn read(pod: &Object<'_>) -> Self {
        let specs = pod.list("/spec/initContainers");
        let mut init = Self {
            status: None,
            ready: 0,
            all: Restarts::default(),
            sidecars: Restarts::default(),
        };
        for (done, current) in pod.list("/status/initContainerStatuses").iter().enumerate() {
            let state = &current["state"];
            let sidecar = specs.iter().any(|c| c["name"] == current["name"] && is_sidecar(c));
            init.all.add(current);
            if sidecar {
                init.sidecars.add(current);
            }
            if state["terminated"].is_object() && number(&state["terminated"]["exitCode"]) == 0 {
                continue;
            }
            if sidecar && current["started"] == true {
                init.ready += usize::from(current["ready"] == true);
                continue;
            }
            let waiting = scalar(&state["waiting"]["reason"]);
            init.status = Some(if state["terminated"].is_object() {
                format!("Init:{}", termination(&state["terminated"]))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{done}/{}", specs.len())
            });
            break;
        }
        init
    }
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn is_ready(container: &Value) -> bool {
    container["ready"] == true && container["state"]["running"].is_object()
}

fn waits_or_ended(container: &Value) -> bool {
    let state = &container["state"];
    !scalar(&state["waiting"]["reason"]).is_empty() || state["terminated"].is_object()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Whether a condition is true.
fn holds(pod: &Object<'_>, wanted: &str) -> bool {
    let found = pod.list("/status/conditions").iter().find(|c| c["type"] == wanted);
    found.is_some_and(|condition| condition["status"] == "True")
}

/// The phase, or the reason that the pod itself gives.
fn phase(pod: &Object<'_>) -> String {
    let conditions = pod.list("/status/conditions").iter();
    let gated = |c: &Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
    if conditions.clone().any(gated) {
        return "SchedulingGated".to_owned();
    }
    let reason = pod.text("/status/reason");
    if reason.is_empty() { pod.text("/status/phase") } else { reason }
}

/// What the first container with something to say says.
fn container_status(pod: &Object<'_>, otherwise: String) -> String {
    let mut status = otherwise;
    let (mut running, mut failure) = (false, None);
    for container in pod.list("/status/containerStatuses").iter().rev() {
        let state = &container["state"];
        let waiting = scalar(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            status = waiting;
        } else if state["terminated"].is_object() {
            status = termination(&state["terminated"]);
            if number(&state["terminated"]["exitCode"]) != 0 {
                failure = Some(status.clone());
            }
        } else if is_ready(container) {
            running = true;
        }
    }
    match failure {
        _ if status != "Completed" => status,
        _ if running && holds(pod, "Ready") => "Running".to_owned(),
        Some(failure) => failure,
        None if running => "NotReady".to_owned(),
        None => status,
    }
}

fn termination(terminated: &Value) -> String {
    let reason = scalar(&terminated["reason"]);
    if !reason.is_empty() {
        return reason;
    }
    match terminated["signal"].as_i64() {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", number(&terminated["exitCode"])),
    }
}

fn readiness_gates(pod: &Object<'_>) -> Value {
    let gates = pod.list("/spec/readinessGates");
    if gates.is_empty() {
        return NONE.into();
    }
    let open = |gate: &&Value| holds(pod, gate["conditionType"].as_str().unwrap_or_default());
    format!("{}/{}", gates.iter().filter(open).count(), gates.len()).into()
}

fn node_status(node: &Object<'_>) -> Value {
    let ready = node.list("/status/conditions").iter().rfind(|c| c["type"] == "Ready");
    let word = match ready.map(|c| c["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.flag("/spec/unschedulable");
    format!("{word}{}", if cordoned { ",SchedulingDisabled" } else { "" }).into()
}

fn roles(node: &Object<'_>) -> Value {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let labels = node.at("/metadata/labels").as_object().into_iter().flatten();
    let mut roles: Vec<String> = labels
        .filter_map(|(key, value)| match key.strip_prefix(PREFIX) {
            Some(role) => Some(role.to_owned()),
            None => (key == "kubernetes.io/role").then(|| scalar(value)),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { NONE.into() } else { roles.join(",").into() }
}

fn node_address(node: &Object<'_>, wanted: &str) -> Value {
    let found = node.list("/status/addresses").iter().find(|a| a["type"] == wanted);
    found.map_or_else(|| NONE.into(), |a| scalar(&a["address"]).into())
}

fn kernel(node: &Object<'_>) -> Value {
    let version = scalar(&node.text_or("/status/nodeInfo/kernelVersion", UNKNOWN));
    match node.text("/status/nodeInfo/architecture").as_str() {
        "" => version.into(),
        architecture => format!("{version} ({architecture})").into(),
    }
}
