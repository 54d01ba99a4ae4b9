//! Deliveries of sources: what agents and imports send.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use serde::Deserialize;
use stele_ledger::Receipt;
use stele_record::{Header, SourceId, Submission};
use utoipa::IntoParams;

use crate::api::{API_VERSION, DeliveryAck, RunOfIndices};
use crate::auth::Access;
use crate::blocking::blocking;
use crate::body::content_type;
use crate::context::App;
use crate::error::{ApiError, ErrorBody, ErrorKind};
use crate::ledger_error::{append_error, read_error};
use crate::limits::SUBMISSION_BODY_BYTES_MAX;
use crate::params::{Params, flag};

const CBOR: &str = "application/cbor";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubmissionParams {
    /// Whether the answer holds inclusion proofs.
    #[serde(default = "yes", deserialize_with = "flag")]
    #[param(default = true)]
    proofs: bool,
}

const fn yes() -> bool {
    true
}

/// Deliver records of a source: a CBOR map of 1 format version, 2 epoch, 3 the epoch's secret,
/// 4 an array of `[header, payload]`.
///
/// A submission that was delivered before gets its first acknowledgement again. Sequence numbers
/// follow each other without a hole; what is refused was not recorded.
#[utoipa::path(
    post,
    path = "/v1/log/submissions",
    tag = "log",
    params(SubmissionParams),
    request_body(content = Vec<u8>, content_type = "application/cbor", description = "the submission"),
    responses(
        (status = 200, description = "durable and under a checkpoint", body = DeliveryAck),
        (status = 400, description = "malformed; names the field", body = ErrorBody),
        (status = 403, description = "the token may not write as this source", body = ErrorBody),
        (status = 409, description = "the records contradict those already here", body = ErrorBody),
        (status = 413, description = "over a limit", body = ErrorBody),
        (status = 503, description = "overloaded; deliver again", body = ErrorBody)
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    Extension(access): Extension<Access>,
    Params(SubmissionParams { proofs }): Params<SubmissionParams>,
    request: Request,
) -> Result<Json<DeliveryAck>, ApiError> {
    let begin = app.clock.monotonic();
    let receipt = match record(&app, &access, request).await {
        Ok(receipt) => receipt,
        Err(error) => {
            app.metrics.rejected(error.kind);
            return Err(error);
        }
    };
    let took = app.clock.monotonic().saturating_sub(begin);
    app.metrics.append_duration.observe(took.as_secs_f64());
    ack(&app, receipt, proofs).await.map(Json)
}

async fn record(app: &App, access: &Access, request: Request) -> Result<Receipt, ApiError> {
    match content_type(request.headers()).as_deref() {
        Some(CBOR) => {}
        _ => {
            let message = format!("a submission has the content type {CBOR}");
            return Err(ApiError::new(ErrorKind::UnsupportedType, message));
        }
    }
    let body = app.bodies.read(request, SUBMISSION_BODY_BYTES_MAX).await?;
    let submission =
        Submission::decode(&body.bytes).map_err(|e| ApiError::invalid(e.to_string()))?;
    let source = source(&submission)?;
    access.require_source(&source)?;
    // Nobody but the server speaks as the server, not even an admin: a foreign record in its
    // sequence would leave its next own one nowhere to go.
    if app.appender.as_ref().is_some_and(|appender| appender.source() == source) {
        return Err(ApiError::new(ErrorKind::Denied, "this source is the server's own"));
    }
    app.ledger.append(submission).await.map_err(append_error)
}

/// The source that all headers name. The ledger checks the rest of them.
fn source(submission: &Submission) -> Result<SourceId, ApiError> {
    let mut found = None;
    for (number, record) in submission.records.iter().enumerate() {
        let header = Header::decode(&record.header)
            .map_err(|e| ApiError::invalid(format!("record {number}: {e}")))?;
        if *found.get_or_insert(header.source) != header.source {
            return Err(ApiError::invalid(format!("record {number}: is of another source")));
        }
    }
    found.ok_or_else(|| ApiError::invalid("the submission holds no record"))
}

async fn ack(app: &App, receipt: Receipt, proofs: bool) -> Result<DeliveryAck, ApiError> {
    let ledger = app.ledger.clone();
    let (receipt, proofs) = blocking(move || {
        let found = if proofs { ledger.proofs_for(&receipt) } else { Ok(Vec::new()) };
        found.map(|found| (receipt, found))
    })
    .await?
    .map_err(read_error)?;
    Ok(DeliveryAck {
        api_version: API_VERSION.to_owned(),
        kind: "DeliveryAck".to_owned(),
        first_index: receipt.first_index.0,
        count: receipt.count,
        runs: receipt
            .runs
            .iter()
            .map(|run| RunOfIndices { first: run.first.0, count: run.count })
            .collect(),
        checkpoint: receipt.checkpoint.note.clone(),
        proofs: proofs
            .iter()
            .map(|hashes| hashes.iter().map(ToString::to_string).collect())
            .collect(),
    })
}
