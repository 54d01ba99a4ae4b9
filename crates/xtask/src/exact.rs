//! Writes down what an API server says it holds at exact revisions, as the truth to compare with.
//!
//! One JSON line for each list taken with `resourceVersionMatch=Exact`:
//! `{"t": ns, "res": "group/version/resource", "rv": "N", "items": [[namespace, name, uid,
//! resourceVersion, digest], …]}`, where the digest is the SHA-256 of the object's canonical JSON
//! without `apiVersion` and `kind`, which lists leave out.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stele_store::{Clock, SystemClock};

use crate::kube_http::KubeHttp;
use crate::random::Random;
use crate::testbed::{Testbed, TestbedError};

/// Types that change all the time and are worth most of the lists.
const BUSY: [&str; 5] = [
    "v1/pods",
    "apps/v1/replicasets",
    "apps/v1/deployments",
    "discovery.k8s.io/v1/endpointslices",
    "batch/v1/jobs",
];

/// How often the types are asked for again, so that custom resources are found.
const DISCOVER_EVERY: Duration = Duration::from_secs(5);

/// A revision is chosen among this many before the present one.
const REVISIONS_BACK: u64 = 30;

/// One list at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactList {
    /// When it was received, nanoseconds since the epoch.
    pub t: i64,
    /// The type: `group/version/resource`, without group for the core.
    pub res: String,
    /// The revision.
    pub rv: String,
    /// Namespace, name, uid, resourceVersion and digest of every object.
    pub items: Vec<[String; 5]>,
}

/// How lists are taken.
#[derive(Debug, Clone)]
pub struct SamplerOptions {
    /// The cluster.
    pub kubeconfig: PathBuf,
    /// The kubectl that connects to it.
    pub kubectl: PathBuf,
    /// Where the lines go.
    pub file: PathBuf,
    /// Decides which types and revisions are taken.
    pub seed: u64,
    /// How many lists a second to try.
    pub lists_per_second: f64,
}

impl SamplerOptions {
    /// Four lists a second from a test bed.
    pub fn on(bed: &Testbed, file: &Path, seed: u64) -> Self {
        Self {
            kubeconfig: bed.kubeconfig(),
            kubectl: bed.kubectl_program().to_owned(),
            file: file.to_owned(),
            seed,
            lists_per_second: 4.0,
        }
    }
}

/// What was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SamplerReport {
    /// Lists written.
    pub lists: u64,
    /// Lists the API server did not give: revision compacted, type gone, not reachable.
    pub refused: u64,
}

/// Takes lists in a thread; stops when told or dropped.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<SamplerReport, TestbedError>>>,
}

