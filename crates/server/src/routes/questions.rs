//! Questions about clusters: what there was, what changed, who had an address, when nobody looked.
//!
//! Parameters have the names of the command line's flags.

pub(super) mod batch;
pub(super) mod history;
mod params;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;
use stele_state::query::{self, AsOf, Cluster, Coverage, Diff, Filter, Listing};
use stele_state::{Point, StateError, Time};

use crate::api::{
    API_VERSION, Answer, ClusterItem, CoverageAnswer, DiffItem, GapSeen, IpAnswer, LeaseItem,
    ObjectItem, ObjectName, Place, PortAsked, ProblemItem, RawList, ResourceItem, TimeUsed,
};
use crate::context::{App, Context};
use crate::convert::{at, coverage_item, gaps, stretch};
use crate::error::{ApiError, ErrorBody, ErrorKind};
use crate::params::{NoParams, Params, Segment};
use crate::points::parse;
use params::{ClusterParams, CoverageParams, DiffParams, IpParams, ObjectsParams};

/// Place in the log of an answer that is not JSON of this API's own.
const LEDGER_INDEX: HeaderName = HeaderName::from_static("stele-ledger-index");
/// Number of gaps that such an answer touches.
const GAPS: HeaderName = HeaderName::from_static("stele-gaps");

/// Asks the views, once they hold what the points need, and notes how long it took.
async fn ask<T: Send + 'static>(
    app: &Context,
    name: &'static str,
    points: &[&Point],
    question: impl FnOnce(&stele_state::State) -> Result<T, StateError> + Send + 'static,
) -> Result<T, ApiError> {
    let begin = app.clock.monotonic();
    app.views.ready_for(points, app.ledger.checkpoint().size.0).await?;
    let answer = app.views.ask(question).await;
    app.metrics.answered(name, app.clock.monotonic().saturating_sub(begin));
    answer
}

fn answer<T>(
    app: &Context,
    kind: &str,
    index: Option<u64>,
    time: Option<TimeUsed>,
    gaps: Vec<GapSeen>,
    items: Vec<T>,
) -> Json<Answer<T>> {
    Json(Answer {
        api_version: API_VERSION.to_owned(),
        kind: kind.to_owned(),
        ledger: app.position(index),
        time,
        gaps,
        items,
    })
}

/// The newest record that the views hold.
fn newest(state: &stele_state::State) -> Option<u64> {
    state.next_index().checked_sub(1)
}

/// The recorded clusters.
#[utoipa::path(
    get,
    path = "/v1/clusters",
    tag = "state",
    responses((status = 200, body = Answer<ClusterItem>), (status = 503, body = ErrorBody))
)]
pub(super) async fn clusters(
    State(app): State<App>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Answer<ClusterItem>>, ApiError> {
    let (index, found) =
        ask(&app, "clusters", &[&Point::Now], |state| Ok((newest(state), state.clusters()?)))
            .await?;
    let items = found.into_iter().map(ClusterItem::from).collect();
    Ok(answer(&app, "ClusterList", index, None, Vec::new(), items))
}

/// The resource types of a cluster.
#[utoipa::path(
    get,
    path = "/v1/resources",
    tag = "state",
    params(ClusterParams),
    responses(
        (status = 200, body = Answer<ResourceItem>),
        (status = 404, description = "no such cluster", body = ErrorBody)
    )
)]
pub(super) async fn resources(
    State(app): State<App>,
    Params(ClusterParams { cluster }): Params<ClusterParams>,
) -> Result<Json<Answer<ResourceItem>>, ApiError> {
    let (index, found) = ask(&app, "resources", &[&Point::Now], move |state| {
        Ok((newest(state), state.resources(cluster.as_deref())?))
    })
    .await?;
    let items = found.into_iter().map(ResourceItem::from).collect();
    Ok(answer(&app, "ResourceList", index, None, Vec::new(), items))
}

