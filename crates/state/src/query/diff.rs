//! What differs between two points.

use std::collections::BTreeMap;

use super::Filter;
use super::gaps::Window;
use super::list::Found;
use super::read::{View, to_version};
use super::types::{Diff, Difference, Version};
use crate::json::{JsonError, PathChange, changed_paths};
use crate::{Point, State, StateError};

/// Type, namespace, name, uid.
type Key = (u32, String, String, String);

impl State {
    /// What differs between two points, in the order of type, namespace and name. An object that
    /// fulfils a label selector at one point only counts as added or removed.
    ///
    /// # Errors
    /// As [`State::list`].
    pub fn diff(&self, filter: &Filter, from: &Point, to: &Point) -> Result<Diff, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(filter.cluster.as_deref())?;
        let types = view.chosen(cluster, filter.resource.as_deref())?;
        let first = view.bound(cluster, from, None)?;
        let second = view.bound(cluster, to, None)?;
        let mut pairs: BTreeMap<Key, (Option<Found>, Option<Found>)> = BTreeMap::new();
        for found in view.find(&types, filter, &first)? {
            let key = key(&found);
            pairs.entry(key).or_default().0 = Some(found);
        }
        for found in view.find(&types, filter, &second)? {
            let key = key(&found);
            pairs.entry(key).or_default().1 = Some(found);
        }
        let order: BTreeMap<Option<u32>, usize> =
            types.iter().enumerate().map(|(place, chosen)| (chosen.number, place)).collect();
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(key, _)| order.get(&Some(key.0)).copied());
        let mut differences = Vec::new();
        for (_, (before, after)) in pairs {
            differences.extend(view.difference(before, after)?);
        }
        // The later side knows of more gaps, and both sides' moments lie within the stretch.
        let window = Window::span(first.time, &second);
        let known = if first.known > second.known { &first } else { &second };
        // A type that nobody may see can hide differences as well.
        let asked = view.chosen_or_all(cluster, filter.resource.as_deref())?;
        let mut gaps = view.gaps(cluster, &asked, &window, known)?;
        for bound in [&first, &second] {
            for gap in view.gaps(cluster, &asked, &Window::of(bound), known)? {
                if !gaps.contains(&gap) {
                    gaps.push(gap);
                }
            }
        }
        Ok(Diff { from: first.as_of(), to: second.as_of(), differences, gaps })
    }
}

fn key(found: &Found) -> Key {
    let life = &found.life;
    (life.type_id, life.namespace.clone(), life.name.clone(), life.uid.clone())
}

impl View {
    fn difference(
        &self,
        before: Option<Found>,
        after: Option<Found>,
    ) -> Result<Option<Difference>, StateError> {
        if let (Some(a), Some(b)) = (&before, &after)
            && (a.object, a.version.body) == (b.object, b.version.body)
        {
            return Ok(None);
        }
        let Some(either) = after.as_ref().or(before.as_ref()) else { return Ok(None) };
        let reference = self.reference(&either.life, &either.version)?;
        let side = |found: Option<Found>| -> Result<Option<Version>, StateError> {
            let Some(found) = found else { return Ok(None) };
            let body = match found.body {
                Some(body) => body,
                None => self.body(&found.version)?,
            };
            to_version(&found.version, Some(body)).map(Some)
        };
        Ok(Some(Difference { reference, before: side(before)?, after: side(after)? }))
    }
}

impl Difference {
    /// The paths in which the two versions differ; empty if one of them is missing.
    ///
    /// # Errors
    /// [`JsonError`] if a version is no JSON, which the fold does not let in.
    pub fn paths(&self) -> Result<Vec<PathChange>, JsonError> {
        let json = |version: &Option<Version>| {
            version.as_ref().and_then(|v| v.object.as_ref()).map(|raw| raw.get().to_owned())
        };
        match (json(&self.before), json(&self.after)) {
            (Some(before), Some(after)) => changed_paths(&before, &after),
            _ => Ok(Vec::new()),
        }
    }
}