impl Sampler {
    /// Starts.
    pub fn start(options: &SamplerOptions) -> Result<Self, TestbedError> {
        let mut taker = Taker::new(options)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                taker.step()?;
            }
            taker.finish()
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops; afterwards the file is whole.
    pub fn stop(mut self) -> Result<SamplerReport, TestbedError> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_else(|| {
            let what = "its thread panicked".into();
            Err(TestbedError::Malformed { context: "take exact lists".into(), what })
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its `kubectl proxy` ends with the thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Taker {
    http: KubeHttp,
    clock: SystemClock,
    random: Random,
    out: BufWriter<File>,
    context: String,
    interval: Duration,
    types: Vec<String>,
    discovered: Option<Duration>,
    report: SamplerReport,
}

impl Taker {
    fn new(options: &SamplerOptions) -> Result<Self, TestbedError> {
        let context = format!("write {}", options.file.display());
        let file = File::create(&options.file).map_err(TestbedError::io(context.clone()))?;
        let rate = options.lists_per_second.clamp(0.1, 1000.0);
        Ok(Self {
            http: KubeHttp::start(&options.kubectl, &options.kubeconfig)?,
            clock: SystemClock::new(),
            random: Random::new(options.seed),
            out: BufWriter::new(file),
            context,
            interval: Duration::from_secs_f64(1.0 / rate),
            types: Vec::new(),
            discovered: None,
            report: SamplerReport::default(),
        })
    }

    /// Takes one list and waits until the next is due. Fails only if the file cannot be written.
    fn step(&mut self) -> Result<(), TestbedError> {
        let start = self.clock.monotonic();
        self.discover();
        match self.take() {
            Some(list) => {
                let mut line = serde_json::to_vec(&list)
                    .map_err(TestbedError::malformed(self.context.clone()))?;
                line.push(b'\n');
                self.out.write_all(&line).map_err(TestbedError::io(self.context.clone()))?;
                self.report.lists += 1;
            }
            None => self.report.refused += 1,
        }
        let taken = self.clock.monotonic().saturating_sub(start);
        std::thread::sleep(self.interval.saturating_sub(taken));
        Ok(())
    }

    fn finish(mut self) -> Result<SamplerReport, TestbedError> {
        self.out.flush().map_err(TestbedError::io(self.context))?;
        Ok(self.report)
    }

    fn discover(&mut self) {
        let now = self.clock.monotonic();
        if self.discovered.is_some_and(|then| now.saturating_sub(then) < DISCOVER_EVERY) {
            return;
        }
        if let Ok(types) = listable_types(&self.http) {
            self.types = types;
            self.discovered = Some(now);
        }
    }

    fn take(&mut self) -> Option<ExactList> {
        let busy = self.random.one_in(2);
        let res = match self.random.choose(&BUSY) {
            Some(res) if busy => (*res).to_owned(),
            _ => self.random.choose(&self.types)?.clone(),
        };
        let now = self.http.get_json("/api/v1/namespaces?limit=1").ok()?;
        let now: u64 = now["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
        let revision = now.saturating_sub(self.random.below(REVISIONS_BACK)).max(1);
        let prefix = if res.starts_with("v1/") { "/api" } else { "/apis" };
        let (version, plural) = res.rsplit_once('/')?;
        let query = format!("resourceVersionMatch=Exact&resourceVersion={revision}");
        let list = self.http.get_json(&format!("{prefix}/{version}/{plural}?{query}")).ok()?;
        let rv = list["metadata"]["resourceVersion"].as_str()?.to_owned();
        let items = list["items"].as_array()?.iter().map(item).collect();
        Some(ExactList { t: self.clock.now().0, res, rv, items })
    }
}

/// All types that can be listed and watched, in each group's preferred version. `events.k8s.io` is
/// left out, as it shows the same objects as the core's events.
pub fn listable_types(http: &KubeHttp) -> Result<Vec<String>, TestbedError> {
    let mut versions = vec![("/api/v1".to_owned(), "v1".to_owned())];
    let groups = http.get_json("/apis")?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap_or_default();
        if group["name"] != "events.k8s.io" {
            versions.push((format!("/apis/{version}"), version.to_owned()));
        }
    }
    let mut types = Vec::new();
    for (path, version) in versions {
        // The group of a custom resource may be gone by now.
        let Ok(resources) = http.get_json(&path) else { continue };
        for resource in resources["resources"].as_array().into_iter().flatten() {
            let can = |verb: &str| {
                resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|v| v == verb))
            };
            if can("list") && can("watch") {
                types.push(format!("{version}/{}", resource["name"].as_str().unwrap_or_default()));
            }
        }
    }
    Ok(types)
}

/// The line's entry for an object.
fn item(object: &Value) -> [String; 5] {
    let meta = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    [meta("namespace"), meta("name"), meta("uid"), meta("resourceVersion"), object_digest(object)]
}

/// SHA-256, in hexadecimal, of the canonical JSON of an object without `apiVersion` and `kind`.
pub fn object_digest(object: &Value) -> String {
    let mut bare = object.clone();
    if let Value::Object(fields) = &mut bare {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    hex::encode(Sha256::digest(canonical_json(&bare)))
}

/// JSON with sorted keys, no spaces, and text unescaped where JSON lets it.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (number, (key, value)) in fields.into_iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                *out += &Value::from(key.as_str()).to_string();
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        plain => *out += &plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_is_sorted_and_tight() {
        let value = json!({"b": [1, null, {"z": "\u{e9}\n", "a": 1.5}], "a": {}});
        assert_eq!(
            canonical_json(&value),
            "{\"a\":{},\"b\":[1,null,{\"a\":1.5,\"z\":\"\u{e9}\\n\"}]}"
        );
    }

    #[test]
    fn the_digest_leaves_out_what_lists_leave_out() {
        let in_list = json!({"metadata": {"name": "a"}});
        let alone = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
        assert_eq!(object_digest(&in_list), object_digest(&alone));
    }
}
