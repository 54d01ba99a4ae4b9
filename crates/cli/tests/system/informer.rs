//! An informer of client-go on stele, while the API server under the recorder restarts and forgets:
//! it ends with what the live server has, and has been told every version that was recorded.
//!
//! `STELE_INFORMER_SECONDS` changes the length; `STELE_SEED` repeats the sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use xtask::churn::{Churn, ChurnOptions};
use xtask::go::INFORMER;
use xtask::testbed::{Testbed, TestbedOptions};

use crate::harness::{Client, Home, Up, number};
use crate::kube_api::{Kubectl, kubeconfig, wait_until};

const SECONDS_DEFAULT: u64 = 15;

/// What is followed, as informers and as stele name it.
const RESOURCES: [&str; 6] = [
    "configmaps.v1.",
    "pods.v1.",
    "services.v1.",
    "endpointslices.v1.discovery.k8s.io",
    "replicasets.v1.apps",
    "deployments.v1.apps",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_informer_sees_every_version_through_a_relist_storm() {
    let seconds = number("STELE_INFORMER_SECONDS", SECONDS_DEFAULT);
    let seed = number("STELE_SEED", 1);
    let options = TestbedOptions {
        etcd_compaction_interval: Some(Duration::from_secs(20)),
        progress: true,
        ..TestbedOptions::default()
    };
    let Some(programs) = INFORMER.for_test().unwrap() else { return };
    let Some(mut bed) = Testbed::for_test(&options).unwrap() else { return };
    let home = Home::new();
    let bed_config = bed.kubeconfig();
    let start = |at: &str| home.up_at(at, &["--kubeconfig", bed_config.to_str().unwrap()]);
    let mut up = start("127.0.0.1:0");
    let address = up.url.trim_start_matches("http://").to_owned();
    let now = kubeconfig(&home, &up, "now");
    let kubectl = Kubectl::of(&bed);
    let recorded = kubectl.with(&now);
    wait_until(|| RESOURCES.iter().all(|resource| is_listed(&recorded, resource)));

    let program = programs.join("stele-informer");
    let mut informer = Informer::start(&program, &now);
    let synced = informer.wait_until_synced();
    let churn = Churn::start(&ChurnOptions::on(&bed, seed)).unwrap();
    up = storm(&mut bed, up, &address, &start, Duration::from_secs(seconds)).await;
    let done = churn.stop();
    eprintln!("{} requests done", done.total());
    kubectl.ok(&["create", "configmap", "the-last-change", "-n", "default"]);
    informer.wait_for("the-last-change");

    let mut live = Informer::start(&program, &bed_config);
    live.wait_until_synced();
    same_in_the_end(&mut informer, &mut live);
    let versions = versions(&up.client()).await;
    informer.read_all();
    let mut checked = 0;
    for version in &versions {
        let after = &synced[&version.resource];
        if newer(&version.rv, after) {
            checked += 1;
            let key = (version.uid.clone(), version.rv.clone());
            assert!(informer.seen.contains(&key), "was not told of {version:?}");
        }
    }
    eprintln!("{checked} versions were recorded, the informer was told of each");
    assert!(checked > 100, "only {checked} versions");
    up.stop();
}

/// Restarts and compactions, spread over `length`.
async fn storm(
    bed: &mut Testbed,
    mut up: Up,
    address: &str,
    start: &dyn Fn(&str) -> Up,
    length: Duration,
) -> Up {
    let step = length / 5;
    for what in ["compaction", "API server", "stele", "both", "compaction"] {
        tokio::time::sleep(step).await;
        eprintln!("restart or compaction: {what}");
        let bed = &mut *bed;
        match what {
            "compaction" => {
                tokio::task::block_in_place(|| bed.compact_etcd()).unwrap();
            }
            "API server" => tokio::task::block_in_place(|| bed.restart_apiserver()).unwrap(),
            "stele" => {
                up.kill();
                up = start(address);
            }
            _ => {
                // What happens meanwhile is not recorded: a gap to be crossed.
                up.kill();
                tokio::time::sleep(step / 2).await;
                tokio::task::block_in_place(|| bed.restart_apiserver()).unwrap();
                bed.compact_etcd().unwrap();
                up = start(address);
            }
        }
    }
    tokio::time::sleep(step).await;
    up
}

fn is_listed(kubectl: &Kubectl, resource: &str) -> bool {
    let shown = kubectl.run(&["get", resource, "-A"]);
    shown.status.success() && !shown.stderr.contains("nobody looked")
}

/// Both have the same objects, byte for byte in canonical form.
fn same_in_the_end(informer: &mut Informer, live: &mut Informer) {
    let mut last = String::new();
    for _ in 0..60 {
        let (found, wanted) = (informer.caches(), live.caches());
        let mut different = Vec::new();
        for (resource, wanted) in &wanted {
            let found = &found[resource];
            let differs = wanted.iter().filter(|(key, value)| found.get(*key) != Some(value));
            different.extend(differs.map(|(key, _)| format!("{resource}: {key} differs")));
            let surplus = found.keys().filter(|key| !wanted.contains_key(*key));
            different.extend(surplus.map(|key| format!("{resource}: {key} should be gone")));
        }
        if different.is_empty() {
            return;
        }
        last = different.join("\n");
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("{last}");
}

fn newer(a: &str, b: &str) -> bool {
    (a.len(), a) > (b.len(), b)
}

/// A version that was recorded.
#[derive(Debug)]
struct Recorded {
    resource: String,
    uid: String,
    rv: String,
}

/// All recorded versions of what is followed, up to the last change of the test.
async fn versions(client: &Client) -> Vec<Recorded> {
    let response = client.get("/v1/watch?from_index=0").await.unwrap();
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    let mut found = Vec::new();
    loop {
        let chunk = stream.next().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data:"));
            let is_change = event.lines().any(|line| line == "event: change");
            let item: Value = match data {
                Some(data) if is_change => serde_json::from_str(data.trim()).unwrap(),
                _ => Value::Null,
            };
            text = rest.to_owned();
            let field = |name: &str| item["of"][name].as_str().unwrap_or_default().to_owned();
            let followed = RESOURCES
                .iter()
                .any(|resource| resource.split('.').next() == Some(field("resource").as_str()));
            let seen = !matches!(item["change"].as_str(), Some("vanished" | "replaced") | None);
            if followed && seen {
                let rv = item["resourceVersion"].as_str().unwrap().to_owned();
                found.push(Recorded { resource: field("resource"), uid: field("uid"), rv });
            }
            if field("name") == "the-last-change" {
                return found;
            }
        }
    }
}

type Cache = BTreeMap<String, (String, String)>;

/// A running informer, and what it has said.
struct Informer {
    child: Child,
    input: ChildStdin,
    lines: Receiver<Value>,
    /// uid and resource version of everything it was told of.
    seen: BTreeSet<(String, String)>,
    names: BTreeSet<String>,
}

impl Informer {
    fn start(program: &Path, kubeconfig: &Path) -> Self {
        let mut child = Command::new(program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(RESOURCES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, input, lines, seen: BTreeSet::new(), names: BTreeSet::new() }
    }

    /// The next line that is no notification; notifications are noted.
    fn next(&mut self) -> Value {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("it is silent");
            if !self.note(&line) {
                return line;
            }
        }
    }

    fn note(&mut self, line: &Value) -> bool {
        let Some(_) = line["event"].as_str() else { return false };
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        self.seen.insert((field("uid"), field("rv")));
        self.names.insert(field("name"));
        true
    }

    fn read_all(&mut self) {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(500)) {
            self.note(&line);
        }
    }

    /// The version at which each resource was first listed.
    fn wait_until_synced(&mut self) -> BTreeMap<String, String> {
        let mut synced = BTreeMap::new();
        while synced.len() < RESOURCES.len() {
            let line = self.next();
            if let (Some(resource), Some(rv)) = (line["synced"].as_str(), line["rv"].as_str()) {
                synced.insert(resource.to_owned(), rv.to_owned());
            }
        }
        synced
    }

    fn wait_for(&mut self, name: &str) {
        while !self.names.contains(name) {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("it is silent");
            self.note(&line);
        }
    }

    /// What is in its caches.
    fn caches(&mut self) -> BTreeMap<String, Cache> {
        writeln!(self.input, "caches").unwrap();
        let mut caches = BTreeMap::new();
        loop {
            let line = self.next();
            if line["done"] == true {
                return caches;
            }
            let Some(resource) = line["cache"].as_str() else { continue };
            let items = line["items"].as_array().unwrap().iter().map(|item| {
                let part = |n: usize| item[n].as_str().unwrap().to_owned();
                let key = format!("{}/{} {}", part(0), part(1), part(2));
                (key, (part(3), part(4)))
            });
            caches.insert(resource.to_owned(), items.collect());
        }
    }
}

impl Drop for Informer {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
