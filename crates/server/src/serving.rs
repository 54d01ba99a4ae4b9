//! What every server of this program shares: its address, its life, and what stands around each
//! request.
//!
//! Invariant: once a server is told to stop it ends within [`DRAIN_MAX`], whatever requests do.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method as HttpMethod, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use stele_store::Clock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::{ApiError, ErrorKind};
use crate::limits::DRAIN_MAX;
use crate::metrics::{Method, RequestLabels, Requests};
use crate::signal;

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

/// Whether a listener is on loopback. Another address must have been asked for.
pub(crate) fn check_address(
    listener: &TcpListener,
    allow_plaintext: bool,
) -> Result<bool, ServeError> {
    let address = listener.local_addr()?;
    let loopback = address.ip().is_loopback();
    if loopback || allow_plaintext { Ok(loopback) } else { Err(ServeError::Plaintext { address }) }
}

/// Serves until `shutdown` becomes true, then tells others by `stop` and lets running requests end.
pub(crate) async fn serve<L>(
    listener: L,
    router: Router,
    mut shutdown: watch::Receiver<bool>,
    stop: &watch::Sender<bool>,
) -> Result<(), ServeError>
where
    L: axum::serve::Listener<Addr = SocketAddr>,
{
    let address = listener.local_addr()?;
    let graceful = {
        let mut stopped = stop.subscribe();
        async move { signal::stopped(&mut stopped).await }
    };
    let mut serving =
        tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(graceful).into_future());
    tracing::info!(%address, "serving");
    let ended = tokio::select! {
        () = signal::stopped(&mut shutdown) => None,
        ended = &mut serving => Some(ended),
    };
    stop.send_replace(true);
    if ended.is_none() && timeout(DRAIN_MAX, &mut serving).await.is_err() {
        tracing::warn!("requests were still running when the time to drain was over");
        serving.abort();
    }
    match ended {
        Some(Ok(result)) => Ok(result?),
        _ => Ok(()),
    }
}

/// The answer to a method that a route does not take.
pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, "the route does not take this method")
}

/// Name of the token that a request came with, on its way to the log.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) String);

/// What logging and counting requests needs.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) requests: Requests,
}

/// Logs and counts every request, and turns a panic into an answer. The log names route, status
/// and duration: no query, no header, no body.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    request: Request,
    next: Next,
) -> Response {
    let begin = observer.clock.monotonic();
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
    let took = observer.clock.monotonic().saturating_sub(begin);
    let status = response.status().as_u16();
    let caller = response.extensions().get::<Caller>().map_or("", |Caller(name)| name);
    let duration_us = took.as_micros() as u64;
    tracing::info!(%method, route, status, duration_us, caller, "request");
    let method = match method {
        HttpMethod::GET => Method::Get,
        HttpMethod::POST => Method::Post,
        _ => Method::Other,
    };
    observer.requests.count(&RequestLabels { route: route.to_owned(), method, status });
    response
}
