//! Makes a cluster change: objects of many kinds created, changed and deleted, by a seed.
//!
//! The sequence of intentions follows from the seed alone; what the cluster makes of them does not.
//! Requests may fail, for example while the API server restarts: that is counted and forgotten.

mod kinds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use stele_store::{Clock, SystemClock};

use crate::kube_http::{Answer, KubeHttp};
use crate::random::Random;
use crate::testbed::{Testbed, TestbedError};
use kinds::{CUSTOM_GROUP, KINDS, Kind, Scope};

/// Namespaces that stay.
const NAMESPACES: [&str; 3] = ["churn-a", "churn-b", "churn-c"];

/// How churn is made.
#[derive(Debug, Clone)]
pub struct ChurnOptions {
    /// The cluster.
    pub kubeconfig: PathBuf,
    /// The kubectl that connects to it.
    pub kubectl: PathBuf,
    /// Decides what is done.
    pub seed: u64,
    /// How many requests a second to try.
    pub operations_per_second: f64,
}

impl ChurnOptions {
    /// Three operations a second on a test bed.
    pub fn on(bed: &Testbed, seed: u64) -> Self {
        Self {
            kubeconfig: bed.kubeconfig(),
            kubectl: bed.kubectl_program().to_owned(),
            seed,
            operations_per_second: 3.0,
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChurnReport {
    /// Requests that the API server carried out, by verb and kind.
    pub done: BTreeMap<String, u64>,
    /// Requests it refused: the object was gone, or there already.
    pub refused: u64,
    /// Requests it did not answer.
    pub unanswered: u64,
}

impl ChurnReport {
    /// How many requests the API server carried out.
    pub fn total(&self) -> u64 {
        self.done.values().sum()
    }
}

/// Churn in a thread; stops when told or dropped.
#[derive(Debug)]
pub struct Churn {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<ChurnReport>>,
}

impl Churn {
    /// Starts.
    pub fn start(options: &ChurnOptions) -> Result<Self, TestbedError> {
        let mut driver = Driver::new(options)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            driver.run(&|_| stopped.load(Ordering::Relaxed));
            driver.report
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops, and says what was done.
    pub fn stop(mut self) -> ChurnReport {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its `kubectl proxy` ends with the thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Makes churn for a while in this thread.
pub fn run_for(options: &ChurnOptions, duration: Duration) -> Result<ChurnReport, TestbedError> {
    let mut driver = Driver::new(options)?;
    driver.run(&|elapsed| elapsed >= duration);
    Ok(driver.report)
}

/// An object that was created and not deleted, as far as this program knows.
#[derive(Debug, Clone)]
struct Live {
    kind: &'static Kind,
    /// Its URL path without the name.
    collection: String,
    namespace: Option<String>,
    name: String,
}

struct Driver {
    http: KubeHttp,
    random: Random,
    live: Vec<Live>,
    /// Plurals of the custom resources that exist.
    custom: Vec<String>,
    named: u64,
    interval: Duration,
    report: ChurnReport,
}

impl Driver {
    fn new(options: &ChurnOptions) -> Result<Self, TestbedError> {
        let rate = options.operations_per_second.clamp(0.1, 1000.0);
        let mut driver = Self {
            http: KubeHttp::start(Path::new(&options.kubectl), &options.kubeconfig)?,
            random: Random::new(options.seed),
            live: Vec::new(),
            custom: Vec::new(),
            named: 0,
            interval: Duration::from_secs_f64(1.0 / rate),
            report: ChurnReport::default(),
        };
        for namespace in NAMESPACES {
            let body =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            let answer = driver.http.post("/api/v1/namespaces", &body);
            driver.count("create", "namespaces", answer);
        }
        Ok(driver)
    }

    fn run(&mut self, done: &dyn Fn(Duration) -> bool) {
        let clock = SystemClock::new();
        let mut due = Duration::ZERO;
        while !done(clock.monotonic()) {
            self.step();
            // After an outage it goes on at its pace and does not catch up.
            due = (due + self.interval).max(clock.monotonic().saturating_sub(self.interval));
            std::thread::sleep(due.saturating_sub(clock.monotonic()));
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..6 => self.delete_some_pod(),
            6..9 => self.cordon(),
            _ => self.one_object(),
        }
    }

    /// Creates, changes or deletes an object of some kind.
    fn one_object(&mut self) {
        let weights: u64 = KINDS.iter().map(|kind| kind.weight).sum();
        let mut drawn = self.random.below(weights);
        let Some(kind) = KINDS.iter().find(|kind| {
            let found = drawn < kind.weight;
            drawn = drawn.saturating_sub(kind.weight);
            found
        }) else {
            return;
        };
        let here: Vec<usize> =
            (0..self.live.len()).filter(|at| std::ptr::eq(self.live[*at].kind, kind)).collect();
        let grow = here.len() < kind.live_max && (here.len() < 2 || self.random.one_in(3));
        match self.random.choose(&here).copied() {
            Some(at) if !grow && self.random.below(3) > 0 => self.change(at),
            Some(at) if !grow => self.delete(at),
            _ => self.create(kind),
        }
    }

    fn create(&mut self, kind: &'static Kind) {
        let Some((collection, namespace)) = self.place(kind) else { return };
        self.named += 1;
        let mut name = format!("{}-{}", kind.prefix, self.named);
        let plural = format!("gadgets{}", self.named);
        if kind.scope == Scope::Definition {
            name = format!("{plural}.{CUSTOM_GROUP}");
        }
        let mut body = (kind.make)(&mut self.random, &name);
        body["metadata"]["name"] = name.clone().into();
        if kind.scope == Scope::Custom
            && let Some(plural) = collection.rsplit('/').next()
        {
            body["kind"] = kinds::custom_kind(plural).into();
        }
        let answer = self.http.post(&collection, &body);
        if self.count("create", kind.plural, answer) {
            if kind.scope == Scope::Definition {
                self.custom.push(plural);
            }
            self.live.push(Live { kind, collection, namespace, name });
        }
    }

    /// The collection a new object of this kind goes into, and its namespace.
    fn place(&mut self, kind: &Kind) -> Option<(String, Option<String>)> {
        let mut plural = kind.plural.to_owned();
        if kind.scope == Scope::Custom {
            plural = self.random.choose(&self.custom)?.clone();
        }
        if matches!(kind.scope, Scope::Cluster | Scope::Definition | Scope::Namespace) {
            return Some((format!("{}/{plural}", kind.api), None));
        }
        let made = self.live.iter().filter(|live| live.kind.scope == Scope::Namespace);
        let all: Vec<String> = NAMESPACES
            .iter()
            .map(|name| (*name).to_owned())
            .chain(made.map(|live| live.name.clone()))
            .collect();
        let namespace = self.random.choose(&all)?.clone();
        Some((format!("{}/namespaces/{namespace}/{plural}", kind.api), Some(namespace)))
    }

    fn change(&mut self, at: usize) {
        let live = self.live[at].clone();
        let patch = (live.kind.change)(&mut self.random);
        let answer = self.http.patch(&live.path(), &patch);
        if matches!(&answer, Ok(answer) if answer.status == 404) {
            self.live.swap_remove(at);
        }
        self.count("change", live.kind.plural, answer);
    }

    fn delete(&mut self, at: usize) {
        let live = self.live.swap_remove(at);
        let policy = if self.random.one_in(4) { "Foreground" } else { "Background" };
        let answer = self.http.delete(&live.path(), &json!({"propagationPolicy": policy}));
        self.count("delete", live.kind.plural, answer);
        match live.kind.scope {
            Scope::Namespace => {
                self.live.retain(|other| other.namespace.as_deref() != Some(&live.name));
            }
            Scope::Definition => {
                let plural = live.name.split('.').next().unwrap_or_default().to_owned();
                self.custom.retain(|other| *other != plural);
                let end = format!("/{plural}");
                self.live.retain(|other| !other.collection.ends_with(&end));
            }
            _ => {}
        }
    }

    /// Deletes any pod, every second time with no grace at all.
    fn delete_some_pod(&mut self) {
        let namespace = NAMESPACES[usize::from(self.random.below(3) as u8)];
        let collection = format!("/api/v1/namespaces/{namespace}/pods");
        let Ok(pods) = self.http.get_json(&collection) else {
            self.report.unanswered += 1;
            return;
        };
        let none = Vec::new();
        let items = pods["items"].as_array().unwrap_or(&none);
        let Some(pod) = self.random.choose(items) else { return };
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let forced = self.random.one_in(2);
        let options = if forced { json!({"gracePeriodSeconds": 0}) } else { json!({}) };
        let answer = self.http.delete(&format!("{collection}/{name}"), &options);
        self.count(if forced { "force-delete" } else { "delete" }, "pods", answer);
    }

    /// Closes a node for new pods, or opens it again.
    fn cordon(&mut self) {
        let Ok(nodes) = self.http.get_json("/api/v1/nodes") else {
            self.report.unanswered += 1;
            return;
        };
        let none = Vec::new();
        let items = nodes["items"].as_array().unwrap_or(&none);
        let closed = |node: &Value| node["spec"]["unschedulable"].as_bool() == Some(true);
        // One closed node at a time, so that pods always have somewhere to go.
        let one = items.iter().find(|node| closed(node)).or_else(|| self.random.choose(items));
        let Some(node) = one else { return };
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let value = if closed(node) { Value::Null } else { true.into() };
        let patch = json!({"spec": {"unschedulable": value}});
        let answer = self.http.patch(&format!("/api/v1/nodes/{name}"), &patch);
        self.count("change", "nodes", answer);
    }

    /// Whether the API server carried it out.
    fn count(&mut self, verb: &str, kind: &str, answer: Result<Answer, TestbedError>) -> bool {
        match answer.map(|answer| answer.status) {
            Ok(200..=299) => {
                *self.report.done.entry(format!("{verb} {kind}")).or_default() += 1;
                true
            }
            Ok(400..=428) => {
                self.report.refused += 1;
                false
            }
            _ => {
                self.report.unanswered += 1;
                false
            }
        }
    }
}

impl Live {
    fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }
}
