//! The open ledger: creating it, opening it, appending to it, closing it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use stele_merkle::{Hash, LogSigner, LogVerifier, TreeSize};
use stele_record::{SourceId, Submission};
use stele_store::{Clock, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::append::{Prepared, cost, prepare};
use crate::info;
use crate::ledger_core::{LedgerCore, request};
use crate::put::{SegmentPut, Written};
use crate::reader::Reader;
use crate::recover::recover;
use crate::round::Request;
use crate::settle::Access;
use crate::tree::TILE_LEAVES;
use crate::writer::{HINT_INTERVAL, Next, Step, Writer};
use crate::{AppendError, LedgerError, LogKey, ReadError, Receipt, SignedCheckpoint};

/// Bytes of records that may wait for the writer before appends have to wait.
pub const QUEUE_BYTES_DEFAULT: usize = 256 * 1024 * 1024;
/// How long an append waits for its turn before it is refused as [`AppendError::Overloaded`].
pub const APPEND_WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// Records of a pack.
pub const PACK_RECORDS_DEFAULT: u64 = 65_536;
/// Records of a segment at most; one submission over it is taken whole.
pub const SEGMENT_RECORDS_DEFAULT: u64 = 16_384;
/// Header and payload bytes of a segment at most; one submission over it is taken whole.
pub const SEGMENT_BYTES_DEFAULT: usize = 32 * 1024 * 1024;
/// Pause between two checkpoints that are recorded in the log itself.
pub const CHECKPOINT_RECORD_PAUSE_DEFAULT: Duration = Duration::from_secs(10);

/// Pause between two looks at what other processes have written, while nothing is appended here.
pub const FOLLOW_PAUSE_DEFAULT: Duration = Duration::from_millis(250);

/// Submissions smaller than this are checked on the thread that appends them.
const CHECK_INLINE_BYTES: usize = 64 * 1024;
/// Pause between two tries of a blocking append to get its turn.
const BLOCKING_PAUSE: Duration = Duration::from_millis(2);

/// What can be chosen when a ledger is opened. The defaults suit everything but tests.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// See [`QUEUE_BYTES_DEFAULT`].
    pub queue_bytes: usize,
    /// See [`APPEND_WAIT_DEFAULT`].
    pub append_wait: Duration,
    /// See [`PACK_RECORDS_DEFAULT`]; a multiple of 256.
    pub pack_records: u64,
    /// See [`SEGMENT_RECORDS_DEFAULT`].
    pub segment_records: u64,
    /// See [`SEGMENT_BYTES_DEFAULT`].
    pub segment_bytes: usize,
    /// See [`CHECKPOINT_RECORD_PAUSE_DEFAULT`].
    pub checkpoint_record_pause: Duration,
    /// See [`FOLLOW_PAUSE_DEFAULT`].
    pub follow_pause: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            queue_bytes: QUEUE_BYTES_DEFAULT,
            append_wait: APPEND_WAIT_DEFAULT,
            pack_records: PACK_RECORDS_DEFAULT,
            segment_records: SEGMENT_RECORDS_DEFAULT,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            checkpoint_record_pause: CHECKPOINT_RECORD_PAUSE_DEFAULT,
            follow_pause: FOLLOW_PAUSE_DEFAULT,
        }
    }
}

impl LedgerOptions {
    pub(crate) fn check(&self) -> Result<(), LedgerError> {
        let wrong = |option, what| Err(LedgerError::Option { option, what });
        if self.pack_records == 0 || !self.pack_records.is_multiple_of(TILE_LEAVES) {
            return wrong("pack_records", "expected a multiple of 256 above 0");
        }
        if self.queue_bytes == 0 || self.queue_bytes > Semaphore::MAX_PERMITS {
            return wrong("queue_bytes", "out of range");
        }
        if self.segment_records == 0 || self.segment_bytes == 0 {
            return wrong("segment_records", "a segment must take at least one record");
        }
        Ok(())
    }
}

