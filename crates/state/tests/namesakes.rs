//! Many objects of one name, one after the other: whatever order their versions come in, at each version
//! there is the one that there was.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Log, Random, S};
use stele_state::query::{Filter, ListQuery};
use stele_state::{Point, State};

const MAPS: &str = "v1/configmaps";
const LIVES: u64 = 14;

fn object(life: u64, rv: u64) -> String {
    format!(
        r#"{{"metadata":{{"name":"a","namespace":"n","uid":"u{life}","resourceVersion":"{rv}"}}}}"#
    )
}

/// What happens: verb, life, version. A third of the lives is seen to end.
fn events() -> Vec<(&'static str, u64, u64)> {
    let mut events = Vec::new();
    for life in 1..=LIVES {
        events.push(("ADDED", life, 10 * life));
        events.push(("MODIFIED", life, 10 * life + 3));
        if life.is_multiple_of(3) {
            events.push(("DELETED", life, 10 * life + 7));
        }
    }
    events
}

/// Which life there is at a version.
fn truth(rv: u64) -> Option<String> {
    let life = (rv / 10).min(LIVES);
    let ended = life.is_multiple_of(3) && rv >= 10 * life + 7;
    (life > 0 && !ended).then(|| format!("u{life}"))
}

fn alive(state: &State, at: Point) -> Vec<String> {
    let filter = Filter { resource: Some("configmaps".to_owned()), ..Filter::default() };
    let listing = state.list(&ListQuery::new(filter, at)).unwrap();
    listing.objects.into_iter().map(|object| object.reference.uid).collect()
}

#[test]
fn at_each_version_there_is_the_one_that_there_was() {
    for seed in 1..25 {
        let (mut random, mut events) = (Random(seed), events());
        // From the order in which they happened to any order at all.
        for _ in 0..(seed - 1) * 5 {
            let last = events.len() as i64;
            let (a, b) = (random.within(0, last) as usize, random.within(0, last) as usize);
            events.swap(a, b);
        }
        let mut log = Log::new();
        log.open(90 * S);
        log.list_of(100 * S, MAPS, "5", &[]);
        for (n, (verb, life, rv)) in events.iter().enumerate() {
            log.event((101 + n as i64) * S, MAPS, verb, &object(*life, *rv));
        }
        let state = log.fold();
        for rv in 10..=10 * LIVES + 9 {
            let found = alive(&state, Point::ResourceVersion(rv.to_string()));
            assert_eq!(found, Vec::from_iter(truth(rv)), "seed {seed}, version {rv}: {events:?}");
        }
        let single = State::temporary().unwrap();
        common::fold_into(&single, &log.records, 1);
        assert_eq!(single.digest().unwrap(), state.digest().unwrap(), "seed {seed}");
    }
}

#[test]
fn one_that_is_seen_again_after_its_end_ends_with_the_next_one() {
    let mut log = Log::new();
    log.open(90 * S);
    log.list_of(100 * S, MAPS, "5", &[]);
    for life in 1..=20 {
        log.event((100 + life as i64) * S, MAPS, "ADDED", &object(life, 10 * life));
    }
    // The sources disagree, and the one that saw it counts.
    log.event(130 * S, MAPS, "MODIFIED", &object(3, 500));
    let state = log.fold();
    assert!(alive(&state, Point::Now).contains(&"u3".to_owned()));
    log.event(140 * S, MAPS, "ADDED", &object(21, 600));
    let state = log.fold();
    assert_eq!(alive(&state, Point::Now), ["u21"]);
    // What comes late and is old ends where the next one was.
    log.event(150 * S, MAPS, "ADDED", &object(22, 105));
    let state = log.fold();
    assert_eq!(alive(&state, Point::Now), ["u21"]);
    let at = |rv: u64| alive(&state, Point::ResourceVersion(rv.to_string()));
    assert_eq!(
        (at(104), at(109), at(110)),
        (vec!["u10".into()], vec!["u22".into()], vec!["u11".into()])
    );
}
