//! What a change must have to do with: an address, an owner.
//!
//! Such a filter follows an object across its versions: it lets through what an object has to do
//! with the address or owner after a change, and also the change by which that ended. So it looks at
//! the version before as well, and up the chain of owners, as the log had them at that place.
//!
//! Not here: who held an address from when to when (`lookup`).
//! Invariant: what passes at a place does not depend on where the reading began.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use super::read::View;
use super::shown::{OwnerReference, owners};
use super::subject::OWNERS_MAX;
use super::types::{Cursor, Verb};
use super::{Filter, endpoints};
use crate::StateError;
use crate::fold::{HOST, addresses, ip_key, key_of};
use crate::life::LifeRow;
use crate::tables::{IpKey, TypeRow, VersionRow, uid_key};

/// Longest owner that is read: a type, a slash and a name, or a uid.
const OWNER_BYTES_MAX: usize = 512;

/// Which changes a subscription is about. Gaps pass by cluster and type alone: what they hide may
/// have had to do with anything.
#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    /// Which objects.
    pub objects: Filter,
    /// Only objects that have this address before or after the change: pods, nodes, services and
    /// endpoint slices.
    pub ip: Option<Ip>,
    /// Only objects that this one owns before or after the change, itself or through others.
    pub owner: Option<OwnerFilter>,
}

impl From<Filter> for ChangeFilter {
    fn from(objects: Filter) -> Self {
        Self { objects, ..Self::default() }
    }
}

impl ChangeFilter {
    /// Whether it takes more than the change itself to tell if it passes.
    pub fn looks_around(&self) -> bool {
        self.ip.is_some() || self.owner.is_some()
    }
}

/// An address, in whatever way it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip(IpKey);

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        Self(key_of(address))
    }
}

impl FromStr for Ip {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        ip_key(text).map(Self).ok_or_else(|| {
            StateError::invalid(
                format!("{text:?} is no address"),
                "write an IPv4 or IPv6 address, without a port",
            )
        })
    }
}

/// Whose objects. Owners are told by what their dependents say of them, so one that was never
/// recorded itself can be named as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerFilter {
    /// The object with this uid.
    Uid(String),
    /// Whatever has this name; after it was replaced its successor as well.
    Named {
        /// The type as people write it.
        resource: String,
        /// The name.
        name: String,
    },
}

impl FromStr for OwnerFilter {
    type Err = StateError;

    /// `TYPE/NAME`, or a uid.
    fn from_str(text: &str) -> Result<Self, StateError> {
        let fault = |what: &str| {
            Err(StateError::invalid(
                format!("the owner {text:?} {what}"),
                "write TYPE/NAME, for example deploy/web, or a uid",
            ))
        };
        if text.len() > OWNER_BYTES_MAX {
            return fault("is too long");
        }
        match text.split_once('/') {
            None if text.is_empty() => fault("is empty"),
            None => Ok(Self::Uid(text.to_owned())),
            Some((resource, name)) => {
                if resource.is_empty() || name.is_empty() || name.contains('/') {
                    return fault("is not of that form");
                }
                Ok(Self::Named { resource: resource.to_owned(), name: name.to_owned() })
            }
        }
    }
}

/// A relation, with the names in it resolved.
pub(super) struct Relation<'f> {
    ip: Option<IpKey>,
    owner: Option<WantedOwner<'f>>,
}

enum WantedOwner<'f> {
    Uid(&'f str),
    Named {
        /// Cluster, group and kind.
        kinds: BTreeSet<(u32, String, String)>,
        name: &'f str,
    },
}

impl WantedOwner<'_> {
    fn is(&self, cluster: u32, reference: &OwnerReference) -> bool {
        match self {
            Self::Uid(uid) => reference.uid == *uid,
            Self::Named { kinds, name } => {
                let group = reference.api_version.rsplit_once('/').map_or("", |(group, _)| group);
                let of_kind = kinds.iter().any(|(of_cluster, of_group, kind)| {
                    *of_cluster == cluster && of_group == group && *kind == reference.kind
                });
                of_kind && reference.name == *name
            }
        }
    }
}

/// A version of an object in a change.
pub(super) struct Changed<'v> {
    pub(super) object: u64,
    pub(super) life: &'v LifeRow,
    pub(super) at: Cursor,
    pub(super) of: &'v TypeRow,
    pub(super) version: &'v VersionRow,
}

