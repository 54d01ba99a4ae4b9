//! The recorder of one cluster: finds out which types there are and keeps a stream for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use stele_record::kube::{Resource, ResourceList};
use stele_record::{GapReason, Kind, PayloadType};
use stele_source::{Cursor, Draft, Source, SourceError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::blind::{Blind, Subject, draft};
use super::discovery::{Discovered, TypeKey, discover};
use super::http::{HttpError, get};
use super::stream::{Shared, Stream};
use super::{
    Cluster, DISCOVERY_BYTES_MAX, RecorderError, RecorderMetrics, WATCH_SECONDS_MAX, documents,
};
use crate::Backoff;
use crate::redact::Redactor;

/// How a recorder behaves, as plain data.
#[derive(Debug, Clone, Default)]
pub struct RecorderOptions {
    /// Record values of Secrets as they are. Off unless somebody asks for it.
    pub store_secret_values: bool,
    /// Objects in a list page; 0 takes the default of 500.
    pub page_limit: u32,
    /// Pauses and periods.
    pub timing: Timing,
}

/// Pauses and periods of a recorder. The default suits a cluster; tests want shorter ones.
#[derive(Debug, Clone)]
pub struct Timing {
    /// First pause after a failure; doubled each time.
    pub retry_first: Duration,
    /// Longest pause between two tries.
    pub retry_max: Duration,
    /// Pause before a type is tried again that the server refused.
    pub denied_retry: Duration,
    /// Blindness that lasts longer is recorded while it lasts.
    pub announce_after: Duration,
    /// Pause between a change of CRDs or APIServices and the next discovery.
    pub discover_after: Duration,
    /// Longest pause between two discoveries.
    pub discover_every: Duration,
    /// How long a watch is asked to last, in seconds; at most [`WATCH_SECONDS_MAX`].
    pub watch_seconds: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_millis(250),
            retry_max: Duration::from_secs(30),
            denied_retry: Duration::from_secs(300),
            announce_after: Duration::from_secs(10),
            discover_after: Duration::from_secs(1),
            discover_every: Duration::from_secs(300),
            watch_seconds: WATCH_SECONDS_MAX,
        }
    }
}

/// Objects in a list page unless told otherwise.
const PAGE_LIMIT_DEFAULT: u32 = 500;

/// Discoveries after a change of a CRD: a server takes a few seconds to serve a new type.
const DISCOVERIES_AFTER_CHANGE: u32 = 5;

/// Discoveries after one that found something new: the schema of a type comes later than the type.
const DISCOVERIES_AFTER_FOUND: u32 = 1;

/// Records one cluster.
pub struct Recorder {
    cluster: Cluster,
    source: Source,
    options: RecorderOptions,
    metrics: Arc<RecorderMetrics>,
}

impl Recorder {
    /// A recorder of `cluster` that writes to `source`. Nothing happens before [`Recorder::run`].
    pub fn new(cluster: Cluster, source: Source, options: RecorderOptions) -> Self {
        Self { cluster, source, options, metrics: Arc::default() }
    }

