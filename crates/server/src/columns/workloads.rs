//! Columns of the kinds that make pods, and of what scales and limits them.

use serde_json::Value;

use super::pods::containers;
use super::{
    AGE, NAME, NONE, Object, Row, Table, UNKNOWN, UNSET, age, duration, integer, labels,
    parse_rfc3339, scalar, selector, selector_or_none, text, wide,
};

const TEMPLATE: &str = "/spec/template/spec/containers";
const CONTAINERS: Row = wide("Containers", |o| containers(o, TEMPLATE, "name"));
const IMAGES: Row = wide("Images", |o| containers(o, TEMPLATE, "image"));
const SELECTOR: Row = wide("Selector", |o| selector_or_none(o.at("/spec/selector")));
const DESIRED: Row = integer("Desired", |o| o.number("/spec/replicas").into());
const CURRENT: Row = integer("Current", |o| o.number("/status/replicas").into());
const READY: Row = integer("Ready", |o| o.number("/status/readyReplicas").into());

pub(super) const TABLES: &[Table] = &[
    (
        "",
        "ReplicationController",
        &[
            NAME,
            DESIRED,
            CURRENT,
            READY,
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", |o| labels(o.at("/spec/selector"))),
        ],
        &["spec", "status"],
    ),
    (
        "apps",
        "ReplicaSet",
        &[NAME, DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR],
        &[
            "spec.replicas",
            "spec.selector",
            "spec.template.spec.containers.name",
            "spec.template.spec.containers.image",
            "status.replicas",
            "status.readyReplicas",
        ],
    ),
    (
        "apps",
        "Deployment",
        &[
            NAME,
            text("Ready", ready_of_wanted),
            text("Up-to-date", |o| o.number("/status/updatedReplicas").into()),
            text("Available", |o| o.number("/status/availableReplicas").into()),
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", |o| selector(o.at("/spec/selector")).into()),
        ],
        &["spec", "status"],
    ),
    (
        "apps",
        "StatefulSet",
        &[NAME, text("Ready", ready_of_wanted), AGE, CONTAINERS, IMAGES],
        &["spec", "status"],
    ),
    (
        "apps",
        "DaemonSet",
        &[
            NAME,
            integer("Desired", |o| o.number("/status/desiredNumberScheduled").into()),
            integer("Current", |o| o.number("/status/currentNumberScheduled").into()),
            integer("Ready", |o| o.number("/status/numberReady").into()),
            integer("Up-to-date", |o| o.number("/status/updatedNumberScheduled").into()),
            integer("Available", |o| o.number("/status/numberAvailable").into()),
            text("Node Selector", |o| labels(o.at("/spec/template/spec/nodeSelector"))),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        &["spec", "status"],
    ),
    (
        "apps",
        "ControllerRevision",
        &[
            NAME,
            text("Controller", controller),
            text("Revision", |o| o.number("/revision").into()),
            AGE,
        ],
        &["metadata.ownerReferences", "revision"],
    ),
    (
        "batch",
        "Job",
        &[
            NAME,
            text("Status", job_status),
            text("Completions", completions),
            text("Duration", job_duration),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        &["spec", "status"],
    ),
    (
        "batch",
        "CronJob",
        &[
            NAME,
            text("Schedule", |o| o.text("/spec/schedule").into()),
            text("Timezone", |o| o.text_or("/spec/timeZone", NONE)),
            ("Suspend", "boolean", 0, suspended),
            integer("Active", |o| o.list("/status/active").len().into()),
            text("Last Schedule", last_schedule),
            AGE,
            wide("Containers", |o| containers(o, CRON_TEMPLATE, "name")),
            wide("Images", |o| containers(o, CRON_TEMPLATE, "image")),
            wide("Selector", cron_selector),
        ],
        &["spec", "status"],
    ),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        &[
            NAME,
            text("Reference", |o| {
                let target = o.at("/spec/scaleTargetRef");
                format!("{}/{}", scalar(&target["kind"]), scalar(&target["name"])).into()
            }),
            text("Targets", targets),
            text("MinPods", |o| o.text_or("/spec/minReplicas", UNSET)),
            text("MaxPods", |o| o.number("/spec/maxReplicas").into()),
            text("Replicas", |o| o.number("/status/currentReplicas").into()),
            AGE,
        ],
        &["spec", "status"],
    ),
    (
        "policy",
        "PodDisruptionBudget",
        &[
            NAME,
            text("Min Available", |o| o.text_or("/spec/minAvailable", "N/A")),
            text("Max Unavailable", |o| o.text_or("/spec/maxUnavailable", "N/A")),
            integer("Allowed Disruptions", |o| o.number("/status/disruptionsAllowed").into()),
            AGE,
        ],
        &["spec", "status"],
    ),
    (
        "",
        "ResourceQuota",
        &[
            NAME,
            text("Request", |o| quota(o, false).into()),
            text("Limit", |o| quota(o, true).into()),
            AGE,
        ],
        &["status"],
    ),
];

const CRON_TEMPLATE: &str = "/spec/jobTemplate/spec/template/spec/containers";

fn ready_of_wanted(object: &Object<'_>) -> Value {
    let (ready, wanted) = (object.number("/status/readyReplicas"), object.number("/spec/replicas"));
    format!("{ready}/{wanted}").into()
}

fn suspended(job: &Object<'_>) -> Value {
    match job.at("/spec/suspend").as_bool() {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => UNSET.into(),
    }
}

fn last_schedule(job: &Object<'_>) -> Value {
    let never = !job.at("/status/lastScheduleTime").is_string();
    if never { NONE.into() } else { job.age("/status/lastScheduleTime").into() }
}

fn cron_selector(job: &Object<'_>) -> Value {
    selector_or_none(job.at("/spec/jobTemplate/spec/selector"))
}

fn job_status(job: &Object<'_>) -> Value {
    let holds = |wanted: &str| {
        let found = job.list("/status/conditions").iter().find(|c| c["type"] == wanted);
        found.is_some_and(|condition| condition["status"] == "True")
    };
    let words = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    let status = match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if job.is_being_deleted() => "Terminating",
        () => words.into_iter().find(|word| holds(word)).unwrap_or("Running"),
    };
    status.into()
}

