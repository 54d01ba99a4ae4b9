//! The server of a witness (C2SP tlog-witness): `add-checkpoint`, `sign-subtree`, the read API, health
//! and metrics.
//!
//! Not here: what is decided about a request ([`Witness`]). Nobody needs a token: requests carry their
//! right in the log's signature, and what is served is public by its purpose.
//! Invariant: each request is bounded in size and time, and so are all of them together.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use stele_ledger::SubtreeDecision;
use stele_ledger::witness::{Decision, LastCosigned, Witness, WitnessError};
use stele_merkle::Signature;
use stele_merkle::witness::{
    ADD_CHECKPOINT_BYTES_MAX, Refusal, SIZE_CONTENT_TYPE, encode_cosignatures, encode_size,
};
use stele_store::Clock;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::blocking::blocking;
use crate::body::BodyRoom;
use crate::error::ApiError;
use crate::limits::{WITNESS_BODIES_BYTES_MAX, WITNESS_REQUESTS_AT_ONCE_MAX};
use crate::metrics::{Requests, register_build};
use crate::routes::metrics_text;
use crate::serving::{self, Observer, ServeError};

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// How long a cache may keep a cosigned checkpoint.
const CHECKPOINT_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// A witness's server that does not serve yet.
pub struct WitnessServer {
    /// The witness.
    pub witness: Arc<Witness>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics of others in this process; the server adds its own.
    pub registry: Registry,
    /// Serve on an address that is not loopback, although it speaks plain HTTP.
    pub allow_plaintext: bool,
}

struct Context {
    witness: Arc<Witness>,
    bodies: BodyRoom,
    turns: Semaphore,
    registry: Registry,
    metrics: WitnessMetrics,
}

type App = Arc<Context>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Log {
    origin: String,
}

#[derive(Debug, Default)]
struct WitnessMetrics {
    decisions: Family<Outcome, Counter>,
    size: Family<Log, Gauge>,
    time: Family<Log, Gauge<f64, AtomicU64>>,
}

impl WitnessMetrics {
    fn register(&self, r: &mut Registry) {
        r.register(
            "stele_witness_decisions",
            "Decided requests, by their HTTP status; 422 means that a log may have misbehaved",
            self.decisions.clone(),
        );
        r.register(
            "stele_witness_log_size",
            "Records under the last cosigned checkpoint of the log",
            self.size.clone(),
        );
        r.register(
            "stele_witness_log_cosigned_timestamp_seconds",
            "When the log's last cosigned checkpoint was cosigned, since the start",
            self.time.clone(),
        );
    }

    fn decided(&self, decision: &Decision, now_s: u64) {
        let status = match decision {
            Decision::Cosigned { checkpoint, .. } => {
                let log = Log { origin: checkpoint.origin.clone() };
                let size = i64::try_from(checkpoint.size.0).unwrap_or(i64::MAX);
                self.size.get_or_create(&log).set(size);
                self.time.get_or_create(&log).set(now_s as f64);
                StatusCode::OK.as_u16()
            }
            Decision::OtherSize(_) => StatusCode::CONFLICT.as_u16(),
            Decision::Refused(refusal) => refusal.status(),
        };
        self.decisions.get_or_create(&Outcome { status }).inc();
    }
}

impl WitnessServer {
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
        let Self { witness, clock, mut registry, .. } = self;
        let (requests, metrics) = (Requests::default(), WitnessMetrics::default());
        register_build(&mut registry);
        requests.register(&mut registry);
        metrics.register(&mut registry);
        let observer = Observer { clock: Arc::clone(&clock), requests };
        let bodies = BodyRoom::of(WITNESS_BODIES_BYTES_MAX);
        let turns = Semaphore::new(WITNESS_REQUESTS_AT_ONCE_MAX);
        let context = Arc::new(Context { witness, bodies, turns, registry, metrics });
        let add = move |state, request| add_checkpoint(clock, state, request);
        Router::new()
            .route("/add-checkpoint", post(add))
            .route("/sign-subtree", post(sign_subtree))
            .route("/{origin}/checkpoint", get(checkpoint))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_of))
            .fallback(async || {
                ApiError::not_found("no such route")
                    .hint("POST /add-checkpoint or /sign-subtree, or GET /<hex SHA-256 of an origin>/checkpoint")
            })
            .method_not_allowed_fallback(serving::method_not_allowed)
            .layer(from_fn_with_state(observer, serving::observe))
            .with_state(context)
    }
}

