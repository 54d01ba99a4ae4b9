//! From an address and a stretch to the objects that may have held it then, with their leases.
//!
//! With all records known, the spans lead to them. To repeat an answer as of an earlier record, all
//! that ever had the address are judged by what was known then: slower, and the model for the
//! other way.

use super::ip_types::{Holder, LeaseEnd, Port};
use super::lease::{self, Lease};
use super::lookup::{Asked, Lookup};
use super::types::ObjectRef;
use super::{UNADDRESSED_SHOWN, span};
use crate::StateError;
use crate::tables::{FactRow, IpKey, NO_ADDRESS};

/// An object and a lease of it.
pub(super) type Held = (u64, Lease);

/// Rows that are read for nothing before a new place is sought, which takes as long as some of them.
const PASSED_MAX: u32 = 16;

impl Lookup {
    /// Who may have had an address in the stretch, tolerance included.
    pub(super) fn held(&mut self, asked: &Asked, key: &IpKey) -> Result<Vec<Held>, StateError> {
        let (from, to) = asked.widened();
        let mut held = Vec::new();
        if self.whole {
            let cluster = self.scopes[asked.scope].cluster;
            for object in self.spanning(key, cluster, from, to)? {
                let leases =
                    self.kept_held((*key, object), |lookup| lookup.leases(cluster, object, key))?;
                held.extend(leases.iter().filter(|(_, lease)| lease.overlaps(from, to)).cloned());
            }
        } else {
            let all = self.all_holders(asked, key)?;
            held.extend(all.iter().filter(|(_, lease)| lease.overlaps(from, to)).cloned());
        }
        Ok(held)
    }

    /// The objects with a span of the address that touches [`from`, `to`].
    fn spanning(
        &self,
        key: &IpKey,
        cluster: u32,
        from: i64,
        to: i64,
    ) -> Result<Vec<u64>, StateError> {
        let last = (key, cluster, span::OPEN - 1, i64::MAX, u64::MAX);
        let rest = |class, begin| {
            let first = (key, cluster, class, begin, 0);
            self.view.rows.spans.range(first..=last)
        };
        let (mut rows, mut passed, mut objects) = (rest(0, i64::MIN), 0, Vec::new());
        while let Some(row) = rows.next() {
            let (row, end) = row?;
            let (_, _, class, begin, object) = row.value();
            let earliest = from.saturating_sub(span::reach(class)).saturating_sub(1);
            if (earliest..=to).contains(&begin) {
                if from < end.value() {
                    objects.push(object);
                }
                continue;
            }
            passed += 1;
            if passed < PASSED_MAX {
                continue;
            }
            passed = 0;
            rows = if begin < earliest { rest(class, earliest) } else { rest(class + 1, i64::MIN) };
        }
        let open = (key, cluster, i64::MIN, 0)..=(key, cluster, to, u64::MAX);
        for row in self.view.rows.open_spans.range(open) {
            objects.push(row?.0.value().3);
        }
        Ok(objects)
    }

    /// The leases of an object, with ends that nobody saw where another pod was seen.
    fn leases(&mut self, cluster: u32, object: u64, key: &IpKey) -> Result<Vec<Held>, StateError> {
        let facts = self.facts(object)?;
        let facts: Vec<&FactRow> = facts.iter().collect();
        let mut leases = lease::leases_of(&facts, key);
        for lease in &mut leases {
            let Some(removed) = unsure(lease) else { continue };
            let after = (key, cluster, removed, 0, "");
            let reports = self.view.rows.reports.range(after..(key, cluster + 1, 0, 0, ""));
            end_at(lease, span::next_report(reports, object, &lease.network)?);
        }
        Ok(leases.into_iter().map(|lease| (object, lease)).collect())
    }

    /// All who ever may have had the address, as far as known.
    fn all_holders(
        &mut self,
        asked: &Asked,
        key: &IpKey,
    ) -> Result<super::lookup::Holders, StateError> {
        let cluster = self.scopes[asked.scope].cluster;
        self.kept_holders((*key, cluster), |lookup| {
            let mut objects = Vec::new();
            for entry in lookup.view.rows.ips.range((key, cluster, 0)..=(key, cluster, u64::MAX)) {
                objects.push(entry?.0.value().2);
            }
            let mut held = Vec::new();
            for object in objects {
                let facts = lookup.facts(object)?;
                let facts: Vec<&FactRow> = facts.iter().collect();
                let leases = lease::leases_of(&facts, key);
                held.extend(leases.into_iter().map(|lease| (object, lease)));
            }
            close_unknown_ends(&mut held);
            Ok(held)
        })
    }

