//! A world of pods and addresses of which the truth is known, and what recorders saw of it.

use std::collections::{BTreeMap, BTreeSet};

use stele_record::{Gap, GapReason, Header, ObservedTime};
use stele_state::State;

use super::{CLUSTER, Log, Random, S, fold_into};

const PODS: &str = "v1/pods";

/// What the world is like.
pub struct Shape {
    pub addresses: usize,
    pub pods: u64,
    /// The address that was freed last is given out first.
    pub last_freed_first: bool,
    pub recorders: u8,
    /// Per thousand pods: removed by force, never reported with an address.
    pub forced: u64,
    pub silent: u64,
    /// Stretches in which a recorder is blind.
    pub blind: u64,
    /// Addresses of both families.
    pub dual: bool,
}

impl Shape {
    pub fn gentle() -> Self {
        Self {
            addresses: 40,
            pods: 180,
            last_freed_first: false,
            recorders: 1,
            forced: 50,
            silent: 20,
            blind: 1,
            dual: true,
        }
    }

    pub fn hostile() -> Self {
        Self { last_freed_first: true, recorders: 2, forced: 150, blind: 3, ..Self::gentle() }
    }
}

/// Who truly had an address.
pub struct Lease {
    pub ip: String,
    pub uid: String,
    pub from: i64,
    pub to: i64,
}

/// A state of a pod as the server has it from a time on.
struct Version {
    at: i64,
    rv: u64,
    verb: &'static str,
    pod: usize,
    json: String,
}

/// The world, and the log of its recorders.
pub struct World {
    pub leases: Vec<Lease>,
    pub records: Vec<(Header, Vec<u8>)>,
    pub begin: i64,
    pub end: i64,
    ips: Vec<String>,
}

/// One pod as it is written.
struct Body<'a> {
    number: usize,
    created: i64,
    bound: bool,
    phase: &'a str,
    ips: &'a [String],
    grace: Option<i64>,
    running: bool,
    ready: bool,
}

