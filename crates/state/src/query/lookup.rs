//! Looking up addresses, one or millions of them, in one snapshot: what was read for one question
//! is kept for the next.
//!
//! Invariant: an answer does not depend on what was asked before.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::endpoints::Slice;
use super::gaps::{Watched, Window};
use super::held::Held;
use super::ip::{self, Part};
use super::ip_types::{Holder, IpAnswer, Port};
use super::read::{Bound, Limit, View};
use super::subject::Subject;
use super::{AsOf, IpQuery};
use crate::bodies::Place;
use crate::fold::ip_key;
use crate::life::LifeRow;
use crate::tables::{FactRow, IpKey, VersionRow, unrow};
use crate::{Point, State, StateError, Time, TimeBasis};

/// Things of some 300 bytes that are kept of what was read. Over that all of it is forgotten and
/// read again.
const CACHE_THINGS_MAX: usize = 200_000;

/// What a subject counts for: it has labels, images and names.
const SUBJECT_THINGS: usize = 4;

/// Objects with more versions than this are not kept whole where many questions are to come.
const TIMELINE_VERSIONS_MAX: u32 = 4_096;

/// The same where one question is to come.
const TIMELINE_VERSIONS_ONCE: u32 = 32;

/// A snapshot in which addresses are looked up. It belongs to one thread.
pub struct Lookup {
    pub(super) view: View,
    pub(super) scopes: Vec<Scope>,
    /// Records after this one are passed over.
    pub(super) known: Option<u64>,
    /// No record is passed over.
    pub(super) whole: bool,
    tolerance_ms: u64,
    /// Endpoint slices are looked at.
    pub(super) services: bool,
    /// Objects with more versions than this are not kept whole.
    timeline_versions: u32,
    cache: Cache,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lookup(newest record {:?})", self.known)
    }
}

/// A cluster in which is looked.
pub(super) struct Scope {
    pub(super) cluster: u32,
    /// Newest time of its records.
    pub(super) latest: Option<(i64, TimeBasis)>,
    watched: [Option<Arc<Watched>>; 4],
    pub(super) prefixes: Option<Rc<Vec<u8>>>,
}

/// Types that an answer may depend on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Pods,
    Nodes,
    Services,
    Slices,
}

impl Kind {
    const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Pods => ("", "pods"),
            Self::Nodes => ("", "nodes"),
            Self::Services => ("", "services"),
            Self::Slices => ("discovery.k8s.io", "endpointslices"),
        }
    }
}

/// The stretch asked about in one cluster: a point is a stretch without length.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) scope: usize,
    pub(super) bound: Bound,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) point: bool,
    pub(super) tolerance: i64,
}

impl Asked {
    /// The stretch, with the tolerance on both sides.
    pub(super) fn widened(&self) -> (i64, i64) {
        (self.from.saturating_sub(self.tolerance), self.to.saturating_add(self.tolerance))
    }

    /// What has to have been looked at: the truth may lie within the tolerance. Up to the newest
    /// record it is asked for as it stands there.
    pub(super) fn window(&self) -> Window {
        if self.point && self.tolerance == 0 {
            return Window::of(&self.bound);
        }
        let (from, to) = self.widened();
        match self.bound.limit {
            Limit::Time(_) => {
                Window::span(Some(from), &Bound { time: Some(to), ..self.bound.clone() })
            }
            _ => Window::span(Some(from), &self.bound),
        }
    }
}

/// An object and its versions.
pub(super) struct Timeline {
    pub(super) life: LifeRow,
    /// In their order, as far as known; `None` if there are too many to be kept. Read when somebody
    /// asks for them.
    rows: OnceCell<Option<Vec<Rc<VersionRow>>>>,
}

/// Who may have had an address in a cluster, over all times.
pub(super) type Holders = Rc<Vec<Held>>;

#[derive(Default)]
struct Cache {
    things: usize,
    timelines: HashMap<u64, Rc<Timeline>>,
    facts: HashMap<u64, Rc<Vec<FactRow>>>,
    holders: HashMap<(IpKey, u32), Holders>,
    held: HashMap<(IpKey, u64), Holders>,
    subjects: HashMap<(u64, u64, u32), Rc<Subject>>,
    targets: HashMap<u64, Rc<Vec<u64>>>,
    slices: HashMap<(u64, Place), Rc<Slice>>,
}

