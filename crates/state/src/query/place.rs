//! Where an address belongs that nobody is known to have had (T4): in a range that a node or the
//! cluster declares as of the time, outside of all of them, or on one host or link alone.
//!
//! It never names a pod.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use super::ip::Part;
use super::ip_types::{Place, PlaceKind};
use super::lookup::Lookup;
use super::types::Verb;
use crate::StateError;
use crate::fold::{NODE, RANGE, masked};
use crate::tables::{FactRow, IpKey, RangeRow};

impl Lookup {
    /// Where an address belongs; `None` if no range is known.
    pub(super) fn place(
        &mut self,
        key: &IpKey,
        parts: &[Part],
    ) -> Result<Option<Place>, StateError> {
        if is_local(key) {
            return Ok(Some(Place { kind: PlaceKind::Local, range: None, of: None }));
        }
        let mut any = false;
        for part in parts {
            let (scope, time) = (part.asked.scope, part.asked.to);
            let prefixes = self.prefixes(scope)?;
            any |= !prefixes.is_empty();
            for prefix in prefixes.iter().rev() {
                let range = RangeRow { base: masked(key, *prefix), prefix: *prefix };
                if let Some(place) = self.declared(scope, &range, time)? {
                    return Ok(Some(place));
                }
            }
        }
        Ok(any.then_some(Place { kind: PlaceKind::External, range: None, of: None }))
    }

    /// The prefix lengths of all ranges that were ever declared in a cluster, ascending.
    fn prefixes(&mut self, scope: usize) -> Result<Rc<Vec<u8>>, StateError> {
        if let Some(prefixes) = &self.scopes[scope].prefixes {
            return Ok(Rc::clone(prefixes));
        }
        let cluster = self.scopes[scope].cluster;
        let mut prefixes = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let rest = (cluster, from, &[0; 16], 0)..(cluster + 1, 0, &[0; 16], 0);
            let Some(entry) = self.view.rows.ranges.range(rest).next() else { break };
            let prefix = entry?.0.value().1;
            prefixes.push(prefix);
            next = prefix.checked_add(1);
        }
        let prefixes = Rc::new(prefixes);
        self.scopes[scope].prefixes = Some(Rc::clone(&prefixes));
        Ok(prefixes)
    }

    /// Who declares a range at a time.
    fn declared(
        &mut self,
        scope: usize,
        range: &RangeRow,
        time: i64,
    ) -> Result<Option<Place>, StateError> {
        let cluster = self.scopes[scope].cluster;
        let rows = (cluster, range.prefix, &range.base, 0)
            ..=(cluster, range.prefix, &range.base, u64::MAX);
        let mut objects = Vec::new();
        for entry in self.view.rows.ranges.range(rows) {
            objects.push(entry?.0.value().3);
        }
        for object in objects {
            let facts = self.facts(object)?;
            let Some(kind) = declares(&facts, range, time) else { continue };
            let of = self.reference(object, time)?;
            return Ok(Some(Place { kind, range: Some(show_range(range)), of: Some(of) }));
        }
        Ok(None)
    }
}

/// What kind of range it is that the object declares at a time; `None` if it does not.
fn declares(facts: &[FactRow], range: &RangeRow, time: i64) -> Option<PlaceKind> {
    let fact = facts.iter().rev().find(|fact| fact.time <= time)?;
    let address = fact.address.as_ref().filter(|_| !Verb::from_code(fact.verb).is_end())?;
    if !address.ranges.contains(range) {
        return None;
    }
    match address.role {
        NODE => Some(PlaceKind::PodRange),
        RANGE => Some(PlaceKind::ServiceRange),
        _ => None,
    }
}

fn is_local(key: &IpKey) -> bool {
    match Ipv6Addr::from(*key).to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

fn show_range(range: &RangeRow) -> String {
    match Ipv6Addr::from(range.base).to_ipv4_mapped() {
        Some(v4) if range.prefix >= 96 => format!("{v4}/{}", range.prefix - 96),
        _ => format!("{}/{}", Ipv6Addr::from(range.base), range.prefix),
    }
}
