//! One type of objects: list, then watch, for ever.
//!
//! ```text
//!          no version known            every page recorded
//!   start ─────────────────► LIST ──────────────────────────► WATCH ◄──┐
//!     │                       ▲                                 │      │ ended or broken off:
//!     └── version of an ──────┼───────────────────────────────► │ ─────┘ resume at the last version
//!         earlier boot        └── 410, unreadable, refused ─────┘
//! ```

mod list;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kube::Client;
use stele_record::frame::{FrameContext, ListPage};
use stele_record::kube::Resource;
use stele_record::{GapReason, Kind, ObservedTime, PayloadType};
use stele_source::{Cursor, Draft, Source, SourceError};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use super::blind::{Blind, Subject, draft};
use super::http::HttpError;
use super::metrics::RecorderMetrics;
use super::recorder::Timing;
use super::{LISTS_AT_ONCE, RESUME_TRIES_MAX};
use crate::Backoff;
use crate::redact::{RedactError, Redactor};

/// What all streams of a recorder share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) source: Source,
    pub(crate) redactor: Redactor,
    pub(crate) cluster: String,
    pub(crate) server: String,
    pub(crate) metrics: Arc<RecorderMetrics>,
    pub(crate) timing: Timing,
    pub(crate) page_limit: u32,
    pub(crate) lists: Semaphore,
    pub(crate) last_list: AtomicU64,
    /// A CRD or APIService changed, or a type answered 404.
    pub(crate) rediscover: Notify,
}

impl Shared {
    pub(crate) fn lists() -> Semaphore {
        Semaphore::new(LISTS_AT_ONCE)
    }

    pub(crate) fn now(&self) -> ObservedTime {
        ObservedTime::from_unix_ns(self.source.clock().now().0)
    }

    /// A number for a list, larger than all before.
    fn list_id(&self) -> u64 {
        let now = self.now().unix_ns().unsigned_abs();
        let later = |last: u64| Some(now.max(last + 1));
        let last = self.last_list.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        last.map_or(now, |last| now.max(last + 1))
    }

    /// Writes a gap record.
    pub(crate) async fn gap(
        &self,
        gap: &stele_record::Gap,
        cursors: &[Cursor],
    ) -> Result<(), SourceError> {
        self.source.record(draft(gap), cursors).await?;
        RecorderMetrics::count(&self.metrics.gaps, 1);
        Ok(())
    }
}

/// What to do after a list or watch ended.
#[derive(Debug)]
enum Next {
    /// It went well: go on.
    Go,
    /// A list is whole: watch.
    Listed,
    /// Not reachable, or the server asks for a pause: the version to resume at stays.
    Retry { why: String, after: Option<Duration> },
    /// The server answered with an error that may or may not pass.
    Refused { why: String },
    /// The server does not let the recorder see this type.
    Denied { why: String },
    /// What follows the last version cannot be had any more: list anew.
    Relist { reason: GapReason, why: String },
}

impl Next {
    fn of(error: HttpError) -> Self {
        match error {
            HttpError::Unreachable(why) => Self::Retry { why, after: None },
            HttpError::TooLong { .. } => {
                Self::Relist { reason: GapReason::Unreadable, why: error.to_string() }
            }
            HttpError::Refused { code: 410, .. } => {
                Self::Relist { reason: GapReason::Expired, why: error.to_string() }
            }
            HttpError::Refused { code: 401 | 403 | 405, .. } => {
                Self::Denied { why: error.to_string() }
            }
            HttpError::Refused { code: 404 | 429 | 502..=504, retry_after, .. } => {
                Self::Retry { why: error.to_string(), after: retry_after }
            }
            HttpError::Refused { .. } => Self::Refused { why: error.to_string() },
        }
    }
}

/// The state machine of one type.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    resource: Resource,
    subject: Subject,
    /// Version to resume at; `None` before the first list and where one is needed.
    rv: Option<String>,
    /// Last moment at which the stream surely saw.
    last_seen: ObservedTime,
    blind: Option<Blind>,
    backoff: Backoff,
    denied: Backoff,
    /// Tries to resume that the server refused, one after the other.
    refusals: u32,
    /// Objects to ask for in one page.
    page_limit: u32,
}

