//! Which blind stretches a question touches: those that the log states or implies, and what lies
//! before the first list and after the last record.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::names::Chosen;
use super::read::{Bound, Limit, View};
use super::types::{GapSeen, ResourceType};
use crate::tables::{ALL, GapRow, SourceRow, StreamRow, unrow};
use crate::{StateError, Time, rv};

/// Reason of the stretch before a type was first listed.
pub(crate) const NOT_YET: &str = "not-covered-yet";
/// Reason where a type never was listed.
pub(crate) const NEVER: &str = "never-listed";
/// Reason of the stretch after the newest record.
pub(crate) const NO_LATER: &str = "no-later-record";
/// Reason of the stretch after an imported recording.
pub(crate) const ENDED: &str = "recording-ended";

/// How long a source that is there may be silent.
const HEARTBEAT_MAX_NS: i64 = 30_000_000_000;

/// What of a blind stretch counts.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    shape: Shape,
    /// It ends with the newest record, whatever its time: that a recording ends there is no news.
    newest: bool,
}

#[derive(Debug, Clone)]
enum Shape {
    /// Any moment from the first to the second.
    Time(i64, i64),
    Rv(String),
    /// Nothing, because there is no record.
    Nothing,
}

impl Window {
    /// The one point of a bound.
    pub(crate) fn of(bound: &Bound) -> Self {
        let shape = match (&bound.limit, bound.time) {
            (Limit::Rv(rv), _) => Shape::Rv(rv.clone()),
            (_, Some(time)) => Shape::Time(time, time),
            (_, None) => Shape::Nothing,
        };
        Self { shape, newest: matches!(bound.limit, Limit::Known) }
    }

    /// From a time to a bound, or the other way round.
    pub(crate) fn span(from: Option<i64>, to: &Bound) -> Self {
        let shape = match (from, to.time) {
            (Some(from), Some(to)) => Shape::Time(from.min(to), to.max(from)),
            _ => Shape::Nothing,
        };
        Self { shape, newest: matches!(to.limit, Limit::Known) }
    }

    fn ends(&self) -> Option<(i64, i64)> {
        match self.shape {
            Shape::Time(from, to) => Some((from, to)),
            Shape::Rv(_) | Shape::Nothing => None,
        }
    }

    /// Whether a gap touches it. At its very ends somebody looked.
    fn touches(&self, gap: &GapRow) -> bool {
        if self.newest && gap.reason == ENDED {
            return false;
        }
        match &self.shape {
            Shape::Time(from, to) => gap.from < *to && gap.to.is_none_or(|end| *from < end),
            Shape::Rv(wanted) => {
                let after = gap.from_rv.as_deref().and_then(|from| rv::compare(from, wanted));
                let before = gap.to_rv.as_deref().and_then(|to| rv::compare(wanted, to));
                let open = gap.to_rv.is_none() && gap.to.is_none();
                !gap.recovered
                    && after.is_some_and(Ordering::is_lt)
                    && (open || before.is_some_and(Ordering::is_lt))
            }
            Shape::Nothing => false,
        }
    }

    /// The part of it that a gap covers.
    fn within(&self, gap: &GapRow) -> Self {
        let shape = match &self.shape {
            Shape::Time(from, to) => {
                Shape::Time(gap.from.max(*from), gap.to.unwrap_or(i64::MAX).min(*to))
            }
            other => other.clone(),
        };
        Self { shape, newest: false }
    }
}

/// How a type was looked at, as far as it is known at a bound: read once, asked about many windows.
#[derive(Debug)]
pub(crate) struct Watched {
    cluster: String,
    shown: ResourceType,
    streams: Vec<(u32, StreamRow)>,
    /// The gaps that may speak of the type, and whether they are of this cluster alone.
    rows: Vec<(bool, GapRow)>,
    sources: BTreeMap<u32, SourceRow>,
    /// Time of the newest record that speaks of the cluster.
    newest: Option<i64>,
}

impl View {
    /// Blind stretches of these types that touch the window, as known at the bound.
    pub(crate) fn gaps(
        &self,
        cluster: u32,
        types: &[Chosen],
        window: &Window,
        bound: &Bound,
    ) -> Result<Vec<GapSeen>, StateError> {
        let mut seen: Vec<GapSeen> = Vec::new();
        for chosen in types {
            for gap in self.watched(cluster, chosen, bound)?.gaps(window) {
                if !seen.contains(&gap) {
                    seen.push(gap);
                }
            }
        }
        Ok(seen)
    }

    /// How a type was looked at, as known at the bound.
    pub(crate) fn watched(
        &self,
        cluster: u32,
        chosen: &Chosen,
        bound: &Bound,
    ) -> Result<Arc<Watched>, StateError> {
        if bound.known != self.next.checked_sub(1) {
            return self.read_watched(cluster, chosen, bound).map(Arc::new);
        }
        let key = (cluster, chosen.shown.group.as_str(), chosen.shown.resource.as_str());
        self.memo.watched(key, || self.read_watched(cluster, chosen, bound))
    }

