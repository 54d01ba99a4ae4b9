//! Requests to an API server: status, bounded bodies, and the lines of a watch.
//!
//! Bodies come back as the server sent them. Compression is not asked for: a frame is recorded as
//! bytes, and those must not depend on a codec.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::timeout;

/// Longest wait for the head of an answer, or for the next piece of a bounded body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest error body that is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// No answer, or one that broke off.
    #[error("{0}")]
    Unreachable(String),
    /// The server answered with an error.
    #[error("{code}: {message}")]
    Refused { code: u16, message: String, retry_after: Option<Duration> },
    /// The body is over its limit.
    #[error("the answer is longer than {limit} bytes")]
    TooLong { limit: usize },
}

impl HttpError {
    fn broken(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            let part = next.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            cause = next.source();
        }
        Self::Unreachable(text)
    }

    fn late() -> Self {
        Self::Unreachable(format!("no answer for {} s", ANSWER_TIMEOUT.as_secs()))
    }
}

/// GET, with the whole body.
pub(crate) async fn get(
    client: &Client,
    path: &str,
    accept: &str,
    limit: usize,
) -> Result<Bytes, HttpError> {
    let response = open(client, path, accept).await?;
    read_body(response.into_body(), limit).await
}

/// GET, with the body still to come. Errors of the server are read and returned as such.
pub(crate) async fn open(
    client: &Client,
    path: &str,
    accept: &str,
) -> Result<Response<Body>, HttpError> {
    let request = Request::get(path)
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, "identity")
        .body(Body::empty())
        .map_err(HttpError::broken)?;
    let sent = timeout(ANSWER_TIMEOUT, client.send(request)).await;
    let response = sent.map_err(|_| HttpError::late())?.map_err(HttpError::broken)?;
    match response.status() {
        StatusCode::OK => Ok(response),
        _ => Err(refusal(response).await),
    }
}

async fn refusal(response: Response<Body>) -> HttpError {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let code = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let body = read_body(response.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    let message = match serde_json::from_slice::<Status>(&body) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(&body).chars().take(200).collect(),
    };
    HttpError::Refused { code, message, retry_after }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

async fn read_body(mut body: Body, limit: usize) -> Result<Bytes, HttpError> {
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout(ANSWER_TIMEOUT, body.frame()).await.map_err(|_| HttpError::late())?;
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let Ok(data) = frame.map_err(HttpError::broken)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(HttpError::TooLong { limit });
        }
        whole.extend_from_slice(&data);
    }
}

/// The lines of a watch.
pub(crate) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes at the start of `buffer` known to hold no line feed.
    scanned: usize,
    limit: usize,
}

/// What came next in a watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its line feed.
    Frame(Bytes),
    /// The line is over the limit; the rest of the watch must be given up.
    TooLong,
    /// The server ended the watch in order.
    End,
}

impl Lines {
    pub(crate) fn new(response: Response<Body>, limit: usize) -> Self {
        Self { body: response.into_body(), buffer: BytesMut::new(), scanned: 0, limit }
    }

    /// The next line. May be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Result<Line, HttpError> {
        loop {
            let found = self.buffer[self.scanned..].iter().position(|&byte| byte == b'\n');
            if let Some(at) = found {
                let mut line = self.buffer.split_to(self.scanned + at + 1);
                self.scanned = 0;
                line.truncate(line.len() - 1);
                if line.is_empty() {
                    continue;
                }
                return Ok(Line::Frame(line.freeze()));
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.limit {
                return Ok(Line::TooLong);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(HttpError::broken(error)),
                None if self.buffer.is_empty() => return Ok(Line::End),
                None => {
                    return Err(HttpError::Unreachable("the watch ended within a line".to_owned()));
                }
            }
        }
    }
}
