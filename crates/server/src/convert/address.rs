//! From the state's answers about addresses to the API's.

use stele_state::query as from;

use super::{gaps, instant};
use crate::api::{
    BackendItem, Backends, BatchFound, Holder, LeaseEnd, LeaseItem, ObjectName, OwnerItem, Place,
    PlaceKind, PortAsked, PortItem, SelectionItem, Verdict, Via,
};

impl From<from::Verdict> for Verdict {
    fn from(verdict: from::Verdict) -> Self {
        match verdict {
            from::Verdict::Single => Self::Certain,
            from::Verdict::Several => Self::Ambiguous,
            from::Verdict::None => Self::None,
            from::Verdict::Node => Self::Node,
            from::Verdict::Service => Self::Service,
            // What this version does not know, it does not claim to know.
            _ => Self::Unknown,
        }
    }
}

fn holder(holder: from::Holder) -> Holder {
    match holder {
        from::Holder::Pod => Holder::Pod,
        from::Holder::HostNetworkPod => Holder::HostNetworkPod,
        from::Holder::HostPortPod => Holder::HostPortPod,
        from::Holder::Node => Holder::Node,
        from::Holder::Service => Holder::Service,
        _ => Holder::Other,
    }
}

fn lease_end(end: from::LeaseEnd) -> LeaseEnd {
    match end {
        from::LeaseEnd::Open => LeaseEnd::Open,
        from::LeaseEnd::Terminal => LeaseEnd::Terminal,
        from::LeaseEnd::Deleted => LeaseEnd::Deleted,
        from::LeaseEnd::Superseded => LeaseEnd::Superseded,
        from::LeaseEnd::Vanished => LeaseEnd::Vanished,
        from::LeaseEnd::Changed => LeaseEnd::Changed,
        _ => LeaseEnd::Unknown,
    }
}

impl From<from::Owner> for OwnerItem {
    fn from(owner: from::Owner) -> Self {
        Self {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
            recorded: owner.recorded,
        }
    }
}

impl From<from::Candidate> for LeaseItem {
    fn from(candidate: from::Candidate) -> Self {
        Self {
            holder: holder(candidate.holder),
            of: candidate.reference.into(),
            ip: candidate.ip,
            network: candidate.network,
            from: instant(candidate.from),
            to: candidate.to.map(instant),
            reported_from: instant(candidate.reported_from),
            reported_to: instant(candidate.reported_to),
            end: lease_end(candidate.end),
            reported: candidate.reported,
            share: candidate.share,
            node: candidate.node,
            via: candidate.via.map(via),
            port: candidate.port.map(PortItem::from),
            phase: candidate.phase,
            owners: candidate.owners.into_iter().map(OwnerItem::from).collect(),
            labels: candidate.labels,
            service_account: candidate.service_account,
            images: candidate.images,
            services: candidate
                .services
                .map(|all| all.into_iter().map(SelectionItem::from).collect()),
            backends: candidate.backends.map(Backends::from),
            first_seen: instant(candidate.first_seen),
            last_seen: instant(candidate.last_seen),
            index: candidate.index,
        }
    }
}

impl From<from::Port> for PortAsked {
    fn from(port: from::Port) -> Self {
        Self { number: port.number, protocol: port.protocol }
    }
}

impl From<from::NamedPort> for PortItem {
    fn from(port: from::NamedPort) -> Self {
        Self { name: port.name, protocol: port.protocol, port: port.port }
    }
}

fn ports(ports: Vec<from::NamedPort>) -> Vec<PortItem> {
    ports.into_iter().map(PortItem::from).collect()
}

fn via(via: from::Via) -> Via {
    match via {
        from::Via::ClusterIp => Via::ClusterIp,
        from::Via::ExternalIp => Via::ExternalIp,
        from::Via::LoadBalancer => Via::LoadBalancer,
        from::Via::NodePort => Via::NodePort,
        _ => Via::Other,
    }
}

impl From<from::Selection> for SelectionItem {
    fn from(selection: from::Selection) -> Self {
        Self {
            namespace: selection.namespace,
            service: selection.service,
            uid: selection.uid,
            slice: selection.slice,
            ready: selection.conditions.ready,
            serving: selection.conditions.serving,
            terminating: selection.conditions.terminating,
            ports: ports(selection.ports),
        }
    }
}

impl From<from::Backends> for Backends {
    fn from(backends: from::Backends) -> Self {
        Self {
            count: backends.count,
            items: backends.shown.into_iter().map(BackendItem::from).collect(),
        }
    }
}

impl From<from::Backend> for BackendItem {
    fn from(backend: from::Backend) -> Self {
        Self {
            addresses: backend.addresses,
            ports: ports(backend.ports),
            ready: backend.conditions.ready,
            serving: backend.conditions.serving,
            terminating: backend.conditions.terminating,
            kind: backend.kind,
            namespace: backend.namespace,
            name: backend.name,
            uid: backend.uid,
            node: backend.node,
        }
    }
}

impl From<from::Place> for Place {
    fn from(place: from::Place) -> Self {
        let kind = match place.kind {
            from::PlaceKind::PodRange => PlaceKind::PodRange,
            from::PlaceKind::ServiceRange => PlaceKind::ServiceRange,
            from::PlaceKind::External => PlaceKind::External,
            from::PlaceKind::Local => PlaceKind::Local,
            _ => PlaceKind::Other,
        };
        Self { kind, range: place.range, of: place.of.map(ObjectName::from) }
    }
}

impl From<from::IpAnswer> for BatchFound {
    fn from(answer: from::IpAnswer) -> Self {
        Self {
            address: answer.address,
            verdict: answer.verdict.into(),
            reason: answer.reason,
            items: answer.candidates.into_iter().map(LeaseItem::from).collect(),
            place: answer.place.map(Place::from),
            gaps: gaps(answer.gaps),
            unaddressed_count: answer.unaddressed_count,
        }
    }
}
