//! SIGKILL at random moments under load: what was acknowledged is there, at the index that was
//! acknowledged, and nothing in the directory is damaged.
//!
//! `STELE_KILL_ROUNDS` changes the number of rounds; `STELE_SEED` repeats a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Client, Home, Random, number};

const ROUNDS_DEFAULT: u64 = 200;
const WRITERS: usize = 4;
/// Longest life of a server, in milliseconds.
const LIFE_MS_MAX: u64 = 250;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_records_outlive_sigkill() {
    let rounds = number("STELE_KILL_ROUNDS", ROUNDS_DEFAULT);
    let seed = number("STELE_SEED", u64::from(std::process::id()) | 1);
    eprintln!("STELE_SEED={seed} STELE_KILL_ROUNDS={rounds}");
    let mut random = Random(seed);
    let home = Home::new();
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..rounds {
        let up = home.up(&["--no-record"]);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(up.client(), format!("{round}/{writer}"))))
            .collect();
        tokio::time::sleep(Duration::from_millis(random.below(LIFE_MS_MAX))).await;
        up.kill();
        for writer in writers {
            for (index, text) in writer.await.unwrap() {
                let before = acknowledged.insert(index, text);
                assert_eq!(before, None, "index {index} was acknowledged twice");
            }
        }
        if round % 50 == 49 {
            eprintln!("{} rounds, {} records acknowledged", round + 1, acknowledged.len());
        }
    }
    check(&home, &acknowledged).await;
}

/// Appends one or several lines at a time until the server is gone; what it acknowledged.
async fn write(client: Client, name: String) -> Vec<(u64, String)> {
    let mut acknowledged = Vec::new();
    for n in 0_u64.. {
        let lines: Vec<String> = (0..=n % 7).map(|line| format!("{name}/{n}/{line}")).collect();
        let body: String = lines.iter().map(|line| format!("{line:?}\n")).collect();
        let sent = client.post("/v1/events", "application/x-ndjson", body).await;
        let Ok(response) = sent else { break };
        let status = response.status();
        let Ok(text) = response.text().await else { break };
        assert!(status.is_success(), "{status} {text}");
        let ack: Value = serde_json::from_str(&text).unwrap();
        let items = ack["items"].as_array().unwrap();
        assert_eq!(items.len(), lines.len());
        let indices = items.iter().map(|item| item["index"].as_u64().unwrap());
        acknowledged.extend(indices.zip(lines));
    }
    acknowledged
}

async fn check(home: &Home, acknowledged: &BTreeMap<u64, String>) {
    assert!(!acknowledged.is_empty());
    let up = home.up(&["--no-record"]);
    let client = up.client();
    for (index, text) in acknowledged {
        let record = client.json(&format!("/v1/log/records/{index}")).await;
        assert_eq!(record["data"].as_str(), Some(text.as_str()), "record {index}: {record}");
    }
    up.stop();
    let data = home.data();
    let fsck = home.run(&["fsck", "--data", data.to_str().unwrap()]);
    eprintln!("{} records acknowledged, all there\n{}", acknowledged.len(), fsck.ok());
}