impl View {
    pub(super) fn relation<'f>(
        &self,
        filter: &'f ChangeFilter,
        clusters: &[u32],
    ) -> Result<Relation<'f>, StateError> {
        let owner = match &filter.owner {
            None => None,
            Some(OwnerFilter::Uid(uid)) => Some(WantedOwner::Uid(uid)),
            Some(OwnerFilter::Named { resource, name }) => {
                let chosen = self.chosen_in(clusters, resource)?.into_iter();
                let kinds = chosen.map(|(cluster, c)| (cluster, c.shown.group, c.shown.kind));
                Some(WantedOwner::Named { kinds: kinds.collect(), name })
            }
        };
        Ok(Relation { ip: filter.ip.map(|ip| ip.0), owner })
    }

    /// Whether the object has to do with what is wanted, in this version or the one before it.
    pub(super) fn relates(
        &self,
        changed: &Changed<'_>,
        body: &str,
        wanted: &Relation<'_>,
    ) -> Result<bool, StateError> {
        let Relation { ip, owner } = wanted;
        if ip.is_none() && owner.is_none() {
            return Ok(true);
        }
        let before = self.version_before(
            changed.object,
            changed.life,
            &changed.version.order(),
            changed.at,
        )?;
        let before = before.map(|before| self.body(&before)).transpose()?;
        let bodies = || std::iter::once(body).chain(before.as_deref());
        if let Some(ip) = ip
            && !bodies().any(|body| has_address(changed.of, body, ip))
        {
            return Ok(false);
        }
        let Some(owner) = owner else { return Ok(true) };
        for body in bodies() {
            if self.is_owned(changed, body, owner)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The version in which an object existed before one with this order, as known at this place.
    pub(super) fn version_before(
        &self,
        object: u64,
        life: &LifeRow,
        order: &[u8],
        at: Cursor,
    ) -> Result<Option<VersionRow>, StateError> {
        let last = self.versions(object, life).last_before(order, |row| row.place() < at)?;
        Ok(last.filter(|row| !Verb::from_code(row.verb).is_end()))
    }

    /// Whether the object may have to do with what is wanted; told without reading any version.
    pub(super) fn may_relate(
        &self,
        changed: &Changed<'_>,
        wanted: &Relation<'_>,
    ) -> Result<bool, StateError> {
        let of = changed.of;
        match wanted.ip {
            Some(ip) if !is_slice(of) => {
                Ok(self.rows.ips.get((&ip, of.cluster, changed.object))?.is_some())
            }
            _ => Ok(true),
        }
    }

    /// Whether the wanted owner is among the owners of this body, or their owners, as known at the
    /// place of the change. An owner that was recorded behind it counts as it was first seen: lists
    /// at the beginning of a record come type by type.
    fn is_owned(
        &self,
        changed: &Changed<'_>,
        body: &str,
        wanted: &WantedOwner<'_>,
    ) -> Result<bool, StateError> {
        let cluster = changed.of.cluster;
        let (mut seen, mut level) = (BTreeSet::new(), owners(body));
        for _ in 0..OWNERS_MAX {
            if level.iter().any(|reference| wanted.is(cluster, reference)) {
                return Ok(true);
            }
            let mut above = Vec::new();
            for reference in level {
                if !seen.insert(reference.uid.clone()) {
                    continue;
                }
                for object in self.objects_of(cluster, &reference.uid)? {
                    if let Some(version) = self.version_around(object, changed.at)? {
                        above.extend(owners(&self.body(&version)?));
                    }
                }
            }
            level = above;
        }
        Ok(false)
    }

    /// The newest version that was known at this place, or else the first one.
    fn version_around(&self, object: u64, at: Cursor) -> Result<Option<VersionRow>, StateError> {
        let life = self.life(object)?;
        let versions = self.versions(object, &life);
        match versions.last_where(|row| row.place() <= at)? {
            None => Ok(versions.all()?.into_iter().min_by_key(VersionRow::place)),
            found => Ok(found),
        }
    }

    fn objects_of(&self, cluster: u32, uid: &str) -> Result<Vec<u64>, StateError> {
        let uid = uid_key(uid);
        let key = |type_id| (cluster, uid.as_slice(), type_id);
        let entries = self.rows.uids.range(key(0)..=key(u32::MAX));
        entries.map(|entry| Ok(entry?.1.value())).collect()
    }
}

fn is_slice(of: &TypeRow) -> bool {
    of.group == "discovery.k8s.io" && of.resource == "endpointslices"
}

fn has_address(of: &TypeRow, body: &str, ip: &IpKey) -> bool {
    if is_slice(of) {
        return endpoints::Slice::read(body).has_address(ip);
    }
    // What can't be read was told as a problem when it was recorded, and has none.
    let row = addresses(&of.group, &of.resource, body).ok().flatten();
    row.is_some_and(|row| row.ips.iter().any(|entry| entry.ip == *ip && entry.network != HOST))
}
