//! Reading rows of one snapshot: which records a question may see, and the version of an object
//! that stands at its point.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Cursor;
use super::memo::Memo;
use super::types::{AsOf, ObjectRef, Verb, Version};
use crate::bodies::Piece;
use crate::chunks::{LOG_RECORDS, LogChunk, TIMES_RECORDS, TimesChunk};
use crate::life::LifeRow;
use crate::table::Row;
use crate::tables::{ClusterRow, LogRow, Tables, TypeRow, VersionRow, unrow};
use crate::versions::Versions;
use crate::{Point, State, StateError, Time, TimeBasis, rv};

/// Up to where a question looks.
#[derive(Debug, Clone)]
pub(crate) enum Limit {
    /// All known records.
    Known,
    /// Versions with an effective time up to this.
    Time(i64),
    /// Versions up to this resource version.
    Rv(String),
}

/// A point, resolved against a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) limit: Limit,
    /// Records after this one are passed over; `None` if there are no records.
    pub(crate) known: Option<u64>,
    /// The time the answer is for.
    pub(crate) time: Option<i64>,
    /// Only what may have existed then, by what is known up to now, can exist at the bound; `None`
    /// where that does not follow.
    pub(crate) existed: Option<i64>,
    pub(crate) basis: TimeBasis,
}

impl Bound {
    pub(crate) fn as_of(&self) -> AsOf {
        let resource_version = match &self.limit {
            Limit::Rv(rv) => Some(rv.clone()),
            _ => None,
        };
        AsOf {
            index: self.known,
            time: self.time.map(Time),
            time_basis: self.basis,
            resource_version,
        }
    }

    pub(crate) fn knows(&self, index: u64) -> bool {
        self.known.is_some_and(|known| index <= known)
    }

    /// Whether a version is within the bound.
    pub(crate) fn sees(&self, version: &VersionRow) -> bool {
        self.knows(version.index)
            && match &self.limit {
                Limit::Known => true,
                Limit::Time(time) => version.time <= *time,
                Limit::Rv(limit) => up_to(&version.rv, limit),
            }
    }

    /// Whether it follows from the life's row alone that the object does not exist.
    fn rules_out(&self, life: &LifeRow) -> bool {
        if !self.knows(life.begin.index) {
            return true;
        }
        let ended = life.ended().filter(|(_, index)| self.knows(*index));
        match &self.limit {
            Limit::Known => ended.is_some(),
            Limit::Time(time) => life.begin.time > *time || ended.is_some_and(|(t, _)| t <= *time),
            Limit::Rv(limit) => ended.is_some() && up_to(life.last_rv(), limit),
        }
    }
}

fn up_to(rv: &str, limit: &str) -> bool {
    rv == limit || rv::compare(rv, limit).is_some_and(std::cmp::Ordering::is_le)
}

/// A snapshot, and what was read of it already.
pub(crate) struct View {
    pub(crate) rows: Tables,
    /// The next record to be folded.
    pub(crate) next: u64,
    state: State,
    pub(super) memo: Arc<Memo>,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl State {
    pub(crate) fn view(&self) -> Result<View, StateError> {
        let rows = self.tables();
        let next = rows.meta.get("next_index")?.map_or(0, |n| n.value());
        Ok(View { rows, next, state: self.clone(), memo: self.memo(next) })
    }
}

impl View {
    /// What a point means for a cluster.
    pub(crate) fn bound(
        &self,
        cluster: u32,
        point: &Point,
        known_at: Option<u64>,
    ) -> Result<Bound, StateError> {
        let newest = self.next.checked_sub(1);
        for index in [known_at, if let Point::Index(i) = point { Some(*i) } else { None }] {
            if let Some(index) = index.filter(|&index| index >= self.next) {
                return Err(StateError::NotYet { index, next: self.next });
            }
        }
        let mut known = newest.map(|newest| known_at.unwrap_or(newest).min(newest));
        if let Point::Index(index) = point {
            known = known.map(|known| known.min(*index));
        }
        let latest = match known {
            Some(known) => self.last_time(cluster, known)?,
            None => None,
        };
        let (limit, time) = match point {
            Point::Now | Point::Index(_) => (Limit::Known, latest.map(|(time, _)| time)),
            Point::Observed(time) => (Limit::Time(time.0), Some(time.0)),
            Point::ResourceVersion(rv) => (Limit::Rv(rv.clone()), None),
        };
        let basis = latest.map_or(TimeBasis::Observed, |(_, basis)| basis);
        // What is known no more had not ended then: see `existence`.
        let newest = latest.map(|(time, _)| time);
        let existed = match &limit {
            Limit::Known => newest,
            Limit::Time(time) => newest.map(|newest| newest.min(*time)),
            Limit::Rv(_) => None,
        };
        Ok(Bound { limit, known, time, existed, basis })
    }

