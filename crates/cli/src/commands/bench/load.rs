//! The load: writers that deliver at the same time, each of which waits for its answer.
//!
//! Invariant: a submission that was sent is sent again until it is answered, so a source's chain
//! has no hole, whatever happens on the way.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use stele_merkle::Checkpoint;
use stele_record::Submission;
use stele_source::DeliverError;
use stele_store::Clock;
use tokio::time::{Instant, sleep, sleep_until};

use super::BenchArgs;
use super::checks::Checks;
use super::report::Step;
use super::source::BenchSource;
use crate::app::App;
use crate::client::Client;
use crate::delivery::ToServer;
use crate::error::CliError;

/// Pause before a submission is sent again that could not be delivered.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// So often in a row a submission is sent before the run is given up.
const ATTEMPTS_MAX: u32 = 100;
/// Longest wait that is told apart from a longer one, in microseconds.
const WAIT_MAX_US: u64 = 600_000_000;

/// How fast to deliver.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// Every writer sends as soon as it has its answer.
    AsAcknowledged,
    /// This many records a second, at times that are fixed beforehand. A wait counts from the time
    /// at which a submission should have been sent.
    Rate(f64),
}

/// All writers.
pub(super) struct Load {
    writers: Vec<Writer>,
    batch: usize,
    records_left: u64,
}

struct Writer {
    source: BenchSource,
    delivery: ToServer,
    checks: Arc<Checks>,
    clock: Arc<dyn Clock>,
}

/// Until when and how fast a writer sends.
#[derive(Clone, Copy)]
struct Schedule {
    batch: usize,
    first: Instant,
    end: Instant,
    every: Option<Duration>,
    submissions_max: u64,
}

/// What a writer did in a step.
struct Stretch {
    waits_us: Histogram<u64>,
    submissions: u64,
    errors: u64,
}

impl Load {
    /// Opens the sources of all writers.
    ///
    /// # Errors
    /// What the server answers.
    pub(super) async fn start(
        app: &App,
        args: &BenchArgs,
        client: Client,
        checks: Arc<Checks>,
    ) -> Result<Self, CliError> {
        let mut writers = Vec::new();
        for _ in 0..args.writers {
            let source = BenchSource::new(args.payload as usize, app.now_ns())?;
            let (checks, clock) = (Arc::clone(&checks), Arc::clone(&app.clock));
            let delivery = ToServer::new(client.clone());
            writers.push(Writer { source, delivery, checks, clock });
        }
        let mut load = Self { writers, batch: args.batch as usize, records_left: args.records_max };
        load.each(|mut writer| async move {
            let opening = writer.source.open(writer.clock.now().0);
            writer.deliver(opening).await?;
            Ok((writer, ()))
        })
        .await?;
        Ok(load)
    }

    /// Sends for as long as `time`, and waits for all answers.
    ///
    /// # Errors
    /// What the server refuses, or what of its answers does not hold.
    pub(super) async fn run(&mut self, pace: Pace, time: Duration) -> Result<Step, CliError> {
        let (count, batch) = (self.writers.len(), self.batch);
        let submissions_max = self.records_left / (count * batch) as u64;
        if submissions_max == 0 {
            return Err(CliError::usage("not even one round of all writers is within the limit")
                .hint("raise --records-max, or take fewer --writers or a smaller --batch"));
        }
        let every = match pace {
            Pace::AsAcknowledged => None,
            Pace::Rate(rate) => Some(Duration::from_secs_f64((count * batch) as f64 / rate)),
        };
        let start = Instant::now();
        let mut number = 0_u32;
        let stretches = self
            .each(|mut writer| {
                // The writers' turns are spread over the pause of each.
                let offset = every.map(|every| every * number / count as u32);
                number += 1;
                let first = start + offset.unwrap_or_default();
                let schedule = Schedule { batch, first, end: start + time, every, submissions_max };
                async move {
                    let stretch = writer.stretch(schedule).await?;
                    Ok((writer, stretch))
                }
            })
            .await?;
        let seconds = start.elapsed().as_secs_f64();
        let mut waits_us = histogram()?;
        let (mut submissions, mut errors) = (0, 0);
        for stretch in stretches {
            waits_us.add(&stretch.waits_us).map_err(CliError::failed)?;
            submissions += stretch.submissions;
            errors += stretch.errors;
        }
        let records = submissions * batch as u64;
        self.records_left = self.records_left.saturating_sub(records);
        Ok(Step::new(pace, &waits_us, records, errors, seconds))
    }

    /// Seals and closes all sources.
    ///
    /// # Errors
    /// What the server answers.
    pub(super) async fn stop(&mut self) -> Result<(), CliError> {
        self.each(|mut writer| async move {
            let closing = writer.source.close(writer.clock.now().0);
            writer.deliver(closing).await?;
            Ok((writer, ()))
        })
        .await
        .map(drop)
    }

    /// Lets all writers do something at the same time.
    async fn each<T, F>(&mut self, mut what: impl FnMut(Writer) -> F) -> Result<Vec<T>, CliError>
    where
        T: Send + 'static,
        F: Future<Output = Result<(Writer, T), CliError>> + Send + 'static,
    {
        let writers = std::mem::take(&mut self.writers);
        let tasks: Vec<_> = writers.into_iter().map(|w| tokio::spawn(what(w))).collect();
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            let (writer, result) = task.await.map_err(CliError::failed)??;
            self.writers.push(writer);
            results.push(result);
        }
        Ok(results)
    }
}

impl Writer {
    async fn stretch(&mut self, schedule: Schedule) -> Result<Stretch, CliError> {
        let Schedule { batch, first, end, every, submissions_max } = schedule;
        let mut stretch = Stretch { waits_us: histogram()?, submissions: 0, errors: 0 };
        let mut due = first;
        while due < end && Instant::now() < end && stretch.submissions < submissions_max {
            let submission = self.source.events(batch, self.clock.now().0);
            let begin = if let Some(every) = every {
                sleep_until(due).await;
                let begin = due;
                due += every;
                begin
            } else {
                Instant::now()
            };
            let (failed, checkpoint) = self.deliver(submission).await?;
            let waited = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            stretch.waits_us.saturating_record(waited.max(1));
            stretch.submissions += 1;
            stretch.errors += u64::from(failed);
            self.checks.follow(checkpoint).await?;
        }
        Ok(stretch)
    }

    /// Sends a submission, again and again until it is answered, and checks the answer. Gives how
    /// often it failed, and the checkpoint that covers the records.
    async fn deliver(&self, submission: Submission) -> Result<(u32, Arc<Checkpoint>), CliError> {
        let mut failed = 0;
        let ack = loop {
            match self.delivery.post(&submission).await {
                Ok(ack) => break ack,
                Err(DeliverError::Unavailable { reason }) => {
                    failed += 1;
                    if failed == ATTEMPTS_MAX {
                        return Err(CliError::failed(reason));
                    }
                    sleep(RETRY_PAUSE).await;
                }
                Err(error) => {
                    let refusal = self.delivery.take_refusal();
                    return Err(refusal.unwrap_or_else(|| CliError::failed(error)));
                }
            }
        };
        Ok((failed, self.checks.acknowledged(&submission, &ack)?))
    }
}

/// Waits with three digits.
fn histogram() -> Result<Histogram<u64>, CliError> {
    Histogram::new_with_bounds(1, WAIT_MAX_US, 3).map_err(CliError::failed)
}
