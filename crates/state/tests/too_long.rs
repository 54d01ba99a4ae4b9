//! Texts that are longer than a key of the engine takes: whoever may write them must not stop the fold.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Log, Pod, S};
use stele_record::kube::{Resource, ResourceList};
use stele_record::{Gap, GapReason, Kind, ObservedTime};
use stele_state::query::{Filter, IpQuery, ListQuery};
use stele_state::{Point, State, Time};

const PODS: &str = "v1/pods";

fn long() -> String {
    "x".repeat(70_000)
}

/// What is read after it.
fn folded(mut log: Log) -> State {
    log.event(200 * S, PODS, "ADDED", &Pod::new("after", "Z", 200).at_rv(50).json());
    let state = State::temporary().unwrap();
    common::fold_into(&state, &log.records, 7);
    assert_eq!(state.next_index(), log.records.len() as u64);
    let filter = Filter { resource: Some("pods".to_owned()), ..Filter::default() };
    let listing = state.list(&ListQuery::new(filter, Point::Now)).unwrap();
    assert!(listing.objects.iter().any(|object| object.reference.name == "after"));
    state
}

fn problems(state: &State) -> u64 {
    let from = Point::Observed(Time(0));
    state.coverage(&Filter::default(), &from, &Point::Now).unwrap().problem_count
}

fn log() -> Log {
    let mut log = Log::new();
    log.open(90 * S);
    log.list_of(100 * S, PODS, "10", &[]);
    log
}

#[test]
fn of_an_object_itself_they_make_it_unreadable() {
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        let mut log = log();
        let object =
            serde_json::json!({"name": "n", "namespace": "s", "uid": "u", "resourceVersion": "20"});
        let mut object = serde_json::json!({"metadata": object});
        let digits = "9".repeat(70_000);
        object["metadata"][field] = digits.into();
        log.event(120 * S, PODS, "ADDED", &object.to_string());
        log.list_of(130 * S, PODS, "30", &[object.to_string()]);
        assert_eq!(problems(&folded(log)), 2, "{field}");
    }
}

#[test]
fn of_a_list_or_a_bookmark_they_make_it_unreadable() {
    let mut log = log();
    let digits = "9".repeat(70_000);
    log.list_of(120 * S, PODS, &digits, &[]);
    let mark = format!(r#"{{"metadata":{{"resourceVersion":"{digits}"}}}}"#);
    log.event(130 * S, PODS, "BOOKMARK", &mark);
    assert_eq!(problems(&folded(log)), 2);
}

#[test]
fn in_what_somebody_may_write_into_an_object_they_say_nothing() {
    let mut log = log();
    let status = format!(r#"[{{"name":"{}","ips":["10.9.9.9"]}}]"#, long());
    let mut pod: serde_json::Value =
        serde_json::from_str(&Pod::new("a", "A", 100).runs(20, &["10.0.0.7"]).json()).unwrap();
    pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = status.into();
    log.event(120 * S, PODS, "ADDED", &pod.to_string());
    let slice = serde_json::json!({
        "metadata": {"name": "s", "namespace": "n", "uid": "S", "resourceVersion": "21",
                     "labels": {"kubernetes.io/service-name": long()}},
        "endpoints": [{"targetRef": {"uid": long()}}, {"targetRef": {"uid": "A"}}],
    });
    log.event(121 * S, "discovery.k8s.io/v1/endpointslices", "ADDED", &slice.to_string());
    let state = folded(log);
    assert_eq!(problems(&state), 0);
    let answer = state.ip("10.0.0.7", &Point::Now, &IpQuery::default()).unwrap();
    assert_eq!(answer.candidates.len(), 1);
}

#[test]
fn of_the_cluster_and_its_types_they_make_a_record_unusable() {
    let mut log = log();
    for field in 0..3 {
        let mut context = common::context(PODS);
        match field {
            0 => context.cluster = long(),
            1 => context.group = long(),
            _ => context.resource = long(),
        }
        let raw = br#"{"type":"ADDED","object":{"metadata":{"name":"n"}}}"#;
        log.push(Kind::KUBE_WATCH, 120 * S, context.join(raw));
        let resource = Resource {
            group: context.group.clone(),
            version: "v1".to_owned(),
            resource: context.resource.clone(),
            kind: "Pod".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        };
        let list = ResourceList {
            cluster: context.cluster.clone(),
            cluster_name: String::new(),
            server: String::new(),
            resources: vec![resource],
        };
        log.push(Kind::KUBE_RESOURCES, 121 * S, list.encode());
        let gap = Gap {
            cluster: Some(context.cluster),
            group: Some(context.group),
            resource: Some(context.resource),
            from_ns: ObservedTime::from_unix_ns(120 * S),
            to_ns: None,
            from_rv: None,
            to_rv: None,
            reason: GapReason::Disconnected,
            recovered: false,
            detail: String::new(),
        };
        log.gap(122 * S, &gap);
    }
    assert_eq!(problems(&folded(log)), 9);
}

#[test]
fn of_an_audit_event_they_make_it_unusable() {
    let mut log = log();
    for field in ["apiGroup", "resource", "namespace", "name", "uid"] {
        let mut event = serde_json::json!({
            "stage": "ResponseComplete", "verb": "delete", "objectRef": {"name": "n"},
        });
        event["objectRef"][field] = long().into();
        log.push(Kind::KUBE_AUDIT, 120 * S, event.to_string().into_bytes());
    }
    for field in ["uid", "resourceVersion"] {
        let mut event = serde_json::json!({
            "stage": "ResponseComplete", "verb": "update", "objectRef": {"name": "n"},
            "responseObject": {"metadata": {"uid": "u", "resourceVersion": "7"}},
        });
        event["responseObject"]["metadata"][field] = long().into();
        log.push(Kind::KUBE_AUDIT, 121 * S, event.to_string().into_bytes());
    }
    assert_eq!(problems(&folded(log)), 7);
}
