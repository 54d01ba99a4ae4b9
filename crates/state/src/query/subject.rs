//! What is said of somebody who held an address: what it was, whose it was, who controlled it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ip_types::{Candidate, Holder, NamedPort, Owner, Port, Via};
use super::lease::Lease;
use super::lookup::{Asked, Lookup};
use super::shown::{OwnerReference, Shown, controller};
use super::types::ObjectRef;
use crate::fold::HOST;
use crate::life::Controlled;
use crate::tables::{AddressRow, FactRow, IpKey, VersionRow, uid_key};
use crate::{StateError, Time};

/// Longest owner chain that is followed.
pub(super) const OWNERS_MAX: usize = 8;

/// What a version says of its object.
pub(super) struct Subject {
    pub(super) reference: ObjectRef,
    labels: BTreeMap<String, String>,
    service_account: Option<String>,
    images: Vec<String>,
    controller: Option<OwnerReference>,
}

impl Lookup {
    /// Which object it was at a time, or else first.
    pub(super) fn reference(&mut self, object: u64, time: i64) -> Result<ObjectRef, StateError> {
        let row = self.closest(object, time)?;
        let timeline = self.timeline(object)?;
        self.view.reference(&timeline.life, &row)
    }

    /// What a version says of its object.
    pub(super) fn subject(
        &mut self,
        object: u64,
        row: &VersionRow,
    ) -> Result<Rc<Subject>, StateError> {
        self.kept_subject((object, row.index, row.ordinal), |lookup| {
            let timeline = lookup.timeline(object)?;
            let reference = lookup.view.reference(&timeline.life, row)?;
            let shown = Shown::read(&lookup.view.body(row)?);
            let owners = shown.metadata.owner_references.unwrap_or_default();
            let containers = shown.spec.containers.unwrap_or_default();
            Ok(Subject {
                reference,
                labels: shown.metadata.labels.unwrap_or_default(),
                service_account: shown.spec.service_account_name,
                images: containers.into_iter().map(|container| container.image).collect(),
                controller: controller(owners),
            })
        })
    }

    /// A holder as the answer shows it: as it was at the last moment of the stretch at which it may
    /// have held the address.
    pub(super) fn candidate(
        &mut self,
        object: u64,
        lease: &Lease,
        key: &IpKey,
        port: Option<&Port>,
        asked: &Asked,
    ) -> Result<Candidate, StateError> {
        let last = lease.to.map_or(asked.to, |end| asked.to.min(end.saturating_sub(1)));
        let moment = last.max(lease.from);
        let row = self.closest(object, moment)?;
        let subject = self.subject(object, &row)?;
        let facts = self.facts(object)?;
        let fact = fact_at(&facts, moment);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let pod =
            matches!(lease.holder, Holder::Pod | Holder::HostNetworkPod | Holder::HostPortPod);
        let node = match lease.holder {
            Holder::Node => Some(subject.reference.name.clone()),
            _ => fact.and_then(|address| text(&address.node)),
        };
        let named = fact.zip(port).and_then(|(address, port)| named_port(address, lease, port));
        let via = fact.filter(|_| lease.holder == Holder::Service);
        let via = via.map(|address| leads(address, key));
        let services = if pod { self.selections(asked.scope, object, key, moment)? } else { None };
        let backends = match lease.holder {
            Holder::Service => {
                self.backends(asked.scope, &subject.reference, port.zip(fact), moment)?
            }
            _ => None,
        };
        let (first_seen, last_seen) = self.seen_times(object)?;
        let (from, to) = asked.widened();
        Ok(Candidate {
            holder: lease.holder,
            reference: subject.reference.clone(),
            ip: super::ip::show_ip(key),
            network: match lease.network.as_str() {
                "" => "default".to_owned(),
                HOST => "host".to_owned(),
                network => network.to_owned(),
            },
            from: Time(lease.from),
            to: lease.to.map(Time),
            reported_from: Time(lease.reported_from),
            reported_to: Time(self.reported_to(object, lease, asked)?),
            end: lease.end,
            reported: lease.reported_from <= to
                && from <= self.reported_to(object, lease, asked)?,
            share: lease.share(asked.from, asked.to),
            node,
            via,
            port: named,
            phase: fact.and_then(|address| text(&address.phase)),
            owners: self.owners(asked.scope, subject.controller.as_ref(), moment)?,
            labels: subject.labels.clone(),
            service_account: subject.service_account.clone(),
            images: subject.images.clone(),
            services,
            backends,
            first_seen,
            last_seen,
            index: lease.index,
        })
    }

