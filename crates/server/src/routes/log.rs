//! The log itself: what it is, and proofs.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use stele_ledger::cosigning::{Cosigning, WitnessStatus};
use stele_ledger::evidence::{self, EvidenceError};
use stele_merkle::policy::PolicyWitness;
use stele_merkle::{Algorithm, LeafIndex, TlogProof, TreeSize};
use utoipa::{IntoParams, ToSchema};

use crate::api::{API_VERSION, ConsistencyProof, Instant, LogInfo, WitnessState, Witnessing};
use crate::blocking::blocking;
use crate::context::App;
use crate::error::{ApiError, ErrorBody};
use crate::ledger_error::{read_error, receipt_error};
use crate::params::{NoParams, Params};

/// What the log is and how far it goes.
#[utoipa::path(
    get,
    path = "/v1/log",
    tag = "log",
    responses((status = 200, description = "the log", body = LogInfo), (status = 401, body = ErrorBody))
)]
pub(super) async fn info(
    State(app): State<App>,
    Params(NoParams {}): Params<NoParams>,
) -> Json<LogInfo> {
    let checkpoint = app.ledger.checkpoint();
    Json(LogInfo {
        api_version: API_VERSION.to_owned(),
        kind: "LogInfo".to_owned(),
        origin: app.ledger.origin().to_owned(),
        size: checkpoint.size.0,
        root: checkpoint.root.to_string(),
        checkpoint: checkpoint.note.clone(),
        checkpoint_time: Instant(checkpoint.time.unix_ns()),
        verifier_keys: app.ledger.verifier().keys().iter().map(ToString::to_string).collect(),
        oldest_index: 0,
        state_size: app.views.next_index(),
        time: Instant(app.now_ns()),
        witnessing: app.cosigning.as_deref().map(witnessing),
    })
}

fn witnessing(cosigning: &Cosigning) -> Witnessing {
    let seconds = |s: u64| i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let state = |(witness, status): (&PolicyWitness, WitnessStatus)| WitnessState {
        name: witness.name.clone(),
        url: witness.url.clone(),
        cosigned_size: status.cosigned_size,
        cosigned_at: (status.cosigned_at_s > 0).then(|| Instant(seconds(status.cosigned_at_s))),
        failures: status.failures,
        fault: status.fault,
    };
    let checkpoint = cosigning.checkpoint();
    Witnessing {
        quorum: cosigning.policy().quorum_text(),
        cosigned_size: checkpoint.as_ref().map(|checkpoint| checkpoint.size.0),
        checkpoint: checkpoint.map(|checkpoint| checkpoint.note.clone()),
        witnesses: cosigning
            .policy()
            .witnesses()
            .iter()
            .zip(cosigning.statuses())
            .map(state)
            .collect(),
    }
}

