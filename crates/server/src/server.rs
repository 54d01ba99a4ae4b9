//! The server: its parts, its life, and what stands around every route.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method as HttpMethod, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use prometheus_client::registry::Registry;
use stele_ledger::Ledger;
use stele_record::SourceKey;
use stele_store::Clock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::append::Appender;
use crate::auth::{Access, Scope, Tokens};
use crate::body::BodyRoom;
use crate::context::{App, Context, semaphores};
use crate::error::{ApiError, ErrorKind};
use crate::limits::DRAIN_MAX;
use crate::metrics::{Method, Metrics, RequestLabels};
use crate::routes;
use crate::signal;
use crate::views::Views;

/// What a server is made of.
pub struct ServerParts {
    /// The open ledger.
    pub ledger: Ledger,
    /// The views; they follow the ledger from wherever they stand.
    pub state: stele_state::State,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Who may do what.
    pub tokens: Tokens,
    /// Key of the source that records events appended over HTTP; without one they are refused.
    pub append_key: Option<SourceKey>,
    /// The metrics of others in this process; the server adds its own.
    pub registry: Registry,
    /// Plain data.
    pub options: ServerOptions,
}

/// Plain data of a server.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Checkpoint and tiles are answered without a token even if the listener is not on loopback.
    /// They hold no payloads, but say who recorded how much of what, and when.
    pub public_tiles: bool,
    /// Serve on an address that is not loopback, although tokens and answers travel in clear.
    pub allow_plaintext: bool,
    /// Name of the source that records appended events, for people.
    pub append_name: String,
}

/// Why a server can't serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener is reachable from other machines. Bind to loopback, or allow plain text.
    #[error("{address} is not a loopback address, and the server speaks plain HTTP only")]
    Plaintext {
        /// Where the listener is bound.
        address: SocketAddr,
    },
    /// The listener failed. Bind again.
    #[error("the listener failed")]
    Listener(#[from] std::io::Error),
}

/// A server that does not serve yet.
pub struct Server {
    parts: ServerParts,
}

impl Server {
    /// A server of these parts.
    pub fn new(parts: ServerParts) -> Self {
        Self { parts }
    }

    /// Serves until `shutdown` becomes true, then lets running requests end, for [`DRAIN_MAX`] at
    /// the most, and closes the server's own source. Call it in a multi-threaded runtime.
    ///
    /// # Errors
    /// [`ServeError`]; nothing was served.
    pub async fn serve(
        self,
        listener: TcpListener,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        let loopback = address.ip().is_loopback();
        if !loopback && !self.parts.options.allow_plaintext {
            return Err(ServeError::Plaintext { address });
        }
        let (stop, stopped) = watch::channel(false);
        let (stop_sources, sources_stopped) = watch::channel(false);
        let (context, tasks) = self.start(loopback, &stopped, &sources_stopped);
        let graceful = {
            let mut stopped = stopped.clone();
            async move { signal::stopped(&mut stopped).await }
        };
        let router = router(context.clone());
        let mut serving = tokio::spawn(
            axum::serve(listener, router).with_graceful_shutdown(graceful).into_future(),
        );
        tracing::info!(%address, public_tiles = context.public_tiles, "serving");
        let ended = tokio::select! {
            () = signal::stopped(&mut shutdown) => None,
            ended = &mut serving => Some(ended),
        };
        stop.send_replace(true);
        if ended.is_none() && timeout(DRAIN_MAX, &mut serving).await.is_err() {
            tracing::warn!("requests were still running when the time to drain was over");
            serving.abort();
        }
        stop_sources.send_replace(true);
        for task in tasks {
            if timeout(DRAIN_MAX, task).await.is_err() {
                tracing::warn!("a task did not end in time");
            }
        }
        match ended {
            Some(Ok(result)) => Ok(result?),
            _ => Ok(()),
        }
    }

