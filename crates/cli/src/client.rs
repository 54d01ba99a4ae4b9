//! The HTTP client: requests with the bearer token, and answers or errors as the API defines them.
//!
//! Invariant: the token goes to the server it belongs to and nowhere else; redirects are refused. A
//! question that is told to come again does, within a bound; what changes something is sent once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use stele_ledger::evidence;
use stele_merkle::LogVerifier;
use stele_server::{ErrorBody, ErrorKind};

use crate::error::CliError;
use crate::keys::LogKeys;

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long a question comes again when a server that is behind asks it to.
const COME_AGAIN_MAX: Duration = Duration::from_secs(60);

/// Most bytes of an error's body that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Query parameters.
pub(crate) type Query = Vec<(&'static str, String)>;

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    keys: LogKeys,
    /// What the pinned keys were found to lead to; shared, so that it is asked for once.
    following: Arc<Mutex<Option<LogVerifier>>>,
}

/// A request body with its content type.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// The content type.
    pub(crate) content_type: &'static str,
    /// The bytes.
    pub(crate) bytes: Bytes,
}

impl Client {
    /// A client of the server at `base`.
    ///
    /// # Errors
    /// When `base` is not an http or https URL.
    pub(crate) fn new(base: &str, token: Option<String>, keys: LogKeys) -> Result<Self, CliError> {
        let mut url =
            Url::parse(base).map_err(|e| CliError::usage(format!("{base:?} is not a URL: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(CliError::usage(format!("{base:?} is not an http or https URL"))
                .hint("for example http://127.0.0.1:7117"));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("stele/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| CliError::failed(format!("cannot set up HTTP: {}", causes(&e))))?;
        Ok(Self { http, base: url, token, keys, following: Arc::default() })
    }

    /// The same client, which believes these keys of the log.
    #[must_use]
    pub(crate) fn with_keys(self, keys: LogKeys) -> Self {
        Self { keys, ..self }
    }

    /// The log's keys; none if it is not pinned.
    pub(crate) const fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// What checks the signed note `note` of this log: the pinned keys, or, if they have not signed
    /// it, those to which the log's own history of keys leads from them.
    ///
    /// # Errors
    /// A tampering error if the server's history of keys does not hold.
    pub(crate) async fn verifier_for(&self, note: &str) -> Result<LogVerifier, CliError> {
        self.follow(&self.keys, note).await
    }

    /// As [`Client::verifier_for`], from any keys.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn follow(&self, keys: &LogKeys, note: &str) -> Result<LogVerifier, CliError> {
        let known = keys.verifier();
        if keys.is_empty() || known.open(note.as_bytes()).is_ok() {
            return Ok(known);
        }
        let earlier = self.following.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let leads = |earlier: &LogVerifier| {
            earlier.keys() == known.keys() && earlier.open(note.as_bytes()).is_ok()
        };
        if let Some(earlier) = earlier.filter(leads) {
            return Ok(earlier);
        }
        self.history(keys).await
    }

    /// `keys`, followed through the log's own history of keys.
    ///
    /// # Errors
    /// A tampering error if the server's history of keys does not hold.
    pub(crate) async fn history(&self, keys: &LogKeys) -> Result<LogVerifier, CliError> {
        let known = keys.verifier();
        // A server that has no history has nothing to say for another key.
        let Ok(history) = self.bytes("v1/log/keys", &Query::new()).await else { return Ok(known) };
        let following = evidence::follow(&history, &known).map_err(|e| {
            CliError::tampered(format!("no pinned key leads to the one that signs now: {e}"))
                .hint("the server does not have the key that is pinned for it")
        })?;
        if !known.keys().iter().all(|key| following.current_keys().contains(key)) {
            tracing::warn!(
                server = %self.base,
                "the log's key was replaced, signed by the old one; `stele verify --log` pins the new one"
            );
        }
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(following.clone());
        Ok(following)
    }

    /// The server's URL.
    pub(crate) const fn base(&self) -> &Url {
        &self.base
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// What the server answered, or that it can't be reached.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
    ) -> Result<T, CliError> {
        let bytes = self.bytes(path, query).await?;
        self.decode(path, &bytes)
    }

    /// Asks for bytes.
    ///
    /// # Errors
    /// What the server answered, or that it can't be reached.
    pub(crate) async fn bytes(&self, path: &str, query: &Query) -> Result<Bytes, CliError> {
        let response = self.send(Method::GET, path, query, None).await?;
        response.bytes().await.map_err(|e| self.broken(&e))
    }

    /// Sends a body and reads JSON.
    ///
    /// # Errors
    /// What the server answered, or that it can't be reached.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        body: Body,
    ) -> Result<T, CliError> {
        let response = self.send(Method::POST, path, query, Some(body)).await?;
        let bytes = response.bytes().await.map_err(|e| self.broken(&e))?;
        self.decode(path, &bytes)
    }

    /// Sends a request and gives the response of a success.
    ///
    /// # Errors
    /// What the server answered, or that it can't be reached.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<Body>,
    ) -> Result<Response, CliError> {
        let is_question = method == Method::GET;
        let request = self.request(method, path, query, body)?;
        let response = if is_question { ask(request).await } else { request.send().await };
        let response = response.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    /// A request with the token, for callers that tell failures apart themselves.
    ///
    /// # Errors
    /// When `path` makes no URL.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<Body>,
    ) -> Result<RequestBuilder, CliError> {
        let mut url = self
            .base
            .join(path.trim_start_matches('/'))
            .map_err(|e| CliError::usage(format!("{path:?} makes no URL: {e}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url).header(ACCEPT, "*/*");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, body.content_type).body(body.bytes);
        }
        Ok(request)
    }

    fn decode<T: DeserializeOwned>(&self, path: &str, bytes: &Bytes) -> Result<T, CliError> {
        serde_json::from_slice(bytes).map_err(|e| {
            CliError::failed(format!(
                "{} gave an answer to {path} that can't be read: {e}",
                self.base
            ))
            .hint("is it a stele server, and of a version that fits this program?")
        })
    }

    /// The error for a server that can't be reached.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> CliError {
        CliError::failed(format!("cannot reach {}: {}", self.base, causes(error)))
            .hint("is the server running? `stele up` starts one")
    }

    fn broken(&self, error: &reqwest::Error) -> CliError {
        CliError::failed(format!("the answer of {} broke off: {}", self.base, causes(error)))
    }

    /// The error that a response carries.
    pub(crate) async fn refused(&self, response: Response) -> CliError {
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        let body = &body[..body.len().min(ERROR_BYTES_MAX)];
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => {
                let mut error = of_kind(body.error.kind, &body.error.message);
                if let Some(hint) = &body.error.hint {
                    error = error.hint(hint);
                }
                self.token_hint(status, error)
            }
            Err(_) => {
                let error = format!("{} answered {status}", self.base);
                let error = if matches!(status.as_u16(), 401 | 403) {
                    CliError::denied(error)
                } else {
                    CliError::failed(error).hint("is it a stele server?")
                };
                self.token_hint(status, error)
            }
        }
    }

    fn token_hint(&self, status: StatusCode, error: CliError) -> CliError {
        match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                error.hint("give the token's file: --token-file, STELE_TOKEN_FILE, or a context")
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                error.hint("the server does not know this token; is it another server's?")
            }
            _ => error,
        }
    }
}

/// Sends a request that changes nothing, again when it is told to: views lag behind after an import.
///
/// # Errors
/// As those of the last request.
pub(crate) async fn ask(request: RequestBuilder) -> reqwest::Result<Response> {
    ask_within(COME_AGAIN_MAX, request).await
}

async fn ask_within(mut left: Duration, request: RequestBuilder) -> reqwest::Result<Response> {
    loop {
        // A body that is a stream cannot be sent twice.
        let Some(again) = request.try_clone() else { return request.send().await };
        let response = again.send().await?;
        let after = retry_after(&response);
        let Some(rest) = after.and_then(|after| left.checked_sub(after)) else {
            return Ok(response);
        };
        tracing::info!(url = %response.url(), ?after, "the server asks to come again");
        tokio::time::sleep(left - rest).await;
        left = rest;
    }
}

/// The pause that a server which is too busy asks for.
fn retry_after(response: &Response) -> Option<Duration> {
    let busy = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let after = response.headers().get(RETRY_AFTER).filter(|_| busy)?;
    // At least a second: `0` must not make a busy loop of this.
    Some(Duration::from_secs(after.to_str().ok()?.parse().ok()?).max(Duration::from_secs(1)))
}

/// An error of the API as the command line reports it.
pub(crate) fn of_kind(kind: ErrorKind, message: &str) -> CliError {
    match kind.exit_code() {
        2 => CliError::usage(message),
        3 => CliError::not_found(message),
        4 => CliError::denied(message),
        5 => CliError::tampered(message),
        6 => CliError::gap(message),
        _ => CliError::failed(message),
    }
}

/// An error with its causes: the outermost says least.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
