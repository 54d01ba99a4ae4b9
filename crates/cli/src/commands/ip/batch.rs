//! A whole log of flows: its lines go out while the answers come in, so that neither is ever in
//! memory as a whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, stream};
use reqwest::Method;
use stele_server::api::{BatchAnswer, BatchEnd, BatchFound, BatchHead, LeaseItem, Verdict};
use tokio::sync::{mpsc, oneshot};

use super::flows::{Header, csv_line};
use super::{Format, IpArgs, holder};
use crate::app::App;
use crate::client::{Query, causes};
use crate::error::{CliError, Exit, Outcome};
use crate::resolved::Resolved;
use crate::when::grouped;

/// Bytes of questions that are sent at once.
const PART_BYTES: usize = 64 * 1024;

/// Parts that wait to be sent.
const PARTS_MAX: usize = 4;

/// Longest line of a log of flows, and of an answer.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Holders of one address that a table names.
const HOLDERS_SHOWN_MAX: usize = 10;

/// What kind of log it is.
enum Shape {
    Json,
    Table(Header),
}

/// A part of the body, or why there is no more.
type Part = Result<Bytes, io::Error>;

pub(super) async fn run(app: &App, args: &IpArgs, file: &Path) -> Outcome {
    if matches!(args.output, Some(Format::Table | Format::Json | Format::Yaml)) {
        return Err(CliError::usage("--from writes jsonl or csv"));
    }
    let (client, context) = app.client(&args.connect)?;
    let mut query = Query::new();
    query.extend(args.cluster.cluster.clone().or(context.cluster).map(|name| ("cluster", name)));
    if args.tolerance > 0 {
        query.push(("tolerance_ms", args.tolerance.to_string()));
    }
    if args.services {
        query.push(("services", String::from("true")));
    }
    let (parts, body) = mpsc::channel::<Part>(PARTS_MAX);
    let (begun, begins) = oneshot::channel();
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&path, &parts, begun));
    let Ok(shape) = begins.await else {
        return match reading.await {
            Ok(Err(error)) => Err(error),
            _ => Err(CliError::failed("the log of flows could not be read")),
        };
    };
    let body = stream::unfold(body, |mut body| async move {
        let part = body.recv().await?;
        Some((part, body))
    });
    let request = client.request(Method::POST, "v1/ip/batch", &query, None)?;
    let request = request
        .header(reqwest::header::CONTENT_TYPE, "application/x-ndjson")
        .body(reqwest::Body::wrap_stream(body));
    let response = request.send().await.map_err(|e| client.unreachable(&e))?;
    if !response.status().is_success() {
        return Err(client.refused(response).await);
    }
    let csv = match (args.output, &shape) {
        (Some(Format::Csv), Shape::Json) => {
            return Err(CliError::usage("csv needs a table as input")
                .hint("JSON lines are answered with JSON lines"));
        }
        (Some(Format::Csv) | None, Shape::Table(header)) => Some(header.clone()),
        _ => None,
    };
    let mut answers = Answers::new(app, csv)?;
    let mut rest: Vec<u8> = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| answers.broken(&causes(&e)))?;
        rest.extend_from_slice(&chunk);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            if rest.len() as u64 > LINE_BYTES_MAX {
                return Err(answers.broken("a line of it is too long"));
            }
            continue;
        };
        for line in rest[..end].split(|byte| *byte == b'\n') {
            answers.line(line)?;
        }
        rest.drain(..=end);
    }
    if let Ok(Err(error)) = reading.await {
        return Err(error);
    }
    answers.finish()
}

/// Reads the log and hands on questions; tells first what kind of log it is.
fn read(
    path: &Path,
    parts: &mpsc::Sender<Part>,
    begun: oneshot::Sender<Shape>,
) -> Result<(), CliError> {
    let unreadable =
        |e: io::Error| CliError::failed(format!("cannot read {}: {e}", path.display()));
    let input: Box<dyn io::Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut input = BufReader::with_capacity(PART_BYTES, input);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        let mut some = io::Read::take(&mut input, LINE_BYTES_MAX);
        some.read_until(b'\n', line).map_err(unreadable)
    };
    // The first line that is not empty tells what it is.
    while next(&mut line)? > 0 && line.trim_ascii().is_empty() {}
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    let header = match line.trim_ascii_start().first() {
        None => return Err(CliError::usage(format!("{} is empty", path.display()))),
        Some(b'{') => None,
        Some(_) => Some(Header::read(text(&line).trim_end_matches(['\r', '\n']))?),
    };
    let shape = header.clone().map_or(Shape::Json, Shape::Table);
    if begun.send(shape).is_err() {
        return Ok(());
    }
    let mut part = Vec::with_capacity(PART_BYTES);
    if header.is_none() {
        part.extend_from_slice(&line);
    }
    while next(&mut line)? > 0 {
        match &header {
            None => part.extend_from_slice(&line),
            Some(_) if line.trim_ascii().is_empty() => continue,
            Some(header) => {
                let question = header.question(&text(&line));
                serde_json::to_writer(&mut part, &question)
                    .map_err(|e| CliError::failed(format!("a question can't be written: {e}")))?;
            }
        }
        if part.last() != Some(&b'\n') {
            part.push(b'\n');
        }
        if part.len() >= PART_BYTES {
            let full = std::mem::replace(&mut part, Vec::with_capacity(PART_BYTES));
            if parts.blocking_send(Ok(full.into())).is_err() {
                return Ok(());
            }
        }
    }
    // If nobody asks any more, the answer says why.
    let _ = parts.blocking_send(Ok(part.into()));
    Ok(())
}