impl State {
    /// A snapshot in which many addresses can be looked up.
    ///
    /// # Errors
    /// [`StateError::NotFound`] or [`StateError::Invalid`] for the cluster, [`StateError::NotYet`]
    /// for a record that is not folded.
    pub fn lookup(&self, query: &IpQuery) -> Result<Lookup, StateError> {
        let view = self.view()?;
        let newest = view.next.checked_sub(1);
        if let Some(index) = query.known_at.filter(|&index| index >= view.next) {
            return Err(StateError::NotYet { index, next: view.next });
        }
        let known = query.known_at.or(newest);
        let mut scopes = Vec::new();
        for cluster in view.some_clusters(query.cluster.as_deref())? {
            let latest = known.map(|known| view.last_time(cluster, known)).transpose()?.flatten();
            scopes.push(Scope { cluster, latest, watched: Default::default(), prefixes: None });
        }
        Ok(Lookup {
            view,
            scopes,
            known,
            whole: known == newest,
            tolerance_ms: query.tolerance_ms,
            services: !query.without_services,
            timeline_versions: TIMELINE_VERSIONS_MAX,
            cache: Cache::default(),
        })
    }
}

impl Lookup {
    /// The same for one question: what would pay only later is left out.
    pub(super) fn once(self) -> Self {
        Self { timeline_versions: TIMELINE_VERSIONS_ONCE, ..self }
    }

    /// The newest record that is taken into account.
    pub fn index(&self) -> Option<u64> {
        self.known
    }

    /// Who had an address at a time.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if it is no address; [`StateError::Engine`] or
    /// [`StateError::Damaged`].
    pub fn at(&mut self, addr: &str, port: Option<Port>, at: Time) -> Result<IpAnswer, StateError> {
        self.ask(addr, port, None, &Point::Observed(at))
    }

    /// Who had an address in a stretch of time.
    ///
    /// # Errors
    /// As [`Lookup::at`]; [`StateError::Invalid`] also if the stretch ends before it begins.
    pub fn within(
        &mut self,
        addr: &str,
        port: Option<Port>,
        from: Time,
        to: Time,
    ) -> Result<IpAnswer, StateError> {
        self.ask(addr, port, Some(&Point::Observed(from)), &Point::Observed(to))
    }

    pub(super) fn ask(
        &mut self,
        addr: &str,
        port: Option<Port>,
        from: Option<&Point>,
        to: &Point,
    ) -> Result<IpAnswer, StateError> {
        let key = ip_key(addr).ok_or_else(|| {
            StateError::invalid(format!("{addr:?} is no IP address"), "write 10.0.0.7 or fd00::7")
        })?;
        if self.cache.things > CACHE_THINGS_MAX {
            self.cache = Cache::default();
        }
        let mut parts = Vec::new();
        let mut as_of: Option<AsOf> = None;
        let mut begin: Option<i64> = None;
        for scope in 0..self.scopes.len() {
            let Some(asked) = self.asked(scope, from, to)? else { continue };
            if as_of.as_ref().is_none_or(|as_of| as_of.time < Some(Time(asked.to))) {
                as_of = Some(asked.bound.as_of());
            }
            begin = Some(begin.map_or(asked.from, |begin| begin.min(asked.from)));
            parts.push(self.part(asked, &key, port.as_ref())?);
        }
        let as_of = match as_of {
            Some(as_of) => as_of,
            None => self.view.bound(crate::tables::ALL, to, self.known)?.as_of(),
        };
        ip::retain_covered(&mut parts);
        if !parts.iter().flat_map(|part| &part.candidates).any(|c| c.holder == Holder::Pod) {
            self.look_beyond_pods(&mut parts)?;
        }
        let place = match parts.iter().all(|part| part.candidates.is_empty()) {
            true => self.place(&key, &parts)?,
            false => None,
        };
        let from = from.and(begin.map(Time));
        let answer = ip::answer(&key, as_of, from, self.tolerance_ms, parts);
        Ok(IpAnswer { port, place, ..answer })
    }

    /// The question as it stands for a cluster; `None` if the cluster has no record yet.
    fn asked(
        &self,
        scope: usize,
        from: Option<&Point>,
        to: &Point,
    ) -> Result<Option<Asked>, StateError> {
        let Some(end) = self.time_of(scope, to)? else { return Ok(None) };
        let start = from.map(|from| self.time_of(scope, from)).transpose()?.flatten();
        let start = start.unwrap_or(end);
        if start > end {
            return Err(StateError::invalid("the stretch ends before it begins", ""));
        }
        let limit = match to {
            Point::Observed(time) => Limit::Time(time.0),
            _ => Limit::Known,
        };
        let basis = self.scopes[scope].latest.map_or(TimeBasis::Observed, |(_, basis)| basis);
        let tolerance = i64::try_from(self.tolerance_ms).unwrap_or(i64::MAX);
        Ok(Some(Asked {
            scope,
            bound: Bound { limit, known: self.known, time: Some(end), existed: None, basis },
            from: start,
            to: end,
            point: from.is_none(),
            tolerance: tolerance.saturating_mul(1_000_000),
        }))
    }

