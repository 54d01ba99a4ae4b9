//! What a benchmark found, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use stele_server::api::{API_VERSION, LogInfo};

use super::BenchArgs;
use super::checks::Counts;
use super::load::Pace;
use crate::error::CliError;
use crate::ui::Ui;
use crate::when::grouped;

/// One stretch of load.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    /// Records a second that were wanted; none if as many as are acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted_rate: Option<f64>,
    /// Records a second that were acknowledged.
    pub(super) rate: f64,
    records: u64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    /// Deliveries that failed and were repeated.
    errors: u64,
}

impl Step {
    pub(super) fn new(
        pace: Pace,
        waits_us: &Histogram<u64>,
        records: u64,
        errors: u64,
        seconds: f64,
    ) -> Self {
        let ms = |quantile: f64| waits_us.value_at_quantile(quantile) as f64 / 1e3;
        let wanted_rate = match pace {
            Pace::AsAcknowledged => None,
            Pace::Rate(rate) => Some(rate),
        };
        Self {
            wanted_rate,
            rate: records as f64 / seconds,
            records,
            seconds,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            errors,
        }
    }

    /// Whether the rate was reached, to this share, with the latency that is the goal, and without
    /// a failure.
    pub(super) fn meets(&self, p99: Duration, reached: f64) -> bool {
        self.errors == 0
            && self.p99_ms <= p99.as_secs_f64() * 1e3
            && self.wanted_rate.is_none_or(|wanted| self.rate >= reached * wanted)
    }

    pub(super) fn head() -> String {
        format!(
            "{:>12} {:>12} {:>10} {:>10} {:>10} {:>8}",
            "WANTED/S", "RECORDS/S", "P50 MS", "P99 MS", "P99.9 MS", "ERRORS"
        )
    }

    pub(super) fn row(&self) -> String {
        let wanted =
            self.wanted_rate.map_or_else(|| "-".to_owned(), |rate| grouped(rate.round() as u64));
        format!(
            "{wanted:>12} {:>12} {:>10.2} {:>10.2} {:>10.2} {:>8}",
            grouped(self.rate.round() as u64),
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.errors
        )
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    kind: &'static str,
    origin: String,
    /// Whether the log's keys were known beforehand, and not taken from the log itself.
    pinned: bool,
    payload_bytes: u64,
    batch: u64,
    writers: u64,
    steps: Vec<Step>,
    /// The 99th percentile that was to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal_p99_ms: Option<f64>,
    /// The step with the highest rate that kept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<Step>,
    verified: Counts,
}

impl Report {
    pub(super) fn new(
        args: &BenchArgs,
        info: &LogInfo,
        pinned: bool,
        steps: Vec<Step>,
        best: Option<usize>,
        verified: Counts,
    ) -> Self {
        let best = best.map(|number| steps[number]);
        Self {
            api_version: API_VERSION,
            kind: "BenchReport",
            origin: info.origin.clone(),
            pinned,
            payload_bytes: args.payload,
            batch: args.batch,
            writers: args.writers,
            steps,
            goal_p99_ms: args.p99.map(|goal| goal.as_secs_f64() * 1e3),
            best,
            verified,
        }
    }

    /// What follows the rows of the steps, for people.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub(super) fn print_summary(&self, ui: &Ui) -> Result<(), CliError> {
        if let Some(goal) = self.goal_p99_ms {
            ui.line(&match &self.best {
                Some(best) => format!(
                    "\n{} records/s with 99 of 100 acknowledged within {goal} ms",
                    grouped(best.rate.round() as u64)
                ),
                None => format!("\nat no rate were 99 of 100 acknowledged within {goal} ms"),
            })?;
        }
        let Counts { acknowledgements, checkpoints, continuity_proofs, records_read_back } =
            self.verified;
        let keys = if self.pinned { "pinned keys" } else { "the log's own keys" };
        ui.note(&format!(
            "Checked with {keys}: {} acknowledgements with their proofs, {} checkpoints, \
             {continuity_proofs} proofs that the log continues itself, {records_read_back} records \
             read back.",
            grouped(acknowledgements),
            grouped(checkpoints)
        ));
        Ok(())
    }
}