impl Stream {
    /// A stream that goes on where an earlier boot stood, if there is such a place.
    pub(crate) fn new(shared: Arc<Shared>, resource: Resource) -> Self {
        let subject = Subject {
            cluster: shared.cluster.clone(),
            group: resource.group.clone(),
            resource: resource.resource.clone(),
        };
        let rv = shared.source.cursor(&subject.cursor());
        let stored = shared.source.cursor(&subject.blind_cursor());
        let mut blind: Option<Blind> = stored.and_then(|json| serde_json::from_str(&json).ok());
        let mut last_seen = shared.now();
        if let (Some(previous), Some(from), None) = (shared.source.previous(), &rv, &blind) {
            last_seen = previous.last_observed_ns;
            blind = Some(Blind {
                since: last_seen,
                from_rv: Some(from.clone()),
                reason: GapReason::RecorderDown,
                detail: "the recorder was not running".to_owned(),
                // The reader of the log knows of it by the new boot.
                announced: true,
                stated: true,
            });
        }
        RecorderMetrics::count(&shared.metrics.streams_blind, u64::from(blind.is_some()));
        let timing = &shared.timing;
        Self {
            backoff: Backoff::new(timing.retry_first, timing.retry_max),
            // Servers that are just starting refuse for a few seconds what they grant later.
            denied: Backoff::new(timing.retry_first, timing.denied_retry),
            refusals: 0,
            page_limit: shared.page_limit,
            shared,
            resource,
            subject,
            rv,
            last_seen,
            blind,
        }
    }

