//! Frames without end, made from a recording: every frame is taken apart once into what stays and
//! what differs from one repetition to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use stele_record::Kind;
use stele_record::frame::{FrameContext, ListPage};

use crate::Fault;

/// From one repetition to the next.
const ROUND_NS: i64 = 300_000_000_000;
const RV_OF_ROUND: u64 = 100_000;

/// Random numbers that are the same in every run (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number within [`from`, `to`).
    pub(crate) fn within(&mut self, from: i64, to: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let width = u64::try_from(to - from).unwrap_or(1).max(1);
        from + i64::try_from(self.0 % width).unwrap_or(0)
    }
}

/// A record's payload in the making.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// When it was received, in ns.
    pub(crate) time: i64,
    pub(crate) payload: Vec<u8>,
}

/// A piece of a frame.
enum Piece {
    Same(String),
    Uid([u8; 16]),
    Rv(u64),
    /// Within the lane: its number follows.
    Namespace,
    /// In seconds.
    Time(i64),
    /// The last two bytes of a pod's address.
    Address(u8, u8),
}

struct Template {
    time: i64,
    kind: Kind,
    /// Of an object without a namespace: it is there once.
    once: bool,
    pod: bool,
    first: bool,
    context: Vec<u8>,
    pieces: Vec<Piece>,
}

/// See the module.
pub(crate) struct Generator {
    templates: Vec<Template>,
    lists: usize,
    lanes: u64,
    seed: u64,
    at: usize,
    lane: u64,
    round: u64,
    lives: u64,
    pods: u64,
    newest: i64,
}

#[derive(Deserialize)]
struct Line<'a> {
    t: i64,
    res: &'a str,
    what: &'a str,
    #[serde(borrow)]
    frame: Option<&'a RawValue>,
}

impl Generator {
    pub(crate) fn new(recording: &Path, lanes: usize, seed: u64) -> Result<Self, Fault> {
        let decoder = zstd::Decoder::new(std::fs::File::open(recording)?)?;
        let (mut lists, mut watches, mut kinds) = (Vec::new(), Vec::new(), BTreeMap::new());
        for line in BufReader::new(decoder).lines() {
            let line = line?;
            let line: Line<'_> = serde_json::from_str(&line)?;
            let Some(frame) = line.frame.map(RawValue::get) else { continue };
            match line.what {
                "list" => {
                    let id = lists.len() as u64 + 1;
                    kinds.insert(line.res.to_owned(), kind_of_list(frame));
                    let page = ListPage { id, page: 0, last: true };
                    let context = context(line.res, &kinds[line.res], Some(page));
                    let pieces = pieces(frame, false)?;
                    lists.push(Template { once: true, ..template(&line, context, pieces) });
                }
                "watch" if !frame.starts_with(r#"{"type":"BOOKMARK""#) => {
                    let context = context(line.res, &kinds[line.res], None);
                    watches.push(template(&line, context, pieces(frame, true)?));
                }
                _ => {}
            }
        }
        let newest = lists.first().map_or(0, |first| first.time);
        let lists_len = lists.len();
        lists.extend(watches);
        Ok(Self {
            templates: lists,
            lists: lists_len,
            lanes: lanes as u64,
            seed,
            at: 0,
            lane: 0,
            round: 0,
            lives: 0,
            pods: 0,
            newest,
        })
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        let template = &self.templates[self.at];
        self.lives += u64::from(template.first);
        self.pods += u64::from(template.first && template.pod);
        let time = template.time + self.round as i64 * ROUND_NS + self.lane as i64 * 1_000;
        self.newest = self.newest.max(time);
        let mut payload = template.context.clone();
        for piece in &template.pieces {
            self.write(&mut payload, piece, template.once);
        }
        let frame = Frame { kind: template.kind, time, payload };
        let once = template.once;
        self.lane += 1;
        if once || self.lane == self.lanes {
            self.lane = 0;
            self.at += 1;
            if self.at == self.templates.len() {
                self.at = self.lists;
                self.round += 1;
            }
        }
        frame
    }

    fn write(&self, out: &mut Vec<u8>, piece: &Piece, once: bool) {
        match piece {
            Piece::Same(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Rv(rv) => {
                let rv = (rv + self.round * RV_OF_ROUND) * self.lanes + self.lane;
                out.extend_from_slice(rv.to_string().as_bytes());
            }
            Piece::Namespace => out.extend_from_slice(format!("-{}", self.lane).as_bytes()),
            Piece::Time(seconds) => {
                let shifted = seconds + self.round as i64 * (ROUND_NS / 1_000_000_000);
                let time = jiff::Timestamp::from_second(shifted).unwrap_or_default();
                out.extend_from_slice(time.strftime("%Y-%m-%dT%H:%M:%S").to_string().as_bytes());
            }
            Piece::Address(third, fourth) => {
                let second = 64 + self.lane % 128;
                out.extend_from_slice(format!("10.{second}.{third}.{fourth}").as_bytes());
            }
            Piece::Uid(uid) if once => {
                out.extend_from_slice(uuid(uid).as_bytes());
            }
            Piece::Uid(uid) => {
                let mut hash = Sha256::new();
                for part in [self.seed, self.round, self.lane] {
                    hash.update(part.to_be_bytes());
                }
                hash.update(uid);
                let other: [u8; 32] = hash.finalize().into();
                out.extend_from_slice(uuid(&other[..16]).as_bytes());
            }
        }
    }

    /// First versions of objects so far.
    pub(crate) fn lives(&self) -> u64 {
        self.lives
    }

    /// Pods so far.
    pub(crate) fn pods(&self) -> u64 {
        self.pods
    }

    /// When the first and the newest frame were received.
    pub(crate) fn times(&self) -> (i64, i64) {
        (self.templates[self.lists].time, self.newest)
    }

    /// Namespaces in which much happens.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        (0..self.lanes)
            .flat_map(|lane| ["shop", "lab", "pay"].map(|n| format!("{n}-{lane}")))
            .collect()
    }

