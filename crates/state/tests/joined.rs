//! Who made which version, what it changed, and what an object owned: against the same read from the
//! recording by the simplest means.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use serde_json::Value;
use stele_record::Kind;
use stele_state::query::{Filter, History, HistoryQuery, ListQuery, RequestBasis, Verb};
use stele_state::{Point, State};

/// A recording with its audit log behind it: the log's index of each audit event.
struct Recorded {
    state: State,
    events: BTreeMap<u64, Value>,
    frames: Vec<Value>,
}

fn recorded() -> Option<&'static Recorded> {
    static RECORDED: OnceLock<Option<Recorded>> = OnceLock::new();
    RECORDED.get_or_init(read).as_ref()
}

fn read() -> Option<Recorded> {
    let dir = common::recordings()?.join("control-plane");
    let mut log = common::import(dir.join("watch.jsonl.zst"));
    let mut events = BTreeMap::new();
    for line in common::lines(dir.join("audit.jsonl.zst")) {
        let event: Value = serde_json::from_str(&line).unwrap();
        let time: stele_state::Time =
            stele_state::Time::parse(event["stageTimestamp"].as_str().unwrap()).unwrap();
        // What reads and what has not ended would only make the test slow.
        let code = event["responseStatus"]["code"].as_u64();
        if event["stage"] == "ResponseComplete" && event["level"] != "Metadata" {
            let index = log.push(Kind::KUBE_AUDIT, time.0, line.into_bytes());
            if code.is_none_or(|code| code < 400) {
                events.insert(index, event);
            }
        }
    }
    let frames = common::lines(dir.join("watch.jsonl.zst"))
        .map(|line| serde_json::from_str::<Value>(&line).unwrap())
        .filter(|line| line["what"] == "watch" && line["frame"]["type"] != "BOOKMARK")
        .collect();
    Some(Recorded { state: log.fold(), events, frames })
}

