//! Following one type from a resource version on, as the watch of an API server does: what came to
//! be, what changed and what ended, seen through a filter.
//!
//! The log decides the order. A version that comes late, behind newer ones of its object, is no
//! change any more and is passed over (history has it). An end that nobody saw has no version of
//! its own: it is told with the version that was reached before it.
//!
//! Invariant: whoever goes on from the version that a step carries misses nothing of what is
//! recorded; it may meet steps again that it knows.

use super::Filter;
use super::gaps::{Window, to_seen};
use super::names::Chosen;
use super::read::{Bound, View};
use super::snapshot::SnapshotQuery;
use super::types::{AsOf, Cursor, GapSeen, Verb};
use crate::life::LifeRow;
use crate::tables::{ALL, GapRow, LogRow, VersionRow, unrow};
use crate::{Point, State, StateError, Time, rv};

/// Most rows of the log that one call looks at.
const SCAN_MAX: usize = 20_000;

/// Open gaps that are remembered until their end is known.
const OPEN_GAPS_MAX: usize = 64;

/// What is followed. Of the query, point and newest record do not count.
pub type Follow = SnapshotQuery;

/// How far somebody has followed.
#[derive(Debug, Clone)]
pub struct Trail {
    next: Cursor,
    /// The newest version that was passed.
    newest: Option<String>,
    /// What is not newer than this is known already.
    ahead: Option<String>,
    /// Version of the first whole list: it has outdone whatever is older.
    first: Option<String>,
    /// Gaps of which the end was not known when they were passed.
    open: Vec<(u32, u32, u64)>,
    /// Gaps stated before this record were told at the beginning.
    told: u64,
}

/// Where somebody begins to follow.
#[derive(Debug, Clone)]
pub struct Begin {
    /// From there.
    pub trail: Trail,
    /// Where the newest record stands.
    pub as_of: AsOf,
    /// Blind stretches between there and the newest record.
    pub gaps: Vec<GapSeen>,
}

/// An object in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The version to carry. Not always that in the body: see the module's text on ends.
    pub resource_version: String,
    /// Effective time of the record.
    pub time: Time,
    /// Values were replaced by keyed digests before it was recorded.
    pub redacted: bool,
    /// Its JSON; of an ended object the last that is known.
    pub body: String,
}

/// What happened, as seen through the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepBody {
    /// An object came to be, or to pass the filter.
    Added(Held),
    /// An object has a new version.
    Modified(Held),
    /// An object ended, or no longer passes the filter.
    Deleted(Held),
    /// Nobody had looked.
    Gap {
        /// The stretch.
        gap: Box<GapSeen>,
        /// It was among those that were told at the beginning.
        told: bool,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where it stands in the log.
    pub at: Cursor,
    /// What it is.
    pub body: StepBody,
}

/// Steps, in order.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The steps.
    pub steps: Vec<Step>,
    /// All that is recorded has been looked at.
    pub complete: bool,
    /// The version that was reached behind them, if any is known.
    pub resource_version: Option<String>,
}

