//! What is measured side by side: the state view, and databases that are folded from the same
//! frames and asked the same questions.
//!
//! The peers do less. They keep the recorder's time alone, know no gaps and no second list, and of
//! what objects say only names, versions and pods' addresses; they answer without saying how sure
//! the answer is. What both answer must be equal: see [`Answer::digest`].

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use stele_state::query::{Filter, IpAnswer, IpQuery, ListQuery, Listing};
use stele_state::{FoldRecord, Point, State, Time};

use crate::Fault;

/// Memory that an engine may use for pages.
pub(crate) const CACHE_BYTES: usize = 256 * 1024 * 1024;

/// Which objects at which time.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) of: Of,
    pub(crate) at: i64,
    pub(crate) bare: bool,
}

/// See [`Asked`].
#[derive(Debug, Clone)]
pub(crate) enum Of {
    Namespace(String),
    Pods,
}

/// An object that a peer has found.
#[derive(Debug)]
#[allow(dead_code, reason = "an answer is made for whoever asks; here it is counted")]
pub(crate) struct Found {
    pub(crate) kind: i32,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) verb: i16,
    pub(crate) rv: i64,
    pub(crate) record: i64,
    pub(crate) since: i64,
    pub(crate) body: Option<String>,
}

/// A pod that may have had an address.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) since: i64,
    pub(crate) until: i64,
}

/// An answer, in the form in which it was given.
pub(crate) enum Answer {
    Listing(Listing),
    Found(Vec<Found>),
    Ip(Box<IpAnswer>),
    Holders(Vec<Holder>),
}

impl Answer {
    /// How much it holds, and a sum over what that is: which object, in which version or from when
    /// to when, and how long its body is.
    pub(crate) fn digest(&self) -> (usize, u64) {
        match self {
            Self::Listing(listing) => sum(&listing.objects, |object| {
                let of = &object.reference;
                let version = &object.version;
                let at = (&version.resource_version, version.index, version.time.0);
                let body = version.object.as_ref().map(|body| body.get().len());
                digest((&of.namespace, &of.name, &of.uid, at, body))
            }),
            Self::Found(found) => sum(found, |found| {
                let at = (found.rv.to_string(), found.record.cast_unsigned(), found.since);
                let body = found.body.as_ref().map(String::len);
                digest((&found.namespace, &found.name, &found.uid, at, body))
            }),
            Self::Ip(answer) => sum(&answer.candidates, |candidate| {
                let (of, from) = (&candidate.reference, candidate.from.0);
                let to = candidate.to.map_or(i64::MAX, |to| to.0);
                digest((&of.namespace, &of.name, &of.uid, from, to))
            }),
            Self::Holders(holders) => sum(holders, |holder| {
                let of = (&holder.namespace, &holder.name, &holder.uid);
                digest((of.0, of.1, of.2, holder.since, holder.until))
            }),
        }
    }
}

fn sum<T>(all: &[T], digest: impl Fn(&T) -> u64) -> (usize, u64) {
    (all.len(), all.iter().map(digest).fold(0, u64::wrapping_add))
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Sorts what was found as a list is: an engine that is asked to sort carries the bodies along.
pub(crate) fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_unstable_by(|a, b| {
        (a.kind, &a.namespace, &a.name).cmp(&(b.kind, &b.namespace, &b.name))
    });
    found
}

/// What a table takes of the disk.
pub(crate) struct TableSize {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) note: String,
}

/// One that is measured.
pub(crate) trait Subject {
    /// What it is, with its version.
    fn name(&self) -> String;
    /// Folds a batch; how many changes there were.
    fn fold(&mut self, batch: &[FoldRecord<'_>]) -> Result<u64, Fault>;
    /// Makes all that was folded durable.
    fn sync(&mut self) -> Result<(), Fault>;
    /// What is done now and then in the background: statistics, space that is free again. Not
    /// counted as folding.
    fn settle(&mut self) -> Result<(), Fault>;
    /// What it takes of the disk.
    fn stored_bytes(&mut self) -> Result<u64, Fault>;
    fn tables(&mut self) -> Result<Vec<TableSize>, Fault>;
    /// Processor time of other processes so far, in seconds.
    fn others_cpu_s(&self) -> f64 {
        0.0
    }
    fn list(&mut self, asked: &Asked) -> Result<Answer, Fault>;
    /// Which pods may have had an address.
    fn holders(&mut self, address: &str, at: i64) -> Result<Answer, Fault>;
    /// The same with the services that led to them, where services are known.
    fn services(&mut self, _address: &str, _at: i64) -> Result<Option<Answer>, Fault> {
        Ok(None)
    }
}

/// The state view itself.
pub(crate) struct Stele {
    state: State,
    /// Removed after the view is closed.
    _dir: tempfile::TempDir,
}

impl Stele {
    pub(crate) fn open(dir: tempfile::TempDir) -> Result<Self, Fault> {
        let state = State::open(dir.path())?;
        Ok(Self { state, _dir: dir })
    }

    fn address(&self, address: &str, at: i64, services: bool) -> Result<Answer, Fault> {
        let query = IpQuery { without_services: !services, ..IpQuery::default() };
        let answer = self.state.ip(address, &Point::Observed(Time(at)), &query)?;
        Ok(Answer::Ip(Box::new(answer)))
    }
}

impl Subject for Stele {
    fn name(&self) -> String {
        "stele".to_owned()
    }

    fn fold(&mut self, batch: &[FoldRecord<'_>]) -> Result<u64, Fault> {
        let applied = self.state.apply(batch)?;
        if applied.problems > 0 {
            return Err(format!("{} records could not be used", applied.problems).into());
        }
        Ok(applied.changes)
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(self.state.sync()?)
    }

    fn settle(&mut self) -> Result<(), Fault> {
        self.state.settle();
        Ok(())
    }

    fn stored_bytes(&mut self) -> Result<u64, Fault> {
        Ok(self.state.stored_bytes()?)
    }

    fn tables(&mut self) -> Result<Vec<TableSize>, Fault> {
        let sizes = self.state.table_sizes()?.into_iter();
        let sizes = sizes.map(|(name, rows, bytes)| TableSize {
            name: name.to_owned(),
            bytes,
            note: format!("{rows} rows, before the engine compresses them"),
        });
        Ok(sizes.collect())
    }

    fn list(&mut self, asked: &Asked) -> Result<Answer, Fault> {
        let filter = match &asked.of {
            Of::Namespace(namespace) => {
                Filter { namespace: Some(namespace.clone()), ..Filter::default() }
            }
            Of::Pods => Filter { resource: Some("pods".to_owned()), ..Filter::default() },
        };
        let mut query = ListQuery::new(filter, Point::Observed(Time(asked.at)));
        query.without_bodies = asked.bare;
        Ok(Answer::Listing(self.state.list(&query)?))
    }

    fn holders(&mut self, address: &str, at: i64) -> Result<Answer, Fault> {
        self.address(address, at, false)
    }

    fn services(&mut self, address: &str, at: i64) -> Result<Option<Answer>, Fault> {
        self.address(address, at, true).map(Some)
    }
}