    /// Newest effective time of the records up to `known` that speak of the cluster.
    pub(crate) fn last_time(
        &self,
        cluster: u32,
        known: u64,
    ) -> Result<Option<(i64, TimeBasis)>, StateError> {
        if known.saturating_add(1) >= self.next {
            return self.memo.last_times.get_or(cluster, || self.read_last_time(cluster, known));
        }
        self.read_last_time(cluster, known)
    }

    fn read_last_time(
        &self,
        cluster: u32,
        known: u64,
    ) -> Result<Option<(i64, TimeBasis)>, StateError> {
        // The run that holds the record may begin with a later one.
        let range = (cluster, 0)..=(cluster, known / TIMES_RECORDS);
        for entry in self.rows.times.range(range).rev() {
            let (key, value) = entry?;
            let chunk = TimesChunk::unpack(key.value().1, value.value())?;
            if let Some((time, basis)) = chunk.at(known) {
                return Ok(Some((time, TimeBasis::from_code(basis))));
            }
        }
        Ok(None)
    }

    /// Effective time of the first record that speaks of the cluster.
    pub(crate) fn first_time(&self, cluster: u32) -> Result<Option<i64>, StateError> {
        let mut range = self.rows.times.range((cluster, 0)..=(cluster, u64::MAX));
        let Some(entry) = range.next() else { return Ok(None) };
        let (key, value) = entry?;
        let chunk = TimesChunk::unpack(key.value().1, value.value())?;
        Ok(chunk.0.first().map(|(_, time, _)| *time))
    }

    /// What stands in the log from a place on.
    pub(crate) fn log_from(
        &self,
        from: Cursor,
    ) -> Result<impl Iterator<Item = Result<(Cursor, LogRow), StateError>>, StateError> {
        let rows = self.rows.log.range(from.index / LOG_RECORDS..);
        let chunk = |entry: Row<u64, &'static [u8]>| {
            let (number, stored) = entry?;
            LogChunk::unpack(number.value(), stored.value())
        };
        Ok(rows.flat_map(move |entry| match chunk(entry) {
            Ok(LogChunk(entries)) => entries
                .into_iter()
                .map(|(index, ordinal, row)| (Cursor { index, ordinal }, row))
                .filter(|(at, _)| *at >= from)
                .map(Ok)
                .collect(),
            Err(error) => vec![Err(error)],
        }))
    }

    pub(crate) fn cluster_row(&self, number: u32) -> Result<ClusterRow, StateError> {
        self.memo.clusters.get_or(number, || {
            let found = self.rows.cluster_rows.get(number)?;
            found.map_or_else(|| Err(damaged("cluster")), |found| unrow(found.value()))
        })
    }

    pub(crate) fn type_row(&self, number: u32) -> Result<TypeRow, StateError> {
        self.memo.types.get_or(number, || {
            let found = self.rows.type_rows.get(number)?;
            found.map_or_else(|| Err(damaged("type")), |found| unrow(found.value()))
        })
    }

