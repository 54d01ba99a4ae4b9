//! A server that goes through random changes, and recorders that follow it: they lose their
//! connection, resume, list anew, repeat themselves and are late.

use std::collections::BTreeMap;

use stele_record::frame::ListPage;
use stele_record::{Gap, GapReason, Header, ObservedTime};
use stele_state::State;

use super::{CLUSTER, Log, Random, S, fold_into};

pub const RES: &str = "example.org/v1/widgets";
pub const STEPS: u64 = 80;

/// What the server went through: (name, uid, verb) by resource version, which is the place + 1.
#[derive(Default)]
pub struct Server {
    pub log: Vec<(String, u64, &'static str)>,
    alive: BTreeMap<String, u64>,
    uids: u64,
}

impl Server {
    pub fn step(&mut self, random: &mut Random) {
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
    pub fn at(&self, rv: usize) -> BTreeMap<String, (u64, usize)> {
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
pub struct Recorder {
    log: Log,
    /// Resource version it has come to; `None` before its first list.
    seen: Option<usize>,
    connected: bool,
    lists: u64,
    last: i64,
}

impl Recorder {
    pub fn new(byte: u8) -> Self {
        Self { log: Log::of_source(byte), seen: None, connected: false, lists: 0, last: 0 }
    }

    pub fn step(&mut self, server: &Server, now: i64, random: &mut Random) {
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

/// A server's life as it was recorded; at the end all recorders are there.
pub fn life(seed: u64) -> (Server, Vec<(Header, Vec<u8>)>) {
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
    // So that the truth can be asked for.
    for recorder in &mut recorders {
        let now = (i64::try_from(STEPS).unwrap() + 1) * S;
        if recorder.seen.is_some() {
            recorder.follow(&server, now, &mut random);
        } else {
            recorder.list(&server, now, &mut random);
        }
    }
    let records = merge(recorders, &mut random);
    (server, records)
}

/// The state after all records.
pub fn folded(records: &[(Header, Vec<u8>)], batch: usize) -> State {
    let state = State::temporary().unwrap();
    fold_into(&state, records, batch);
    state
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