    /// Runs until the source fails or the task is dropped.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        loop {
            let next = match self.rv.clone() {
                None => self.list().await?,
                Some(rv) => self.watch(&rv).await?,
            };
            self.prepare(next).await?;
        }
    }

    /// Waits and notes what the next try needs.
    async fn prepare(&mut self, next: Next) -> Result<(), SourceError> {
        if !matches!(next, Next::Go | Next::Listed) {
            RecorderMetrics::count(&self.shared.metrics.failures, 1);
            tracing::debug!(resource = %self.resource.resource, ?next, "list or watch ended");
        }
        match next {
            Next::Go => self.went_well(),
            // The pauses go on growing until a watch has worked: a server that answers every list
            // and refuses every watch must not be listed in a loop.
            Next::Listed => {}
            Next::Retry { why, after } => {
                self.go_blind(GapReason::Disconnected, why);
                let pause = self.backoff.pause();
                self.pause(after.map_or(pause, |after| after.max(pause))).await?;
            }
            Next::Refused { why } => {
                self.refusals += 1;
                self.go_blind(GapReason::Disconnected, why);
                if self.refusals >= RESUME_TRIES_MAX {
                    self.forget_place();
                }
                let pause = self.backoff.pause();
                self.pause(pause).await?;
            }
            Next::Denied { why } => {
                if self.blind.as_ref().is_none_or(|blind| blind.reason != GapReason::Denied) {
                    tracing::warn!(resource = %self.resource.resource, %why, "the server refuses");
                }
                self.go_blind(GapReason::Denied, why);
                self.change_reason(GapReason::Denied);
                let pause = self.denied.pause();
                self.pause(pause).await?;
            }
            Next::Relist { reason, why } => {
                self.go_blind(reason, why);
                self.change_reason(reason);
                self.rv = None;
                let pause = self.backoff.pause();
                self.pause(pause).await?;
            }
        }
        Ok(())
    }

    fn went_well(&mut self) {
        self.backoff.reset();
        self.denied.reset();
        self.refusals = 0;
    }

    fn forget_place(&mut self) {
        self.rv = None;
        self.refusals = 0;
    }

    /// Pauses, and announces the blindness when it has lasted long enough.
    async fn pause(&mut self, pause: Duration) -> Result<(), SourceError> {
        let lasted = self.blind.as_ref().map_or(Duration::ZERO, |blind| self.since(blind.since));
        let left = self.shared.timing.announce_after.saturating_sub(lasted);
        if left >= pause {
            sleep(pause).await;
            return Ok(());
        }
        sleep(left).await;
        self.announce().await?;
        sleep(pause - left).await;
        Ok(())
    }

    fn since(&self, time: ObservedTime) -> Duration {
        let ns = self.shared.now().unix_ns().saturating_sub(time.unix_ns());
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }

    fn go_blind(&mut self, reason: GapReason, detail: String) {
        if self.blind.is_none() {
            RecorderMetrics::count(&self.shared.metrics.streams_blind, 1);
            self.blind = Some(Blind {
                since: self.last_seen,
                from_rv: self.rv.clone(),
                reason,
                detail,
                announced: false,
                stated: false,
            });
        }
    }

    /// The reason to state is the one that lost something, not the one that came first.
    fn change_reason(&mut self, reason: GapReason) {
        if let Some(blind) = &mut self.blind {
            blind.reason = reason;
        }
    }

    async fn announce(&mut self) -> Result<(), SourceError> {
        let Some(blind) = self.blind.as_mut().filter(|blind| !blind.announced) else {
            return Ok(());
        };
        blind.announced = true;
        let cursor =
            Cursor { key: self.subject.blind_cursor(), value: serde_json::to_string(blind).ok() };
        let gap = blind.open(&self.subject);
        self.shared.gap(&gap, &[cursor]).await
    }

    /// The stream sees: at `rv`, and either every version since (`recovered`) or not.
    async fn see(&mut self, rv: Option<&str>, recovered: bool) -> Result<(), SourceError> {
        let now = self.shared.now();
        if let Some(blind) = self.blind.take() {
            self.shared.metrics.streams_blind.fetch_sub(1, Ordering::Relaxed);
            let long = self.since(blind.since) > self.shared.timing.announce_after;
            let first_list = blind.from_rv.is_none() && !blind.announced;
            if (blind.announced || blind.stated || long || !recovered) && !first_list {
                let gap = blind.closed(&self.subject, now, rv.map(str::to_owned), recovered);
                let cursor = Cursor { key: self.subject.blind_cursor(), value: None };
                self.shared.gap(&gap, &[cursor]).await?;
            }
        }
        self.last_seen = now;
        Ok(())
    }

    fn context(&self, list: Option<ListPage>) -> FrameContext {
        FrameContext {
            cluster: self.shared.cluster.clone(),
            server: self.shared.server.clone(),
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            resource: self.resource.resource.clone(),
            kind: self.resource.kind.clone(),
            namespaced: self.resource.namespaced,
            redacted: false,
            list,
        }
    }

    /// Records a frame; `place` is the version to resume at once it is durable.
    async fn record(
        &mut self,
        kind: Kind,
        list: Option<ListPage>,
        raw: Bytes,
        rv: Option<&str>,
        place: Option<&str>,
    ) -> Result<Result<(), RedactError>, SourceError> {
        let mut context = self.context(list);
        let size = raw.len() as u64;
        let redacted = match self.shared.redactor.frame(&mut context, raw) {
            Ok(redacted) => redacted,
            Err(error) => return Ok(Err(error)),
        };
        let draft = Draft {
            kind,
            event_time: None,
            origin_counter: rv
                .filter(|rv| !rv.is_empty() && rv.len() <= stele_record::ORIGIN_COUNTER_BYTES_MAX)
                .map(str::to_owned),
            payload_type: PayloadType::FRAME,
            payload: context.join(&redacted).into(),
        };
        let cursor =
            place.map(|rv| Cursor { key: self.subject.cursor(), value: Some(rv.to_owned()) });
        self.shared.source.record(draft, cursor.as_slice()).await?;
        let metrics = &self.shared.metrics;
        RecorderMetrics::count(&metrics.frames, 1);
        RecorderMetrics::count(&metrics.bytes, size);
        self.last_seen = self.shared.now();
        metrics.last_frame_ns.fetch_max(self.last_seen.unix_ns(), Ordering::Relaxed);
        Ok(Ok(()))
    }

    fn path(&self) -> String {
        let Resource { group, version, resource, .. } = &self.resource;
        match group.as_str() {
            "" => format!("/api/{version}/{resource}"),
            _ => format!("/apis/{group}/{version}/{resource}"),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.blind.is_some() {
            self.shared.metrics.streams_blind.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A value in a query string: everything but unreserved characters is escaped (RFC 3986).
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
