//! Who had an address: the recorded pods of a real API server against the truth as the address
//! allocator saw it, through import, log, fold and HTTP.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Client, Home, Random, lines_of, recordings};

/// Random instants in each lease.
const INSTANTS: u64 = 10;

/// Who really had an address, in seconds.
#[derive(Deserialize)]
struct Lease {
    ip: String,
    uid: String,
    start: f64,
    end: Option<f64>,
}

#[derive(Debug, Default)]
struct Score {
    asked: u32,
    single: u32,
    single_wrong: u32,
    truth_missing: u32,
}

async fn score(folder: &Path, arguments: &[&str], last: f64) -> Score {
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let watch = folder.join("watch.jsonl.zst");
    home.run(&[&["import", watch.to_str().unwrap()], arguments].concat()).ok();
    let client = up.client();
    let mut random = Random(1);
    let mut score = Score::default();
    for line in lines_of(&folder.join("leases.jsonl.zst")) {
        let lease: Lease = serde_json::from_str(&line).unwrap();
        let length = lease.end.unwrap_or(last) - lease.start;
        for _ in 0..INSTANTS {
            let share = random.below(1_000_000) as f64 / 1e6;
            ask(&client, &lease, lease.start + share * length, &mut score).await;
        }
    }
    score
}

async fn ask(client: &Client, lease: &Lease, at: f64, score: &mut Score) {
    let at_ns = (at * 1e9) as u64;
    let answer = client.json(&format!("/v1/ip/{}?at=@{at_ns}", lease.ip)).await;
    let uids: Vec<&str> = answer["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|i| i["of"]["uid"].as_str())
        .collect();
    score.asked += 1;
    if !uids.contains(&lease.uid.as_str()) {
        score.truth_missing += 1;
    }
    if answer["verdict"] == "certain" {
        score.single += 1;
        score.single_wrong += u32::from(uids != [lease.uid.as_str()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_churn_are_told_apart() {
    let Some(recordings) = recordings() else { return };
    // The recording has no list; the namespace was empty but for pods that were on their way out.
    let score = score(&recordings.join("pod-churn"), &["--complete"], 0.0).await;
    eprintln!("pod-churn: {score:?}");
    assert_eq!((score.single_wrong, score.truth_missing), (0, 0));
    assert!(score.single * 100 >= score.asked * 99);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_real_node_are_told_apart() {
    let Some(recordings) = recordings() else { return };
    let folder = recordings.join("real-node");
    let frames = lines_of(&folder.join("watch.jsonl.zst"));
    let last: Value = serde_json::from_str(frames.last().unwrap()).unwrap();
    let score = score(&folder, &[], last["t"].as_u64().unwrap() as f64 / 1e9).await;
    eprintln!("real-node: {score:?}");
    assert_eq!((score.single_wrong, score.truth_missing), (0, 0));
}
