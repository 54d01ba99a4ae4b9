//! What writes: gathers requests, creates the next segment, signs, acknowledges; and takes in what
//! other processes have written meanwhile.
//!
//! Order: durable, then signed, then acknowledged. Any number of processes may write one ledger:
//! whoever does not get a segment's number takes in what stands there, puts its own requests behind
//! it, and tries the next number. The same happens after every write of unknown outcome: what is
//! in the store decides, so a write that had succeeded after all is found as a repeat. A segment
//! that cannot be written for lack of space is tried again until there is some; any other lasting
//! failure stops the writer, and with it the ledger.
//!
//! While a segment is being written, the next one is gathered behind it, as if it were in the log
//! already; if it does not get there, what was gathered behind it is evaluated anew, with it. There
//! is one write in flight at a time, and nobody is answered before what precedes is signed for.
//!
//! It has no thread and never sleeps: each method does one thing and says what is to be done next;
//! `ledger` calls them from threads, [`crate::LedgerCore`] lets anybody call them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stele_merkle::{Checkpoint, LogSigner, TreeSize};
use stele_record::LedgerTime;
use stele_store::{Clock, StoreError, UnixNanos};
use tokio::sync::watch;

use crate::append::prepare;
use crate::batch::{Batch, Gathered, SegmentId};
use crate::format::{Digest, Writer as WriterId};
use crate::info::checkpoint_hint;
use crate::invariant::invariant;
use crate::objects::{Object, segment_name};
use crate::own::{OwnPosition, OwnSource};
use crate::put::{SegmentPut, Written};
use crate::round::{Request, Round};
use crate::tail::{Tail, enter};
use crate::{ReadError, SignedCheckpoint};

/// How often a write of unknown outcome is repeated before the ledger stops.
const PUT_ATTEMPTS: usize = 5;
/// Pause before a write of unknown outcome is repeated.
const PUT_PAUSE: Duration = Duration::from_millis(200);
/// Pause before a write is repeated that found no space.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Longest time for which the hint lags behind the latest checkpoint.
pub(crate) const HINT_INTERVAL: Duration = Duration::from_millis(250);
/// How often signing is tried: ML-DSA may fail when the system gives no randomness.
const SIGN_ATTEMPTS: usize = 3;
/// How often a segment is read back before it counts as lost.
const READ_BACK_ATTEMPTS: usize = 3;
/// For how long a writer gives way after it has seen another one's segment.
const OTHERS_REMEMBERED: Duration = Duration::from_secs(2);
/// Longest time for which it gives way after each of its own segments. It gives way for as long as
/// its last write took: whoever lost the number needs a read more.
const GIVE_WAY_MAX: Duration = Duration::from_millis(250);

/// Why a writer stops that finds in the log that its key was replaced.
const KEY_REPLACED: &str = "the log's key was replaced; open the ledger again with the new key";

/// Largest segment that is gathered; one submission over it is taken whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentLimits {
    pub(crate) records: u64,
    pub(crate) bytes: usize,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Everything that was taken is answered. Wait this long before taking more, to give other
    /// writers their turn; zero where there are none.
    Done(Duration),
    /// A segment is still to be written. Wait this long before the next step.
    Again(Duration),
}

/// See the module.
pub(crate) struct Writer {
    pub(crate) tail: Tail,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) signer: LogSigner,
    pub(crate) own: OwnSource,
    pub(crate) limits: SegmentLimits,
    pub(crate) id: WriterId,
    pub(crate) latest: Arc<SignedCheckpoint>,
    pub(crate) sizes: watch::Sender<TreeSize>,
    pub(crate) hint: Hint,
    /// Set when the ledger is being closed: nothing is waited for any more.
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) others: Others,
    /// What is to be written again.
    pub(crate) round: Option<Round>,
    pub(crate) in_flight: InFlight,
    pub(crate) patience: Patience,
}

/// For how long the next segment may wait for more records. What a segment costs beside its records
/// is shared by them, and whoever was just answered is likely to come again at once: so the next one
/// waits until it has half of what was under way when the last one was written, but never longer
/// than that write took.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    records: u64,
    /// By the monotonic clock.
    until: Duration,
}

