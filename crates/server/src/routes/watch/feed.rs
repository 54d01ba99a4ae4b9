//! One subscription: reads changes in batches, and hands them over as fast as they are taken.

use axum::response::sse::Event;
use futures::{FutureExt, Stream, StreamExt, stream};
use stele_state::query::{Change, ChangeBody, ChangeFilter, Changes, Cursor, Matcher};
use stele_state::{State, Time};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::api::{GapSeen, ObjectName, WatchCursor, WatchItem};
use crate::context::App;
use crate::convert::history_item;
use crate::error::ApiError;
use crate::limits::{
    WATCH_BATCH_CHANGES, WATCH_BATCH_OBJECTS, WATCH_BUFFER_EVENTS_MAX, WATCH_BUFFER_OBJECTS_MAX,
    WATCH_KEEP_ALIVE, WATCH_SLOW_READER_MAX,
};
use crate::signal::{larger, stopped};

/// What is subscribed to, and how far it is.
pub(super) struct Feed {
    pub(super) app: App,
    pub(super) filter: ChangeFilter,
    pub(super) with_objects: bool,
    pub(super) next: Cursor,
    pub(super) since: Option<Time>,
    /// The filter as it is put to what was read for all, and for which names it is good. None where
    /// it takes more than the change to tell.
    pub(super) matcher: Option<(u64, Matcher)>,
}

/// Why a subscription ends.
enum End {
    /// The reader is gone; nobody needs to know.
    Gone,
    /// The reader is too slow.
    Slow,
    /// The server stops, or can't read on.
    Stopped,
}

type Sender = mpsc::Sender<(WatchItem, Cursor)>;

impl Feed {
    /// Begins: the first batch is read before anything is answered, so that a question at fault
    /// gets an error and not an empty stream.
    pub(super) async fn start(
        mut self,
        permit: OwnedSemaphorePermit,
    ) -> Result<impl Stream<Item = Result<Event, axum::Error>>, ApiError> {
        let first = self.read().await?;
        let (sender, receiver) = mpsc::channel(match self.with_objects {
            true => WATCH_BUFFER_OBJECTS_MAX,
            false => WATCH_BUFFER_EVENTS_MAX,
        });
        let (last, ended) = oneshot::channel();
        tokio::spawn(async move {
            let _permit = permit;
            self.app.metrics.watchers.inc();
            let end = self.run(first, &sender).await;
            self.app.metrics.watchers.dec();
            if matches!(end, End::Slow) {
                self.app.metrics.slow_watchers.inc();
            }
            // The queue is closed first: the last word comes behind all that still waits in it.
            drop(sender);
            let item = WatchItem::End(WatchCursor { next_index: self.next.index });
            let _ = last.send((item, before(self.next)));
        });
        let tail = stream::once(ended.map(|last| last.ok())).filter_map(futures::future::ready);
        let tail = tail.map(|(item, id)| event(&item, id));
        Ok(ReceiverStream::new(receiver).map(|(item, id)| event(&item, Some(id))).chain(tail))
    }

    async fn run(&mut self, first: Changes, sender: &Sender) -> End {
        let mut stop = self.app.stop.clone();
        let mut recent = self.app.recent.subscribe();
        let mut batch = Some(first);
        loop {
            let changes = match batch.take() {
                Some(changes) => changes,
                None => match self.read().await {
                    Ok(changes) => changes,
                    Err(error) => {
                        tracing::warn!(%error, "a subscription broke off");
                        return End::Stopped;
                    }
                },
            };
            let complete = changes.complete;
            if let Err(end) = self.hand_over(changes, sender).await {
                return end;
            }
            if *stop.borrow() {
                return End::Stopped;
            }
            if complete && let Err(end) = self.wait(&mut recent, &mut stop, sender).await {
                return end;
            }
        }
    }

    /// Reads the next batch of changes.
    async fn read(&mut self) -> Result<Changes, ApiError> {
        let (next, with_objects) = (self.next, self.with_objects);
        let limit = if with_objects { WATCH_BATCH_OBJECTS } else { WATCH_BATCH_CHANGES };
        if !self.filter.looks_around() {
            let names = self.app.recent.names();
            if self.matcher.as_ref().is_none_or(|(of, _)| *of != names) {
                let filter = self.filter.objects.clone();
                let matcher = self.app.views.ask(move |state| state.matcher(&filter)).await?;
                self.matcher = Some((names, matcher));
            }
            if let Some((_, matcher)) = &self.matcher
                && let Some(found) = self.app.recent.read(next, matcher, limit, with_objects)
            {
                return Ok(found);
            }
        }
        let filter = self.filter.clone();
        let question = move |state: &State| {
            let mut found = state.changes(next, &filter, limit)?;
            // What is not sent must not wait in memory for a slow reader.
            for change in found.changes.iter_mut().filter(|_| !with_objects) {
                if let ChangeBody::Object(object) = &mut change.body {
                    object.version.object = None;
                }
            }
            Ok(found)
        };
        self.app.views.ask(question).await
    }

