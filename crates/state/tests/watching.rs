//! Snapshots and following, against a naive oracle: whoever takes the objects at any version and
//! follows from there, with breaks wherever they may come, ends with what the server has.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::server::{Server, folded, life};
use common::{CLUSTER, Random, fold_into};
use serde_json::Value;
use stele_state::query::{
    Filter, Follow, Held, ListPlace, ListQuery, SnapshotQuery, StepBody, Trail,
};
use stele_state::{Point, State, rv};

type Objects = BTreeMap<String, (u64, usize)>;

fn query(at: Point) -> SnapshotQuery {
    SnapshotQuery::all(CLUSTER, "example.org", "widgets", at)
}

fn number(text: &str) -> usize {
    text.parse().unwrap()
}

/// Name, uid, resource version.
fn read(body: &str) -> (String, u64, usize) {
    let object: Value = serde_json::from_str(body).unwrap();
    let field = |name: &str| object["metadata"][name].as_str().unwrap().to_owned();
    (field("name"), field("uid").parse().unwrap(), number(&field("resourceVersion")))
}

/// The objects at a point, in pieces of some width, and the version of the list.
fn objects(state: &State, at: Point, width: usize) -> (Objects, String) {
    let snapshot = state.snapshot(&query(at)).unwrap();
    let mut found = BTreeMap::new();
    let mut last: Option<ListPlace> = None;
    loop {
        let slots = snapshot.slots(last.as_ref(), width).unwrap();
        let Some(end) = slots.last() else { break };
        last = Some(end.place.clone());
        for slot in &slots {
            if let Some(seen) = snapshot.load(slot).unwrap() {
                let (name, uid, rv) = read(&seen.body);
                assert_eq!(rv.to_string(), seen.resource_version);
                assert_eq!(found.insert(name, (uid, rv)), None, "a name twice");
            }
        }
    }
    (found, snapshot.resource_version().to_owned())
}

/// What a client holds, as an informer does.
struct Client {
    held: Objects,
    last: String,
}

impl Client {
    fn take(&mut self, step: StepBody, seed: u64) {
        let (held, ended): (Held, bool) = match step {
            StepBody::Added(held) | StepBody::Modified(held) => (held, false),
            StepBody::Deleted(held) => (held, true),
            StepBody::Gap { .. } => return,
        };
        let (name, uid, rv) = read(&held.body);
        if ended {
            self.held.remove(&name);
        } else {
            let before = self.held.insert(name, (uid, rv));
            let older = before.is_some_and(|(known, at)| known == uid && at > rv);
            assert!(!older, "seed {seed}: {rv} comes after {before:?}");
        }
        assert!(rv::is_ordered(&held.resource_version), "seed {seed}: {held:?}");
        self.last = held.resource_version;
    }

    /// Follows to the end, and begins anew at the last version at random moments.
    fn follow(&mut self, state: &State, of: &Follow, random: &mut Random, seed: u64) {
        let begin = |from: &str| state.trail(of, from).unwrap().map(|begin| begin.trail);
        let mut trail: Trail = begin(&self.last).unwrap();
        loop {
            let limit = usize::try_from(1 + random.next() % 4).unwrap();
            let followed = state.follow(of, &mut trail, limit).unwrap();
            for step in followed.steps {
                self.take(step.body, seed);
                if random.next().is_multiple_of(9) {
                    trail = begin(&self.last).unwrap();
                    break;
                }
            }
            if followed.complete
                && state.follow(of, &mut trail.clone(), 1).unwrap().steps.is_empty()
            {
                return;
            }
        }
    }
}

/// What there is in the end: the truth, unless the state itself says that nobody looked.
fn in_the_end(server: &Server, state: &State) -> Objects {
    let (held, _) = objects(state, Point::Now, 7);
    if state.snapshot(&query(Point::Now)).unwrap().gaps().is_empty() {
        assert_eq!(held, server.at(server.log.len()));
    }
    held
}