/// The objects that existed at a point.
///
/// With `raw=list` the answer is a Kubernetes `List` of the objects as the server sent them; the
/// place in the log and the number of gaps are then in the headers `stele-ledger-index` and
/// `stele-gaps`.
#[utoipa::path(
    get,
    path = "/v1/objects",
    tag = "state",
    params(ObjectsParams),
    responses(
        (status = 200, body = Answer<ObjectItem>),
        (status = 400, body = ErrorBody),
        (status = 404, description = "no such cluster, type or index", body = ErrorBody),
        (status = 422, description = "strict, and the recorder was blind", body = ErrorBody),
        (status = 503, description = "the views are behind", body = ErrorBody)
    )
)]
pub(super) async fn objects(
    State(app): State<App>,
    Params(params): Params<ObjectsParams>,
) -> Result<Response, ApiError> {
    let (strict, raw) = (params.strict, params.raw);
    let question = params.into_query(&app)?;
    let point = question.at.clone();
    let listing = ask(&app, "objects", &[&point], move |state| state.list(&question)).await?;
    if strict && listing.gaps.iter().any(|gap| !gap.recovered) {
        let message = "the recorder was blind in a stretch that the answer touches";
        return Err(ApiError::new(ErrorKind::Gap, message).hint("see /v1/coverage"));
    }
    if raw.is_some() {
        return raw_list(listing);
    }
    let Listing { as_of, objects, gaps: found, .. } = listing;
    let items: Vec<ObjectItem> = objects.into_iter().map(ObjectItem::from).collect();
    let time = Some(at(&as_of));
    Ok(answer(&app, "ObjectList", as_of.index, time, gaps(found), items).into_response())
}

fn raw_list(listing: Listing) -> Result<Response, ApiError> {
    let Listing { as_of, objects, gaps, .. } = listing;
    let number = |n: u64| HeaderValue::from(n);
    let index = as_of.index.map(number);
    let gaps = number(gaps.len() as u64);
    let items: Vec<Box<RawValue>> = objects.into_iter().filter_map(|o| o.version.object).collect();
    let version = as_of.resource_version.unwrap_or_default();
    let list = RawList {
        api_version: "v1".to_owned(),
        kind: "List".to_owned(),
        metadata: serde_json::json!({ "resourceVersion": version }),
        items,
    };
    let mut response = Json(list).into_response();
    let headers = response.headers_mut();
    headers.extend(index.map(|index| (LEDGER_INDEX, index)));
    headers.insert(GAPS, gaps);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What differs between two points.
#[utoipa::path(
    get,
    path = "/v1/diff",
    tag = "state",
    params(DiffParams),
    responses(
        (status = 200, body = Answer<DiffItem>),
        (status = 400, body = ErrorBody),
        (status = 404, description = "no such cluster, type or index", body = ErrorBody)
    )
)]
pub(super) async fn diff(
    State(app): State<App>,
    Params(params): Params<DiffParams>,
) -> Result<Json<Answer<DiffItem>>, ApiError> {
    let since = parse(&app, &params.since)?;
    let until = params.until.as_deref().map_or(Ok(Point::Now), |text| parse(&app, text))?;
    let filter = params.filter()?;
    let points = [since.clone(), until.clone()];
    let found = ask(&app, "diff", &[&points[0], &points[1]], move |state| {
        state.diff(&filter, &since, &until)
    })
    .await?;
    let Diff { from, to, differences, gaps: touched } = found;
    let time = Some(stretch(from.time, from.time_basis, &to));
    let items = differences.into_iter().map(DiffItem::from).collect();
    Ok(answer(&app, "Diff", to.index.max(from.index), time, gaps(touched), items))
}

/// Who had an address, at a point or in a stretch.
#[utoipa::path(
    get,
    path = "/v1/ip/{address}",
    tag = "state",
    params(("address" = String, Path, description = "IPv4 or IPv6"), IpParams),
    responses(
        (status = 200, body = IpAnswer),
        (status = 400, description = "no address, or no time", body = ErrorBody),
        (status = 404, description = "no such cluster or index", body = ErrorBody)
    )
)]
pub(super) async fn ip(
    State(app): State<App>,
    Segment(address): Segment,
    Params(params): Params<IpParams>,
) -> Result<Json<IpAnswer>, ApiError> {
    let point = |text: &Option<String>| text.as_deref().map(|t| parse(&app, t)).transpose();
    let (at_point, since, until) =
        (point(&params.at)?, point(&params.since)?, point(&params.until)?);
    let question = params.into_query()?;
    let found = match (at_point, since, until) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            return Err(ApiError::invalid("at can't be used together with since and until"));
        }
        (None, None, Some(_)) => return Err(ApiError::invalid("until needs since")),
        (None, Some(since), until) => {
            let until = until.unwrap_or(Point::Now);
            let points = [since.clone(), until.clone()];
            ask(&app, "ip", &[&points[0], &points[1]], move |state| {
                state.ip_range(&address, &since, &until, &question)
            })
            .await?
        }
        (at_point, None, None) => {
            let at_point = at_point.unwrap_or(Point::Now);
            let needed = at_point.clone();
            ask(&app, "ip", &[&needed], move |state| state.ip(&address, &at_point, &question))
                .await?
        }
    };
    Ok(Json(ip_answer(&app, found)))
}

