//! The newest changes, read once for all subscriptions.
//!
//! A thousand subscriptions that each read the sequence themselves would read it a thousand times.
//! Here one task reads it, and subscriptions that are not far behind put their filters to what it
//! read. Whoever is further behind reads by itself until it has caught up.
//!
//! Invariant: between its ends the window leaves nothing out.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use stele_state::query::{Change, ChangeBody, ChangeFilter, Changes, Cursor, Matcher, Version};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use crate::error::ApiError;
use crate::limits::{
    RECENT_BATCH_CHANGES, RECENT_BYTES_MAX, RECENT_CHANGES_MAX, RECENT_PAUSE, WATCHERS_MAX,
};
use crate::signal::{larger, stopped};
use crate::views::Views;

/// See the module.
pub(crate) struct Recent {
    window: RwLock<Window>,
    /// Index behind the window.
    end: watch::Sender<u64>,
}

#[derive(Default)]
struct Window {
    from: Cursor,
    next: Cursor,
    /// Clusters and types that were known when it was read.
    names: u64,
    changes: VecDeque<Change>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new() -> Self {
        // Nothing is in it until the views are followed.
        let never = Cursor { index: u64::MAX, ordinal: 0 };
        let window = Window { from: never, next: never, ..Window::default() };
        Self { window: RwLock::new(window), end: watch::Sender::new(0) }
    }

    /// Tells of each new end of the window.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Changes with each new cluster and type; a matcher is good as long as it is the same.
    pub(crate) fn names(&self) -> u64 {
        self.window.read().unwrap_or_else(PoisonError::into_inner).names
    }

    /// What passes a filter from a cursor on; `None` if the window begins later.
    pub(crate) fn read(
        &self,
        from: Cursor,
        matcher: &Matcher,
        limit: usize,
        with_objects: bool,
    ) -> Option<Changes> {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        if from < window.from {
            return None;
        }
        let start = window.changes.partition_point(|change| change.at < from);
        let mut changes = Vec::new();
        for change in window.changes.range(start..) {
            if !matcher.matches(&change.body) {
                continue;
            }
            if changes.len() >= limit {
                return Some(Changes { changes, next: change.at, complete: false });
            }
            changes.push(copy(change, with_objects));
        }
        Some(Changes { changes, next: from.max(window.next), complete: true })
    }

    /// Follows the views as long as somebody is subscribed, until `stop` becomes true.
    pub(crate) async fn run(
        &self,
        views: &Views,
        watchers: &Semaphore,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut folded = views.subscribe();
        self.skip_to(Cursor { index: views.next_index(), ordinal: 0 });
        loop {
            let next = self.window.read().unwrap_or_else(PoisonError::into_inner).next;
            tokio::select! {
                more = larger(&mut folded, next.index) => if !more { return },
                () = stopped(&mut stop) => return,
            }
            // What comes close together is told together.
            sleep(RECENT_PAUSE).await;
            if watchers.available_permits() >= WATCHERS_MAX {
                self.skip_to(Cursor { index: views.next_index(), ordinal: 0 });
            } else if let Err(error) = self.advance(views, next).await {
                tracing::warn!(%error, "the newest changes cannot be read; subscriptions wait");
            }
        }
    }

    async fn advance(&self, views: &Views, mut next: Cursor) -> Result<(), ApiError> {
        loop {
            let (found, names) = views
                .ask(move |state| {
                    let found =
                        state.changes(next, &ChangeFilter::default(), RECENT_BATCH_CHANGES)?;
                    // Afterwards: no change may be of a name that was not counted.
                    Ok((found, state.names_known()?))
                })
                .await?;
            next = found.next;
            let complete = found.complete;
            self.push(found, names);
            if complete {
                return Ok(());
            }
        }
    }

    fn push(&self, found: Changes, names: u64) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        window.names = names;
        window.next = found.next;
        for change in found.changes {
            window.bytes += size(&change);
            window.changes.push_back(change);
        }
        while window.changes.len() > RECENT_CHANGES_MAX || window.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = window.changes.pop_front() else { break };
            window.bytes -= size(&oldest);
            window.from = window.changes.front().map_or(window.next, |first| first.at);
        }
        let end = window.next.index;
        drop(window);
        self.end.send_replace(end);
    }

    /// Nobody is subscribed: the window begins anew where the log ends.
    fn skip_to(&self, next: Cursor) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        let names = window.names;
        *window = Window { from: next, next, names, ..Window::default() };
        drop(window);
        self.end.send_replace(next.index);
    }
}

fn size(change: &Change) -> usize {
    match &change.body {
        ChangeBody::Object(object) => object.json().len() + 512,
        ChangeBody::Gap(_) => 512,
    }
}

/// A change; what is not sent must not wait in memory for a slow reader.
fn copy(change: &Change, with_objects: bool) -> Change {
    let body = match &change.body {
        ChangeBody::Object(object) if !with_objects => {
            let of = &object.version;
            let version = Version {
                resource_version: of.resource_version.clone(),
                after_rv: of.after_rv.clone(),
                object: None,
                by: None,
                changes: None,
                ..*of
            };
            let reference = object.reference.clone();
            ChangeBody::Object(Box::new(stele_state::query::Object { reference, version }))
        }
        body => body.clone(),
    };
    Change { at: change.at, body }
}
