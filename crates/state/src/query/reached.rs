//! From resource versions and times to places in the log, and back, without reading the log.
//!
//! Invariant: what stands before the place that [`View::behind`] gives was seen before the version
//! was; what stands behind it may be older, where it came late.

use super::Cursor;
use super::read::View;
use crate::chunks::{TIMES_RECORDS, TimesChunk};
use crate::tables::{LogRow, REACHED_RUN_BITS};
use crate::{StateError, rv};

/// The place behind a resource version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Where to go on.
    pub(crate) at: Cursor,
    /// Nothing so new has been seen yet.
    pub(crate) ahead: bool,
}

impl View {
    /// The newest resource version of a type that was seen in the records up to `known`.
    pub(crate) fn reached(
        &self,
        type_id: u32,
        known: Option<u64>,
    ) -> Result<Option<String>, StateError> {
        let Some(known) = known else { return Ok(None) };
        let run = known >> REACHED_RUN_BITS;
        let whole = known + 1 >= self.next || (known + 1) >> REACHED_RUN_BITS > run;
        let end = if whole { run + 1 } else { run };
        let mut range = self.rows.reached.range((type_id, 0)..(type_id, end));
        let mut newest = match range.next_back() {
            Some(entry) => rv::of_order_key(entry?.1.value()),
            None => None,
        };
        if !whole {
            let begin = Cursor { index: run << REACHED_RUN_BITS, ordinal: 0 };
            for entry in self.log_from(begin)? {
                let (at, row) = entry?;
                if at.index > known {
                    break;
                }
                let Some(rv) = version_of(&row, type_id) else { continue };
                let known = newest.as_deref();
                if known.is_none_or(|known| rv::compare(known, &rv).is_some_and(|o| o.is_lt())) {
                    newest = Some(rv);
                }
            }
        }
        Ok(newest)
    }

    /// The place behind the row in which a type first came to `wanted`.
    pub(crate) fn behind(&self, type_id: u32, wanted: &str) -> Result<Behind, StateError> {
        let ahead = Behind { at: Cursor { index: self.next, ordinal: 0 }, ahead: true };
        let order = rv::order_key(wanted, 0, rv::Rank::Gone);
        let Some(run) = self.first_run(type_id, &order)? else { return Ok(ahead) };
        let end = (run + 1) << REACHED_RUN_BITS;
        let mut at = Cursor { index: end.min(self.next), ordinal: 0 };
        let mut found = false;
        for entry in self.log_from(Cursor { index: run << REACHED_RUN_BITS, ordinal: 0 })? {
            let (stands, row) = entry?;
            if stands.index >= end {
                break;
            }
            let Some(rv) = version_of(&row, type_id) else { continue };
            if rv == wanted {
                at = Cursor { ordinal: stands.ordinal.saturating_add(1), ..stands };
                found = true;
            } else if found {
                break;
            } else if rv::compare(&rv, wanted).is_some_and(|order| order.is_gt()) {
                at = stands;
                break;
            }
        }
        Ok(Behind { at, ahead: false })
    }

    /// The first run of records up to whose end a type had come to a version.
    fn first_run(&self, type_id: u32, order: &[u8]) -> Result<Option<u64>, StateError> {
        let (mut low, mut high) = (0, (self.next >> REACHED_RUN_BITS) + 1);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut range = self.rows.reached.range((type_id, middle)..(type_id, high));
            match range.next().transpose()? {
                Some((key, value)) => {
                    let run = key.value().1;
                    if value.value() >= order {
                        found = Some(run);
                        high = middle;
                    } else {
                        low = run + 1;
                    }
                }
                None => high = middle,
            }
        }
        Ok(found)
    }

    /// The last record of a cluster up to which nothing was seen later than `time`.
    pub(crate) fn record_at(&self, cluster: u32, time: i64) -> Result<Option<u64>, StateError> {
        let (mut low, mut high) = (0, self.next / TIMES_RECORDS + 1);
        let mut found = None;
        // The run in which the newest time passes `time`: the last one that begins before.
        while low < high {
            let middle = low + (high - low) / 2;
            let mut range = self.rows.times.range((cluster, middle)..(cluster, high));
            let Some((key, value)) = range.next().transpose()? else {
                high = middle;
                continue;
            };
            let number = key.value().1;
            let chunk = TimesChunk::unpack(number, value.value())?;
            if chunk.0.first().is_some_and(|(_, first, _)| *first <= time) {
                low = number + 1;
                found = Some((number, chunk));
            } else {
                high = middle;
            }
        }
        let Some((number, chunk)) = found else { return Ok(None) };
        let later = |chunk: &TimesChunk| {
            chunk.0.iter().find(|(_, newest, _)| *newest > time).map(|(index, ..)| *index)
        };
        let mut passed = later(&chunk);
        if passed.is_none() {
            let mut next = self.rows.times.range((cluster, number + 1)..=(cluster, u64::MAX));
            if let Some(entry) = next.next() {
                let (key, value) = entry?;
                passed = later(&TimesChunk::unpack(key.value().1, value.value())?);
            }
        }
        Ok(passed.unwrap_or(self.next).checked_sub(1))
    }
}

/// The resource version of a row of the log, if it is a version of this type that has an order.
fn version_of(row: &LogRow, type_id: u32) -> Option<String> {
    match row {
        LogRow::Version(of, _, order) if *of == type_id => rv::of_order_key(order),
        _ => None,
    }
}
