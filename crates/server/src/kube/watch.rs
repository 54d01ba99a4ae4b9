//! Watches: what there is, if the client asks for it, then every recorded change, into the present.
//!
//! An API server that has lost track answers 410, and its client lists anew. Here a list at a fixed
//! time would be the same list again, so a watch goes on across a stretch in which nobody looked:
//! it tells what had changed or was gone afterwards. It never does so in silence:
//! - the stretches that lie ahead when a watch begins are in the headers `Warning` of its answer,
//!   and where one is crossed, a bookmark carries it as the annotation `stele/gap` (to clients that
//!   take bookmarks);
//! - a stretch that is new ends the watch: in order, to clients that take bookmarks, whose next watch
//!   warns of it; with a `410 Expired` to all others.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use stele_state::query::{
    Follow, Followed, GapSeen, Held, ListPlace, Snapshot, SnapshotQuery, StepBody, Trail,
};
use stele_state::{Point, State, StateError, rv};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::accept::Form;
use super::question::Question;
use super::render::{Item, Show};
use super::splice;
use super::status::Failure;
use super::types::Type;
use super::warnings::{Warnings, describe};
use crate::context::App;
use crate::limits::{
    KUBE_BOOKMARK_PAUSE, KUBE_WATCH_MAX, WATCH_BATCH_CHANGES, WATCH_BUFFER_OBJECTS_MAX,
    WATCH_SLOW_READER_MAX,
};
use crate::signal::{larger, stopped};

/// Tells a client that the objects that existed at the beginning have all been sent.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Carries a stretch in which nobody looked.
const GAP: &str = "stele/gap";

/// Objects that are read at once at the beginning.
const INITIAL_BATCH: usize = 64;

/// Bytes that are sent together at the most, unless a single event has more.
const CHUNK_BYTES: usize = 64 * 1024;

/// Answers a watch.
pub(super) async fn watch(app: App, question: Question, form: Form) -> Result<Response, Failure> {
    let permit = app.watchers.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Failure::too_many("too many watches", 10))?;
    let now_ns = app.now_ns();
    let begun =
        app.views.ask(move |state| Ok(Begun::new(state, &question, form, now_ns))).await??;
    let Begun { watching, initial, trail, warnings } = begun;
    let (sender, receiver) = mpsc::channel(WATCH_BUFFER_OBJECTS_MAX);
    let feed = Feed { app, watching, trail, sender, chunk: Vec::new(), first: true };
    tokio::spawn(feed.run(initial, permit));
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(receiver)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    warnings.write(response.headers_mut());
    Ok(response)
}

/// What is watched, and how it is told.
struct Watching {
    of: Type,
    follow: Follow,
    show: Show,
    /// Ages count from the present.
    at_present: bool,
    bookmarks: bool,
    /// The end of the objects at the beginning is told.
    tell_initial_end: bool,
    timeout: Duration,
}

/// The objects that are told first.
struct Initial {
    query: SnapshotQuery,
    resource_version: String,
}

/// The beginning of a watch.
struct Begun {
    watching: Watching,
    initial: Option<Initial>,
    trail: Trail,
    warnings: Warnings,
}

impl Begun {
    fn new(state: &State, question: &Question, form: Form, now_ns: i64) -> Result<Self, Failure> {
        let parameters = &question.parameters;
        let (of, follow) = question.query(state)?;
        let from = parameters.version().filter(|_| !parameters.initial_events);
        let mut initial = None;
        let mut at_present = matches!(follow.at, Point::Now);
        let mut seen_ns = now_ns;
        let from = match from {
            Some(from) => from.to_owned(),
            None => {
                let opened = question.open(state)?;
                if !at_present && let Some(time) = opened.snapshot.time()? {
                    seen_ns = time.0;
                }
                at_present &= matches!(opened.point, Point::Now);
                let (query, from) = pinned(&follow, &opened.snapshot, opened.point);
                initial = Some(Initial { query, resource_version: from.clone() });
                from
            }
        };
        let begin = state.trail(&follow, &from)?.ok_or_else(|| too_old(&from))?;
        let warnings = Warnings::about(&begin.as_of, &begin.gaps);
        let show =
            Show { form, include: parameters.include, columns: of.columns(), now_ns: seen_ns };
        let timeout = parameters.timeout_s.filter(|seconds| *seconds > 0);
        let timeout = timeout.map_or(KUBE_WATCH_MAX, Duration::from_secs).min(KUBE_WATCH_MAX);
        let watching = Watching {
            of,
            follow,
            show,
            at_present,
            bookmarks: parameters.bookmarks,
            tell_initial_end: parameters.initial_events,
            timeout,
        };
        Ok(Self { watching, initial, trail: begin.trail, warnings })
    }
}

