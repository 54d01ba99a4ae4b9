//! Facts about addresses: of all versions of an object those that say something new, and what
//! follows from them: in which stretches the object may have had an address.
//!
//! Invariant: with all records known, an object may have had an address only within its rows in
//! `spans`; the exact answer is judged from its facts when somebody asks. Of a pod without an address the
//! span is the exact answer.

use std::ops::Bound;

use super::kept::Addressed;
use super::{Fold, HOST};
use crate::StateError;
use crate::life::LifeRow;
use crate::query::{Verb, lease, span};
use crate::tables::{AddressRow, FactRow, IpKey, SpanList, SpanRow, row, unrow};
use crate::versions::Versions;

impl Fold<'_> {
    /// Keeps what a version says of addresses, if it is news, and follows it up. The version's own
    /// row is not written yet.
    pub(super) fn keep_fact(
        &mut self,
        cluster: u32,
        object: u64,
        life: &mut LifeRow,
        key: &[u8],
        mut fact: FactRow,
    ) -> Result<(), StateError> {
        if fact.address.is_none() && !life.has_facts {
            return Ok(());
        }
        let mut addressed =
            if life.has_facts { self.take_addressed(object)? } else { Addressed::default() };
        let earlier = (Bound::Unbounded, Bound::Excluded(key));
        let before = addressed.facts.range::<[u8], _>(earlier).next_back();
        let before = before.map(|(_, fact)| fact.clone());
        let is_end = Verb::from_code(fact.verb).is_end();
        if let Some(address) = fact.address.as_mut().filter(|_| !is_end) {
            // Only the last state matters, and containers come and go.
            address.running = false;
        }
        let says_the_same = before.as_ref().is_some_and(|before| {
            before.address == fact.address
                && before.time <= fact.time
                && !Verb::from_code(before.verb).is_end()
        });
        if says_the_same && !is_end {
            self.kept.addressed.put(object, addressed, 1);
            return Ok(());
        }
        if life.versions > 0 && *key < *life.last_order() {
            self.keep_fact_after(object, life, key, before, &mut addressed)?;
        }
        self.put_fact(object, key, &fact, &mut addressed);
        life.has_facts = true;
        self.kept.addressed.put(object, addressed, 1);
        if let Some(address) = &fact.address {
            self.index_addresses(cluster, object, life, address, fact.index)?;
        }
        self.spread(cluster, object)
    }

    fn put_fact(&mut self, object: u64, key: &[u8], fact: &FactRow, addressed: &mut Addressed) {
        self.w.facts.insert((object, key), row(fact).as_slice());
        addressed.facts.insert(key.to_vec(), fact.clone());
    }

    /// A version comes late, in between others: the one behind it said the same as the one before
    /// it, so it may have been left out, and is news again.
    fn keep_fact_after(
        &mut self,
        object: u64,
        life: &LifeRow,
        key: &[u8],
        before: Option<FactRow>,
        addressed: &mut Addressed,
    ) -> Result<(), StateError> {
        let versions = Versions { rows: &self.w.versions, object, life };
        let Some(version) = versions.next(key)? else { return Ok(()) };
        let next = version.order();
        if addressed.facts.contains_key(&next) {
            return Ok(());
        }
        let Some(before) = before else { return Ok(()) };
        let fact = FactRow {
            verb: version.verb,
            index: version.index,
            time: version.time,
            address: before.address,
        };
        self.put_fact(object, &next, &fact, addressed);
        Ok(())
    }

    /// Keeps the ways from addresses, ranges and ports to the object.
    fn index_addresses(
        &mut self,
        cluster: u32,
        object: u64,
        life: &mut LifeRow,
        address: &AddressRow,
        index: u64,
    ) -> Result<(), StateError> {
        for entry in &address.ips {
            self.w.ips.insert((&entry.ip, cluster, object), ());
        }
        for range in &address.ranges {
            self.w.ranges.insert((cluster, range.prefix, &range.base, object), ());
        }
        if address.role == super::SERVICE {
            for port in address.ports.iter().filter(|port| port.node_port != 0) {
                self.w.node_ports.insert((cluster, u32::from(port.node_port), object), ());
            }
        }
        if address.role != super::POD || address.host_network || life.addressed {
            return Ok(());
        }
        let waiting = (cluster, u64::MAX, object);
        if address.ips.iter().all(|entry| entry.network == HOST) {
            if life.versions == 0 {
                self.w.unaddressed.insert(waiting, index);
            }
        } else {
            life.addressed = true;
            let first = self.w.unaddressed.get(waiting)?.map(|first| first.value());
            if let Some(first) = first {
                self.w.unaddressed.remove(waiting);
                self.w.unaddressed.insert((cluster, index, object), first);
            }
        }
        Ok(())
    }

    /// Writes anew in which stretches an object may have had addresses.
    fn spread(&mut self, cluster: u32, object: u64) -> Result<(), StateError> {
        let Addressed { facts, list: before } = self.take_addressed(object)?;
        let all: Vec<&FactRow> = facts.values().collect();
        let mut list = span::list(&all);
        for span in list.spans.iter_mut().filter(|span| span.unsure) {
            self.end_span(cluster, object, &all, span)?;
        }
        self.kept.addressed.put(object, Addressed { facts, list: list.clone() }, 1);
        if list == before {
            return Ok(());
        }
        for span in before.spans.iter().filter(|span| !list.spans.contains(span)) {
            self.drop_span(cluster, object, span);
        }
        for report in before.reports.iter().filter(|report| !list.reports.contains(report)) {
            let key = (&report.ip, cluster, report.time, object, report.network.as_str());
            self.w.reports.remove(key);
        }
        for span in list.spans.iter().filter(|span| !before.spans.contains(span)) {
            self.put_span(cluster, object, span);
        }
        self.w.span_lists.insert(object, row(&list).as_slice());
        for report in list.reports.iter().filter(|report| !before.reports.contains(report)) {
            let key = (&report.ip, cluster, report.time, object, report.network.as_str());
            self.w.reports.insert(key, ());
            self.end_others_spans(cluster, object, &report.ip)?;
        }
        Ok(())
    }

    fn put_span(&mut self, cluster: u32, object: u64, span: &SpanRow) {
        match span::class(span.from, span.to) {
            span::OPEN => self.w.open_spans.insert((&span.ip, cluster, span.from, object), ()),
            class => {
                let key = (&span.ip, cluster, class, span.from, object);
                self.w.spans.insert(key, span.to);
            }
        }
    }

    fn drop_span(&mut self, cluster: u32, object: u64, span: &SpanRow) {
        match span::class(span.from, span.to) {
            span::OPEN => self.w.open_spans.remove((&span.ip, cluster, span.from, object)),
            class => self.w.spans.remove((&span.ip, cluster, class, span.from, object)),
        }
    }

    /// All that is known of the addresses of an object, to be kept again.
    fn take_addressed(&mut self, object: u64) -> Result<Addressed, StateError> {
        if let Some(kept) = self.kept.addressed.take(&object) {
            return Ok(kept);
        }
        let rows = self.w.facts.range((object, [].as_slice())..(object + 1, [].as_slice()));
        let facts = rows.map(|row| {
            let (key, fact) = row?;
            Ok((key.value().1.to_vec(), unrow(fact.value())?))
        });
        Ok(Addressed {
            facts: facts.collect::<Result<_, StateError>>()?,
            list: self.span_list(object)?,
        })
    }

    fn span_list(&self, object: u64) -> Result<SpanList, StateError> {
        let found = self.w.span_lists.get(object)?;
        found.map_or_else(|| Ok(SpanList::default()), |found| unrow(found.value()))
    }

    /// Ends a span of which nobody saw the end where another pod was seen with the address.
    fn end_span(
        &self,
        cluster: u32,
        object: u64,
        facts: &[&FactRow],
        span: &mut SpanRow,
    ) -> Result<(), StateError> {
        let mut to = span.from;
        for lease in lease::leases_of(facts, &span.ip) {
            let end = match (lease.to, lease.removed) {
                (Some(end), _) => Some(end),
                (None, Some(removed)) => {
                    let ip = &span.ip;
                    let after = (ip, cluster, removed, 0, "");
                    let range = self.w.reports.range(after..(ip, cluster + 1, 0, 0, ""));
                    span::next_report(range, object, &lease.network)?
                }
                (None, None) => None,
            };
            let Some(end) = end else { return Ok(()) };
            to = to.max(end);
        }
        span.to = to;
        Ok(())
    }

    /// A pod was seen with an address: others, of which nobody saw the end, had it until then.
    fn end_others_spans(
        &mut self,
        cluster: u32,
        object: u64,
        ip: &IpKey,
    ) -> Result<(), StateError> {
        let open = (ip, cluster, i64::MIN, 0)..=(ip, cluster, i64::MAX, u64::MAX);
        let mut others = Vec::new();
        for entry in self.w.open_spans.range(open) {
            let other = entry?.0.value().3;
            if other != object {
                others.push(other);
            }
        }
        for other in others {
            let list = self.span_list(other)?;
            if list.spans.iter().any(|span| span.unsure && span.ip == *ip) {
                self.spread(cluster, other)?;
            }
        }
        Ok(())
    }
}