fn completions(job: &Object<'_>) -> Value {
    let succeeded = job.number("/status/succeeded");
    let text = match (job.at("/spec/completions").as_i64(), job.number("/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, many @ 2..) => format!("{succeeded}/1 of {many}"),
        (None, _) => format!("{succeeded}/1"),
    };
    text.into()
}

fn job_duration(job: &Object<'_>) -> Value {
    let time = |pointer| job.at(pointer).as_str().and_then(parse_rfc3339);
    let Some(start) = time("/status/startTime") else { return "".into() };
    age(start, time("/status/completionTime").unwrap_or(job.now_ns)).into()
}

fn controller(revision: &Object<'_>) -> Value {
    let owners = revision.list("/metadata/ownerReferences").iter();
    let Some(owner) = owners.into_iter().find(|owner| owner["controller"] == true) else {
        return NONE.into();
    };
    let version = scalar(&owner["apiVersion"]);
    let kind = scalar(&owner["kind"]).to_lowercase();
    let kind = match version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}"),
        None => kind,
    };
    format!("{kind}/{}", scalar(&owner["name"])).into()
}

fn quota(quota: &Object<'_>, limits: bool) -> String {
    let hard = quota.at("/status/hard").as_object().into_iter().flatten();
    let used = quota.at("/status/used");
    let of_column = |name: &str| name.starts_with("limits.") == limits;
    let shown = hard.filter(|(name, _)| of_column(name)).map(|(name, hard)| {
        let used = scalar(&used[name]);
        let used = if used.is_empty() { "0".to_owned() } else { used };
        format!("{name}: {used}/{}", scalar(hard))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Most metrics of an autoscaler that are shown.
const METRICS_SHOWN: usize = 2;

fn targets(scaler: &Object<'_>) -> Value {
    let specs = scaler.list("/spec/metrics");
    if specs.is_empty() {
        return NONE.into();
    }
    let statuses = scaler.list("/status/currentMetrics");
    let mut shown: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(place, spec)| metric(spec, statuses.get(place).unwrap_or(&Value::Null)))
        .collect();
    let more = shown.len().saturating_sub(METRICS_SHOWN);
    shown.truncate(METRICS_SHOWN);
    let text = shown.join(", ");
    if more > 0 { format!("{text} + {more} more...").into() } else { text.into() }
}

fn metric(spec: &Value, status: &Value) -> String {
    let (field, named) = match spec["type"].as_str() {
        Some("External") => ("external", false),
        Some("Pods") => ("pods", false),
        Some("Object") => ("object", false),
        Some("Resource") => ("resource", true),
        Some("ContainerResource") => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[field]["target"], &status[field]["current"]);
    let now = |value: &Value| match scalar(value) {
        text if text.is_empty() => UNKNOWN.to_owned(),
        text => text,
    };
    let average = scalar(&target["averageValue"]);
    if named {
        let name = scalar(&spec[field]["name"]);
        if !average.is_empty() {
            return format!("{name}: {}/{average}", now(&current["averageValue"]));
        }
        let percent = |value: &Value, none: &str| {
            value.as_i64().map_or_else(|| none.to_owned(), |percent| format!("{percent}%"))
        };
        let current = percent(&current["averageUtilization"], UNKNOWN);
        return format!("{name}: {current}/{}", percent(&target["averageUtilization"], "<auto>"));
    }
    if field == "pods" {
        return format!("{}/{average}", now(&current["averageValue"]));
    }
    if average.is_empty() {
        return format!("{}/{}", now(&current["value"]), scalar(&target["value"]));
    }
    format!("{}/{average} (avg)", now(&current["averageValue"]))
}

/// How long a certificate was asked for, as a table shows it.
pub(super) fn requested(seconds: i64) -> String {
    duration(seconds)
}