    fn read_watched(
        &self,
        cluster: u32,
        chosen: &Chosen,
        bound: &Bound,
    ) -> Result<Watched, StateError> {
        let streams = match chosen.number {
            Some(number) => self.streams(number, bound)?,
            None => Vec::new(),
        };
        let mut keys = vec![(cluster, ALL), (ALL, ALL)];
        keys.extend(chosen.number.map(|number| (cluster, number)));
        let mut rows = Vec::new();
        for (cluster_key, type_key) in keys {
            let range = (cluster_key, type_key, 0)..=(cluster_key, type_key, u64::MAX);
            for entry in self.rows.gaps.range(range) {
                let row: GapRow = unrow(entry?.1.value())?;
                let feeds = |stream: &(u32, StreamRow)| stream.0 == row.source;
                let speaks = type_key != ALL || streams.is_empty() || streams.iter().any(feeds);
                if let Some(row) = as_known(row, bound).filter(|_| speaks) {
                    rows.push((cluster_key != ALL, row));
                }
            }
        }
        rows.sort_by_key(|(_, row)| (row.from, row.index));
        let mut sources = BTreeMap::new();
        for (source, _) in &streams {
            sources.insert(*source, self.source_row(*source)?);
        }
        let newest = bound.known.map(|known| self.last_time(cluster, known)).transpose()?.flatten();
        Ok(Watched {
            cluster: self.cluster_row(cluster)?.id,
            shown: chosen.shown.clone(),
            streams,
            rows,
            sources,
            newest: newest.map(|(time, _)| time),
        })
    }

    /// Whether a gap that has ended is one of the type's: nobody else looked meanwhile.
    pub(crate) fn nobody_looked(
        &self,
        cluster: u32,
        chosen: &Chosen,
        gap: &GapRow,
        bound: &Bound,
    ) -> Result<bool, StateError> {
        let shape = Shape::Time(gap.from, gap.to.unwrap_or(i64::MAX));
        let window = Window { shape, newest: false };
        let touched = self.watched(cluster, chosen, bound)?.gaps(&window);
        Ok(touched.iter().any(|seen| seen.index == Some(gap.index)))
    }

    /// What each source says of a type, as far as it is known at the bound.
    pub(crate) fn streams(
        &self,
        type_id: u32,
        bound: &Bound,
    ) -> Result<Vec<(u32, StreamRow)>, StateError> {
        let mut streams = Vec::new();
        for entry in self.rows.streams.range((type_id, 0)..=(type_id, u32::MAX)) {
            let (key, row) = entry?;
            let mut stream: StreamRow = unrow(row.value())?;
            if bound.knows(stream.first_index) {
                stream.first_list = stream.first_list.filter(|(index, ..)| bound.knows(*index));
                streams.push((key.value().1, stream));
            }
        }
        Ok(streams)
    }

    /// Last moment at which a source surely looked.
    pub(crate) fn source_last(&self, source: u32) -> Result<Option<i64>, StateError> {
        Ok(self.source_row(source)?.last_time)
    }

    fn source_row(&self, source: u32) -> Result<SourceRow, StateError> {
        let found = self.rows.source_rows.get(source)?;
        found.map_or_else(|| Ok(SourceRow::default()), |found| unrow(found.value()))
    }
}

impl Watched {
    /// Whether a whole list of it is known.
    pub(crate) fn is_listed(&self) -> bool {
        self.first_lists().next().is_some()
    }

    /// How many rows it holds.
    pub(super) fn rows_len(&self) -> usize {
        self.streams.len() + self.rows.len() + self.sources.len()
    }

    /// Blind stretches that touch the window.
    pub(crate) fn gaps(&self, window: &Window) -> Vec<GapSeen> {
        let mut gaps = self.edges(window);
        for (of_cluster, row) in &self.rows {
            if window.touches(row) && !self.covered_otherwise(row, window) {
                gaps.push(to_seen(of_cluster.then(|| self.cluster.clone()), row));
            }
        }
        for silence in self.silences(window) {
            if window.touches(&silence) && !self.covered_otherwise(&silence, window) {
                let seen = to_seen(Some(self.cluster.clone()), &silence);
                gaps.push(GapSeen { index: None, ..seen });
            }
        }
        gaps
    }

    fn first_lists(&self) -> impl Iterator<Item = &(u64, i64, String)> {
        self.streams.iter().filter_map(|(_, stream)| stream.first_list.as_ref())
    }

