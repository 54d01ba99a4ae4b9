//! The store that all processes share, and the handle through which one process sees it, with the
//! faults of that process's calls.
//!
//! Honest faults: errors before and after the effect, "conflict" with nothing stored, writes that
//! take effect after they were given up, no space, bits that flip on the way to the reader, lists
//! that are behind or lack a name, hints that are lost, stale or garbage, and death at any call.
//! Lies are in [`Lie`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use stele_store::{ObjectName, Put, Store, StoreError};
use xtask::random::Random;

use crate::trace::Trace;

/// What a store may do that its contract forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// A create over an existing object replaces it and succeeds: two creators win.
    Overwrites,
    /// An object is gone some time after it was created.
    Vanishes,
    /// A create succeeds and stores nothing.
    StoresNothing,
    /// A create succeeds and stores the first part only.
    Tears,
    /// A stored bit changes for good.
    Rots,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Overwrites, Self::Vanishes, Self::StoresNothing, Self::Tears, Self::Rots];

    /// Whether two processes may sign contradicting checkpoints without either noticing.
    pub fn excuses_forks(self) -> bool {
        matches!(self, Self::Overwrites | Self::Vanishes | Self::StoresNothing)
    }
}

/// How often faults happen: once in so many calls; 0 for never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) error: u64,
    pub(crate) flip: u64,
    pub(crate) list: u64,
    pub(crate) hint: u64,
    pub(crate) full: u64,
    pub(crate) death: u64,
    pub(crate) meet: u64,
    pub(crate) lie: u64,
}

/// What the store holds, what the dice say, and what happened.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) objects: BTreeMap<ObjectName, Bytes>,
    hints: BTreeMap<ObjectName, Vec<Bytes>>,
    /// Creates that were given up and may take effect still.
    late: Vec<(ObjectName, Bytes)>,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) rates: Rates,
    pub(crate) lie: Option<Lie>,
    /// Whether the lie was told.
    pub(crate) lied: bool,
    /// Creates that find no space still to come.
    full: u64,
    pub(crate) faulty: bool,
}

impl Shared {
    pub(crate) fn new(random: Random, trace: Trace, rates: Rates, lie: Option<Lie>) -> Self {
        Self {
            objects: BTreeMap::new(),
            hints: BTreeMap::new(),
            late: Vec::new(),
            random,
            trace,
            rates,
            lie,
            lied: false,
            full: 0,
            faulty: false,
        }
    }

    /// Whether something happens that happens once in `rate` calls.
    fn dice(&mut self, rate: u64) -> bool {
        self.faulty && rate > 0 && self.random.one_in(rate)
    }

    fn lies(&mut self, lie: Lie) -> bool {
        let told = self.lie == Some(lie) && self.dice(self.rates.lie);
        self.lied |= told;
        told
    }

    /// Something that was given up earlier may take effect now; something may change or vanish.
    fn meanwhile(&mut self) {
        if !self.late.is_empty() && self.random.one_in(4) {
            let at = self.random.below(self.late.len() as u64);
            let (name, bytes) = self.late.swap_remove(usize::try_from(at).unwrap_or(0));
            self.objects.entry(name).or_insert(bytes);
        }
        if self.lies(Lie::Vanishes)
            && let Some(name) = self.any_object()
        {
            self.objects.remove(&name);
        }
        if self.lies(Lie::Rots)
            && let Some(name) = self.any_object()
            && let Some(bytes) = self.objects.get(&name).cloned()
        {
            let bytes = self.flipped(&bytes);
            self.objects.insert(name, bytes);
        }
    }

    fn any_object(&mut self) -> Option<ObjectName> {
        let names: Vec<ObjectName> = self
            .objects
            .keys()
            .filter(|name| !name.as_str().starts_with("ledger/"))
            .cloned()
            .collect();
        self.random.choose(&names).cloned()
    }

