//! Leases: from when to when an object may have held an address, judged by its versions alone.
//!
//! The rules, by their names in the checklist (`tests/leases.rs` has a test for each):
//! a lease may begin at the creation of the pod, long before an address is reported (S1), which
//! has a resolution of a second (S2); it ends when the pod is seen finished, although the object
//! and its address stay (E1, E6), and the address was free a little earlier (E2); the deletion
//! timestamp is no end (E3); a pod removed by force may run on (E4), and so may one of which the
//! node is lost (E5).

use super::ip_types::{Holder, LeaseEnd};
use super::read::Bound;
use super::types::Verb;
use crate::tables::{AddressRow, IpKey, LifeRow, VersionRow};

/// How much earlier than its creation timestamp, which is cut to a second, a pod may have come to
/// be by the recorder's clock.
pub(crate) const CREATION_TOLERANCE_NS: i64 = 1_000_000_000;

/// Times in objects are cut to this.
const RESOLUTION_NS: i64 = 1_000_000_000;

/// How long after a deletion was due a kubelet may still be ending the pod.
const OVERDUE_NS: i64 = 5_000_000_000;

const POD: u8 = 0;
const NODE: u8 = 1;

/// A stretch in which an object may have held an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) holder: Holder,
    pub(crate) network: String,
    pub(crate) from: i64,
    /// `None`: may hold it still.
    pub(crate) to: Option<i64>,
    pub(crate) reported_from: i64,
    /// `None`: reported with it to this day.
    pub(crate) reported_to: Option<i64>,
    pub(crate) end: LeaseEnd,
    pub(crate) index: u64,
    /// The object was removed then, if it was.
    pub(crate) removed: Option<i64>,
}

impl Lease {
    /// Whether the lease may have held within [`from`, `to`].
    pub(crate) fn overlaps(&self, from: i64, to: i64) -> bool {
        self.from <= to && self.to.is_none_or(|end| from < end)
    }

    /// The part of [`from`, `to`] that it may have covered, 0 to 1.
    pub(crate) fn share(&self, from: i64, to: i64) -> f64 {
        let start = self.from.max(from);
        let end = self.to.unwrap_or(to).min(to);
        if to <= from {
            return 1.0;
        }
        (end.saturating_sub(start).max(0) as f64) / (to.saturating_sub(from) as f64)
    }
}

/// Leases of `ip` by one object, one for each network it has it in.
pub(crate) fn leases_of(
    life: &LifeRow,
    rows: &[VersionRow],
    ip: &IpKey,
    bound: &Bound,
) -> Vec<Lease> {
    let rows = known(rows, bound);
    let mut networks: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.address.as_ref())
        .flat_map(|address| &address.ips)
        .filter(|entry| entry.ip == *ip)
        .map(|entry| entry.network.as_str())
        .collect();
    networks.sort_unstable();
    networks.dedup();
    networks.into_iter().filter_map(|network| lease(life, &rows, ip, network)).collect()
}

/// The stretch in which a pod of which no address is known may have had any; `None` if it never
/// was on a node or shares its node's addresses.
pub(crate) fn unaddressed(life: &LifeRow, rows: &[VersionRow], bound: &Bound) -> Option<Lease> {
    let rows = known(rows, bound);
    let on_node = rows.iter().find(|row| {
        row.address.as_ref().is_some_and(|address| {
            !address.node.is_empty() && !address.host_network && !is_terminal(address)
        })
    })?;
    let (to, end) = end_of(&rows);
    Some(Lease {
        holder: Holder::Pod,
        network: String::new(),
        from: earliest(life, &rows),
        to,
        reported_from: on_node.time,
        reported_to: to,
        end,
        index: on_node.index,
        removed: removed(&rows),
    })
}

fn known<'r>(rows: &'r [VersionRow], bound: &Bound) -> Vec<&'r VersionRow> {
    rows.iter().filter(|row| bound.knows(row.index)).collect()
}

fn lease(life: &LifeRow, rows: &[&VersionRow], ip: &IpKey, network: &str) -> Option<Lease> {
    let has = |address: &AddressRow| {
        address.ips.iter().any(|entry| entry.ip == *ip && entry.network == network)
    };
    let first_at = rows.iter().position(|row| row.address.as_ref().is_some_and(has))?;
    let first = rows[first_at];
    let address = first.address.as_ref()?;
    let (holder, from, (to, end)) = if address.role == POD {
        let holder = if address.host_network { Holder::HostNetworkPod } else { Holder::Pod };
        (holder, earliest(life, rows), pod_end(rows, first_at, network, has))
    } else {
        let holder = if address.role == NODE { Holder::Node } else { Holder::Service };
        (holder, first.time, plain_end(&rows[first_at..], has))
    };
    let last_report = rows[first_at..]
        .iter()
        .take_while(|row| to.is_none_or(|to| row.time < to) && !is_end(row))
        .filter(|row| row.address.as_ref().is_some_and(|a| has(a) && !is_terminal(a)))
        .map(|row| row.time)
        .max();
    let reported_to = match end {
        LeaseEnd::Open => None,
        _ => Some(last_report.unwrap_or(first.time)),
    };
    Some(Lease {
        holder,
        network: network.to_owned(),
        from: from.min(first.time),
        to,
        reported_from: first.time,
        reported_to,
        end,
        index: first.index,
        removed: removed(rows),
    })
}