/// An open ledger. Cheap to clone; it closes when the last clone is gone, or by
/// [`Ledger::close`]. Everything that only reads is on [`Reader`], which a ledger dereferences to.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    reader: Reader,
    /// For receipts; the writer has its own.
    signer: LogSigner,
    verifier: LogVerifier,
    own_source: SourceId,
    clock: Arc<dyn Clock>,
    options: LedgerOptions,
    budget: Arc<Semaphore>,
    queue: Sender<Message>,
    sizes: watch::Receiver<TreeSize>,
    stopped: Arc<OnceLock<String>>,
    closing: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("origin", &self.reader.origin()).finish_non_exhaustive()
    }
}

impl Deref for Ledger {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.inner.reader
    }
}

impl Ledger {
    /// Creates a ledger in an empty store and opens it.
    ///
    /// # Errors
    /// [`LedgerError::AlreadyExists`], [`LedgerError::Store`], or as [`Ledger::open`].
    pub fn create(
        store: Arc<dyn Store>,
        key: &LogKey,
        clock: Arc<dyn Clock>,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let core = LedgerCore::create(store, key, Arc::clone(&clock), &options)?;
        Self::start(core, key.signer()?, clock, options)
    }

    /// Opens the ledger in a store: reads it, checks it against what was signed, and starts the
    /// writer.
    ///
    /// # Errors
    /// [`LedgerError::NotALedger`] if there is none, [`LedgerError::WrongKey`] if it is another
    /// log's, [`LedgerError::RetiredKey`] if it was replaced, [`LedgerError::Corrupt`] if what is
    /// stored contradicts itself or the last checkpoint.
    pub fn open(
        store: Arc<dyn Store>,
        key: &LogKey,
        clock: Arc<dyn Clock>,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let core = LedgerCore::open(store, key, Arc::clone(&clock), &options)?;
        Self::start(core, key.signer()?, clock, options)
    }

