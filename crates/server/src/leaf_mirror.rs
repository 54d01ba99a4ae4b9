//! The server of a mirror of leaves (C2SP tlog-mirror): `add-checkpoint`, `add-entries`,
//! `sign-subtree`, the copies as C2SP tlog-tiles, health and metrics.
//!
//! Not here: what is decided about a request ([`LeafMirror`]). Nobody needs a token: what is pushed
//! carries its right in the log's signature, and what is served is public by its purpose.
//! Invariant: each request is bounded in memory and time, and so are all of them together.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use stele_ledger::leaf_mirror::{LeafMirror, LeafMirrorError, UploadDecision};
use stele_merkle::mirror::{INFO_CONTENT_TYPE, MirrorInfo, Package, UPLOAD_CONTENT_TYPE};
use stele_merkle::tile::TilePath;
use stele_merkle::witness::{ADD_CHECKPOINT_BYTES_MAX, Refusal};
use stele_store::Clock;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::blocking::blocking;
use crate::body::{BodyRoom, content_type};
use crate::error::{ApiError, ErrorKind};
use crate::ledger_error::read_error;
use crate::limits::{UPLOADS_AT_ONCE_MAX, WITNESS_BODIES_BYTES_MAX, WITNESS_REQUESTS_AT_ONCE_MAX};
use crate::metrics::{Requests, register_build};
use crate::routes::{absent, metrics_text, served_tile};
use crate::serving::{self, Observer, ServeError};
use crate::upload::Upload;
use crate::witness::{cosigned, decided, ready, refused, served, subtree_decided, undecided};

/// A mirror's server that does not serve yet.
pub struct LeafMirrorServer {
    /// The mirror.
    pub mirror: Arc<LeafMirror>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics of others in this process; the server adds its own.
    pub registry: Registry,
    /// Serve on an address that is not loopback, although it speaks plain HTTP.
    pub allow_plaintext: bool,
}

struct Context {
    mirror: Arc<LeafMirror>,
    bodies: BodyRoom,
    turns: Semaphore,
    uploads: Semaphore,
    registry: Registry,
    sizes: Family<Log, Gauge>,
}

type App = Arc<Context>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Log {
    origin: String,
}

impl LeafMirrorServer {
    /// Serves until `shutdown` becomes true, then lets running requests end.
    ///
    /// # Errors
    /// [`ServeError`]; nothing was served.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        serving::check_address(&listener, self.allow_plaintext)?;
        let (stop, _) = watch::channel(false);
        serving::serve(listener, self.router(), shutdown, &stop).await
    }

    fn router(self) -> Router {
        let Self { mirror, clock, mut registry, .. } = self;
        let (requests, sizes) = (Requests::default(), Family::default());
        register_build(&mut registry);
        requests.register(&mut registry);
        registry.register(
            "stele_leaf_mirror_log_size",
            "Entries under the checkpoint of the log that was cosigned last, since the start",
            sizes.clone(),
        );
        let context = Arc::new(Context {
            mirror,
            bodies: BodyRoom::of(WITNESS_BODIES_BYTES_MAX),
            turns: Semaphore::new(WITNESS_REQUESTS_AT_ONCE_MAX),
            uploads: Semaphore::new(UPLOADS_AT_ONCE_MAX),
            registry,
            sizes,
        });
        Router::new()
            .route("/add-checkpoint", post(add_checkpoint))
            .route("/add-entries", post(add_entries))
            .route("/sign-subtree", post(sign_subtree))
            .route("/{origin}/checkpoint", get(checkpoint))
            .route("/{origin}/tile/{*path}", get(tile))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(async |State(app): State<App>| ready(app.mirror.stopped())))
            .route("/metrics", get(metrics_of))
            .fallback(async || {
                ApiError::not_found("no such route").hint(
                    "POST /add-checkpoint, /add-entries or /sign-subtree, or \
                     GET /<hex SHA-256 of an origin>/checkpoint or tile/...",
                )
            })
            .method_not_allowed_fallback(serving::method_not_allowed)
            .layer(from_fn_with_state(Observer { clock, requests }, serving::observe))
            .with_state(context)
    }
}

async fn add_checkpoint(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let body = app.bodies.read(request, ADD_CHECKPOINT_BYTES_MAX).await?;
    let _turn = app.turns.acquire().await.map_err(ApiError::internal)?;
    let (mirror, bytes) = (Arc::clone(&app.mirror), body.bytes.clone());
    decided(blocking(move || mirror.add_checkpoint(&bytes)).await?.map_err(failed)?)
}

async fn sign_subtree(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let body = app.bodies.read(request, ADD_CHECKPOINT_BYTES_MAX).await?;
    let _turn = app.turns.acquire().await.map_err(ApiError::internal)?;
    let (mirror, bytes) = (Arc::clone(&app.mirror), body.bytes.clone());
    subtree_decided(blocking(move || mirror.sign_subtree(&bytes)).await?.map_err(failed)?)
}

