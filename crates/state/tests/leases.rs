//! Answers about addresses against the truth of the address plug-ins: whoever is named alone is
//! the holder, and the holder is always in the set.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;

use common::{Log, Random, import, lines, recordings};
use serde_json::value::RawValue;
use stele_state::query::{IpQuery, Verdict};
use stele_state::{Point, State, Time};

#[derive(serde::Deserialize)]
struct Truth {
    ip: String,
    uid: String,
    start: f64,
    end: Option<f64>,
}

#[derive(serde::Deserialize)]
struct Received<'a> {
    rx: f64,
    #[serde(borrow)]
    e: &'a RawValue,
}

fn ns(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

#[derive(Debug, Default)]
struct Score {
    asked: u32,
    single: u32,
    wrong: u32,
    missing: u32,
    other: u32,
    set: usize,
}

/// Asks at ten random moments of every lease.
fn score(state: &State, leases: &Path, last: i64) -> Score {
    let mut score = Score::default();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for line in lines(leases.to_owned()) {
        let truth: Truth = serde_json::from_str(&line).unwrap();
        let start = ns(truth.start);
        let end = truth.end.map_or(last, ns).min(last);
        for _ in 0..10 {
            let at = Point::Observed(Time(random.within(start, end)));
            let answer = state.ip(&truth.ip, &at, &IpQuery::default()).unwrap();
            let holds = answer.candidates.iter().any(|c| c.reference.uid == truth.uid);
            score.asked += 1;
            score.set += answer.candidates.len();
            score.missing += u32::from(!holds);
            match answer.verdict {
                Verdict::Single => {
                    score.single += 1;
                    score.wrong += u32::from(!holds);
                }
                Verdict::Several => {}
                _ => score.other += 1,
            }
        }
    }
    score
}

fn report(name: &str, score: &Score) -> f64 {
    let single = 100.0 * f64::from(score.single) / f64::from(score.asked);
    println!(
        "{name}: {} asked, {single:.2} % single, {} of them wrong, truth missing {}, neither \
         single nor several {}, mean set {:.2}",
        score.asked,
        score.wrong,
        score.missing,
        score.other,
        score.set as f64 / f64::from(score.asked)
    );
    single
}

#[test]
fn pod_churn() {
    let Some(dir) = recordings() else { return };
    let mut log = Log { imported: true, ..Log::new() };
    log.open(0);
    let mut last = 0;
    for line in lines(dir.join("pod-churn/watch.jsonl.zst")) {
        let received: Received<'_> = serde_json::from_str(&line).unwrap();
        let at = ns(received.rx);
        if last == 0 {
            // The recording is a watch alone. That nothing else ran before it is known from how it
            // was made, not from its frames.
            log.list_of(at - 1, "v1/pods", "20496", &[]);
        }
        log.watch(at, "v1/pods", received.e.get());
        last = at;
    }
    let score = score(&log.fold(), &dir.join("pod-churn/leases.jsonl.zst"), last);
    let single = report("pod-churn", &score);
    assert_eq!((score.wrong, score.missing, score.other), (0, 0, 0));
    assert!(single >= 99.0, "{single}");
}

#[test]
fn real_node() {
    let Some(dir) = recordings() else { return };
    let log = import(dir.join("real-node/watch.jsonl.zst"));
    let last = log.records.iter().filter_map(|(h, _)| h.event_time).max().unwrap().unix_ns();
    let score = score(&log.fold(), &dir.join("real-node/leases.jsonl.zst"), last);
    report("real-node", &score);
    assert_eq!((score.wrong, score.missing, score.other), (0, 0, 0));
}
