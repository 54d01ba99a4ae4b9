//! Look-ups of addresses against a world of which the truth is known: pods that get addresses before
//! they are reported and lose them before or long after it is seen, forced deletions, restarts,
//! blind recorders, late ones, clocks that are off. Whoever is named alone is the holder, and the
//! holder is always in the set, or the answer is that nobody knows.
//!
//! `STELE_SEEDS` is the number of worlds; without it there are four of each kind.
//!
//! Each answer is also compared with the one that the slow way gives, which judges everybody who ever
//! had the address.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;

use common::world::{Shape, World};
use common::{Random, S};
use stele_state::query::{Holder, IpAnswer, IpQuery, Verdict};
use stele_state::{Point, State, Time};

fn seeds() -> u64 {
    std::env::var("STELE_SEEDS").map_or(4, |n| n.parse().unwrap())
}

fn holders(answer: &IpAnswer) -> BTreeSet<&str> {
    let pods = answer.candidates.iter().filter(|c| c.holder == Holder::Pod);
    pods.map(|c| c.reference.uid.as_str()).collect()
}

/// Whether the answer leaves the truth possible.
fn told(answer: &IpAnswer, uid: &str) -> bool {
    holders(answer).contains(uid)
        || answer.unaddressed.iter().any(|pod| pod.uid == uid)
        || answer.verdict == Verdict::Unknown
}

#[derive(Debug, Default)]
struct Count {
    asked: u64,
    single: u64,
    several: u64,
    unknown: u64,
    other: u64,
}

impl Count {
    /// The answer against the truth.
    fn check(&mut self, answer: &IpAnswer, uid: &str, what: &str) {
        self.asked += 1;
        let named = holders(answer);
        match answer.verdict {
            Verdict::Single => self.single += 1,
            Verdict::Several => self.several += 1,
            Verdict::Unknown => self.unknown += 1,
            _ => self.other += 1,
        }
        assert!(told(answer, uid), "{what}: {uid} is not in {answer:#?}");
        let alone = answer.verdict != Verdict::Single || named.contains(uid);
        assert!(alone, "{what}: {uid} is not {answer:#?}");
    }
}

#[test]
fn no_confident_lie() {
    for (name, shape) in [("gentle", Shape::gentle()), ("hostile", Shape::hostile())] {
        let mut count = Count::default();
        for seed in 1..=seeds() {
            let world = World::new(&shape, seed);
            let state = world.fold();
            let mut random = Random(seed * 77 + 1);
            let mut exact = state.lookup(&IpQuery::default()).unwrap();
            let off = IpQuery { tolerance_ms: 5_000, ..IpQuery::default() };
            let mut skewed = state.lookup(&off).unwrap();
            let spoken_of = world.spoken_of();
            for lease in world.leases.iter().filter(|lease| lease.to > lease.from) {
                // A pod that was born, and removed by force, while nobody looked may run on
                // afterwards; nothing can be known of it.
                if !spoken_of.contains(&lease.uid) {
                    continue;
                }
                for _ in 0..5 {
                    let at = random.within(lease.from, lease.to);
                    let what = format!("{name}, seed {seed}, {} at {}", lease.ip, Time(at));
                    let answer = exact.at(&lease.ip, None, Time(at)).unwrap();
                    count.check(&answer, &lease.uid, &what);
                    // The same by a clock that is up to five seconds off.
                    let at = at + random.within(-5 * S, 5 * S);
                    let answer = skewed.at(&lease.ip, None, Time(at)).unwrap();
                    assert!(told(&answer, &lease.uid), "{what}, skewed: {answer:#?}");
                }
            }
        }
        println!("{name}: {count:?}");
        // Pods that never reported an address are named apart.
        assert!(count.other < count.asked / 50, "{count:?}");
        let single = count.single as f64 / (count.asked - count.unknown) as f64;
        assert!(single > if name == "gentle" { 0.8 } else { 0.2 }, "{name}: {single}");
    }
}

/// What must be equal, whichever way it was found.
fn text(mut answer: IpAnswer) -> String {
    answer.as_of.index = None;
    serde_json::to_string(&answer).unwrap()
}

#[test]
fn the_fast_way_says_what_the_slow_way_says() {
    let mut compared = 0;
    for seed in 1..=seeds() {
        let shape = if seed % 2 == 0 { Shape::gentle() } else { Shape::hostile() };
        let world = World::new(&shape, seed);
        let newest = world.records.len() as u64 - 1;
        let fast = world.fold();
        // With one record more, the question as of the record before goes the slow way.
        let mut longer = world.records.clone();
        longer.push(longer[0].clone());
        let slow = State::temporary().unwrap();
        common::fold_into(&slow, &longer, 500);
        let as_of = |index: u64| IpQuery { known_at: Some(index), ..IpQuery::default() };
        let mut fast = fast.lookup(&IpQuery::default()).unwrap();
        let mut slow_way = slow.lookup(&as_of(newest)).unwrap();
        let mut random = Random(seed * 13 + 5);
        for _ in 0..400 {
            let ip = world.some_ip(&mut random);
            let at = random.within(world.begin - 5 * S, world.end + 5 * S);
            let width = random.within(0, 60 * S);
            let one = fast.at(&ip, None, Time(at)).unwrap();
            assert_eq!(text(one), text(slow_way.at(&ip, None, Time(at)).unwrap()), "seed {seed}");
            let to = Time(at + width);
            let one = fast.within(&ip, None, Time(at), to).unwrap();
            let other = slow_way.within(&ip, None, Time(at), to).unwrap();
            assert_eq!(text(one), text(other), "seed {seed}");
            compared += 2;
        }
        // As of an earlier record it is what was said when that was the newest.
        for _ in 0..4 {
            let index = random.next() % newest;
            let then = State::temporary().unwrap();
            let records = &world.records[..=usize::try_from(index).unwrap()];
            common::fold_into(&then, records, 100);
            for _ in 0..40 {
                let ip = world.some_ip(&mut random);
                let at = Point::Observed(Time(random.within(world.begin, world.end)));
                let one = then.ip(&ip, &at, &IpQuery::default()).unwrap();
                let other = slow.ip(&ip, &at, &as_of(index)).unwrap();
                assert_eq!(one.candidates, other.candidates, "seed {seed}, as of {index}");
                assert_eq!(one.unaddressed, other.unaddressed, "seed {seed}, as of {index}");
                compared += 1;
            }
        }
    }
    println!("{compared} answers compared");
}

#[test]
fn an_answer_does_not_depend_on_what_was_asked_before() {
    let world = World::new(&Shape::hostile(), 3);
    let state = world.fold();
    let mut random = Random(9);
    let mut used = state.lookup(&IpQuery::default()).unwrap();
    for _ in 0..500 {
        let ip = world.some_ip(&mut random);
        let at = random.within(world.begin, world.end);
        let alone = state.ip(&ip, &Point::Observed(Time(at)), &IpQuery::default()).unwrap();
        assert_eq!(used.at(&ip, None, Time(at)).unwrap(), alone);
    }
}

#[test]
fn batches_leave_no_trace() {
    for seed in [4, 5] {
        let world = World::new(&Shape::hostile(), seed);
        let digest = |batch| {
            let state = State::temporary().unwrap();
            common::fold_into(&state, &world.records, batch);
            state.digest().unwrap()
        };
        assert_eq!(digest(1), digest(97));
    }
}
