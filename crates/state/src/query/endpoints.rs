//! Endpoint slices as of a moment: which services a pod was an endpoint of, and where a service led
//! (T1).
//!
//! Identity is the uid that the slice names; ports go by their names; a condition that a slice
//! leaves out is what Kubernetes defines: ready and serving, not terminating.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::BACKENDS_SHOWN;
use super::ip_types::{Backend, Backends, Conditions, NamedPort, Port, Selection};
use super::lookup::{Kind, Lookup};
use super::types::{ObjectRef, Verb};
use crate::StateError;
use crate::fold::{SERVICE_NAME, ip_key};
use crate::tables::{AddressRow, IpKey, uid_key};

#[derive(Deserialize, Default)]
struct Raw {
    #[serde(default)]
    metadata: RawMeta,
    #[serde(default)]
    endpoints: Option<Vec<RawEndpoint>>,
    #[serde(default)]
    ports: Option<Vec<RawPort>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<RawOwner>>,
}

#[derive(Deserialize)]
struct RawOwner {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawEndpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: RawConditions,
    #[serde(default)]
    target_ref: Option<RawTarget>,
    #[serde(default)]
    node_name: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawConditions {
    #[serde(default)]
    ready: Option<bool>,
    #[serde(default)]
    serving: Option<bool>,
    #[serde(default)]
    terminating: Option<bool>,
}

#[derive(Deserialize, Default)]
struct RawTarget {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
}

#[derive(Deserialize)]
struct RawPort {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

/// A version of an endpoint slice.
#[derive(Default)]
pub(super) struct Slice {
    namespace: String,
    name: String,
    service: String,
    service_uid: Option<String>,
    ports: Vec<NamedPort>,
    endpoints: Vec<Backend>,
    /// Uid → place in `endpoints`.
    by_uid: HashMap<String, usize>,
}

impl Slice {
    /// What can't be read names nobody.
    pub(super) fn read(body: &str) -> Self {
        let raw: Raw = serde_json::from_str(body).unwrap_or_default();
        let meta = raw.metadata;
        let owners = meta.owner_references.unwrap_or_default();
        let service = |owner: &RawOwner| owner.kind == "Service" && owner.controller == Some(true);
        let ports = raw.ports.unwrap_or_default().into_iter().map(|port| NamedPort {
            name: port.name.unwrap_or_default(),
            protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
            port: port.port,
        });
        let endpoints: Vec<Backend> =
            raw.endpoints.unwrap_or_default().into_iter().map(backend).collect();
        let uids = endpoints.iter().enumerate().filter(|(_, endpoint)| !endpoint.uid.is_empty());
        let by_uid = uids.map(|(place, endpoint)| (endpoint.uid.clone(), place)).collect();
        Self {
            namespace: meta.namespace,
            name: meta.name,
            service: meta.labels.unwrap_or_default().remove(SERVICE_NAME).unwrap_or_default(),
            service_uid: owners.into_iter().find(service).map(|owner| owner.uid),
            ports: ports.collect(),
            endpoints,
            by_uid,
        }
    }

    /// Number of its endpoints.
    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether an endpoint has the address.
    pub(super) fn has_address(&self, key: &IpKey) -> bool {
        let mut addresses = self.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        addresses.any(|text| ip_key(text).as_ref() == Some(key))
    }

    fn selection(&self, endpoint: &Backend) -> Selection {
        Selection {
            namespace: self.namespace.clone(),
            service: self.service.clone(),
            uid: self.service_uid.clone(),
            slice: self.name.clone(),
            conditions: endpoint.conditions,
            ports: self.ports.clone(),
        }
    }
}

fn backend(raw: RawEndpoint) -> Backend {
    let target = raw.target_ref.unwrap_or_default();
    let ready = raw.conditions.ready.unwrap_or(true);
    Backend {
        addresses: raw.addresses,
        ports: Vec::new(),
        conditions: Conditions {
            ready,
            serving: raw.conditions.serving.unwrap_or(ready),
            terminating: raw.conditions.terminating.unwrap_or(false),
        },
        kind: target.kind,
        namespace: target.namespace,
        name: target.name,
        uid: target.uid,
        node: raw.node_name,
    }
}

impl Lookup {
    /// Whether endpoint slices are asked for and recorded at all.
    fn knows_slices(&mut self, scope: usize) -> Result<bool, StateError> {
        Ok(self.services && self.watched(scope, Kind::Slices)?.is_listed())
    }