    pub(crate) fn start(
        core: LedgerCore,
        signer: LogSigner,
        clock: Arc<dyn Clock>,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let reader = core.reader().clone();
        let verifier = core.verifier().clone();
        let mut packer = core.packer();
        let LedgerCore { mut writer, closing, own_source, .. } = core;
        let sizes = writer.sizes.subscribe();
        let (queue, messages) = mpsc::channel();
        let (pack_now, packing) = mpsc::channel();
        let stopped = Arc::new(OnceLock::new());
        let why = Arc::clone(&stopped);
        let follow_pause = options.follow_pause;
        let (puts, to_put) = mpsc::channel();
        let (store, time, written) = (reader.clone(), Arc::clone(&clock), Sender::clone(&queue));
        let putting = spawn("ledger-put", move || {
            run_puts(&to_put, store.store(), &*time, &written);
        })?;
        let writing = spawn("ledger-writer", move || {
            let mut thread = WriterThread {
                messages: &messages,
                puts: &puts,
                packer: &pack_now,
                follow_pause,
                waiting: VecDeque::new(),
            };
            if let Err(what) = thread.run(&mut writer) {
                tracing::error!(what, "the ledger has stopped");
                writer.stop(&what);
                let _ = why.set(what);
            }
        })?;
        let packing = spawn("ledger-packer", move || packer.run(&packing))?;
        let inner = Inner {
            reader,
            signer,
            verifier,
            own_source,
            clock,
            budget: Arc::new(Semaphore::new(options.queue_bytes)),
            options,
            queue,
            sizes,
            stopped,
            closing,
            threads: Mutex::new(vec![writing, putting, packing]),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the ledger in a store for reading only; it may be open for writing elsewhere. Its
    /// size is what was there at this moment. A checkpoint beside it is taken if `verifier`
    /// believes it.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_read_only(
        store: Arc<dyn Store>,
        verifier: &LogVerifier,
    ) -> Result<Reader, LedgerError> {
        let (info, digest) = info::load(&*store)?;
        Ok(recover(store, info.origin, digest, verifier, Access::Reading)?.reader)
    }

    /// What reads this ledger; stays usable when the ledger is closed.
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// Believes the checkpoints of this ledger.
    pub fn verifier(&self) -> &LogVerifier {
        &self.inner.verifier
    }

    /// What signs receipts of this ledger.
    pub fn signer(&self) -> &LogSigner {
        &self.inner.signer
    }

    /// The source as which the ledger records its own checkpoints.
    pub fn own_source(&self) -> SourceId {
        self.inner.own_source
    }

    /// The latest signed checkpoint.
    pub fn checkpoint(&self) -> Arc<SignedCheckpoint> {
        let latest = self.inner.reader.signed_checkpoint();
        latest.expect("invariant: opening signs a checkpoint before anything else")
    }

    /// Tells of every new size, after its checkpoint was signed.
    pub fn subscribe(&self) -> watch::Receiver<TreeSize> {
        self.inner.sizes.clone()
    }

    /// Why the ledger no longer writes, if it does not.
    pub fn stopped(&self) -> Option<&str> {
        self.inner.stopped.get().map(String::as_str)
    }

    /// Takes in what other processes have written to the same store. They are looked for from time
    /// to time anyway ([`FOLLOW_PAUSE_DEFAULT`]); this is for answers that must not lag behind.
    ///
    /// # Errors
    /// [`AppendError::Stopped`] if the ledger no longer writes: then it follows nobody either.
    pub async fn follow(&self) -> Result<(), AppendError> {
        let (done, followed) = oneshot::channel();
        self.inner.queue.send(Message::Follow(done)).map_err(|_| self.stopped_error())?;
        followed.await.map_err(|_| self.stopped_error())
    }

    /// As [`Ledger::follow`], for threads outside an asynchronous runtime.
    ///
    /// # Errors
    /// As [`Ledger::follow`].
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn follow_blocking(&self) -> Result<(), AppendError> {
        let (done, followed) = oneshot::channel();
        self.inner.queue.send(Message::Follow(done)).map_err(|_| self.stopped_error())?;
        followed.blocking_recv().map_err(|_| self.stopped_error())
    }

    /// Bytes of appends that may still come before appends have to wait.
    pub fn queue_bytes_free(&self) -> usize {
        self.inner.budget.available_permits()
    }

    /// Appends records; returns when they are durable and signed. A repeat of records that are in
    /// the log already gets their places. Dropping the future leaves it open whether the records
    /// are taken in.
    ///
    /// # Errors
    /// [`AppendError`]; its variants say whether to send again.
    pub async fn append(&self, submission: Submission) -> Result<Receipt, AppendError> {
        let cost = cost(&submission);
        let wanted = self.permits(cost)?;
        let permit = self.turn(wanted).await?;
        let prepared = if cost < CHECK_INLINE_BYTES {
            prepare(submission)?
        } else {
            let checking = tokio::task::spawn_blocking(move || prepare(submission));
            checking.await.map_err(|e| AppendError::Stopped(e.to_string()))??
        };
        let answer = self.send(prepared, permit)?;
        answer.await.map_err(|_| self.stopped_error())?
    }

    /// As [`Ledger::append`], for threads outside an asynchronous runtime.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn append_blocking(&self, submission: Submission) -> Result<Receipt, AppendError> {
        let wanted = self.permits(cost(&submission))?;
        let prepared = prepare(submission)?;
        let start = self.inner.clock.monotonic();
        let permit = loop {
            let budget = Arc::clone(&self.inner.budget);
            match budget.try_acquire_many_owned(wanted) {
                Ok(permit) => break permit,
                Err(tokio::sync::TryAcquireError::Closed) => return Err(self.stopped_error()),
                Err(tokio::sync::TryAcquireError::NoPermits) => {}
            }
            let waited = self.inner.clock.monotonic().saturating_sub(start);
            if waited >= self.inner.options.append_wait {
                return Err(AppendError::Overloaded);
            }
            std::thread::sleep(BLOCKING_PAUSE);
        };
        let answer = self.send(prepared, permit)?;
        answer.blocking_recv().map_err(|_| self.stopped_error())?
    }

    /// The inclusion proofs of a receipt's records, for its checkpoint. Where many records belong
    /// together, [`Ledger::run_proofs_for`] costs a fraction.
    ///
    /// # Errors
    /// [`ReadError`] if a hash of the tree cannot be read.
    pub fn proofs_for(&self, receipt: &Receipt) -> Result<Vec<Vec<Hash>>, ReadError> {
        let size = receipt.checkpoint.size;
        receipt.indices().map(|index| self.inclusion_proof(index, size)).collect()
    }

