//! A whole log of flows put to the addresses' holders: lines in, lines out, one snapshot.
//!
//! Invariant: lines are answered in their order, and as they come; what waits, on either side, is
//! bounded. A whole answer ends with a [`BatchEnd`].

use std::io::{self, Write};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use stele_state::query::{IpQuery, Lookup, Port};
use stele_state::{Point, Time};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::params::BatchParams;
use crate::api::{API_VERSION, BatchAnswer, BatchEnd, BatchFound, BatchHead, BatchQuestion};
use crate::body::content_type;
use crate::context::App;
use crate::error::{ApiError, ErrorBody, ErrorKind};
use crate::limits::{
    BATCH_CHUNKS_MAX, BATCH_LINE_BYTES_MAX, BATCH_LINES_MAX, BATCH_SLOW_SENDER_MAX,
};
use crate::params::Params;
use crate::pipe::{PipeWriter, pipe};
use crate::views::state_error;

/// What is taken and given.
const JSON_LINES: &str = "application/x-ndjson";

/// Who had the addresses of a whole log of flows: JSON lines in, JSON lines out.
///
/// Each line of the body is a BatchQuestion. The answer begins with a BatchHead, has a BatchAnswer
/// for each line, in their order, and ends with a BatchEnd; without that it is not whole. A line
/// that can't be asked has an `error` in its answer, and the others go on. All are answered from one
/// snapshot. Answers come while the body is still being sent: read them while you send.
#[utoipa::path(
    post,
    path = "/v1/ip/batch",
    tag = "state",
    params(BatchParams),
    request_body(
        content = String,
        content_type = "application/x-ndjson",
        description = "BatchQuestion, one a line"
    ),
    responses(
        (status = 200, description = "BatchHead, BatchAnswer …, BatchEnd", content_type = "application/x-ndjson", body = String),
        (status = 404, description = "no such cluster or index", body = ErrorBody),
        (status = 415, description = "not JSON lines", body = ErrorBody),
        (status = 503, description = "too many batches, or the views are behind", body = ErrorBody)
    )
)]
pub(crate) async fn ip_batch(
    State(app): State<App>,
    Params(params): Params<BatchParams>,
    request: Request,
) -> Result<Response, ApiError> {
    let sent = content_type(request.headers());
    if !matches!(sent.as_deref(), Some(JSON_LINES | "application/jsonl" | "application/json")) {
        let message = "the body has to be JSON lines";
        return Err(ApiError::new(ErrorKind::UnsupportedType, message)
            .hint(format!("send it as {JSON_LINES}")));
    }
    let permit = app
        .batches
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable("too many batches run at once", 5))?;
    let needed = params.known_at.map_or(Point::Now, Point::Index);
    app.views.ready_for(&[&needed], app.ledger.checkpoint().size.0).await?;
    let (writer, chunks) = pipe(tokio::runtime::Handle::current());
    let (lines, parts) = mpsc::channel(BATCH_CHUNKS_MAX);
    let (begun, begins) = oneshot::channel();
    let worker = Worker { app: app.clone(), tolerance_ms: params.tolerance_ms, now: app.now_ns() };
    let query = params.into_query();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        worker.run(&query, parts, writer, begun);
    });
    begins.await.map_err(ApiError::internal)??;
    tokio::spawn(read(request.into_body().into_data_stream(), lines));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(JSON_LINES)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Whole lines of the body, or why there are no more.
type Part = Result<Bytes, ApiError>;

/// Reads the body and hands on whole lines.
async fn read(mut body: BodyDataStream, lines: mpsc::Sender<Part>) {
    let mut rest = BytesMut::new();
    loop {
        let next = match timeout(BATCH_SLOW_SENDER_MAX, body.next()).await {
            Ok(next) => next.transpose().map_err(|_| "the body broke off before its end"),
            Err(_) => Err("the next part of the body did not come in time"),
        };
        let part = match next {
            Ok(Some(bytes)) => {
                rest.extend_from_slice(&bytes);
                match rest.iter().rposition(|byte| *byte == b'\n') {
                    Some(end) => Ok(rest.split_to(end + 1).freeze()),
                    None if rest.len() <= BATCH_LINE_BYTES_MAX => continue,
                    None => Err(too_long()),
                }
            }
            Ok(None) => {
                // The last line need not end with a line feed.
                if !rest.is_empty() {
                    let _ = lines.send(Ok(rest.freeze())).await;
                }
                return;
            }
            Err(message) => Err(ApiError::invalid(message)),
        };
        let last = part.is_err();
        // Whoever answers may have gone; then nobody waits for the rest.
        if lines.send(part).await.is_err() || last {
            return;
        }
    }
}

fn too_long() -> ApiError {
    let message = format!("a line is over the limit of {BATCH_LINE_BYTES_MAX} bytes");
    ApiError::new(ErrorKind::TooLarge, message)
}

/// The thread that answers.
struct Worker {
    app: App,
    tolerance_ms: u64,
    now: i64,
}

impl Worker {
    fn run(
        self,
        query: &IpQuery,
        parts: mpsc::Receiver<Part>,
        mut writer: PipeWriter,
        begun: oneshot::Sender<Result<(), ApiError>>,
    ) {
        let lookup = match self.app.views.state().lookup(query) {
            Ok(lookup) => lookup,
            Err(error) => {
                let _ = begun.send(Err(state_error(error)));
                return;
            }
        };
        if begun.send(Ok(())).is_err() {
            return;
        }
        let result = self.answer(lookup, parts, &mut writer);
        if let Err(error) = &result {
            tracing::debug!(%error, "a batch of look-ups broke off");
        }
        writer.finish(result);
    }

