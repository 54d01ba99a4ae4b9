//! Leases: from when to when an object may have held an address, judged by its facts alone.
//!
//! The rules, by their names in the checklist (`tests/checklist.rs` has a test for each):
//! a lease may begin at the creation of the pod, long before an address is reported (S1), which
//! has a resolution of a second (S2); it ends when the pod is seen finished, although the object
//! and its address stay (E1, E6), and the address was free a little earlier (E2); the deletion
//! timestamp is no end (E3); a pod removed by force may run on (E4), and so may one of which the
//! node is lost (E5).

use super::ip_types::{Holder, LeaseEnd, Port};
use super::types::Verb;
use crate::fold::{HOST, NODE, POD};
use crate::tables::{AddressRow, FactRow, IpKey};

/// How much earlier than its creation timestamp, which is cut to a second, a pod may have come to
/// be by the recorder's clock.
pub(crate) const CREATION_TOLERANCE_NS: i64 = 1_000_000_000;

/// Times in objects are cut to this.
const RESOLUTION_NS: i64 = 1_000_000_000;

/// How long after a deletion was due a kubelet may still be ending the pod.
const OVERDUE_NS: i64 = 5_000_000_000;

/// A stretch in which an object may have held an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) holder: Holder,
    pub(crate) network: String,
    pub(crate) from: i64,
    /// `None`: may hold it still.
    pub(crate) to: Option<i64>,
    pub(crate) reported_from: i64,
    /// Time of the last fact that reports it; `None`: reported with it to this day.
    pub(crate) reported_to: Option<i64>,
    /// Versions between that fact and the end said the same.
    pub(crate) reported_on: bool,
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

/// Leases of `ip` by one object, one for each network it has it in. The facts are all that are
/// known, in the order of versions.
pub(crate) fn leases_of(facts: &[&FactRow], ip: &IpKey) -> Vec<Lease> {
    let mut networks: Vec<&str> = facts
        .iter()
        .filter_map(|row| row.address.as_ref())
        .flat_map(|address| &address.ips)
        .filter(|entry| entry.ip == *ip)
        .map(|entry| entry.network.as_str())
        .collect();
    networks.sort_unstable();
    networks.dedup();
    let is_pod = facts.iter().any(|row| row.address.as_ref().is_some_and(|a| a.role == POD));
    let of_network = |network: &str| {
        if is_pod {
            return lease(facts, ip, network).into_iter().collect();
        }
        plain(facts, |address| {
            address.ips.iter().any(|entry| entry.ip == *ip && entry.network == network)
        })
    };
    networks.into_iter().flat_map(of_network).collect()
}

/// The stretches in which a port on the nodes led to a service.
pub(crate) fn of_node_port(facts: &[&FactRow], port: &Port) -> Vec<Lease> {
    plain(facts, |address| address.ports.iter().any(|row| port.is(row.node_port, &row.protocol)))
}

/// Stretches in which a node or a service reports something: from the first version with it to the
/// first one without it, again and again.
fn plain(facts: &[&FactRow], has: impl Fn(&AddressRow) -> bool) -> Vec<Lease> {
    let reports = |row: &FactRow| !is_end(row) && row.address.as_ref().is_some_and(&has);
    let mut leases: Vec<Lease> = Vec::new();
    let mut rest = facts;
    while let Some(first_at) = rest.iter().position(|row| reports(row)) {
        rest = &rest[first_at..];
        let first = rest[0];
        let run = rest.iter().take_while(|row| reports(row)).count();
        let last = rest[run - 1];
        let (to, end) = match rest.get(run) {
            None => (None, LeaseEnd::Open),
            Some(next) => (Some(next.time.max(first.time)), plain_end(next)),
        };
        let node = first.address.as_ref().is_some_and(|address| address.role == NODE);
        leases.push(Lease {
            holder: if node { Holder::Node } else { Holder::Service },
            network: String::new(),
            from: first.time,
            to,
            reported_from: first.time,
            reported_to: to.map(|_| last.time),
            reported_on: true,
            end,
            index: first.index,
            removed: removed(facts),
        });
        rest = &rest[run..];
    }
    leases
}

fn plain_end(row: &FactRow) -> LeaseEnd {
    let verb = Verb::from_code(row.verb);
    if verb.is_end() { seen_end(verb) } else { LeaseEnd::Changed }
}

