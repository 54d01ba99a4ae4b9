//! The server's own source: events that callers append over HTTP are recorded through it.
//!
//! It has no spool. A request is acknowledged only when the ledger has its records under a
//! checkpoint, so there is nothing to keep: what fails is the caller's to send again. The boot is
//! opened with the first event, sealed at least once a heartbeat from then on, and closed when the
//! server stops.
//!
//! Invariant: one submission at a time, so sequence numbers have no hole; a submission that the
//! ledger did not take does not move the chain.

mod life;

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use stele_ledger::{AppendError, Ledger, Receipt, SignedCheckpoint};
use stele_merkle::Hash;
use stele_record::{EventTime, PayloadType, Salt, SourceId, SourceKey};
use stele_store::Clock;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::blocking::blocking;
use crate::error::ApiError;
use crate::ledger_error::{append_error, read_error};
use crate::limits::{
    APPEND_BATCH_BYTES_TARGET, APPEND_BATCH_EVENTS_MAX, APPEND_HEARTBEAT, APPEND_QUEUE_REQUESTS_MAX,
};
use crate::signal::stopped;
use life::{Batch, Identity, Life};

/// An event to be recorded.
#[derive(Debug, Clone)]
pub(crate) struct EventDraft {
    /// When it happened, as the caller says.
    pub(crate) event_time: Option<EventTime>,
    /// Encoding of the payload.
    pub(crate) payload_type: PayloadType,
    /// The payload.
    pub(crate) payload: Bytes,
}

/// Events that were recorded together.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) checkpoint: Arc<SignedCheckpoint>,
    pub(crate) records: Vec<AppendedRecord>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct AppendedRecord {
    pub(crate) index: u64,
    pub(crate) header: Bytes,
    pub(crate) salt: Salt,
    pub(crate) proof: Vec<Hash>,
}

struct Request {
    drafts: Vec<EventDraft>,
    answer: oneshot::Sender<Result<Appended, ApiError>>,
}

/// The way to the source. Clones lead to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Appender {
    source: SourceId,
    requests: mpsc::Sender<Request>,
}

impl Appender {
    /// Starts the source with this key. Once `stop` becomes true it records what waits, closes
    /// its boot and ends.
    pub(crate) fn start(
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        key: SourceKey,
        name: String,
        stop: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let source = key.source_id();
        let (requests, queue) = mpsc::channel(APPEND_QUEUE_REQUESTS_MAX);
        let worker = Worker { ledger, clock, identity: Identity::new(key, name), life: None };
        (Self { source, requests }, tokio::spawn(worker.run(queue, stop)))
    }

    /// The source's id.
    pub(crate) fn source(&self) -> SourceId {
        self.source
    }

    /// Records these events, all of them or none.
    pub(crate) async fn append(&self, drafts: Vec<EventDraft>) -> Result<Appended, ApiError> {
        let (answer, answered) = oneshot::channel();
        let stopping = || ApiError::unavailable("the server is stopping", 5);
        self.requests.try_send(Request { drafts, answer }).map_err(|e| match e {
            TrySendError::Full(_) => ApiError::unavailable("too many requests wait their turn", 1),
            TrySendError::Closed(_) => stopping(),
        })?;
        answered.await.map_err(|_| stopping())?
    }
}