async fn add_entries(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let _turn = app
        .uploads
        .try_acquire()
        .map_err(|_| ApiError::unavailable("too many uploads at once", 1))?;
    if content_type(request.headers()).as_deref() != Some(UPLOAD_CONTENT_TYPE) {
        let what = "an upload has the content type application/octet-stream";
        return Err(ApiError::new(ErrorKind::UnsupportedType, what));
    }
    let (parts, body) = request.into_parts();
    let mut upload = Upload::new(&parts.headers, body)?;
    let taken = take_upload(&app, &mut upload).await;
    upload.drain().await;
    let mut response = taken?;
    let encodings = HeaderValue::from_static("gzip");
    response.headers_mut().insert(header::ACCEPT_ENCODING, encodings);
    Ok(response)
}

/// Takes in an upload package by package, for as long as there are whole ones.
async fn take_upload(app: &App, body: &mut Upload) -> Result<Response, ApiError> {
    let head = match body.head().await {
        Ok(Some(head)) => head,
        Ok(None) => return malformed("the upload ends within its begin"),
        Err(error) => return malformed(error),
    };
    let (mirror, origin) = (Arc::clone(&app.mirror), head.origin.clone());
    let (start, end) = (head.start, head.end);
    let begun = blocking(move || mirror.begin(&origin, start, end)).await?.map_err(failed)?;
    let upload = match begun {
        Ok(upload) => Arc::new(upload),
        Err(decision) => return answer(decision),
    };
    let (mut taken, mut broken) = (false, None);
    for range in head.packages() {
        let bytes = match body.package(range).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(error) => {
                broken = Some(error);
                break;
            }
        };
        let (mirror, upload) = (Arc::clone(&app.mirror), Arc::clone(&upload));
        let take = move || match Package::parse(&bytes, range) {
            Ok(Some((package, _))) => mirror.take(&upload, range, &package),
            Ok(None) | Err(_) => Ok(Err(Refusal::Malformed("a package is not whole".to_owned()))),
        };
        if let Err(refusal) = blocking(take).await?.map_err(failed)? {
            return refused(&refusal);
        }
        taken = true;
    }
    if app.mirror.is_whole(&upload) {
        let mirror = Arc::clone(&app.mirror);
        let finished = blocking(move || mirror.finish(&upload)).await?.map_err(failed)?;
        if let UploadDecision::Cosigned { size, .. } = &finished {
            let size = i64::try_from(size.0).unwrap_or(i64::MAX);
            app.sizes.get_or_create(&Log { origin: head.origin }).set(size);
        }
        return answer(finished);
    }
    match (taken, broken) {
        (true, _) => Ok(info(StatusCode::ACCEPTED, &app.mirror.info(&upload))),
        (false, Some(error)) => malformed(error),
        (false, None) => malformed("the upload ends within its first package"),
    }
}

fn malformed(what: impl std::fmt::Display) -> Result<Response, ApiError> {
    refused(&Refusal::Malformed(what.to_string()))
}

fn answer(decision: UploadDecision) -> Result<Response, ApiError> {
    match decision {
        UploadDecision::Cosigned { lines, .. } => Ok(cosigned(&lines)),
        UploadDecision::Conflict(state) => Ok(info(StatusCode::CONFLICT, &state)),
        UploadDecision::Refused(refusal) => refused(&refusal),
    }
}

fn info(status: StatusCode, state: &MirrorInfo) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(INFO_CONTENT_TYPE))];
    (status, headers, state.encode()).into_response()
}

fn failed(error: LeafMirrorError) -> ApiError {
    match error {
        LeafMirrorError::Checkpoints(error) => undecided(error),
        LeafMirrorError::Read(error) => read_error(error),
        other => ApiError::internal(other),
    }
}

async fn checkpoint(
    State(app): State<App>,
    Path(origin): Path<String>,
) -> Result<Response, ApiError> {
    let _turn = app.turns.acquire().await.map_err(ApiError::internal)?;
    let mirror = Arc::clone(&app.mirror);
    served(blocking(move || mirror.latest(&origin)).await?.map_err(failed)?)
}

async fn tile(
    State(app): State<App>,
    Path((origin, path)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let path = TilePath::parse(&format!("tile/{path}")).map_err(|e| absent(&e))?;
    let _turn = app.turns.acquire().await.map_err(ApiError::internal)?;
    let mirror = Arc::clone(&app.mirror);
    let tile = blocking(move || mirror.tile(&origin, path)).await?.map_err(failed)?;
    tile.map(served_tile).ok_or_else(|| absent(&"no log here is that large"))
}

async fn metrics_of(State(app): State<App>) -> Result<Response, ApiError> {
    let mut encoded = String::new();
    prometheus_text::encode(&mut encoded, &app.registry).map_err(ApiError::internal)?;
    Ok(metrics_text(encoded))
}
