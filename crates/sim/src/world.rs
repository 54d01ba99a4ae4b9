//! The run: who does what when.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use stele_ledger::{AppendError, LedgerCore, LedgerError, LedgerOptions, LogKey, Step};
use stele_merkle::LeafIndex;
use stele_store::{Clock, ManualClock, Store, UnixNanos};
use xtask::random::Random;

use crate::check::Checks;
use crate::client::Client;
use crate::process::{Packing, Running, Sent, SkewedClock, Slot, Writer};
use crate::store::{Handle, Lie, Meeting, Rates, Shared, locked};
use crate::trace::Trace;

/// How deep processes meet: one in a call of another's call of another's.
const DEPTH_MAX: usize = 3;
/// Everything that is done in a run at most, meetings included.
const ACTS_MAX: u64 = 200;
/// The process that looks at everything in the end.
const AUDITOR: usize = 9;

/// What kind of store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It fails, but what it says succeeded has succeeded.
    Honest,
    /// It lies in one of the ways of [`Lie`], which the seed chooses.
    Lying,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Digest of everything that happened: the same for the same seed.
    pub digest: u64,
    /// What should not have happened; empty for a run that is as it must be.
    pub violations: Vec<String>,
    /// What was noticed, where the store lied.
    pub noticed: Vec<String>,
    /// The lie, if one was told.
    pub lie: Option<Lie>,
    /// Whether checkpoints contradict each other, in a way that the lie excuses.
    pub forked: bool,
    /// Records in the log.
    pub records: u64,
    /// Acknowledgements of records.
    pub acknowledged: usize,
    /// Checkpoints of different sizes.
    pub checkpoints: usize,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs one seed.
pub fn simulate(seed: u64, nature: Nature, with_trace: bool) -> Outcome {
    let mut random = Random::new(seed);
    let rates = rates(&mut random);
    let lie = (nature == Nature::Lying).then(|| *random.choose(&Lie::ALL).unwrap_or(&Lie::Rots));
    let processes = 2 + random.below(2);
    let clients = 1 + random.below(3);
    let clients = (0..clients).map(|n| Client::new(n as u8, &mut random)).collect();
    let acts = 30 + random.below(90);
    let options = LedgerOptions {
        pack_records: 256,
        segment_records: 1 + random.below(300),
        checkpoint_record_pause: Duration::from_millis(random.below(3000)),
        ..LedgerOptions::default()
    };
    let trace = Trace::new(with_trace);
    let shared = Arc::new(Mutex::new(Shared::new(random, trace, rates, lie)));
    let even = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
    let clock = |_| SkewedClock { even: Arc::clone(&even), skew_ns: AtomicI64::new(0) };
    let world = Arc::new_cyclic(|me: &Weak<World>| World {
        me: me.clone(),
        shared,
        key: LogKey::from_seeds("example.org/simulated", [1; 32], [2; 32]),
        options,
        clocks: (0..processes).map(clock).map(Arc::new).collect(),
        even: Arc::clone(&even),
        slots: Mutex::new((0..processes).map(|_| Slot::default()).collect()),
        clients: Mutex::new(clients),
        checks: Mutex::new(Checks::default()),
        depth: AtomicUsize::new(0),
        acts_left: AtomicU64::new(ACTS_MAX),
    });
    world.found();
    for _ in 0..acts {
        world.act();
    }
    world.finish(lie)
}

fn rates(random: &mut Random) -> Rates {
    let mut one_of = |rates: &[u64]| *random.choose(rates).unwrap_or(&0);
    Rates {
        error: one_of(&[0, 300, 100, 30]),
        flip: one_of(&[0, 0, 300, 60]),
        list: one_of(&[0, 8, 3]),
        hint: one_of(&[0, 8, 2]),
        full: one_of(&[0, 0, 60]),
        death: one_of(&[0, 600, 200, 60]),
        meet: one_of(&[0, 20, 8, 4]),
        lie: one_of(&[20, 60, 200]),
    }
}

struct World {
    me: Weak<Self>,
    shared: Arc<Mutex<Shared>>,
    key: Result<LogKey, stele_ledger::LogKeyError>,
    options: LedgerOptions,
    clocks: Vec<Arc<SkewedClock>>,
    even: Arc<ManualClock>,
    slots: Mutex<Vec<Slot>>,
    clients: Mutex<Vec<Client>>,
    checks: Mutex<Checks>,
    depth: AtomicUsize,
    acts_left: AtomicU64,
}