    /// The stretches after the last word of each source that recorded the type, up to the first
    /// list of the next one. If nobody did that in person (recordings say themselves where they
    /// end), it is the stretch after the newest record of the cluster.
    fn silences(&self, window: &Window) -> Vec<GapRow> {
        let listed = self.first_lists().next().is_some();
        let Some((_, to)) = window.ends().filter(|_| listed) else { return Vec::new() };
        let silence = |source: u32, from: i64| GapRow {
            source,
            group: Some(self.shown.group.clone()),
            resource: Some(self.shown.resource.clone()),
            from,
            to: self.first_lists().map(|(_, time, _)| *time).filter(|time| *time > from).min(),
            reason: NO_LATER.to_owned(),
            derived: true,
            detail: "nothing later is recorded yet".to_owned(),
            ..GapRow::default()
        };
        let mut found = Vec::new();
        for (source, _) in self.streams.iter().filter(|(_, stream)| stream.first_list.is_some()) {
            let row = self.sources.get(source);
            let Some(last) = row.filter(|row| !row.imported).and_then(|row| row.last_time) else {
                continue;
            };
            // The window may end before that; and the newest record may be of another source, then
            // this one is heard of soon.
            let quiet = !window.newest || last.saturating_add(HEARTBEAT_MAX_NS) < to;
            if quiet && last < to {
                found.push(silence(*source, last));
            }
        }
        if let Some(last) = self.newest.filter(|last| to > *last)
            && !found.iter().any(|row| row.to.is_none() && row.from <= last)
        {
            found.push(silence(u32::MAX, last));
        }
        found
    }

    /// What lies before the first list.
    fn edges(&self, window: &Window) -> Vec<GapSeen> {
        let edge = |to: Option<i64>, reason: &str, detail: &str| GapSeen {
            index: None,
            cluster: Some(self.cluster.clone()),
            group: Some(self.shown.group.clone()),
            resource: Some(self.shown.resource.clone()),
            from: None,
            to: to.map(Time),
            from_rv: None,
            to_rv: None,
            reason: reason.to_owned(),
            recovered: false,
            derived: true,
            detail: detail.to_owned(),
        };
        let Some(first) = self.first_lists().min_by_key(|(_, time, _)| *time) else {
            return vec![edge(None, NEVER, "no whole list of it is recorded")];
        };
        let early = match &window.shape {
            Shape::Rv(wanted) => rv::compare(wanted, &first.2).is_some_and(Ordering::is_lt),
            _ => window.ends().is_some_and(|(from, _)| from < first.1),
        };
        if !early {
            return Vec::new();
        }
        let gap = edge(Some(first.1), NOT_YET, "it was first listed later");
        vec![GapSeen { to_rv: Some(first.2.clone()), ..gap }]
    }

    /// Whether another source looked at the type where a gap touches the window.
    fn covered_otherwise(&self, gap: &GapRow, window: &Window) -> bool {
        let part = window.within(gap);
        let others = self.streams.iter().filter(|(source, _)| *source != gap.source);
        others.into_iter().any(|(source, stream)| {
            let blind = self.rows.iter().any(|(_, other)| {
                other.source == *source && !other.recovered && part.touches(other)
            });
            !blind && self.covers(*source, stream, &part)
        })
    }

    /// Whether a source had listed the type before the window and was there until its end.
    fn covers(&self, source: u32, stream: &StreamRow, part: &Window) -> bool {
        let Some((_, first, first_rv)) = &stream.first_list else { return false };
        match &part.shape {
            Shape::Time(from, to) => {
                let last = self.sources.get(&source).and_then(|row| row.last_time);
                first <= from && last.is_some_and(|last| last >= *to)
            }
            Shape::Rv(wanted) => {
                rv::compare(first_rv, wanted).is_some_and(Ordering::is_le)
                    && rv::compare(wanted, &stream.last_rv).is_some_and(Ordering::is_le)
            }
            Shape::Nothing => false,
        }
    }
}

/// The gap as it was known at the bound; `None` if it was not, or was said better by then.
pub(crate) fn as_known(mut row: GapRow, bound: &Bound) -> Option<GapRow> {
    if !bound.knows(row.index) || row.superseded.is_some_and(|index| bound.knows(index)) {
        return None;
    }
    if row.closed_index.is_some_and(|index| !bound.knows(index)) {
        row.to = None;
        row.to_rv = None;
    }
    Some(row)
}

pub(crate) fn to_seen(cluster: Option<String>, row: &GapRow) -> GapSeen {
    GapSeen {
        index: Some(row.index),
        cluster,
        group: row.group.clone(),
        resource: row.resource.clone(),
        from: Some(Time(row.from)),
        to: row.to.map(Time),
        from_rv: row.from_rv.clone(),
        to_rv: row.to_rv.clone(),
        reason: row.reason.clone(),
        recovered: row.recovered,
        derived: row.derived,
        detail: row.detail.clone(),
    }
}
