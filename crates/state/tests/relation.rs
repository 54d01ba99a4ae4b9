//! Changes that have to do with an address or an owner, against a model that reads all changes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use common::{CLUSTER, Log, S, recordings};
use serde_json::Value;
use stele_state::State;
use stele_state::query::{Change, ChangeBody, ChangeFilter, Cursor, Filter, Object};

fn all(state: &State, filter: &ChangeFilter, limit: usize) -> Vec<Change> {
    let (mut found, mut next) = (Vec::new(), Cursor::default());
    loop {
        let part = state.changes(next, filter, limit).unwrap();
        found.extend(part.changes);
        next = part.next;
        if part.complete {
            return found;
        }
    }
}

fn objects(changes: &[Change]) -> impl Iterator<Item = (Cursor, &Object)> {
    changes.iter().filter_map(|change| match &change.body {
        ChangeBody::Object(object) => Some((change.at, &**object)),
        ChangeBody::Gap(_) => None,
    })
}

fn of_ip(text: &str) -> ChangeFilter {
    ChangeFilter { ip: Some(text.parse().unwrap()), ..ChangeFilter::default() }
}

fn of_owner(text: &str) -> ChangeFilter {
    ChangeFilter { owner: Some(text.parse().unwrap()), ..ChangeFilter::default() }
}

/// Verb, type and name of what passes.
fn passing(state: &State, filter: &ChangeFilter) -> Vec<String> {
    let changes = all(state, filter, 3);
    let shown = objects(&changes).map(|(_, object)| {
        let of = &object.reference;
        format!("{} {} rv:{}", of.resource, of.name, object.version.resource_version)
    });
    shown.collect()
}

/// The places of a document at which an address may stand.
fn addresses(resource: &str, body: &Value) -> BTreeSet<Ipv6Addr> {
    let mut texts = Vec::new();
    let mut collect = |value: &Value| match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(entries) => texts.extend(entries.iter().filter_map(|entry| {
            let text = entry.as_str().or_else(|| entry["ip"].as_str());
            text.or_else(|| entry["address"].as_str()).map(str::to_owned)
        })),
        _ => {}
    };
    let (spec, status) = (&body["spec"], &body["status"]);
    match resource {
        "pods" => ["podIP", "podIPs"].iter().for_each(|name| collect(&status[*name])),
        "nodes" => collect(&status["addresses"]),
        "services" => {
            ["clusterIP", "clusterIPs", "externalIPs"]
                .iter()
                .for_each(|name| collect(&spec[*name]));
            collect(&status["loadBalancer"]["ingress"]);
        }
        "endpointslices" => {
            let endpoints = body["endpoints"].as_array().cloned().unwrap_or_default();
            endpoints.iter().for_each(|endpoint| collect(&endpoint["addresses"]));
        }
        _ => {}
    };
    let parsed = texts.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    parsed
        .map(|address| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        })
        .collect()
}

/// The references of a body to its owners.
fn references(body: &Value) -> Vec<Value> {
    body["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default()
}

/// Uids and `KIND/NAME` of all owners: its own, and theirs as they were known.
fn owners(of: &[Value], known: &HashMap<String, Vec<Value>>) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![of]);
    while let Some(references) = open.pop() {
        for reference in references {
            let text = |name: &str| reference[name].as_str().unwrap_or_default().to_owned();
            found.insert(format!("{}/{}", text("kind"), text("name")));
            if found.insert(text("uid")) {
                open.extend(known.get(&text("uid")).map(Vec::as_slice));
            }
        }
    }
    found
}

/// Most addresses, and most owners, that are asked for of one recording.
const ASKED_MAX: usize = 5;

#[test]
fn recorded_clusters_pass_as_the_model_says() {
    let Some(dir) = recordings() else { return };
    let node = check(&dir.join("real-node/watch.jsonl.zst"));
    let controllers = check(&dir.join("control-plane/watch.jsonl.zst"));
    println!("addresses and owners: {node:?} of a node, {controllers:?} of a control plane");
    assert!(node.0 > 10 && controllers.0 > 10 && controllers.1 > 20);
}

/// How many addresses and owners there were.
fn check(recording: &Path) -> (usize, usize) {
    let state = common::import(recording.to_owned()).fold();
    let everything = all(&state, &Filter::default().into(), 5_000);
    let body = |object: &Object| serde_json::from_str::<Value>(object.json()).unwrap();
    // What is recorded first of all objects, for owners that come behind their dependents.
    let mut known: HashMap<String, Vec<Value>> = HashMap::new();
    for (_, object) in objects(&everything) {
        known.entry(object.reference.uid.clone()).or_insert_with(|| references(&body(object)));
    }
    let mut by_address: BTreeMap<Ipv6Addr, Vec<Cursor>> = BTreeMap::new();
    let mut by_owner: BTreeMap<String, Vec<Cursor>> = BTreeMap::new();
    let mut last: HashMap<String, (BTreeSet<Ipv6Addr>, BTreeSet<String>)> = HashMap::new();
    for (at, object) in objects(&everything) {
        let (of, body) = (&object.reference, body(object));
        let own = references(&body);
        let now = (addresses(&of.resource, &body), owners(&own, &known));
        known.insert(of.uid.clone(), own);
        let before = last.insert(of.uid.clone(), now.clone()).unwrap_or_default();
        for address in now.0.union(&before.0) {
            by_address.entry(*address).or_default().push(at);
        }
        for owner in now.1.union(&before.1) {
            by_owner.entry(owner.clone()).or_default().push(at);
        }
    }
    let places = |filter: &ChangeFilter| -> Vec<Cursor> {
        objects(&all(&state, filter, 1_000)).map(|(at, _)| at).collect()
    };
    let step = |count: usize| count.div_ceil(ASKED_MAX).max(1);
    for (address, wanted) in by_address.iter().step_by(step(by_address.len())) {
        assert_eq!(places(&of_ip(&address.to_string())), *wanted, "{address}");
    }
    for (owner, wanted) in by_owner.iter().step_by(step(by_owner.len())) {
        assert_eq!(places(&of_owner(owner)), *wanted, "{owner}");
    }
    (by_address.len(), by_owner.len())
}

