//! The fold against a naive oracle: random lives of objects, seen by one or two recorders that
//! lose their connection, resume, list anew, repeat themselves and are late. Wherever an answer
//! touches no gap it must be the truth; where it is not the truth it must touch a gap.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::S;
use common::server::{STEPS, Server, folded, life};
use stele_state::query::{Filter, ListQuery};
use stele_state::{Point, State};

fn compare(server: &Server, state: &State, seed: u64) -> (u32, u32) {
    let filter = Filter { resource: Some("widgets".to_owned()), ..Filter::default() };
    let (mut exact, mut unsure) = (0, 0);
    for rv in 1..=server.log.len() {
        let point = Point::ResourceVersion(rv.to_string());
        let listing = state.list(&ListQuery::new(filter.clone(), point)).unwrap();
        if !listing.gaps.is_empty() {
            unsure += 1;
            continue;
        }
        let found: BTreeMap<String, (u64, usize)> = listing
            .objects
            .iter()
            .map(|o| {
                let uid = o.reference.uid.parse().unwrap();
                (o.reference.name.clone(), (uid, o.version.resource_version.parse().unwrap()))
            })
            .collect();
        assert_eq!(found.len(), listing.objects.len(), "seed {seed}, rv {rv}: a name twice");
        assert_eq!(found, server.at(rv), "seed {seed}, rv {rv}");
        exact += 1;
    }
    (exact, unsure)
}

/// Whether a list, which looks for what may have existed, has what a look at every life of every name
/// finds, at many times and by what was known at many records.
fn compare_with_names(state: &State, seed: u64) {
    let records = state.next_index();
    let ask = |name: Option<String>, at: &Point, known_at: Option<u64>| {
        let filter = Filter { resource: Some("widgets".to_owned()), name, ..Filter::default() };
        let listing = state.list(&ListQuery { known_at, ..ListQuery::new(filter, at.clone()) });
        let objects = listing.unwrap().objects.into_iter();
        objects.map(|o| (o.reference.name, o.reference.uid, o.version.resource_version)).collect()
    };
    let knowns = (0..records).step_by(17).map(Some).chain([None]);
    for known in knowns {
        let times = (0..=STEPS + 1).step_by(9);
        let times =
            times.map(|s| Point::Observed(stele_state::Time(i64::try_from(s).unwrap() * S)));
        for at in times.chain([Point::Now, Point::Index(records / 2)]) {
            let listed: Vec<_> = ask(None, &at, known);
            let mut named: Vec<_> = Vec::new();
            for name in 0..6 {
                let mut lives: Vec<_> = ask(Some(format!("w{name}")), &at, known);
                named.append(&mut lives);
            }
            assert_eq!(listed, named, "seed {seed}, {at:?}, known at {known:?}");
        }
    }
}

#[test]
fn what_touches_no_gap_is_the_truth() {
    let (mut exact, mut unsure) = (0, 0);
    for seed in 1..=150_u64 {
        let (server, records) = life(seed);
        let state = folded(&records, 50);
        if seed % 10 == 0 {
            let again = folded(&records, 1);
            assert_eq!(again.digest().unwrap(), state.digest().unwrap(), "seed {seed}");
            compare_with_names(&state, seed);
        }
        let (right, open) = compare(&server, &state, seed);
        exact += right;
        unsure += open;
    }
    println!("{exact} states compared, {unsure} touched a gap");
    assert!(exact > unsure, "{exact} {unsure}");
}
