//! Checking what the ledger answers, while it is under load and afterwards.
//!
//! Invariant: an acknowledgement counts only if the log signed its checkpoint and its proof shows
//! all of its records under it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use stele_merkle::{
    Checkpoint, Hash, LogVerifier, leaf_hash, verify_consistency, verify_inclusion,
};
use stele_record::{Submission, SubmittedRecord};
use stele_server::api::DeliveryAck;
use stele_store::Clock;
use tokio::sync::Mutex as AsyncMutex;

use crate::client::Client;
use crate::error::CliError;
use crate::log_view::LogView;
use crate::receipts;

/// Pause between two proofs that the log continues itself.
const CONTINUITY_PAUSE: Duration = Duration::from_millis(250);
/// Checkpoints that are kept, so that each is verified once.
const KEPT_CHECKPOINTS: usize = 1_024;
/// Records that are read back at the end.
const SAMPLE_RECORDS: usize = 100;

/// What was checked.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    /// Acknowledgements whose proofs hold.
    pub(super) acknowledgements: u64,
    /// Checkpoints whose signatures hold.
    pub(super) checkpoints: u64,
    /// Proofs that a checkpoint continues an earlier one.
    pub(super) continuity_proofs: u64,
    /// Records that were read back, with their proofs.
    pub(super) records_read_back: u64,
}

/// See the module.
pub(super) struct Checks {
    verifier: LogVerifier,
    view: LogView,
    clock: Arc<dyn Clock>,
    believed: Mutex<Believed>,
    /// The last checkpoint of the proven chain, and when it was proven.
    chain: AsyncMutex<Chain>,
    sample: Mutex<Sample>,
    acknowledgements: AtomicU64,
    checkpoints: AtomicU64,
    continuity_proofs: AtomicU64,
    records_read_back: AtomicU64,
}

/// Checkpoints whose signatures were verified, by size.
#[derive(Default)]
struct Believed(BTreeMap<u64, (String, Arc<Checkpoint>)>);

#[derive(Default)]
struct Chain {
    last: Option<Arc<Checkpoint>>,
    proven: Duration,
}