    fn answer(
        &self,
        mut lookup: Lookup,
        mut parts: mpsc::Receiver<Part>,
        writer: &mut PipeWriter,
    ) -> io::Result<()> {
        let head = BatchHead {
            api_version: API_VERSION.to_owned(),
            kind: "AddressBatch".to_owned(),
            ledger: self.app.position(lookup.index()),
            tolerance_ms: self.tolerance_ms,
        };
        line(writer, &head)?;
        let mut end = BatchEnd { kind: "AddressBatchEnd".to_owned(), lines: 0, errors: 0 };
        loop {
            let part = match parts.try_recv() {
                Ok(part) => part,
                Err(_) => {
                    // What is answered goes out before more is waited for.
                    writer.flush()?;
                    match parts.blocking_recv() {
                        Some(part) => part,
                        None => break,
                    }
                }
            };
            let bytes = match part {
                Ok(bytes) => bytes,
                Err(error) => return broken(writer, end.lines + 1, error),
            };
            for text in bytes.split(|byte| *byte == b'\n') {
                if text.trim_ascii().is_empty() {
                    continue;
                }
                end.lines += 1;
                if end.lines > BATCH_LINES_MAX {
                    let message = format!("the batch has over {BATCH_LINES_MAX} lines");
                    let error = ApiError::new(ErrorKind::TooLarge, message);
                    return broken(writer, end.lines, error.hint("send it in several batches"));
                }
                let answer = self.line(&mut lookup, end.lines, text);
                end.errors += u64::from(answer.error.is_some());
                line(writer, &answer)?;
            }
        }
        line(writer, &end)
    }

    fn line(&self, lookup: &mut Lookup, number: u64, text: &[u8]) -> BatchAnswer {
        let mut answer =
            BatchAnswer { line: number, id: None, ip: None, src: None, dst: None, error: None };
        if text.len() > BATCH_LINE_BYTES_MAX {
            answer.error = Some(too_long());
            return answer;
        }
        match serde_json::from_slice::<BatchQuestion>(text) {
            Ok(mut question) => {
                answer.id = question.id.take();
                if let Err(error) = self.ask(lookup, &question, &mut answer) {
                    answer.error = Some(error);
                }
            }
            Err(error) => answer.error = Some(ApiError::invalid(format!("the line: {error}"))),
        }
        answer
    }

    fn ask(
        &self,
        lookup: &mut Lookup,
        question: &BatchQuestion,
        answer: &mut BatchAnswer,
    ) -> Result<(), ApiError> {
        let time = |name: &str, raw: &Option<Box<RawValue>>| match raw {
            Some(raw) => self
                .time(raw)
                .map(Some)
                .map_err(|e| ApiError { message: format!("{name}: {}", e.message), ..e }),
            None => Ok(None),
        };
        let (at, since) = (time("at", &question.at)?, time("since", &question.since)?);
        let stretch = match (at, since, time("until", &question.until)?) {
            (Some(at), None, None) => (at, at),
            (None, Some(since), Some(until)) => (since, until),
            _ => return Err(ApiError::invalid("give either at, or since and until")),
        };
        let is_connection = question.src.is_some() || question.dst.is_some();
        if question.ip.is_some() == is_connection {
            return Err(ApiError::invalid("give either ip, or src and dst"));
        }
        let protocol = question.protocol.as_deref().map(|raw| Port::protocol(&bare(raw)));
        let port = |number: Option<u16>| match &protocol {
            // What has no ports.
            Some(None) => None,
            Some(named) => number.map(|number| Port { number, protocol: named.clone() }),
            None => number.map(|number| Port { number, protocol: None }),
        };
        let point = question.at.is_some();
        let mut find = |address: &Option<String>, number| match address {
            Some(address) => {
                let (from, to) = stretch;
                let found = match point {
                    true => lookup.at(address, port(number), to),
                    false => lookup.within(address, port(number), from, to),
                };
                found.map(|found| Some(BatchFound::from(found))).map_err(state_error)
            }
            None => Ok(None),
        };
        answer.ip = find(&question.ip, question.port)?;
        answer.src = find(&question.src, question.src_port)?;
        answer.dst = find(&question.dst, question.dst_port)?;
        Ok(())
    }

    /// A time: text as everywhere, or a number of Unix time.
    fn time(&self, raw: &RawValue) -> Result<Time, ApiError> {
        let text = match raw.get().starts_with('"') {
            true => bare(raw),
            false => format!("@{}", raw.get()),
        };
        match Point::parse(&text, Time(self.now), None) {
            Ok(Point::Observed(time)) => Ok(time),
            Ok(_) => Err(ApiError::invalid(format!("{text:?} is no time"))),
            Err(error) => Err(ApiError::invalid(error.message).hint(error.hint)),
        }
    }
}

/// A JSON string or number as text.
fn bare(raw: &RawValue) -> String {
    serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

fn line(writer: &mut PipeWriter, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, value)?;
    writer.write_all(b"\n")
}

/// Says why it can't go on, and breaks off.
fn broken(writer: &mut PipeWriter, number: u64, error: ApiError) -> io::Result<()> {
    let text = error.message.clone();
    let answer =
        BatchAnswer { line: number, id: None, ip: None, src: None, dst: None, error: Some(error) };
    line(writer, &answer)?;
    writer.flush()?;
    Err(io::Error::other(text))
}