/// The segments between being gathered and being part of the log.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// What is gathered for the next segment.
    gathering: Option<(Batch, Round)>,
    /// What is being written.
    writing: Option<Segment>,
    /// What is durable but not signed for.
    durable: Option<Segment>,
}

/// A segment, whom it answers, and where the ledger's own source stood before it.
#[derive(Debug)]
struct Segment {
    gathered: Gathered,
    round: Round,
    own: OwnPosition,
    /// Whether the next segment may be gathered before it is durable.
    may_be_followed: bool,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Run it, and tell [`Writer::written`].
    Put(SegmentPut),
    /// See [`Step`].
    Step(Step),
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("next", &self.tail.next.0).finish_non_exhaustive()
    }
}

/// The checkpoint hint and how far it lags.
#[derive(Debug)]
pub(crate) struct Hint {
    written: Option<Duration>,
    pub(crate) stale: bool,
}

impl Hint {
    /// Not written yet.
    pub(crate) fn due() -> Self {
        Self { written: None, stale: true }
    }
}

/// What is known of other writers.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// When a segment of another one was last taken in, by the monotonic clock.
    seen: Option<Duration>,
    /// How long the last write took.
    write: Duration,
}

/// Why a segment was not written.
enum Unwritten {
    /// The outcome is settled by what the store has, and by trying again.
    Again(Duration),
    /// As soon as there is space.
    Full,
    /// The writer must stop.
    Stop(String),
}

impl Writer {
    /// Whether the next segment takes another request now.
    pub(crate) fn takes_more(&self) -> bool {
        let InFlight { gathering, writing, .. } = &self.in_flight;
        let room = gathering.as_ref().is_none_or(|(batch, _)| {
            batch.count() < self.limits.records && batch.bytes() < self.limits.bytes
        });
        room && writing.as_ref().is_none_or(|segment| segment.may_be_followed)
    }

    /// How long to wait for more requests before what is gathered is written; zero where it is
    /// enough.
    pub(crate) fn patience(&self) -> Duration {
        let gathered = self.in_flight.gathering.as_ref().map_or(0, |(batch, _)| batch.count());
        if gathered >= self.patience.records || !self.takes_more() {
            return Duration::ZERO;
        }
        self.patience.until.saturating_sub(self.clock.monotonic())
    }