/// The answers as they come.
struct Answers<'a> {
    app: &'a App,
    header: Option<Header>,
    out: io::BufWriter<io::Stdout>,
    begun: bool,
    end: Option<BatchEnd>,
    lines: u64,
    unknown: u64,
    first_error: Option<String>,
}

impl<'a> Answers<'a> {
    fn new(app: &'a App, header: Option<Header>) -> Result<Self, CliError> {
        let mut out = io::BufWriter::new(io::stdout());
        if let Some(header) = &header {
            let mut names = header.names.clone();
            for end in header.ends() {
                let added = ["verdict", "kind", "namespace", "name", "workload", "node", "uid"];
                names.extend(added.iter().map(|name| format!("{end}_{name}")));
            }
            names.push(String::from("error"));
            writeln!(out, "{}", csv_line(names.iter().map(String::as_str)))?;
        }
        let (begun, end, first_error) = (false, None, None);
        Ok(Self { app, header, out, begun, end, lines: 0, unknown: 0, first_error })
    }

    fn broken(&self, cause: &str) -> CliError {
        CliError::failed(format!("the answer broke off after {} lines: {cause}", self.lines))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), CliError> {
        let odd = |e: serde_json::Error| {
            CliError::failed(format!("a line of the answer can't be read: {e}"))
                .hint("is it a stele server, and of a version that fits this program?")
        };
        if !self.begun {
            self.begun = true;
            let head: BatchHead = serde_json::from_slice(line).map_err(odd)?;
            Resolved { ledger: &head.ledger, time: None, gaps: &[] }.note(self.app);
            return Ok(());
        }
        if line.starts_with(br#"{"kind":"#) {
            self.end = Some(serde_json::from_slice(line).map_err(odd)?);
            return Ok(());
        }
        self.lines += 1;
        let answer: BatchAnswer = serde_json::from_slice(line).map_err(odd)?;
        if let Some(error) = &answer.error
            && self.first_error.is_none()
        {
            self.first_error = Some(format!("line {}: {}", answer.line, error.message));
        }
        let found = [&answer.ip, &answer.src, &answer.dst];
        let unknown = |found: &&BatchFound| found.verdict == Verdict::Unknown;
        self.unknown += found.into_iter().flatten().filter(unknown).count() as u64;
        match &self.header {
            None => {
                self.out.write_all(line)?;
                self.out.write_all(b"\n")?;
            }
            Some(header) => writeln!(self.out, "{}", table_line(header, &answer))?,
        }
        Ok(())
    }

    fn finish(mut self) -> Outcome {
        self.out.flush()?;
        let Some(end) = &self.end else {
            let cause = self.first_error.as_deref().unwrap_or("its last line is missing");
            return Err(self.broken(cause));
        };
        self.app.ui.note(&format!("{} lines answered.", grouped(end.lines)));
        if let Some(first) = self.first_error.filter(|_| end.errors > 0) {
            return Err(CliError::usage(format!(
                "{} lines could not be asked, the first of them is {first}",
                grouped(end.errors)
            )));
        }
        if self.unknown > 0 {
            self.app.ui.warn(&format!(
                "addresses at times at which nobody looked: {}; see `stele coverage`",
                grouped(self.unknown)
            ));
            return Ok(Exit::Gap);
        }
        Ok(Exit::Done)
    }
}

/// A row of the input with what was found.
fn table_line(header: &Header, answer: &BatchAnswer) -> String {
    let row = answer.id.as_ref().and_then(|id| serde_json::from_str(id.get()).ok());
    let mut row: Vec<String> = row.unwrap_or_default();
    row.resize(header.names.len(), String::new());
    for end in header.ends() {
        let found = match end {
            "ip" => &answer.ip,
            "src" => &answer.src,
            _ => &answer.dst,
        };
        row.extend(found.as_ref().map_or_else(Default::default, columns));
    }
    row.push(answer.error.as_ref().map(|error| error.message.clone()).unwrap_or_default());
    csv_line(row.iter().map(String::as_str))
}

/// The columns of one end; where several may have had the address all of them are named.
fn columns(found: &BatchFound) -> [String; 7] {
    let all = |of: &dyn Fn(&LeaseItem) -> String| {
        let mut named: Vec<String> = Vec::new();
        for item in found.items.iter().take(HOLDERS_SHOWN_MAX) {
            named.push(of(item));
        }
        if found.items.len() > HOLDERS_SHOWN_MAX {
            named.push(format!("+{}", found.items.len() - HOLDERS_SHOWN_MAX));
        }
        named.join("|")
    };
    let verdict = serde_json::to_value(found.verdict).ok();
    let verdict = verdict.and_then(|verdict| verdict.as_str().map(str::to_owned));
    [
        verdict.unwrap_or_default(),
        all(&|item| holder(item.holder).to_owned()),
        all(&|item| item.of.namespace.clone()),
        all(&|item| item.of.name.clone()),
        all(&|item| {
            let owner = item.owners.last();
            let owner = owner.map(|owner| format!("{}/{}", owner.kind.to_lowercase(), owner.name));
            owner.unwrap_or_default()
        }),
        all(&|item| item.node.clone().unwrap_or_default()),
        all(&|item| item.of.uid.clone()),
    ]
}
