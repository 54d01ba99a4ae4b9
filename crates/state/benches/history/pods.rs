//! From when to when a pod may have had an address, by the rules of the state view, folded version
//! by version.
//!
//! Not here: a pod's addresses in other networks than the cluster's, and those of its node.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::rows::{Lease, OPEN, PodSeen};

/// Creation timestamps are cut to a second.
const CREATION_TOLERANCE_NS: i64 = 1_000_000_000;
/// Times in objects are cut to this.
const RESOLUTION_NS: i64 = 1_000_000_000;
/// How long after a deletion was due a kubelet may still be ending the pod.
const OVERDUE_NS: i64 = 5_000_000_000;

/// What the leases of a pod depend on, from one version to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pod {
    /// Earliest moment at which it may have used an address.
    from: Option<i64>,
    /// It was given to a node.
    ran: bool,
    /// When it is to have ended.
    due: Option<i64>,
    /// When its leases ended.
    ended: Option<i64>,
    addresses: Vec<String>,
}

/// Addresses in the stored state of a pod.
pub(crate) fn addresses(state: &str) -> Result<Vec<String>, Fault> {
    Ok(serde_json::from_str::<Pod>(state)?.addresses)
}

/// Leases without an end, and those that a batch changes.
pub(crate) struct Leases {
    /// By address, then by object; whether it was changed.
    open: HashMap<String, BTreeMap<i64, (Lease, bool)>>,
    ended: Vec<Lease>,
}

impl Leases {
    pub(crate) fn new(open: Vec<Lease>) -> Self {
        let mut leases = Self { open: HashMap::new(), ended: Vec::new() };
        for lease in open {
            leases.put(lease, false);
        }
        leases
    }

    fn put(&mut self, lease: Lease, changed: bool) {
        if lease.until == OPEN {
            let of_address = self.open.entry(lease.address.clone()).or_default();
            of_address.insert(lease.object, (lease, changed));
        } else {
            self.ended.push(lease);
        }
    }

    /// Leases to be written.
    pub(crate) fn changed(self) -> Vec<Lease> {
        let open = self.open.into_values().flat_map(BTreeMap::into_values);
        let changed = open.filter(|(_, changed)| *changed).map(|(lease, _)| lease);
        self.ended.into_iter().chain(changed).collect()
    }

    /// Takes a version of a pod; gives its state to be stored with the version.
    pub(crate) fn see(
        &mut self,
        object: i64,
        state: Option<&str>,
        facts: &PodSeen,
        time: i64,
        deleted: bool,
    ) -> Result<String, Fault> {
        let mut pod: Pod = state.map_or_else(|| Ok(Pod::default()), serde_json::from_str)?;
        let created = facts.created.unwrap_or(time) - CREATION_TOLERANCE_NS;
        pod.from = Some(pod.from.unwrap_or(time).min(created));
        pod.ran |= facts.on_node;
        self.report(&mut pod, object, facts, time);
        if pod.ended.is_none() && facts.finished {
            self.close(&mut pod, object, time);
        } else if pod.ended.is_none() && deleted {
            self.remove(&mut pod, object, time, !facts.running);
        } else if pod.ended.is_none() {
            pod.due = pod.due.max(facts.due);
        }
        Ok(serde_json::to_string(&pod)?)
    }

    /// The pod has ended, and nobody saw how.
    pub(crate) fn vanish(&mut self, object: i64, state: &str, time: i64) -> Result<(), Fault> {
        let mut pod: Pod = serde_json::from_str(state)?;
        if pod.ended.is_none() {
            self.remove(&mut pod, object, time, false);
        }
        Ok(())
    }

    /// Addresses that a pod is reported with: new ones begin, and one that another has taken the
    /// place of ends.
    fn report(&mut self, pod: &mut Pod, object: i64, facts: &PodSeen, time: i64) {
        if facts.addresses.is_empty() {
            return;
        }
        let known = std::mem::take(&mut pod.addresses);
        for address in &known {
            if !facts.addresses.contains(address) {
                self.until(address, object, time);
            }
        }
        for address in facts.addresses.iter().filter(|address| !known.contains(address)) {
            self.supersede(address, object, time);
            self.put(
                Lease {
                    address: address.clone(),
                    object,
                    since: pod.from.unwrap_or(time),
                    until: pod.ended.unwrap_or(OPEN),
                    removed: None,
                },
                true,
            );
        }
        pod.addresses.clone_from(&facts.addresses);
    }

    /// A pod of which nobody saw the end had the address until another was seen with it.
    fn supersede(&mut self, address: &str, object: i64, time: i64) {
        let Some(open) = self.open.get(address) else { return };
        let over = |(lease, _): &&(Lease, bool)| {
            lease.object != object && lease.removed.is_some_and(|removed| removed <= time)
        };
        let over: Vec<i64> = open.values().filter(over).map(|(lease, _)| lease.object).collect();
        for other in over {
            self.until(address, other, time);
        }
    }

    /// The object was removed; `orderly`: with no container shown running.
    fn remove(&mut self, pod: &mut Pod, object: i64, time: i64, orderly: bool) {
        match pod.due {
            _ if !pod.ran => self.close(pod, object, time),
            Some(_) if orderly => self.close(pod, object, time),
            Some(due) if time <= due.saturating_add(OVERDUE_NS) => {
                self.close(pod, object, time.max(due.saturating_add(RESOLUTION_NS)));
            }
            _ => {
                for address in &pod.addresses {
                    let open = self.open.get_mut(address).and_then(|open| open.get_mut(&object));
                    if let Some((lease, changed)) = open {
                        (lease.removed, *changed) = (Some(time), true);
                    }
                }
            }
        }
    }

    fn close(&mut self, pod: &mut Pod, object: i64, until: i64) {
        pod.ended = Some(until);
        for address in &pod.addresses {
            self.until(address, object, until);
        }
    }

    fn until(&mut self, address: &str, object: i64, until: i64) {
        let lease = self.open.get_mut(address).and_then(|open| open.remove(&object));
        if let Some((lease, _)) = lease {
            self.ended.push(Lease { until, ..lease });
        }
    }
}
