//! Spans: stretches in which an object may have had an address, in a form in which those that
//! touch a time are found without reading the others.
//!
//! A span stands in a class by its length, so that one which began long ago is looked for only
//! where long ones stand. Here is only what the fold and the questions have in common.

use super::ip_types::Holder;
use super::lease;
use crate::StateError;
use crate::table::Rows;
use crate::tables::{FactRow, IpKey, NO_ADDRESS, ReportRow, SpanList, SpanRow};

/// The class of spans without an end.
pub(crate) const OPEN: u8 = 15;

const SECOND: u64 = 1_000_000_000;

/// Each class holds spans up to eight times as long as the one before.
const CLASS_BITS: u32 = 3;

/// The class of a span.
pub(crate) fn class(from: i64, to: i64) -> u8 {
    if to == i64::MAX {
        return OPEN;
    }
    let seconds = to.saturating_sub(from).max(0) as u64 / SECOND;
    let bits = u64::BITS - seconds.leading_zeros();
    // 2⁶³ ns have 34 bits of seconds.
    u8::try_from(bits / CLASS_BITS).unwrap_or(OPEN - 1).min(OPEN - 1)
}

/// How long the spans of a class may be, in nanoseconds.
pub(crate) fn reach(class: u8) -> i64 {
    if class >= OPEN {
        return i64::MAX;
    }
    let bits = u32::from(class) * CLASS_BITS + CLASS_BITS - 1;
    let seconds = 1_u64.checked_shl(bits).unwrap_or(u64::MAX);
    i64::try_from(seconds.saturating_mul(SECOND)).unwrap_or(i64::MAX)
}

/// The spans and reports that follow from all facts of an object, before other objects are looked
/// at.
pub(crate) fn list(facts: &[&FactRow]) -> SpanList {
    let mut ips: Vec<IpKey> = facts
        .iter()
        .filter_map(|row| row.address.as_ref())
        .flat_map(|address| address.ips.iter().map(|entry| entry.ip))
        .collect();
    ips.sort_unstable();
    ips.dedup();
    let mut list = SpanList::default();
    for ip in ips {
        let leases = lease::leases_of(facts, &ip);
        let Some(from) = leases.iter().map(|lease| lease.from).min() else { continue };
        let ends = leases.iter().map(|lease| lease.to.unwrap_or(i64::MAX));
        let mut open = leases.iter().filter(|lease| lease.to.is_none()).peekable();
        let unsure = open.peek().is_some() && open.all(|lease| lease.removed.is_some());
        list.spans.push(SpanRow { ip, from, to: ends.max().unwrap_or(i64::MAX), unsure });
        let pods = leases.into_iter().filter(|lease| lease.holder == Holder::Pod);
        list.reports.extend(pods.map(|lease| ReportRow {
            ip,
            time: lease.reported_from,
            network: lease.network,
        }));
    }
    if let Some(lease) = lease::unaddressed(facts) {
        let to = lease.to.unwrap_or(i64::MAX);
        list.spans.push(SpanRow { ip: NO_ADDRESS, from: lease.from, to, unsure: false });
    }
    list
}

/// Reports of an address.
type Reports<'r> = Rows<'r, (&'static [u8; 16], u32, i64, u64, &'static str), ()>;

/// The first of these reports that is of another object in the network.
pub(crate) fn next_report(
    reports: Reports<'_>,
    object: u64,
    network: &str,
) -> Result<Option<i64>, StateError> {
    for entry in reports {
        let (key, _) = entry?;
        let (_, _, time, other, its_network) = key.value();
        if other != object && its_network == network {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_no_longer_than_its_class_reaches() {
        let lengths = (0..63).flat_map(|bit| [(1_i64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for length in lengths.chain([i64::MAX - 1]) {
            let class = class(0, length);
            assert!(class < OPEN);
            assert!(length <= reach(class), "{length} in class {class}");
        }
        assert_eq!(class(0, i64::MAX), OPEN);
        assert_eq!(class(5, 5), 0);
    }
}