impl Body<'_> {
    fn json(&self, rv: u64) -> String {
        let time = |ns: i64| stele_state::Time(ns / S * S).to_string();
        let ips: Vec<String> = self.ips.iter().map(|ip| format!(r#"{{"ip":"{ip}"}}"#)).collect();
        let deletion = self.grace.map_or(String::new(), |grace| {
            let due = self.created + 60 * S + grace * S;
            format!(r#""deletionTimestamp":"{}","deletionGracePeriodSeconds":{grace},"#, time(due))
        });
        let state = if self.running { r#""running":{}"# } else { r#""waiting":{}"# };
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{0}","namespace":"n{1}","uid":"u{2}","resourceVersion":"{rv}",{deletion}"creationTimestamp":"{3}"}},"spec":{{"nodeName":"{4}","containers":[{{"image":"i"}}]}},"status":{{"phase":"{5}","podIP":"{6}","podIPs":[{7}],"conditions":[{{"type":"Ready","status":"{8}"}}],"containerStatuses":[{{"state":{{{state}}}}}]}}}}"#,
            // Names are used again, as those of a stateful set are, once the object before is gone.
            self.number % 120,
            self.number % 3,
            self.number,
            time(self.created),
            if self.bound { "node-1" } else { "" },
            self.phase,
            self.ips.first().map_or("", String::as_str),
            ips.join(","),
            self.ready,
        )
    }
}

impl World {
    pub fn new(shape: &Shape, seed: u64) -> Self {
        let mut random = Random(0x2545_f491_4f6c_dd1d_u64.wrapping_mul(seed));
        let begin = 1_000 * S;
        let mut life = Life {
            shape,
            random: &mut random,
            free: (0..shape.addresses).map(|n| format!("10.42.0.{}", n + 1)).collect(),
            leases: Vec::new(),
            versions: Vec::new(),
        };
        let ips: Vec<String> = life.free.clone();
        let end = life.run(begin + 10 * S);
        let (leases, mut versions) = (life.leases, life.versions);
        versions.sort_by_key(|version| version.at);
        for (rv, version) in (100..).zip(&mut versions) {
            version.rv = rv;
            version.json = version
                .json
                .replace("\"resourceVersion\":\"0\"", &format!("\"resourceVersion\":\"{rv}\""));
        }
        let mut logs = Vec::new();
        for recorder in 1..=shape.recorders {
            logs.push(record(shape, recorder, &versions, begin, end, &mut random));
        }
        Self { leases, records: merge(logs, &mut random), begin, end, ips }
    }

    pub fn fold(&self) -> State {
        let state = State::temporary().unwrap();
        fold_into(&state, &self.records, 1_000);
        state
    }

    /// Uids that some record names.
    pub fn spoken_of(&self) -> BTreeSet<String> {
        let mut uids = BTreeSet::new();
        for (_, payload) in &self.records {
            let text = String::from_utf8_lossy(payload);
            for (_, rest) in
                text.match_indices("\"uid\":\"").map(|(at, mark)| text.split_at(at + mark.len()))
            {
                uids.extend(rest.split('"').next().map(str::to_owned));
            }
        }
        uids
    }

    pub fn some_ip(&self, random: &mut Random) -> String {
        self.ips[usize::try_from(random.next()).unwrap() % self.ips.len()].clone()
    }
}

struct Life<'a> {
    shape: &'a Shape,
    random: &'a mut Random,
    free: Vec<String>,
    leases: Vec<Lease>,
    versions: Vec<Version>,
}

impl Life<'_> {
    /// All pods, one begun after the other; gives the time when the last one is gone.
    fn run(&mut self, mut now: i64) -> i64 {
        // When each address in use will be free.
        let mut busy: Vec<(i64, String)> = Vec::new();
        let mut number = 0;
        let mut end = now;
        while number < self.shape.pods {
            now += self.random.within(S / 10, 3 * S);
            busy.sort();
            while busy.first().is_some_and(|(free_at, _)| *free_at <= now) {
                self.free.push(busy.remove(0).1);
            }
            if self.free.is_empty() {
                continue;
            }
            let ip = match self.shape.last_freed_first {
                true => self.free.pop().unwrap(),
                false => self.free.remove(0),
            };
            let free_at = self.pod(usize::try_from(number).unwrap(), &ip, now);
            busy.push((free_at, ip));
            number += 1;
            end = end.max(free_at);
        }
        end + 90 * S
    }

    /// One pod with an address; gives the time from which the address is free.
    fn pod(&mut self, number: usize, ip: &str, assigned: i64) -> i64 {
        let created = assigned - self.random.within(S / 100, S);
        let lucky = |random: &mut Random, of_thousand: u64| random.next() % 1_000 < of_thousand;
        let forced = lucky(self.random, self.shape.forced);
        let silent = !forced && lucky(self.random, self.shape.silent);
        let freed = assigned + self.random.within(S / 5, 40 * S);
        let six = format!("fd00::{}", ip.rsplit('.').next().unwrap());
        let ips = if self.shape.dual { vec![ip.to_owned(), six] } else { vec![ip.to_owned()] };
        for ip in &ips {
            self.leases.push(Lease {
                ip: ip.clone(),
                uid: format!("u{number}"),
                from: assigned,
                to: freed,
            });
        }
        let at = |at: i64, verb: &'static str, body: &Body<'_>| Version {
            at,
            rv: 0,
            verb,
            pod: number,
            json: body.json(0),
        };
        let new = Body {
            number,
            created,
            bound: false,
            phase: "Pending",
            ips: &[],
            grace: None,
            running: false,
            ready: false,
        };
        self.versions.push(at(created, "ADDED", &new));
        let bound = Body { bound: true, ..new };
        self.versions.push(at(created + 1, "MODIFIED", &bound));
        let running = Body { phase: "Running", ips: &ips, running: true, ready: true, ..bound };
        let reported = assigned + self.random.within(S / 50, S / 5);
        if !silent && reported < freed {
            self.versions.push(at(reported, "MODIFIED", &running));
            // It becomes ready and unready, which is nothing about addresses.
            let mut flap = reported;
            for ready in [false, true, false, true] {
                flap += self.random.within(S / 10, 5 * S);
                if flap < freed {
                    self.versions.push(at(flap, "MODIFIED", &Body { ready, ..running }));
                }
            }
        }
        let last = if silent || reported >= freed { bound } else { running };
        let seen = freed + self.random.within(S / 50, S / 3);
        if forced && reported < freed {
            // Removed while it runs on: the server has it gone before the address is free.
            let gone = self.random.within(reported, freed);
            self.versions.retain(|version| version.pod != number || version.at < gone);
            self.versions.push(at(gone, "DELETED", &Body { grace: Some(0), ..last }));
        } else if lucky(self.random, 500) {
            let phase = if lucky(self.random, 500) { "Succeeded" } else { "Failed" };
            let ended = Body { phase, running: false, ready: false, ..last };
            self.versions.push(at(seen, "MODIFIED", &ended));
            let gone = seen + self.random.within(S / 10, 100 * S);
            self.versions.push(at(gone, "DELETED", &ended));
        } else {
            let asked = self.random.within(reported.min(freed), freed + 1);
            self.versions.retain(|v| v.pod != number || v.at < asked || v.at <= created + 1);
            let ending = Body { grace: Some(30), ..last };
            self.versions.push(at(asked.max(created + 2), "MODIFIED", &ending));
            self.versions.push(at(seen, "DELETED", &Body { running: false, ..ending }));
        }
        freed
    }
}

