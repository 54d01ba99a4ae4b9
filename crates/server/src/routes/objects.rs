//! The stored objects as they are: what a mirror copies and checks by itself, and what a repair
//! takes from a server that is the mirror.
//!
//! Not here: any check. Whoever reads this believes nothing of it.

use std::ops::Range;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use stele_store::{ObjectName, StoreError};
use utoipa::IntoParams;

use crate::api::{API_VERSION, StoredObjects};
use crate::blocking::blocking;
use crate::context::App;
use crate::error::{ApiError, ErrorBody};
use crate::limits::{OBJECT_CHUNK_BYTES, OBJECT_NAMES_MAX};
use crate::params::{NoParams, Params, Segment};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NamesParams {
    /// Names that start with this.
    #[serde(default)]
    prefix: String,
    /// Names that come after this one.
    after: Option<String>,
}

/// Names of stored objects. While the log grows, ask for `segments/` before `packs/`.
#[utoipa::path(
    get,
    path = "/v1/log/objects",
    tag = "log",
    params(NamesParams),
    responses((status = 200, description = "the names", body = StoredObjects), (status = 403, body = ErrorBody))
)]
pub(super) async fn names(
    State(app): State<App>,
    Params(NamesParams { prefix, after }): Params<NamesParams>,
) -> Result<Json<StoredObjects>, ApiError> {
    let after = after.map(|after| object_name("after", after)).transpose()?;
    if prefix.starts_with('/') || prefix.split('/').any(|part| part.starts_with('.')) {
        return Err(ApiError::invalid("prefix: no name starts with it"));
    }
    let ledger = app.ledger.clone();
    let found = blocking(move || ledger.stored_names(&prefix, after.as_ref())).await?;
    let found = found.map_err(store_error)?;
    let names = found.iter().take(OBJECT_NAMES_MAX).map(ToString::to_string).collect();
    let (api_version, kind) = (API_VERSION.to_owned(), "StoredObjects".to_owned());
    Ok(Json(StoredObjects { api_version, kind, names }))
}

/// The bytes of a stored object, or one range of them.
#[utoipa::path(
    get,
    path = "/v1/log/objects/{*name}",
    tag = "log",
    params(("name" = String, Path, description = "for example `packs/00000000000000000000`")),
    responses(
        (status = 200, description = "the object", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, description = "the range that the header Range asks for", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "no such object; its records may be in a pack by now", body = ErrorBody)
    )
)]
pub(super) async fn object(
    State(app): State<App>,
    Segment(name): Segment,
    Params(NoParams {}): Params<NoParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = object_name("name", name)?;
    let permit = app
        .exports
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable("too many exports run at once", 10))?;
    let (ledger, asked) = (app.ledger.clone(), name.clone());
    let size = blocking(move || ledger.stored_size(&asked)).await?.map_err(store_error)?;
    let range = match headers.get(header::RANGE) {
        None => None,
        Some(value) => Some(range(value, size).ok_or_else(|| {
            ApiError::invalid(format!("Range: expected bytes=FIRST-LAST within {size} bytes"))
        })?),
    };
    let wanted = range.clone().unwrap_or(0..size);
    let length = wanted.end - wanted.start;
    let ledger = app.ledger.clone();
    let chunks = stream::try_unfold((wanted, permit), move |(left, permit)| {
        let (ledger, name) = (ledger.clone(), name.clone());
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let end = left.end.min(left.start + OBJECT_CHUNK_BYTES);
            let read =
                tokio::task::spawn_blocking(move || ledger.stored_range(&name, left.start..end));
            let chunk = read.await.map_err(std::io::Error::other)?;
            let chunk = chunk.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(Some((chunk, (end..left.end, permit))))
        }
    });
    let mut response = (
        [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (header::CONTENT_LENGTH, HeaderValue::from(length)),
        ],
        Body::from_stream(chunks),
    )
        .into_response();
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        let value = HeaderValue::from_str(&value).map_err(ApiError::internal)?;
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

fn object_name(field: &str, name: String) -> Result<ObjectName, ApiError> {
    ObjectName::parse(name).map_err(|e| ApiError::invalid(format!("{field}: {e}")))
}

/// One range of bytes that lies within the object (RFC 9110, 14.1.2).
fn range(value: &HeaderValue, size: u64) -> Option<Range<u64>> {
    let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < size).then(|| first..last + 1)
}

fn store_error(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound { name } => ApiError::not_found(format!("{name} is not stored")),
        other => ApiError::internal(other),
    }
}
