//! Objects: which life a version belongs to, in which order versions stand, and how lives end.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;

use super::kept::UidKey;
use super::reading::Item;
use super::{Context, Fold, Stamp, as_u32};
use crate::StateError;
use crate::life::{Begin, LifeRow};
use crate::query::Verb;
use crate::rv::{self, Rank, order_key};
use crate::tables::{AddressRow, FactRow, LogRow, VersionRow, uid_key};
use crate::versions::{self, Versions};

/// Lives of a name that a new one looks at before those are noted that had ended.
const SETTLED_MIN: usize = 4;

/// The other lives of a name.
#[derive(Default)]
struct Namesakes {
    /// How many there are before these; all of them had ended before the version at hand.
    settled: u32,
    /// Order key of the newest of these ends.
    newest_end: Vec<u8>,
    others: Vec<u64>,
}

/// A version to be written.
struct Draft<'a> {
    verb: Verb,
    rv: &'a str,
    after_rv: Option<String>,
    rank: Rank,
    body: Option<&'a str>,
    redacted: bool,
    version: &'a str,
    address: Option<AddressRow>,
}

impl Fold<'_> {
    /// Takes one object of a frame, and gives its number; `listed` is the version of the list that it
    /// stood in.
    pub(super) fn observe(
        &mut self,
        stamp: Stamp,
        context: &Context,
        mut item: Item<'_>,
        verb: Verb,
        listed: Option<&str>,
    ) -> Result<u64, StateError> {
        let rv = item.rv.as_ref();
        let (object, mut life, mut namesakes) = self.life(stamp, context, &item)?;
        let new = life.versions == 0;
        if !new && rv::compare(rv, &life.begin.rv) == Some(Ordering::Less) {
            namesakes.others = self.named(context, &item, 0)?;
            namesakes.others.retain(|other| *other != object);
        }
        self.end_others(stamp, context, &namesakes.others, rv)?;
        let rank = if verb == Verb::Deleted { Rank::Deleted } else { Rank::Body };
        if self.is_known(object, &life, rv, rank)? {
            return Ok(object);
        }
        self.note_newest(context.type_id, rv)?;
        // Of what has addresses the body is read anyway.
        if item.address.is_none() {
            life.controlled.take(item.controller.take());
        }
        for uid in &item.referred {
            self.w.referrers.insert((uid.as_slice(), object), ());
        }
        let draft = Draft {
            verb,
            rv,
            after_rv: None,
            rank,
            body: Some(&item.body),
            redacted: context.frame.redacted,
            version: &context.frame.version,
            address: item.address.take(),
        };
        self.put_version(stamp, context.cluster, object, life, draft)?;
        if let Some(slice) = &item.slice {
            self.index_slice(context.cluster, object, &item.namespace, slice);
        }
        if new {
            self.end_before_later(stamp, context, object, &namesakes.others, rv)?;
            self.settle(context, &item, namesakes)?;
        }
        if !verb.is_end() {
            self.end_by_list(stamp, context, object, rv, listed.unwrap_or(rv))?;
        }
        Ok(object)
    }

    /// Keeps the newest version of a type that any source has shown.
    pub(super) fn note_newest(&mut self, type_id: u32, rv: &str) -> Result<(), StateError> {
        let newest = &mut self.type_row(type_id)?.newest_rv;
        if newest.is_empty() || rv::compare(newest, rv) == Some(Ordering::Less) {
            rv.clone_into(newest);
        }
        Ok(())
    }

    /// The life that a version belongs to; a new one for a new uid, and with it its namesakes.
    fn life(
        &mut self,
        stamp: Stamp,
        context: &Context,
        item: &Item<'_>,
    ) -> Result<(u64, LifeRow, Namesakes), StateError> {
        let (type_id, namespace, name, uid) =
            (context.type_id, item.namespace.as_ref(), item.name.as_ref(), item.uid.as_ref());
        let key = (context.cluster, uid_key(uid), type_id);
        let known = self.of_uid(&key)?;
        if let Some(object) = known {
            let life = self.life_row(object)?;
            if life.namespace == namespace && life.name == name {
                return Ok((object, life, Namesakes::default()));
            }
        }
        // Objects without a uid, or with one that another name has shown as well.
        let doubtful = known.is_some() || uid.is_empty();
        let (settled, newest_end) =
            if doubtful { (0, Vec::new()) } else { self.settled(context, item)? };
        let others = self.named(context, item, settled)?;
        if doubtful {
            for object in &others {
                let life = self.life_row(*object)?;
                if life.uid == uid {
                    return Ok((*object, life, Namesakes::default()));
                }
            }
        }
        let object = self.count("objects", 1)?;
        let before = as_u32(u64::from(settled) + others.len() as u64)?;
        self.w.objects.insert((type_id, namespace, name, before), object);
        if !uid.is_empty() {
            self.w.uids.insert((key.0, key.1.as_slice(), key.2), object);
            self.kept.uids.put(key, object, 1);
        }
        let life = LifeRow {
            type_id,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            begin: Begin { index: stamp.index, time: stamp.time, ..Begin::default() },
            ..LifeRow::default()
        };
        Ok((object, life, Namesakes { settled, newest_end, others }))
    }

    /// The object of a uid within a type.
    fn of_uid(&mut self, key: &UidKey) -> Result<Option<u64>, StateError> {
        if let Some(object) = self.kept.uids.get(key) {
            return Ok(Some(*object));
        }
        let found = self.w.uids.get((key.0, key.1.as_slice(), key.2))?;
        let found = found.map(|object| object.value());
        if let Some(object) = found {
            self.kept.uids.put(key.clone(), object, 1);
        }
        Ok(found)
    }

    pub(super) fn life_row(&mut self, object: u64) -> Result<LifeRow, StateError> {
        if let Some(life) = self.kept.lives.get(object)? {
            return Ok(life);
        }
        let found = self.w.lives.get(object)?;
        let found = found.ok_or_else(|| StateError::Damaged("no such object".to_owned()))?;
        self.kept.lives.keep(object, found.value());
        LifeRow::unpack(found.value())
    }

    /// The lives of a name, from a number on.
    fn named(&self, context: &Context, item: &Item<'_>, from: u32) -> Result<Vec<u64>, StateError> {
        let (namespace, name) = (item.namespace.as_ref(), item.name.as_ref());
        let mut objects = Vec::new();
        for number in from.. {
            // Most names are those of one object: to find that there is no other is less work than
            // to begin a range.
            let found = self.w.objects.get((context.type_id, namespace, name, number))?;
            let Some(object) = found else { break };
            objects.push(object.value());
        }
        Ok(objects)
    }

    /// How many lives of a name, from the first on, had ended before the version at hand, and the order key
    /// of the newest end.
    fn settled(&self, context: &Context, item: &Item<'_>) -> Result<(u32, Vec<u8>), StateError> {
        let key = (context.type_id, item.namespace.as_ref(), item.name.as_ref());
        let rv = item.rv.as_ref();
        let found = if rv::is_ordered(rv) { self.w.settled.get(key)? } else { None };
        let found = found.filter(|found| *found.value().1 < *order_key(rv, 0, Rank::Body));
        let owned = |(settled, newest_end): (u32, &[u8])| (settled, newest_end.to_vec());
        Ok(found.map(|found| owned(found.value())).unwrap_or_default())
    }

    /// Notes which lives of a name ended before its new one, so that the next one need not look at all
    /// of them again.
    fn settle(
        &mut self,
        context: &Context,
        item: &Item<'_>,
        namesakes: Namesakes,
    ) -> Result<(), StateError> {
        let rv = item.rv.as_ref();
        let Namesakes { settled: before, mut newest_end, others } = namesakes;
        if others.len() < SETTLED_MIN || !rv::is_ordered(rv) {
            return Ok(());
        }
        let (mut settled, own) = (before, order_key(rv, 0, Rank::Body));
        for object in others {
            let life = self.life_row(object)?;
            let last = life.last_order();
            if life.ended().is_none() || !rv::is_ordered(life.last_rv()) || last >= own {
                break;
            }
            newest_end = newest_end.max(last);
            settled += 1;
        }
        if settled > before {
            let key = (context.type_id, item.namespace.as_ref(), item.name.as_ref());
            self.w.settled.insert(key, (settled, newest_end.as_slice()));
        }
        Ok(())
    }

    /// A version comes of a life that had ended: it may matter again to the other lives of its name.
    fn unsettle(&mut self, life: &LifeRow) -> Result<(), StateError> {
        let key = (life.type_id, life.namespace.as_str(), life.name.as_str());
        if life.ended().is_some() && self.w.settled.get(key)?.is_some() {
            self.w.settled.remove(key);
        }
        Ok(())
    }

    /// A name is seen with a uid: what had the name before that has ended (O5).
    fn end_others(
        &mut self,
        stamp: Stamp,
        context: &Context,
        others: &[u64],
        rv: &str,
    ) -> Result<(), StateError> {
        for object in others {
            self.end_unseen(stamp, context, *object, Verb::Replaced, rv, "")?;
        }
        Ok(())
    }

    /// A life is seen of which a later one with its name is known already, because another source
    /// was faster: it ended before that.
    fn end_before_later(
        &mut self,
        stamp: Stamp,
        context: &Context,
        own: u64,
        others: &[u64],
        rv: &str,
    ) -> Result<(), StateError> {
        let mut next: Option<LifeRow> = None;
        for object in others {
            let life = self.life_row(*object)?;
            let later = rv::compare(&life.begin.rv, rv) == Some(Ordering::Greater);
            let sooner = next.as_ref().is_none_or(|next| {
                rv::compare(&life.begin.rv, &next.begin.rv) == Some(Ordering::Less)
            });
            if later && sooner {
                next = Some(life);
            }
        }
        let Some(next) = next else { return Ok(()) };
        // It was to be seen when the later one came.
        let stamp = Stamp { time: stamp.time.max(next.begin.time), ..stamp };
        self.end_unseen(stamp, context, own, Verb::Replaced, &next.begin.rv, "")
    }

    /// A version comes late: the fold has seen a whole list of a newer version already. Had the
    /// object existed there, the list would have shown this version or a newer one, and this one
    /// would not be new or not be the newest up to there.
    fn end_by_list(
        &mut self,
        stamp: Stamp,
        context: &Context,
        object: u64,
        rv: &str,
        existed_at: &str,
    ) -> Result<(), StateError> {
        if !rv::is_ordered(rv) || !rv::is_ordered(existed_at) {
            return Ok(());
        }
        let type_id = context.type_id;
        let after = order_key(existed_at, 0, Rank::Gone);
        if self.newest_list(type_id)?.is_none_or(|newest| *newest <= *after) {
            return Ok(());
        }
        let range = (
            std::ops::Bound::Excluded((type_id, after.as_slice())),
            std::ops::Bound::Excluded((type_id + 1, [].as_slice())),
        );
        let next = self.w.lists.range(range).next().transpose()?;
        let next = next.map(|(key, time)| (rv::of_order_key(key.value().1), time.value()));
        let Some((Some(list_rv), seen)) = next else { return Ok(()) };
        // What is concluded only now was to be seen when the list came.
        let stamp = Stamp { time: stamp.time.max(seen), ..stamp };
        let life = self.life_row(object)?;
        if self.existing_at(object, &life, &list_rv)?.as_deref() != Some(rv) {
            return Ok(());
        }
        self.end_unseen(stamp, context, object, Verb::Vanished, &list_rv, "")
    }

    /// Order key of the newest whole list of a type.
    fn newest_list(&mut self, type_id: u32) -> Result<Option<&[u8]>, StateError> {
        let newest = match self.lists.entry(type_id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let range = (type_id, [].as_slice())..(type_id + 1, [].as_slice());
                let newest = self.w.lists.range(range).next_back().transpose()?;
                entry.insert(newest.map(|(key, _)| key.value().1.to_vec()))
            }
        };
        Ok(newest.as_deref())
    }

    /// An object can't have existed any more at `rv`, but nobody saw it end. It is left alone if
    /// it is known to have ended before, or to have lived on after (then the sources disagree, and
    /// the one that saw it counts).
    pub(super) fn end_unseen(
        &mut self,
        stamp: Stamp,
        context: &Context,
        object: u64,
        verb: Verb,
        rv: &str,
        stream_rv: &str,
    ) -> Result<(), StateError> {
        let life = self.life_row(object)?;
        let ordered = rv::is_ordered(rv) && rv::is_ordered(life.last_rv());
        let last = if ordered {
            self.existing_at(object, &life, rv)?
        } else {
            life.ended().is_none().then(|| life.last_rv().to_owned())
        };
        let Some(last) = last else { return Ok(()) };
        let followed = rv::compare(stream_rv, &last) == Some(Ordering::Greater)
            && rv::compare(stream_rv, rv) != Some(Ordering::Greater);
        let after = if followed { stream_rv.to_owned() } else { last };
        let draft = Draft::end(verb, rv, Some(after), &context.frame.version);
        self.put_version(stamp, context.cluster, object, life, draft)
    }

    /// Whether all that is known of an object is newer than `rv`.
    pub(super) fn first_seen_after(&mut self, object: u64, rv: &str) -> Result<bool, StateError> {
        let first = self.life_row(object)?.begin.rv;
        Ok(rv::compare(&first, rv) == Some(Ordering::Greater))
    }

    /// Resource version of the version in which an object exists at `rv`, unless it is known to
    /// have ended or to have been seen later.
    fn existing_at(
        &self,
        object: u64,
        life: &LifeRow,
        rv: &str,
    ) -> Result<Option<String>, StateError> {
        let limit = order_key(rv, 0, Rank::Gone);
        // The newest that somebody saw, or that is not after the limit.
        let last = self.versions(object, life).last_where(|version| {
            let verb = Verb::from_code(version.verb);
            !matches!(verb, Verb::Vanished | Verb::Replaced) || version.order() <= limit
        })?;
        Ok(last.and_then(|last| {
            let exists = last.order() <= limit && !Verb::from_code(last.verb).is_end();
            exists.then_some(last.rv)
        }))
    }

    fn versions<'v>(&'v self, object: u64, life: &'v LifeRow) -> Versions<'v> {
        Versions { rows: &self.w.versions, object, life }
    }

    /// Whether this version was seen before, from whatever source.
    fn is_known(
        &self,
        object: u64,
        life: &LifeRow,
        rv: &str,
        rank: Rank,
    ) -> Result<bool, StateError> {
        if life.versions == 0 {
            return Ok(false);
        }
        if rv::is_ordered(rv) {
            let key = order_key(rv, 0, rank);
            // Most of what is asked for is newer than all that is known.
            return Ok(key <= life.last_order() && self.versions(object, life).get(&key)?.is_some());
        }
        let same = |version: &VersionRow| {
            version.rv == rv && version.order().last() == Some(&(rank as u8))
        };
        Ok(self.versions(object, life).last_where(same)?.is_some())
    }

    fn put_version(
        &mut self,
        stamp: Stamp,
        cluster: u32,
        object: u64,
        mut life: LifeRow,
        draft: Draft<'_>,
    ) -> Result<(), StateError> {
        self.unsettle(&life)?;
        let number = life.versions;
        let key = order_key(draft.rv, number, draft.rank);
        let change = LogRow::Version(life.type_id, object, key.clone());
        let ordinal = self.log(stamp.index, change)?;
        if let Some(body) = draft.body {
            life.begin.last_body = self.put_body(&life, body)?;
        }
        let fact = FactRow {
            verb: draft.verb.code(),
            index: stamp.index,
            time: stamp.time,
            address: draft.address,
        };
        self.keep_fact(cluster, object, &mut life, &key, fact)?;
        let version = VersionRow {
            verb: draft.verb.code(),
            rv: draft.rv.to_owned(),
            after_rv: draft.after_rv,
            index: stamp.index,
            ordinal,
            time: stamp.time,
            basis: stamp.basis.code(),
            redacted: draft.redacted,
            number,
            body: life.begin.last_body,
            source: stamp.source,
            version: draft.version.to_owned(),
        };
        versions::put(&mut self.w.versions, object, &mut life, version)?;
        life.versions += 1;
        life.begin.take(stamp.time, draft.rv);
        let newest = self.newest_time(cluster, stamp)?;
        self.keep_existence(object, &mut life, newest)?;
        self.kept.lives.put(object, life);
        Ok(())
    }
}

impl<'a> Draft<'a> {
    /// An end that nobody saw.
    fn end(verb: Verb, rv: &'a str, after_rv: Option<String>, version: &'a str) -> Self {
        Self {
            verb,
            rv,
            after_rv,
            rank: Rank::Gone,
            body: None,
            redacted: false,
            version,
            address: None,
        }
    }
}
