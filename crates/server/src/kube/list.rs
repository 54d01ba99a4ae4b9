//! Lists and single objects. A list is written while it is read: what has been recorded is passed
//! on, piece by piece, and a page costs what is on it.
//!
//! Invariant: a list is either whole or broken off visibly; what is missing at its end is never
//! taken for the end.

use std::io::{self, Write};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use stele_state::query::{ListPlace, Slot, Snapshot};
use stele_state::{Point, State, StateError};
use tokio::sync::oneshot;

use super::accept::Form;
use super::params::Token;
use super::question::{Opened, Question};
use super::render::{Item, Show};
use super::splice::text;
use super::status::Failure;
use super::warnings::{Warnings, describe};
use crate::context::App;
use crate::limits::{KUBE_LIST_PIECE_OBJECTS, KUBE_LIST_THREADS_MAX};
use crate::pipe::{PipeWriter, pipe};

/// Objects from which on a piece is worth several threads.
const WORTH_THREADS: usize = 64;

/// Answers a list.
pub(super) async fn list(app: App, question: Question, form: Form) -> Result<Response, Failure> {
    let permit = app.lists.clone().acquire_owned().await;
    let permit = permit.map_err(|_| Failure::too_many("the server stops", 1))?;
    let begin = app.clock.monotonic();
    let (writer, stream) = pipe(tokio::runtime::Handle::current());
    let (head, opened) = oneshot::channel();
    let (state, now_ns) = (app.views.state(), app.now_ns());
    let metered = app.clone();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let list = match List::open(&state, &question, form, now_ns) {
            Ok(list) => list,
            Err(failure) => {
                // Whoever asked may be gone.
                let _ = head.send(Err(failure));
                return;
            }
        };
        if head.send(Ok(list.warnings.clone())).is_ok() {
            let mut writer = writer;
            let written = list.write(&mut writer);
            writer.finish(written);
        }
        let took = metered.clock.monotonic().saturating_sub(begin);
        metered.metrics.answered("kube-list", took);
    });
    let warnings =
        opened.await.map_err(|_| crate::error::ApiError::internal("a list broke off"))??;
    Ok(respond(Body::from_stream(stream), &warnings))
}

/// Answers one object.
pub(super) fn get(
    state: &State,
    question: &Question,
    form: Form,
    now_ns: i64,
) -> Result<Response, Failure> {
    let mut list = List::open(state, question, form, now_ns)?;
    let name = question.objects.name.as_deref().unwrap_or_default();
    let Some(seen) = list.first()? else {
        let gap = list.opened.snapshot.gaps().iter().find(|gap| !gap.recovered);
        let beside = match gap {
            Some(gap) => format!("; {}, so it may have been there", describe(gap)),
            None => String::new(),
        };
        return Err(Failure::no_such_object(&question.objects, name, &beside));
    };
    if seen.redacted && form == Form::Whole {
        list.warnings.add(REDACTED);
    }
    let mut body = Vec::new();
    if form == Form::Table {
        list.begin(&mut body).map_err(broken)?;
        list.show.write(Item::from(&seen), &mut body);
        let version = text(&seen.resource_version);
        let end = format!("],\"metadata\":{{\"resourceVersion\":{version}}}}}");
        body.extend_from_slice(end.as_bytes());
    } else {
        list.show.write(Item::from(&seen), &mut body);
    }
    Ok(respond(Body::from(body), &list.warnings))
}

const REDACTED: &str = "values of Secrets were replaced by keyed digests before they were recorded: \
                        what stands there is the base64 of a digest, not the value";

fn broken(error: io::Error) -> Failure {
    crate::error::ApiError::internal(error).into()
}

fn respond(body: Body, warnings: &Warnings) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    warnings.write(response.headers_mut());
    response
}

/// A list that is about to be written.
struct List {
    opened: Opened,
    show: Show,
    warnings: Warnings,
    /// The version that it carries.
    version: String,
    after: Option<ListPlace>,
    limit: Option<usize>,
    namespaced_name: bool,
}

impl List {
    fn open(state: &State, question: &Question, form: Form, now_ns: i64) -> Result<Self, Failure> {
        let opened = question.open(state)?;
        let token = question.parameters.token.as_ref();
        let mut warnings = Warnings::about(&opened.snapshot.as_of(), opened.snapshot.gaps());
        let seen_ns = match opened.point {
            Point::Now => now_ns,
            _ => opened.snapshot.time()?.map_or(now_ns, |time| time.0),
        };
        let show = Show {
            form,
            include: question.parameters.include,
            columns: opened.of.columns(),
            now_ns: seen_ns,
        };
        let version = token.map_or_else(
            || opened.snapshot.resource_version().to_owned(),
            |token| token.resource_version.clone(),
        );
        let list = Self {
            show,
            version,
            after: token.map(Token::last),
            limit: question.parameters.limit,
            namespaced_name: question.objects.name.is_some(),
            warnings: Warnings::default(),
            opened,
        };
        let secrets = list.opened.of.of.group.is_empty() && list.opened.of.of.resource == "secrets";
        if secrets
            && form == Form::Whole
            && !list.namespaced_name
            && list.first()?.is_some_and(|seen| seen.redacted)
        {
            warnings.add(REDACTED);
        }
        Ok(Self { warnings, ..list })
    }