    /// Addresses that pods had.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        for piece in self.templates.iter().filter(|t| t.pod).flat_map(|t| &t.pieces) {
            if let Piece::Address(third, fourth) = piece {
                found.insert((*third, *fourth));
            }
        }
        let lanes = 0..self.lanes.min(128);
        let of = |(third, fourth): &(u8, u8)| {
            lanes
                .clone()
                .map(|lane| format!("10.{}.{third}.{fourth}", 64 + lane))
                .collect::<Vec<_>>()
        };
        found.iter().flat_map(of).collect()
    }
}

fn template(line: &Line<'_>, context: Vec<u8>, pieces: Vec<Piece>) -> Template {
    let frame = line.frame.map_or("", RawValue::get);
    Template {
        time: line.t,
        kind: if line.what == "list" { Kind::KUBE_LIST } else { Kind::KUBE_WATCH },
        once: !namespaced(line.res)
            || !pieces.iter().any(|piece| matches!(piece, Piece::Namespace)),
        pod: line.res == "v1/pods",
        first: frame.starts_with(r#"{"type":"ADDED""#),
        context,
        pieces,
    }
}

fn kind_of_list(frame: &str) -> String {
    let kind = frame.split_once(r#""kind":""#).and_then(|(_, rest)| rest.split_once('"'));
    kind.map_or("", |(kind, _)| kind).trim_end_matches("List").to_owned()
}

/// Group, version and plural name.
fn type_of(res: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = res.split('/').collect();
    match parts[..] {
        [group, version, resource] => (group, version, resource),
        _ => ("", parts[0], parts[parts.len() - 1]),
    }
}

/// Whether objects of a type live in namespaces. Others may name one all the same.
fn namespaced(res: &str) -> bool {
    let (group, _, resource) = type_of(res);
    stele_record::kube::builtin(group, resource).is_none_or(|known| known.namespaced)
}

fn context(res: &str, kind: &str, list: Option<ListPage>) -> Vec<u8> {
    let (group, version, resource) = type_of(res);
    let context = FrameContext {
        cluster: "bench".to_owned(),
        server: String::new(),
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        namespaced: namespaced(res),
        redacted: false,
        list,
    };
    context.join(b"")
}

/// Takes a frame apart. `vary`: all that differs between lanes and rounds, else the versions alone.
fn pieces(frame: &str, vary: bool) -> Result<Vec<Piece>, Fault> {
    let (mut pieces, mut same, mut at) = (Vec::new(), 0, 0);
    let bytes = frame.as_bytes();
    while at < bytes.len() {
        let Some((begin, end, piece)) = piece_at(frame, at, vary) else {
            at += 1;
            continue;
        };
        pieces.push(Piece::Same(frame[same..begin].to_owned()));
        pieces.push(piece);
        (same, at) = (end, end);
    }
    pieces.push(Piece::Same(frame[same..].to_owned()));
    Ok(pieces)
}

/// What begins at an offset, just after a quote, and differs: where it is, and what.
fn piece_at(frame: &str, at: usize, vary: bool) -> Option<(usize, usize, Piece)> {
    if frame.as_bytes()[at] != b'"' || !frame.is_char_boundary(at + 1) {
        return None;
    }
    let rest = &frame[at + 1..];
    let value = |key: &str| {
        let value = rest.strip_prefix(key)?.strip_prefix("\":\"")?;
        let begin = at + 1 + key.len() + 3;
        Some((begin, begin + value.find('"')?))
    };
    if let Some((begin, end)) = value("resourceVersion") {
        return Some((begin, end, Piece::Rv(frame[begin..end].parse().ok()?)));
    }
    if !vary {
        return None;
    }
    if let Some((_, end)) = value("namespace") {
        return Some((end, end, Piece::Namespace));
    }
    let (begin, end) = (at + 1, at + 1 + rest.find('"')?);
    let text = &frame[begin..end];
    if let Some(uid) = parse_uuid(text) {
        return Some((begin, end, Piece::Uid(uid)));
    }
    if let Some(address) = text.strip_prefix("10.42.") {
        let (third, fourth) = address.split_once('.')?;
        return Some((begin, end, Piece::Address(third.parse().ok()?, fourth.parse().ok()?)));
    }
    if text.len() >= 20 && text.starts_with("2026-") && text.as_bytes()[10] == b'T' {
        let time: jiff::Timestamp = text.parse().ok()?;
        return Some((begin, begin + 19, Piece::Time(time.as_second())));
    }
    None
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let dashes = [8, 13, 18, 23];
    if text.len() != 36 || dashes.iter().any(|at| text.as_bytes()[*at] != b'-') {
        return None;
    }
    hex::decode(text.replace('-', "")).ok()?.try_into().ok()
}

fn uuid(bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}