    /// The services that a pod was an endpoint of; `None` if that is not recorded.
    pub(super) fn selections(
        &mut self,
        scope: usize,
        pod: u64,
        key: &IpKey,
        moment: i64,
    ) -> Result<Option<Vec<Selection>>, StateError> {
        if !self.knows_slices(scope)? {
            return Ok(None);
        }
        let timeline = self.timeline(pod)?;
        let uid = timeline.life.uid.as_str();
        let cluster = self.scopes[scope].cluster;
        let slices = self.kept_targets(pod, |lookup| {
            let uid = uid_key(uid);
            let key = |slice| (cluster, uid.as_slice(), slice);
            let rows = lookup.view.rows.targets.range(key(0)..=key(u64::MAX));
            rows.map(|entry| Ok(entry?.0.value().2)).collect()
        })?;
        let mut found: Vec<(bool, Selection)> = Vec::new();
        for object in slices.iter() {
            let Some(row) = self.version_at(*object, moment)? else { continue };
            if Verb::from_code(row.verb).is_end() {
                continue;
            }
            let slice = self.kept_slice(*object, &row)?;
            let Some(endpoint) = slice.by_uid.get(uid).map(|place| &slice.endpoints[*place]) else {
                continue;
            };
            let has_it = endpoint.addresses.iter().any(|text| ip_key(text).as_ref() == Some(key));
            found.push((!has_it, slice.selection(endpoint)));
        }
        // A service has slices for each family of addresses: the one asked about says it best.
        found.sort_by(|(a_other, a), (b_other, b)| {
            (&a.namespace, &a.service, a_other, &a.slice).cmp(&(
                &b.namespace,
                &b.service,
                b_other,
                &b.slice,
            ))
        });
        found.dedup_by(|(_, b), (_, a)| {
            !a.service.is_empty() && (&a.namespace, &a.service) == (&b.namespace, &b.service)
        });
        Ok(Some(found.into_iter().map(|(_, selection)| selection).collect()))
    }

    /// Where a service led; `None` if that is not recorded. With a port and what the service says of
    /// its ports, only where that one led.
    pub(super) fn backends(
        &mut self,
        scope: usize,
        service: &ObjectRef,
        port: Option<(&Port, &AddressRow)>,
        moment: i64,
    ) -> Result<Option<Backends>, StateError> {
        if !self.knows_slices(scope)? {
            return Ok(None);
        }
        let wanted: Option<Vec<(&str, &str)>> = port.map(|(port, address)| {
            let rows = address.ports.iter().filter(|row| {
                port.is(row.port, &row.protocol) || port.is(row.node_port, &row.protocol)
            });
            rows.map(|row| (row.name.as_str(), row.protocol.as_str())).collect()
        });
        let leads = |port: &&NamedPort| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&(port.name.as_str(), port.protocol.as_str())))
        };
        let cluster = self.scopes[scope].cluster;
        let (namespace, name) = (service.namespace.as_str(), service.name.as_str());
        let range = (cluster, namespace, name, 0)..=(cluster, namespace, name, u64::MAX);
        let mut objects = Vec::new();
        for entry in self.view.rows.slices.range(range) {
            objects.push(entry?.0.value().3);
        }
        let mut backends = Backends::default();
        for object in objects {
            let Some(row) = self.version_at(object, moment)? else { continue };
            if Verb::from_code(row.verb).is_end() {
                continue;
            }
            let slice = self.kept_slice(object, &row)?;
            let ports: Vec<NamedPort> = slice.ports.iter().filter(leads).cloned().collect();
            if slice.service != name || (wanted.is_some() && ports.is_empty()) {
                continue;
            }
            backends.count += slice.len() as u64;
            let room = BACKENDS_SHOWN.saturating_sub(backends.shown.len());
            let some = slice.endpoints.iter().take(room);
            backends
                .shown
                .extend(some.map(|endpoint| Backend { ports: ports.clone(), ..endpoint.clone() }));
        }
        Ok(Some(backends))
    }
}
