//! Everything that was ever known of one name: each version, what it changed, and which request made
//! it; with what it owned, and with who refers to it.
//!
//! A request is told by an audit event. Where the event shows the version it is certain; where it is
//! only known by the name of the object and the time it is said to be so.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::ListQuery;
use super::gaps::Window;
use super::list::Found;
use super::read::{Bound, View, to_version};
use super::types::{History, Life, Listing, RequestBasis, RequestRef, Verb, Version};
use crate::bodies::Place;
use crate::json::changed_paths;
use crate::life::LifeRow;
use crate::tables::{VersionRow, uid_key};
use crate::{State, StateError, Time};

/// Most objects of one history.
pub const HISTORY_OBJECTS_MAX: usize = 10_000;
/// How far from the versions around it a request may have come that is known by name and time alone:
/// the server's clock is not the recorder's.
const REQUEST_TOLERANCE_NS: i64 = 2_000_000_000;

/// A question about the history of one name.
#[derive(Debug, Clone)]
pub struct HistoryQuery {
    /// The name, and up to where.
    pub list: ListQuery,
    /// With the objects that it owned, and those that they owned.
    pub owned: bool,
    /// With the paths in which each version differs from the one before it.
    pub changes: bool,
}

impl From<ListQuery> for HistoryQuery {
    fn from(list: ListQuery) -> Self {
        Self { list, owned: false, changes: false }
    }
}