fn ip_answer(app: &Context, found: query::IpAnswer) -> IpAnswer {
    let AsOf { index, time_basis, .. } = found.as_of;
    let time = match found.from {
        Some(from) => stretch(Some(from), time_basis, &found.as_of),
        None => at(&found.as_of),
    };
    IpAnswer {
        api_version: API_VERSION.to_owned(),
        kind: "AddressAnswer".to_owned(),
        address: found.address,
        port: found.port.map(PortAsked::from),
        verdict: found.verdict.into(),
        reason: found.reason,
        ledger: app.position(index),
        time,
        gaps: gaps(found.gaps),
        tolerance_ms: found.tolerance_ms,
        items: found.candidates.into_iter().map(LeaseItem::from).collect(),
        place: found.place.map(Place::from),
        unaddressed: found.unaddressed.into_iter().map(ObjectName::from).collect(),
        unaddressed_count: found.unaddressed_count,
    }
}

/// When each type was recorded, and when nobody looked.
#[utoipa::path(
    get,
    path = "/v1/coverage",
    tag = "state",
    params(CoverageParams),
    responses((status = 200, body = CoverageAnswer), (status = 400, body = ErrorBody))
)]
pub(super) async fn coverage(
    State(app): State<App>,
    Params(params): Params<CoverageParams>,
) -> Result<Json<CoverageAnswer>, ApiError> {
    let since = params.since.as_deref().map(|text| parse(&app, text)).transpose()?;
    let until = params.until.as_deref().map_or(Ok(Point::Now), |text| parse(&app, text))?;
    let filter = params.filter();
    let points = [since.clone().unwrap_or(Point::Now), until.clone()];
    let (index, found) = ask(&app, "coverage", &[&points[0], &points[1]], move |state| {
        Ok((newest(state), covered(state, &filter, since.as_ref(), &until)?))
    })
    .await?;
    let mut answer = CoverageAnswer {
        api_version: API_VERSION.to_owned(),
        kind: "Coverage".to_owned(),
        ledger: app.position(index),
        time: TimeUsed { basis: "observed".to_owned(), ..TimeUsed::default() },
        gaps: Vec::new(),
        items: Vec::new(),
        problem_count: 0,
        problems: Vec::new(),
    };
    for (from, coverage) in found {
        add_coverage(&mut answer, from, coverage);
    }
    Ok(Json(answer))
}

/// The coverage of each cluster that the filter allows, from the point asked for or from its first
/// record on.
fn covered(
    state: &stele_state::State,
    filter: &Filter,
    since: Option<&Point>,
    until: &Point,
) -> Result<Vec<(Option<Time>, Coverage)>, StateError> {
    let wanted = |cluster: &Cluster| {
        filter.cluster.as_ref().is_none_or(|name| *name == cluster.id || *name == cluster.name)
    };
    let clusters: Vec<Cluster> = state.clusters()?.into_iter().filter(wanted).collect();
    if clusters.is_empty() && filter.cluster.is_some() {
        // It is not there; the state says so best.
        return Ok(vec![(None, state.coverage(filter, &Point::Now, until)?)]);
    }
    let of_cluster = |cluster: Cluster| {
        let from = match since {
            Some(Point::Observed(time)) => Some(*time),
            _ => cluster.first_seen,
        };
        let begin = since.cloned().or(from.map(Point::Observed)).unwrap_or(Point::Now);
        let filter = Filter { cluster: Some(cluster.id), ..filter.clone() };
        Ok((from, state.coverage(&filter, &begin, until)?))
    };
    clusters.into_iter().map(of_cluster).collect()
}

fn add_coverage(answer: &mut CoverageAnswer, from: Option<Time>, found: Coverage) {
    let until = found.as_of.time;
    let used = stretch(from, found.as_of.time_basis, &found.as_of);
    let time = &mut answer.time;
    // Several clusters: the whole that they cover together.
    time.since = [time.since, used.since].into_iter().flatten().min();
    time.until = time.until.max(used.until);
    if used.basis == "event" {
        time.basis = used.basis;
    }
    for of in found.types {
        let item = coverage_item(of, from, until);
        for gap in &item.gaps {
            if !answer.gaps.contains(gap) {
                answer.gaps.push(gap.clone());
            }
        }
        answer.items.push(item);
    }
    answer.problem_count = found.problem_count;
    answer.problems = found.problems.into_iter().map(ProblemItem::from).collect();
}
