//! What was ever known of one object: its versions, who made them, what they changed, what it owned,
//! and what refers to it.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use stele_ledger::Ledger;
use stele_merkle::LeafIndex;
use stele_state::json::PathChange;
use stele_state::query::{self, History, HistoryQuery, Listing, RequestRef};
use stele_state::{Point, Time};

use super::params::{HistoryParams, ReferrersParams, since_filter};
use super::{answer, ask};
use crate::api::{
    Answer, ChangedPath, HistoryItem, Instant, ObjectItem, ObjectName, RequestBasis, RequestSeen,
};
use crate::blocking::blocking;
use crate::context::App;
use crate::convert::{at, gaps, history_item, stretch};
use crate::error::{ApiError, ErrorBody};
use crate::params::Params;
use crate::points::parse;

/// All versions of an object, and of those that had its name before.
///
/// `owned` puts in what it owned, and what that owned, so that the answer is the timeline of an
/// application; `changes` says in which paths each version differs from the one before it. The
/// request that made a version is told where audit events were recorded.
#[utoipa::path(
    get,
    path = "/v1/history",
    tag = "state",
    params(HistoryParams),
    responses(
        (status = 200, body = Answer<HistoryItem>),
        (status = 400, body = ErrorBody),
        (status = 404, description = "no such cluster, type or index", body = ErrorBody)
    )
)]
pub(in crate::routes) async fn history(
    State(app): State<App>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<Answer<HistoryItem>>, ApiError> {
    let since = params.since.as_deref().map(|text| parse(&app, text)).transpose()?;
    let (owned, changes) = (params.owned, params.changes);
    let question = HistoryQuery { owned, changes, ..params.into_query(&app)?.into() };
    let until = question.list.at.clone();
    let points: Vec<&Point> = since.iter().chain([&until]).collect();
    let found = ask(&app, "history", &points, move |state| state.history(&question)).await?;
    let History { as_of, lives, gaps: touched } = found;
    let begin = match since {
        Some(Point::Observed(time)) => Some(time),
        _ => None,
    };
    let mut versions = Vec::new();
    for life in lives {
        let of = ObjectName::from(life.reference);
        let wanted = life.versions.into_iter().filter(|version| since_filter(&since, version));
        versions.extend(wanted.map(|version| (of.clone(), version)));
    }
    if owned {
        versions.sort_by_key(|(_, version)| (version.time, version.index, version.ordinal));
    }
    let ledger = app.ledger.clone();
    let items = blocking(move || versions.into_iter().map(|of| item(&ledger, of)).collect());
    let items: Vec<HistoryItem> = items.await?;
    let time = Some(stretch(begin, as_of.time_basis, &as_of));
    Ok(answer(&app, "History", as_of.index, time, gaps(touched), items))
}

fn item(ledger: &Ledger, (of, mut version): (ObjectName, query::Version)) -> HistoryItem {
    let (by, changes) = (version.by.take(), version.changes.take());
    let mut item = history_item(of, version);
    item.by = by.map(|by| Box::new(request(ledger, by)));
    item.changes = changes.map(|changes| changes.into_iter().map(changed_path).collect());
    item
}

fn changed_path(change: PathChange) -> ChangedPath {
    let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
    ChangedPath { path: change.path, before: json(change.before), after: json(change.after) }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    user: User,
    impersonated_user: User,
    #[serde(rename = "sourceIPs")]
    source_ips: Vec<String>,
    user_agent: String,
    object_ref: Reference,
    response_status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference {
    subresource: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    code: u16,
}

/// What the audit event says. One that can't be read leaves its place in the log.
fn request(ledger: &Ledger, by: RequestRef) -> RequestSeen {
    let payload = match ledger.read(LeafIndex(by.index)) {
        Ok(stored) => stored.payload,
        Err(error) => {
            tracing::error!(%error, index = by.index, "an audit event cannot be read");
            None
        }
    };
    let event: Event = payload.and_then(|p| serde_json::from_slice(&p).ok()).unwrap_or_default();
    let Time(received) = by.time;
    RequestSeen {
        index: by.index,
        received: Instant(received),
        basis: match by.basis {
            query::RequestBasis::ResourceVersion => RequestBasis::ResourceVersion,
            _ => RequestBasis::Name,
        },
        audit_id: event.audit_id,
        user: event.user.username,
        impersonated_user: event.impersonated_user.username,
        verb: event.verb,
        subresource: event.object_ref.subresource,
        code: event.response_status.code,
        user_agent: event.user_agent,
        source_ips: event.source_ips,
    }
}

/// The objects that exist at a point and name an object by its uid: what it owns, events about it,
/// addresses that lead to it.
///
/// References by name alone (a Secret in a pod, a node that a pod runs on) are not looked for.
#[utoipa::path(
    get,
    path = "/v1/referrers",
    tag = "state",
    params(ReferrersParams),
    responses(
        (status = 200, body = Answer<ObjectItem>),
        (status = 400, body = ErrorBody),
        (status = 404, description = "no such cluster, type or index", body = ErrorBody)
    )
)]
pub(in crate::routes) async fn referrers(
    State(app): State<App>,
    Params(params): Params<ReferrersParams>,
) -> Result<Json<Answer<ObjectItem>>, ApiError> {
    let question = params.into_query(&app)?;
    let point = question.at.clone();
    let listing =
        ask(&app, "referrers", &[&point], move |state| state.referrers(&question)).await?;
    let Listing { as_of, objects, gaps: found, .. } = listing;
    let items: Vec<ObjectItem> = objects.into_iter().map(ObjectItem::from).collect();
    Ok(answer(&app, "ObjectList", as_of.index, Some(at(&as_of)), gaps(found), items))
}