    /// Hands changes over; the position moves on with each, so that it is right whenever it ends.
    async fn hand_over(&mut self, changes: Changes, sender: &Sender) -> Result<(), End> {
        for change in changes.changes {
            let at = change.at;
            if let Some(item) = self.item(change) {
                send(sender, item, at).await?;
            }
            self.next = behind(at);
        }
        self.next = self.next.max(changes.next);
        Ok(())
    }

    /// Waits until there is more, and tells a quiet reader how far it is.
    async fn wait(
        &self,
        recent: &mut watch::Receiver<u64>,
        stop: &mut watch::Receiver<bool>,
        sender: &Sender,
    ) -> Result<(), End> {
        loop {
            let next = self.next.index;
            tokio::select! {
                more = larger(recent, next) => {
                    return if more { Ok(()) } else { Err(End::Stopped) };
                }
                () = stopped(stop) => return Err(End::Stopped),
                () = sender.closed() => return Err(End::Gone),
                () = sleep(WATCH_KEEP_ALIVE) => {
                    let item = WatchItem::Cursor(WatchCursor { next_index: next });
                    if let Some(id) = before(self.next) {
                        send(sender, item, id).await?;
                    }
                }
            }
        }
    }

    /// What a subscriber sees of a change; `None` if it came before the time asked for.
    fn item(&self, change: Change) -> Option<WatchItem> {
        match change.body {
            ChangeBody::Object(object) => {
                let version = object.version;
                if self.since.is_some_and(|since| version.time < since) {
                    return None;
                }
                let of = ObjectName::from(object.reference);
                Some(WatchItem::Change(history_item(of, version)))
            }
            ChangeBody::Gap(gap) => {
                let over = gap.to.is_some_and(|to| self.since.is_some_and(|since| to < since));
                (!over).then(|| WatchItem::Gap(GapSeen::from(*gap)))
            }
        }
    }
}

async fn send(sender: &Sender, item: WatchItem, id: Cursor) -> Result<(), End> {
    match timeout(WATCH_SLOW_READER_MAX, sender.send((item, id))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Slow),
    }
}

fn event(item: &WatchItem, id: Option<Cursor>) -> Result<Event, axum::Error> {
    let (name, data) = item.write().map_err(axum::Error::new)?;
    let event = Event::default().event(name).data(data);
    Ok(match id {
        Some(Cursor { index, ordinal }) => event.id(format!("{index}.{ordinal}")),
        None => event,
    })
}

/// Reads the id of an event.
pub(super) fn parse_id(text: &str) -> Option<Cursor> {
    let (index, ordinal) = text.split_once('.')?;
    Some(Cursor { index: index.parse().ok()?, ordinal: ordinal.parse().ok()? })
}

/// The position behind one that was seen.
pub(super) fn behind(seen: Cursor) -> Cursor {
    match seen.ordinal.checked_add(1) {
        Some(ordinal) => Cursor { ordinal, ..seen },
        None => Cursor { index: seen.index.saturating_add(1), ordinal: 0 },
    }
}

/// The position that `next` is behind; `None` at the very beginning.
fn before(next: Cursor) -> Option<Cursor> {
    match next.ordinal.checked_sub(1) {
        Some(ordinal) => Some(Cursor { ordinal, ..next }),
        None => Some(Cursor { index: next.index.checked_sub(1)?, ordinal: u32::MAX }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_before_and_behind_undo_each_other() {
        let cursor = |index, ordinal| Cursor { index, ordinal };
        for next in [cursor(0, 1), cursor(7, 0), cursor(7, 3), cursor(u64::MAX, 0)] {
            assert_eq!(before(next).map(behind), Some(next));
        }
        assert_eq!(before(cursor(0, 0)), None);
        assert_eq!(parse_id("7.3"), Some(cursor(7, 3)));
        for bad in ["", "7", "7.", ".3", "7.3.1", "-1.0", "7.4294967296"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
