//! The sequence of changes as server-sent events: exactly as recorded, gaps included, to be taken
//! up again at any place.
//!
//! Invariant: the id of an event says where to go on behind it; between two events of a
//! subscription nothing that passes its filter is left out.

mod feed;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use futures::Stream;
use serde::Deserialize;
use stele_state::query::{ChangeFilter, Cursor, Ip, OwnerFilter};
use stele_state::{Point, Time};
use utoipa::IntoParams;

use super::export::first_taken_in;
use crate::blocking::blocking;
use crate::context::App;
use crate::error::{ApiError, ErrorBody};
use crate::filter::{FilterParams, read};
use crate::ledger_error::read_error;
use crate::limits::EXPORT_CLOCK_AHEAD_MAX;
use crate::params::{Params, flag};
use crate::points::parse;
use feed::{Feed, behind, parse_id};

const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WatchParams {
    /// Begin with the record of this index.
    from_index: Option<u64>,
    /// Begin at this point: a time, or `#INDEX` for what comes behind that record.
    since: Option<String>,
    /// Id or name of the cluster; without it all of them.
    cluster: Option<String>,
    /// The resource type as people write it; without it all.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Name of one object.
    name: Option<String>,
    /// Only this namespace; without it all.
    namespace: Option<String>,
    /// All namespaces; the same as leaving out `namespace`.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
    /// Label selector.
    selector: Option<String>,
    /// Field selector.
    field_selector: Option<String>,
    /// Only pods, nodes, services and endpoint slices that have this address before or after the
    /// change.
    ip: Option<String>,
    /// Only objects that this one owns before or after the change, itself or through others:
    /// TYPE/NAME, or a uid.
    owner: Option<String>,
    /// `true` puts the objects themselves in.
    #[serde(default, deserialize_with = "flag")]
    objects: bool,
}

/// Subscribe to changes, as server-sent events.
///
/// `event` is `change` (data: HistoryItem), `gap` (GapSeen), `cursor` (WatchCursor: nothing of
/// interest up to here, sent to quiet subscriptions) or `end` (WatchCursor: the reader was too
/// slow, or the server stops; subscribe again). `id` is `INDEX.ORDINAL`: sent back in the header
/// `Last-Event-ID`, it takes the subscription up behind that event and wins over the parameters.
/// Without a beginning, the subscription begins now.
#[utoipa::path(
    get,
    path = "/v1/watch",
    tag = "state",
    params(
        WatchParams,
        ("Last-Event-ID" = Option<String>, Header, description = "id of the last event received")
    ),
    responses(
        (status = 200, description = "the changes", content_type = "text/event-stream", body = String),
        (status = 400, body = ErrorBody),
        (status = 404, description = "no such cluster, type or index", body = ErrorBody),
        (status = 503, description = "too many subscribers, or the views are behind", body = ErrorBody)
    )
)]
pub(super) async fn watch(
    State(app): State<App>,
    headers: HeaderMap,
    Params(params): Params<WatchParams>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, ApiError> {
    let permit = app
        .watchers
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable("too many subscribers", 10))?;
    let begin = begin(&app, &headers, params.from_index, params.since.as_deref()).await?;
    let filter = FilterParams {
        cluster: params.cluster,
        kind: params.kind,
        name: params.name,
        namespace: params.namespace,
        all: params.all,
        selector: params.selector,
        field_selector: params.field_selector,
    };
    let feed = Feed {
        app,
        filter: ChangeFilter {
            objects: filter.read()?,
            ip: read::<Ip>("ip", params.ip)?,
            owner: read::<OwnerFilter>("owner", params.owner)?,
        },
        with_objects: params.objects,
        next: begin.cursor,
        since: begin.time,
        matcher: None,
    };
    Ok(Sse::new(feed.start(permit).await?))
}

/// Where a subscription begins.
struct Begin {
    cursor: Cursor,
    /// Pass over changes that were seen before this.
    time: Option<Time>,
}

async fn begin(
    app: &App,
    headers: &HeaderMap,
    from_index: Option<u64>,
    since: Option<&str>,
) -> Result<Begin, ApiError> {
    let at_index = |index| Begin { cursor: Cursor { index, ordinal: 0 }, time: None };
    let size = app.ledger.checkpoint().size.0;
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        let id = id.to_str().ok().and_then(parse_id);
        let id = id.ok_or_else(|| ApiError::invalid("Last-Event-ID: expected INDEX.ORDINAL"))?;
        return Ok(Begin { cursor: behind(id), time: None });
    }
    let begin = match (from_index, since) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("from_index can't be used together with since"));
        }
        (Some(index), None) => at_index(index),
        (None, None) => at_index(size),
        (None, Some(text)) => match parse(app, text)? {
            Point::Now => at_index(size),
            Point::Index(index) => at_index(index.saturating_add(1)),
            Point::Observed(time) => {
                let ahead = i64::try_from(EXPORT_CLOCK_AHEAD_MAX.as_nanos()).unwrap_or(i64::MAX);
                let ledger = app.ledger.clone();
                let taken_in = time.0.saturating_sub(ahead);
                let index = blocking(move || first_taken_in(&ledger, taken_in, size))
                    .await?
                    .map_err(read_error)?;
                Begin { time: Some(time), ..at_index(index) }
            }
            _ => return Err(ApiError::invalid("since: expected a time or #INDEX")),
        },
    };
    if begin.cursor.index > size {
        let message = format!("record {} is not in the log, which has {size}", begin.cursor.index);
        return Err(ApiError::not_found(message));
    }
    Ok(begin)
}