/// Acknowledged records, each kept with the same chance.
#[derive(Default)]
struct Sample {
    seen: u64,
    records: Vec<(u64, SubmittedRecord)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Checks {
    /// Checks against the keys of `client`, of which there must be some.
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            verifier: client.keys().verifier(),
            view: LogView::Server(client),
            clock,
            believed: Mutex::default(),
            chain: AsyncMutex::default(),
            sample: Mutex::default(),
            acknowledgements: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            continuity_proofs: AtomicU64::new(0),
            records_read_back: AtomicU64::new(0),
        }
    }

    /// Checks an acknowledgement.
    ///
    /// # Errors
    /// A tampering error that names what does not hold.
    pub(super) fn acknowledged(
        &self,
        submission: &Submission,
        ack: &DeliveryAck,
    ) -> Result<Arc<Checkpoint>, CliError> {
        let checkpoint = self.believe(&ack.checkpoint)?;
        let leaves: Vec<Hash> = submission.records.iter().map(|r| leaf_hash(&r.header)).collect();
        receipts::verify_runs(&checkpoint, ack, &leaves)?;
        self.acknowledgements.fetch_add(1, Ordering::Relaxed);
        let indices = ack.runs.iter().flat_map(|run| (run.first..).take(run.count as usize));
        lock(&self.sample).offer(indices.zip(&submission.records));
        Ok(checkpoint)
    }

    /// The checkpoint of a note that the log signed. Two of one size with different roots are a
    /// fork.
    fn believe(&self, note: &str) -> Result<Arc<Checkpoint>, CliError> {
        if let Some((_, checkpoint)) = lock(&self.believed).0.values().rev().find(|b| b.0 == note) {
            return Ok(Arc::clone(checkpoint));
        }
        let checkpoint = Arc::new(receipts::open(&self.verifier, note)?);
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        let mut believed = lock(&self.believed);
        if let Some((_, other)) = believed.0.get(&checkpoint.size.0)
            && other.root != checkpoint.root
        {
            return Err(CliError::tampered(format!(
                "the log signed two different trees of size {}",
                checkpoint.size
            )));
        }
        believed.0.insert(checkpoint.size.0, (note.to_owned(), Arc::clone(&checkpoint)));
        if believed.0.len() > KEPT_CHECKPOINTS {
            believed.0.pop_first();
        }
        Ok(checkpoint)
    }

    /// Proves, every now and then, that a checkpoint continues the last one that was proven.
    ///
    /// # Errors
    /// A tampering error if it does not, or why there is no proof.
    pub(super) async fn follow(&self, newest: Arc<Checkpoint>) -> Result<(), CliError> {
        // Whoever comes while a proof is under way has nothing to add.
        let Ok(mut chain) = self.chain.try_lock() else { return Ok(()) };
        let now = self.clock.monotonic();
        let Some(last) = chain.last.clone() else {
            *chain = Chain { last: Some(newest), proven: now };
            return Ok(());
        };
        if now.saturating_sub(chain.proven) < CONTINUITY_PAUSE || newest.size <= last.size {
            return Ok(());
        }
        let proof = self.view.consistency(last.size, newest.size).await?;
        verify_consistency(last.size, last.root, newest.size, newest.root, &proof).map_err(
            |e| {
                CliError::tampered(format!(
                    "checkpoint {} does not continue checkpoint {}: {e}",
                    newest.size, last.size
                ))
            },
        )?;
        self.continuity_proofs.fetch_add(1, Ordering::Relaxed);
        *chain = Chain { last: Some(newest), proven: now };
        Ok(())
    }

    /// Reads the sample back, and proves that it is under the newest checkpoint.
    ///
    /// # Errors
    /// A tampering error if a record is not what was delivered.
    pub(super) async fn read_back(&self) -> Result<(), CliError> {
        let sample = std::mem::take(&mut *lock(&self.sample));
        for (index, sent) in sample.records {
            let view = self.view.record(index).await?;
            let same =
                view.leaf()? == sent.header && view.payload()?.as_deref() == Some(&sent.payload);
            let wrong = |what: &str| CliError::tampered(format!("record {index} {what}"));
            if !same {
                return Err(wrong("is not the one that was acknowledged there"));
            }
            let proof = self.view.proof(index).await?;
            let checkpoint = self.believe(&proof.checkpoint_note)?;
            let leaf = leaf_hash(&sent.header);
            verify_inclusion(leaf, proof.index, checkpoint.size, &proof.hashes, checkpoint.root)
                .map_err(|e| wrong(&format!("is not under the newest checkpoint: {e}")))?;
            if proof.index.0 != index {
                return Err(wrong("was asked for, another one was proven"));
            }
            self.records_read_back.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What was checked so far.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            acknowledgements: self.acknowledgements.load(Ordering::Relaxed),
            checkpoints: self.checkpoints.load(Ordering::Relaxed),
            continuity_proofs: self.continuity_proofs.load(Ordering::Relaxed),
            records_read_back: self.records_read_back.load(Ordering::Relaxed),
        }
    }
}

impl Sample {
    /// Takes one record of a submission, or none, so that in the end each submission had the same
    /// chance.
    fn offer<'a>(&mut self, records: impl Iterator<Item = (u64, &'a SubmittedRecord)>) {
        self.seen += 1;
        let random = u64::from_le_bytes(stele_store::random_bytes());
        let place = if self.records.len() < SAMPLE_RECORDS {
            self.records.len()
        } else {
            (random % self.seen) as usize
        };
        if place >= SAMPLE_RECORDS {
            return;
        }
        let records: Vec<_> = records.collect();
        if records.is_empty() {
            return;
        }
        let (index, record) = records[(random >> 32) as usize % records.len()];
        let kept = (index, record.clone());
        if place == self.records.len() {
            self.records.push(kept);
        } else {
            self.records[place] = kept;
        }
    }
}
