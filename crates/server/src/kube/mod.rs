//! The Kubernetes API of a recorded cluster at any time:
//! `/clusters/CLUSTER/at/TIME/api/v1/pods` is what `/api/v1/pods` was. Read-only; a watch runs on
//! into the present.
//!
//! What this is not: an API server. It has no defaulting and no conversion between versions; objects
//! come in the version in which they were recorded.
//!
//! Invariant: an answer that touches a stretch in which nobody looked says so, in the header
//! `Warning` or in a `Status`.

mod accept;
mod discovery;
mod documents;
mod list;
mod params;
mod path;
mod question;
mod render;
mod review;
mod splice;
mod status;
mod types;
mod warnings;
mod watch;

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use serde_json::{Value, json};
use stele_state::Point;

use crate::context::App;
use crate::points;
use accept::Discovery;
use params::Parameters;
use path::{Objects, Target};
use question::Question;
use status::Failure;

/// The routes; whoever merges them guards them with [`failures_as_status`] outside.
pub(crate) fn routes() -> Router<App> {
    let root = async |State(app), Path((cluster, time)): Path<(String, String)>, request| {
        answer(app, cluster, time, "", request).await
    };
    let below =
        async |State(app), Path((cluster, time, path)): Path<(String, String, String)>, request| {
            answer(app, cluster, time, &path, request).await
        };
    Router::new()
        .route("/clusters/{cluster}/at/{time}", any(root))
        .route("/clusters/{cluster}/at/{time}/", any(root))
        .route("/clusters/{cluster}/at/{time}/{*path}", any(below))
}

/// Turns what goes wrong around the routes into what Kubernetes clients understand.
pub(crate) async fn guarded(
    authorised: impl AsyncFnOnce(Request, Next) -> Result<Response, crate::ApiError>,
    request: Request,
    next: Next,
) -> Response {
    authorised(request, next).await.unwrap_or_else(|error| Failure::from(error).into_response())
}

