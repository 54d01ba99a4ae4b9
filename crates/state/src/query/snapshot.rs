//! The objects of one type at a point, read piece by piece: what a long list is made of without
//! ever being in memory as a whole.
//!
//! Objects come in the order in which an API server lists them, by `namespace/name`.
//!
//! Invariant: with the same point and the same newest record, the pieces are those of one and the
//! same list, however they are cut.

use super::gaps::Window;
use super::names::Chosen;
use super::read::{Bound, Limit, View};
use super::types::{AsOf, GapSeen, ResourceType};
use super::{FieldSelector, Filter, LabelSelector};
use crate::tables::VersionRow;
use crate::{Point, State, StateError, Time, rv};

/// Which objects of which type.
#[derive(Debug, Clone)]
pub struct SnapshotQuery {
    /// Id or name of the cluster.
    pub cluster: String,
    /// API group, `""` for the core group.
    pub group: String,
    /// Plural name of the type.
    pub resource: String,
    /// The namespace; `None` means all.
    pub namespace: Option<String>,
    /// The name; `None` means all.
    pub name: Option<String>,
    /// Label selector.
    pub labels: LabelSelector,
    /// Field selector.
    pub fields: FieldSelector,
    /// At which point.
    pub at: Point,
    /// Pass over records after this one.
    pub known_at: Option<u64>,
}

impl SnapshotQuery {
    /// All objects of a type at a point.
    pub fn all(cluster: &str, group: &str, resource: &str, at: Point) -> Self {
        Self {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: None,
            name: None,
            labels: LabelSelector::default(),
            fields: FieldSelector::default(),
            at,
            known_at: None,
        }
    }

    pub(super) fn filter(&self) -> Filter {
        Filter {
            cluster: None,
            resource: None,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
        }
    }
}

/// Where an object stands in the order of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPlace {
    /// Its namespace, `""` if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ListPlace {
    /// What sorts it.
    fn order(&self) -> Vec<u8> {
        [&self.namespace, "/", &self.name].concat().into_bytes()
    }
}

/// An object at the point.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its resource version.
    pub resource_version: String,
    /// Effective time at which this version was first seen.
    pub time: Time,
    /// Values were replaced by keyed digests before it was recorded.
    pub redacted: bool,
    /// Its JSON.
    pub body: String,
}

/// A name that may exist at the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    object: u64,
    /// Other lives of the name.
    others: Vec<u64>,
    /// Where it stands.
    pub place: ListPlace,
}

/// The objects of one type at one point.
pub struct Snapshot {
    view: View,
    chosen: Chosen,
    cluster: u32,
    bound: Bound,
    filter: Filter,
    gaps: Vec<GapSeen>,
    resource_version: String,
    /// The names that may exist, in order, where that follows from the point. Else all names are
    /// looked at, whenever they existed.
    possible: Option<Vec<Slot>>,
}

impl State {
    /// Opens the objects of a type at a point.
    ///
    /// # Errors
    /// [`StateError::NotFound`] if the cluster or the type is not known, [`StateError::NotYet`] if
    /// the point is not reached; [`StateError::Engine`] or [`StateError::Damaged`] for the view.
    pub fn snapshot(&self, query: &SnapshotQuery) -> Result<Snapshot, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(Some(&query.cluster))?;
        let chosen = view.exact_type(cluster, &query.group, &query.resource)?;
        let bound = view.bound(cluster, &query.at, query.known_at)?;
        let gaps =
            view.gaps(cluster, std::slice::from_ref(&chosen), &Window::of(&bound), &bound)?;
        let resource_version = view.version_at(cluster, &chosen, &bound)?;
        let filter = query.filter();
        let possible = view.possible_slots(&chosen, &filter, &bound)?;
        Ok(Snapshot { view, chosen, cluster, bound, filter, gaps, resource_version, possible })
    }
}

impl Snapshot {
    /// Where it stands.
    pub fn as_of(&self) -> AsOf {
        self.bound.as_of()
    }

    /// The type.
    pub fn of(&self) -> &ResourceType {
        &self.chosen.shown
    }

    /// Blind stretches that it touches.
    pub fn gaps(&self) -> &[GapSeen] {
        &self.gaps
    }