impl Meeting for World {
    fn meet(&self, who: usize) {
        if self.depth.load(Ordering::Relaxed) >= DEPTH_MAX {
            return;
        }
        // Mostly a short while, sometimes long enough for whole packs to be made.
        let acts = if self.below(12) == 0 { 10 + self.below(40) } else { 1 + self.below(3) };
        self.event(who, "meets", &acts.to_string());
        self.depth.fetch_add(1, Ordering::Relaxed);
        (0..acts).for_each(|_| self.act());
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn below(&self, end: u64) -> u64 {
        locked(&self.shared).random.below(end)
    }

    fn event(&self, who: usize, what: &str, how: &str) {
        locked(&self.shared).trace.event(who, what, "", how);
    }

    fn handle(&self, who: usize) -> Arc<Handle> {
        Arc::new(Handle::new(who, Arc::clone(&self.shared), self.me.clone()))
    }

    /// The clock of a process.
    fn clock(&self, who: usize) -> Arc<dyn Clock> {
        match self.clocks.get(who) {
            Some(clock) => Arc::clone(clock) as Arc<dyn Clock>,
            None => Arc::clone(&self.even) as Arc<dyn Clock>,
        }
    }

    /// Creates the ledger, before anything fails.
    fn found(&self) {
        let key = self.key.as_ref().expect("invariant: a literal origin is a name");
        let created = LedgerCore::create(self.handle(0), key, self.clock(0), &self.options);
        drop(created.expect("invariant: an empty store without faults takes a ledger"));
        locked(&self.shared).faulty = true;
    }

    /// Somebody does something.
    fn act(&self) {
        let left = self.acts_left.load(Ordering::Relaxed);
        if left == 0 {
            return;
        }
        self.acts_left.store(left - 1, Ordering::Relaxed);
        let pause = self.below(30);
        self.even.advance(Duration::from_millis(pause));
        if self.below(40) == 0 {
            self.even.advance(Duration::from_secs(1 + self.below(70)));
        }
        let who = usize::try_from(self.below(self.clocks.len() as u64)).unwrap_or(0);
        if self.below(30) == 0 {
            let skew = self.below(20_000_000_000);
            let skew = i64::try_from(skew).unwrap_or(0) - 10_000_000_000;
            self.clocks[who].skew_ns.store(skew, Ordering::Relaxed);
        }
        if self.below(5) == 0 {
            self.pack(who);
        } else {
            self.write(who);
        }
    }

    fn pack(&self, who: usize) {
        let Some(mut packing) = lock(&self.slots)[who].packer.take() else { return };
        if packing.handle.is_dead() {
            return;
        }
        let packed = self.guarded(who, || packing.packer.step());
        let alive = packed.is_some() && !packing.handle.is_dead();
        self.event(who, "packed", &format!("{packed:?}"));
        let slot = &mut lock(&self.slots)[who];
        // The process may have ended meanwhile, and another one may stand in its place.
        if alive && slot.packer.is_none() {
            slot.packer = Some(packing);
        }
    }

    fn write(&self, who: usize) {
        let writer = {
            let slot = &mut lock(&self.slots)[who];
            std::mem::replace(&mut slot.writer, Writer::Busy)
        };
        let after = match writer {
            Writer::Busy => Writer::Busy,
            Writer::Ended => self.open(who),
            Writer::Waiting(running) if running.handle.is_dead() => Writer::Ended,
            Writer::Waiting(running) if running.waits_until > self.even.monotonic() => {
                Writer::Waiting(running)
            }
            Writer::Waiting(running) => self.go_on(who, running),
        };
        lock(&self.slots)[who].writer = after;
    }

    fn open(&self, who: usize) -> Writer {
        let Ok(key) = &self.key else { return Writer::Ended };
        let handle = self.handle(who);
        let floor = lock(&self.checks).floor();
        let store: Arc<dyn Store> = Arc::clone(&handle) as Arc<dyn Store>;
        let opened =
            self.guarded(who, || LedgerCore::open(store, key, self.clock(who), &self.options));
        let core = match opened {
            Some(Ok(core)) if !handle.is_dead() => core,
            Some(Err(error)) => {
                self.event(who, "open", "failed");
                self.notice(matches!(error, LedgerError::Corrupt { .. }), &error);
                return Writer::Ended;
            }
            _ => return Writer::Ended,
        };
        self.event(who, "open", &core.checkpoint().size.to_string());
        lock(&self.checks).signed(core.checkpoint(), floor);
        let packer = Packing { handle: Arc::clone(&handle), packer: core.packer() };
        lock(&self.slots)[who].packer = Some(packer);
        Writer::Waiting(Box::new(Running {
            handle,
            core,
            sent: Vec::new(),
            waits_until: Duration::ZERO,
        }))
    }

    fn go_on(&self, who: usize, mut running: Box<Running>) -> Writer {
        self.look(&running);
        self.send(&mut running);
        let floor = lock(&self.checks).floor();
        let before = Arc::clone(running.core.checkpoint());
        let stepped = self.guarded(who, || running.core.step());
        let after = running.core.checkpoint();
        if !Arc::ptr_eq(&before, after) {
            lock(&self.checks).signed(after, floor);
        }
        self.collect(&mut running);
        match stepped {
            Some(Ok(step)) if !running.handle.is_dead() => {
                let pause = match step {
                    Step::Done(pause) | Step::Again(pause) => pause,
                };
                self.event(who, "step", &format!("{step:?} {}", running.core.checkpoint().size));
                running.waits_until = self.even.monotonic().saturating_add(pause);
                return Writer::Waiting(running);
            }
            Some(Err(AppendError::Stopped(why))) if !running.handle.is_dead() => {
                self.event(who, "step", "stopped");
                self.notice(true, &why);
            }
            _ => {}
        }
        running.handle.kill();
        Writer::Ended
    }

    /// Reads a record that was acknowledged, by whomever.
    fn look(&self, running: &Running) {
        if self.below(4) != 0 {
            return;
        }
        let wanted = {
            let checks = lock(&self.checks);
            locked(&self.shared).random.choose(checks.acknowledged()).copied()
        };
        let Some(wanted) = wanted else { return };
        if let Ok(record) = running.core.reader().read(LeafIndex(wanted.index)) {
            lock(&self.checks).read(&wanted, record.leaf_hash);
        }
    }

    fn send(&self, running: &mut Running) {
        for _ in 0..self.below(4) {
            let clients = lock(&self.clients);
            let client = usize::try_from(self.below(clients.len() as u64)).unwrap_or(0);
            let submission = clients[client].delivers(&mut locked(&self.shared).random);
            if let Ok(answer) = running.core.submit(submission.clone()) {
                running.sent.push(Sent { client, submission, answer });
            }
        }
    }

    fn collect(&self, running: &mut Running) {
        let mut waiting = Vec::new();
        for mut sent in running.sent.drain(..) {
            let mut clients = lock(&self.clients);
            let client = &mut clients[sent.client];
            match sent.answer.take() {
                None => waiting.push(sent),
                Some(Ok(receipt)) => {
                    let random = &mut locked(&self.shared).random;
                    let said = client.acknowledge(&sent.submission, &receipt, random);
                    lock(&self.checks).acknowledge(said, &receipt.checkpoint);
                }
                Some(Err(AppendError::Contradiction { .. })) => {
                    client.contradicted(&sent.submission);
                }
                Some(Err(_)) => {}
            }
        }
        running.sent = waiting;
    }

    /// Runs a part of a process; `None` if it panicked, which an invariant does that is violated.
    fn guarded<T>(&self, who: usize, run: impl FnOnce() -> T) -> Option<T> {
        let depth = self.depth.load(Ordering::Relaxed);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(done) => Some(done),
            Err(_) => {
                self.depth.store(depth, Ordering::Relaxed);
                self.event(who, "panicked", "");
                let mut checks = lock(&self.checks);
                checks.noticed.push("a process panicked".to_owned());
                if locked(&self.shared).lie.is_none() {
                    checks.violations.push(format!("process {who} panicked"));
                }
                None
            }
        }
    }