/// What a recorder saw: late, and not all of it.
fn record(
    shape: &Shape,
    byte: u8,
    versions: &[Version],
    begin: i64,
    end: i64,
    random: &mut Random,
) -> Log {
    let mut log = Log::of_source(byte);
    let lag = i64::from(byte - 1) * S / 2 + S / 100;
    for resource in [PODS, "v1/nodes", "v1/services"] {
        log.list_of(begin, resource, "1", &[]);
    }
    let mut blind: Vec<(i64, i64)> = Vec::new();
    for _ in 0..shape.blind {
        let from = random.within(begin + 20 * S, end - 60 * S);
        let to = from + random.within(S, 20 * S);
        if blind.iter().all(|(a, b)| to + S < *a || *b + S < from) {
            blind.push((from, to));
        }
    }
    blind.sort_unstable();
    let mut alive: BTreeMap<usize, (u64, String)> = BTreeMap::new();
    let mut last = begin;
    let mut rv = 1;
    let mut blind = blind.into_iter().peekable();
    for version in versions {
        while let Some((from, to)) = blind.next_if(|(_, to)| *to <= version.at) {
            relist(&mut log, &alive, last.max(from), to + lag, rv);
            last = to + lag;
        }
        match version.verb {
            "DELETED" => alive.remove(&version.pod),
            _ => alive.insert(version.pod, (version.rv, version.json.clone())),
        };
        rv = version.rv;
        let in_gap = blind.peek().is_some_and(|(from, _)| version.at > *from);
        if !in_gap {
            log.event(version.at + lag, PODS, version.verb, &version.json);
            last = version.at + lag;
        }
    }
    for (from, to) in blind {
        relist(&mut log, &alive, last.max(from), to + lag, rv);
        last = to + lag;
    }
    let mark = format!(r#"{{"metadata":{{"resourceVersion":"{}"}}}}"#, rv + 1);
    log.event(end, PODS, "BOOKMARK", &mark);
    log
}

/// The recorder sees again: what it missed is a gap.
fn relist(log: &mut Log, alive: &BTreeMap<usize, (u64, String)>, from: i64, to: i64, rv: u64) {
    let gap = Gap {
        cluster: Some(CLUSTER.to_owned()),
        group: Some(String::new()),
        resource: Some("pods".to_owned()),
        from_ns: ObservedTime::from_unix_ns(from),
        to_ns: Some(ObservedTime::from_unix_ns(to)),
        from_rv: None,
        to_rv: Some(rv.to_string()),
        reason: GapReason::Expired,
        recovered: false,
        detail: String::new(),
    };
    log.gap(to, &gap);
    let items: Vec<String> = alive.values().map(|(_, json)| json.clone()).collect();
    log.list_of(to, PODS, &rv.to_string(), &items);
}

/// Merges logs as a ledger would: in any order that keeps each of them.
fn merge(logs: Vec<Log>, random: &mut Random) -> Vec<(Header, Vec<u8>)> {
    let mut queues: Vec<_> =
        logs.into_iter().map(|log| log.records.into_iter().peekable()).collect();
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
