//! The state at a resource version equals what the server itself listed there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::HashMap;

use common::{fold_into, import, lines, recordings};
use sha2::{Digest, Sha256};
use stele_state::json::Json;
use stele_state::query::{Filter, ListQuery, Object};
use stele_state::{Point, State};

#[derive(serde::Deserialize)]
struct Exact {
    res: String,
    rv: String,
    /// Namespace, name, uid, resource version, SHA-256.
    items: Vec<(Option<String>, String, String, String, String)>,
}

fn type_name(res: &str) -> String {
    match res.split('/').collect::<Vec<_>>()[..] {
        [group, version, resource] => format!("{resource}.{version}.{group}"),
        [version, resource] => format!("{resource}.{version}"),
        _ => panic!("no resource: {res}"),
    }
}

fn digest(object: &Object) -> String {
    let mut json = Json::parse(object.json()).unwrap();
    json.remove("apiVersion");
    json.remove("kind");
    hex::encode(Sha256::digest(json.canonical()))
}

fn check(name: &str, wanted_lists: usize) {
    let Some(dir) = recordings() else { return };
    let log = import(dir.join(name).join("watch.jsonl.zst"));
    let state = State::temporary().unwrap();
    fold_into(&state, &log.records, 2_000);
    let mut digests: HashMap<(String, String), String> = HashMap::new();
    let (mut lists, mut items) = (0, 0);
    for line in lines(dir.join(name).join("exact.jsonl.zst")) {
        let exact: Exact = serde_json::from_str(&line).unwrap();
        let filter = Filter { resource: Some(type_name(&exact.res)), ..Filter::default() };
        let point = Point::ResourceVersion(exact.rv.clone());
        let query = ListQuery { without_bodies: true, ..ListQuery::new(filter.clone(), point) };
        let listing = state.list(&query).unwrap();
        let found: Vec<_> = listing
            .objects
            .iter()
            .map(|o| {
                let r = &o.reference;
                (&*r.namespace, &*r.name, &*r.uid, &*o.version.resource_version)
            })
            .collect();
        let mut wanted: Vec<_> = exact
            .items
            .iter()
            .map(|(namespace, name, uid, rv, _)| {
                (namespace.as_deref().unwrap_or(""), &**name, &**uid, &**rv)
            })
            .collect();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{} at {}", exact.res, exact.rv);
        assert_eq!(listing.gaps, [], "{} at {}", exact.res, exact.rv);
        // Secrets were replaced in the recording after the truth was taken.
        if exact.res != "v1/secrets" {
            let new = exact
                .items
                .iter()
                .any(|item| !digests.contains_key(&(item.2.clone(), item.3.clone())));
            if new {
                let whole = ListQuery { without_bodies: false, ..query };
                for object in state.list(&whole).unwrap().objects {
                    let key =
                        (object.reference.uid.clone(), object.version.resource_version.clone());
                    digests.entry(key).or_insert_with(|| digest(&object));
                }
            }
            for (_, name, uid, rv, sha256) in exact.items {
                assert_eq!(digests[&(uid, rv)], sha256, "{} {name}", exact.res);
                items += 1;
            }
        }
        lists += 1;
    }
    println!("{name}: {lists} lists, {items} objects compared, {} versions", digests.len());
    assert_eq!(lists, wanted_lists);
}

#[test]
fn control_plane_lists_are_reproduced() {
    check("control-plane", 858);
}

#[test]
fn real_node_lists_are_reproduced() {
    check("real-node", 627);
}