    fn flipped(&mut self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        // The place is a share of the length, which compression makes differ by a few bytes.
        let share = self.random.next_u64() >> 32;
        let at = usize::try_from((share * bytes.len() as u64) >> 32).unwrap_or(0);
        let bit = self.random.below(8);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
        bytes.into()
    }

    fn create(&mut self, name: &ObjectName, bytes: Bytes) -> Result<Put, StoreError> {
        if self.lies(Lie::StoresNothing) {
            return Ok(Put::Created);
        }
        // Over an object that is there it would be the lie of two that win.
        if !self.objects.contains_key(name) && self.lies(Lie::Tears) {
            let share = self.random.below(1000);
            let length = usize::try_from(bytes.len() as u64 * share / 1000).unwrap_or(0);
            self.objects.insert(name.clone(), bytes.slice(..length));
            return Ok(Put::Created);
        }
        if let Some(there) = self.objects.get(name) {
            if *there == bytes {
                return Ok(Put::AlreadyThere);
            }
            if !self.lies(Lie::Overwrites) {
                return Err(StoreError::Conflict { name: name.clone() });
            }
        }
        self.objects.insert(name.clone(), bytes);
        Ok(Put::Created)
    }

    fn put_new(&mut self, name: &ObjectName, bytes: Bytes) -> Result<Put, StoreError> {
        if self.dice(self.rates.full) {
            self.full = 1 + self.random.below(4);
        }
        if self.full > 0 {
            self.full -= 1;
            return Err(StoreError::Full);
        }
        if !self.dice(self.rates.error) {
            return self.create(name, bytes);
        }
        match self.random.below(4) {
            0 => Err(failed("a create was lost")),
            1 => Err(StoreError::Conflict { name: name.clone() }),
            2 => {
                self.late.push((name.clone(), bytes));
                Err(failed("a create timed out"))
            }
            _ => self.create(name, bytes).and(Err(failed("the answer to a create was lost"))),
        }
    }

    fn read(&mut self, name: &ObjectName) -> Result<Bytes, StoreError> {
        if self.dice(self.rates.error) {
            return Err(failed("a read failed"));
        }
        let found = self.objects.get(name).cloned();
        found.ok_or_else(|| StoreError::NotFound { name: name.clone() })
    }

    fn on_its_way(&mut self, bytes: Bytes) -> Bytes {
        if self.dice(self.rates.flip) { self.flipped(&bytes) } else { bytes }
    }

    fn list(
        &mut self,
        prefix: &str,
        after: Option<&ObjectName>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        if self.dice(self.rates.error) {
            return Err(failed("a list failed"));
        }
        let wanted = |name: &&ObjectName| {
            name.as_str().starts_with(prefix) && after.is_none_or(|after| *name > after)
        };
        let mut names: Vec<ObjectName> = self.objects.keys().filter(wanted).cloned().collect();
        if !names.is_empty() && self.dice(self.rates.list) {
            let at = usize::try_from(self.random.below(names.len() as u64)).unwrap_or(0);
            if self.random.one_in(3) {
                names.remove(at);
            } else {
                names.truncate(at);
            }
        }
        Ok(names)
    }

    fn put_hint(&mut self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        if self.dice(self.rates.hint) {
            return if self.random.one_in(2) { Ok(()) } else { Err(failed("a hint was lost")) };
        }
        self.hints.entry(name.clone()).or_default().push(Bytes::copy_from_slice(bytes));
        Ok(())
    }

    fn read_hint(&mut self, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        let versions = self.hints.get(name).cloned().unwrap_or_default();
        if !self.dice(self.rates.hint) {
            return Ok(versions.last().cloned());
        }
        match self.random.below(4) {
            0 => Ok(None),
            1 => Err(failed("a hint was not read")),
            2 => Ok(Some(Bytes::from_static(b"garbage"))),
            _ => Ok(self.random.choose(&versions).cloned()),
        }
    }
}

fn failed(what: &str) -> StoreError {
    StoreError::Io { what: what.to_owned(), error: std::io::Error::other("simulated") }
}