    /// The cluster's own resource version: the newest that was seen of the type by then, `"0"` if
    /// none was.
    pub fn resource_version(&self) -> &str {
        &self.resource_version
    }

    /// The newest resource version of the type in all records, `"0"` if there is none.
    ///
    /// # Errors
    /// [`StateError::Engine`] or [`StateError::Damaged`].
    pub fn newest_version(&self) -> Result<String, StateError> {
        let known = Bound { limit: Limit::Known, ..self.bound.clone() };
        self.view.version_at(self.cluster, &self.chosen, &known)
    }

    /// The time it is for; of a resource version, the time when the type came to it.
    ///
    /// # Errors
    /// [`StateError::Engine`] or [`StateError::Damaged`].
    pub fn time(&self) -> Result<Option<Time>, StateError> {
        let (Limit::Rv(rv), Some(number)) = (&self.bound.limit, self.chosen.number) else {
            return Ok(self.bound.time.map(Time));
        };
        let index = self.view.behind(number, rv)?.at.index;
        Ok(self.view.last_time(self.cluster, index)?.map(|(time, _)| Time(time)))
    }

    /// The next names behind a place that may exist, at most `limit`. Whether one does, and passes
    /// the filter, [`Snapshot::load`] tells. None means that there are no more.
    ///
    /// # Errors
    /// [`StateError::Engine`] or [`StateError::Damaged`].
    pub fn slots(&self, after: Option<&ListPlace>, limit: usize) -> Result<Vec<Slot>, StateError> {
        if let Some(possible) = &self.possible {
            let behind = |slot: &Slot| after.is_none_or(|after| slot.place.order() > after.order());
            let start = possible.partition_point(|slot| !behind(slot));
            return Ok(possible[start..].iter().take(limit).cloned().collect());
        }
        let mut found = Vec::new();
        let Some(number) = self.chosen.number else { return Ok(found) };
        for namespace in self.namespaces(number, after)? {
            let resume = after.filter(|after| after.namespace == namespace);
            self.within(number, &namespace, resume, limit, &mut found)?;
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// The namespaces to go through from a place on, in the order of `namespace/`.
    fn namespaces(
        &self,
        number: u32,
        after: Option<&ListPlace>,
    ) -> Result<Vec<String>, StateError> {
        let mut found = Vec::new();
        match (&self.filter.namespace, self.chosen.shown.namespaced) {
            (Some(namespace), true) => found.push(namespace.clone()),
            (Some(_), false) => {}
            (None, false) => found.push(String::new()),
            (None, true) => {
                let mut start = String::new();
                loop {
                    let begin = (number, start.as_str(), "", 0);
                    let next = self.view.rows.objects.range(begin..).next().transpose()?;
                    let Some((key, _)) = next else { break };
                    let (type_id, namespace, ..) = key.value();
                    if type_id != number {
                        break;
                    }
                    found.push(namespace.to_owned());
                    // The least text behind it.
                    start = format!("{namespace}\0");
                }
                found.sort_by_cached_key(|namespace| format!("{namespace}/"));
            }
        }
        if let Some(after) = after {
            let done = format!("{}/", after.namespace);
            found.retain(|namespace| format!("{namespace}/") >= done);
        }
        Ok(found)
    }

    fn within(
        &self,
        number: u32,
        namespace: &str,
        resume: Option<&ListPlace>,
        limit: usize,
        found: &mut Vec<Slot>,
    ) -> Result<(), StateError> {
        let wanted = self.filter.name.as_deref();
        let resumed;
        let begin = match resume {
            Some(place) => {
                // The least name behind it.
                resumed = format!("{}\0", place.name);
                resumed.as_str()
            }
            None => wanted.unwrap_or(""),
        };
        for entry in self.view.rows.objects.range((number, namespace, begin, 0)..) {
            let (key, object) = entry?;
            let (type_id, in_namespace, named, _) = key.value();
            let other = wanted.is_some_and(|wanted| wanted != named);
            if type_id != number || in_namespace != namespace || other {
                break;
            }
            if let Some(last) = found.last_mut()
                && last.place.name == named
                && last.place.namespace == in_namespace
            {
                last.others.push(object.value());
                continue;
            }
            if found.len() >= limit {
                break;
            }
            if self.filter.fields.matches(in_namespace, named) {
                let place = ListPlace { namespace: namespace.to_owned(), name: named.to_owned() };
                found.push(Slot { object: object.value(), others: Vec::new(), place });
            }
        }
        Ok(())
    }

    /// The object, if it exists at the point and passes the filter.
    ///
    /// # Errors
    /// [`StateError::Engine`] or [`StateError::Damaged`].
    pub fn load(&self, slot: &Slot) -> Result<Option<Seen>, StateError> {
        let mut held: Option<VersionRow> = None;
        for object in std::iter::once(slot.object).chain(slot.others.iter().copied()) {
            let life = self.view.life(object)?;
            let Some(row) = self.view.at(object, &life, &self.bound)? else { continue };
            // Where one recorder was late, two lives of a name may seem to be there at a time. The
            // later one is.
            let later = |held: &VersionRow| {
                rv::compare(&held.rv, &row.rv).is_none_or(std::cmp::Ordering::is_lt)
            };
            if held.as_ref().is_none_or(later) {
                held = Some(row);
            }
        }
        let Some(row) = held else { return Ok(None) };
        let body = self.view.body(&row)?;
        if !self.filter.matches_inside(&body) {
            return Ok(None);
        }
        let (time, redacted) = (Time(row.time), row.redacted);
        Ok(Some(Seen { resource_version: row.rv, time, redacted, body }))
    }
}

impl View {
    /// The names of a type that may exist at the bound, in the order of a list; `None` where what may
    /// exist does not follow from the bound, or is one name anyway.
    fn possible_slots(
        &self,
        chosen: &Chosen,
        filter: &Filter,
        bound: &Bound,
    ) -> Result<Option<Vec<Slot>>, StateError> {
        if filter.name.is_some() || bound.existed.is_none() {
            return Ok(None);
        }
        let mut slots: Vec<Slot> = Vec::new();
        for (object, life) in self.possible(chosen, filter, bound)? {
            match slots.last_mut() {
                Some(Slot { others, place, .. })
                    if place.name == life.name && place.namespace == life.namespace =>
                {
                    others.push(object);
                }
                _ => {
                    let place = ListPlace { namespace: life.namespace, name: life.name };
                    slots.push(Slot { object, others: Vec::new(), place });
                }
            }
        }
        // Lives come by namespace and name, which is another order where a namespace has a sign
        // below "/".
        slots.sort_by_cached_key(|slot| slot.place.order());
        Ok(Some(slots))
    }

    /// The type with exactly this group and plural name.
    pub(crate) fn exact_type(
        &self,
        cluster: u32,
        group: &str,
        resource: &str,
    ) -> Result<Chosen, StateError> {
        let Some(number) = self.rows.types.get((cluster, group, resource))? else {
            let dot = if group.is_empty() { "" } else { "." };
            return Err(StateError::not_found(
                format!("{resource}{dot}{group} is not recorded for this cluster"),
                "",
            ));
        };
        let number = number.value();
        let id = self.cluster_row(cluster)?.id;
        let shown = super::names::shown(&id, self.type_row(number)?);
        Ok(Chosen { number: Some(number), shown })
    }

    /// The newest resource version of a type that was seen by the bound.
    pub(crate) fn version_at(
        &self,
        cluster: u32,
        chosen: &Chosen,
        bound: &Bound,
    ) -> Result<String, StateError> {
        let none = || "0".to_owned();
        let Some(number) = chosen.number else { return Ok(none()) };
        let known = match &bound.limit {
            Limit::Rv(rv) => return Ok(rv.clone()),
            Limit::Known => bound.known,
            Limit::Time(time) => {
                let record = self.record_at(cluster, *time)?;
                record.zip(bound.known).map(|(record, known)| record.min(known))
            }
        };
        if let Some(reached) = self.reached(number, known)? {
            return Ok(reached);
        }
        // Versions without an order are known only as the newest.
        let newest = known.is_some() && known == self.next.checked_sub(1);
        let streams = if newest { self.streams(number, bound)? } else { Vec::new() };
        let last = streams.into_iter().map(|(_, stream)| stream.last_rv);
        Ok(last.into_iter().rfind(|rv| !rv.is_empty() && !rv::is_ordered(rv)).unwrap_or_else(none))
    }
}