    /// The time of a point in a cluster; `None` if the cluster has no record by then.
    fn time_of(&self, scope: usize, point: &Point) -> Result<Option<i64>, StateError> {
        let scope = &self.scopes[scope];
        match point {
            Point::Observed(time) => Ok(Some(time.0)),
            Point::Now => Ok(scope.latest.map(|(time, _)| time)),
            Point::Index(index) => {
                let known = self.known.map_or(*index, |known| known.min(*index));
                Ok(self.view.last_time(scope.cluster, known)?.map(|(time, _)| time))
            }
            Point::ResourceVersion(_) => Err(StateError::invalid(
                "an address can't be looked up at a resource version",
                "ask by time or by ledger index",
            )),
        }
    }

    /// What one cluster says.
    fn part(&mut self, asked: Asked, key: &IpKey, port: Option<&Port>) -> Result<Part, StateError> {
        let mut candidates = Vec::new();
        for (object, lease) in self.held(&asked, key)? {
            candidates.push(self.candidate(object, &lease, key, port, &asked)?);
        }
        let node = |holder| matches!(holder, Holder::Node | Holder::HostNetworkPod);
        if let Some(port) = port
            && candidates.iter().any(|c| node(c.holder))
        {
            for (object, lease) in self.node_port_services(&asked, port)? {
                candidates.push(self.candidate(object, &lease, key, Some(port), &asked)?);
            }
        }
        let mut gaps = self.watched(asked.scope, Kind::Pods)?.gaps(&asked.window());
        let beyond = candidates.is_empty() && ip::is_beyond(&gaps);
        if candidates.iter().any(|c| c.services.is_some() || c.backends.is_some()) {
            gaps.extend(self.watched(asked.scope, Kind::Slices)?.gaps(&asked.window()));
        }
        let (unaddressed, unaddressed_count) = self.unaddressed(&asked)?;
        Ok(Part { asked, candidates, unaddressed, unaddressed_count, gaps, beyond })
    }

    /// No pod had it: whether something else had it is known only where that was looked at.
    fn look_beyond_pods(&mut self, parts: &mut [Part]) -> Result<(), StateError> {
        for part in parts {
            for kind in [Kind::Nodes, Kind::Services] {
                let gaps = self.watched(part.asked.scope, kind)?.gaps(&part.asked.window());
                for gap in gaps {
                    if !part.gaps.contains(&gap) {
                        part.gaps.push(gap);
                    }
                }
            }
        }
        Ok(())
    }

    /// How a type was looked at.
    pub(super) fn watched(&mut self, scope: usize, kind: Kind) -> Result<Arc<Watched>, StateError> {
        let found = &self.scopes[scope];
        if let Some(watched) = &found.watched[kind as usize] {
            return Ok(Arc::clone(watched));
        }
        let cluster = found.cluster;
        let (group, resource) = kind.name();
        let chosen = self.view.typed(cluster, group, resource)?;
        let bound = Bound {
            limit: Limit::Known,
            known: self.known,
            time: None,
            existed: None,
            basis: TimeBasis::Observed,
        };
        let watched = self.view.watched(cluster, &chosen, &bound)?;
        self.scopes[scope].watched[kind as usize] = Some(Arc::clone(&watched));
        Ok(watched)
    }

    fn knows(&self, index: u64) -> bool {
        self.known.is_some_and(|known| index <= known)
    }

    /// The facts of an object, as far as known.
    pub(super) fn facts(&mut self, object: u64) -> Result<Rc<Vec<FactRow>>, StateError> {
        if let Some(facts) = self.cache.facts.get(&object) {
            return Ok(Rc::clone(facts));
        }
        let range = (object, [].as_slice())..(object + 1, [].as_slice());
        let mut facts = Vec::new();
        for entry in self.view.rows.facts.range(range) {
            let fact: FactRow = unrow(entry?.1.value())?;
            if self.knows(fact.index) {
                facts.push(fact);
            }
        }
        let facts = Rc::new(facts);
        self.cache.things += 1 + facts.len();
        self.cache.facts.insert(object, Rc::clone(&facts));
        Ok(facts)
    }

    pub(super) fn timeline(&mut self, object: u64) -> Result<Rc<Timeline>, StateError> {
        if let Some(timeline) = self.cache.timelines.get(&object) {
            return Ok(Rc::clone(timeline));
        }
        let life = self.view.life(object)?;
        self.cache.things += 1;
        let timeline = Rc::new(Timeline { life, rows: OnceCell::new() });
        self.cache.timelines.insert(object, Rc::clone(&timeline));
        Ok(timeline)
    }