    /// One proof for each of a receipt's runs, for its checkpoint; [`stele_merkle::verify_range`]
    /// checks it against the leaf hashes of all records of the run.
    ///
    /// # Errors
    /// [`ReadError`] if a hash of the tree cannot be read.
    pub fn run_proofs_for(&self, receipt: &Receipt) -> Result<Vec<Vec<Hash>>, ReadError> {
        let size = receipt.checkpoint.size;
        receipt.runs.iter().map(|run| self.range_proof(run.first, run.count, size)).collect()
    }

    /// Stops writing and waits until everything that was taken in is answered. Later appends get
    /// [`AppendError::Stopped`]; reading goes on.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Room in the budget; no timer is set where there is some.
    async fn turn(&self, wanted: u32) -> Result<OwnedSemaphorePermit, AppendError> {
        let budget = Arc::clone(&self.inner.budget);
        match Arc::clone(&budget).try_acquire_many_owned(wanted) {
            Ok(permit) => return Ok(permit),
            Err(tokio::sync::TryAcquireError::Closed) => return Err(self.stopped_error()),
            Err(tokio::sync::TryAcquireError::NoPermits) => {}
        }
        let waiting = budget.acquire_many_owned(wanted);
        let permit = tokio::time::timeout(self.inner.options.append_wait, waiting).await;
        permit.map_err(|_| AppendError::Overloaded)?.map_err(|_| self.stopped_error())
    }

    fn permits(&self, cost: usize) -> Result<u32, AppendError> {
        let limit = self.inner.options.queue_bytes;
        let too_large = || AppendError::TooLarge { limit: limit as u64 };
        if cost > limit {
            return Err(too_large());
        }
        u32::try_from(cost).map_err(|_| too_large())
    }

    /// Appends records of the ledger's own source.
    pub(crate) fn append_own(&self, submission: Submission) -> Result<Receipt, AppendError> {
        let prepared = prepare(submission)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { prepared, reply, permit: None };
        self.inner.queue.send(Message::Append(request)).map_err(|_| self.stopped_error())?;
        answer.blocking_recv().map_err(|_| self.stopped_error())?
    }

