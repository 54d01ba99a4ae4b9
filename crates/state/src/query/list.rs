//! Objects at a point.

use super::gaps::Window;
use super::names::Chosen;
use super::read::{Bound, View, to_version};
use super::types::{Listing, Object};
use super::{Filter, ListQuery};
use crate::life::LifeRow;
use crate::spread::each;
use crate::tables::VersionRow;
use crate::{State, StateError};

/// Objects of which it is not worth to start a thread.
const ALONE_MAX: usize = 64;

/// An object found by a filter, with the version that stands at the bound.
pub(crate) struct Found {
    pub(crate) object: u64,
    pub(crate) life: LifeRow,
    pub(crate) version: VersionRow,
    /// Its JSON, if the filter had to read it.
    pub(crate) body: Option<String>,
}

impl State {
    /// The objects that exist at a point, in the order of type, namespace, name and uid.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Invalid`] or [`StateError::NotYet`] for the
    /// question; [`StateError::Engine`] or [`StateError::Damaged`] for the view.
    pub fn list(&self, query: &ListQuery) -> Result<Listing, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(query.filter.cluster.as_deref())?;
        let types = view.chosen(cluster, query.filter.resource.as_deref())?;
        let bound = view.bound(cluster, &query.at, query.known_at)?;
        let found = view.find(&types, &query.filter, &bound)?;
        let objects =
            each(found, ALONE_MAX, |found| view.to_object(found, query.without_bodies).map(Some))?;
        // A type that nobody may see can hide what is asked for as well.
        let asked = view.chosen_or_all(cluster, query.filter.resource.as_deref())?;
        let gaps = view.gaps(cluster, &asked, &Window::of(&bound), &bound)?;
        Ok(Listing {
            as_of: bound.as_of(),
            types: types.into_iter().map(|chosen| chosen.shown).collect(),
            objects,
            gaps,
        })
    }
}

impl View {
    /// The objects of these types that fulfil a filter at the bound.
    pub(crate) fn find(
        &self,
        types: &[Chosen],
        filter: &Filter,
        bound: &Bound,
    ) -> Result<Vec<Found>, StateError> {
        let mut found = Vec::new();
        for chosen in types {
            let possible = self.possible(chosen, filter, bound)?;
            found.append(&mut each(possible, ALONE_MAX, |(object, life)| {
                let Some(version) = self.at(object, &life, bound)? else { return Ok(None) };
                let mut body = None;
                if filter.looks_inside() {
                    let text = self.body(&version)?;
                    if !filter.matches_inside(&text) {
                        return Ok(None);
                    }
                    body = Some(text);
                }
                Ok(Some(Found { object, life, version, body }))
            })?);
        }
        Ok(found)
    }

    /// Lives of a type whose names fulfil the filter, by namespace, name and uid; among them all
    /// that exist at the bound.
    pub(super) fn possible(
        &self,
        chosen: &Chosen,
        filter: &Filter,
        bound: &Bound,
    ) -> Result<Vec<(u64, LifeRow)>, StateError> {
        let namespace = filter.namespace.as_deref();
        let (Some(number), Some(time), None) = (chosen.number, bound.existed, &filter.name) else {
            let objects = self.matching(chosen, filter)?;
            return each(objects, ALONE_MAX, |object| Ok(Some((object, self.life(object)?))));
        };
        if namespace.is_some() && !chosen.shown.namespaced {
            return Ok(Vec::new());
        }
        let objects = self.rows.may_have_existed(number, namespace, time)?;
        let mut lives = each(objects, ALONE_MAX, |object| {
            let life = self.life(object)?;
            let wanted = filter.fields.matches(&life.namespace, &life.name);
            Ok(wanted.then_some((object, life)))
        })?;
        lives.sort_unstable_by(|(_, a), (_, b)| {
            (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid))
        });
        Ok(lives)
    }

    /// All lives of a type whose names fulfil the filter, by namespace, name and uid. With a
    /// namespace only that part of the table is read.
    pub(super) fn matching(
        &self,
        chosen: &Chosen,
        filter: &Filter,
    ) -> Result<Vec<u64>, StateError> {
        let Some(number) = chosen.number else { return Ok(Vec::new()) };
        let namespace = filter.namespace.as_deref();
        let name = filter.name.as_deref();
        // The namespace of what has none is "", so its name can be looked up as well.
        let prefix = namespace.or((!chosen.shown.namespaced).then_some(""));
        let start = (number, prefix.unwrap_or(""), prefix.and(name).unwrap_or(""), 0);
        let mut objects = Vec::new();
        if namespace.is_some() && !chosen.shown.namespaced {
            return Ok(objects);
        }
        for entry in self.rows.objects.range(start..) {
            let (key, object) = entry?;
            let (type_id, in_namespace, named, _) = key.value();
            if type_id != number || prefix.is_some_and(|prefix| in_namespace != prefix) {
                break;
            }
            if name.is_some_and(|name| named != name) {
                if prefix.is_some() {
                    break;
                }
                continue;
            }
            if filter.fields.matches(in_namespace, named) {
                objects.push(object.value());
            }
        }
        Ok(objects)
    }

    pub(crate) fn to_object(&self, found: Found, bare: bool) -> Result<Object, StateError> {
        let reference = self.reference(&found.life, &found.version)?;
        let body = match found.body {
            _ if bare => None,
            Some(body) => Some(body),
            None => Some(self.body(&found.version)?),
        };
        Ok(Object { reference, version: to_version(&found.version, body)? })
    }
}