#[test]
fn following_from_any_version_ends_with_the_truth() {
    let mut followed = 0;
    for seed in 1..=20_u64 {
        let (server, records) = life(seed);
        let state = folded(&records, 50);
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
        for from in 1..=server.log.len() {
            let of = query(Point::Now);
            if state.trail(&of, &from.to_string()).unwrap().is_none() {
                continue;
            }
            let at = Point::ResourceVersion(from.to_string());
            let width = usize::try_from(1 + random.next() % 5).unwrap();
            let (held, version) = objects(&state, at, width);
            assert_eq!(version, from.to_string());
            let mut client = Client { held, last: version };
            client.follow(&state, &of, &mut random, seed);
            assert_eq!(client.held, in_the_end(&server, &state), "seed {seed}, from {from}");
            followed += 1;
        }
    }
    println!("followed from {followed} versions");
    assert!(followed > 800, "{followed}");
}

#[test]
fn following_while_it_is_folded_ends_with_the_truth() {
    for seed in 1..=100_u64 {
        let (server, records) = life(seed);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let begin = usize::try_from(random.next()).unwrap() % (records.len() / 2) + 4;
        let state = State::temporary().unwrap();
        fold_into(&state, &records[..begin], 10);
        let of = query(Point::Now);
        let Ok(snapshot) = state.snapshot(&of) else { continue };
        let (held, last) = objects(&state, Point::Now, 3);
        assert_eq!(last, snapshot.resource_version());
        let Some(begun) = state.trail(&of, &last).unwrap() else { continue };
        let mut trail = begun.trail;
        let mut client = Client { held, last };
        for end in begin + 1..=records.len() {
            let all: Vec<_> = records[..end].to_vec();
            fold_into(&state, &all, all.len());
            loop {
                let followed = state.follow(&of, &mut trail, 2).unwrap();
                for step in followed.steps {
                    client.take(step.body, seed);
                }
                if followed.complete {
                    break;
                }
            }
        }
        assert_eq!(client.held, in_the_end(&server, &state), "seed {seed}");
    }
}

#[test]
fn a_snapshot_is_the_list_at_every_time_and_record() {
    for seed in (1..=60_u64).step_by(3) {
        let (server, records) = life(seed);
        let state = folded(&records, 50);
        let filter = Filter { resource: Some("widgets".to_owned()), ..Filter::default() };
        let times = (0..server.log.len() as i64 + 2)
            .map(|s| Point::Observed(stele_state::Time(s * common::S)));
        let indices = (0..records.len() as u64).map(Point::Index);
        for point in times.chain(indices) {
            let listing = state.list(&ListQuery::new(filter.clone(), point.clone())).unwrap();
            let wanted: Objects = listing.objects.iter().map(|object| read(object.json())).fold(
                BTreeMap::new(),
                |mut all, (name, uid, rv)| {
                    // Of two lives of a name, of which a late recorder saw the first, the second.
                    let held = all.entry(name).or_insert((uid, rv));
                    *held = if held.1 < rv { (uid, rv) } else { *held };
                    all
                },
            );
            let (found, version) = objects(&state, point.clone(), 2);
            assert_eq!(found, wanted, "seed {seed}, {point}");
            let newest = wanted.values().map(|(_, rv)| *rv).max().unwrap_or(0);
            if let Point::Index(_) = point {
                assert!(number(&version) >= newest, "seed {seed}, {point}: {version} < {newest}");
            }
        }
    }
}

#[test]
fn nothing_is_followed_from_before_the_record() {
    let (server, records) = life(2);
    let state = folded(&records, 50);
    let of = query(Point::Now);
    let known = |rv: usize| state.trail(&of, &rv.to_string()).unwrap().is_some();
    let first = (1..=server.log.len()).find(|rv| known(*rv)).unwrap();
    assert!((first..=server.log.len() + 5).all(known));
    assert!(state.trail(&of, "abc").unwrap().is_none());
    assert!(Server::default().at(0).is_empty());
}
