//! The recorders' counters as Prometheus metrics, one series for each cluster.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use stele_collect::kube::RecorderMetrics;
use stele_source::Source;

/// One recorder.
pub(crate) struct Recording {
    /// Name of its cluster.
    pub(crate) cluster: String,
    /// Its counters.
    pub(crate) metrics: Arc<RecorderMetrics>,
    /// Its source.
    pub(crate) source: Source,
}

/// All recorders of a process.
pub(crate) struct RecorderCollector {
    recordings: Vec<Recording>,
}

impl RecorderCollector {
    /// Shows these recorders.
    pub(crate) fn new(recordings: Vec<Recording>) -> Self {
        Self { recordings }
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: Counted,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for recording in &self.recordings {
            let labels = [("cluster", recording.cluster.as_str())];
            let counter = ConstCounter::new(value(&recording.metrics).load(Ordering::Relaxed));
            counter.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: Shown,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0_f64).metric_type();
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for recording in &self.recordings {
            let labels = [("cluster", recording.cluster.as_str())];
            let gauge = ConstGauge::new(value(recording));
            gauge.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RecorderCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecorderCollector({})", self.recordings.len())
    }
}

/// A counter of a recorder.
type Counted = fn(&RecorderMetrics) -> &AtomicU64;
/// What a recorder shows at the moment.
type Shown = fn(&Recording) -> f64;

/// A count as a gauge: exact up to 2⁵³.
fn count(value: &AtomicU64) -> f64 {
    value.load(Ordering::Relaxed) as f64
}

impl Collector for RecorderCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let e = &mut encoder;
        let counters: [(&str, &str, Counted); 6] = [
            ("stele_agent_frames", "List pages and watch lines recorded", |m| &m.frames),
            ("stele_agent_frame_bytes", "Their bytes", |m| &m.bytes),
            ("stele_agent_lists", "Lists completed", |m| &m.lists),
            ("stele_agent_watches", "Watches opened", |m| &m.watches),
            ("stele_agent_request_failures", "Requests that failed", |m| &m.failures),
            ("stele_agent_gaps", "Gap records written", |m| &m.gaps),
        ];
        for (name, help, value) in counters {
            self.counter(e, name, help, value)?;
        }
        let gauges: [(&str, &str, Shown); 5] = [
            ("stele_agent_streams", "Resource types followed", |r| count(&r.metrics.streams)),
            ("stele_agent_streams_blind", "Resource types followed, but blind now", |r| {
                count(&r.metrics.streams_blind)
            }),
            ("stele_agent_connected", "1 if the API server answered the last request", |r| {
                f64::from(u8::from(r.metrics.connected.load(Ordering::Relaxed)))
            }),
            ("stele_agent_last_frame_timestamp_seconds", "When the last frame came", |r| {
                r.metrics.last_frame_ns.load(Ordering::Relaxed) as f64 / 1e9
            }),
            ("stele_agent_spool_bytes", "Recorded, and not acknowledged yet", |r| {
                r.source.status().spool_bytes as f64
            }),
        ];
        for (name, help, value) in gauges {
            self.gauge(e, name, help, value)?;
        }
        Ok(())
    }
}
