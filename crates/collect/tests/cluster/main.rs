//! A real control plane, recorded with the rights of `deploy/kubernetes` and no others, while the
//! recorder is killed and the API server forgets. What the server says it held at a version must
//! be what the frames say, or lie in a gap that says so.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::Log;
use serde_json::{Value, json};
use stele_collect::kube::{Access, Recorder, RecorderOptions, Timing, connect};
use stele_record::frame::FrameContext;
use stele_record::{Gap, GapReason, Kind, ObservedTime};
use stele_source::{Source, SourceOptions};
use stele_store::{Clock as _, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use xtask::churn::{Churn, ChurnOptions};
use xtask::exact::{ExactList, Sampler, SamplerOptions, object_digest};
use xtask::testbed::{Testbed, TestbedOptions};

/// A kubeconfig with the token of the agent's service account, made as README.md says.
fn agent_kubeconfig(bed: &Testbed, dir: &Path) -> PathBuf {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes");
    for file in ["server.yaml", "agent.yaml", "agent.yaml"] {
        bed.kubectl(&["apply", "-f", manifests.join(file).to_str().unwrap()]).unwrap();
    }
    let token = bed.kubectl(&["-n", "stele", "create", "token", "stele-agent"]).unwrap();
    let text = bed.kubectl(&["config", "view", "--raw", "-o", "json"]).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = dir.join("agent.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

struct Running {
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    source: Source,
}

async fn start(dir: &Path, kubeconfig: &Path, log: &Log) -> Running {
    let options = SourceOptions {
        name: "recorder/test".to_owned(),
        attests: "test".to_owned(),
        imported: false,
        heartbeat: Duration::from_millis(500),
        software: "test".to_owned(),
        spool_bytes_max: u64::MAX,
    };
    let source = Source::open(&dir.join("spool"), options, Arc::new(SystemClock::new())).unwrap();
    let access = Access::Kubeconfig { path: Some(kubeconfig.to_owned()), context: None };
    let cluster = connect(&access).await.unwrap();
    let timing =
        Timing { watch_seconds: 20, announce_after: Duration::from_secs(2), ..Timing::default() };
    let recorder =
        Recorder::new(cluster, source.clone(), RecorderOptions { timing, ..Default::default() });
    let (stop, stopped) = watch::channel(false);
    let recorder_stopped = stopped.clone();
    let recording = tokio::spawn(async move { recorder.run(recorder_stopped).await.unwrap() });
    let (log, delivering) = (log.clone(), source.clone());
    let delivery = tokio::spawn(async move {
        delivering.run(&log, stopped, Duration::from_secs(20)).await.unwrap();
    });
    Running { stop, tasks: [recording, delivery], source }
}

impl Running {
    async fn kill(self) {
        self.source.flush().await.unwrap();
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// One type: for each object its versions, `None` where it is gone.
#[derive(Default)]
struct Versions {
    objects: BTreeMap<(String, String), BTreeMap<u64, Option<Item>>>,
    first_list: Option<u64>,
}

/// Uid, version, digest.
type Item = (String, String, String);

impl Versions {
    fn see(&mut self, object: &Value, exists: bool) {
        let meta = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
        let rv: u64 = meta("resourceVersion").parse().unwrap();
        let item = exists.then(|| (meta("uid"), meta("resourceVersion"), object_digest(object)));
        let versions = self.objects.entry((meta("namespace"), meta("name"))).or_default();
        versions.insert(rv, item);
    }

    fn list(&mut self, rv: u64, items: &[Value]) {
        let mut listed = BTreeSet::new();
        for item in items {
            self.see(item, true);
            let meta = &item["metadata"];
            let text = |field: &str| meta[field].as_str().unwrap_or("").to_owned();
            listed.insert((text("namespace"), text("name")));
        }
        for (key, versions) in &mut self.objects {
            let alive = versions.range(..=rv).next_back().is_some_and(|(_, item)| item.is_some());
            if alive && !listed.contains(key) {
                versions.insert(rv, None);
            }
        }
        self.first_list = Some(self.first_list.unwrap_or(rv));
    }

    fn at(&self, rv: u64) -> BTreeSet<(String, String, Item)> {
        let alive = self.objects.iter().filter_map(|((namespace, name), versions)| {
            let (_, item) = versions.range(..=rv).next_back()?;
            Some((namespace.clone(), name.clone(), item.clone()?))
        });
        alive.collect()
    }
}

/// When a gap was recorded, and what it says.
type Gaps = Vec<(ObservedTime, Gap)>;

fn fold(log: &Log) -> (BTreeMap<String, Versions>, Gaps) {
    let mut types: BTreeMap<String, Versions> = BTreeMap::new();
    let mut gaps = Vec::new();
    let mut pages: Vec<Value> = Vec::new();
    for (header, payload) in log.0.lock().unwrap().values() {
        match header.kind {
            Kind::GAP => gaps.push((header.observed_time, Gap::decode(payload).unwrap())),
            Kind::KUBE_LIST | Kind::KUBE_WATCH => {
                let (context, raw) = FrameContext::split(payload).unwrap();
                let res = format!("{}/{}", context.api_version(), context.resource);
                let versions = types.entry(res).or_default();
                let frame: Value = serde_json::from_slice(raw).unwrap();
                match (context.list, frame["type"].as_str()) {
                    (Some(place), _) => {
                        if place.page == 0 {
                            pages.clear();
                        }
                        pages.extend(frame["items"].as_array().unwrap().iter().cloned());
                        let rv = frame["metadata"]["resourceVersion"].as_str().unwrap();
                        if place.last {
                            versions.list(rv.parse().unwrap(), &pages);
                        }
                    }
                    (None, Some("ADDED" | "MODIFIED")) => versions.see(&frame["object"], true),
                    (None, Some("DELETED")) => versions.see(&frame["object"], false),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    (types, gaps)
}

fn in_gap(gaps: &[(ObservedTime, Gap)], res: &str, rv: u64) -> bool {
    let number = |rv: &Option<String>| rv.as_deref().and_then(|rv| rv.parse::<u64>().ok());
    gaps.iter().any(|(_, gap)| {
        let plural = res.rsplit('/').next();
        !gap.recovered
            && gap.resource.as_deref() == plural
            && number(&gap.from_rv).is_none_or(|from| from < rv)
            && number(&gap.to_rv).is_some_and(|to| rv < to)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deployed_rights_suffice_and_frames_say_what_the_server_held() {
    let Some(mut bed) = Testbed::for_test(&TestbedOptions::default()).unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = agent_kubeconfig(&bed, dir.path());
    let log = Log::default();
    let running = start(dir.path(), &kubeconfig, &log).await;
    let churn =
        Churn::start(&ChurnOptions { operations_per_second: 10.0, ..ChurnOptions::on(&bed, 7) });
    let churn = churn.unwrap();
    let truth = dir.path().join("exact.jsonl");
    let sampler = Sampler::start(&SamplerOptions::on(&bed, &truth, 7)).unwrap();
    sleep(Duration::from_secs(8)).await;
    running.kill().await;
    sleep(Duration::from_secs(2)).await;
    let running = start(dir.path(), &kubeconfig, &log).await;
    sleep(Duration::from_secs(8)).await;
    let restart = ObservedTime::from_unix_ns(SystemClock::new().now().0);
    let bed = tokio::task::spawn_blocking(move || {
        bed.expire_watches().unwrap();
        bed
    });
    let bed = bed.await.unwrap();
    sleep(Duration::from_secs(12)).await;
    churn.stop();
    sampler.stop().unwrap();
    sleep(Duration::from_secs(4)).await;
    running.stop().await;
    let (types, gaps) = fold(&log);
    assert_rights_suffice(&gaps, restart);
    compare(&bed, &log, &truth, (&types, &gaps));
}

/// Nothing is refused, but by an API server that has just been started: until it has read the
/// roles it knows nobody. What it refuses then must be granted later.
fn assert_rights_suffice(gaps: &Gaps, restart: ObservedTime) {
    let mut refused = BTreeSet::new();
    for (at, gap) in gaps {
        let subject = (gap.group.clone(), gap.resource.clone());
        if gap.reason == GapReason::Denied {
            assert!(*at > restart, "refused before the API server was restarted: {gap:#?}");
            refused.insert(subject.clone());
        }
        if gap.to_ns.is_some() {
            refused.remove(&subject);
        }
    }
    assert!(refused.is_empty(), "refused to the end: {refused:?}");
}

fn compare(
    bed: &Testbed,
    log: &Log,
    truth: &Path,
    (types, gaps): (&BTreeMap<String, Versions>, &Gaps),
) {
    let down = gaps.iter().filter(|(_, gap)| gap.reason == GapReason::RecorderDown).count();
    assert!(down > 40, "{gaps:#?}");
    let (mut equal, mut blind) = (0, 0);
    for line in std::fs::read_to_string(truth).unwrap().lines() {
        let list: ExactList = serde_json::from_str(line).unwrap();
        let rv: u64 = list.rv.parse().unwrap();
        let known = types.get(&list.res);
        let Some(versions) = known.filter(|v| v.first_list.is_some_and(|first| first <= rv)) else {
            blind += 1;
            continue;
        };
        if in_gap(gaps, &list.res, rv) {
            blind += 1;
            continue;
        }
        let secret = list.res == "v1/secrets";
        let item = |[namespace, name, uid, rv, digest]: [String; 5]| {
            (namespace, name, (uid, rv, if secret { String::new() } else { digest }))
        };
        let wanted: BTreeSet<_> = list.items.into_iter().map(item).collect();
        let strip = |(namespace, name, (uid, rv, digest)): (String, String, Item)| {
            (namespace, name, (uid, rv, if secret { String::new() } else { digest }))
        };
        let found: BTreeSet<_> = versions.at(rv).into_iter().map(strip).collect();
        assert_eq!(found, wanted, "{} at {rv}: {gaps:#?}", list.res);
        equal += 1;
    }
    eprintln!(
        "{equal} lists equal, {blind} before the first list or in a gap, {} gaps, {} types",
        gaps.len(),
        types.len()
    );
    assert!(equal >= 30, "only {equal} lists could be compared, {blind} were not covered");
    let secrets = bed.kubectl(&["get", "secrets", "-A", "-o", "json"]).unwrap();
    let secrets: Value = serde_json::from_str(&secrets).unwrap();
    let log = log.0.lock().unwrap();
    for secret in secrets["items"].as_array().unwrap() {
        for (_, value) in secret["data"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap();
            let leaked = |payload: &[u8]| {
                value.len() > 8 && String::from_utf8_lossy(payload).contains(value)
            };
            assert!(!log.values().any(|(_, payload)| leaked(payload)), "{secret}");
        }
    }
}