    /// Somebody says that something is wrong; with a store that only fails that may be a read.
    fn notice(&self, wrong: bool, what: &dyn std::fmt::Display) {
        if wrong && locked(&self.shared).lied {
            lock(&self.checks).noticed.push(what.to_string());
        }
    }

    /// Ends all processes, ends the faults, and holds everything against the log.
    fn finish(&self, lie: Option<Lie>) -> Outcome {
        lock(&self.slots).clear();
        locked(&self.shared).faulty = false;
        let store: Arc<dyn Store> = self.handle(AUDITOR);
        let opened = match &self.key {
            Ok(key) => {
                LedgerCore::open(Arc::clone(&store), key, self.clock(AUDITOR), &self.options)
            }
            Err(_) => Err(LedgerError::NotALedger),
        };
        let mut checks = std::mem::take(&mut *lock(&self.checks));
        match opened {
            Ok(mut core) => {
                checks.signed(core.checkpoint(), checks.floor());
                if let Err(error) = core.step() {
                    checks.noticed.push(error.to_string());
                }
                let mut packer = core.packer();
                self.even.advance(Duration::from_secs(100));
                while self.guarded(AUDITOR, || packer.step()) == Some(true) {}
                checks.finish(&store, &core);
            }
            Err(error) => checks.noticed.push(format!("the ledger cannot be opened: {error}")),
        }
        let mut shared = locked(&self.shared);
        let lie = lie.filter(|_| shared.lied);
        let mut violations = std::mem::take(&mut checks.violations);
        let mut forked = false;
        match lie {
            None => violations.append(&mut checks.noticed),
            Some(lie) => {
                forked = violations.iter().any(|what| what.starts_with("L2"));
                let excused = lie.excuses_forks();
                let noticed = !checks.noticed.is_empty();
                violations.retain(|what| !excused && (what.starts_with("L2") || !noticed));
            }
        }
        Outcome {
            digest: shared.trace.digest(),
            violations,
            lie,
            forked,
            records: checks.records,
            acknowledged: checks.acknowledged().len(),
            checkpoints: checks.checkpoints(),
            noticed: checks.noticed,
            trace: shared.trace.take_lines(),
        }
    }
}