/// Earliest moment at which a pod may have used an address (S1, S2). A pod whose address changed
/// (I5) may have had each of them from here: nothing says when the change was.
fn earliest(life: &LifeRow, rows: &[&VersionRow]) -> i64 {
    let created = rows.iter().filter_map(|row| row.address.as_ref()?.created).min();
    let seen = rows.iter().map(|row| row.time).min().unwrap_or(life.first_time);
    created.unwrap_or(seen).saturating_sub(CREATION_TOLERANCE_NS).min(seen)
}

/// End of a pod's lease. An address that is no longer reported, without another in its place,
/// means nothing: the kubelet forgets it when it restarts.
fn pod_end(
    rows: &[&VersionRow],
    first_at: usize,
    network: &str,
    has: impl Fn(&AddressRow) -> bool,
) -> (Option<i64>, LeaseEnd) {
    let last_with =
        rows.iter().rposition(|row| row.address.as_ref().is_some_and(&has)).unwrap_or(first_at);
    let other = |address: &AddressRow| {
        address.ips.iter().any(|entry| entry.network == network) && !has(address)
    };
    let changed = rows[last_with..]
        .iter()
        .find(|row| row.address.as_ref().is_some_and(other))
        .map(|row| row.time);
    match (changed, end_of(rows)) {
        (Some(changed), (to, _)) if to.is_none_or(|to| changed < to) => {
            (Some(changed), LeaseEnd::Changed)
        }
        (_, end) => end,
    }
}

/// How a pod ended: finished, removed or vanished.
fn end_of(rows: &[&VersionRow]) -> (Option<i64>, LeaseEnd) {
    let mut due = None;
    for row in rows {
        let address = row.address.as_ref();
        if address.is_some_and(is_terminal) {
            return (Some(row.time), LeaseEnd::Terminal);
        }
        match Verb::from_code(row.verb) {
            Verb::Vanished | Verb::Replaced => return (Some(row.time), LeaseEnd::Vanished),
            Verb::Deleted if never_ran(rows) => return (Some(row.time), LeaseEnd::Deleted),
            Verb::Deleted => return removal(row, due),
            _ => {}
        }
        // Without a time to end in, the kubelet was not asked to end anything.
        let asked = address.filter(|address| address.grace_s.is_some_and(|s| s > 0));
        due = due.max(asked.and_then(|address| address.due));
    }
    (None, LeaseEnd::Open)
}

/// End of a pod that was removed without having been seen finished; its kubelet had been asked to
/// end it until `due`.
///
/// A kubelet reports the containers ended and then removes the pod. A pod that is removed with a
/// container shown running was removed by force, or by something that reports less. In time, its
/// kubelet may still need the time it was given; later, the kubelet has not answered at all, and
/// nobody knows what runs there (E4).
fn removal(row: &VersionRow, due: Option<i64>) -> (Option<i64>, LeaseEnd) {
    let Some(due) = due else { return (None, LeaseEnd::Unknown) };
    if row.address.as_ref().is_none_or(|address| !address.running) {
        return (Some(row.time), LeaseEnd::Deleted);
    }
    if row.time > due.saturating_add(OVERDUE_NS) {
        return (None, LeaseEnd::Unknown);
    }
    (Some(row.time.max(due.saturating_add(RESOLUTION_NS))), LeaseEnd::Deleted)
}

/// It was never given to a node, so it never had a network.
fn never_ran(rows: &[&VersionRow]) -> bool {
    rows.iter().filter_map(|row| row.address.as_ref()).all(|address| address.node.is_empty())
}

/// End of what a node or a service reports: the first version without it.
fn plain_end(rows: &[&VersionRow], has: impl Fn(&AddressRow) -> bool) -> (Option<i64>, LeaseEnd) {
    for row in rows {
        if is_end(row) {
            let vanished = Verb::from_code(row.verb) != Verb::Deleted;
            let end = if vanished { LeaseEnd::Vanished } else { LeaseEnd::Deleted };
            return (Some(row.time), end);
        }
        if row.address.as_ref().is_some_and(|address| !has(address)) {
            return (Some(row.time), LeaseEnd::Changed);
        }
    }
    (None, LeaseEnd::Open)
}

fn removed(rows: &[&VersionRow]) -> Option<i64> {
    rows.iter().find(|row| is_end(row)).map(|row| row.time)
}

fn is_end(row: &VersionRow) -> bool {
    Verb::from_code(row.verb).is_end()
}

fn is_terminal(address: &AddressRow) -> bool {
    matches!(address.phase.as_str(), "Succeeded" | "Failed")
}