    /// Pods that ran then and of which no address is known: the first of them, and their number.
    pub(super) fn unaddressed(
        &mut self,
        asked: &Asked,
    ) -> Result<(Vec<ObjectRef>, u64), StateError> {
        let (from, to) = asked.widened();
        let cluster = self.scopes[asked.scope].cluster;
        let mut waiting = if self.whole {
            // The span of such a pod is its lease: nobody's report ends it (`span::list`).
            self.spanning(&NO_ADDRESS, cluster, from, to)?
        } else {
            self.once_unaddressed(cluster, from, to)?
        };
        waiting.sort_unstable();
        let mut shown = Vec::new();
        for object in waiting.iter().take(UNADDRESSED_SHOWN) {
            shown.push(self.reference(*object, i64::MIN)?);
        }
        Ok((shown, waiting.len() as u64))
    }

    /// Pods that may have run then and of which no address was known yet.
    fn once_unaddressed(
        &mut self,
        cluster: u32,
        from: i64,
        to: i64,
    ) -> Result<Vec<u64>, StateError> {
        let Some(known) = self.known else { return Ok(Vec::new()) };
        let start = (cluster, known.saturating_add(1), 0);
        let mut objects = Vec::new();
        for entry in self.view.rows.unaddressed.range(start..=(cluster, u64::MAX, u64::MAX)) {
            let (key, first) = entry?;
            if first.value() <= known {
                objects.push(key.value().2);
            }
        }
        let mut waiting = Vec::new();
        for object in objects {
            let leases = self.kept_held((NO_ADDRESS, object), |lookup| {
                let facts = lookup.facts(object)?;
                let facts: Vec<&FactRow> = facts.iter().collect();
                Ok(lease::unaddressed(&facts).map(|lease| (object, lease)).into_iter().collect())
            })?;
            if leases.iter().any(|(_, lease)| lease.overlaps(from, to)) {
                waiting.push(object);
            }
        }
        Ok(waiting)
    }

    /// The services to which a port on the nodes led.
    pub(super) fn node_port_services(
        &mut self,
        asked: &Asked,
        port: &Port,
    ) -> Result<Vec<Held>, StateError> {
        let (from, to) = asked.widened();
        let cluster = self.scopes[asked.scope].cluster;
        let number = u32::from(port.number);
        let mut services = Vec::new();
        let range = (cluster, number, 0)..=(cluster, number, u64::MAX);
        for entry in self.view.rows.node_ports.range(range) {
            services.push(entry?.0.value().2);
        }
        let mut held = Vec::new();
        for object in services {
            let facts = self.facts(object)?;
            let facts: Vec<&FactRow> = facts.iter().collect();
            let leases = lease::of_node_port(&facts, port).into_iter();
            let leases = leases.filter(|lease| lease.overlaps(from, to));
            held.extend(leases.map(|lease| (object, lease)));
        }
        Ok(held)
    }
}

/// When the object was removed, if nobody saw the end of the lease (E4).
fn unsure(lease: &Lease) -> Option<i64> {
    lease.removed.filter(|_| lease.end == LeaseEnd::Unknown)
}

/// The lease ended at the latest when another pod was seen with the address.
fn end_at(lease: &mut Lease, report: Option<i64>) {
    if report.is_some() {
        lease.to = report;
        lease.end = LeaseEnd::Superseded;
    }
}

fn close_unknown_ends(held: &mut [Held]) {
    let reports: Vec<(u64, String, i64)> = held
        .iter()
        .filter(|(_, lease)| lease.holder == Holder::Pod)
        .map(|(object, lease)| (*object, lease.network.clone(), lease.reported_from))
        .collect();
    for (object, lease) in held {
        let Some(removed) = unsure(lease) else { continue };
        let others = reports.iter().filter(|(other, network, at)| {
            other != object && *network == lease.network && *at >= removed
        });
        end_at(lease, others.map(|(_, _, at)| *at).min());
    }
}
