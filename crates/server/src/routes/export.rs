//! Evidence: records with payloads, salts, proofs and a checkpoint, as a stream that
//! `stele verify` checks without the server.

use std::ops::ControlFlow;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use stele_ledger::{Ledger, ReadError, evidence};
use stele_merkle::LeafIndex;
use stele_state::Point;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use crate::blocking::blocking;
use crate::context::App;
use crate::error::{ApiError, ErrorBody, ErrorKind};
use crate::ledger_error::read_error;
use crate::limits::{EXPORT_CLOCK_AHEAD_MAX, EXPORT_RECORDS_MAX};
use crate::params::Params;
use crate::points::parse;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportParams {
    /// Index of the first record.
    from: Option<u64>,
    /// Index behind the last record.
    to: Option<u64>,
    /// Records observed at or after this point, or whose event time is; also `#INDEX`.
    since: Option<String>,
    /// Records observed before or at this point, or whose event time is; also `#INDEX`.
    until: Option<String>,
}

/// Evidence of a stretch of the log, by index or by time.
///
/// By time, records are found by their observed time or their event time. Records that the ledger
/// took in more than an hour before the begin of the stretch are not looked at.
#[utoipa::path(
    get,
    path = "/v1/export",
    tag = "log",
    params(ExportParams),
    responses(
        (status = 200, description = "evidence, JSON lines", content_type = "application/x-ndjson", body = String),
        (status = 400, body = ErrorBody),
        (status = 404, description = "the stretch holds no record", body = ErrorBody)
    )
)]
pub(super) async fn export(
    State(app): State<App>,
    Params(params): Params<ExportParams>,
) -> Result<Response, ApiError> {
    let stretch = stretch(&app, params)?;
    if let Stretch::Indices(range) = &stretch
        && range.end.saturating_sub(range.start) > EXPORT_RECORDS_MAX
    {
        return Err(too_long());
    }
    let permit = app
        .exports
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable("too many exports run at once", 10))?;
    let ledger = app.ledger.clone();
    let (indices, permit) =
        blocking(move || indices(&ledger, &stretch).map(|found| (found, permit)))
            .await?
            .map_err(read_error)?;
    if indices.len() as u64 > EXPORT_RECORDS_MAX {
        return Err(too_long());
    }
    if indices.is_empty() {
        return Err(ApiError::not_found("the stretch holds no record under a checkpoint"));
    }
    Ok(stream(&app, indices, permit))
}

fn too_long() -> ApiError {
    let message = format!("the stretch has over {EXPORT_RECORDS_MAX} records");
    ApiError::new(ErrorKind::TooLarge, message).hint("export it in several parts")
}

/// What is asked for.
enum Stretch {
    Indices(std::ops::Range<u64>),
    Times { since_ns: i64, until_ns: i64, end: u64 },
}

fn stretch(app: &App, params: ExportParams) -> Result<Stretch, ApiError> {
    let end = app.ledger.checkpoint().size.0;
    let ExportParams { from, to, since, until } = params;
    let by_index = from.is_some() || to.is_some();
    if by_index && (since.is_some() || until.is_some()) {
        return Err(ApiError::invalid("from and to can't be used together with since and until"));
    }
    let point = |text: Option<String>| text.map(|text| parse(app, &text)).transpose();
    let (since, until) = (point(since)?, point(until)?);
    if by_index || matches!((&since, &until), (None, None)) {
        return Ok(Stretch::Indices(from.unwrap_or(0)..to.unwrap_or(end).min(end)));
    }
    match (since.unwrap_or(Point::Index(0)), until.unwrap_or(Point::Now)) {
        (Point::Index(from), Point::Index(last)) => {
            Ok(Stretch::Indices(from..last.saturating_add(1).min(end)))
        }
        (Point::Index(from), Point::Now) => Ok(Stretch::Indices(from..end)),
        (Point::Observed(since), until) => {
            Ok(Stretch::Times { since_ns: since.0, until_ns: time(until)?, end })
        }
        (Point::Index(0), until) => {
            Ok(Stretch::Times { since_ns: i64::MIN, until_ns: time(until)?, end })
        }
        _ => Err(ApiError::invalid("since and until: give two times, or two indices")),
    }
}

fn time(point: Point) -> Result<i64, ApiError> {
    match point {
        Point::Observed(time) => Ok(time.0),
        Point::Now => Ok(i64::MAX),
        _ => Err(ApiError::invalid("until: expected a time")),
    }
}

/// The indices of a stretch, ascending.
fn indices(ledger: &Ledger, stretch: &Stretch) -> Result<Vec<LeafIndex>, ReadError> {
    match stretch {
        Stretch::Indices(range) => Ok(range.clone().map(LeafIndex).collect()),
        Stretch::Times { since_ns, until_ns, end } => {
            let ahead = i64::try_from(EXPORT_CLOCK_AHEAD_MAX.as_nanos()).unwrap_or(i64::MAX);
            let begin = first_taken_in(ledger, since_ns.saturating_sub(ahead), *end)?;
            let within = |ns: i64| (*since_ns..=*until_ns).contains(&ns);
            let mut found = Vec::new();
            ledger.scan(begin..*end, &mut |record| {
                let header = &record.header;
                let event = header.event_time.is_some_and(|time| within(time.unix_ns()));
                if event || within(header.observed_time.unix_ns()) {
                    found.push(record.index);
                }
                if found.len() as u64 > EXPORT_RECORDS_MAX {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            Ok(found)
        }
    }
}

/// Index of the first record that the ledger took in at or after `time_ns`.
pub(super) fn first_taken_in(ledger: &Ledger, time_ns: i64, end: u64) -> Result<u64, ReadError> {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if ledger.read(LeafIndex(middle))?.ledger_time.unix_ns() < time_ns {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn stream(app: &App, indices: Vec<LeafIndex>, permit: OwnedSemaphorePermit) -> Response {
    let (writer, chunks) = crate::pipe::pipe(tokio::runtime::Handle::current());
    let ledger = app.ledger.clone();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut writer = writer;
        let written = evidence::write(&ledger, &indices, &mut writer);
        writer.finish(written.map(|_| ()).map_err(|error| {
            tracing::warn!(%error, "an export broke off");
            std::io::Error::other("the export broke off")
        }));
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}
