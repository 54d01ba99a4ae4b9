//! The recorded sequence of changes, from any cursor on: what subscriptions are made of.

use super::gaps::to_seen;
use super::list::Found;
use super::names::Chosen;
use super::read::View;
use super::relation::{ChangeFilter, Changed, Relation};
use super::types::{Change, ChangeBody, Changes, Cursor};
use super::{Filter, GapSeen};
use crate::tables::{ALL, GapRow, LogRow, unrow};
use crate::{State, StateError};

/// Most entries that one call looks at, so that a filter that matches little does not block for
/// long.
const SCAN_MAX: usize = 50_000;

/// A filter, resolved.
pub(super) struct Wanted<'f> {
    pub(super) clusters: Vec<u32>,
    /// The types by number, if the filter names one.
    pub(super) types: Option<Vec<u32>>,
    filter: &'f Filter,
}

/// A filter with what it has to do with, resolved.
struct WantedChanges<'f> {
    objects: Wanted<'f>,
    relation: Relation<'f>,
}

impl State {
    /// The recorded sequence of changes from a cursor on, gaps included. [`Changes::next`] is
    /// where to go on; when [`Changes::complete`], after [`State::subscribe`] told of more.
    ///
    /// # Errors
    /// As [`State::list`].
    pub fn changes(
        &self,
        from: Cursor,
        filter: &ChangeFilter,
        limit: usize,
    ) -> Result<Changes, StateError> {
        let view = self.view()?;
        let objects = view.wanted(&filter.objects)?;
        let relation = view.relation(filter, &objects.clusters)?;
        let wanted = WantedChanges { objects, relation };
        let mut changes = Vec::new();
        let mut next = from;
        for (scanned, entry) in view.log_from(from)?.enumerate() {
            if changes.len() >= limit || scanned >= SCAN_MAX {
                return Ok(Changes { changes, next, complete: false });
            }
            let (at, row) = entry?;
            next = Cursor { ordinal: at.ordinal.saturating_add(1), ..at };
            if let Some(body) = view.change(at, row, &wanted)? {
                changes.push(Change { at, body });
            }
        }
        let end = Cursor { index: view.next, ordinal: 0 };
        Ok(Changes { changes, next: end.max(next), complete: true })
    }
}

impl View {
    pub(super) fn wanted<'f>(&self, filter: &'f Filter) -> Result<Wanted<'f>, StateError> {
        let clusters = self.some_clusters(filter.cluster.as_deref())?;
        let Some(resource) = filter.resource.as_deref() else {
            return Ok(Wanted { clusters, types: None, filter });
        };
        let chosen = self.chosen_in(&clusters, resource)?;
        let types = chosen.iter().filter_map(|(_, chosen)| chosen.number).collect();
        Ok(Wanted { clusters, types: Some(types), filter })
    }

    /// What goes by this name in these clusters; there must be something in one of them.
    pub(super) fn chosen_in(
        &self,
        clusters: &[u32],
        resource: &str,
    ) -> Result<Vec<(u32, Chosen)>, StateError> {
        let mut chosen = Vec::new();
        let mut error = None;
        for cluster in clusters {
            match self.choose(*cluster, resource) {
                Ok(found) => chosen.push((*cluster, found)),
                Err(e) => error = Some(e),
            }
        }
        match error {
            Some(error) if chosen.is_empty() => Err(error),
            _ => Ok(chosen),
        }
    }

    fn change(
        &self,
        at: Cursor,
        row: LogRow,
        wanted: &WantedChanges<'_>,
    ) -> Result<Option<ChangeBody>, StateError> {
        match row {
            LogRow::Version(type_id, object, order) => {
                let Some(found) = self.changed_object(at, type_id, object, &order, wanted)? else {
                    return Ok(None);
                };
                Ok(Some(ChangeBody::Object(Box::new(self.to_object(found, false)?))))
            }
            LogRow::Gap(cluster, type_id, number) => {
                let wanted = &wanted.objects;
                let of_cluster = cluster == ALL || wanted.clusters.contains(&cluster);
                let of_type = type_id == ALL
                    || wanted.types.as_ref().is_none_or(|types| types.contains(&type_id));
                if !of_cluster || !of_type {
                    return Ok(None);
                }
                let seen = self.gap(cluster, type_id, number)?;
                Ok(seen.map(|seen| ChangeBody::Gap(Box::new(seen))))
            }
        }
    }

    fn gap(&self, cluster: u32, type_id: u32, number: u64) -> Result<Option<GapSeen>, StateError> {
        let Some(found) = self.rows.gaps.get((cluster, type_id, number))? else { return Ok(None) };
        let row: GapRow = unrow(found.value())?;
        let id = if cluster == ALL { None } else { Some(self.cluster_row(cluster)?.id) };
        Ok(Some(to_seen(id, &row)))
    }

    fn changed_object(
        &self,
        at: Cursor,
        type_id: u32,
        object: u64,
        order: &[u8],
        wanted: &WantedChanges<'_>,
    ) -> Result<Option<Found>, StateError> {
        let WantedChanges { objects: Wanted { clusters, types, filter }, relation } = wanted;
        if types.as_ref().is_some_and(|types| !types.contains(&type_id)) {
            return Ok(None);
        }
        let of = self.type_row(type_id)?;
        if !clusters.contains(&of.cluster) {
            return Ok(None);
        }
        let life = self.life(object)?;
        let other = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_some_and(|wanted| wanted != found)
        };
        if other(&filter.namespace, &life.namespace)
            || other(&filter.name, &life.name)
            || !filter.fields.matches(&life.namespace, &life.name)
        {
            return Ok(None);
        }
        let version = self.version(object, &life, order)?;
        let changed = Changed { object, life: &life, at, of: &of, version: &version };
        if !self.may_relate(&changed, relation)? {
            return Ok(None);
        }
        let body = self.body(&version)?;
        if !filter.matches_inside(&body) || !self.relates(&changed, &body, relation)? {
            return Ok(None);
        }
        Ok(Some(Found { object, life, version, body: Some(body) }))
    }
}
