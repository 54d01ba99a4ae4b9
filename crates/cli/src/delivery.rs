//! The two ways from a source to a ledger: within the process, and over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reqwest::Method;
use stele_ledger::{AppendError, Ledger};
use stele_merkle::{Hash, leaf_hash};
use stele_record::Submission;
use stele_server::api::DeliveryAck;
use stele_source::{Deliver, DeliverError, Delivered};

use crate::client::{Body, Client, Query};
use crate::error::CliError;
use crate::receipts;

/// Delivers to a ledger in this process.
#[derive(Clone)]
pub(crate) struct ToLedger {
    ledger: Ledger,
}

impl ToLedger {
    /// Delivers to `ledger`.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }
}

impl Deliver for ToLedger {
    async fn deliver(&self, submission: Submission) -> Result<Delivered, DeliverError> {
        match self.ledger.append(submission).await {
            Ok(receipt) => Ok(Delivered { first_index: receipt.first_index.0 }),
            Err(error @ AppendError::Overloaded) => {
                Err(DeliverError::Unavailable { reason: error.to_string() })
            }
            // A ledger that stopped takes nothing before a restart, and then recognises a repeat.
            Err(error) => Err(DeliverError::Refused { reason: error.to_string() }),
        }
    }
}

/// Delivers to a server, and believes its acknowledgement only as far as it can be checked.
#[derive(Clone)]
pub(crate) struct ToServer {
    client: Client,
    /// Why the server refused, with its exit code.
    refusal: Arc<Mutex<Option<CliError>>>,
}

impl ToServer {
    /// Delivers to the server of `client`.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, refusal: Arc::default() }
    }

    /// Why the server refused, if it did.
    pub(crate) fn take_refusal(&self) -> Option<CliError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn refuse(&self, error: CliError) -> DeliverError {
        let reason = error.to_string();
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        DeliverError::Refused { reason }
    }

    /// Sends a submission and gives the acknowledgement as it came, unchecked: with the proofs of
    /// its runs, if the log's keys are known.
    ///
    /// # Errors
    /// [`DeliverError::Refused`] for good, [`DeliverError::Unavailable`] for now.
    pub(crate) async fn post(&self, submission: &Submission) -> Result<DeliveryAck, DeliverError> {
        let unavailable = |reason: String| DeliverError::Unavailable { reason };
        let checked = !self.client.keys().is_empty();
        let proofs = if checked { "runs" } else { "none" };
        let query: Query = vec![("proofs", proofs.to_owned())];
        let bytes = Bytes::from(submission.encode());
        let body = Body { content_type: "application/cbor", bytes };
        let request = self
            .client
            .request(Method::POST, "v1/log/submissions", &query, Some(body))
            .map_err(|e| self.refuse(e))?;
        let response = request
            .send()
            .await
            .map_err(|e| unavailable(self.client.unreachable(&e).to_string()))?;
        let status = response.status();
        if status.is_success() {
            let bytes = response.bytes().await.map_err(|e| unavailable(e.to_string()))?;
            return serde_json::from_slice(&bytes).map_err(|e| unavailable(e.to_string()));
        }
        let error = self.client.refused(response).await;
        if status.is_server_error() || matches!(status.as_u16(), 404 | 408 | 429) {
            return Err(unavailable(error.to_string()));
        }
        Err(self.refuse(error))
    }

    async fn check(&self, submission: &Submission, ack: &DeliveryAck) -> Result<(), CliError> {
        let placed = ack.runs.iter().fold(0_u64, |sum, run| sum.saturating_add(run.count));
        if ack.count != submission.records.len() as u64 || placed != ack.count {
            return Err(receipts::miscounted());
        }
        if self.client.keys().is_empty() {
            return Ok(());
        }
        let verifier = self.client.verifier_for(&ack.checkpoint).await?;
        let checkpoint = receipts::open(&verifier, &ack.checkpoint)?;
        let leaves: Vec<Hash> =
            submission.records.iter().map(|record| leaf_hash(&record.header)).collect();
        receipts::verify_runs(&checkpoint, ack, &leaves)
    }
}

impl Deliver for ToServer {
    async fn deliver(&self, submission: Submission) -> Result<Delivered, DeliverError> {
        let ack = self.post(&submission).await?;
        self.check(&submission, &ack).await.map_err(|e| self.refuse(e))?;
        Ok(Delivered { first_index: ack.first_index })
    }
}
