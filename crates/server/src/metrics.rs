//! Metrics in the text format of Prometheus. The registry is handed in, never global, so that
//! others (a recorder in the same process) can put theirs into it.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use stele_ledger::cosigning::Cosigning;

use crate::error::ErrorKind;

/// Labels of an answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The route's pattern, never the path: paths would make as many series as there are callers.
    pub(crate) route: String,
    pub(crate) method: Method,
    pub(crate) status: u16,
}

/// A method, of the few that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Method {
    Get,
    Post,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Query {
    pub(crate) query: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InvariantId {
    id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessName {
    witness: String,
}

/// Answered requests, of any server of this program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Family<RequestLabels, Counter>);

impl Requests {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("stele_http_requests", "Answered requests", self.0.clone());
    }

    /// Counts an answered request.
    pub(crate) fn count(&self, labels: &RequestLabels) {
        self.0.get_or_create(labels).inc();
    }
}

/// Names the program's version.
pub(crate) fn register_build(registry: &mut Registry) {
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("stele_build", "Version of the program", build);
}

/// How it stands with the witnesses of a policy; without one there are no such series.
#[derive(Debug, Default)]
struct WitnessMetrics {
    log_size: Gauge,
    size: Family<WitnessName, Gauge>,
    age: Family<WitnessName, Gauge<f64, AtomicU64>>,
    failures: Family<WitnessName, Gauge>,
}

impl WitnessMetrics {
    fn register(&self, r: &mut Registry) {
        r.register(
            "stele_log_cosigned_size",
            "Records under the newest checkpoint that meets the witness policy",
            self.log_size.clone(),
        );
        r.register(
            "stele_witness_cosigned_size",
            "Records under the largest checkpoint that the witness has cosigned",
            self.size.clone(),
        );
        r.register(
            "stele_witness_cosignature_age_seconds",
            "Age of the witness's newest cosignature",
            self.age.clone(),
        );
        r.register(
            "stele_witness_failures",
            "Failures since the witness has cosigned last",
            self.failures.clone(),
        );
    }

    fn show(&self, cosigning: &Cosigning, now_s: u64) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let published = cosigning.checkpoint().map_or(0, |checkpoint| checkpoint.size.0);
        self.log_size.set(gauge(published));
        for (witness, status) in cosigning.policy().witnesses().iter().zip(cosigning.statuses()) {
            let name = WitnessName { witness: witness.name.clone() };
            self.size.get_or_create(&name).set(gauge(status.cosigned_size));
            self.failures.get_or_create(&name).set(gauge(status.failures));
            if status.cosigned_at_s > 0 {
                let age = now_s.saturating_sub(status.cosigned_at_s);
                self.age.get_or_create(&name).set(age as f64);
            }
        }
    }
}

/// The server's own metrics, and the registry they are in.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    pub(crate) tree_size: Gauge,
    pub(crate) checkpoint_age: Gauge<f64, AtomicU64>,
    pub(crate) append_duration: Histogram,
    append_rejected: Family<Reason, Counter>,
    pub(crate) fold_lag: Gauge,
    pub(crate) queue_free: Gauge,
    pub(crate) bodies_free: Gauge,
    query_duration: Family<Query, Histogram>,
    invariants: Family<InvariantId, Counter>,
    pub(crate) requests: Requests,
    witnesses: WitnessMetrics,
    pub(crate) watchers: Gauge,
    pub(crate) slow_watchers: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

/// 0.5 ms to about 16 s.
pub(crate) fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl Metrics {
    /// Puts the server's metrics into this registry.
    pub(crate) fn new(mut registry: Registry) -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            tree_size: Gauge::default(),
            checkpoint_age: Gauge::default(),
            append_duration: seconds(),
            append_rejected: Family::default(),
            fold_lag: Gauge::default(),
            queue_free: Gauge::default(),
            bodies_free: Gauge::default(),
            query_duration: Family::new_with_constructor(seconds),
            invariants: Family::default(),
            requests: Requests::default(),
            witnesses: WitnessMetrics::default(),
            watchers: Gauge::default(),
            slow_watchers: Counter::default(),
        };
        metrics.register(&mut registry);
        *metrics.lock() = registry;
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let r = registry;
        register_build(r);
        r.register("stele_log_tree_size", "Records under a checkpoint", self.tree_size.clone());
        r.register(
            "stele_log_checkpoint_age_seconds",
            "Age of the newest checkpoint",
            self.checkpoint_age.clone(),
        );
        r.register(
            "stele_log_append_duration_seconds",
            "From a whole request to its acknowledgement",
            self.append_duration.clone(),
        );
        r.register(
            "stele_log_append_rejected",
            "Appends that were not taken",
            self.append_rejected.clone(),
        );
        r.register(
            "stele_state_index_lag_records",
            "Records that the views have not taken in yet",
            self.fold_lag.clone(),
        );
        r.register(
            "stele_log_queue_free_bytes",
            "Bytes of appends that may come before appends have to wait",
            self.queue_free.clone(),
        );
        r.register(
            "stele_http_bodies_free_bytes",
            "Bytes of request bodies that may come before requests have to wait",
            self.bodies_free.clone(),
        );
        r.register(
            "stele_query_duration_seconds",
            "Time to answer a question",
            self.query_duration.clone(),
        );
        r.register(
            "stele_invariant_violations",
            "Broken invariants since the start; anything but 0 is a fault of the program",
            self.invariants.clone(),
        );
        self.requests.register(r);
        self.witnesses.register(r);
        r.register("stele_watch_subscribers", "Running subscriptions", self.watchers.clone());
        r.register(
            "stele_watch_slow_readers",
            "Subscriptions cut off because their reader was too slow",
            self.slow_watchers.clone(),
        );
    }

    /// Counts an append that was not taken.
    pub(crate) fn rejected(&self, kind: ErrorKind) {
        let reason = kind.name().to_owned();
        self.append_rejected.get_or_create(&Reason { reason }).inc();
    }

    /// Notes how long a question took.
    pub(crate) fn answered(&self, query: &'static str, took: Duration) {
        self.query_duration.get_or_create(&Query { query }).observe(took.as_secs_f64());
    }

    /// Shows how it stands with the witnesses of a policy.
    pub(crate) fn witnesses(&self, cosigning: &Cosigning, now_s: u64) {
        self.witnesses.show(cosigning, now_s);
    }

    /// Shows how often an invariant was broken.
    pub(crate) fn invariant(&self, id: &str, violations: u64) {
        let counter = self.invariants.get_or_create(&InvariantId { id: id.to_owned() });
        counter.inc_by(violations.saturating_sub(counter.get()));
    }

    /// All metrics as text.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.lock())?;
        Ok(text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