impl State {
    /// Begins to follow behind a resource version; `None` if it is older than what is recorded, or
    /// has no order and is not the newest.
    ///
    /// # Errors
    /// [`StateError::NotFound`] for cluster or type; [`StateError::Engine`] or
    /// [`StateError::Damaged`].
    pub fn trail(&self, of: &Follow, from: &str) -> Result<Option<Begin>, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(Some(&of.cluster))?;
        let chosen = view.exact_type(cluster, &of.group, &of.resource)?;
        let now = view.bound(cluster, &Point::Now, None)?;
        let Some(number) = chosen.number else { return Ok(None) };
        let end = Cursor { index: view.next, ordinal: 0 };
        let streams = view.streams(number, &now)?;
        let mut first = None;
        let (next, ahead) = if rv::is_ordered(from) {
            let lists = streams.iter().filter_map(|(_, stream)| stream.first_list.as_ref());
            first = lists.min_by_key(|(_, time, _)| *time).map(|(_, _, rv)| rv.clone());
            let older = |first: &String| rv::compare(from, first).is_some_and(|o| o.is_lt());
            if first.as_ref().is_some_and(older) {
                return Ok(None);
            }
            let behind = view.behind(number, from)?;
            (behind.at, behind.ahead.then(|| from.to_owned()))
        } else if from == "0" {
            // The type had not come to any version where the caller stands: it is all new.
            (Cursor::default(), None)
        } else if streams.iter().any(|(_, stream)| stream.last_rv == from) {
            (end, None)
        } else {
            return Ok(None);
        };
        let newest = rv::is_ordered(from).then(|| from.to_owned());
        let trail = Trail { next, newest, ahead, first, open: Vec::new(), told: view.next };
        let gaps = view.gaps_behind(cluster, &chosen, next, &now)?;
        Ok(Some(Begin { trail, as_of: now.as_of(), gaps }))
    }

    /// The next steps, at most `limit`; the trail moves on behind them.
    ///
    /// # Errors
    /// As [`State::trail`].
    pub fn follow(
        &self,
        of: &Follow,
        trail: &mut Trail,
        limit: usize,
    ) -> Result<Followed, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(Some(&of.cluster))?;
        let chosen = view.exact_type(cluster, &of.group, &of.resource)?;
        let bound = view.bound(cluster, &Point::Now, None)?;
        let walk = Walk { view: &view, cluster, chosen: &chosen, bound, filter: of.filter() };
        let mut steps = walk.closed(trail)?;
        let mut complete = true;
        for (scanned, entry) in view.log_from(trail.next)?.enumerate() {
            if steps.len() >= limit || scanned >= SCAN_MAX {
                complete = false;
                break;
            }
            let (at, row) = entry?;
            let body = walk.row(row, at, trail)?;
            steps.extend(body.map(|body| Step { at, body }));
            trail.next = Cursor { ordinal: at.ordinal.saturating_add(1), ..at };
        }
        if complete {
            trail.next = trail.next.max(Cursor { index: view.next, ordinal: 0 });
            let reached = view.version_at(cluster, &chosen, &walk.bound)?;
            let newer = |newest: &String| rv::compare(newest, &reached).is_some_and(|o| o.is_lt());
            if rv::is_ordered(&reached) && trail.newest.as_ref().is_none_or(newer) {
                trail.newest = Some(reached);
            }
        }
        Ok(Followed { steps, complete, resource_version: trail.newest.clone() })
    }
}

/// A walk through rows of the log.
struct Walk<'a> {
    view: &'a View,
    cluster: u32,
    chosen: &'a Chosen,
    bound: Bound,
    filter: Filter,
}