/// The stretch in which a pod of which no address is known may have had any; `None` if one is
/// known, if it never was on a node, or if it shares its node's addresses.
pub(crate) fn unaddressed(facts: &[&FactRow]) -> Option<Lease> {
    let addresses = || facts.iter().filter_map(|row| row.address.as_ref());
    if addresses().any(|address| address.ips.iter().any(|entry| entry.network != HOST)) {
        return None;
    }
    let on_node = facts.iter().find(|row| {
        row.address.as_ref().is_some_and(|address| {
            address.role == POD
                && !address.node.is_empty()
                && !address.host_network
                && !is_terminal(address)
        })
    })?;
    let (to, end) = end_of(facts);
    Some(Lease {
        holder: Holder::Pod,
        network: String::new(),
        from: earliest(facts),
        to,
        reported_from: on_node.time,
        reported_to: to,
        reported_on: false,
        end,
        index: on_node.index,
        removed: removed(facts),
    })
}

/// The lease of a pod.
fn lease(rows: &[&FactRow], ip: &IpKey, network: &str) -> Option<Lease> {
    let has = |address: &AddressRow| {
        address.ips.iter().any(|entry| entry.ip == *ip && entry.network == network)
    };
    let reports = |row: &FactRow| row.address.as_ref().is_some_and(has);
    let first_at = rows.iter().position(|row| reports(row))?;
    let first = rows[first_at];
    let address = first.address.as_ref()?;
    let holder = match address.host_network {
        true => Holder::HostNetworkPod,
        false if network == HOST => Holder::HostPortPod,
        false => Holder::Pod,
    };
    let (to, end) = pod_end(rows, first_at, network, has);
    // Whoever saw it first counts, whatever the order in which it came to be known.
    let reported_from = rows.iter().filter(|row| reports(row)).map(|row| row.time).min()?;
    let before_end = || {
        let rows = rows[first_at..].iter();
        rows.take_while(|row| to.is_none_or(|to| row.time < to) && !is_end(row))
    };
    let holds = |row: &FactRow| row.address.as_ref().is_some_and(|a| has(a) && !is_terminal(a));
    let last_report = before_end().filter(|row| holds(row)).map(|row| row.time).max();
    let reported_to = match end {
        LeaseEnd::Open => None,
        _ => Some(last_report.unwrap_or(reported_from)),
    };
    Some(Lease {
        holder,
        network: network.to_owned(),
        from: earliest(rows).min(reported_from),
        to,
        reported_from,
        reported_to,
        reported_on: before_end().last().is_some_and(|row| holds(row)),
        end,
        index: first.index,
        removed: removed(rows),
    })
}

/// Earliest moment at which a pod may have used an address (S1, S2). A pod whose address changed
/// (I5) may have had each of them from here: nothing says when the change was.
fn earliest(rows: &[&FactRow]) -> i64 {
    let created = rows.iter().filter_map(|row| row.address.as_ref()?.created).min();
    let seen = rows.iter().map(|row| row.time).min().unwrap_or(i64::MAX);
    created.unwrap_or(seen).saturating_sub(CREATION_TOLERANCE_NS).min(seen)
}

/// End of a pod's lease. An address that is no longer reported, without another in its place,
/// means nothing: the kubelet forgets it when it restarts.
fn pod_end(
    rows: &[&FactRow],
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
fn end_of(rows: &[&FactRow]) -> (Option<i64>, LeaseEnd) {
    let mut due = None;
    for row in rows {
        let address = row.address.as_ref();
        if address.is_some_and(is_terminal) {
            return (Some(row.time), LeaseEnd::Terminal);
        }
        match Verb::from_code(row.verb) {
            verb if verb.is_end() && never_ran(rows) => return (Some(row.time), seen_end(verb)),
            verb if verb.is_end() => return removal(row, due),
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
/// nobody knows what runs there (E4). Of a pod that vanished while nobody looked even less is known.
fn removal(row: &FactRow, due: Option<i64>) -> (Option<i64>, LeaseEnd) {
    let end = seen_end(Verb::from_code(row.verb));
    let Some(due) = due else { return (None, LeaseEnd::Unknown) };
    if end == LeaseEnd::Deleted && row.address.as_ref().is_none_or(|address| !address.running) {
        return (Some(row.time), end);
    }
    if row.time > due.saturating_add(OVERDUE_NS) {
        return (None, LeaseEnd::Unknown);
    }
    (Some(row.time.max(due.saturating_add(RESOLUTION_NS))), end)
}

fn seen_end(verb: Verb) -> LeaseEnd {
    if verb == Verb::Deleted { LeaseEnd::Deleted } else { LeaseEnd::Vanished }
}

/// It was never given to a node, so it never had a network.
fn never_ran(rows: &[&FactRow]) -> bool {
    rows.iter().filter_map(|row| row.address.as_ref()).all(|address| address.node.is_empty())
}

fn removed(rows: &[&FactRow]) -> Option<i64> {
    rows.iter().find(|row| is_end(row)).map(|row| row.time)
}

fn is_end(row: &FactRow) -> bool {
    Verb::from_code(row.verb).is_end()
}

fn is_terminal(address: &AddressRow) -> bool {
    matches!(address.phase.as_str(), "Succeeded" | "Failed")
}
