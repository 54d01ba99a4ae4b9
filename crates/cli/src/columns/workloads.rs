//! Columns of the kinds that make pods.

use super::{AGE, Column, NAME, Object, column, containers, labels, selector, wide};
use crate::when;

const CONTAINERS: Column = wide("CONTAINERS", |o| containers(o, "name"));
const IMAGES: Column = wide("IMAGES", |o| containers(o, "image"));
const SELECTOR: Column = wide("SELECTOR", selector);

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    column("READY", ready_of_wanted),
    column("UP-TO-DATE", |o| o.number("/status/updatedReplicas").to_string()),
    column("AVAILABLE", |o| o.number("/status/availableReplicas").to_string()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const REPLICA_SET: &[Column] = &[
    NAME,
    column("DESIRED", |o| o.number("/spec/replicas").to_string()),
    column("CURRENT", |o| o.number("/status/replicas").to_string()),
    column("READY", |o| o.number("/status/readyReplicas").to_string()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const STATEFUL_SET: &[Column] =
    &[NAME, column("READY", ready_of_wanted), AGE, CONTAINERS, IMAGES];

pub(super) const DAEMON_SET: &[Column] = &[
    NAME,
    column("DESIRED", |o| o.number("/status/desiredNumberScheduled").to_string()),
    column("CURRENT", |o| o.number("/status/currentNumberScheduled").to_string()),
    column("READY", |o| o.number("/status/numberReady").to_string()),
    column("UP-TO-DATE", |o| o.number("/status/updatedNumberScheduled").to_string()),
    column("AVAILABLE", |o| o.number("/status/numberAvailable").to_string()),
    column("NODE SELECTOR", |o| labels(o.at("/spec/template/spec/nodeSelector"))),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const JOB: &[Column] = &[
    NAME,
    column("STATUS", job_status),
    column("COMPLETIONS", completions),
    column("DURATION", job_duration),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const CRON_JOB: &[Column] = &[
    NAME,
    column("SCHEDULE", |o| o.text("/spec/schedule")),
    column("TIMEZONE", |o| o.text("/spec/timeZone")),
    column("SUSPEND", |o| (o.at("/spec/suspend") == true).to_string()),
    column("ACTIVE", |o| o.list("/status/active").len().to_string()),
    column("LAST SCHEDULE", |o| {
        let never = !o.at("/status/lastScheduleTime").is_string();
        if never { String::new() } else { o.age("/status/lastScheduleTime") }
    }),
    AGE,
];

fn ready_of_wanted(object: &Object<'_>) -> String {
    format!("{}/{}", object.number("/status/readyReplicas"), object.number("/spec/replicas"))
}

fn job_status(job: &Object<'_>) -> String {
    let holds = |wanted: &str| {
        let conditions = job.list("/status/conditions").iter();
        conditions.filter(|c| c["status"] == "True").any(|c| c["type"] == wanted)
    };
    let status = if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if job.at("/metadata/deletionTimestamp").is_string() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    String::from(status)
}

fn completions(job: &Object<'_>) -> String {
    let succeeded = job.number("/status/succeeded");
    if let Some(wanted) = job.at("/spec/completions").as_i64() {
        return format!("{succeeded}/{wanted}");
    }
    match job.number("/spec/parallelism") {
        many @ 2.. => format!("{succeeded}/1 of {many}"),
        _ => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Object<'_>) -> String {
    let time = |pointer| job.at(pointer).as_str().and_then(when::parse_rfc3339);
    let Some(start) = time("/status/startTime") else { return String::new() };
    when::age(start, time("/status/completionTime").unwrap_or(job.now_ns))
}
