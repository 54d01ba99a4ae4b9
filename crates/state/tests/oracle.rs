//! The fold against a naive oracle: random lives of objects, seen by one or two recorders that
//! lose their connection, resume, list anew, repeat themselves and are late. Wherever an answer
//! touches no gap it must be the truth; where it is not the truth it must touch a gap.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::server::{Server, folded, life};
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

#[test]
fn what_touches_no_gap_is_the_truth() {
    let (mut exact, mut unsure) = (0, 0);
    for seed in 1..=150_u64 {
        let (server, records) = life(seed);
        let state = folded(&records, 50);
        if seed % 10 == 0 {
            let again = folded(&records, 1);
            assert_eq!(again.digest().unwrap(), state.digest().unwrap(), "seed {seed}");
        }
        let (right, open) = compare(&server, &state, seed);
        exact += right;
        unsure += open;
    }
    println!("{exact} states compared, {unsure} touched a gap");
    assert!(exact > unsure, "{exact} {unsure}");
}
