//! Deliveries of sources: what agents and imports send.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use serde::Deserialize;
use stele_ledger::Receipt;
use stele_record::{Header, SourceId, Submission};
use utoipa::{IntoParams, ToSchema};

use crate::api::{API_VERSION, DeliveryAck, RunOfIndices};
use crate::auth::Access;
use crate::blocking::blocking;
use crate::body::content_type;
use crate::context::App;
use crate::error::{ApiError, ErrorBody, ErrorKind};
use crate::ledger_error::{append_error, read_error};
use crate::limits::SUBMISSION_BODY_BYTES_MAX;
use crate::params::Params;

const CBOR: &str = "application/cbor";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubmissionParams {
    /// Which proofs the answer holds: `each` record's inclusion proof, one for each of the `runs`
    /// of places, or `none`. `true` is `each`, `false` is `none`.
    #[serde(default)]
    #[param(inline, default = "each")]
    proofs: Proofs,
}

/// Which proofs an acknowledgement holds.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Proofs {
    /// An inclusion proof for each record.
    #[default]
    #[serde(alias = "true", alias = "1", alias = "")]
    Each,
    /// One proof for each run of places.
    Runs,
    /// None.
    #[serde(alias = "false", alias = "0")]
    None,
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

/// The source of the first record. The ledger refuses a submission in which another follows.
fn source(submission: &Submission) -> Result<SourceId, ApiError> {
    let Some(first) = submission.records.first() else {
        return Err(ApiError::invalid("the submission holds no record"));
    };
    let header = Header::decode(&first.header);
    header.map(|header| header.source).map_err(|e| ApiError::invalid(format!("record 0: {e}")))
}

async fn ack(app: &App, receipt: Receipt, wanted: Proofs) -> Result<DeliveryAck, ApiError> {
    let ledger = app.ledger.clone();
    let (receipt, proofs) = blocking(move || {
        let found = match wanted {
            Proofs::Each => ledger.proofs_for(&receipt),
            Proofs::Runs => ledger.run_proofs_for(&receipt),
            Proofs::None => Ok(Vec::new()),
        };
        found.map(|found| (receipt, found))
    })
    .await?
    .map_err(read_error)?;
    let texts: Vec<Vec<String>> =
        proofs.iter().map(|hashes| hashes.iter().map(ToString::to_string).collect()).collect();
    let (proofs, run_proofs) = match wanted {
        Proofs::Runs => (Vec::new(), texts),
        Proofs::Each | Proofs::None => (texts, Vec::new()),
    };
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
        proofs,
        run_proofs,
    })
}