/// How the log's keys were replaced: the first line of an evidence file, without records. Whoever
/// pins keys of any time checks with it the newest checkpoint.
#[utoipa::path(
    get,
    path = "/v1/log/keys",
    tag = "log",
    responses((
        status = 200,
        description = "manifest with the rotations of keys and their proofs",
        content_type = "application/x-ndjson",
        body = String
    ))
)]
pub(super) async fn keys(
    State(app): State<App>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Response, ApiError> {
    let ledger = app.ledger.clone();
    let written = blocking(move || {
        let mut out = Vec::new();
        evidence::write(&ledger, &[], &mut out).map(|_| out)
    });
    let text = written.await?.map_err(|error| match error {
        EvidenceError::Read(error) => read_error(error),
        other => ApiError::internal(other),
    })?;
    let content_type = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProofParams {
    /// Index of the record.
    index: u64,
}

/// That a record is in the log: a `.tlog-proof` file with the newest checkpoint, or with the newest
/// that meets the witness policy if that one covers the record.
#[utoipa::path(
    get,
    path = "/v1/log/proof",
    tag = "log",
    params(ProofParams),
    responses(
        (status = 200, description = "C2SP tlog-proof", content_type = "text/plain", body = String),
        (status = 404, description = "no such record under a checkpoint", body = ErrorBody)
    )
)]
pub(super) async fn proof(
    State(app): State<App>,
    Params(ProofParams { index }): Params<ProofParams>,
) -> Result<Response, ApiError> {
    let text = inclusion(&app, index).await?;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

/// The text of a proof file for one record.
pub(super) async fn inclusion(app: &App, index: u64) -> Result<String, ApiError> {
    let Some(checkpoint) = app.ledger.checkpoint_over(LeafIndex(index)) else {
        let newest = app.ledger.checkpoint().size;
        let message = format!("record {index} is not under a checkpoint; the newest has {newest}");
        return Err(ApiError::not_found(message));
    };
    let ledger = app.ledger.clone();
    let size = checkpoint.size;
    let hashes = blocking(move || ledger.inclusion_proof(LeafIndex(index), size))
        .await?
        .map_err(read_error)?;
    let proof = TlogProof {
        extra: None,
        index: LeafIndex(index),
        hashes,
        checkpoint_note: checkpoint.note.clone(),
    };
    Ok(proof.encode())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyParams {
    /// The smaller size.
    old: u64,
    /// The larger size; without it that of the newest checkpoint.
    new: Option<u64>,
}

/// That the log of a smaller size is a prefix of the log of a larger one.
#[utoipa::path(
    get,
    path = "/v1/log/consistency",
    tag = "log",
    params(ConsistencyParams),
    responses(
        (status = 200, description = "the proof", body = ConsistencyProof),
        (status = 404, description = "the log is not that large", body = ErrorBody)
    )
)]
pub(super) async fn consistency(
    State(app): State<App>,
    Params(ConsistencyParams { old, new }): Params<ConsistencyParams>,
) -> Result<Json<ConsistencyProof>, ApiError> {
    let checkpoint = app.ledger.checkpoint();
    let new = new.unwrap_or(checkpoint.size.0);
    if new > checkpoint.size.0 {
        let message = format!("the log has {} records, not {new}", checkpoint.size);
        return Err(ApiError::not_found(message));
    }
    if old > new {
        return Err(ApiError::invalid(format!("old: {old} is larger than {new}")));
    }
    let ledger = app.ledger.clone();
    let hashes = blocking(move || ledger.consistency_proof(TreeSize(old), TreeSize(new)))
        .await?
        .map_err(read_error)?;
    Ok(Json(ConsistencyProof {
        api_version: API_VERSION.to_owned(),
        kind: "ConsistencyProof".to_owned(),
        old,
        new,
        hashes: hashes.iter().map(ToString::to_string).collect(),
        checkpoint: checkpoint.note.clone(),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReceiptParams {
    /// Index of the record that is in the log.
    index: Option<u64>,
    /// Or: size of the earlier log that this one continues.
    old: Option<u64>,
    /// What the log signs with.
    #[serde(default)]
    #[param(inline)]
    algorithm: ReceiptAlgorithm,
}

/// The keys of a log, by what they sign with.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum ReceiptAlgorithm {
    #[default]
    Ed25519,
    #[serde(rename = "ml-dsa-44")]
    MlDsa44,
}

/// That a record is in the log, or that the log continues an earlier one: a COSE receipt
/// (RFC 9942) for the newest checkpoint.
#[utoipa::path(
    get,
    path = "/v1/log/receipt",
    tag = "log",
    params(ReceiptParams),
    responses(
        (status = 200, description = "COSE receipt", content_type = "application/cose", body = Vec<u8>),
        (status = 404, description = "no such record or size under a checkpoint", body = ErrorBody)
    )
)]
pub(super) async fn receipt(
    State(app): State<App>,
    Params(ReceiptParams { index, old, algorithm }): Params<ReceiptParams>,
) -> Result<Response, ApiError> {
    let algorithm = match algorithm {
        ReceiptAlgorithm::Ed25519 => Algorithm::Ed25519,
        ReceiptAlgorithm::MlDsa44 => Algorithm::MlDsa44,
    };
    let ledger = app.ledger.clone();
    let issued = blocking(move || match (index, old) {
        (Some(index), None) => {
            Some(ledger.inclusion_receipt(ledger.signer(), algorithm, LeafIndex(index)))
        }
        (None, Some(old)) => {
            Some(ledger.consistency_receipt(ledger.signer(), algorithm, TreeSize(old)))
        }
        _ => None,
    });
    let issued = issued
        .await?
        .ok_or_else(|| ApiError::invalid("query parameters: one of `index` and `old` is needed"))?;
    let bytes = issued.map_err(receipt_error)?.encode();
    let content_type = HeaderValue::from_static("application/cose; cose-type=\"cose-sign1\"");
    Ok(([(header::CONTENT_TYPE, content_type)], bytes).into_response())
}