    /// The versions of an object; see [`Timeline`].
    fn rows<'t>(
        &mut self,
        object: u64,
        timeline: &'t Timeline,
    ) -> Result<Option<&'t [Rc<VersionRow>]>, StateError> {
        let Timeline { life, rows } = timeline;
        if let Some(rows) = rows.get() {
            return Ok(rows.as_deref());
        }
        let read = if life.versions <= self.timeline_versions {
            let read = self.view.versions(object, life).all()?.into_iter();
            Some(read.filter(|row| self.knows(row.index)).map(Rc::new).collect::<Vec<_>>())
        } else {
            None
        };
        self.cache.things += read.as_ref().map_or(0, Vec::len);
        Ok(rows.get_or_init(|| read).as_deref())
    }

    /// The newest version of an object at a time, ends included.
    pub(super) fn version_at(
        &mut self,
        object: u64,
        time: i64,
    ) -> Result<Option<Rc<VersionRow>>, StateError> {
        let timeline = self.timeline(object)?;
        if let Some(rows) = self.rows(object, &timeline)? {
            return Ok(rows.iter().rev().find(|row| row.time <= time).map(Rc::clone));
        }
        let limit = if time == i64::MAX { Limit::Known } else { Limit::Time(time) };
        let bound = Bound {
            limit,
            known: self.known,
            time: None,
            existed: None,
            basis: TimeBasis::Observed,
        };
        Ok(self.view.newest(object, &timeline.life, &bound)?.map(Rc::new))
    }

    /// The version that tells best what an object was at a time: the newest one by then, or else
    /// its first one.
    pub(super) fn closest(&mut self, object: u64, time: i64) -> Result<Rc<VersionRow>, StateError> {
        if let Some(row) = self.version_at(object, time)? {
            return Ok(row);
        }
        let timeline = self.timeline(object)?;
        let first = match self.rows(object, &timeline)? {
            Some(rows) => rows.first().map(Rc::clone),
            None => {
                let versions = self.view.versions(object, &timeline.life);
                let mut rows = versions.all()?.into_iter();
                rows.find(|row| self.knows(row.index)).map(Rc::new)
            }
        };
        first.ok_or_else(|| StateError::Damaged("an object has no version".to_owned()))
    }

    /// All who may have had an address in a cluster, kept.
    pub(super) fn kept_holders(
        &mut self,
        key: (IpKey, u32),
        read: impl FnOnce(&mut Self) -> Result<Vec<Held>, StateError>,
    ) -> Result<Holders, StateError> {
        if let Some(holders) = self.cache.holders.get(&key) {
            return Ok(Rc::clone(holders));
        }
        let holders = Rc::new(read(self)?);
        self.cache.things += 1 + holders.len();
        self.cache.holders.insert(key, Rc::clone(&holders));
        Ok(holders)
    }

    /// The leases of one object, kept.
    pub(super) fn kept_held(
        &mut self,
        key: (IpKey, u64),
        read: impl FnOnce(&mut Self) -> Result<Vec<Held>, StateError>,
    ) -> Result<Holders, StateError> {
        if let Some(held) = self.cache.held.get(&key) {
            return Ok(Rc::clone(held));
        }
        let held = Rc::new(read(self)?);
        self.cache.things += 1 + held.len();
        self.cache.held.insert(key, Rc::clone(&held));
        Ok(held)
    }

    pub(super) fn kept_subject(
        &mut self,
        key: (u64, u64, u32),
        read: impl FnOnce(&mut Self) -> Result<Subject, StateError>,
    ) -> Result<Rc<Subject>, StateError> {
        if let Some(subject) = self.cache.subjects.get(&key) {
            return Ok(Rc::clone(subject));
        }
        let subject = Rc::new(read(self)?);
        self.cache.things += SUBJECT_THINGS;
        self.cache.subjects.insert(key, Rc::clone(&subject));
        Ok(subject)
    }

    pub(super) fn kept_targets(
        &mut self,
        object: u64,
        read: impl FnOnce(&mut Self) -> Result<Vec<u64>, StateError>,
    ) -> Result<Rc<Vec<u64>>, StateError> {
        if let Some(targets) = self.cache.targets.get(&object) {
            return Ok(Rc::clone(targets));
        }
        let targets = Rc::new(read(self)?);
        self.cache.things += 1 + targets.len();
        self.cache.targets.insert(object, Rc::clone(&targets));
        Ok(targets)
    }

    pub(super) fn kept_slice(
        &mut self,
        object: u64,
        row: &VersionRow,
    ) -> Result<Rc<Slice>, StateError> {
        let key = (object, row.body);
        if let Some(slice) = self.cache.slices.get(&key) {
            return Ok(Rc::clone(slice));
        }
        let slice = Rc::new(Slice::read(&self.view.body(row)?));
        self.cache.things += 1 + slice.len();
        self.cache.slices.insert(key, Rc::clone(&slice));
        Ok(slice)
    }
}
