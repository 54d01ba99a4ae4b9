//! The fold against a naive oracle: random lives of objects, seen by one or two recorders that
//! lose their connection, resume, list anew, repeat themselves and are late. Wherever an answer
//! touches no gap it must be the truth; where it is not the truth it must touch a gap.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::{CLUSTER, Log, Random, S};
use stele_record::frame::ListPage;
use stele_record::{Gap, GapReason, Header, ObservedTime};
use stele_state::query::{Filter, ListQuery};
use stele_state::{Point, State};

const RES: &str = "example.org/v1/widgets";
const STEPS: u64 = 80;

/// What the server went through: (name, uid, verb) by resource version, which is the place + 1.
#[derive(Default)]
struct Server {
    log: Vec<(String, u64, &'static str)>,
    alive: BTreeMap<String, u64>,
    uids: u64,
}

impl Server {
    fn step(&mut self, random: &mut Random) {
        let name = format!("w{}", random.next() % 6);
        let known = self.alive.get(&name).copied();
        let (uid, verb) = match known {
            None => {
                self.uids += 1;
                self.alive.insert(name.clone(), self.uids);
                (self.uids, "ADDED")
            }
            Some(uid) if random.next().is_multiple_of(3) => {
                self.alive.remove(&name);
                (uid, "DELETED")
            }
            Some(uid) => (uid, "MODIFIED"),
        };
        self.log.push((name, uid, verb));
    }

    /// Name → (uid, resource version) at a resource version.
    fn at(&self, rv: usize) -> BTreeMap<String, (u64, usize)> {
        let mut state = BTreeMap::new();
        for (place, (name, uid, verb)) in self.log[..rv].iter().enumerate() {
            if *verb == "DELETED" {
                state.remove(name);
            } else {
                state.insert(name.clone(), (*uid, place + 1));
            }
        }
        state
    }

    fn object(name: &str, uid: u64, rv: usize) -> String {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"x","uid":"{uid}","resourceVersion":"{rv}"}}}}"#
        )
    }
}

/// A recorder that follows the server.
struct Recorder {
    log: Log,
    /// Resource version it has come to; `None` before its first list.
    seen: Option<usize>,
    connected: bool,
    lists: u64,
    last: i64,
}

impl Recorder {
    fn new(byte: u8) -> Self {
        Self { log: Log::of_source(byte), seen: None, connected: false, lists: 0, last: 0 }
    }

    fn step(&mut self, server: &Server, now: i64, random: &mut Random) {
        if self.connected {
            if random.next().is_multiple_of(12) {
                self.connected = false;
                return;
            }
            self.follow(server, now, random);
        } else if random.next().is_multiple_of(4) {
            if self.seen.is_some() && random.next().is_multiple_of(2) {
                self.follow(server, now, random);
            } else {
                self.list(server, now, random);
            }
            self.connected = true;
        }
    }

    fn follow(&mut self, server: &Server, now: i64, random: &mut Random) {
        let from = self.seen.unwrap_or(0);
        for rv in from + 1..=server.log.len() {
            let (name, uid, verb) = &server.log[rv - 1];
            let object = Server::object(name, *uid, rv);
            self.log.event(now, RES, verb, &object);
            if random.next().is_multiple_of(10) {
                self.log.event(now, RES, verb, &object);
            }
        }
        self.seen = Some(server.log.len());
        self.last = now;
    }

    fn list(&mut self, server: &Server, now: i64, random: &mut Random) {
        let rv = server.log.len();
        let missed = self.seen.filter(|&seen| seen != rv);
        let state = server.at(rv);
        let items: Vec<String> =
            state.iter().map(|(name, (uid, rv))| Server::object(name, *uid, *rv)).collect();
        let width = usize::try_from(1 + random.next() % 4).unwrap();
        let mut pages: Vec<Vec<String>> = items.chunks(width).map(<[String]>::to_vec).collect();
        if pages.is_empty() {
            pages.push(Vec::new());
        }
        self.lists += 1;
        let gap = Gap {
            cluster: Some(CLUSTER.to_owned()),
            group: Some("example.org".to_owned()),
            resource: Some("widgets".to_owned()),
            from_ns: ObservedTime::from_unix_ns(self.last),
            to_ns: Some(ObservedTime::from_unix_ns(now)),
            from_rv: self.seen.map(|seen| seen.to_string()),
            to_rv: Some(rv.to_string()),
            reason: GapReason::Expired,
            recovered: false,
            detail: String::new(),
        };
        // Some recorders say it before, some after, some not at all.
        let word = random.next() % 3;
        if missed.is_some() && word == 0 {
            self.log.gap(now, &gap);
        }
        let count = pages.len();
        for (number, page) in pages.into_iter().enumerate() {
            let place = ListPage {
                id: self.lists,
                page: u32::try_from(number).unwrap(),
                last: number + 1 == count,
            };
            let raw = format!(
                r#"{{"metadata":{{"resourceVersion":"{rv}"}},"items":[{}]}}"#,
                page.join(",")
            );
            self.log.list_page(now, RES, place, &raw);
        }
        if missed.is_some() && word == 1 {
            self.log.gap(now, &gap);
        }
        self.seen = Some(rv);
        self.last = now;
    }
}

/// Merges the recorders' logs as a ledger would: in any order that keeps each of them.
fn merge(recorders: Vec<Recorder>, random: &mut Random) -> Vec<(Header, Vec<u8>)> {
    let mut queues: Vec<_> =
        recorders.into_iter().map(|r| r.log.records.into_iter().peekable()).collect();
    let mut records = Vec::new();
    loop {
        queues.retain_mut(|queue| queue.peek().is_some());
        if queues.is_empty() {
            return records;
        }
        let lucky = usize::try_from(random.next()).unwrap() % queues.len();
        records.extend(queues[lucky].next());
    }
}

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
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut server = Server::default();
        let mut recorders: Vec<Recorder> =
            (0..=seed % 2).map(|number| Recorder::new(u8::try_from(number + 1).unwrap())).collect();
        for step in 1..=STEPS {
            server.step(&mut random);
            let now = i64::try_from(step).unwrap() * S;
            for recorder in &mut recorders {
                recorder.step(&server, now, &mut random);
            }
        }
        // At the end all of them are there, so that the truth can be asked for.
        for recorder in &mut recorders {
            let now = (i64::try_from(STEPS).unwrap() + 1) * S;
            if recorder.seen.is_some() {
                recorder.follow(&server, now, &mut random);
            } else {
                recorder.list(&server, now, &mut random);
            }
        }
        let records = merge(recorders, &mut random);
        let state = State::in_memory().unwrap();
        common::fold_into(&state, &records, 50);
        if seed % 10 == 0 {
            let again = State::in_memory().unwrap();
            common::fold_into(&again, &records, 1);
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
