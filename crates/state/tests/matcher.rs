//! A filter put to changes in memory against the same filter put to the rows.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use stele_state::State;
use stele_state::query::{ChangeBody, Cursor, Filter};

/// All changes that pass, by place.
fn all(state: &State, filter: &Filter) -> Vec<(Cursor, ChangeBody)> {
    let (mut found, mut next) = (Vec::new(), Cursor::default());
    loop {
        let part = state.changes(next, &filter.clone().into(), 5_000).unwrap();
        found.extend(part.changes.into_iter().map(|change| (change.at, change.body)));
        next = part.next;
        if part.complete {
            return found;
        }
    }
}

#[test]
fn both_let_the_same_changes_through() {
    let Some(dir) = common::recordings() else { return };
    let mut log = common::import(dir.join("real-node/watch.jsonl.zst"));
    let gap = stele_record::Gap {
        cluster: Some(common::CLUSTER.to_owned()),
        group: Some(String::new()),
        resource: Some("pods".to_owned()),
        from_ns: stele_record::ObservedTime::from_unix_ns(1),
        to_ns: None,
        from_rv: None,
        to_rv: None,
        reason: stele_record::GapReason::Expired,
        recovered: false,
        detail: String::new(),
    };
    log.gap(i64::MAX / 2, &gap);
    let state = log.fold();
    let everything = all(&state, &Filter::default());
    assert!(everything.iter().any(|(_, body)| matches!(body, ChangeBody::Gap(_))));
    let of = |resource: &str| Filter { resource: Some(resource.to_owned()), ..Filter::default() };
    let mut filters = vec![Filter::default(), of("pods"), of("deploy"), of("events"), of("Node")];
    for resource in ["po", "leases"] {
        for namespace in ["default", "kube-node-lease", "elsewhere"] {
            filters.push(Filter { namespace: Some(namespace.to_owned()), ..of(resource) });
        }
    }
    filters.push(Filter { labels: "app".parse().unwrap(), ..of("pods") });
    filters.push(Filter { labels: "app!=web".parse().unwrap(), ..Filter::default() });
    filters.push(Filter { fields: "metadata.namespace=default".parse().unwrap(), ..of("pods") });
    filters.push(Filter { cluster: Some(common::CLUSTER.to_owned()), ..Filter::default() });
    let mut passed = Vec::new();
    for filter in &filters {
        let matcher = state.matcher(filter).unwrap();
        let wanted: Vec<Cursor> = all(&state, filter).into_iter().map(|(at, _)| at).collect();
        let matching = everything.iter().filter(|(_, body)| matcher.matches(body));
        let found: Vec<Cursor> = matching.map(|(at, _)| *at).collect();
        assert_eq!(found, wanted, "{filter:?}");
        passed.push(found.len());
    }
    println!("{passed:?} of {}", everything.len());
    assert!(passed.iter().filter(|n| (1..everything.len()).contains(*n)).count() > 6, "{passed:?}");
    state.matcher(&of("nonsense")).unwrap_err();
}
