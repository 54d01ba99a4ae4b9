//! The log as C2SP tlog-tiles: any client of such logs can read and check it.

use std::fmt::Display;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use stele_merkle::tile::{TileKind, TilePath};

use crate::blocking::blocking;
use crate::context::App;
use crate::error::ApiError;
use crate::ledger_error::read_error;
use crate::params::{NoParams, Params, Segment};

/// How long a cache may keep a checkpoint.
const CHECKPOINT_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// Tiles never change.
const TILE_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const EVERYWHERE: HeaderValue = HeaderValue::from_static("*");

/// The newest checkpoint, a signed note. Where the log has a witness policy: the newest that meets it,
/// with the cosignatures.
#[utoipa::path(
    get,
    path = "/checkpoint",
    tag = "c2sp",
    responses(
        (status = 200, description = "C2SP tlog-checkpoint", content_type = "text/plain", body = String),
        (status = 503, description = "no checkpoint meets the witness policy yet", body = crate::ErrorBody)
    )
)]
pub(super) async fn checkpoint(
    State(app): State<App>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Response, ApiError> {
    let note = match &app.cosigning {
        None => app.ledger.checkpoint().note.clone(),
        Some(cosigning) => match cosigning.checkpoint() {
            Some(checkpoint) => checkpoint.note.clone(),
            None => {
                let what =
                    "no checkpoint has the cosignatures that the witness policy asks for yet";
                return Err(ApiError::unavailable(what, 1).hint(
                    "GET /v1/log has the log's own newest checkpoint and says what is missing",
                ));
            }
        },
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, CHECKPOINT_CACHE),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, EVERYWHERE),
    ];
    Ok((headers, note).into_response())
}

/// A tile of hashes (`LEVEL/INDEX`) or a bundle of entries (`entries/INDEX`), full or partial
/// (`.p/WIDTH`).
#[utoipa::path(
    get,
    path = "/tile/{*path}",
    tag = "c2sp",
    params(("path" = String, Path, description = "as in C2SP tlog-tiles, for example `0/x001/234.p/5`")),
    responses(
        (status = 200, description = "C2SP tile", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "the log has no such tile, or it is pruned", body = crate::ErrorBody)
    )
)]
pub(super) async fn tile(
    State(app): State<App>,
    Segment(path): Segment,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Response, ApiError> {
    let path = TilePath::parse(&format!("tile/{path}")).map_err(|e| absent(&e))?;
    if !path.is_within(app.ledger.checkpoint().size) {
        return Err(absent(&"the log is not that large"));
    }
    if path.is_pruned(app.minimum_index) {
        let minimum = app.minimum_index;
        return Err(absent(&format!("the log is pruned; it begins with record {minimum}")));
    }
    let ledger = app.ledger.clone();
    let bytes = blocking(move || match path.kind() {
        TileKind::Hashes(level) => ledger.hash_tile(level, path.index(), path.width()),
        TileKind::Entries => ledger.entry_bundle(path.index(), path.width()),
    })
    .await?
    .map_err(read_error)?;
    Ok(served(bytes))
}

/// The answer with a tile's bytes.
pub(crate) fn served(bytes: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, TILE_CACHE),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, EVERYWHERE),
    ];
    (headers, bytes).into_response()
}

pub(crate) fn absent(why: &dyn Display) -> ApiError {
    ApiError::not_found(format!("no such tile: {why}"))
}