    /// The first object of the list.
    fn first(&self) -> Result<Option<stele_state::query::Seen>, Failure> {
        let mut last = self.after.clone();
        loop {
            let slots = self.opened.snapshot.slots(last.as_ref(), WORTH_THREADS)?;
            let Some(end) = slots.last() else { return Ok(None) };
            last = Some(end.place.clone());
            for slot in &slots {
                if let Some(seen) = self.opened.snapshot.load(slot)? {
                    return Ok(Some(seen));
                }
            }
        }
    }

    fn begin(&self, out: &mut dyn Write) -> io::Result<()> {
        let (kind, api_version) = match self.show.form {
            Form::Whole => (self.opened.of.list_kind(), self.opened.of.api_version()),
            Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Table => ("Table".to_owned(), "meta.k8s.io/v1".to_owned()),
        };
        write!(out, "{{\"kind\":{},\"apiVersion\":{}", text(&kind), text(&api_version))?;
        if self.show.form == Form::Table {
            write!(out, ",\"columnDefinitions\":{},\"rows\":[", self.show.definitions())
        } else {
            write!(out, ",\"items\":[")
        }
    }

    fn write(&self, out: &mut PipeWriter) -> io::Result<()> {
        self.begin(out)?;
        let mut sent = 0;
        let mut last_sent = None;
        let mut more = false;
        let mut last = self.after.clone();
        'pieces: loop {
            // One more than asked for tells whether there is more.
            let left = self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(sent) + 1);
            let size = left.min(KUBE_LIST_PIECE_OBJECTS);
            let snapshot = &self.opened.snapshot;
            let slots = snapshot.slots(last.as_ref(), size).map_err(io::Error::other)?;
            let Some(end) = slots.last() else { break };
            for piece in self.pieces(&slots).map_err(io::Error::other)? {
                let mut begin = 0;
                for (end, slot) in piece.ends {
                    if self.limit.is_some_and(|limit| sent >= limit) {
                        more = true;
                        break 'pieces;
                    }
                    if sent > 0 {
                        out.write_all(b",")?;
                    }
                    out.write_all(&piece.bytes[begin..end])?;
                    begin = end;
                    sent += 1;
                    last_sent = Some(&slots[slot].place).cloned();
                }
            }
            last = Some(end.place.clone());
        }
        let version = text(&self.version);
        write!(out, "],\"metadata\":{{\"resourceVersion\":{version}")?;
        if let Some(place) = last_sent.filter(|_| more) {
            let known = self.opened.snapshot.as_of().index;
            let token = Token::behind(&place, &self.opened.point, known, &self.version);
            write!(out, ",\"continue\":{}", text(&token.write()))?;
        }
        write!(out, "}}}}")
    }

    /// Reads and writes objects on several threads, where there are enough of them.
    fn pieces(&self, slots: &[Slot]) -> Result<Vec<Piece>, StateError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = cores.min(KUBE_LIST_THREADS_MAX);
        if slots.len() < WORTH_THREADS || threads == 1 {
            return Ok(vec![self.piece(slots, 0)?]);
        }
        let share = slots.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let running: Vec<_> = slots
                .chunks(share)
                .enumerate()
                .map(|(number, part)| scope.spawn(move || self.piece(part, number * share)))
                .collect();
            let joined = running.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.collect()
        })
    }

    fn piece(&self, slots: &[Slot], first: usize) -> Result<Piece, StateError> {
        let mut piece = Piece { bytes: Vec::new(), ends: Vec::with_capacity(slots.len()) };
        let snapshot: &Snapshot = &self.opened.snapshot;
        for (number, slot) in slots.iter().enumerate() {
            if let Some(seen) = snapshot.load(slot)? {
                self.show.write(Item::from(&seen), &mut piece.bytes);
                piece.ends.push((piece.bytes.len(), first + number));
            }
        }
        Ok(piece)
    }
}

/// Objects, written one behind the other.
struct Piece {
    bytes: Vec<u8>,
    /// Where each ends, and which slot it came from.
    ends: Vec<(usize, usize)>,
}