    /// Up to when it was reported with the address.
    fn reported_to(
        &mut self,
        object: u64,
        lease: &Lease,
        asked: &Asked,
    ) -> Result<i64, StateError> {
        let fact = match lease.reported_to {
            None => return Ok(asked.to.max(lease.reported_from)),
            Some(fact) => fact.max(lease.reported_from),
        };
        let end = lease.to.into_iter().chain(lease.removed).min();
        let Some(end) = end.filter(|_| lease.reported_on) else { return Ok(fact) };
        let last = self.version_at(object, end.saturating_sub(1))?;
        Ok(last.map_or(fact, |last| last.time.max(fact)))
    }

    /// When the object was first and last seen.
    fn seen_times(&mut self, object: u64) -> Result<(Time, Time), StateError> {
        let facts = self.facts(object)?;
        let first = facts.iter().map(|fact| fact.time).min().unwrap_or_default();
        let last = self.version_at(object, i64::MAX)?;
        Ok((Time(first), Time(last.map_or(first, |last| last.time.max(first)))))
    }

    /// Who controls an object, nearest first: by uid, as of the moment, deleted owners included
    /// (W1). Names are never taken apart (W2).
    fn owners(
        &mut self,
        scope: usize,
        controller: Option<&OwnerReference>,
        moment: i64,
    ) -> Result<Vec<Owner>, StateError> {
        let mut owners: Vec<Owner> = Vec::new();
        let mut next = controller.cloned();
        while let Some(reference) = next {
            let again = owners.iter().any(|owner| owner.uid == reference.uid);
            if again || owners.len() >= OWNERS_MAX {
                break;
            }
            let recorded = self.by_uid(scope, &reference.uid)?;
            owners.push(Owner {
                api_version: reference.api_version,
                kind: reference.kind,
                name: reference.name,
                uid: reference.uid,
                recorded: recorded.is_some(),
            });
            next = match recorded {
                Some(object) => self.controller(object, moment)?,
                None => None,
            };
        }
        Ok(owners)
    }

    /// Who controlled an object at a time, or else first.
    fn controller(
        &mut self,
        object: u64,
        moment: i64,
    ) -> Result<Option<OwnerReference>, StateError> {
        match &self.timeline(object)?.life.controlled {
            Controlled::Free => Ok(None),
            Controlled::By(owner) => Ok(Some(owner.clone())),
            Controlled::Untold | Controlled::Varies => {
                let row = self.closest(object, moment)?;
                Ok(self.subject(object, &row)?.controller.clone())
            }
        }
    }

    /// The object of a uid, if it is known.
    fn by_uid(&mut self, scope: usize, uid: &str) -> Result<Option<u64>, StateError> {
        let cluster = self.scopes[scope].cluster;
        let mut objects = Vec::new();
        let uid = uid_key(uid);
        let key = |type_id| (cluster, uid.as_slice(), type_id);
        for entry in self.view.rows.uids.range(key(0)..=key(u32::MAX)) {
            objects.push(entry?.1.value());
        }
        for object in objects {
            let first = self.timeline(object)?.life.begin.index;
            if self.known.is_some_and(|known| first <= known) {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }
}

/// What an object said of addresses at a time, or else first.
pub(super) fn fact_at(facts: &[FactRow], time: i64) -> Option<&AddressRow> {
    let by_then = facts.iter().rev().filter(|fact| fact.time <= time);
    by_then.chain(facts).find_map(|fact| fact.address.as_ref())
}

/// The port as the holder declares it.
fn named_port(address: &AddressRow, lease: &Lease, port: &Port) -> Option<NamedPort> {
    if lease.holder == Holder::Pod {
        return None;
    }
    let declared = address
        .ports
        .iter()
        .find(|row| port.is(row.port, &row.protocol) || port.is(row.node_port, &row.protocol))?;
    Some(NamedPort {
        name: declared.name.clone(),
        protocol: declared.protocol.clone(),
        port: Some(declared.port),
    })
}

/// How an address leads to the service.
fn leads(address: &AddressRow, key: &IpKey) -> Via {
    let kind = address.ips.iter().zip(&address.kinds).find(|(entry, _)| entry.ip == *key);
    match kind.map(|(_, kind)| *kind) {
        Some(0) => Via::ClusterIp,
        Some(1) => Via::ExternalIp,
        Some(_) => Via::LoadBalancer,
        None => Via::NodePort,
    }
}