async fn add_checkpoint(
    clock: Arc<dyn Clock>,
    State(app): State<App>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = app.bodies.read(request, ADD_CHECKPOINT_BYTES_MAX).await?;
    let _turn = app.turns.acquire().await.map_err(ApiError::internal)?;
    let (witness, bytes) = (Arc::clone(&app.witness), body.bytes.clone());
    let decision = blocking(move || witness.add_checkpoint(&bytes)).await?.map_err(undecided)?;
    app.metrics.decided(&decision, clock.now().unix_seconds());
    decided(decision)
}

async fn sign_subtree(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let body = app.bodies.read(request, ADD_CHECKPOINT_BYTES_MAX).await?;
    let _turn = app.turns.acquire().await.map_err(ApiError::internal)?;
    let (witness, bytes) = (Arc::clone(&app.witness), body.bytes.clone());
    let decision = blocking(move || witness.sign_subtree(&bytes)).await?.map_err(undecided)?;
    subtree_decided(decision)
}

/// The answer to `add-checkpoint`.
pub(crate) fn decided(decision: Decision) -> Result<Response, ApiError> {
    match decision {
        Decision::Cosigned { lines, .. } => Ok(cosigned(&lines)),
        Decision::OtherSize(size) => {
            let content_type = HeaderValue::from_static(SIZE_CONTENT_TYPE);
            let headers = [(header::CONTENT_TYPE, content_type)];
            Ok((StatusCode::CONFLICT, headers, encode_size(size)).into_response())
        }
        Decision::Refused(refusal) => refused(&refusal),
    }
}

/// The answer to `sign-subtree`.
pub(crate) fn subtree_decided(decision: SubtreeDecision) -> Result<Response, ApiError> {
    match decision {
        SubtreeDecision::Cosigned(lines) => Ok(cosigned(&lines)),
        SubtreeDecision::Unknown(note) => {
            let headers = [(header::CONTENT_TYPE, PLAIN_TEXT)];
            Ok((StatusCode::CONFLICT, headers, note).into_response())
        }
        SubtreeDecision::Refused(refusal) => refused(&refusal),
    }
}

/// Lines of cosignatures.
pub(crate) fn cosigned(lines: &[Signature]) -> Response {
    ([(header::CONTENT_TYPE, PLAIN_TEXT)], encode_cosignatures(lines)).into_response()
}

/// A refusal with its status.
pub(crate) fn refused(refusal: &Refusal) -> Result<Response, ApiError> {
    let status = StatusCode::from_u16(refusal.status()).map_err(ApiError::internal)?;
    let headers = [(header::CONTENT_TYPE, PLAIN_TEXT)];
    Ok((status, headers, format!("{refusal}\n")).into_response())
}

/// The answer to a request for a cosigned checkpoint.
pub(crate) fn served(latest: Option<LastCosigned>) -> Result<Response, ApiError> {
    let Some(latest) = latest else {
        return Err(ApiError::not_found("no checkpoint of such a log was cosigned here"));
    };
    let headers = [
        (header::CONTENT_TYPE, PLAIN_TEXT),
        (header::CACHE_CONTROL, CHECKPOINT_CACHE),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    Ok((headers, latest.note).into_response())
}

/// Ready as long as the store can be relied on.
pub(crate) fn ready(stopped: Option<&str>) -> Response {
    match stopped {
        None => "ok\n".into_response(),
        Some(_) => {
            let text = "[-]store does not write\nnot ready\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

pub(crate) fn undecided(error: WitnessError) -> ApiError {
    match error {
        WitnessError::Contended => ApiError::unavailable(error.to_string(), 1),
        WitnessError::Stopped(_) => {
            ApiError::unavailable("the witness's store has failed; it cosigns nothing", 60)
        }
        WitnessError::Corrupt { .. } => {
            tracing::error!(%error, "what was cosigned is not what is stored");
            let what = "what was cosigned last for this log cannot be read; nothing is cosigned";
            ApiError::new(crate::ErrorKind::Corrupt, what)
        }
        other => ApiError::internal(other),
    }
}

/// The last cosigned checkpoint of the log whose origin has this SHA-256.
async fn checkpoint(
    State(app): State<App>,
    Path(origin): Path<String>,
) -> Result<Response, ApiError> {
    let _turn = app.turns.acquire().await.map_err(ApiError::internal)?;
    let witness = Arc::clone(&app.witness);
    let latest = blocking(move || witness.latest(&origin)).await?.map_err(undecided)?;
    served(latest)
}

async fn readyz(State(app): State<App>) -> Response {
    ready(app.witness.stopped())
}

async fn metrics_of(State(app): State<App>) -> Result<Response, ApiError> {
    let mut encoded = String::new();
    prometheus_text::encode(&mut encoded, &app.registry).map_err(ApiError::internal)?;
    Ok(metrics_text(encoded))
}