    fn send(
        &self,
        prepared: Prepared,
        permit: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Result<Receipt, AppendError>>, AppendError> {
        let (request, answer) = request(prepared, Some(permit), &self.inner.own_source)?;
        self.inner.queue.send(Message::Append(request)).map_err(|_| self.stopped_error())?;
        Ok(answer)
    }

    fn stopped_error(&self) -> AppendError {
        AppendError::Stopped(self.stopped().unwrap_or("it was closed").to_owned())
    }
}

impl Inner {
    fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        self.budget.close();
        self.closing.store(true, Ordering::Relaxed);
        // An error means that the writer has stopped already.
        let _ = self.queue.send(Message::Stop);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger has panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

enum Message {
    Append(Request),
    /// What became of the segment that is being written; nothing if the store panicked.
    Written(Option<Written>),
    /// Take in what others have written, then say so.
    Follow(oneshot::Sender<()>),
    Stop,
}

/// Why a ledger stops whose store panicked.
const PUT_ENDED: &str = "the thread that writes segments has ended";

/// What drives the writer: a thread that waits for requests, and for what the store says to what
/// another thread puts there.
struct WriterThread<'a> {
    messages: &'a Receiver<Message>,
    puts: &'a Sender<SegmentPut>,
    packer: &'a Sender<()>,
    follow_pause: Duration,
    /// What came while the writer could not take it.
    waiting: VecDeque<Message>,
}

impl WriterThread<'_> {
    /// Runs until told to stop. An error says why the ledger can no longer write.
    fn run(&mut self, writer: &mut Writer) -> Result<(), String> {
        writer.write_hint();
        loop {
            let message = if writer.is_writing() {
                self.gather_waiting(writer);
                self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if let Some(message) = self.waiting.pop_front() {
                Ok(message)
            } else {
                self.messages.recv_timeout(self.pause(writer))
            };
            match message {
                Ok(Message::Written(Some(written))) => self.written(writer, written)?,
                Ok(Message::Written(None)) => return Err(PUT_ENDED.to_owned()),
                Ok(message) if writer.is_writing() => self.waiting.push_back(message),
                Ok(Message::Append(first)) => self.round(writer, first)?,
                Ok(Message::Follow(done)) => {
                    self.follow(writer)?;
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.follow(writer)?,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        writer.write_hint();
        Ok(())
    }

    fn pause(&self, writer: &Writer) -> Duration {
        if writer.hint.stale { HINT_INTERVAL.min(self.follow_pause) } else { self.follow_pause }
    }

    fn follow(&self, writer: &mut Writer) -> Result<(), String> {
        if writer.follow()? {
            // The packer may have ended; it is told again at the next segment.
            let _ = self.packer.send(());
        }
        writer.write_hint_if_stale();
        Ok(())
    }

    /// Puts the requests that wait behind what is being written, as far as there is room.
    fn gather_waiting(&mut self, writer: &mut Writer) {
        while writer.takes_more() {
            match self.waiting.pop_front() {
                Some(Message::Append(request)) => writer.gather(request),
                Some(other) => return self.waiting.push_front(other),
                None => return,
            }
        }
    }

    /// Gathers a segment and begins to write it.
    fn round(&mut self, writer: &mut Writer, first: Request) -> Result<(), String> {
        writer.gather(first);
        self.gather(writer);
        let next = writer.start()?;
        self.go_on(writer, next)
    }

    /// Adds what is there and what comes in time to the next segment.
    fn gather(&mut self, writer: &mut Writer) {
        while writer.takes_more() {
            let there = self.waiting.pop_front().or_else(|| self.messages.try_recv().ok());
            let message = there.or_else(|| {
                let patience = writer.patience();
                if patience.is_zero() { None } else { self.messages.recv_timeout(patience).ok() }
            });
            match message {
                Some(Message::Append(request)) => writer.gather(request),
                Some(other) => return self.waiting.push_front(other),
                None => return,
            }
        }
    }

    fn written(&mut self, writer: &mut Writer, written: Written) -> Result<(), String> {
        let mut next = writer.written(written)?;
        if let Next::Put(put) = next {
            self.put(put)?;
            writer.settle()?;
        } else {
            let pause = writer.settle()?;
            if let Next::Step(Step::Done(_)) = next {
                next = Next::Step(Step::Done(pause));
            }
            self.go_on(writer, next)?;
        }
        let _ = self.packer.send(());
        Ok(())
    }

    /// Goes on until something is being written or nothing is to be.
    fn go_on(&mut self, writer: &mut Writer, mut next: Next) -> Result<(), String> {
        loop {
            next = match next {
                Next::Put(put) => return self.put(put),
                Next::Step(Step::Done(pause)) => {
                    sleep(pause);
                    if !writer.has_gathered() {
                        return Ok(());
                    }
                    self.gather(writer);
                    writer.start()?
                }
                Next::Step(Step::Again(pause)) => {
                    sleep(pause);
                    writer.step()?
                }
            };
        }
    }

    fn put(&self, put: SegmentPut) -> Result<(), String> {
        self.puts.send(put).map_err(|_| PUT_ENDED.to_owned())
    }
}

/// Creates segments, one after the other, and tells the writer what the store said.
fn run_puts(
    puts: &Receiver<SegmentPut>,
    store: &dyn Store,
    clock: &dyn Clock,
    queue: &Sender<Message>,
) {
    /// Tells even if the store panics: the writer waits for nothing else.
    struct Telling<'a>(&'a Sender<Message>, Option<Written>);

    impl Drop for Telling<'_> {
        fn drop(&mut self) {
            // The writer may have stopped.
            let _ = self.0.send(Message::Written(self.1.take()));
        }
    }

    while let Ok(put) = puts.recv() {
        let mut telling = Telling(queue, None);
        telling.1 = Some(put.run(store, clock));
    }
}

fn sleep(pause: Duration) {
    if !pause.is_zero() {
        std::thread::sleep(pause);
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LedgerError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(LedgerError::Thread)
}
