//! Columns of what a cluster keeps besides workloads: configuration, accounts, roles, events,
//! leases, certificates, priorities, devices.

use serde_json::Value;

use super::{AGE, NAME, NONE, Object, Table, boolean, integer, scalar, text, wide, workloads};

const RBAC: &str = "rbac.authorization.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const EVENT_MEMBERS: &[&str] = &[
    "lastTimestamp",
    "deprecatedLastTimestamp",
    "firstTimestamp",
    "deprecatedFirstTimestamp",
    "eventTime",
    "series",
    "count",
    "deprecatedCount",
    "type",
    "reason",
    "message",
    "note",
    "involvedObject",
    "regarding",
    "source",
    "deprecatedSource",
    "reportingComponent",
    "reportingController",
    "reportingInstance",
];

macro_rules! event {
    ($group:literal) => {
        (
            $group,
            "Event",
            &[
                text("Last Seen", |o| last_seen(o).into()),
                text("Type", |o| o.text("/type").into()),
                text("Reason", |o| o.text("/reason").into()),
                text("Object", event_object),
                wide("Subobject", |o| scalar(&involved(o)["fieldPath"]).into()),
                wide("Source", event_source),
                text("Message", |o| either(o, "/message", "/note").trim().into()),
                wide("First Seen", |o| first_seen(o).into()),
                wide("Count", event_count),
                wide("Name", |o| o.name().into()),
            ],
            EVENT_MEMBERS,
        )
    };
}

macro_rules! binding {
    ($kind:literal) => {
        (
            RBAC,
            $kind,
            &[
                NAME,
                text("Role", |o| {
                    let role = o.at("/roleRef");
                    format!("{}/{}", scalar(&role["kind"]), scalar(&role["name"])).into()
                }),
                AGE,
                wide("Users", |o| subjects(o, "User")),
                wide("Groups", |o| subjects(o, "Group")),
                wide("ServiceAccounts", |o| subjects(o, "ServiceAccount")),
            ],
            &["roleRef", "subjects"],
        )
    };
}

pub(super) const TABLES: &[Table] = &[
    (
        "",
        "ConfigMap",
        &[NAME, text("Data", |o| (o.keys("/data") + o.keys("/binaryData")).into()), AGE],
        &["data", "binaryData"],
    ),
    (
        "",
        "Secret",
        &[
            NAME,
            text("Type", |o| o.text("/type").into()),
            text("Data", |o| o.keys("/data").into()),
            AGE,
        ],
        &["type", "data"],
    ),
    (
        "",
        "Namespace",
        &[NAME, text("Status", |o| o.text("/status/phase").into()), AGE],
        &["status.phase"],
    ),
    ("", "ServiceAccount", &[NAME, AGE], &[]),
    event!(""),
    event!("events.k8s.io"),
    binding!("RoleBinding"),
    binding!("ClusterRoleBinding"),
    (
        "coordination.k8s.io",
        "Lease",
        &[NAME, text("Holder", |o| o.text("/spec/holderIdentity").into()), AGE],
        &["spec.holderIdentity"],
    ),
    (
        "certificates.k8s.io",
        "CertificateSigningRequest",
        &[
            NAME,
            AGE,
            text("SignerName", |o| o.text_or("/spec/signerName", NONE)),
            text("Requestor", |o| o.text("/spec/username").into()),
            text("RequestedDuration", |o| match o.at("/spec/expirationSeconds").as_i64() {
                Some(seconds) => workloads::requested(seconds).into(),
                None => NONE.into(),
            }),
            text("Condition", request_status),
        ],
        &["spec", "status"],
    ),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &[
            NAME,
            integer("Value", |o| o.number("/value").into()),
            boolean("Global-Default", |o| o.flag("/globalDefault").into()),
            AGE,
            wide("PreemptionPolicy", |o| o.text("/preemptionPolicy").into()),
        ],
        &["value", "globalDefault", "preemptionPolicy"],
    ),
    (
        "node.k8s.io",
        "RuntimeClass",
        &[NAME, text("Handler", |o| o.text("/handler").into()), AGE],
        &["handler"],
    ),
    (
        FLOW,
        "FlowSchema",
        &[
            NAME,
            text("PriorityLevel", |o| o.text("/spec/priorityLevelConfiguration/name").into()),
            text("MatchingPrecedence", |o| o.number("/spec/matchingPrecedence").into()),
            text("DistinguisherMethod", |o| o.text_or("/spec/distinguisherMethod/type", NONE)),
            AGE,
            text("MissingPL", |o| {
                let dangling =
                    o.list("/status/conditions").iter().find(|c| c["type"] == "Dangling");
                dangling.map_or_else(|| "?".into(), |c| scalar(&c["status"]).into())
            }),
        ],
        &["spec", "status"],
    ),
    (
        FLOW,
        "PriorityLevelConfiguration",
        &[
            NAME,
            text("Type", |o| o.text("/spec/type").into()),
            text("NominalConcurrencyShares", |o| {
                level(o, "/spec/limited", "/spec/limited/nominalConcurrencyShares")
            }),
            text("Queues", |o| level(o, QUEUING, "/spec/limited/limitResponse/queuing/queues")),
            text("HandSize", |o| level(o, QUEUING, "/spec/limited/limitResponse/queuing/handSize")),
            text("QueueLengthLimit", |o| {
                level(o, QUEUING, "/spec/limited/limitResponse/queuing/queueLengthLimit")
            }),
            AGE,
        ],
        &["spec"],
    ),
    ("resource.k8s.io", "DeviceClass", &[NAME, AGE], &[]),
    ("resource.k8s.io", "ResourceClaim", &[NAME, text("State", claim_state), AGE], &["status"]),
    ("resource.k8s.io", "ResourceClaimTemplate", &[NAME, AGE], &[]),
    (
        "resource.k8s.io",
        "ResourceSlice",
        &[
            NAME,
            text("Node", |o| o.text("/spec/nodeName").into()),
            text("Driver", |o| o.text("/spec/driver").into()),
            text("Pool", |o| o.text("/spec/pool/name").into()),
            AGE,
        ],
        &["spec"],
    ),
    (
        "apiregistration.k8s.io",
        "APIService",
        &[NAME, text("Service", service), text("Available", available), AGE],
        &["spec", "status"],
    ),
];

