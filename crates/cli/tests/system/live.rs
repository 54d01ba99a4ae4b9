//! A real control plane under churn, recorded while recorder and API server are killed, restarted
//! and made to forget. Afterwards every list that the server gave must come out of the record, or
//! the record must say that it was blind there.
//!
//! `STELE_LIVE_SECONDS` changes the length of the churn; `STELE_SEED` repeats its sequence.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use xtask::churn::{Churn, ChurnOptions};
use xtask::exact::{ExactList, Sampler, SamplerOptions};
use xtask::testbed::{Testbed, TestbedOptions};

use crate::exact::{Compared, compare};
use crate::harness::{Client, Home, Up, number};

const SECONDS_DEFAULT: u64 = 120;
/// Lists that must have been compared, whatever the length.
const LISTS_MIN: usize = 300;
/// How long the recorder may take to catch up after the last change.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_live_cluster_is_recorded_whole() {
    let seconds = number("STELE_LIVE_SECONDS", SECONDS_DEFAULT);
    let seed = number("STELE_SEED", 1);
    let options = TestbedOptions {
        etcd_compaction_interval: Some(Duration::from_secs(45)),
        progress: true,
        ..TestbedOptions::default()
    };
    let Some(mut bed) = Testbed::for_test(&options).unwrap() else { return };
    let home = Home::new();
    let kubeconfig = bed.kubeconfig();
    let up = || home.up(&["--kubeconfig", kubeconfig.to_str().unwrap()]);
    let truth = home.path("exact.jsonl");
    let running = up();
    wait_until_listed(&running.client()).await;

    let churn = Churn::start(&ChurnOptions::on(&bed, seed)).unwrap();
    let mut sampling = SamplerOptions::on(&bed, &truth, seed);
    sampling.lists_per_second = (4.0 * LISTS_MIN as f64 / seconds as f64).max(2.0);
    let sampler = Sampler::start(&sampling).unwrap();
    let running = disturb(&mut bed, running, &up, Duration::from_secs(seconds)).await;
    let done = churn.stop();
    let sampled = sampler.stop().unwrap();
    eprintln!("{} requests done, {} lists taken", done.total(), sampled.lists);

    wait_until_caught_up(&bed, &running.client()).await;
    let gaps = compare_all(&running.client(), &truth).await;
    let coverage = running.client().json("/v1/coverage").await;
    eprintln!("{gaps} lists fall into gaps; {}", summary(&coverage));
    running.stop();
    home.run(&["fsck", "--data", home.data().to_str().unwrap()]).ok();
}

/// Everything that may happen to a recorder, spread over `length`.
async fn disturb(bed: &mut Testbed, first: Up, up: &dyn Fn() -> Up, length: Duration) -> Up {
    let step = length / 6;
    tokio::time::sleep(step).await;
    eprintln!("recorder killed, and started again at once");
    first.kill();
    let running = up();
    tokio::time::sleep(step).await;
    eprintln!("API server restarted");
    tokio::task::block_in_place(|| bed.restart_apiserver()).unwrap();
    tokio::time::sleep(step).await;
    eprintln!("recorder killed; while it is down the API server restarts and forgets");
    running.kill();
    tokio::time::sleep(step / 2).await;
    tokio::task::block_in_place(|| bed.restart_apiserver()).unwrap();
    bed.compact_etcd().unwrap();
    tokio::time::sleep(step / 4).await;
    let running = up();
    tokio::time::sleep(step).await;
    eprintln!("etcd compacted under a running recorder");
    bed.compact_etcd().unwrap();
    tokio::time::sleep(step).await;
    running
}

async fn compare_all(client: &Client, truth: &Path) -> usize {
    let lines = std::fs::read_to_string(truth).unwrap();
    let (mut equal, mut gaps, mut different) = (0, 0, Vec::new());
    for line in lines.lines() {
        let exact: ExactList = serde_json::from_str(line).unwrap();
        match compare(client, &exact).await {
            Compared::Equal => equal += 1,
            Compared::Gap => gaps += 1,
            Compared::Different(how) => different.push(how),
        }
    }
    eprintln!("{equal} lists equal, {gaps} in gaps, {} different", different.len());
    assert!(different.is_empty(), "{:#?}", &different[..different.len().min(5)]);
    assert!(equal >= LISTS_MIN, "only {equal} lists are equal");
    gaps
}

/// Until the first lists are in the record.
async fn wait_until_listed(client: &Client) {
    for _ in 0..CATCH_UP_MAX.as_secs() * 4 {
        let answer = client.get("/v1/objects?type=namespaces&at=now").await.unwrap();
        if answer.status().is_success() {
            let answer: Value = answer.json().await.unwrap();
            if answer["items"].as_array().is_some_and(|items| !items.is_empty()) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("the recorder recorded nothing");
}

/// Until a change made now is in the record of every kind that is watched with it.
async fn wait_until_caught_up(bed: &Testbed, client: &Client) {
    bed.kubectl(&["create", "configmap", "the-last-change", "-n", "default"]).unwrap();
    let path = "/v1/objects?type=configmaps&namespace=default&name=the-last-change";
    for _ in 0..CATCH_UP_MAX.as_secs() * 4 {
        let answer = client.get(path).await.unwrap();
        if answer.status().is_success() {
            let answer: Value = answer.json().await.unwrap();
            if answer["items"].as_array().is_some_and(|items| !items.is_empty()) {
                // Other watches run beside this one: give them the time of one more round.
                tokio::time::sleep(Duration::from_secs(3)).await;
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("the recorder did not catch up");
}

fn summary(coverage: &Value) -> String {
    let reasons = coverage["gaps"].as_array().into_iter().flatten();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for gap in reasons {
        let recovered = gap["recovered"].as_bool().unwrap_or(false);
        *counts.entry(format!("{} recovered={recovered}", gap["reason"])).or_default() += 1;
    }
    format!("gaps by reason: {counts:?}")
}