struct Worker {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    identity: Identity,
    life: Option<Life>,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>, mut stop: watch::Receiver<bool>) {
        let mut heartbeat = interval(APPEND_HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick would come at once; there is nothing to seal yet.
        heartbeat.reset();
        let mut left_over = None;
        loop {
            let first = match left_over.take() {
                Some(request) => Some(request),
                None => tokio::select! {
                    request = queue.recv() => request,
                    () = stopped(&mut stop), if !queue.is_closed() => {
                        queue.close();
                        continue;
                    }
                    _ = heartbeat.tick() => {
                        self.seal().await;
                        continue;
                    }
                },
            };
            let Some(first) = first else { break };
            let (requests, next) = gather(first, &mut queue);
            left_over = next;
            self.record(requests).await;
            // Under load the queue never runs dry; the heartbeat is due all the same.
            if heartbeat.tick().now_or_never().is_some() {
                self.seal().await;
            }
        }
        self.close().await;
    }

    /// Records the events of these requests in one submission, and answers each.
    async fn record(&mut self, requests: Vec<Request>) {
        let opened = match &self.life {
            Some(life) => Ok(Batch::of(life)),
            None => self.open(),
        };
        let mut batch = match opened {
            Ok(batch) => batch,
            Err(error) => return answer_all(requests, &error),
        };
        let lead = batch.len();
        for draft in requests.iter().flat_map(|request| &request.drafts) {
            batch.event(&self.identity, draft.clone(), self.clock.now().0);
        }
        match self.submit(batch).await {
            Ok((receipt, records)) => {
                let records = match self.acknowledged(&receipt, records).await {
                    Ok(records) => records,
                    Err(error) => return answer_all(requests, &error),
                };
                let mut records = records.into_iter().skip(lead);
                for request in requests {
                    let records = records.by_ref().take(request.drafts.len()).collect();
                    let checkpoint = receipt.checkpoint.clone();
                    // Somebody who went away does not wait for the answer.
                    let _ = request.answer.send(Ok(Appended { checkpoint, records }));
                }
            }
            Err(error) => answer_all(requests, &error),
        }
    }

    /// Begins a boot. Nothing is recorded yet.
    fn open(&self) -> Result<Batch, ApiError> {
        let head = self.ledger.source_head(&self.identity.source());
        let now = self.clock.now().0;
        Ok(Batch::open(&self.identity, head.map(|head| (head.boot, head.next_seq)), now))
    }

    async fn seal(&mut self) {
        let Some(life) = &self.life else { return };
        let mut batch = Batch::of(life);
        batch.seal(&self.identity, self.clock.now().0);
        if let Err(error) = self.submit(batch).await {
            tracing::warn!(%error, "the server's own source could not be sealed");
        }
    }

    async fn close(&mut self) {
        let Some(life) = &self.life else { return };
        let mut batch = Batch::of(life);
        let now = self.clock.now().0;
        batch.seal(&self.identity, now);
        batch.close(&self.identity, now);
        if let Err(error) = self.submit(batch).await {
            tracing::warn!(%error, "the server's own source could not be closed");
        }
    }

    /// Submits a batch; the chain moves on only if the ledger took it.
    async fn submit(&mut self, batch: Batch) -> Result<(Receipt, Vec<(Bytes, Salt)>), ApiError> {
        let (life, submission, salts) = batch.finish(&self.identity);
        let headers: Vec<Bytes> = submission.records.iter().map(|r| r.header.clone()).collect();
        match self.ledger.append(submission).await {
            Ok(receipt) => {
                self.life = Some(life);
                Ok((receipt, headers.into_iter().zip(salts).collect()))
            }
            Err(error) => {
                // Whether the records landed is known only after a clean refusal. Otherwise a new
                // boot begins behind whatever is there.
                if !matches!(error, AppendError::Overloaded) {
                    self.life = None;
                }
                Err(append_error(error))
            }
        }
    }

    async fn acknowledged(
        &self,
        receipt: &Receipt,
        records: Vec<(Bytes, Salt)>,
    ) -> Result<Vec<AppendedRecord>, ApiError> {
        let (ledger, proven) = (self.ledger.clone(), receipt.clone());
        let proofs = blocking(move || ledger.proofs_for(&proven)).await?.map_err(read_error)?;
        let places = receipt.indices().zip(proofs);
        Ok(records
            .into_iter()
            .zip(places)
            .map(|((header, salt), (index, proof))| AppendedRecord {
                index: index.0,
                header,
                salt,
                proof,
            })
            .collect())
    }
}

/// Takes what else waits, up to one submission; the second part did not fit.
fn gather(first: Request, queue: &mut mpsc::Receiver<Request>) -> (Vec<Request>, Option<Request>) {
    let size = |request: &Request| {
        (request.drafts.len(), request.drafts.iter().map(|d| d.payload.len()).sum::<usize>())
    };
    let (mut events, mut bytes) = size(&first);
    let mut requests = vec![first];
    while let Ok(next) = queue.try_recv() {
        let (more_events, more_bytes) = size(&next);
        events += more_events;
        bytes += more_bytes;
        if events > APPEND_BATCH_EVENTS_MAX || bytes > APPEND_BATCH_BYTES_TARGET {
            return (requests, Some(next));
        }
        requests.push(next);
    }
    (requests, None)
}

fn answer_all(requests: Vec<Request>, error: &ApiError) {
    for request in requests {
        let _ = request.answer.send(Err(error.clone()));
    }
}
