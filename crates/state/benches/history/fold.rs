//! The peers' fold: a batch of frames becomes the rows that an engine has to write, judged by the
//! rows that it gives back for the names and addresses in the batch.
//!
//! It keeps nothing between batches but counters: everything else is in the engine's tables.

use std::collections::{BTreeSet, HashMap, HashSet};

use stele_state::FoldRecord;

use crate::Fault;
use crate::pods::Leases;
use crate::rows::{
    Change, Current, Kind, Kinds, Lease, Name, Object, Past, Seen, Verb, Version, class,
};

/// What an engine reads and writes for a batch.
pub(crate) trait Rows {
    /// The current versions of these names, as far as there are any.
    fn current(&mut self, names: &[&Name]) -> Result<HashMap<Name, Option<Current>>, Fault>;
    /// The leases of these addresses that have no end.
    fn open_leases(&mut self, addresses: &[String]) -> Result<Vec<Lease>, Fault>;
    /// Writes all of it in one transaction.
    fn write(&mut self, delta: &Delta<'_>) -> Result<(), Fault>;
}

/// The rows that a batch adds and changes.
#[derive(Default)]
pub(crate) struct Delta<'a> {
    pub(crate) kinds: Vec<(i32, Kind)>,
    pub(crate) objects: Vec<Object>,
    pub(crate) changes: Vec<Change<'a>>,
    pub(crate) past: Vec<Past>,
    /// By name, what stands now, if anything does.
    pub(crate) current: HashMap<Name, Option<Current>>,
    pub(crate) leases: Vec<Lease>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Folder {
    kinds: Kinds,
    objects: i64,
    changes: i64,
}

impl Folder {
    /// Folds a batch; how many changes there were.
    pub(crate) fn fold(
        &mut self,
        rows: &mut dyn Rows,
        batch: &[FoldRecord<'_>],
    ) -> Result<u64, Fault> {
        let mut seen = Vec::with_capacity(batch.len());
        for record in batch {
            self.kinds.read(record, &mut seen)?;
        }
        let names: HashSet<&Name> = seen.iter().map(|seen| &seen.name).collect();
        let current = rows.current(&names.into_iter().collect::<Vec<_>>())?;
        let mut addresses = BTreeSet::new();
        for pod in seen.iter().filter_map(|seen| seen.pod.as_ref()) {
            addresses.extend(pod.addresses.iter().cloned());
        }
        for pod in current.values().flatten().filter_map(|current| current.pod.as_deref()) {
            addresses.extend(crate::pods::addresses(pod)?);
        }
        let open = match addresses.is_empty() {
            true => Vec::new(),
            false => rows.open_leases(&addresses.into_iter().collect::<Vec<_>>())?,
        };
        let kinds = std::mem::take(&mut self.kinds.new);
        let delta = Delta { kinds, current, ..Delta::default() };
        let mut batch = Batch { delta, leases: Leases::new(open), folder: self };
        for seen in seen {
            batch.take(seen)?;
        }
        let Batch { mut delta, leases, .. } = batch;
        delta.leases = leases.changed();
        rows.write(&delta)?;
        Ok(delta.changes.len() as u64)
    }
}

struct Batch<'a, 'f> {
    delta: Delta<'a>,
    leases: Leases,
    folder: &'f mut Folder,
}

impl<'a> Batch<'a, '_> {
    fn take(&mut self, seen: Seen<'a>) -> Result<(), Fault> {
        let before = self.delta.current.get_mut(&seen.name).and_then(Option::take);
        let deleted = seen.verb == Verb::Deleted;
        let before = match before {
            Some(own) if own.uid == seen.uid => {
                let known = own.version.rv;
                if seen.rv < known || (seen.rv == known && !deleted) {
                    self.delta.current.insert(seen.name, Some(own));
                    return Ok(());
                }
                self.end(&seen.name, &own.version, seen.time);
                Some(own)
            }
            Some(other) => {
                self.replace(&other, &seen)?;
                None
            }
            None => None,
        };
        let object = match &before {
            Some(own) => own.version.object,
            None => self.begin(&seen),
        };
        let pod = match &seen.pod {
            Some(facts) => {
                let state = before.and_then(|own| own.pod);
                Some(self.leases.see(object, state.as_deref(), facts, seen.time, deleted)?)
            }
            None => None,
        };
        let version = self.change(object, seen.verb, seen.rv, &seen, Some(seen.body));
        let current = Current { uid: seen.uid.into_owned(), version, pod };
        self.delta.current.insert(seen.name, (!deleted).then_some(current));
        Ok(())
    }

    /// A name has come to another object: the one before has ended.
    fn replace(&mut self, other: &Current, seen: &Seen<'a>) -> Result<(), Fault> {
        self.end(&seen.name, &other.version, seen.time);
        if let Some(pod) = &other.pod {
            self.leases.vanish(other.version.object, pod, seen.time)?;
        }
        self.change(other.version.object, Verb::Replaced, seen.rv, seen, None);
        Ok(())
    }

    fn begin(&mut self, seen: &Seen<'a>) -> i64 {
        self.folder.objects += 1;
        let id = self.folder.objects;
        let (name, uid) = (seen.name.clone(), seen.uid.clone().into_owned());
        self.delta.objects.push(Object { id, name, uid });
        id
    }

    fn end(&mut self, name: &Name, version: &Version, until: i64) {
        // What stood for no time stood at none.
        if version.since < until {
            self.delta.past.push(Past {
                kind: name.kind,
                namespace: name.namespace.clone(),
                class: class(version.since, until),
                until,
                version: *version,
            });
        }
    }

    fn change(
        &mut self,
        object: i64,
        verb: Verb,
        rv: i64,
        seen: &Seen<'a>,
        body: Option<&'a str>,
    ) -> Version {
        self.folder.changes += 1;
        let version = Version {
            change: self.folder.changes,
            object,
            verb: verb as i16,
            rv,
            record: seen.record,
            since: seen.time,
        };
        self.delta.changes.push(Change { version, body });
        version
    }
}