    pub(crate) fn life(&self, object: u64) -> Result<LifeRow, StateError> {
        let found = self.rows.lives.get(object)?;
        found.map_or_else(|| Err(damaged("object")), |found| LifeRow::unpack(found.value()))
    }

    /// The versions of an object, whatever the bound.
    pub(crate) fn versions<'v>(&'v self, object: u64, life: &'v LifeRow) -> Versions<'v> {
        Versions { rows: &self.rows.versions, object, life }
    }

    /// The version with this order key.
    pub(crate) fn version(
        &self,
        object: u64,
        life: &LifeRow,
        order: &[u8],
    ) -> Result<VersionRow, StateError> {
        self.versions(object, life).get(order)?.ok_or_else(|| damaged("version"))
    }

    /// The newest version within the bound, ends included.
    pub(crate) fn newest(
        &self,
        object: u64,
        life: &LifeRow,
        bound: &Bound,
    ) -> Result<Option<VersionRow>, StateError> {
        self.versions(object, life).last_where(|version| bound.sees(version))
    }

    /// The version in which an object exists at the bound.
    pub(crate) fn at(
        &self,
        object: u64,
        life: &LifeRow,
        bound: &Bound,
    ) -> Result<Option<VersionRow>, StateError> {
        if bound.rules_out(life) {
            return Ok(None);
        }
        let newest = self.newest(object, life, bound)?;
        Ok(newest.filter(|version| !Verb::from_code(version.verb).is_end()))
    }

    /// The JSON of a version.
    pub(crate) fn body(&self, version: &VersionRow) -> Result<String, StateError> {
        let place = version.body;
        let base = |number| self.state.bases().get(&self.rows, number);
        self.state.pieces().body(place, || {
            // Most chunks are whole: to look for that one piece is less work than to begin a range.
            if let Some(piece) = self.rows.bodies.get((place.chunk, 0))?
                && Piece::holds(piece.value(), place.at)?
            {
                return Ok((0, Piece::read(piece.value(), base)?));
            }
            let range = (place.chunk, 0)..=(place.chunk, place.at);
            let found = self.rows.bodies.range(range).next_back();
            let (key, piece) = found.ok_or_else(|| damaged("body"))??;
            Ok((key.value().1, Piece::read(piece.value(), base)?))
        })
    }

    pub(crate) fn labels(body: &str) -> BTreeMap<String, String> {
        serde_json::from_str::<Labelled>(body)
            .ok()
            .and_then(|object| object.metadata.labels)
            .unwrap_or_default()
    }

    pub(crate) fn reference(
        &self,
        life: &LifeRow,
        version: &VersionRow,
    ) -> Result<ObjectRef, StateError> {
        let type_row = self.type_row(life.type_id)?;
        let cluster = self.cluster_row(type_row.cluster)?.id;
        Ok(ObjectRef {
            cluster,
            group: type_row.group,
            version: version.version.clone(),
            resource: type_row.resource,
            kind: type_row.kind,
            namespace: life.namespace.clone(),
            name: life.name.clone(),
            uid: life.uid.clone(),
        })
    }
}

/// A row as an answer shows it.
pub(crate) fn to_version(row: &VersionRow, body: Option<String>) -> Result<Version, StateError> {
    let object = body.map(RawValue::from_string).transpose().map_err(|_| damaged("JSON body"))?;
    Ok(Version {
        verb: Verb::from_code(row.verb),
        resource_version: row.rv.clone(),
        after_rv: row.after_rv.clone(),
        index: row.index,
        ordinal: row.ordinal,
        time: Time(row.time),
        time_basis: TimeBasis::from_code(row.basis),
        redacted: row.redacted,
        object,
        by: None,
        changes: None,
    })
}

fn damaged(what: &str) -> StateError {
    StateError::Damaged(format!("no such {what}"))
}