/// The same objects again, however often they are asked for.
fn pinned(follow: &Follow, snapshot: &Snapshot, point: Point) -> (SnapshotQuery, String) {
    let known_at = snapshot.as_of().index;
    let query = SnapshotQuery { at: point, known_at, ..follow.clone() };
    (query, snapshot.resource_version().to_owned())
}

fn too_old(from: &str) -> Failure {
    let why = if rv::is_ordered(from) {
        "the record of this type begins later"
    } else {
        "versions of this type have no order, so it can only be listed anew"
    };
    Failure::expired(format!("too old resource version: {from}: {why}"))
}

/// Why a watch ends.
enum End {
    /// The reader is gone or too slow, the time is over, or the server stops.
    Over,
    /// What the client is to be told last.
    Failed(Failure),
}

impl From<crate::ApiError> for End {
    fn from(error: crate::ApiError) -> Self {
        Self::Failed(error.into())
    }
}

/// One watch.
struct Feed {
    app: App,
    watching: Watching,
    trail: Trail,
    sender: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    chunk: Vec<u8>,
    /// Nothing was sent yet.
    first: bool,
}

impl Feed {
    async fn run(mut self, initial: Option<Initial>, permit: OwnedSemaphorePermit) {
        let _permit = permit;
        let app = self.app.clone();
        app.metrics.watchers.inc();
        let end = Instant::now() + self.watching.timeout;
        let ended = tokio::select! {
            ended = self.tell(initial) => ended,
            () = sleep_until(end) => Ok(()),
        };
        if let Err(End::Failed(failure)) = ended {
            self.event("ERROR", &failure.document().to_string());
        }
        // If nobody reads any more, nobody needs to know.
        let _ = self.flush().await;
        app.metrics.watchers.dec();
    }

