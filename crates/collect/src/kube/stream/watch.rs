//! Watching from a version on.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use stele_record::{GapReason, Kind};
use stele_source::SourceError;
use stele_store::random_bytes;
use tokio::time::{Instant, timeout_at};

use super::{Next, Stream, escape};
use crate::kube::http::{HttpError, Line, Lines, get, open};
use crate::kube::metrics::RecorderMetrics;
use crate::kube::{PAGE_BYTES_MAX, WATCH_LINE_BYTES_MAX, WATCH_SECONDS_MAX};
use crate::text::describe;

/// A watch that has shown nothing for so long after it was opened has been resumed: a server that
/// can't resume says so at once.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How much longer than asked for a watch may stay open.
const OVERTIME: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct WatchLine<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: WatchObject<'a>,
}

#[derive(Deserialize)]
struct WatchObject<'a> {
    #[serde(borrow, default)]
    metadata: Option<Meta<'a>>,
    #[serde(default)]
    code: Option<u16>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow, default)]
    resource_version: Option<Cow<'a, str>>,
}

impl Stream {
    /// Records lines until the watch ends.
    pub(super) async fn watch(&mut self, rv: &str) -> Result<Next, SourceError> {
        let seconds = watch_seconds(self.shared.timing.watch_seconds);
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            self.path(),
            escape(rv)
        );
        let opened = open(&self.shared.client, &path, "application/json").await;
        let connected = !matches!(opened, Err(HttpError::Unreachable(_)));
        self.shared.metrics.connected.store(connected, Ordering::Relaxed);
        let response = match opened {
            Ok(response) => response,
            Err(error) => {
                if matches!(error, HttpError::Refused { code: 404, .. }) {
                    self.shared.rediscover.notify_one();
                }
                return Ok(Next::of(error));
            }
        };
        RecorderMetrics::count(&self.shared.metrics.watches, 1);
        let mut lines = Lines::new(response, WATCH_LINE_BYTES_MAX);
        let opened = Instant::now();
        let settle = opened + SETTLED_AFTER;
        let end = opened + Duration::from_secs(seconds.into()) + OVERTIME;
        let mut settled = false;
        // Silence proves less than a line: what it seemed to prove is taken back if the server
        // turns out not to have resumed.
        let mut silent_since = Some(self.blind.as_ref().map_or(self.last_seen, |b| b.since));
        loop {
            let until = if settled { end } else { settle };
            let line = match timeout_at(until, lines.next()).await {
                Ok(Ok(line)) => line,
                Ok(Err(error)) => return Ok(Next::of(error)),
                Err(_) if !settled => {
                    if self.blind.is_some()
                        && let Some(next) = self.went_back(rv).await
                    {
                        return Ok(next);
                    }
                    settled = true;
                    self.see(None, true).await?;
                    continue;
                }
                Err(_) => {
                    let why = "the watch did not end when it should".to_owned();
                    return Ok(Next::Retry { why, after: None });
                }
            };
            match line {
                Line::Frame(raw) => match self.line(raw, &mut settled).await? {
                    Next::Go => silent_since = None,
                    other => {
                        self.last_seen = silent_since.unwrap_or(self.last_seen);
                        return Ok(other);
                    }
                },
                Line::TooLong => {
                    let why = format!("a watch line is longer than {WATCH_LINE_BYTES_MAX} bytes");
                    return Ok(unreadable(why));
                }
                Line::End => {
                    if let Some(since) = silent_since
                        && opened.elapsed() >= SETTLED_AFTER
                        && let Some(next) = self.went_back(rv).await
                    {
                        self.last_seen = since;
                        return Ok(next);
                    }
                    // An end in order is a proof of having seen up to it, if anything was open.
                    self.see(None, true).await?;
                    return Ok(self.ended(opened));
                }
            }
        }
    }

    /// Whether the server's data were set back behind `rv` (etcd restored from a backup): a watch
    /// from there shows nothing at all, without an error, until the versions are past it again.
    async fn went_back(&self, rv: &str) -> Option<Next> {
        let path = format!("{}?limit=1", self.path());
        let page =
            get(&self.shared.client, &path, "application/json", PAGE_BYTES_MAX).await.ok()?;
        let page: WatchObject<'_> = serde_json::from_slice(&page).ok()?;
        let newest = page.metadata?.resource_version?;
        older(&newest, rv).then(|| Next::Relist {
            reason: GapReason::Other,
            why: format!("the versions of the server went back from {rv} to {newest}"),
        })
    }

    /// A server that ends every watch at once must not be asked in a loop.
    fn ended(&self, opened: Instant) -> Next {
        if opened.elapsed() >= self.shared.timing.retry_first {
            return Next::Go;
        }
        Next::Retry { why: "the server ended the watch at once".to_owned(), after: None }
    }

    async fn line(&mut self, raw: Bytes, settled: &mut bool) -> Result<Next, SourceError> {
        let line: WatchLine<'_> = match serde_json::from_slice(&raw) {
            Ok(line) => line,
            Err(e) => {
                return Ok(unreadable(format!("a watch line cannot be read: {}", describe(&e))));
            }
        };
        if line.kind == "ERROR" {
            let code = line.object.code.unwrap_or(0);
            let why = format!("{code}: {}", line.object.message.unwrap_or_default());
            if let Err(error) = self.record(Kind::KUBE_WATCH, None, raw.clone(), None, None).await?
            {
                return Ok(unreadable(error.to_string()));
            }
            return Ok(match code {
                410 => Next::Relist { reason: GapReason::Expired, why },
                _ => Next::Refused { why },
            });
        }
        let rv = line.object.metadata.and_then(|meta| meta.resource_version);
        let Some(rv) = rv.filter(|rv| !rv.is_empty()).map(Cow::into_owned) else {
            return Ok(unreadable("a watch line has no resourceVersion".to_owned()));
        };
        if !*settled {
            *settled = true;
            self.see(None, true).await?;
        }
        let bookmark = line.kind == "BOOKMARK";
        let place = Some(rv.as_str());
        if let Err(error) = self.record(Kind::KUBE_WATCH, None, raw.clone(), place, place).await? {
            return Ok(unreadable(error.to_string()));
        }
        if !bookmark && self.describes_types() {
            self.shared.rediscover.notify_one();
        }
        self.rv = Some(rv);
        self.went_well();
        Ok(Next::Go)
    }

    /// Whether objects of this type change which types there are.
    fn describes_types(&self) -> bool {
        matches!(
            (self.resource.group.as_str(), self.resource.resource.as_str()),
            ("apiextensions.k8s.io", "customresourcedefinitions")
                | ("apiregistration.k8s.io", "apiservices")
        )
    }
}

fn unreadable(why: String) -> Next {
    Next::Relist { reason: GapReason::Unreadable, why }
}

/// Whether a resource version is older than another; only decimal numbers have an order.
fn older(a: &str, b: &str) -> bool {
    let ordered =
        |rv: &str| !rv.starts_with('0') && !rv.is_empty() && rv.bytes().all(|b| b.is_ascii_digit());
    ordered(a) && ordered(b) && (a.len(), a) < (b.len(), b)
}

/// Between 4/5 of `max` and all of it, so that watches do not end together.
fn watch_seconds(max: u32) -> u32 {
    let max = max.clamp(1, WATCH_SECONDS_MAX);
    max - u32::from(u16::from_le_bytes(random_bytes())) % (max / 5 + 1)
}
