//! A question about objects: which, at which point, and what the resource version that a client
//! sends along means for it.

use stele_state::query::{FieldSelector, LabelSelector, Snapshot, SnapshotQuery};
use stele_state::{Point, State, rv};

use super::params::{Matching, Parameters};
use super::path::Objects;
use super::status::Failure;
use super::types::Type;

/// Reason of a gap before the first list of a type.
const NOT_YET: &str = "not-covered-yet";

/// Which objects are asked for, in a request.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) cluster: String,
    pub(super) at: Point,
    pub(super) objects: Objects,
    pub(super) parameters: Parameters,
}

/// What a question is about, found in the state.
pub(super) struct Opened {
    pub(super) of: Type,
    pub(super) snapshot: Snapshot,
    /// The point that it stands at.
    pub(super) point: Point,
}

impl Question {
    /// The type, and what is asked of it.
    pub(super) fn query(&self, state: &State) -> Result<(Type, SnapshotQuery), Failure> {
        let Objects { of, resource, namespace, name, .. } = &self.objects;
        let known_at = self.parameters.token.as_ref().and_then(|token| token.known);
        let found = Type::find(state, &self.cluster, of, resource, &self.at, known_at)?;
        if namespace.is_some() && !found.of.namespaced {
            return Err(Failure::no_such_path());
        }
        let labels: LabelSelector = self.parameters.labels.parse()?;
        let more = found.selectable();
        let fields = FieldSelector::of_type(&self.parameters.fields, &of.group, resource, &more)?;
        let query = SnapshotQuery {
            namespace: namespace.clone(),
            name: name.clone(),
            labels,
            fields,
            known_at,
            ..SnapshotQuery::all(&self.cluster, &of.group, resource, self.at.clone())
        };
        Ok((found, query))
    }

    /// Opens the objects at the point that the prefix, the token or the version names.
    pub(super) fn open(&self, state: &State) -> Result<Opened, Failure> {
        let (of, mut query) = self.query(state)?;
        if let Some(token) = &self.parameters.token {
            query.at = token.point()?;
            let (snapshot, point) = (state.snapshot(&query)?, query.at);
            return Ok(Opened { of, snapshot, point });
        }
        let snapshot = state.snapshot(&query)?;
        let Some(wanted) = self.parameters.version() else {
            return Ok(Opened { of, snapshot, point: query.at });
        };
        // A version together with a limit has always meant that very version.
        let exact = match self.parameters.matching {
            Matching::Exact => true,
            Matching::NotOlderThan => false,
            Matching::Unsaid => self.parameters.limit.is_some() && self.objects.name.is_none(),
        };
        if !rv::is_ordered(wanted) {
            return if snapshot.resource_version() == wanted || !exact {
                Ok(Opened { of, snapshot, point: query.at })
            } else {
                Err(Failure::expired(format!("resource version {wanted:?} can't be found again")))
            };
        }
        let held = snapshot.resource_version();
        let older = rv::compare(held, wanted).is_none_or(std::cmp::Ordering::is_lt);
        // Whoever lists anew with the version it knows gets that very state, and misses nothing of
        // what came after it.
        let exact = exact || self.at == Point::Now;
        if !older && (!exact || held == wanted) {
            return Ok(Opened { of, snapshot, point: query.at });
        }
        let newest = snapshot.newest_version()?;
        if rv::compare(&newest, wanted).is_none_or(std::cmp::Ordering::is_lt) {
            return Err(Failure::too_new(wanted, &newest));
        }
        query.at = Point::ResourceVersion(wanted.to_owned());
        let snapshot = state.snapshot(&query)?;
        if snapshot.gaps().iter().any(|gap| gap.reason == NOT_YET) {
            let message = format!("too old resource version: {wanted} is older than the record");
            return Err(Failure::expired(message));
        }
        Ok(Opened { of, snapshot, point: query.at })
    }
}