    /// What it does, while it runs.
    pub fn metrics(&self) -> Arc<RecorderMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Records until `shutdown` becomes true (or its sender is gone). An unreachable server is
    /// tried again for ever. The source stays open: end it after this has returned.
    ///
    /// # Errors
    /// [`RecorderError`] if the source can't go on.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), RecorderError> {
        let mut streams = Streams::default();
        let stopped = async {
            let _ = shutdown.wait_for(|stop| *stop).await;
        };
        let ended = tokio::select! {
            ended = self.record(&mut streams) => ended,
            () = stopped => Ok(()),
        };
        streams.stop_all().await;
        ended
    }

    async fn record(&self, streams: &mut Streams) -> Result<(), RecorderError> {
        let cluster = self.cluster_id().await?;
        let shared = Arc::new(self.shared(cluster));
        let (failed, mut failures) = mpsc::channel(1);
        let mut manager = Manager { recorder: self, shared, streams, failed, known: None };
        tokio::select! {
            ended = manager.run() => ended,
            Some(error) = failures.recv() => Err(error),
        }
    }

    fn shared(&self, cluster: String) -> Shared {
        let limit = match self.options.page_limit {
            0 => PAGE_LIMIT_DEFAULT,
            limit => limit,
        };
        Shared {
            client: self.cluster.client.clone(),
            source: self.source.clone(),
            redactor: Redactor::of_source(&self.source, self.options.store_secret_values),
            cluster,
            server: self.cluster.server.clone(),
            metrics: Arc::clone(&self.metrics),
            timing: self.options.timing.clone(),
            page_limit: limit,
            lists: Shared::lists(),
            last_list: AtomicU64::new(0),
            rediscover: Notify::new(),
        }
    }

    /// The uid of the namespace `kube-system`; asked for until it is known.
    async fn cluster_id(&self) -> Result<String, SourceError> {
        let timing = &self.options.timing;
        let mut backoff = Backoff::new(timing.retry_first, timing.retry_max);
        let begun = Instant::now();
        let mut announced = false;
        loop {
            match kube_system_uid(&self.cluster.client).await {
                Ok(uid) => return Ok(uid),
                Err(error) => {
                    RecorderMetrics::count(&self.metrics.failures, 1);
                    tracing::warn!(cluster = %self.cluster.name, server = %self.cluster.server,
                        %error, "cannot read namespace kube-system, trying again");
                }
            }
            if !announced && begun.elapsed() >= timing.announce_after {
                announced = true;
                self.announce_unreachable().await?;
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Cursor that holds the id of the cluster that was recorded under this name last.
    fn cluster_cursor(&self) -> String {
        format!("kube-cluster/{}", self.cluster.name)
    }

    /// The server can't be reached since the start: every type that an earlier boot followed is
    /// blind until its stream says otherwise.
    async fn announce_unreachable(&self) -> Result<(), SourceError> {
        let Some(cluster) = self.source.cursor(&self.cluster_cursor()) else { return Ok(()) };
        let Some(previous) = self.source.previous() else { return Ok(()) };
        let cursors = self.source.cursors();
        for (cursor, rv) in &cursors {
            let Some(subject) = Subject::from_cursor(&cluster, cursor) else { continue };
            if cursors.contains_key(&subject.blind_cursor()) {
                continue;
            }
            let blind = Blind {
                since: previous.last_observed_ns,
                from_rv: Some(rv.clone()),
                reason: GapReason::RecorderDown,
                detail: "since the recorder was not running the server is not reachable".to_owned(),
                announced: true,
                stated: true,
            };
            let cursor =
                Cursor { key: subject.blind_cursor(), value: serde_json::to_string(&blind).ok() };
            self.source.record(draft(&blind.open(&subject)), &[cursor]).await?;
            RecorderMetrics::count(&self.metrics.gaps, 1);
        }
        Ok(())
    }
}

async fn kube_system_uid(client: &Client) -> Result<String, HttpError> {
    #[derive(Deserialize)]
    struct Namespace {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        uid: String,
    }
    let path = "/api/v1/namespaces/kube-system";
    let body = get(client, path, "application/json", DISCOVERY_BYTES_MAX).await?;
    let namespace: Namespace = serde_json::from_slice(&body)
        .map_err(|e| HttpError::Unreachable(format!("namespace kube-system: {e}")))?;
    Ok(namespace.metadata.uid)
}

/// The running streams; they end with it.
#[derive(Default)]
struct Streams {
    running: BTreeMap<TypeKey, JoinHandle<()>>,
}

impl Streams {
    async fn stop(&mut self, key: &TypeKey) {
        if let Some(task) = self.running.remove(key) {
            task.abort();
            // Until it is gone it may still write.
            let _ = task.await;
        }
    }

    async fn stop_all(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
        for task in std::mem::take(&mut self.running).into_values() {
            let _ = task.await;
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

struct Manager<'a> {
    recorder: &'a Recorder,
    shared: Arc<Shared>,
    streams: &'a mut Streams,
    failed: mpsc::Sender<RecorderError>,
    /// What the last discovery found; `None` before the first.
    known: Option<BTreeMap<TypeKey, Resource>>,
}

impl Manager<'_> {
    async fn run(&mut self) -> Result<(), RecorderError> {
        let timing = self.shared.timing.clone();
        let mut backoff = Backoff::new(timing.retry_first, timing.retry_max);
        // Discoveries still to come because something changed.
        let mut expected = 0;
        loop {
            let found = discover(&self.shared.client).await;
            self.shared.metrics.connected.store(found.is_ok(), Ordering::Relaxed);
            let pause = match found {
                Ok(found) => {
                    backoff.reset();
                    if self.apply(found).await? {
                        expected = DISCOVERIES_AFTER_FOUND;
                    }
                    documents::record(&self.shared).await?;
                    match expected {
                        0 => timing.discover_every,
                        left => timing.discover_after * 2_u32.pow(DISCOVERIES_AFTER_CHANGE - left),
                    }
                }
                Err(error) => {
                    RecorderMetrics::count(&self.shared.metrics.failures, 1);
                    tracing::warn!(%error, "discovery failed, trying again");
                    backoff.pause()
                }
            };
            expected = u32::saturating_sub(expected, 1);
            if timeout(pause, self.shared.rediscover.notified()).await.is_ok() {
                expected = DISCOVERIES_AFTER_CHANGE - 1;
                sleep(timing.discover_after).await;
            }
        }
    }

    /// Starts and stops streams; whether anything changed.
    async fn apply(&mut self, mut found: Discovered) -> Result<bool, RecorderError> {
        let known = self.known.take();
        if let Some(known) = &known {
            found.keep_stale(known);
        }
        let changed = known.as_ref() != Some(&found.resources);
        if changed {
            self.record_resources(&found.resources).await?;
            self.end_gone(known.unwrap_or_default(), &found).await?;
            for (key, resource) in &found.resources {
                if !self.streams.running.contains_key(key) {
                    self.start(key.clone(), resource.clone());
                }
            }
        }
        let running = self.streams.running.len() as u64;
        self.shared.metrics.streams.store(running, Ordering::Relaxed);
        self.known = Some(found.resources);
        Ok(changed)
    }

    async fn record_resources(
        &self,
        resources: &BTreeMap<TypeKey, Resource>,
    ) -> Result<(), SourceError> {
        let list = ResourceList {
            cluster: self.shared.cluster.clone(),
            cluster_name: self.recorder.cluster.name.clone(),
            server: self.shared.server.clone(),
            resources: resources.values().cloned().collect(),
        };
        let draft = Draft {
            kind: Kind::KUBE_RESOURCES,
            event_time: None,
            origin_counter: None,
            payload_type: PayloadType::JSON,
            payload: list.encode().into(),
        };
        let cursor = Cursor {
            key: self.recorder.cluster_cursor(),
            value: Some(self.shared.cluster.clone()),
        };
        self.shared.source.record(draft, &[cursor]).await?;
        Ok(())
    }

    /// Ends the streams of types that are gone or served in another version now. At the first
    /// discovery of a boot those are the ones that an earlier boot followed.
    async fn end_gone(
        &mut self,
        known: BTreeMap<TypeKey, Resource>,
        found: &Discovered,
    ) -> Result<(), RecorderError> {
        let followed = self.shared.source.cursors();
        let earlier = followed.keys().filter_map(|cursor| {
            let subject = Subject::from_cursor(&self.shared.cluster, cursor)?;
            Some((subject.group, subject.resource))
        });
        let mut keys: Vec<TypeKey> = known.keys().cloned().chain(earlier).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let (before, now) = (known.get(&key), found.resources.get(&key));
            let stale = now.is_none() && found.stale.contains(&key.0);
            let moved = match (before, now) {
                (Some(before), Some(now)) => before.version != now.version,
                _ => false,
            };
            if stale || (now.is_some() && !moved) {
                continue;
            }
            self.streams.stop(&key).await;
            let (reason, detail) = match now {
                None => (GapReason::ResourceGone, "the server no longer offers it".to_owned()),
                Some(now) => (GapReason::Other, format!("it is served in {} now", now.version)),
            };
            self.leave(key, reason, detail).await?;
        }
        Ok(())
    }

    /// Records that a type is not followed from now on.
    async fn leave(
        &self,
        key: TypeKey,
        reason: GapReason,
        detail: String,
    ) -> Result<(), SourceError> {
        let (group, resource) = key;
        let subject = Subject { cluster: self.shared.cluster.clone(), group, resource };
        let source = &self.shared.source;
        let stored = source.cursor(&subject.blind_cursor());
        let earlier: Option<Blind> = stored.and_then(|json| serde_json::from_str(&json).ok());
        let blind = Blind {
            since: earlier.as_ref().map_or_else(|| self.shared.now(), |blind| blind.since),
            from_rv: source.cursor(&subject.cursor()),
            reason,
            detail,
            announced: true,
            stated: true,
        };
        let cursors = [
            Cursor { key: subject.cursor(), value: None },
            Cursor { key: subject.blind_cursor(), value: serde_json::to_string(&blind).ok() },
        ];
        self.shared.gap(&blind.open(&subject), &cursors).await
    }

    fn start(&mut self, key: TypeKey, resource: Resource) {
        let stream = Stream::new(Arc::clone(&self.shared), resource);
        let failed = self.failed.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = stream.run().await {
                let _ = failed.send(RecorderError::from(error)).await;
            }
        });
        self.streams.running.insert(key, task);
    }
}