fn history(state: &State, resource: &str, of: (&str, &str), owned: bool) -> History {
    let filter = Filter {
        resource: Some(resource.to_owned()),
        namespace: Some(of.0.to_owned()),
        name: Some(of.1.to_owned()),
        ..Filter::default()
    };
    let list = ListQuery::new(filter, Point::Now);
    state.history(&HistoryQuery { owned, changes: true, ..list.into() }).unwrap()
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

#[test]
fn each_version_has_the_request_that_made_it() {
    let Some(Recorded { state, events, frames }) = recorded() else { return };
    // The first request that was answered with a version made it.
    let mut makers: HashMap<(String, String), (String, u64)> = HashMap::new();
    for (index, event) in events {
        let response = &event["responseObject"]["metadata"];
        let key =
            (text(response, "/uid").to_owned(), text(response, "/resourceVersion").to_owned());
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        if key.0.is_empty() || key.1.is_empty() || !writes.contains(&text(event, "/verb")) {
            continue;
        }
        let at = (text(event, "/requestReceivedTimestamp").to_owned(), *index);
        let maker = makers.entry(key).or_insert_with(|| at.clone());
        if at < *maker {
            *maker = at;
        }
    }
    let names = |res: &str| -> BTreeSet<(String, String)> {
        let of = frames.iter().filter(|line| line["res"] == res);
        of.map(|line| {
            let meta = &line["frame"]["object"]["metadata"];
            (text(meta, "/namespace").to_owned(), text(meta, "/name").to_owned())
        })
        .collect()
    };
    let (mut exact, mut by_name, mut nobody) = (0, 0, 0);
    for (res, resource) in [("v1/pods", "pods"), ("apps/v1/deployments", "deployments")] {
        for (namespace, name) in names(res) {
            for life in history(state, resource, (&namespace, &name), false).lives {
                let mut used = BTreeSet::new();
                for version in life.versions {
                    let end = version.verb == Verb::Deleted;
                    let again = version.by.is_some_and(|by| !used.insert(by.index));
                    assert!(end || !again, "{:?} {:?}", life.reference, version.by);
                    let key = (life.reference.uid.clone(), version.resource_version.clone());
                    let maker = makers.get(&key).map(|(_, index)| *index);
                    match version.by {
                        Some(by) if by.basis == RequestBasis::ResourceVersion => {
                            assert_eq!(maker, Some(by.index), "{key:?}");
                            exact += 1;
                        }
                        other => {
                            assert_eq!(maker, None, "{key:?} {other:?}");
                            let Some(by) = other else {
                                nobody += 1;
                                continue;
                            };
                            let event = &events[&by.index];
                            let asked = text(event, "/objectRef/name");
                            let all = text(event, "/verb") == "deletecollection";
                            assert!(asked == name || all, "{key:?} {event}");
                            let binds = text(event, "/objectRef/subresource") == "binding";
                            let ends = text(event, "/verb").starts_with("delete");
                            assert!(binds || ends, "{event}");
                            assert!(ends || !end, "{key:?} {event}");
                            let body = version.object.as_ref().unwrap().get();
                            let deleted = body.contains("\"deletionTimestamp\"");
                            assert!(end || deleted || !ends, "{key:?} {event} {body}");
                            by_name += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{exact} by version, {by_name} by name, {nobody} by nobody");
    // `facts/kubernetes-state.md` 7: about a quarter of all pod versions are in no response.
    assert!(exact > 6_000 && by_name > 1_500 && nobody * 100 < exact, "{exact} {by_name} {nobody}");
}

#[test]
fn what_an_object_owned_comes_with_it() {
    let Some(Recorded { state, frames, .. }) = recorded() else { return };
    let mut owners: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut deployments = BTreeSet::new();
    for line in frames {
        let object = &line["frame"]["object"];
        let uid = text(object, "/metadata/uid");
        let named = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        for owner in named {
            owners.entry(text(owner, "/uid")).or_default().insert(uid);
        }
        if line["res"] == "apps/v1/deployments" {
            let meta = &object["metadata"];
            deployments.insert((text(meta, "/namespace"), text(meta, "/name"), uid));
        }
    }
    let mut largest = 0;
    for (namespace, name, uid) in deployments.iter().step_by(7) {
        let mut wanted = BTreeSet::from([*uid]);
        let mut queue = vec![*uid];
        while let Some(owner) = queue.pop() {
            let owned = owners.get(owner).into_iter().flatten();
            queue.extend(owned.filter(|owned| wanted.insert(owned)));
        }
        let found = history(state, "deployments", (namespace, name), true).lives;
        let found: BTreeSet<&str> = found.iter().map(|life| life.reference.uid.as_str()).collect();
        assert!(found.is_superset(&wanted), "{namespace}/{name}");
        // A name may have had several lives, each with its own.
        let same_name = deployments.iter().filter(|d| (d.0, d.1) == (namespace, name)).count();
        assert!(same_name > 1 || found == wanted, "{namespace}/{name}: {found:?} {wanted:?}");
        largest = largest.max(found.len());
    }
    assert!(largest > 10, "{largest}");
}

#[test]
fn a_version_says_what_it_changed() {
    let mut log = common::Log::new();
    log.open(0);
    let widget = |rv: u32, size: u32| {
        format!(
            r#"{{"metadata":{{"name":"a","namespace":"x","uid":"u1","resourceVersion":"{rv}"}},"spec":{{"size":{size}}}}}"#
        )
    };
    let res = "example.org/v1/widgets";
    log.list_of(1, res, "1", &[]);
    log.event(2, res, "ADDED", &widget(2, 1));
    log.event(3, res, "MODIFIED", &widget(3, 5));
    let found = history(&log.fold(), "widgets", ("x", "a"), false);
    let versions = &found.lives[0].versions;
    assert_eq!(versions[0].changes, None);
    let changes = versions[1].changes.as_ref().unwrap();
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["/metadata/resourceVersion", "/spec/size"]);
    assert_eq!(changes[1].after.as_deref(), Some("5"));
}

#[test]
fn referrers_name_the_uid() {
    let Some(Recorded { state, .. }) = recorded() else { return };
    let filter = Filter {
        resource: Some("nodes".to_owned()),
        name: Some("node-1".to_owned()),
        ..Filter::default()
    };
    let query = ListQuery::new(filter, Point::Now);
    let found = state.referrers(&query).unwrap().objects;
    assert!(!found.is_empty());
    let node = state.list(&query).unwrap().objects.remove(0);
    for object in found {
        assert!(object.json().contains(&node.reference.uid), "{}", object.json());
    }
}
