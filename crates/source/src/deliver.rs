//! Delivery: from the spool to a ledger, in order, until acknowledged; and the heartbeat.

use std::future::Future;
use std::time::Duration;

use stele_record::Submission;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::spool::{Batch, SpoolReader};
use crate::{Source, SourceError, epoch_secret};

/// First pause after a failed delivery; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_secs(15);

/// A way to a ledger.
pub trait Deliver: Send + Sync {
    /// Hands over a submission. Success means that the ledger acknowledged it; a repeat of what
    /// it already has is a success too.
    fn deliver(
        &self,
        submission: Submission,
    ) -> impl Future<Output = Result<Delivered, DeliverError>> + Send;
}

/// The ledger's acknowledgement, already checked by the [`Deliver`] that returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Index of the submission's first record in the log.
    pub first_index: u64,
}

/// Why a delivery did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    /// Not now: no answer, overloaded, not reachable. The source tries again.
    #[error("the ledger is unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// Never: the ledger understood and refused. The source stops.
    #[error("the ledger refuses: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

/// See [`Source::run`].
pub(crate) async fn run(
    source: &Source,
    deliver: &impl Deliver,
    mut shutdown: watch::Receiver<bool>,
    drain_max: Duration,
) -> Result<(), SourceError> {
    let reader = source.writer().reader();
    let mut delivery = Delivery { source, deliver, reader, pending: None };
    let stopped = async {
        // A dropped sender means that nobody is left to ask for a stop: the same as asking.
        let _ = shutdown.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        ended = delivery.run() => return ended,
        ended = heartbeat(source) => return ended,
        () = stopped => {}
    }
    source.close()?;
    source.flush().await?;
    match timeout(drain_max, delivery.drain()).await {
        Ok(drained) => drained,
        Err(_) => {
            let left = source.status().spool_bytes;
            tracing::warn!(spool_bytes = left, "stopped with undelivered records in the spool");
            Ok(())
        }
    }
}

async fn heartbeat(source: &Source) -> Result<(), SourceError> {
    loop {
        sleep(source.inner.options.heartbeat).await;
        source.seal()?;
    }
}

struct Delivery<'a, D> {
    source: &'a Source,
    deliver: &'a D,
    reader: SpoolReader,
    /// Read from the spool and not acknowledged yet; survives an interrupted try.
    pending: Option<Batch>,
}

impl<D: Deliver> Delivery<'_, D> {
    async fn run(&mut self) -> Result<(), SourceError> {
        loop {
            self.drain().await?;
            self.source.inner.recorded.notified().await;
        }
    }

    /// Delivers until nothing is left that was recorded before.
    async fn drain(&mut self) -> Result<(), SourceError> {
        loop {
            self.source.flush().await?;
            let durable = self.source.writer().end_of_durable();
            if self.pending.is_none() && self.reader.position() >= durable {
                return Ok(());
            }
            loop {
                if self.pending.is_none() {
                    self.pending = self.reader.next_batch(durable)?;
                }
                let Some(batch) = &self.pending else { break };
                let submission = Submission {
                    epoch: batch.epoch,
                    secret: epoch_secret(&self.source.inner.key, batch.epoch),
                    records: batch.records.clone(),
                };
                let end = batch.end;
                self.until_taken(submission).await?;
                self.pending = None;
                self.source.inner.delivered.send_replace(end);
                self.source.writer().forget_before(end)?;
            }
        }
    }

    async fn until_taken(&self, submission: Submission) -> Result<(), SourceError> {
        let mut pause = RETRY_FIRST;
        loop {
            match self.deliver.deliver(submission.clone()).await {
                Ok(_) => return Ok(()),
                Err(DeliverError::Refused { reason }) => {
                    return Err(SourceError::Refused { reason });
                }
                Err(DeliverError::Unavailable { reason }) => {
                    tracing::warn!(%reason, pause_ms = pause.as_millis() as u64, "delivery failed");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}