    async fn tell(&mut self, initial: Option<Initial>) -> Result<(), End> {
        if let Some(initial) = initial {
            self.tell_initial(initial).await?;
        }
        let mut stop = self.app.stop.clone();
        let mut folded = self.app.views.subscribe();
        let mut marked = String::new();
        let mut next_mark = Instant::now() + KUBE_BOOKMARK_PAUSE;
        loop {
            let seen = *folded.borrow_and_update();
            let followed = self.read().await?;
            for step in followed.steps {
                self.step(step.body).await?;
            }
            self.flush().await?;
            if *stop.borrow() {
                return Ok(());
            }
            if !followed.complete {
                continue;
            }
            let version = followed.resource_version.unwrap_or_default();
            tokio::select! {
                more = larger(&mut folded, seen) => if !more { return Ok(()) },
                () = stopped(&mut stop) => return Ok(()),
                () = self.sender.closed() => return Err(End::Over),
                () = sleep_until(next_mark), if self.watching.bookmarks => {
                    next_mark = Instant::now() + KUBE_BOOKMARK_PAUSE;
                    if version != marked && !version.is_empty() {
                        self.bookmark(&version, &Value::Null);
                        marked = version;
                        self.flush().await?;
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Followed, End> {
        let (follow, mut trail) = (self.watching.follow.clone(), self.trail.clone());
        let (followed, trail) = self
            .app
            .views
            .ask(move |state| {
                let followed = state.follow(&follow, &mut trail, WATCH_BATCH_CHANGES)?;
                Ok((followed, trail))
            })
            .await?;
        self.trail = trail;
        if self.watching.at_present {
            self.watching.show.now_ns = self.app.now_ns();
        }
        Ok(followed)
    }

    async fn tell_initial(&mut self, initial: Initial) -> Result<(), End> {
        let mut last: Option<ListPlace> = None;
        loop {
            let (query, after) = (initial.query.clone(), last.clone());
            let read = move |state: &State| initial_batch(state, &query, after.as_ref());
            let (seen, end) = self.app.views.ask(read).await?;
            for seen in &seen {
                let mut object = Vec::new();
                self.object(Item::from(seen), &mut object);
                self.event_bytes("ADDED", &object);
                self.flush_if_full().await?;
            }
            match end {
                Some(place) => last = Some(place),
                None => break,
            }
        }
        if self.watching.tell_initial_end {
            self.bookmark(&initial.resource_version, &json!({INITIAL_EVENTS_END: "true"}));
        }
        self.flush().await
    }

    async fn step(&mut self, body: StepBody) -> Result<(), End> {
        match body {
            StepBody::Added(held) => self.change("ADDED", &held),
            StepBody::Modified(held) => self.change("MODIFIED", &held),
            StepBody::Deleted(held) => self.change("DELETED", &held),
            StepBody::Gap { gap, told } => return self.gap(&gap, told).await,
        }
        self.flush_if_full().await
    }

    fn change(&mut self, kind: &str, held: &Held) {
        if !self.watching.at_present {
            self.watching.show.now_ns = held.time.0;
        }
        let body = splice::with_version(&held.body, &held.resource_version);
        let mut object = Vec::new();
        self.object(Item { body: &body, redacted: held.redacted }, &mut object);
        self.event_bytes(kind, &object);
    }

    /// Crosses a stretch in which nobody looked, or ends before it.
    async fn gap(&mut self, gap: &GapSeen, told: bool) -> Result<(), End> {
        match (told, self.watching.bookmarks) {
            (true, true) => {
                let version = gap.from_rv.clone().unwrap_or_default();
                if !version.is_empty() {
                    self.bookmark(&version, &json!({GAP: describe(gap)}));
                }
                Ok(())
            }
            (true, false) => Ok(()),
            (false, true) => {
                self.flush().await?;
                Err(End::Over)
            }
            (false, false) => Err(End::Failed(Failure::expired(format!(
                "{}: what changed meanwhile is not known version by version; list anew, or watch \
                 on from resource version {}",
                describe(gap),
                gap.from_rv.as_deref().unwrap_or("of the last event"),
            )))),
        }
    }

    /// An object in the form that was asked for.
    fn object(&mut self, item: Item<'_>, out: &mut Vec<u8>) {
        if self.watching.show.form != Form::Table {
            return self.watching.show.write(item, out);
        }
        let version = splice::member(splice::metadata(item.body), "resourceVersion");
        self.begin_table(version.unwrap_or("\"\""), out);
        self.watching.show.write(item, out);
        out.extend_from_slice(b"]}");
    }

    /// Only the first table says which columns there are.
    fn begin_table(&mut self, version: &str, out: &mut Vec<u8>) {
        let definitions =
            if self.first { self.watching.show.definitions() } else { "null".to_owned() };
        self.first = false;
        let begin = format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\
             \"metadata\":{{\"resourceVersion\":{version}}},\
             \"columnDefinitions\":{definitions},\"rows\":["
        );
        out.extend_from_slice(begin.as_bytes());
    }

    fn bookmark(&mut self, version: &str, annotations: &Value) {
        let mut metadata = json!({"resourceVersion": version, "creationTimestamp": null});
        if !annotations.is_null() {
            metadata["annotations"] = annotations.clone();
        }
        let (kind, api_version) = match self.watching.show.form {
            Form::Whole => (self.watching.of.of.kind.clone(), self.watching.of.api_version()),
            _ => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        if self.watching.show.form != Form::Table {
            return self.event("BOOKMARK", &object.to_string());
        }
        let cells = vec![""; self.watching.show.columns.iter().count()];
        let mut table = Vec::new();
        self.begin_table(&splice::text(version), &mut table);
        table.extend_from_slice(json!({"cells": cells, "object": object}).to_string().as_bytes());
        table.extend_from_slice(b"]}");
        self.event_bytes("BOOKMARK", &table);
    }

    fn event(&mut self, kind: &str, object: &str) {
        self.event_bytes(kind, object.as_bytes());
    }

    fn event_bytes(&mut self, kind: &str, object: &[u8]) {
        self.chunk.extend_from_slice(b"{\"type\":\"");
        self.chunk.extend_from_slice(kind.as_bytes());
        self.chunk.extend_from_slice(b"\",\"object\":");
        self.chunk.extend_from_slice(object);
        self.chunk.extend_from_slice(b"}\n");
    }

    async fn flush_if_full(&mut self) -> Result<(), End> {
        if self.chunk.len() < CHUNK_BYTES { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        match timeout(WATCH_SLOW_READER_MAX, self.sender.send(Ok(chunk))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Over),
            Err(_) => {
                self.app.metrics.slow_watchers.inc();
                Err(End::Over)
            }
        }
    }
}

/// The next objects of the beginning, and where to go on.
fn initial_batch(
    state: &State,
    query: &SnapshotQuery,
    after: Option<&ListPlace>,
) -> Result<(Vec<stele_state::query::Seen>, Option<ListPlace>), StateError> {
    let snapshot = state.snapshot(query)?;
    let slots = snapshot.slots(after, INITIAL_BATCH)?;
    let mut found = Vec::new();
    for slot in &slots {
        found.extend(snapshot.load(slot)?);
    }
    Ok((found, slots.last().map(|slot| slot.place.clone())))
}
