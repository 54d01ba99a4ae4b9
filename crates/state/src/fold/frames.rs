//! List pages and watch lines: what they say about objects, and about the stream itself.

use super::reading::{Framed, Item, Line, Mark, Page, Read, Status};
use super::{Context, Fault, Fold, Stamp, unusable};
use crate::StateError;
use crate::query::Verb;
use crate::rv;
use crate::tables::{GapRow, OpenList, REACHED_RUN_BITS, StreamRow};

impl Fold<'_> {
    pub(super) fn watch_line(
        &mut self,
        stamp: Stamp,
        framed: Read<Framed<'_, Read<Line<'_>>>>,
    ) -> Result<(), Fault> {
        let (context, line) = self.enter_frame(stamp, framed)?;
        let key = (context.type_id, stamp.source);
        match line.map_err(Fault::Unusable)? {
            Line::Object(verb, item) => self.changed(stamp, &context, verb, item),
            Line::Bookmark(mark) => self.bookmark(stamp, key, &mark.map_err(Fault::Unusable)?),
            Line::Error(status) => self.watch_error(stamp, key, status),
        }
    }

    fn changed(
        &mut self,
        stamp: Stamp,
        context: &Context,
        verb: Verb,
        item: Read<Box<Item<'_>>>,
    ) -> Result<(), Fault> {
        let key = (context.type_id, stamp.source);
        self.touch(stamp, key)?;
        let item = match item {
            Ok(item) => item,
            Err(reason) => {
                self.begin_unread(stamp, key, &reason)?;
                return Err(Fault::Unusable(reason));
            }
        };
        let rv = item.rv.clone();
        self.observe(stamp, context, *item, verb, None)?;
        self.end_blindness(stamp, key, &rv)?;
        self.advance(stamp, key, &rv)?;
        Ok(())
    }

    /// Makes sure that the stream exists.
    fn touch(&mut self, stamp: Stamp, key: (u32, u32)) -> Result<(), StateError> {
        if self.stream(key)?.is_none() {
            let stream = StreamRow {
                first_time: stamp.time,
                first_index: stamp.index,
                last_time: stamp.time,
                ..StreamRow::default()
            };
            self.streams.insert(key, stream);
        }
        Ok(())
    }

    /// Notes that a version of a type was seen, so that it can be found again by its number.
    fn reach(&mut self, stamp: Stamp, type_id: u32, rv: &str) -> Result<(), StateError> {
        if !rv::is_ordered(rv) {
            return Ok(());
        }
        let order = rv::order_key(rv, 0, rv::Rank::Gone);
        let run = stamp.index >> REACHED_RUN_BITS;
        let range = (type_id, 0)..=(type_id, run);
        let newer = match self.reached.range(range.clone()).next_back() {
            Some((_, known)) => order > *known,
            None => match self.w.reached.range(range).next_back().transpose()? {
                Some((_, known)) => order.as_slice() > known.value(),
                None => true,
            },
        };
        if newer {
            self.reached.insert((type_id, run), order);
        }
        Ok(())
    }

    /// The stream has come to `rv`.
    fn advance(&mut self, stamp: Stamp, key: (u32, u32), rv: &str) -> Result<(), StateError> {
        self.reach(stamp, key.0, rv)?;
        let Some(stream) = self.stream(key)? else { return Ok(()) };
        let older = rv::compare(rv, &stream.last_rv) == Some(std::cmp::Ordering::Less);
        if !rv.is_empty() && !older {
            rv.clone_into(&mut stream.last_rv);
        }
        stream.last_time = stream.last_time.max(stamp.time);
        stream.last_index = stamp.index;
        Ok(())
    }

    fn bookmark(&mut self, stamp: Stamp, key: (u32, u32), mark: &Mark<'_>) -> Result<(), Fault> {
        self.touch(stamp, key)?;
        let rv = mark.rv.as_ref();
        if let Some(stream) = self.stream(key)?
            && mark.initial_end
            && stream.first_list.is_none()
        {
            stream.first_list = Some((stamp.index, stamp.time, rv.to_owned()));
        }
        self.end_blindness(stamp, key, rv)?;
        self.advance(stamp, key, rv)?;
        Ok(())
    }

    /// The server ended the watch; until the next frame the stream is blind.
    fn watch_error(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        status: Read<Status<'_>>,
    ) -> Result<(), Fault> {
        self.touch(stamp, key)?;
        let status = status.map_err(Fault::Unusable)?;
        let Some(stream) = self.stream(key)? else { return Ok(()) };
        if stream.blind.is_some() {
            return Ok(());
        }
        let gap = GapRow {
            index: stamp.index,
            source: stamp.source,
            from: stream.last_time,
            from_rv: (!stream.last_rv.is_empty()).then(|| stream.last_rv.clone()),
            reason: if status.code == 410 { "expired" } else { "disconnected" }.to_owned(),
            detail: status.message.into_owned(),
            ..GapRow::default()
        };
        let number = self.derive_gap(key, gap)?;
        if let Some(stream) = self.stream(key)? {
            stream.blind = Some(number);
        }
        Ok(())
    }

    pub(super) fn list_page(
        &mut self,
        stamp: Stamp,
        framed: Read<Framed<'_, Read<Page<'_>>>>,
    ) -> Result<(), Fault> {
        let (context, page) = self.enter_frame(stamp, framed)?;
        let Some(place) = context.frame.list else {
            return Err(unusable("a list page does not say which page it is"));
        };
        let page = page.map_err(Fault::Unusable)?;
        let key = (context.type_id, stamp.source);
        let list_rv = page.rv.as_ref();
        let new = self.stream(key)?.is_none();
        self.touch(stamp, key)?;
        if place.page == 0 {
            self.begin_set_back(stamp, key, list_rv)?;
            self.begin_list(stamp, key, place.id, list_rv, new)?;
        }
        let mut whole = self.continue_list(stamp, key, place.id, place.page)?;
        for item in page.items {
            let item = match item {
                Ok(item) => item,
                Err(reason) => {
                    // An object that can't be read must not be taken for one that is missing.
                    self.note(stamp.index, &format!("item of a list: {reason}"))?;
                    self.begin_unread(stamp, key, &reason)?;
                    whole = false;
                    continue;
                }
            };
            let rv = item.rv.clone();
            let object = self.observe(stamp, &context, item, Verb::Listed, Some(list_rv))?;
            self.reach(stamp, key.0, &rv)?;
            if whole {
                self.w.listed.insert((key.0, key.1, object), ());
            }
        }
        if !whole {
            self.drop_list(key)?;
        } else if place.last {
            self.end_list(stamp, &context, key, list_rv)?;
        }
        Ok(())
    }

    fn begin_list(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        id: u64,
        rv: &str,
        new: bool,
    ) -> Result<(), StateError> {
        self.drop_list(key)?;
        let Some(stream) = self.stream(key)? else { return Ok(()) };
        stream.open_list = Some(OpenList {
            id,
            next_page: 0,
            rv: rv.to_owned(),
            time: stamp.time,
            boot: stamp.boot,
        });
        // A GAP that ends with the last frame is about an earlier stretch.
        let told = stream.told_until.take().is_some_and(|until| until > stream.last_time);
        if new || told || stream.blind.is_some() || stream.last_rv == rv {
            return Ok(());
        }
        // A second list without a word about why: what was between the two was not seen.
        let gap = GapRow {
            index: stamp.index,
            source: stamp.source,
            from: stream.last_time,
            to: Some(stamp.time),
            from_rv: (!stream.last_rv.is_empty()).then(|| stream.last_rv.clone()),
            to_rv: (!rv.is_empty()).then(|| rv.to_owned()),
            reason: "relisted".to_owned(),
            detail: "listed anew; nobody saw what came between".to_owned(),
            ..GapRow::default()
        };
        self.derive_gap(key, gap)?;
        Ok(())
    }

    /// Whether the page is the next one of the list that was begun.
    fn continue_list(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        id: u64,
        page: u32,
    ) -> Result<bool, StateError> {
        let open = self.stream(key)?.and_then(|stream| stream.open_list.as_mut());
        let follows = open.is_some_and(|open| {
            let follows = (open.id, open.next_page, open.boot) == (id, page, stamp.boot);
            open.next_page = open.next_page.saturating_add(1);
            follows
        });
        if !follows {
            let reason = format!("page {page} of list {id} does not follow the page before it");
            self.note(stamp.index, &reason)?;
        }
        Ok(follows)
    }

    fn drop_list(&mut self, key: (u32, u32)) -> Result<(), StateError> {
        let open = self.stream(key)?.and_then(|stream| stream.open_list.take());
        if open.is_some() {
            let range = (key.0, key.1, 0)..=(key.0, key.1, u64::MAX);
            let listed: Vec<_> = self.w.listed.range(range).collect::<Result<_, _>>()?;
            for (key, _) in listed {
                self.w.listed.remove(key.value());
            }
        }
        Ok(())
    }

    /// What is known to exist and was not in the list has vanished.
    fn end_list(
        &mut self,
        stamp: Stamp,
        context: &Context,
        key: (u32, u32),
        last_rv: &str,
    ) -> Result<(), Fault> {
        let Some(stream) = self.stream(key)? else { return Ok(()) };
        let Some(open) = stream.open_list.clone() else { return Ok(()) };
        let before = stream.last_rv.clone();
        if stream.first_list.is_none() {
            stream.first_list = Some((stamp.index, stamp.time, last_rv.to_owned()));
        }
        // Pages of a list may be of different versions; what was missing is gone at the last one,
        // but what is newer than the first one may have come too late for its page.
        for object in self.missing(key, &open.rv)? {
            self.end_unseen(stamp, context, object, Verb::Vanished, last_rv, &before)?;
        }
        if rv::is_ordered(last_rv) {
            self.note_newest(key.0, last_rv)?;
            let order = rv::order_key(last_rv, 0, rv::Rank::Gone);
            let list = (key.0, order.as_slice());
            let before = self.w.lists.get(list)?.map_or(i64::MAX, |time| time.value());
            self.w.lists.insert(list, stamp.time.min(before));
            self.lists.remove(&key.0);
        }
        self.drop_list(key)?;
        self.end_set_back(stamp, key, last_rv)?;
        self.end_unread(stamp, key, last_rv)?;
        self.end_blindness(stamp, key, last_rv)?;
        self.advance(stamp, key, last_rv)?;
        Ok(())
    }

    /// Objects that a whole list at `rv` should have had and did not.
    fn missing(&mut self, key: (u32, u32), rv: &str) -> Result<Vec<u64>, StateError> {
        let mut known = Vec::new();
        // Some source has already shown newer versions, so the list may also say something about
        // objects that are known to have ended since.
        let newest = &self.type_row(key.0)?.newest_rv;
        if rv::compare(newest, rv) == Some(std::cmp::Ordering::Greater) {
            for entry in self.w.objects.range((key.0, "", "", 0)..(key.0 + 1, "", "", 0)) {
                known.push(entry?.1.value());
            }
        } else {
            for entry in self.w.alive.range((key.0, "", 0)..(key.0 + 1, "", 0)) {
                known.push(entry?.0.value().2);
            }
        }
        let mut missing = Vec::new();
        for object in known {
            let listed = self.w.listed.get((key.0, key.1, object))?.is_some();
            if !listed && !self.first_seen_after(object, rv)? {
                missing.push(object);
            }
        }
        Ok(missing)
    }
}
