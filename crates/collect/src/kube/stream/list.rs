//! Listing in pages.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::Deserialize;
use stele_record::frame::ListPage;
use stele_record::{GapReason, Kind};
use stele_source::SourceError;

use super::{Next, Stream, escape};
use crate::kube::PAGE_BYTES_MAX;
use crate::kube::http::{HttpError, get};
use crate::kube::metrics::RecorderMetrics;
use crate::text::describe;

/// Most objects that a page is made to hold when continue tokens expire.
const PAGE_LIMIT_MAX: u32 = 20_000;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    metadata: PageMeta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta<'a> {
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl Stream {
    /// Records a whole list; after it the version to watch from is known.
    pub(super) async fn list(&mut self) -> Result<Next, SourceError> {
        let shared = std::sync::Arc::clone(&self.shared);
        let Ok(_turn) = shared.lists.acquire().await else { return Ok(Next::Listed) };
        let id = shared.list_id();
        let mut token: Option<String> = None;
        for page in 0.. {
            let body = match self.page(token.as_deref()).await {
                Ok(body) => body,
                Err(error) => return Ok(self.page_failed(error)),
            };
            let (rv, next) = match serde_json::from_slice::<Page<'_>>(&body) {
                Ok(head) => (
                    head.metadata.resource_version.into_owned(),
                    head.metadata.next.filter(|token| !token.is_empty()),
                ),
                Err(e) => {
                    return Ok(unreadable(format!("a list page cannot be read: {}", describe(&e))));
                }
            };
            if rv.is_empty() {
                return Ok(unreadable("the list has no resourceVersion".to_owned()));
            }
            let last = next.is_none();
            if last {
                self.see(Some(&rv), false).await?;
            }
            let place = ListPage { id, page, last };
            let resume = last.then_some(rv.as_str());
            let recorded =
                self.record(Kind::KUBE_LIST, Some(place), body, Some(&rv), resume).await?;
            if let Err(error) = recorded {
                return Ok(unreadable(error.to_string()));
            }
            token = next;
            if last {
                self.rv = Some(rv);
                break;
            }
        }
        RecorderMetrics::count(&shared.metrics.lists, 1);
        Ok(Next::Listed)
    }

    async fn page(&self, token: Option<&str>) -> Result<Bytes, HttpError> {
        let mut path = format!("{}?limit={}", self.path(), self.page_limit);
        if let Some(token) = token {
            path.push_str("&continue=");
            path.push_str(&escape(token));
        }
        let answer = get(&self.shared.client, &path, "application/json", PAGE_BYTES_MAX).await;
        let connected = !matches!(answer, Err(HttpError::Unreachable(_)));
        self.shared.metrics.connected.store(connected, Ordering::Relaxed);
        answer
    }

    fn page_failed(&mut self, error: HttpError) -> Next {
        match &error {
            // The next list takes fewer objects at once, down to single ones.
            HttpError::TooLong { .. } => self.page_limit = (self.page_limit / 4).max(1),
            // The token has expired: larger pages need fewer of them.
            HttpError::Refused { code: 410, .. } => {
                self.page_limit = self.page_limit.saturating_mul(4).min(PAGE_LIMIT_MAX);
            }
            HttpError::Refused { code: 404, .. } => self.shared.rediscover.notify_one(),
            _ => {}
        }
        match Next::of(error) {
            // Nothing more is lost by a list that has to begin again.
            Next::Relist { why, .. } => Next::Retry { why, after: None },
            next => next,
        }
    }
}

fn unreadable(why: String) -> Next {
    Next::Relist { reason: GapReason::Unreadable, why }
}
