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

/// Each connection that the node's kernel saw, as a table through `stele ip --from`.
#[tokio::test(flavor = "multi_thread")]
async fn each_connection_of_a_real_node_is_put_to_the_pods_at_both_ends() {
    let Some(recordings) = recordings() else { return };
    let folder = recordings.join("real-node");
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    home.run(&["import", folder.join("watch.jsonl.zst").to_str().unwrap()]).ok();
    let mut table = String::from("time,proto,saddr,sport,daddr,dport\n");
    let mut connections = Vec::new();
    for line in lines_of(&folder.join("conntrack.txt.zst")).iter().filter(|l| l.contains("[NEW]")) {
        let field = |name: &str| {
            let (_, rest) = line.split_once(name).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        let (time, _) = line[1..].split_once(']').unwrap();
        let (src, dst) = (field(" src="), field(" dst="));
        let (sport, dport) = (field(" sport="), field(" dport="));
        table.push_str(&format!("{time},tcp,{src},{sport},{dst},{dport}\n"));
        connections.push((time.parse::<f64>().unwrap(), [src, dst]));
    }
    let file = home.path("connections.csv");
    std::fs::write(&file, table).unwrap();
    let csv = home.run(&["ip", "--from", file.to_str().unwrap()]).ok();
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let column = |name: &str| names.iter().position(|column| *column == name).unwrap();
    let leases: Vec<Lease> = lines_of(&folder.join("leases.jsonl.zst"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Allocations were polled.
    let holds = |lease: &Lease, ip: &str, at: f64| {
        lease.ip == ip && lease.start - 0.01 <= at && lease.end.is_none_or(|end| at <= end + 0.01)
    };
    let (mut certain, mut asked) = (0, 0);
    for ((at, ends), row) in connections.iter().zip(rows.by_ref()) {
        for (ip, end) in ends.iter().zip(["src", "dst"]) {
            let truth: Vec<&Lease> = leases.iter().filter(|l| holds(l, ip, *at)).collect();
            let named: Vec<&str> = row[column(&format!("{end}_uid"))].split('|').collect();
            let told = truth.iter().all(|lease| named.contains(&lease.uid.as_str()));
            assert!(told, "{ip} at {at}: {row:?}");
            asked += 1;
            certain += u32::from(row[column(&format!("{end}_verdict"))] == "certain");
        }
    }
    assert!(rows.next().is_none());
    eprintln!("{asked} ends of {} connections, {certain} certain", connections.len());
    assert!(connections.len() > 400 && certain * 100 >= asked * 99);
    // The same from standard input as JSON lines, each with an answer.
    let question = format!(
        r#"{{"src":"{}","dst":"{}","at":{}}}"#,
        connections[0].1[0], connections[0].1[1], connections[0].0
    );
    let lines = home.path("connections.jsonl");
    std::fs::write(&lines, format!("{question}\n")).unwrap();
    let answer = home.run(&["ip", "--from", lines.to_str().unwrap(), "-q"]).ok();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["src"]["verdict"], "certain", "{answer}");
    up.stop();
}