async fn answer(app: App, cluster: String, time: String, path: &str, request: Request) -> Response {
    match route(app, cluster, &time, path, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn route(
    app: App,
    cluster: String,
    time: &str,
    path: &str,
    request: Request,
) -> Result<Response, Failure> {
    let at = points::parse(&app, time)?;
    let target = path::parse(path).ok_or_else(Failure::no_such_path)?;
    let (parts, body) = request.into_parts();
    if let Target::Objects(objects) = &target
        && parts.method == Method::POST
        && review::is_review(objects)
    {
        let body = to_bytes(body, review::BODY_BYTES_MAX).await;
        let body = body.map_err(|_| Failure::bad_request("the body can't be read"))?;
        return Ok(Json(review::answer(objects, &body)).into_response());
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Failure::read_only());
    }
    app.views.ready_for(&[&at], app.ledger.checkpoint().size.0).await?;
    match target {
        Target::Objects(objects) => {
            let parameters = Parameters::read(parts.uri.query().unwrap_or_default())?;
            objects_of(app, Question { cluster, at, objects, parameters }, &parts.headers).await
        }
        Target::Health => Ok("ok".into_response()),
        Target::Version => plain(&parts.headers, documents::version(&app, cluster, at)).await,
        Target::OpenApiV2 => plain(&parts.headers, async { Ok(documents::openapi_v2()) }).await,
        Target::OpenApiV3 => plain(&parts.headers, documents::schemas(&app, cluster, at)).await,
        Target::Schema(name) => {
            plain(&parts.headers, documents::schema(&app, cluster, at, &name)).await
        }
        target => discover(&app, cluster, at, target, &parts.headers).await,
    }
}

/// A document that there is in one form only.
async fn plain(
    headers: &HeaderMap,
    document: impl Future<Output = Result<Response, Failure>>,
) -> Result<Response, Failure> {
    accept::form(headers).ok_or_else(Failure::not_acceptable)?;
    document.await
}

/// What there is: groups, versions, types.
async fn discover(
    app: &App,
    cluster: String,
    at: Point,
    target: Target,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let wanted = accept::discovery(headers).ok_or_else(Failure::not_acceptable)?;
    let types = app.views.ask(move |state| types::discovered(state, &cluster, &at)).await?;
    let document = match (&target, wanted) {
        (Target::CoreVersions | Target::Groups, Discovery::Aggregated(version)) => {
            let document = types.aggregated(target == Target::CoreVersions, version);
            let media = format!(
                "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            );
            let mut response = Json(document).into_response();
            let media = HeaderValue::from_str(&media).map_err(crate::ApiError::internal)?;
            response.headers_mut().insert(header::CONTENT_TYPE, media);
            return Ok(response);
        }
        (Target::CoreVersions, Discovery::Plain) => types.core_versions(),
        (Target::Groups, Discovery::Plain) => types.group_list(),
        (Target::Group(name), _) => types.group(name)?,
        (Target::Types(of), _) => types.resources(of)?,
        _ => discovery::root(&types),
    };
    Ok(Json(document).into_response())
}

/// Subresources that show the object itself.
const OBJECT_ITSELF: &str = "status";

async fn objects_of(
    app: App,
    question: Question,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let form = accept::form(headers).ok_or_else(Failure::not_acceptable)?;
    let Objects { name, subresource, .. } = &question.objects;
    if let Some(subresource) = subresource.as_deref().filter(|sub| *sub != OBJECT_ITSELF) {
        return Err(Failure::not_recorded(&question.objects, subresource));
    }
    if question.parameters.watch {
        return watch::watch(app, question, form).await;
    }
    if name.is_none() {
        return list::list(app, question, form).await;
    }
    let now_ns = app.now_ns();
    let begin = app.clock.monotonic();
    let found = app.views.ask(move |state| Ok(list::get(state, &question, form, now_ns))).await?;
    app.metrics.answered("kube-get", app.clock.monotonic().saturating_sub(begin));
    found
}

/// Where clients of Kubernetes find a cluster at a point: the path behind a server's base URL.
pub fn path_of(cluster: &str, point: &Point) -> String {
    format!("/clusters/{}/at/{}", escaped(cluster), escaped(&point.to_string()))
}

/// A segment of a path: everything but unreserved characters and colons is escaped (RFC 3986).
fn escaped(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A kubeconfig with one context, for a cluster at a point.
#[derive(Debug, Clone)]
pub struct Kubeconfig<'a> {
    /// Name of context, cluster and user.
    pub name: &'a str,
    /// Base URL of the server, https: clients send a token to no other.
    pub server: &'a str,
    /// The cluster, by name or id.
    pub cluster: &'a str,
    /// The point.
    pub point: &'a Point,
    /// The namespace that is meant where none is named.
    pub namespace: Option<&'a str>,
    /// The server's certificate, PEM.
    pub certificate: Option<&'a str>,
    /// Path of the file with the token.
    pub token_file: Option<&'a str>,
}

impl Kubeconfig<'_> {
    /// The document.
    pub fn document(&self) -> Value {
        use base64::Engine;
        let server =
            format!("{}{}", self.server.trim_end_matches('/'), path_of(self.cluster, self.point));
        let mut cluster = json!({"server": server});
        if let Some(certificate) = self.certificate {
            let data = base64::engine::general_purpose::STANDARD.encode(certificate);
            cluster["certificate-authority-data"] = data.into();
        }
        let mut context = json!({"cluster": self.name, "user": self.name});
        if let Some(namespace) = self.namespace {
            context["namespace"] = namespace.into();
        }
        let user = match self.token_file {
            Some(file) => json!({"tokenFile": file}),
            None => json!({}),
        };
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.name,
            "clusters": [{"name": self.name, "cluster": cluster}],
            "contexts": [{"name": self.name, "context": context}],
            "users": [{"name": self.name, "user": user}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_written_into_paths() {
        assert_eq!(path_of("prod", &Point::Index(7)), "/clusters/prod/at/%237");
        assert_eq!(
            path_of("a/b c", &Point::ResourceVersion("9".to_owned())),
            "/clusters/a%2Fb%20c/at/rv:9"
        );
    }
}