/// What happens at the calls of the store: others run.
pub(crate) trait Meeting: Send + Sync {
    /// Process `who` is at a call.
    fn meet(&self, who: usize);
}

/// The store as one process sees it.
pub(crate) struct Handle {
    who: usize,
    shared: Arc<Mutex<Shared>>,
    meeting: Weak<dyn Meeting>,
    dead: AtomicBool,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("who", &self.who).finish_non_exhaustive()
    }
}

pub(crate) fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    pub(crate) fn new(who: usize, shared: Arc<Mutex<Shared>>, meeting: Weak<dyn Meeting>) -> Self {
        Self { who, shared, meeting, dead: AtomicBool::new(false) }
    }

    /// The process has ended.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// One call: others may run before it, and the process may die before or after it.
    fn call<T>(
        &self,
        what: &str,
        object: &str,
        effect: impl FnOnce(&mut Shared) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let died = || StoreError::Fatal {
            what: "the process".to_owned(),
            error: std::io::Error::other("died"),
        };
        if self.is_dead() {
            return Err(died());
        }
        let meets = {
            let mut shared = locked(&self.shared);
            let rate = shared.rates.meet;
            shared.dice(rate)
        };
        if meets && let Some(meeting) = self.meeting.upgrade() {
            meeting.meet(self.who);
        }
        let mut shared = locked(&self.shared);
        shared.meanwhile();
        let rate = shared.rates.death;
        let dies = shared.dice(rate);
        if dies && shared.random.one_in(2) {
            shared.trace.event(self.who, what, object, "died before");
            self.dead.store(true, Ordering::Relaxed);
            return Err(died());
        }
        let result = effect(&mut shared);
        let outcome = match &result {
            Ok(_) => "ok",
            Err(StoreError::NotFound { .. }) => "not found",
            Err(StoreError::Conflict { .. }) => "conflict",
            Err(StoreError::Full) => "full",
            Err(_) => "failed",
        };
        shared.trace.event(self.who, what, object, outcome);
        if dies {
            shared.trace.event(self.who, what, object, "died after");
            self.dead.store(true, Ordering::Relaxed);
            return Err(died());
        }
        result
    }
}

impl Store for Handle {
    fn put_new(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
        let bytes = Bytes::from(parts.concat());
        self.call("put_new", name.as_str(), |shared| shared.put_new(name, bytes))
    }

    fn make_durable(&self, name: &ObjectName) -> Result<(), StoreError> {
        // What is seen here is durable already.
        self.call("make_durable", name.as_str(), |shared| {
            if shared.dice(shared.rates.error) { Err(failed("a flush failed")) } else { Ok(()) }
        })
    }

    fn read(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        self.call("read", name.as_str(), |shared| {
            let bytes = shared.read(name)?;
            Ok(shared.on_its_way(bytes))
        })
    }

    fn read_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.call("read_range", name.as_str(), |shared| {
            let bytes = shared.read(name)?;
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
            if range.start > range.end || range.end > bytes.len() as u64 {
                return Err(failed("an object is shorter"));
            }
            Ok(shared.on_its_way(bytes.slice(at(range.start)..at(range.end))))
        })
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.call("size", name.as_str(), |shared| Ok(shared.read(name)?.len() as u64))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        self.call("list", prefix, |shared| shared.list(prefix, after))
    }

    fn retire(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.call("retire", name.as_str(), |shared| {
            if shared.dice(shared.rates.error) && shared.random.one_in(2) {
                return Err(failed("a retirement was lost"));
            }
            shared.objects.remove(name);
            if shared.dice(shared.rates.error) {
                return Err(failed("the answer to a retirement was lost"));
            }
            Ok(())
        })
    }

    fn put_hint(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.call("put_hint", name.as_str(), |shared| shared.put_hint(name, bytes))
    }

    fn read_hint(&self, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        self.call("read_hint", name.as_str(), |shared| shared.read_hint(name))
    }
}
