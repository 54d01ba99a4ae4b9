//! The server: its parts, its life, and what stands around every route.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use prometheus_client::registry::Registry;
use stele_ledger::Ledger;
use stele_ledger::cosigning::Cosigning;
use stele_merkle::LeafIndex;
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
use crate::kube;
use crate::limits::{BODIES_IN_FLIGHT_BYTES_MAX, DRAIN_MAX};
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::routes;
use crate::serving::{self, Caller, Observer, ServeError};
use crate::tls::{EitherListener, TlsIdentity};
use crate::views::Views;

/// What a server is made of.
pub struct ServerParts {
    /// The open ledger.
    pub ledger: Ledger,
    /// The views; they follow the ledger from wherever they stand.
    pub state: stele_state::State,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The witnesses of the ledger, if it has a policy: then the checkpoint that is served is the
    /// newest one that meets it.
    pub cosigning: Option<Arc<Cosigning>>,
    /// Who may do what.
    pub tokens: Tokens,
    /// Key of the source that records events appended over HTTP; without one they are refused.
    pub append_key: Option<SourceKey>,
    /// The metrics of others in this process; the server adds its own.
    pub registry: Registry,
    /// Key and certificate for connections with TLS, which are then taken on the same port.
    pub tls: Option<TlsIdentity>,
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
    /// Tiles and bundles that end at or before this index are not answered (C2SP tlog-tiles, pruning);
    /// nothing is deleted. 0 unless a retention policy was published.
    pub minimum_index: LeafIndex,
    /// Name of the source that records appended events, for people.
    pub append_name: String,
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
        shutdown: watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let loopback = serving::check_address(&listener, self.parts.options.allow_plaintext)?;
        let (stop, stopped) = watch::channel(false);
        let (stop_sources, sources_stopped) = watch::channel(false);
        let tls = self.parts.tls.clone();
        let (context, tasks) = self.start(loopback, &stopped, &sources_stopped);
        let served = match tls {
            Some(identity) => {
                let listener = EitherListener::new(listener, identity)?;
                serving::serve(listener, router(context), shutdown, &stop).await
            }
            None => serving::serve(listener, router(context), shutdown, &stop).await,
        };
        stop_sources.send_replace(true);
        for task in tasks {
            if timeout(DRAIN_MAX, task).await.is_err() {
                tracing::warn!("a task did not end in time");
            }
        }
        served
    }

    fn start(
        self,
        loopback: bool,
        stopped: &watch::Receiver<bool>,
        sources_stopped: &watch::Receiver<bool>,
    ) -> (App, Vec<JoinHandle<()>>) {
        let ServerParts {
            ledger,
            state,
            clock,
            cosigning,
            tokens,
            append_key,
            registry,
            options,
            ..
        } = self.parts;
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
        let [exports, watchers, batches, lists] = semaphores();
        let context = Arc::new(Context {
            ledger,
            views,
            recent: Recent::new(),
            clock,
            cosigning,
            tokens,
            appender,
            public_tiles: loopback || options.public_tiles,
            minimum_index: options.minimum_index,
            metrics,
            bodies: BodyRoom::of(BODIES_IN_FLIGHT_BYTES_MAX),
            exports,
            watchers,
            batches,
            lists,
            stop: stopped.clone(),
        });
        let (following, stop) = (Arc::clone(&context), stopped.clone());
        tasks.push(tokio::spawn(async move {
            let Context { recent, views, watchers, .. } = &*following;
            recent.run(views, watchers, stop).await;
        }));
        (context, tasks)
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
    let observer =
        Observer { clock: Arc::clone(&context.clock), requests: context.metrics.requests.clone() };
    Router::new()
        .merge(tiles)
        .merge(Router::from(routes.open))
        .merge(guard(Scope::Read, routes.read.into()))
        .merge(guard(Scope::Append, routes.append.into()))
        .merge(guard(Scope::Deliver, routes.deliver.into()))
        .merge(guard(Scope::Mirror, routes.mirror.into()))
        .merge(kube::routes().route_layer(from_fn_with_state(context.clone(), authorise_kube)))
        .fallback(async || ApiError::not_found("no such route").hint("see /openapi.json"))
        .method_not_allowed_fallback(serving::method_not_allowed)
        .layer(from_fn_with_state(observer, serving::observe))
        .with_state(context)
}

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

/// The same for clients of Kubernetes.
async fn authorise_kube(State(context): State<App>, request: Request, next: Next) -> Response {
    let authorised =
        async |request, next| authorise(State((context, Scope::Read)), request, next).await;
    kube::guarded(authorised, request, next).await
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
