//! Sources: their boots, the times that prove they were looking, and gaps: those they state and
//! those that follow from their silence.

use std::cmp::Ordering;

use stele_record::{Declaration, Gap, Kind};

use super::{Fault, Fold, FoldRecord, Stamp, as_u32, unusable};
use crate::chunks::{TIMES_RECORDS, TimesChunk};
use crate::tables::{ALL, GapRow, LogRow, SourceRow, StreamRow, row, unrow};
use crate::{StateError, TimeBasis, rv};

impl Fold<'_> {
    /// Takes note of who speaks, and gives the record's stamp.
    pub(super) fn enter(&mut self, record: &FoldRecord<'_>) -> Result<Stamp, Fault> {
        let header = record.header;
        let source = self.source(header.source.as_bytes())?;
        let boot = header.boot.0;
        let observed = header.observed_time.unix_ns();
        if header.kind == Kind::SOURCE_OPEN {
            self.source_open(source, record)?;
        }
        let index = record.index;
        let known = self.source_row(source)?;
        known.boot = boot;
        let claimed = header.event_time.filter(|_| known.imported).map(|time| time.unix_ns());
        let (time, basis) =
            claimed.map_or((observed, TimeBasis::Observed), |time| (time, TimeBasis::Claimed));
        let mut clusters = Vec::new();
        // Of an imported recording only what has the origin's own time proves that it looked.
        if !known.imported || claimed.is_some() {
            known.last_time = known.last_time.max(Some(time));
            clusters.clone_from(&known.clusters);
        }
        let proves = matches!(header.kind, Kind::SEAL | Kind::SOURCE_OPEN | Kind::SOURCE_CLOSE);
        for cluster in clusters.into_iter().filter(|_| proves) {
            self.looked(cluster, index, time, basis)?;
        }
        Ok(Stamp { index, time, basis, source, boot })
    }

    /// Keeps the newest time at which somebody looked at a cluster.
    pub(super) fn looked(
        &mut self,
        cluster: u32,
        index: u64,
        time: i64,
        basis: TimeBasis,
    ) -> Result<(), StateError> {
        let number = index / TIMES_RECORDS;
        let (own, mut chunk) = match self.times.remove(&cluster) {
            Some(growing) => growing,
            None => self.newest_times(cluster)?.unwrap_or((number, TimesChunk::default())),
        };
        let before = chunk.at(index).unwrap_or((time, basis.code()));
        let newest = if time >= before.0 { (time, basis.code()) } else { before };
        if own != number {
            self.w.times.insert((cluster, own), chunk.pack().as_slice());
            chunk = TimesChunk::default();
        }
        chunk.put(index, newest);
        self.times.insert(cluster, (number, chunk));
        Ok(())
    }

    /// Newest effective time of a cluster, with the record at hand.
    pub(super) fn newest_time(&self, cluster: u32, stamp: Stamp) -> Result<i64, StateError> {
        let at = |chunk: &TimesChunk| chunk.at(stamp.index).map(|(time, _)| time);
        let newest = match self.times.get(&cluster) {
            Some((_, chunk)) => at(chunk),
            None => self.newest_times(cluster)?.and_then(|(_, chunk)| at(&chunk)),
        };
        Ok(newest.map_or(stamp.time, |newest| newest.max(stamp.time)))
    }

    fn newest_times(&self, cluster: u32) -> Result<Option<(u64, TimesChunk)>, StateError> {
        let range = (cluster, 0)..=(cluster, u64::MAX);
        let Some(entry) = self.w.times.range(range).next_back() else { return Ok(None) };
        let (key, value) = entry?;
        let number = key.value().1;
        Ok(Some((number, TimesChunk::unpack(number, value.value())?)))
    }

    fn source(&mut self, id: &[u8; 32]) -> Result<u32, StateError> {
        if let Some(number) = self.w.sources.get(id)? {
            return Ok(number.value());
        }
        let number = as_u32(self.count("sources", 1)?)?;
        self.w.sources.insert(id, number);
        self.sources.insert(number, SourceRow::default());
        Ok(number)
    }

    pub(super) fn source_row(&mut self, number: u32) -> Result<&mut SourceRow, StateError> {
        match self.sources.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let found = self.w.source_rows.get(number)?;
                let found =
                    found.ok_or_else(|| StateError::Damaged("no such source".to_owned()))?;
                let source = unrow(found.value())?;
                Ok(entry.insert(source))
            }
        }
    }

    /// The stream of a type from a source; `None` if there is none yet.
    pub(super) fn stream(&mut self, key: (u32, u32)) -> Result<Option<&mut StreamRow>, StateError> {
        if !self.streams.contains_key(&key) {
            let Some(found) = self.w.streams.get(key)? else { return Ok(None) };
            let stream = unrow(found.value())?;
            self.streams.insert(key, stream);
        }
        Ok(self.streams.get_mut(&key))
    }

    /// All streams of a source.
    fn streams_of(&mut self, source: u32) -> Result<Vec<(u32, u32)>, StateError> {
        let mut keys: std::collections::BTreeSet<(u32, u32)> =
            self.streams.keys().filter(|key| key.1 == source).copied().collect();
        for entry in self.w.streams.iter() {
            let key = entry?.0.value();
            if key.1 == source {
                keys.insert(key);
            }
        }
        Ok(keys.into_iter().collect())
    }

    fn source_open(&mut self, source: u32, record: &FoldRecord<'_>) -> Result<(), Fault> {
        let declaration = Declaration::decode(record.payload);
        let before = self.source_row(source)?.clone();
        if let Some(last) = before.last_time
            && !before.imported
            && before.boot != record.header.boot.0
        {
            let (reason, detail) = if before.closed {
                ("recorder-down", "the recorder was stopped")
            } else {
                ("no-close", "the recorder ended without saying so")
            };
            for (type_id, _) in self.streams_of(source)? {
                let key = (type_id, source);
                let Some(stream) = self.stream(key)? else { continue };
                // That the recorder runs again does not mean that it sees this type again: its
                // next word about it ends the gap.
                let open = stream.blind.is_none();
                let gap = GapRow {
                    from_rv: (!stream.last_rv.is_empty()).then(|| stream.last_rv.clone()),
                    index: record.index,
                    source,
                    from: last,
                    to: (!open).then(|| record.header.observed_time.unix_ns()),
                    reason: reason.to_owned(),
                    detail: detail.to_owned(),
                    ..GapRow::default()
                };
                let number = self.derive_gap(key, gap)?;
                if let Some(stream) = self.stream(key)?.filter(|_| open) {
                    stream.blind = Some(number);
                }
            }
        }
        let known = self.source_row(source)?;
        known.closed = false;
        match declaration {
            Ok(declaration) => {
                known.imported = declaration.imported;
                known.name = declaration.name;
                Ok(())
            }
            Err(error) => {
                let reason = format!("declaration of a source: {error}");
                self.note(record.index, &reason).map_err(Fault::from)
            }
        }
    }

    pub(super) fn source_close(&mut self, stamp: Stamp) -> Result<(), Fault> {
        self.source_row(stamp.source)?.closed = true;
        Ok(())
    }

    /// A gap that a source states.
    pub(super) fn gap(&mut self, stamp: Stamp, payload: &[u8]) -> Result<(), Fault> {
        let gap = Gap::decode(payload).map_err(unusable)?;
        let cluster = match &gap.cluster {
            Some(id) => self.cluster(id)?,
            None => ALL,
        };
        let type_id = match &gap.resource {
            Some(resource) if cluster != ALL => {
                let group = gap.group.as_deref().unwrap_or_default();
                self.resource_type(cluster, group, resource)?
            }
            _ => ALL,
        };
        self.seen(stamp, cluster)?;
        let reason = serde_json::to_value(gap.reason).map_err(unusable)?;
        let stated = GapRow {
            index: stamp.index,
            source: stamp.source,
            group: gap.group,
            resource: gap.resource,
            from: gap.from_ns.unix_ns(),
            to: gap.to_ns.map(|time| time.unix_ns()),
            from_rv: gap.from_rv,
            to_rv: gap.to_rv,
            reason: reason.as_str().unwrap_or("other").to_owned(),
            recovered: gap.recovered,
            derived: false,
            detail: gap.detail,
            closed_index: None,
            superseded: None,
        };
        self.supersede(stamp, type_id, cluster, &stated)?;
        self.replace_stated(stamp, (cluster, type_id), &stated)?;
        let number = self.put_gap(cluster, type_id, &stated)?;
        if let Some(stream) = self.stream((type_id, stamp.source))? {
            // Frames show that it sees again, should no record come that says so.
            stream.blind = stated.to.is_none().then_some(number).or(stream.blind);
        }
        Ok(())
    }

    /// A source may announce a gap while it lasts; the record that ends it, or gives another
    /// reason for it, repeats the start and takes its place.
    fn replace_stated(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        stated: &GapRow,
    ) -> Result<(), StateError> {
        let mut replaced = None;
        for entry in self.w.gaps.range((key.0, key.1, 0)..=(key.0, key.1, u64::MAX)).rev() {
            let (gap_key, value) = entry?;
            let earlier: GapRow = unrow(value.value())?;
            let open = earlier.to.is_none() || earlier.closed_index.is_some();
            let alike = earlier.source == stamp.source && earlier.from == stated.from;
            if open && alike && !earlier.derived && earlier.superseded.is_none() {
                replaced = Some((gap_key.value(), earlier));
                break;
            }
        }
        if let Some((gap_key, mut earlier)) = replaced {
            earlier.superseded = Some(stamp.index);
            self.w.gaps.insert(gap_key, row(&earlier).as_slice());
            if let Some(stream) = self.stream((key.1, stamp.source))? {
                stream.blind = stream.blind.filter(|number| *number != gap_key.2);
            }
        }
        Ok(())
    }

    /// What a source states counts more than what the fold concluded from its silence.
    fn supersede(
        &mut self,
        stamp: Stamp,
        type_id: u32,
        cluster: u32,
        stated: &GapRow,
    ) -> Result<(), StateError> {
        let keys = if type_id == ALL {
            self.streams_of(stamp.source)?
        } else {
            vec![(type_id, stamp.source)]
        };
        for key in keys {
            let of = self.type_row(key.0)?.cluster;
            if cluster != ALL && cluster != of {
                continue;
            }
            let Some(stream) = self.stream(key)? else { continue };
            stream.told_until = Some(stated.to.unwrap_or(i64::MAX));
            for number in std::mem::take(&mut stream.derived) {
                let gap_key = (of, key.0, number);
                let Some(mut derived) = self.gap_row(gap_key)? else { continue };
                let overlaps = derived.from < stated.to.unwrap_or(i64::MAX)
                    && stated.from < derived.to.unwrap_or(i64::MAX);
                if overlaps {
                    derived.superseded = Some(stamp.index);
                    self.w.gaps.insert(gap_key, row(&derived).as_slice());
                    if let Some(stream) = self.stream(key)? {
                        stream.blind = stream.blind.filter(|blind| *blind != number);
                    }
                } else if let Some(stream) = self.stream(key)? {
                    stream.derived.push(number);
                }
            }
        }
        Ok(())
    }

    fn gap_row(&self, key: (u32, u32, u64)) -> Result<Option<GapRow>, StateError> {
        let found = self.w.gaps.get(key)?;
        found.map(|found| unrow(found.value())).transpose()
    }

    fn put_gap(&mut self, cluster: u32, type_id: u32, gap: &GapRow) -> Result<u64, StateError> {
        let number = self.count("gaps", 1)?;
        self.w.gaps.insert((cluster, type_id, number), row(gap).as_slice());
        self.log(gap.index, LogRow::Gap(cluster, type_id, number))?;
        Ok(number)
    }

    /// Keeps a gap that follows from the records; gives its number.
    pub(super) fn derive_gap(
        &mut self,
        stream_key: (u32, u32),
        mut gap: GapRow,
    ) -> Result<u64, StateError> {
        let type_row = self.type_row(stream_key.0)?;
        let cluster = type_row.cluster;
        gap.group = Some(type_row.group.clone());
        gap.resource = Some(type_row.resource.clone());
        gap.derived = true;
        let number = self.put_gap(cluster, stream_key.0, &gap)?;
        if let Some(stream) = self.stream(stream_key)? {
            stream.derived.push(number);
        }
        Ok(number)
    }

    /// A list of an older version than was seen before: the server's data were set back, and
    /// versions are given out a second time. What was seen of the first time can't be told from
    /// what is there now, until a whole list is beyond all of it (see [`Self::end_set_back`]).
    pub(super) fn begin_set_back(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        rv: &str,
    ) -> Result<(), StateError> {
        let Some(stream) = self.stream(key)? else { return Ok(()) };
        let went_back = rv::compare(rv, &stream.last_rv) == Some(Ordering::Less);
        // The parts of a recording may come in any order.
        if !went_back || stream.set_back.is_some() || stamp.basis == TimeBasis::Claimed {
            return Ok(());
        }
        let gap = GapRow {
            index: stamp.index,
            source: stamp.source,
            from: stream.last_time,
            from_rv: Some(rv.to_owned()),
            reason: "versions-went-back".to_owned(),
            detail: format!("listed at {rv} after {} had been seen", stream.last_rv),
            ..GapRow::default()
        };
        self.begin_lasting(key, gap, |stream| &mut stream.set_back)
    }

    /// A whole list was seen: if it is beyond all versions that were ever seen, each version has
    /// one meaning again.
    pub(super) fn end_set_back(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        rv: &str,
    ) -> Result<(), StateError> {
        let cluster = self.type_row(key.0)?.cluster;
        let Some(stream) = self.stream(key)? else { return Ok(()) };
        let beyond = rv::compare(rv, &stream.last_rv).is_some_and(Ordering::is_ge);
        let Some(number) = stream.set_back.take_if(|_| beyond) else { return Ok(()) };
        self.close_gap(stamp, (cluster, key.0, number), rv)
    }

    /// Concludes a gap that no statement of the recorder ends, because it is about something that
    /// the recorder does not know; `slot` keeps its number until the fold ends it.
    fn begin_lasting(
        &mut self,
        key: (u32, u32),
        gap: GapRow,
        slot: fn(&mut StreamRow) -> &mut Option<u64>,
    ) -> Result<(), StateError> {
        let number = self.derive_gap(key, gap)?;
        if let Some(stream) = self.stream(key)? {
            *slot(stream) = Some(number);
            stream.derived.retain(|derived| *derived != number);
        }
        Ok(())
    }

    /// An object of a frame can't be read: what became of it is not known before a whole list has
    /// been read.
    pub(super) fn begin_unread(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        reason: &str,
    ) -> Result<(), StateError> {
        let Some(stream) = self.stream(key)?.filter(|stream| stream.unread.is_none()) else {
            return Ok(());
        };
        let gap = GapRow {
            index: stamp.index,
            source: stamp.source,
            from: stream.last_time,
            from_rv: (!stream.last_rv.is_empty()).then(|| stream.last_rv.clone()),
            reason: "unreadable".to_owned(),
            detail: reason.to_owned(),
            ..GapRow::default()
        };
        self.begin_lasting(key, gap, |stream| &mut stream.unread)
    }

    /// A whole list was read.
    pub(super) fn end_unread(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        rv: &str,
    ) -> Result<(), StateError> {
        let cluster = self.type_row(key.0)?.cluster;
        let unread = self.stream(key)?.and_then(|stream| stream.unread.take());
        let Some(number) = unread else { return Ok(()) };
        self.close_gap(stamp, (cluster, key.0, number), rv)
    }

    fn close_gap(
        &mut self,
        stamp: Stamp,
        gap_key: (u32, u32, u64),
        rv: &str,
    ) -> Result<(), StateError> {
        let Some(mut gap) = self.gap_row(gap_key)? else { return Ok(()) };
        gap.to = Some(stamp.time.max(gap.from));
        gap.to_rv = (!rv.is_empty()).then(|| rv.to_owned());
        gap.closed_index = Some(stamp.index);
        self.w.gaps.insert(gap_key, row(&gap).as_slice());
        Ok(())
    }

    /// The stream sees again: ends the blind stretch that an ERROR line began.
    pub(super) fn end_blindness(
        &mut self,
        stamp: Stamp,
        key: (u32, u32),
        rv: &str,
    ) -> Result<(), StateError> {
        let cluster = self.type_row(key.0)?.cluster;
        let Some(stream) = self.stream(key)? else { return Ok(()) };
        let Some(number) = stream.blind.take() else { return Ok(()) };
        let gap_key = (cluster, key.0, number);
        // An older recording, imported later, says nothing about what came after it.
        if self.gap_row(gap_key)?.is_some_and(|gap| gap.from <= stamp.time) {
            self.close_gap(stamp, gap_key, rv)?;
        }
        Ok(())
    }
}
