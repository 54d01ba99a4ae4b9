//! Objects at a point, and everything that was ever known of one name.

use super::gaps::Window;
use super::names::Chosen;
use super::read::{Bound, View, to_version};
use super::types::{History, Life, Listing, Object, Verb};
use super::{Filter, ListQuery};
use crate::tables::{LifeRow, VersionRow};
use crate::{State, StateError};

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
        let mut objects = Vec::new();
        for found in view.find(&types, &query.filter, &bound)? {
            objects.push(view.to_object(found, query.without_bodies)?);
        }
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

    /// All lives and versions of the objects with a name, up to a point.
    ///
    /// # Errors
    /// As [`State::list`]; the filter must name a type and an object.
    pub fn history(&self, query: &ListQuery) -> Result<History, StateError> {
        let filter = &query.filter;
        if filter.resource.is_none() || filter.name.is_none() {
            return Err(StateError::invalid(
                "a history is that of one object",
                "name its type and the object, for example deploy/web",
            ));
        }
        let view = self.view()?;
        let cluster = view.one_cluster(filter.cluster.as_deref())?;
        let types = view.chosen(cluster, filter.resource.as_deref())?;
        let bound = view.bound(cluster, &query.at, query.known_at)?;
        let mut lives = Vec::new();
        for chosen in &types {
            for object in view.matching(chosen, filter)? {
                lives.extend(view.to_life(object, &bound, query.without_bodies)?);
            }
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
            for object in self.matching(chosen, filter)? {
                let life = self.life(object)?;
                let Some(version) = self.at(object, &life, bound)? else { continue };
                let mut body = None;
                if filter.looks_inside() {
                    let text = self.body(object, &version)?;
                    if !filter.matches_inside(&text) {
                        continue;
                    }
                    body = Some(text);
                }
                found.push(Found { object, life, version, body });
            }
        }
        Ok(found)
    }

    /// All lives of a type whose names fulfil the filter, by namespace, name and uid. With a
    /// namespace only that part of the table is read.
    fn matching(&self, chosen: &Chosen, filter: &Filter) -> Result<Vec<u64>, StateError> {
        let Some(number) = chosen.number else { return Ok(Vec::new()) };
        let namespace = filter.namespace.as_deref();
        let name = filter.name.as_deref();
        // The namespace of what has none is "", so its name can be looked up as well.
        let prefix = namespace.or((!chosen.shown.namespaced).then_some(""));
        let start = (number, prefix.unwrap_or(""), prefix.and(name).unwrap_or(""), "");
        let mut objects = Vec::new();
        if namespace.is_some() && !chosen.shown.namespaced {
            return Ok(objects);
        }
        for entry in self.rows.objects.range(start..)? {
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
            None => Some(self.body(found.object, &found.version)?),
        };
        Ok(Object { reference, version: to_version(&found.version, body)? })
    }

    /// A life with what is visible of it, and the record that began it.
    fn to_life(
        &self,
        object: u64,
        bound: &Bound,
        bare: bool,
    ) -> Result<Option<(u64, Life)>, StateError> {
        let rows = self.versions(object)?;
        let visible: Vec<VersionRow> = rows.into_iter().filter(|row| bound.sees(row)).collect();
        let (Some(first), Some(last)) = (visible.first(), visible.last()) else { return Ok(None) };
        let reference = self.reference(&self.life(object)?, last)?;
        let exists = !Verb::from_code(last.verb).is_end();
        let began = first.index;
        let mut versions = Vec::with_capacity(visible.len());
        for row in &visible {
            let body = if bare { None } else { Some(self.body(object, row)?) };
            versions.push(to_version(row, body)?);
        }
        Ok(Some((began, Life { reference, exists, versions })))
    }
}