/// A pod of a replica set of a deployment, or of nothing.
fn pod(name: &str, rv: u64, ip: &str, owner: &str) -> String {
    let owners = match owner {
        "" => "[]".to_owned(),
        set => format!(
            r#"[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"{set}","uid":"u-{set}","controller":true}}]"#
        ),
    };
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}","resourceVersion":"{rv}","ownerReferences":{owners}}},"spec":{{}},"status":{{"podIP":"{ip}"}}}}"#
    )
}

fn set(name: &str, rv: u64, deployment: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}","resourceVersion":"{rv}","ownerReferences":[{{"apiVersion":"apps/v1","kind":"Deployment","name":"{deployment}","uid":"u-{deployment}"}}]}},"spec":{{}}}}"#
    )
}

#[test]
fn what_gains_and_loses_an_address_or_an_owner_passes_both_times() {
    let mut log = Log::new();
    log.open(S);
    log.list_of(2 * S, "v1/pods", "10", &[pod("a", 5, "", "web-1"), pod("b", 6, "10.0.0.9", "")]);
    log.list_of(
        3 * S,
        "apps/v1/replicasets",
        "10",
        &[set("web-1", 4, "web"), set("db-1", 3, "db")],
    );
    log.event(4 * S, "v1/pods", "MODIFIED", &pod("a", 11, "10.0.0.7", "web-1"));
    log.event(5 * S, "v1/pods", "MODIFIED", &pod("a", 12, "10.0.0.8", "web-1"));
    log.event(6 * S, "v1/pods", "MODIFIED", &pod("a", 13, "10.0.0.8", "db-1"));
    log.event(7 * S, "v1/pods", "MODIFIED", &pod("a", 14, "10.0.0.8", "db-1"));
    log.event(8 * S, "v1/pods", "DELETED", &pod("a", 15, "10.0.0.8", "db-1"));
    let state = log.fold();
    let ways = ["10.0.0.7", "::ffff:10.0.0.7", "[::ffff:a00:7]", "10.0.0.7/24"];
    for way in ways {
        assert_eq!(passing(&state, &of_ip(way)), ["pods a rv:11", "pods a rv:12"], "{way}");
    }
    let last = ["pods a rv:12", "pods a rv:13", "pods a rv:14", "pods a rv:15"];
    assert_eq!(passing(&state, &of_ip("10.0.0.8")), last);
    assert!(passing(&state, &of_ip("10.0.0.1")).is_empty());
    // The set was recorded behind the pod that it owns.
    let of_web =
        ["pods a rv:5", "replicasets web-1 rv:4", "pods a rv:11", "pods a rv:12", "pods a rv:13"];
    for way in ["deploy/web", "Deployment/web", "deployments.apps/web", "u-web"] {
        assert_eq!(passing(&state, &of_owner(way)), of_web, "{way}");
    }
    let of_db = ["replicasets db-1 rv:3", "pods a rv:13", "pods a rv:14", "pods a rv:15"];
    assert_eq!(passing(&state, &of_owner("deploy/db")), of_db);
    assert_eq!(passing(&state, &of_owner("rs/db-1")), of_db[1..]);
    let both = ChangeFilter {
        objects: Filter { resource: Some("po".to_owned()), ..Filter::default() },
        ..ChangeFilter { ip: of_ip("10.0.0.7").ip, ..of_owner("deploy/web") }
    };
    assert_eq!(passing(&state, &both), ["pods a rv:11", "pods a rv:12"]);
    assert!(both.objects.cluster.is_none(), "{CLUSTER} is the only one");
}

#[test]
fn owners_that_own_each_other_end() {
    let owned = |name: &str, by: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}","resourceVersion":"7","ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"{by}","uid":"u-{by}"}}]}}}}"#
        )
    };
    let mut log = Log::new();
    log.open(S);
    log.list_of(2 * S, "v1/configmaps", "10", &[owned("a", "b"), owned("b", "a")]);
    let state = log.fold();
    let both = ["configmaps a rv:7", "configmaps b rv:7"];
    assert_eq!(passing(&state, &of_owner("cm/a")), both);
    assert!(passing(&state, &of_owner("cm/c")).is_empty());
}

#[test]
fn what_names_no_address_or_owner_is_refused() {
    for bad in ["", "10.0.0", "10.0.0.1:80", "web"] {
        bad.parse::<stele_state::query::Ip>().unwrap_err();
    }
    let long = "u".repeat(600);
    for bad in ["", "/", "deploy/", "/web", "a/b/c", &long] {
        bad.parse::<stele_state::query::OwnerFilter>().unwrap_err();
    }
    let state = Log::new().fold();
    let mut log = Log::new();
    log.open(S);
    log.list_of(2 * S, "v1/pods", "10", &[pod("a", 5, "", "")]);
    state.changes(Cursor::default(), &of_ip("10.0.0.1"), 1).unwrap();
    log.fold().changes(Cursor::default(), &of_owner("nonsense/web"), 1).unwrap_err();
}
