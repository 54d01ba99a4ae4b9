//! Single records, as CloudEvents.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use stele_ledger::StoredRecord;
use stele_merkle::LeafIndex;
use stele_record::PayloadType;
use utoipa::IntoParams;

use super::log::inclusion;
use crate::api::{Instant, RecordEvent};
use crate::blocking::blocking;
use crate::context::App;
use crate::error::{ApiError, ErrorBody};
use crate::ledger_error::read_error;
use crate::params::{Params, Segment, flag};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordParams {
    /// Whether the answer holds an inclusion proof.
    #[serde(default, deserialize_with = "flag")]
    proof: bool,
    /// Give the payload in base64 even if it is JSON.
    #[serde(default, deserialize_with = "flag")]
    base64: bool,
}

/// A record with its payload, as a CloudEvents 1.0 event.
#[utoipa::path(
    get,
    path = "/v1/log/records/{index}",
    tag = "log",
    params(("index" = u64, Path, description = "index in the log"), RecordParams),
    responses(
        (status = 200, description = "the record", content_type = "application/cloudevents+json", body = RecordEvent),
        (status = 404, description = "no such record under a checkpoint", body = ErrorBody)
    )
)]
pub(super) async fn record(
    State(app): State<App>,
    Segment(index): Segment,
    Params(RecordParams { proof, base64 }): Params<RecordParams>,
) -> Result<Response, ApiError> {
    let index: u64 = index
        .parse()
        .map_err(|_| ApiError::invalid(format!("index: expected a number, found {index:?}")))?;
    let size = app.ledger.checkpoint().size;
    if index >= size.0 {
        let message = format!("record {index} is not under a checkpoint; the newest has {size}");
        return Err(ApiError::not_found(message));
    }
    let ledger = app.ledger.clone();
    let stored = blocking(move || ledger.read(LeafIndex(index))).await?.map_err(read_error)?;
    let mut event = record_event(&stored, base64);
    if proof {
        event.steleproof = Some(inclusion(&app, index).await?);
    }
    let body = serde_json::to_vec(&event).map_err(ApiError::internal)?;
    let content_type = HeaderValue::from_static("application/cloudevents+json");
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// A record as a CloudEvent, without a proof; with its payload in base64 even if it is JSON, if
/// `base64` says so.
pub fn record_event(stored: &StoredRecord, base64: bool) -> RecordEvent {
    let header = &stored.header;
    let (data, data_base64) = match &stored.payload {
        None => (None, None),
        Some(payload) => match json(header.payload_type, payload).filter(|_| !base64) {
            Some(data) => (Some(data), None),
            None => (None, Some(STANDARD.encode(payload))),
        },
    };
    let event_time = header.event_time.map(|time| Instant(time.unix_ns()));
    let observed_time = Instant(header.observed_time.unix_ns());
    RecordEvent {
        specversion: "1.0".to_owned(),
        id: format!("{}/{}/{}", header.source, header.boot, header.seq),
        source: format!("urn:stele:source:{}", header.source),
        event_type: format!("stele.{}", header.kind),
        time: event_time.unwrap_or(observed_time),
        datacontenttype: header.payload_type.to_string(),
        data,
        data_base64,
        steleindex: stored.index.to_string(),
        stelesource: header.source.to_string(),
        steleboot: header.boot.to_string(),
        steleseq: header.seq.to_string(),
        stelekind: header.kind.to_string(),
        steleeventtime: event_time,
        steleobservedtime: observed_time,
        steleledgertime: Instant(stored.ledger_time.unix_ns()),
        steleorigincounter: header.origin_counter.clone(),
        steleleaf: STANDARD.encode(&stored.header_bytes),
        stelesalt: stored.salt.map(|salt| STANDARD.encode(salt.as_bytes())),
        steleproof: None,
    }
}

/// The payload as JSON, byte for byte, if that is what it is.
fn json(payload_type: PayloadType, payload: &Bytes) -> Option<Box<RawValue>> {
    if payload_type != PayloadType::JSON && payload_type != PayloadType::CLOUD_EVENT {
        return None;
    }
    let text = std::str::from_utf8(payload).ok()?;
    // A raw value has no space around it; a payload that has some would not come out as it is.
    let raw = RawValue::from_string(text.to_owned()).ok()?;
    (raw.get().len() == text.len()).then_some(raw)
}