impl Walk<'_> {
    fn row(
        &self,
        row: LogRow,
        at: Cursor,
        trail: &mut Trail,
    ) -> Result<Option<StepBody>, StateError> {
        match row {
            LogRow::Version(type_id, object, order) => {
                if self.chosen.number != Some(type_id) {
                    return Ok(None);
                }
                self.version(object, &order, at, trail)
            }
            LogRow::Gap(cluster, type_id, number) => {
                let of_type = type_id == ALL || self.chosen.number == Some(type_id);
                let of_cluster = cluster == ALL || cluster == self.cluster;
                if !of_type || !of_cluster {
                    return Ok(None);
                }
                self.gap((cluster, type_id, number), trail)
            }
        }
    }

    fn version(
        &self,
        object: u64,
        order: &[u8],
        at: Cursor,
        trail: &mut Trail,
    ) -> Result<Option<StepBody>, StateError> {
        let life = self.view.life(object)?;
        let row = self.view.version(object, &life, order)?;
        let not_after =
            |known: &String| rv::compare(&row.rv, known).is_some_and(std::cmp::Ordering::is_le);
        if trail.ahead.as_ref().is_some_and(not_after) {
            return Ok(None);
        }
        trail.ahead = None;
        let outdone =
            |first: &String| rv::compare(&row.rv, first).is_some_and(std::cmp::Ordering::is_lt);
        if trail.first.as_ref().is_some_and(outdone) {
            return Ok(None);
        }
        let reached = trail.newest.clone();
        let unseen = matches!(Verb::from_code(row.verb), Verb::Vanished | Verb::Replaced);
        let newer = rv::is_ordered(&row.rv) && !trail.newest.as_ref().is_some_and(not_after);
        if newer && !unseen {
            trail.newest = Some(row.rv.clone());
        }
        let late = match reached.as_ref().filter(|known| not_after(known)) {
            Some(reached) => self.is_late(object, &life, (&row.rv, order), at, reached)?,
            None => false,
        };
        let other = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_some_and(|wanted| wanted != found)
        };
        if late
            || other(&self.filter.namespace, &life.namespace)
            || other(&self.filter.name, &life.name)
            || !self.filter.fields.matches(&life.namespace, &life.name)
        {
            return Ok(None);
        }
        let before = self.view.version_before(object, &life, order, at)?;
        let carried = if unseen { reached.unwrap_or_default() } else { row.rv.clone() };
        self.compare(before, row, carried)
    }

    /// Whether something newer of the name is known already, or comes although it is not newer than
    /// what was reached: then this is no change any more.
    fn is_late(
        &self,
        own: u64,
        life: &LifeRow,
        row: (&str, &[u8]),
        at: Cursor,
        reached: &str,
    ) -> Result<bool, StateError> {
        let (rv, order) = row;
        let taken = rv::order_key(rv, 0, rv::Rank::Body);
        let name = (life.type_id, life.namespace.as_str(), life.name.as_str());
        let key = |number| (name.0, name.1, name.2, number);
        for entry in self.view.rows.objects.range(key(0)..=key(u32::MAX)) {
            let object = entry?.1.value();
            let life = self.view.life(object)?;
            for row in self.view.versions(object, &life).all()? {
                let key = row.order();
                // What took the name at that very version is newer as well.
                let newer = if object == own { key.as_slice() > order } else { key >= taken };
                if !newer {
                    continue;
                }
                if object != own && Verb::from_code(row.verb).is_end() {
                    continue;
                }
                // What took the name at that very version stands right behind the end.
                let passed = rv::compare(&row.rv, reached).is_some_and(std::cmp::Ordering::is_le)
                    && (object == own || row.rv != rv);
                if passed || row.place() < at {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn compare(
        &self,
        before: Option<VersionRow>,
        row: VersionRow,
        carried: String,
    ) -> Result<Option<StepBody>, StateError> {
        let ended = Verb::from_code(row.verb).is_end();
        let held = |body: String| Held {
            resource_version: carried,
            time: Time(row.time),
            redacted: row.redacted,
            body,
        };
        let mut passed = before.is_some();
        let mut earlier = None;
        if let Some(before) = before.filter(|_| self.filter.looks_inside()) {
            let body = self.view.body(&before)?;
            passed = self.filter.matches_inside(&body);
            earlier = Some(body);
        }
        if ended && !passed {
            return Ok(None);
        }
        let body = self.view.body(&row)?;
        if ended {
            return Ok(Some(StepBody::Deleted(held(body))));
        }
        Ok(match (passed, self.filter.matches_inside(&body)) {
            (false, true) => Some(StepBody::Added(held(body))),
            (true, true) => Some(StepBody::Modified(held(body))),
            (true, false) => Some(StepBody::Deleted(held(earlier.unwrap_or(body)))),
            (false, false) => None,
        })
    }

    fn gap(&self, key: (u32, u32, u64), trail: &mut Trail) -> Result<Option<StepBody>, StateError> {
        let Some(found) = self.view.rows.gaps.get(key)? else { return Ok(None) };
        let gap: GapRow = unrow(found.value())?;
        if gap.superseded.is_some() || gap.recovered {
            return Ok(None);
        }
        if gap.to.is_none() {
            if trail.open.len() < OPEN_GAPS_MAX {
                trail.open.push(key);
            }
            return Ok(None);
        }
        if !self.view.nobody_looked(self.cluster, self.chosen, &gap, &self.bound)? {
            return Ok(None);
        }
        let told = gap.closed_index.unwrap_or(gap.index) < trail.told;
        let cluster = match key.0 {
            ALL => None,
            number => Some(self.view.cluster_row(number)?.id),
        };
        Ok(Some(StepBody::Gap { gap: Box::new(to_seen(cluster, &gap)), told }))
    }

    /// Gaps that were passed while they lasted, and have ended since.
    fn closed(&self, trail: &mut Trail) -> Result<Vec<Step>, StateError> {
        let mut steps = Vec::new();
        for key in std::mem::take(&mut trail.open) {
            // Those that still last are remembered again.
            let body = self.gap(key, trail)?;
            steps.extend(body.map(|body| Step { at: trail.next, body }));
        }
        Ok(steps)
    }
}

impl View {
    /// Blind stretches of a type between a place in the log and its end.
    fn gaps_behind(
        &self,
        cluster: u32,
        chosen: &Chosen,
        from: Cursor,
        now: &Bound,
    ) -> Result<Vec<GapSeen>, StateError> {
        let before = match from.index.checked_sub(1) {
            Some(index) => self.last_time(cluster, index)?,
            None => None,
        };
        let time = before.map(|(time, _)| time);
        let window = match time {
            Some(_) => Window::span(time, now),
            None => Window::of(now),
        };
        let mut gaps = self.gaps(cluster, std::slice::from_ref(chosen), &window, now)?;
        gaps.retain(|gap| !gap.recovered);
        Ok(gaps)
    }
}
