//! Builds records for the tests: a small importer of recordings, and synthetic frames.
//!
//! The real importer is not here; this one only makes what the fold needs.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod server;
pub mod world;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use serde_json::value::RawValue;
use stele_record::frame::{FrameContext, ListPage};
use stele_record::{
    Boot, Commitment, Declaration, Epoch, EventTime, Gap, Header, Kind, ObservedTime, PayloadType,
    Seq, SourceId,
};
use stele_state::{FoldRecord, State};

pub const CLUSTER: &str = "test";

/// A log in the making: records of one source.
pub struct Log {
    pub records: Vec<(Header, Vec<u8>)>,
    pub source: [u8; 32],
    pub boot: u64,
    pub imported: bool,
    pub lists: u64,
}

impl Log {
    pub fn new() -> Self {
        Self::of_source(1)
    }

    pub fn of_source(byte: u8) -> Self {
        Self { records: Vec::new(), source: [byte; 32], boot: 1, imported: false, lists: 0 }
    }

    pub fn push(&mut self, kind: Kind, at: i64, payload: Vec<u8>) -> u64 {
        let header = Header {
            source: SourceId::from_bytes(self.source),
            boot: Boot(self.boot),
            seq: Seq(self.records.len() as u64),
            epoch: Epoch(0),
            kind,
            event_time: self.imported.then(|| EventTime::from_unix_ns(at)),
            observed_time: ObservedTime::from_unix_ns(if self.imported { i64::MAX } else { at }),
            origin_counter: None,
            payload_len: payload.len() as u64,
            payload_type: PayloadType::FRAME,
            commitment: Commitment::from_bytes([0; 32]),
        };
        self.records.push((header, payload));
        self.records.len() as u64 - 1
    }

    pub fn open(&mut self, at: i64) -> u64 {
        let declaration = Declaration {
            name: "test".to_owned(),
            attests: "what a test says".to_owned(),
            public_key: "00".repeat(32),
            imported: self.imported,
            heartbeat_s: 10,
            software: "test".to_owned(),
            previous: None,
        };
        self.push(Kind::SOURCE_OPEN, at, declaration.encode())
    }

    pub fn gap(&mut self, at: i64, gap: &Gap) -> u64 {
        self.push(Kind::GAP, at, gap.encode())
    }

    pub fn list(&mut self, at: i64, res: &str, raw: &str) -> u64 {
        self.lists += 1;
        let page = ListPage { id: self.lists, page: 0, last: true };
        self.list_page(at, res, page, raw)
    }

    pub fn list_page(&mut self, at: i64, res: &str, page: ListPage, raw: &str) -> u64 {
        let context = FrameContext { list: Some(page), ..context(res) };
        self.push(Kind::KUBE_LIST, at, context.join(raw.as_bytes()))
    }

    pub fn watch(&mut self, at: i64, res: &str, raw: &str) -> u64 {
        self.push(Kind::KUBE_WATCH, at, context(res).join(raw.as_bytes()))
    }

    /// A list of objects given as JSON.
    pub fn list_of(&mut self, at: i64, res: &str, rv: &str, items: &[String]) -> u64 {
        let items = items.join(",");
        let raw = format!(
            r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"{rv}"}},"items":[{items}]}}"#
        );
        self.list(at, res, &raw)
    }

    pub fn event(&mut self, at: i64, res: &str, verb: &str, object: &str) -> u64 {
        self.watch(at, res, &format!(r#"{{"type":"{verb}","object":{object}}}"#))
    }

    pub fn fold(&self) -> State {
        let state = State::temporary().unwrap();
        fold_into(&state, &self.records, 1_000);
        state
    }
}

pub fn fold_into(state: &State, records: &[(Header, Vec<u8>)], batch: usize) {
    let all: Vec<FoldRecord<'_>> = records
        .iter()
        .enumerate()
        .map(|(index, (header, payload))| FoldRecord { index: index as u64, header, payload })
        .collect();
    for chunk in all.chunks(batch) {
        state.apply(chunk).unwrap();
    }
}

/// Context of `group/version/resource` or `version/resource`.
pub fn context(res: &str) -> FrameContext {
    let parts: Vec<&str> = res.split('/').collect();
    let (group, version, resource) = match parts[..] {
        [version, resource] => ("", version, resource),
        [group, version, resource] => (group, version, resource),
        _ => panic!("no resource: {res}"),
    };
    let known = stele_record::kube::builtin(group, resource);
    FrameContext {
        cluster: CLUSTER.to_owned(),
        server: String::new(),
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        kind: known.as_ref().map_or_else(|| "Widget".to_owned(), |known| known.kind.clone()),
        namespaced: known.is_none_or(|known| known.namespaced),
        redacted: false,
        list: None,
    }
}

/// The folder of recordings, or `None` and a loud word about it.
pub fn recordings() -> Option<PathBuf> {
    let dir = std::env::var_os("STELE_RECORDINGS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"),
        PathBuf::from,
    );
    if dir.join("control-plane/watch.jsonl.zst").exists() {
        return Some(dir);
    }
    let why = format!("recordings not found at {} (set STELE_RECORDINGS)", dir.display());
    xtask::not_run::report(&why);
    None
}

