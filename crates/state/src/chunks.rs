//! Rows for runs of records: what was said by many records in a row, each told by what differs from
//! the one before it.

use serde::{Deserialize, Serialize};

use crate::rv;
use crate::tables::LogRow;

/// Records of one row of the sequence of changes.
pub(crate) const LOG_RECORDS: u64 = 256;
/// Level of zstd for such a row.
const LOG_LEVEL: i32 = 3;
/// Records of one row of times.
pub(crate) const TIMES_RECORDS: u64 = 256;

/// Consecutive entries of the sequence of changes: record, place within it, what changed.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct LogChunk(pub(crate) Vec<(u64, u32, LogRow)>);

#[derive(Serialize, Deserialize)]
struct PackedChange {
    /// Within the chunk.
    record: u8,
    change: PackedRow,
}

#[derive(Serialize, Deserialize)]
enum PackedRow {
    /// Type, object, difference of the resource versions, rank.
    Numbered(u32, u64, i64, u8),
    /// Type, object, order key.
    Other(u32, u64, Vec<u8>),
    Gap(u32, u32, u64),
}

impl LogChunk {
    pub(crate) fn pack(&self) -> Result<Vec<u8>, crate::StateError> {
        let mut before = 0_i64;
        let pack = |(index, _, change): &(u64, u32, LogRow)| PackedChange {
            // Its remainder is below 256.
            record: (index % LOG_RECORDS) as u8,
            change: match change {
                LogRow::Version(type_id, object, order) => match numbered(order) {
                    Some((rv, rank)) => {
                        let rv = rv.wrapping_sub(std::mem::replace(&mut before, rv));
                        PackedRow::Numbered(*type_id, *object, rv, rank)
                    }
                    None => PackedRow::Other(*type_id, *object, order.clone()),
                },
                LogRow::Gap(cluster, type_id, number) => {
                    PackedRow::Gap(*cluster, *type_id, *number)
                }
            },
        };
        let changes = crate::tables::row(&self.0.iter().map(pack).collect::<Vec<_>>());
        Ok(zstd::bulk::compress(&changes, LOG_LEVEL)?)
    }

    /// The chunk with this number.
    pub(crate) fn unpack(number: u64, bytes: &[u8]) -> Result<Self, crate::StateError> {
        let changes = zstd::stream::decode_all(bytes);
        let changes = changes.map_err(|error| crate::StateError::Damaged(error.to_string()))?;
        let packed: Vec<PackedChange> = crate::tables::unrow(&changes)?;
        let (mut before, mut entries) = (0_i64, Vec::with_capacity(packed.len()));
        for PackedChange { record, change } in packed {
            let index = number * LOG_RECORDS + u64::from(record);
            let ordinal = match entries.last() {
                Some((last, ordinal, _)) if *last == index => ordinal + 1,
                _ => 0,
            };
            let change = match change {
                PackedRow::Numbered(type_id, object, rv, rank) => {
                    before = before.wrapping_add(rv);
                    LogRow::Version(type_id, object, rv::numbered_key(before, rank))
                }
                PackedRow::Other(type_id, object, order) => LogRow::Version(type_id, object, order),
                PackedRow::Gap(cluster, type_id, number) => LogRow::Gap(cluster, type_id, number),
            };
            entries.push((index, ordinal, change));
        }
        Ok(Self(entries))
    }
}

/// The number and the rank in an order key, if it comes back the same from them.
fn numbered(order: &[u8]) -> Option<(i64, u8)> {
    let number: i64 = rv::of_order_key(order)?.parse().ok()?;
    let rank = *order.last()?;
    (rv::numbered_key(number, rank) == order).then_some((number, rank))
}

/// Consecutive records of a cluster after which the newest time is another: record, time, basis.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct TimesChunk(pub(crate) Vec<(u64, i64, u8)>);

#[derive(Serialize, Deserialize)]
struct PackedTime {
    /// Within the chunk.
    record: u8,
    time: i64,
    /// Left out where it is as before.
    basis: Option<u8>,
}

impl TimesChunk {
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut before = (0_i64, 0);
        let pack = |&(index, time, basis): &(u64, i64, u8)| {
            let (earlier, old) = std::mem::replace(&mut before, (time, basis));
            PackedTime {
                record: (index % TIMES_RECORDS) as u8,
                time: time.wrapping_sub(earlier),
                basis: (basis != old).then_some(basis),
            }
        };
        crate::tables::row(&self.0.iter().map(pack).collect::<Vec<_>>())
    }

    /// The chunk with this number.
    pub(crate) fn unpack(number: u64, bytes: &[u8]) -> Result<Self, crate::StateError> {
        let packed: Vec<PackedTime> = crate::tables::unrow(bytes)?;
        let mut before = (0_i64, 0);
        let unpack = |packed: PackedTime| {
            before = (before.0.wrapping_add(packed.time), packed.basis.unwrap_or(before.1));
            (number * TIMES_RECORDS + u64::from(packed.record), before.0, before.1)
        };
        Ok(Self(packed.into_iter().map(unpack).collect()))
    }

    /// The newest time after the record at `index`.
    pub(crate) fn at(&self, index: u64) -> Option<(i64, u8)> {
        let after = self.0.partition_point(|(record, ..)| *record <= index);
        self.0.get(after.checked_sub(1)?).map(|(_, time, basis)| (*time, *basis))
    }

    /// Notes the newest time after the record at `index`, which is none before the last one.
    pub(crate) fn put(&mut self, index: u64, newest: (i64, u8)) {
        match self.0.last_mut() {
            Some((_, time, basis)) if (*time, *basis) == newest => {}
            Some((last, time, basis)) if *last == index => (*time, *basis) = newest,
            _ => self.0.push((index, newest.0, newest.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rv::{Rank, order_key};

    #[test]
    fn changes_come_back() {
        let key = |rv: &str, rank| order_key(rv, 9, rank);
        let entries = vec![
            (640, 0, LogRow::Version(3, 70_000, key("4711", Rank::Body))),
            (640, 1, LogRow::Version(3, 70_001, key("4700", Rank::Gone))),
            (650, 0, LogRow::Gap(u32::MAX, 7, 12)),
            (650, 1, LogRow::Version(4, 1, key("odd", Rank::Deleted))),
            (703, 0, LogRow::Version(4, 1, key(&"9".repeat(30), Rank::Body))),
            (703, 1, LogRow::Version(4, 1, key("9223372036854775807", Rank::Body))),
        ];
        let chunk = LogChunk(entries);
        assert_eq!(LogChunk::unpack(2, &chunk.pack().unwrap()).unwrap(), chunk);
    }

    #[test]
    fn times_come_back_and_are_kept_once() {
        let mut chunk = TimesChunk::default();
        for (index, time) in [(512, 5), (513, 5), (513, 7), (520, i64::MIN), (767, i64::MAX)] {
            chunk.put(index, (time, 1));
        }
        assert_eq!(chunk.0.len(), 4);
        assert_eq!(TimesChunk::unpack(2, &chunk.pack()).unwrap(), chunk);
        let at = [511, 512, 513, 519, 520, 800].map(|index| chunk.at(index).map(|(time, _)| time));
        assert_eq!(at, [None, Some(5), Some(7), Some(7), Some(i64::MIN), Some(i64::MAX)]);
    }
}