    /// Whether something is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.in_flight.writing.is_some()
    }

    /// Whether anything is gathered.
    pub(crate) fn has_gathered(&self) -> bool {
        self.in_flight.gathering.is_some()
    }

    /// Adds a request to the next segment. To be called while [`Writer::takes_more`] only.
    pub(crate) fn gather(&mut self, request: Request) {
        if self.in_flight.gathering.is_none() {
            let batch = Batch::new(self.tail.reader.clone(), self.segment());
            self.in_flight.gathering = Some((batch, Round::default()));
        }
        let InFlight { gathering, writing, .. } = &mut self.in_flight;
        if let Some((batch, round)) = gathering {
            round.add(batch, request, writing.as_ref().map(|segment| &segment.gathered));
        }
    }

    /// Goes on with what was gathered, while nothing is being written.
    ///
    /// # Errors
    /// Why the ledger can no longer write.
    pub(crate) fn start(&mut self) -> Result<Next, String> {
        match self.in_flight.gathering.take() {
            Some((batch, round)) => self.begin(batch, round),
            None => Ok(Next::Step(Step::Done(Duration::ZERO))),
        }
    }

    /// Goes on with the segment that is to be written again.
    ///
    /// # Errors
    /// Why the ledger can no longer write.
    pub(crate) fn step(&mut self) -> Result<Next, String> {
        let Some(mut round) = self.round.take() else {
            return Ok(Next::Step(Step::Done(Duration::ZERO)));
        };
        let number = self.tail.next.0;
        if let Err(error) = self.advance() {
            return self.again(round, PUT_PAUSE, &error);
        }
        if self.tail.next.0 > number {
            round.attempts = 0;
        }
        let mut batch = Batch::new(self.tail.reader.clone(), self.segment());
        round.add_again(&mut batch);
        self.begin(batch, round)
    }

    /// Takes in what others have written, and signs for it; whether there was anything.
    ///
    /// # Errors
    /// Why the ledger can no longer write. What cannot be read now is left for later.
    pub(crate) fn follow(&mut self) -> Result<bool, String> {
        if self.round.is_some() || self.is_writing() {
            return Ok(false);
        }
        let size = self.latest.size;
        match self.advance().map_err(Into::into).and_then(|()| self.settle_tail()) {
            Ok(()) => {}
            Err(SettleError::Later(error)) => {
                tracing::warn!(%error, "what others have written cannot be taken in now");
            }
            Err(SettleError::Stop(why)) => return Err(why),
        }
        Ok(self.latest.size > size)
    }

    /// Answers what is still to be written: the ledger has stopped.
    pub(crate) fn stop(&mut self, why: &str) {
        let InFlight { gathering, writing, durable } = std::mem::take(&mut self.in_flight);
        let segments = [durable, writing].into_iter().flatten().map(|segment| segment.round);
        let gathering = gathering.map(|(_, round)| round);
        segments.chain(self.round.take()).chain(gathering).for_each(|round| round.stop(why));
    }

    /// The next segment, behind the one that is being written if one is.
    fn segment(&self) -> SegmentId {
        let first = self.tail.reader.tree().size();
        let (number, previous) = match &self.in_flight.writing {
            Some(Segment { gathered, .. }) => {
                (gathered.built.head.number + 1, gathered.built.digest)
            }
            None => self.tail.next,
        };
        SegmentId { number, previous, writer: self.id, first }
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        let number = self.tail.next.0;
        let advanced = self.tail.advance();
        if self.tail.next.0 > number {
            self.others.seen = Some(self.clock.monotonic());
        }
        advanced
    }

    /// Builds a segment; what it answers was evaluated against everything before it.
    fn begin(&mut self, mut batch: Batch, round: Round) -> Result<Next, String> {
        if batch.count() == 0 {
            return self.answer_without_writing(round);
        }
        let (first, own) = (batch.first(), self.own.position());
        let built = if self.is_retired() {
            Err(KEY_REPLACED.to_owned())
        } else {
            self.add_own(&mut batch).and_then(|()| {
                let time = self.ledger_time();
                batch.finish(time).map_err(|e| format!("the tree cannot be read: {e}"))
            })
        };
        let gathered = match built {
            Ok(gathered) => gathered,
            Err(why) => {
                self.tail.reader.tree_mut().truncate(first);
                self.own.take_back(own);
                return self.fail(round, why);
            }
        };
        let put = SegmentPut::new(&gathered.built);
        // What the ledger records of itself depends on the log, not on what may get there.
        let plain = self.own.position() == own && !self.signer.has_successor();
        let may_be_followed = plain && self.give_way().is_zero();
        self.in_flight.writing = Some(Segment { gathered, round, own, may_be_followed });
        Ok(Next::Put(put))
    }

    /// Decides about the segment that was being written. If it is durable, [`Writer::settle`] is to
    /// be called, after the next put was begun if there is one.
    ///
    /// # Errors
    /// Why the ledger can no longer write.
    pub(crate) fn written(&mut self, written: Written) -> Result<Next, String> {
        let done = Ok(Next::Step(Step::Done(Duration::ZERO)));
        let Some(segment) = self.in_flight.writing.take() else { return done };
        self.others.write = written.took;
        let number = segment.gathered.built.head.number;
        match self.judge(number, written.result, segment.round.attempts) {
            Ok(()) => {
                self.tail.next = (number + 1, segment.gathered.built.digest);
                self.tail.unflushed = None;
                let behind =
                    self.in_flight.gathering.as_ref().map_or(0, |(batch, _)| batch.count());
                let records = segment.gathered.built.head.count.saturating_add(behind) / 2;
                self.in_flight.durable = Some(segment);
                let until = self.clock.monotonic().saturating_add(self.others.write);
                self.patience = Patience { records, until };
                let enough = |batch: &Batch| batch.count() > 0 && batch.count() >= records;
                match self.in_flight.gathering.take_if(|(batch, _)| enough(batch)) {
                    Some((batch, round)) => self.begin(batch, round),
                    None => done,
                }
            }
            Err(unwritten) => self.take_back(segment, unwritten),
        }
    }

    /// Keeps for later what was not written, and what was gathered behind it.
    fn take_back(&mut self, segment: Segment, unwritten: Unwritten) -> Result<Next, String> {
        let Segment { gathered, mut round, own, .. } = segment;
        self.tail.reader.tree_mut().truncate(gathered.built.head.first);
        self.own.take_back(own);
        if let Some((_, behind)) = self.in_flight.gathering.take() {
            round.join(behind);
        }
        let pause = match unwritten {
            Unwritten::Again(pause) => {
                round.attempts += 1;
                pause
            }
            Unwritten::Full => FULL_PAUSE,
            Unwritten::Stop(why) => return self.fail(round, why),
        };
        self.round = Some(round);
        Ok(Next::Step(Step::Again(pause)))
    }

    /// Signs for the segment that is durable and answers; how long to wait before taking more.
    ///
    /// # Errors
    /// Why the ledger can no longer write.
    pub(crate) fn settle(&mut self) -> Result<Duration, String> {
        let Some(segment) = self.in_flight.durable.take() else { return Ok(Duration::ZERO) };
        let Segment { gathered, round, .. } = segment;
        let expected = (gathered.built.len(), gathered.built.digest);
        let object = match self.commit(gathered) {
            Ok(object) => object,
            Err(why) => {
                round.stop(&why);
                return Err(why);
            }
        };
        round.answer(&self.latest);
        self.read_back(&object, expected);
        self.hint.stale = true;
        self.write_hint_if_due();
        Ok(self.give_way())
    }

    /// Answers a round in which nothing is new.
    fn answer_without_writing(&mut self, round: Round) -> Result<Next, String> {
        // What was taken in before a read failed is not signed for: others may have gone on since.
        let unsigned = self.tail.reader.tree().size() != self.latest.size.0;
        if unsigned || round.lacks_records() {
            // No write of ours shows that this is the end of the log.
            let number = self.tail.next.0;
            if let Err(error) = self.advance() {
                return self.again(round, PUT_PAUSE, &error);
            }
            if self.tail.next.0 > number {
                self.round = Some(round);
                return Ok(Next::Step(Step::Again(Duration::ZERO)));
            }
        }
        // Its own replacement of the key, of a write whose outcome was not known, is finished.
        let settled = if self.signer.has_successor() && round.is_known() {
            self.sign_tail()
        } else {
            self.settle_tail()
        };
        match settled {
            Ok(()) => {
                round.answer(&self.latest);
                Ok(Next::Step(Step::Done(Duration::ZERO)))
            }
            Err(SettleError::Later(error)) => self.again(round, PUT_PAUSE, &error),
            Err(SettleError::Stop(why)) => self.fail(round, why),
        }
    }

    /// Keeps a round for later, unless it was kept too often.
    fn again(
        &mut self,
        mut round: Round,
        pause: Duration,
        error: &ReadError,
    ) -> Result<Next, String> {
        round.attempts += 1;
        if round.attempts >= PUT_ATTEMPTS || self.closing.load(Ordering::Relaxed) {
            let number = self.tail.next.0;
            let why = format!("the segments from number {number} on cannot be taken in: {error}");
            return self.fail(round, why);
        }
        tracing::warn!(%error, "what others have written cannot be taken in; trying again");
        self.round = Some(round);
        Ok(Next::Step(Step::Again(pause)))
    }

    fn fail(&self, round: Round, why: String) -> Result<Next, String> {
        round.stop(&why);
        Err(why)
    }

    /// How long to wait after an own segment.
    fn give_way(&self) -> Duration {
        let now = self.clock.monotonic();
        let seen = |then: Duration| now.saturating_sub(then) < OTHERS_REMEMBERED;
        if self.others.seen.is_some_and(seen) {
            return self.others.write.min(GIVE_WAY_MAX);
        }
        Duration::ZERO
    }

    fn add_own(&mut self, batch: &mut Batch) -> Result<(), String> {
        let monotonic = self.clock.monotonic();
        if !self.own.is_due(monotonic) {
            return Ok(());
        }
        let now = self.clock.now();
        self.own.align(&self.tail.reader.streams(), now);
        let submission = self.own.submit(&self.latest.note, now, monotonic);
        let added = prepare(submission).and_then(|prepared| batch.add(&prepared, None));
        added.map(drop).map_err(|e| format!("the ledger's own record was refused: {e}"))
    }

    /// The time of segments and checkpoints: it never runs backwards, whatever the clock does.
    fn ledger_time(&mut self) -> LedgerTime {
        let now = LedgerTime::from_unix_ns(self.clock.now().0);
        self.tail.last_time = now.max(self.tail.last_time);
        self.tail.last_time
    }

    /// Whether a segment counts, by what the store said when it was created.
    fn judge(
        &self,
        number: u64,
        result: Result<(), StoreError>,
        attempts: usize,
    ) -> Result<(), Unwritten> {
        let name = segment_name(number);
        let error = match result {
            Ok(()) => match self.tail.is_overtaken(number) {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    // Nobody takes it in, for the same reason.
                    let retired = self.tail.reader.store().retire(&name);
                    tracing::warn!(object = %name, ?retired, "a number that was used before");
                    return Err(Unwritten::Again(Duration::ZERO));
                }
                Err(error) => format!("whether its number was used before is not known: {error}"),
            },
            Err(error @ StoreError::Fatal { .. }) => {
                return Err(Unwritten::Stop(error.to_string()));
            }
            Err(StoreError::Conflict { .. }) if attempts == 0 => {
                return Err(Unwritten::Again(Duration::ZERO));
            }
            Err(StoreError::Full) => {
                let error = format!("{name} cannot be written: {}", StoreError::Full);
                if self.closing.load(Ordering::Relaxed) {
                    return Err(Unwritten::Stop(error));
                }
                tracing::error!(object = %name, "no space left; appends wait");
                return Err(Unwritten::Full);
            }
            Err(error) => error.to_string(),
        };
        if attempts + 1 >= PUT_ATTEMPTS {
            return Err(Unwritten::Stop(format!("{name} cannot be written: {error}")));
        }
        tracing::warn!(object = %name, error, "a write is tried again");
        Err(Unwritten::Again(PUT_PAUSE))
    }

    /// Makes a durable segment part of the log: tables, then a signed checkpoint.
    fn commit(&mut self, gathered: Gathered) -> Result<Arc<Object>, String> {
        let Gathered { built, taken, bytes, .. } = gathered;
        let object = Arc::new(Object::of_built(segment_name(built.head.number), built));
        enter(&self.tail.reader, &object);
        let range = object.head.first..object.head.end();
        self.tail.reader.recent_mut().keep(range, bytes, taken);
        self.sign(TreeSize(object.head.end()), object.head.root)?;
        Ok(object)
    }

    /// Whether what was taken in says that the writer's key signs no longer.
    fn is_retired(&self) -> bool {
        self.own.is_retired(&self.tail.reader.streams())
    }

    /// Signs for what was taken in, if anything was and it leaves the key as it is.
    fn settle_tail(&mut self) -> Result<(), SettleError> {
        if self.tail.reader.tree().size() > self.latest.size.0 && self.is_retired() {
            return Err(SettleError::Stop(KEY_REPLACED.to_owned()));
        }
        self.sign_tail()
    }

    /// Signs for what was taken in, if anything was, once it is known to be durable.
    fn sign_tail(&mut self) -> Result<(), SettleError> {
        let size = TreeSize(self.tail.reader.tree().size());
        if size == self.latest.size {
            return Ok(());
        }
        self.tail.flush().map_err(ReadError::from)?;
        let root = stele_merkle::root(size, &self.tail.reader)?;
        self.sign(size, root).map_err(SettleError::Stop)?;
        self.hint.stale = true;
        Ok(())
    }

    fn sign(&mut self, size: TreeSize, root: stele_merkle::Hash) -> Result<(), String> {
        let reader = &self.tail.reader;
        let old = &self.latest;
        invariant!(L1, size > old.size, "size {size} follows {}", old.size);
        let old_root = stele_merkle::root(old.size, reader);
        let continues = old_root.as_ref().is_ok_and(|root| *root == old.root);
        if !invariant!(L2, continues, "the tree does not continue that of size {}", old.size) {
            return Err("the tree in memory contradicts the last checkpoint".to_owned());
        }
        let checkpoint = Checkpoint { origin: reader.origin().to_owned(), size, root };
        let time = self.ledger_time();
        self.latest = Arc::new(sign(&self.signer, time, &checkpoint)?);
        self.tail.reader.publish(Arc::clone(&self.latest));
        self.sizes.send_replace(size);
        Ok(())
    }

    /// L3: what was signed can be read back, from the segment or from the pack that another process
    /// has made of it since.
    fn read_back(&self, object: &Object, expected: (u64, Digest)) {
        let store = self.tail.reader.store();
        let mut why = String::new();
        for _ in 0..READ_BACK_ATTEMPTS {
            why = match Object::load(store, &object.name) {
                Ok(stored) if stored.digest == expected.1 => return,
                Ok(_) => "another header is stored".to_owned(),
                Err(ReadError::Store(StoreError::NotFound { .. })) => {
                    if self.tail.reader.is_packed(object.head.first) {
                        return;
                    }
                    "it is not there".to_owned()
                }
                Err(ReadError::Store(error)) => {
                    // That says nothing about what is stored.
                    tracing::warn!(%error, object = %object.name, "it cannot be read back now");
                    return;
                }
                Err(error) => error.to_string(),
            };
        }
        invariant!(L3, false, "{} of {} bytes cannot be read back: {why}", object.name, expected.0);
    }

    pub(crate) fn write_hint_if_due(&mut self) {
        let now = self.clock.monotonic();
        if self.hint.written.is_none_or(|then| now.saturating_sub(then) >= HINT_INTERVAL) {
            self.write_hint();
        }
    }

    pub(crate) fn write_hint_if_stale(&mut self) {
        if self.hint.stale {
            self.write_hint();
        }
    }

    pub(crate) fn write_hint(&mut self) {
        self.hint = Hint { written: Some(self.clock.monotonic()), stale: false };
        let note = self.latest.note.as_bytes();
        if let Err(error) = self.tail.reader.store().put_hint(&checkpoint_hint(), note) {
            tracing::warn!(%error, "the checkpoint cannot be stored beside the log");
        }
    }
}

/// Why what was taken in was not signed for.
enum SettleError {
    /// The store does not answer rightly now.
    Later(ReadError),
    /// The writer must stop.
    Stop(String),
}

impl From<ReadError> for SettleError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(StoreError::Fatal { .. }) => Self::Stop(error.to_string()),
            error => Self::Later(error),
        }
    }
}

/// Signs a checkpoint.
pub(crate) fn sign(
    signer: &LogSigner,
    time: LedgerTime,
    checkpoint: &Checkpoint,
) -> Result<SignedCheckpoint, String> {
    let seconds = UnixNanos(time.unix_ns()).unix_seconds();
    let mut attempt = 1;
    let note = loop {
        match signer.sign(checkpoint, seconds) {
            Ok(note) => break note,
            Err(error) if attempt == SIGN_ATTEMPTS => {
                return Err(format!("a checkpoint cannot be signed: {error}"));
            }
            Err(_) => attempt += 1,
        }
    };
    Ok(SignedCheckpoint { size: checkpoint.size, root: checkpoint.root, note, time })
}