/// What of an object is needed here.
#[derive(Deserialize)]
struct Body {
    metadata: BodyMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyMeta {
    #[serde(default)]
    owner_references: Option<Vec<OwnerUid>>,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct OwnerUid {
    #[serde(default)]
    uid: String,
}

/// Whether an object is to be deleted.
fn is_deleting(body: &str) -> bool {
    let object = serde_json::from_str::<Body>(body).ok();
    object.is_some_and(|object| object.metadata.deletion_timestamp.is_some())
}

impl State {
    /// All lives and versions of the objects with a name, up to a point.
    ///
    /// # Errors
    /// As [`State::list`]; the filter must name a type and an object, and they must not have owned
    /// more than [`HISTORY_OBJECTS_MAX`] objects.
    pub fn history(&self, query: &HistoryQuery) -> Result<History, StateError> {
        let filter = &query.list.filter;
        if filter.resource.is_none() || filter.name.is_none() {
            return Err(StateError::invalid(
                "a history is that of one object",
                "name its type and the object, for example deploy/web",
            ));
        }
        let view = self.view()?;
        let cluster = view.one_cluster(filter.cluster.as_deref())?;
        let mut types = view.chosen(cluster, filter.resource.as_deref())?;
        let bound = view.bound(cluster, &query.list.at, query.list.known_at)?;
        let mut objects = Vec::new();
        for chosen in &types {
            objects.extend(view.matching(chosen, filter)?);
        }
        if query.owned {
            view.add_owned(cluster, &mut objects, &bound)?;
            // What was owned may be of any type, and hidden by a gap of it.
            types = view.chosen(cluster, None)?;
        }
        let mut lives = Vec::new();
        for object in objects {
            lives.extend(view.to_life(object, &bound, query)?);
        }
        lives.sort_by_key(|(first, _)| *first);
        let lives: Vec<Life> = lives.into_iter().map(|(_, life)| life).collect();
        let first = lives.iter().flat_map(|life| &life.versions).map(|v| v.time.0).min();
        let window = match first {
            Some(_) if bound.time.is_some() => Window::span(first, &bound),
            _ => Window::of(&bound),
        };
        let gaps = view.gaps(cluster, &types, &window, &bound)?;
        Ok(History { as_of: bound.as_of(), lives, gaps })
    }

    /// The objects that exist at a point and name, by its uid, an object which then exists or
    /// existed before under the name that the filter gives: what it owns, events about it, addresses
    /// that lead to it, and so on. Of references by name alone nothing is known here.
    ///
    /// # Errors
    /// As [`State::history`].
    pub fn referrers(&self, query: &ListQuery) -> Result<Listing, StateError> {
        let filter = &query.filter;
        if filter.resource.is_none() || filter.name.is_none() {
            return Err(StateError::invalid(
                "referrers are those of one object",
                "name its type and the object, for example deploy/web",
            ));
        }
        let view = self.view()?;
        let cluster = view.one_cluster(filter.cluster.as_deref())?;
        let types = view.chosen(cluster, filter.resource.as_deref())?;
        let bound = view.bound(cluster, &query.at, query.known_at)?;
        let (mut seen, mut objects) = (BTreeSet::new(), Vec::new());
        for chosen in &types {
            for target in view.matching(chosen, filter)? {
                let uid = view.life(target)?.uid;
                for object in view.referrers_of(&uid)? {
                    if object == target || !seen.insert(object) {
                        continue;
                    }
                    let life = view.life(object)?;
                    let Some(version) = view.at(object, &life, &bound)? else { continue };
                    let body = view.body(&version)?;
                    if view.type_row(life.type_id)?.cluster == cluster && body.contains(&uid) {
                        let found = Found { object, life, version, body: Some(body) };
                        objects.push(view.to_object(found, query.without_bodies)?);
                    }
                }
            }
        }
        let all = view.chosen(cluster, None)?;
        let gaps = view.gaps(cluster, &all, &Window::of(&bound), &bound)?;
        let types = all.into_iter().map(|chosen| chosen.shown).collect();
        Ok(Listing { as_of: bound.as_of(), types, objects, gaps })
    }
}

impl View {
    /// A life with what is visible of it, and the record that began it.
    fn to_life(
        &self,
        object: u64,
        bound: &Bound,
        query: &HistoryQuery,
    ) -> Result<Option<(u64, Life)>, StateError> {
        let life = self.life(object)?;
        let rows = self.versions(object, &life).all()?;
        let visible: Vec<VersionRow> = rows.into_iter().filter(|row| bound.sees(row)).collect();
        let (Some(first), Some(last)) = (visible.first(), visible.last()) else { return Ok(None) };
        let reference = self.reference(&life, last)?;
        let exists = !Verb::from_code(last.verb).is_end();
        let began = first.index;
        let mut versions: Vec<Version> = Vec::with_capacity(visible.len());
        let (mut before, mut time): (Option<String>, i64) = (None, life.begin.time);
        let mut used = BTreeSet::new();
        for row in &visible {
            let wanted = query.changes || !query.list.without_bodies;
            let body = if wanted { Some(self.body(row)?) } else { None };
            let changes = match (&before, &body) {
                (Some(before), Some(body)) if query.changes => changed_paths(before, body)
                    .map(Some)
                    .map_err(|e| StateError::Damaged(format!("a body is no JSON: {e}")))?,
                _ => None,
            };
            let mut version = to_version(row, body.clone().filter(|_| !query.list.without_bodies))?;
            version.changes = changes;
            version.by = self.made_by(&life, row, (time, &used), bound)?;
            used.extend(version.by.map(|by| by.index));
            versions.push(version);
            (before, time) = (body, row.time);
        }
        Ok(Some((began, Life { reference, exists, versions })))
    }

    /// The request that made a version; `before` is the time of the version before it, and the
    /// requests that made those before it.
    fn made_by(
        &self,
        life: &LifeRow,
        version: &VersionRow,
        before: (i64, &BTreeSet<u64>),
        bound: &Bound,
    ) -> Result<Option<RequestRef>, StateError> {
        let uid = uid_key(&life.uid);
        let verb = Verb::from_code(version.verb);
        if !matches!(verb, Verb::Vanished | Verb::Replaced) {
            let rv = version.rv.as_str();
            let range = (uid.as_slice(), rv, 0)..=(uid.as_slice(), rv, u64::MAX);
            let mut first: Option<(i64, u64)> = None;
            for entry in self.rows.made.range(range) {
                let (key, time) = entry?;
                let (index, time) = (key.value().2, time.value());
                // Requests that change nothing are answered with the version that was there.
                if bound.knows(index) && first.is_none_or(|first| (time, index) < first) {
                    first = Some((time, index));
                }
            }
            if let Some((time, index)) = first {
                let basis = RequestBasis::ResourceVersion;
                return Ok(Some(RequestRef { index, time: Time(time), basis }));
            }
        }
        let found = self.asked_by_name(life, version, before, true, bound)?;
        let Some((deletes, found)) = found else { return Ok(None) };
        let ends = Verb::from_code(version.verb).is_end();
        if !deletes || ends || is_deleting(&self.body(version)?) {
            return Ok(Some(found));
        }
        // A deletion shows in the object. This one came after the version.
        let found = self.asked_by_name(life, version, before, false, bound)?;
        Ok(found.map(|(_, found)| found))
    }

    /// The request for an object of this name that came closest to a version that it can have made,
    /// and whether it deletes; `before` as for the whole, `deletions` says whether they are looked at.
    fn asked_by_name(
        &self,
        life: &LifeRow,
        version: &VersionRow,
        (before, used): (i64, &BTreeSet<u64>),
        deletions: bool,
        bound: &Bound,
    ) -> Result<Option<(bool, RequestRef)>, StateError> {
        let type_row = self.type_row(life.type_id)?;
        let verb = Verb::from_code(version.verb);
        // A deletion may have been asked for long before the end.
        let from = if verb.is_end() { life.begin.time } else { before };
        let from = from.saturating_sub(REQUEST_TOLERANCE_NS);
        let to = version.time.saturating_add(REQUEST_TOLERANCE_NS);
        let mut closest: Option<(u64, i64, u64, bool)> = None;
        let collections = verb.is_end().then_some("");
        for name in [Some(life.name.as_str()), collections].into_iter().flatten() {
            let (group, resource) = (type_row.group.as_str(), type_row.resource.as_str());
            let namespace = life.namespace.as_str();
            let key = |index| (group, resource, namespace, name, index);
            for entry in self.rows.requests.range(key(0)..=key(u64::MAX)) {
                let (key, value) = entry?;
                let (index, (time, deletes, uid)) = (key.value().4, value.value());
                let other = !uid.is_empty() && uid != life.uid;
                // A request makes one version; a deletion also the end, later.
                let free = verb.is_end() || !used.contains(&index);
                let fits = (from..=to).contains(&time) && bound.knows(index) && !other && free;
                if fits && if deletes { deletions } else { !verb.is_end() } {
                    let found = (time.abs_diff(version.time), time, index, deletes);
                    closest = Some(closest.map_or(found, |closest| closest.min(found)));
                }
            }
        }
        let basis = RequestBasis::Name;
        Ok(closest.map(|(_, time, index, deletes)| {
            (deletes, RequestRef { index, time: Time(time), basis })
        }))
    }

    fn referrers_of(&self, uid: &str) -> Result<Vec<u64>, StateError> {
        if uid.is_empty() {
            return Ok(Vec::new());
        }
        let key = uid_key(uid);
        let range = (key.as_slice(), 0)..=(key.as_slice(), u64::MAX);
        self.rows.referrers.range(range).map(|entry| Ok(entry?.0.value().1)).collect()
    }

    /// Adds the objects that these owned, and what those owned.
    fn add_owned(
        &self,
        cluster: u32,
        objects: &mut Vec<u64>,
        bound: &Bound,
    ) -> Result<(), StateError> {
        let mut known: BTreeSet<u64> = objects.iter().copied().collect();
        let mut next = 0;
        while let Some(object) = objects.get(next).copied() {
            next += 1;
            let owner = self.life(object)?.uid;
            for referrer in self.referrers_of(&owner)? {
                if known.contains(&referrer) || !self.owned_by(cluster, referrer, &owner, bound)? {
                    continue;
                }
                if objects.len() >= HISTORY_OBJECTS_MAX {
                    return Err(StateError::invalid(
                        format!("it owned more than {HISTORY_OBJECTS_MAX} objects"),
                        "ask for the history of one of them, or leave them out",
                    ));
                }
                known.insert(referrer);
                objects.push(referrer);
            }
        }
        Ok(())
    }

    /// Whether the first or the newest visible version of an object names an owner.
    fn owned_by(
        &self,
        cluster: u32,
        object: u64,
        owner: &str,
        bound: &Bound,
    ) -> Result<bool, StateError> {
        let life = self.life(object)?;
        if self.type_row(life.type_id)?.cluster != cluster {
            return Ok(false);
        }
        let versions = self.versions(object, &life).all()?;
        let mut visible = versions.iter().filter(|version| bound.sees(version));
        let (first, last) = (visible.next(), visible.next_back());
        let mut bodies: BTreeMap<Place, String> = BTreeMap::new();
        for version in first.into_iter().chain(last) {
            bodies.insert(version.body, self.body(version)?);
        }
        Ok(bodies.values().any(|body| {
            let owned = serde_json::from_str::<Body>(body).ok();
            let owners = owned.and_then(|owned| owned.metadata.owner_references);
            owners.is_some_and(|owners| owners.iter().any(|named| named.uid == owner))
        }))
    }
}