/// Lines of a compressed file.
pub fn lines(path: PathBuf) -> impl Iterator<Item = String> {
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let decoder = zstd::Decoder::new(file).unwrap();
    BufReader::new(decoder).lines().map(Result::unwrap)
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    t: i64,
    res: &'a str,
    what: &'a str,
    #[serde(borrow)]
    frame: Option<&'a RawValue>,
}

/// A recording of lists and watches as an imported log.
pub fn import(path: PathBuf) -> Log {
    let mut log = Log { imported: true, ..Log::new() };
    log.open(0);
    for line in lines(path) {
        let envelope: Envelope<'_> = serde_json::from_str(&line).unwrap();
        match (envelope.what, envelope.frame) {
            ("list", Some(frame)) => log.list(envelope.t, envelope.res, frame.get()),
            ("watch", Some(frame)) => log.watch(envelope.t, envelope.res, frame.get()),
            _ => continue,
        };
    }
    log
}

/// Random numbers that are the same in every run (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number within [`from`, `to`).
    pub fn within(&mut self, from: i64, to: i64) -> i64 {
        let width = u64::try_from(to - from).unwrap().max(1);
        from + i64::try_from(self.next() % width).unwrap()
    }
}

/// A pod for synthetic frames.
#[derive(Clone)]
pub struct Pod {
    pub name: &'static str,
    pub uid: &'static str,
    pub rv: u64,
    pub created_s: i64,
    pub node: &'static str,
    pub host_network: bool,
    pub phase: &'static str,
    pub ips: Vec<&'static str>,
    pub grace: Option<i64>,
    pub running: bool,
    pub networks: &'static str,
    pub owner: Option<(&'static str, &'static str, &'static str, bool)>,
    pub ports: &'static str,
    pub host_ip: &'static str,
}

impl Pod {
    pub fn new(name: &'static str, uid: &'static str, created_s: i64) -> Self {
        Self {
            name,
            uid,
            rv: 1,
            created_s,
            node: "node-1",
            host_network: false,
            phase: "Pending",
            ips: Vec::new(),
            grace: None,
            running: false,
            networks: "",
            owner: None,
            ports: "[]",
            host_ip: "",
        }
    }

    pub fn at_rv(&self, rv: u64) -> Self {
        Self { rv, ..self.clone() }
    }

    pub fn runs(&self, rv: u64, ips: &[&'static str]) -> Self {
        Self { rv, phase: "Running", ips: ips.to_vec(), running: true, ..self.clone() }
    }

    pub fn ends(&self, rv: u64, phase: &'static str) -> Self {
        Self { rv, phase, running: false, ..self.clone() }
    }

    pub fn deleting(&self, rv: u64, grace: i64) -> Self {
        Self { rv, grace: Some(grace), ..self.clone() }
    }

    pub fn json(&self) -> String {
        let time = |s: i64| stele_state::Time(s * 1_000_000_000).to_string();
        let ips: Vec<String> = self.ips.iter().map(|ip| format!(r#"{{"ip":"{ip}"}}"#)).collect();
        let deletion = self.grace.map_or(String::new(), |grace| {
            format!(
                r#""deletionTimestamp":"{}","deletionGracePeriodSeconds":{grace},"#,
                time(self.created_s + 1_000)
            )
        });
        let owner = self.owner.map_or(String::new(), |(kind, name, uid, controller)| {
            format!(
                r#""ownerReferences":[{{"apiVersion":"apps/v1","kind":"{kind}","name":"{name}","uid":"{uid}","controller":{controller}}}],"#
            )
        });
        let networks = serde_json::to_string(self.networks).unwrap();
        let state = if self.running { r#""running":{}"# } else { r#""terminated":{}"# };
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}","namespace":"shop","uid":"{}","resourceVersion":"{}",{deletion}{owner}"creationTimestamp":"{}","labels":{{"app":"web"}},"annotations":{{"k8s.v1.cni.cncf.io/network-status":{networks}}}}},"spec":{{"nodeName":"{}","hostNetwork":{},"serviceAccountName":"runner","containers":[{{"name":"c","image":"registry.example/web:1","ports":{}}}]}},"status":{{"phase":"{}","hostIP":"{}","podIP":"{}","podIPs":[{}],"containerStatuses":[{{"name":"c","state":{{{state}}}}}]}}}}"#,
            self.name,
            self.uid,
            self.rv,
            time(self.created_s),
            self.node,
            self.host_network,
            self.ports,
            self.phase,
            self.host_ip,
            self.ips.first().unwrap_or(&""),
            ips.join(","),
        )
    }
}

/// A second in nanoseconds.
pub const S: i64 = 1_000_000_000;