    fn start(
        self,
        loopback: bool,
        stopped: &watch::Receiver<bool>,
        sources_stopped: &watch::Receiver<bool>,
    ) -> (App, Vec<JoinHandle<()>>) {
        let ServerParts { ledger, state, clock, tokens, append_key, registry, options } =
            self.parts;
        let metrics = Arc::new(Metrics::new(registry));
        let (views, folding) = Views::start(ledger.clone(), state, stopped.clone());
        let mut tasks = vec![folding];
        let appender = append_key.map(|key| {
            let stop = sources_stopped.clone();
            let name = options.append_name.clone();
            let (appender, task) = Appender::start(ledger.clone(), clock.clone(), key, name, stop);
            tasks.push(task);
            appender
        });
        let (exports, watchers) = semaphores();
        let context = Context {
            ledger,
            views,
            clock,
            tokens,
            appender,
            public_tiles: loopback || options.public_tiles,
            metrics,
            bodies: BodyRoom::default(),
            exports,
            watchers,
            stop: stopped.clone(),
        };
        (Arc::new(context), tasks)
    }
}

/// All routes with what stands around them.
fn router(context: App) -> Router {
    let routes = routes::all();
    let guard = |scope: Scope, routes: Router<App>| {
        let context = context.clone();
        routes.route_layer(from_fn_with_state((context, scope), authorise))
    };
    let tiles = if context.public_tiles {
        Router::from(routes.tiles)
    } else {
        guard(Scope::Read, routes.tiles.into())
    };
    Router::new()
        .merge(tiles)
        .merge(Router::from(routes.open))
        .merge(guard(Scope::Read, routes.read.into()))
        .merge(guard(Scope::Append, routes.append.into()))
        .merge(guard(Scope::Deliver, routes.deliver.into()))
        .merge(guard(Scope::Mirror, routes.mirror.into()))
        .fallback(async || ApiError::not_found("no such route").hint("see /openapi.json"))
        .method_not_allowed_fallback(async || {
            ApiError::new(ErrorKind::MethodNotAllowed, "the route does not take this method")
        })
        .layer(from_fn_with_state(context.clone(), observe))
        .with_state(context)
}

/// Name of the token that a request came with, on its way to the log.
#[derive(Clone)]
struct Caller(String);

/// Lets a request through if its token is good for the scope.
async fn authorise(
    State((context, scope)): State<(App, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let access = access(&context.tokens, &request)?;
    access.require(scope)?;
    let caller = Caller(access.name().to_owned());
    request.extensions_mut().insert(access);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(caller);
    Ok(response)
}

fn access(tokens: &Tokens, request: &Request) -> Result<Access, ApiError> {
    let missing = || {
        ApiError::new(ErrorKind::Unauthenticated, "a token is needed")
            .hint("send it in the header Authorization: Bearer TOKEN")
    };
    let header = request.headers().get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) =
        header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    tokens
        .find(token.trim())
        .cloned()
        .ok_or_else(|| ApiError::new(ErrorKind::Unauthenticated, "the token is not known"))
}

/// Logs and counts every request, and turns a panic into an answer. The log names route, status
/// and duration: no query, no header, no body.
async fn observe(State(context): State<App>, request: Request, next: Next) -> Response {
    let begin = context.clock.monotonic();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let response = match std::panic::AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(mut response) => {
            let nosniff = HeaderValue::from_static("nosniff");
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
            response
        }
        Err(_) => ApiError::internal("a handler panicked").into_response(),
    };
    let took = context.clock.monotonic().saturating_sub(begin);
    let status = response.status().as_u16();
    let caller = response.extensions().get::<Caller>().map_or("", |Caller(name)| name);
    let duration_us = took.as_micros() as u64;
    tracing::info!(%method, route, status, duration_us, caller, "request");
    let method = match method {
        HttpMethod::GET => Method::Get,
        HttpMethod::POST => Method::Post,
        _ => Method::Other,
    };
    context.metrics.request(&RequestLabels { route: route.to_owned(), method, status });
    response
}