const QUEUING: &str = "/spec/limited/limitResponse/queuing";

/// The first text that is there.
fn either(object: &Object<'_>, first: &str, second: &str) -> String {
    let text = object.text(first);
    if text.is_empty() { object.text(second) } else { text }
}

fn involved<'a>(event: &Object<'a>) -> &'a Value {
    let involved = event.at("/involvedObject");
    if involved.is_object() { involved } else { event.at("/regarding") }
}

fn first_seen(event: &Object<'_>) -> String {
    let times = ["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"];
    let found = times.into_iter().find(|time| event.at(time).is_string());
    event.age(found.unwrap_or("/eventTime"))
}

fn last_seen(event: &Object<'_>) -> String {
    if event.at("/series").is_object() {
        return event.age("/series/lastObservedTime");
    }
    let times = ["/lastTimestamp", "/deprecatedLastTimestamp"];
    match times.into_iter().find(|time| event.at(time).is_string()) {
        Some(time) => event.age(time),
        None => first_seen(event),
    }
}

fn event_count(event: &Object<'_>) -> Value {
    if event.at("/series").is_object() {
        return event.number("/series/count").into();
    }
    event.number("/count").max(event.number("/deprecatedCount")).max(1).into()
}

fn event_object(event: &Object<'_>) -> Value {
    let object = involved(event);
    let (kind, name) = (scalar(&object["kind"]).to_lowercase(), scalar(&object["name"]));
    if name.is_empty() { kind.into() } else { format!("{kind}/{name}").into() }
}

fn event_source(event: &Object<'_>) -> Value {
    let first = |places: &[&str]| {
        let texts = places.iter().map(|place| event.text(place));
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    };
    let component = first(&[
        "/source/component",
        "/deprecatedSource/component",
        "/reportingComponent",
        "/reportingController",
    ]);
    let instance = first(&["/source/host", "/deprecatedSource/host", "/reportingInstance"]);
    if instance.is_empty() { component.into() } else { format!("{component}, {instance}").into() }
}

fn subjects(binding: &Object<'_>, kind: &str) -> Value {
    let all = binding.list("/subjects").iter().filter(|subject| subject["kind"] == kind);
    let named = all.map(|subject| match kind {
        "ServiceAccount" => {
            format!("{}/{}", scalar(&subject["namespace"]), scalar(&subject["name"]))
        }
        _ => scalar(&subject["name"]),
    });
    named.collect::<Vec<_>>().join(", ").into()
}

fn request_status(request: &Object<'_>) -> Value {
    let has = |wanted: &str| {
        request.list("/status/conditions").iter().any(|condition| condition["type"] == wanted)
    };
    let decided = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if request.text("/status/certificate").is_empty() { "" } else { ",Issued" };
    format!("{decided}{failed}{issued}").into()
}

fn level(object: &Object<'_>, within: &str, pointer: &str) -> Value {
    if object.at(within).is_object() { object.number(pointer).into() } else { NONE.into() }
}

fn claim_state(claim: &Object<'_>) -> Value {
    let mut states = Vec::new();
    if claim.is_being_deleted() {
        states.push("deleted");
    }
    if claim.at("/status/allocation").is_object() {
        states.push("allocated");
        if !claim.list("/status/reservedFor").is_empty() {
            states.push("reserved");
        }
    } else if states.is_empty() {
        states.push("pending");
    }
    states.join(",").into()
}

fn service(api: &Object<'_>) -> Value {
    let service = api.at("/spec/service");
    if !service.is_object() {
        return "Local".into();
    }
    format!("{}/{}", scalar(&service["namespace"]), scalar(&service["name"])).into()
}

fn available(api: &Object<'_>) -> Value {
    let condition = api.list("/status/conditions").iter().find(|c| c["type"] == "Available");
    match condition {
        None => "Unknown".into(),
        Some(condition) => match (scalar(&condition["status"]), scalar(&condition["reason"])) {
            (status, reason) if status == "True" || reason.is_empty() => status.into(),
            (status, reason) => format!("{status} ({reason})").into(),
        },
    }
}
