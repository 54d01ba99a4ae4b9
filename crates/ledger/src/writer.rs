//! The one thread that writes: gathers what arrived while the last write was in flight, creates
//! the next segment, signs, acknowledges.
//!
//! Order: durable, then signed, then acknowledged. Whatever the store answers beside a clean
//! success is settled by reading back. A segment that cannot be written for lack of space is tried
//! again with the same bytes until there is some; any other lasting failure stops the thread, and
//! with it the ledger: what it holds in memory may no longer be what is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use stele_merkle::{Checkpoint, LogSigner, TreeSize};
use stele_record::LedgerTime;
use stele_store::{Clock, StoreError, UnixNanos};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::append::{IndexRun, Prepared, prepare};
use crate::batch::{Batch, SegmentId};
use crate::format::{Built, Digest, Writer as WriterId, digest_of};
use crate::info::checkpoint_hint;
use crate::invariant::invariant;
use crate::objects::{Object, segment_name};
use crate::own::OwnSource;
use crate::reader::Reader;
use crate::streams::StreamRun;
use crate::{AppendError, ReadError, Receipt, SignedCheckpoint};

/// How often a write of unknown outcome is repeated before the ledger stops.
const PUT_ATTEMPTS: usize = 5;
/// Pause before a write of unknown outcome is repeated.
const PUT_PAUSE: Duration = Duration::from_millis(200);
/// Pause before a write is repeated that found no space.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Longest time for which the hint lags behind the latest checkpoint.
const HINT_INTERVAL: Duration = Duration::from_millis(250);
/// How often signing is tried: ML-DSA may fail when the system gives no randomness.
const SIGN_ATTEMPTS: usize = 3;

type Reply = oneshot::Sender<Result<Receipt, AppendError>>;

/// A submission on its way to the writer. The permit is given back when it is answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prepared: Prepared,
    pub(crate) reply: Reply,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Request {
    /// Gives back what the request holds, then answers: whoever has the answer finds the room.
    pub(crate) fn answer(self, answer: Result<Receipt, AppendError>) {
        let Self { prepared, reply, permit } = self;
        drop((prepared, permit));
        // Nobody may be waiting any more; what the answer says holds all the same.
        let _ = reply.send(answer);
    }
}

pub(crate) enum Message {
    Append(Request),
    Stop,
}

/// Largest segment that is gathered; one submission over it is taken whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentLimits {
    pub(crate) records: u64,
    pub(crate) bytes: usize,
}

pub(crate) struct Writer {
    pub(crate) reader: Reader,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) signer: LogSigner,
    pub(crate) own: OwnSource,
    pub(crate) limits: SegmentLimits,
    pub(crate) id: WriterId,
    /// Number and predecessor's digest of the next segment.
    pub(crate) next: (u64, Digest),
    pub(crate) last_time: LedgerTime,
    pub(crate) latest: Arc<SignedCheckpoint>,
    pub(crate) sizes: watch::Sender<TreeSize>,
    pub(crate) packer: Sender<()>,
    pub(crate) hint: Hint,
    /// Set when the ledger is being closed: nothing is waited for any more.
    pub(crate) closing: Arc<AtomicBool>,
}

/// The checkpoint hint and how far it lags.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    written: Option<Duration>,
    stale: bool,
}

struct Accepted {
    request: Request,
    runs: Vec<IndexRun>,
}

impl Writer {
    /// Runs until told to stop. An error says why the ledger can no longer write.
    pub(crate) fn run(&mut self, messages: &Receiver<Message>) -> Result<(), String> {
        self.write_hint();
        loop {
            let first = if self.hint.stale {
                match messages.recv_timeout(HINT_INTERVAL) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => {
                        self.write_hint();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                match messages.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            };
            let Message::Append(first) = first else { break };
            if !self.round(first, messages)? {
                break;
            }
        }
        self.write_hint();
        Ok(())
    }

    /// One segment. Returns whether to go on.
    fn round(&mut self, first: Request, messages: &Receiver<Message>) -> Result<bool, String> {
        let reader = self.reader.clone();
        let id = SegmentId {
            number: self.next.0,
            previous: self.next.1,
            writer: self.id,
            first: self.latest.size.0,
        };
        let mut batch = Batch::new(&reader, id);
        let mut accepted = Vec::new();
        let mut go_on = true;
        take(&mut batch, first, &mut accepted);
        while batch.count() < self.limits.records && batch.bytes() < self.limits.bytes {
            match messages.try_recv() {
                Ok(Message::Append(request)) => take(&mut batch, request, &mut accepted),
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => {
                    go_on = false;
                    break;
                }
                Err(TryRecvError::Empty) => break,
            }
        }
        if batch.count() > 0 {
            let (object, expected) = match self.write(batch) {
                Ok(written) => written,
                Err(why) => {
                    for Accepted { request, .. } in accepted {
                        request.answer(Err(AppendError::Stopped(why.clone())));
                    }
                    return Err(why);
                }
            };
            self.answer(accepted);
            self.read_back(&object, expected);
            self.hint.stale = true;
            self.write_hint_if_due();
            // The packer may have ended; it is told again at the next segment.
            let _ = self.packer.send(());
        } else {
            self.answer(accepted);
        }
        Ok(go_on)
    }

    /// Makes a batch durable and signs for it; the segment, its length and its digest.
    fn write(&mut self, mut batch: Batch<'_>) -> Result<(Arc<Object>, (u64, Digest)), String> {
        self.add_own(&mut batch)?;
        let time = self.ledger_time();
        let built = batch.finish(time).map_err(|e| format!("the tree cannot be read: {e}"))?;
        self.put(&built)?;
        let expected = (built.len(), built.digest);
        Ok((self.commit(built)?, expected))
    }

    fn add_own(&mut self, batch: &mut Batch<'_>) -> Result<(), String> {
        let monotonic = self.clock.monotonic();
        if !self.own.is_due(monotonic) {
            return Ok(());
        }
        let submission = self.own.submit(&self.latest.note, self.clock.now(), monotonic);
        let added = prepare(submission).and_then(|prepared| batch.add(&prepared));
        added.map(drop).map_err(|e| format!("the ledger's own record was refused: {e}"))
    }

    /// The time of segments and checkpoints: it never runs backwards, whatever the clock does.
    fn ledger_time(&mut self) -> LedgerTime {
        let now = LedgerTime::from_unix_ns(self.clock.now().0);
        self.last_time = now.max(self.last_time);
        self.last_time
    }

    /// Writes a segment, or fails for good.
    fn put(&self, built: &Built) -> Result<(), String> {
        let name = segment_name(built.head.number);
        let slices = built.slices();
        let mut attempts = 0;
        loop {
            let Err(error) = self.reader.store().put_new(&name, &slices) else { return Ok(()) };
            if matches!(error, StoreError::Fatal { .. }) {
                return Err(error.to_string());
            }
            // Bytes that can be read may not be durable: only a repeat that succeeds says that.
            match self.is_stored(built) {
                Ok(false) if matches!(error, StoreError::Full) => {
                    if self.closing.load(Ordering::Relaxed) {
                        return Err(format!("{name} cannot be written: {error}"));
                    }
                    tracing::error!(object = %name, "no space left; appends wait");
                    std::thread::sleep(FULL_PAUSE);
                }
                Ok(_) => {
                    attempts += 1;
                    if attempts >= PUT_ATTEMPTS {
                        return Err(format!("{name} cannot be written: {error}"));
                    }
                    tracing::warn!(object = %name, %error, "a write is tried again");
                    std::thread::sleep(PUT_PAUSE);
                }
                Err(what) => return Err(what),
            }
        }
    }

    /// Whether exactly these bytes are stored; an error if others are, or nobody can tell.
    fn is_stored(&self, built: &Built) -> Result<bool, String> {
        let name = segment_name(built.head.number);
        match self.reader.store().read(&name) {
            Ok(bytes) if digest_of(&[&bytes]) == digest_of(&built.slices()) => Ok(true),
            Ok(_) => Err(format!("{name} is somebody else's: another process writes this ledger")),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(format!("{name} cannot be read back: {error}")),
        }
    }

    /// Makes a durable segment part of the log: tables, then a signed checkpoint.
    fn commit(&mut self, built: Built) -> Result<Arc<Object>, String> {
        let (size, root) = (TreeSize(built.head.end()), built.head.root);
        let old = &self.latest;
        invariant!(L1, size > old.size, "size {size} follows {}", old.size);
        let old_root = stele_merkle::root(old.size, &self.reader);
        let continues = old_root.as_ref().is_ok_and(|root| *root == old.root);
        if !invariant!(L2, continues, "the tree does not continue that of size {}", old.size) {
            return Err("the tree in memory contradicts the last checkpoint".to_owned());
        }
        let name = segment_name(built.head.number);
        self.next = (built.head.number + 1, built.digest);
        let object = Arc::new(Object::of_built(name, built));
        enter(&self.reader, &object);
        let checkpoint = Checkpoint { origin: self.reader.origin().to_owned(), size, root };
        let time = self.ledger_time();
        self.latest = Arc::new(sign(&self.signer, time, &checkpoint)?);
        self.reader.publish(Arc::clone(&self.latest));
        self.sizes.send_replace(size);
        Ok(object)
    }

    fn answer(&self, accepted: Vec<Accepted>) {
        for Accepted { request, runs } in accepted {
            let receipt = Receipt {
                first_index: runs[0].first,
                count: runs.iter().map(|run| run.count).sum(),
                runs,
                checkpoint: Arc::clone(&self.latest),
            };
            request.answer(Ok(receipt));
        }
    }

    /// L3: what was signed can be read back.
    fn read_back(&self, object: &Object, expected: (u64, Digest)) {
        let store = self.reader.store();
        let size = store.size(&object.name).map_err(ReadError::from);
        let found = size.and_then(|size| Ok((size, Object::load(store, &object.name)?.digest)));
        match &found {
            Err(ReadError::Store(error)) if !matches!(error, StoreError::NotFound { .. }) => {
                // It says nothing about what is stored.
                tracing::error!(%error, object = %object.name, "a segment cannot be read back now");
            }
            _ => {
                let same = found.as_ref().is_ok_and(|found| *found == expected);
                let (name, size) = (&object.name, expected.0);
                invariant!(L3, same, "{name} is {found:?}, not what was written, of {size} bytes");
            }
        }
    }

    fn write_hint_if_due(&mut self) {
        let now = self.clock.monotonic();
        if self.hint.written.is_none_or(|then| now.saturating_sub(then) >= HINT_INTERVAL) {
            self.write_hint();
        }
    }

    fn write_hint(&mut self) {
        self.hint = Hint { written: Some(self.clock.monotonic()), stale: false };
        let note = self.latest.note.as_bytes();
        if let Err(error) = self.reader.store().put_hint(&checkpoint_hint(), note) {
            tracing::warn!(%error, "the checkpoint cannot be stored beside the log");
        }
    }
}

fn take(batch: &mut Batch<'_>, request: Request, accepted: &mut Vec<Accepted>) {
    match batch.add(&request.prepared) {
        Ok(runs) => accepted.push(Accepted { request, runs }),
        Err(error) => request.answer(Err(error)),
    }
}

/// Enters a segment into the tables of objects and streams.
pub(crate) fn enter(reader: &Reader, object: &Arc<Object>) {
    let head = &object.head;
    let mut streams = reader.streams_mut();
    let ids: Vec<_> = head.streams.iter().map(|s| (head.sources[s.source], s.boot)).collect();
    for (id, stream) in ids.iter().zip(&head.streams) {
        streams.advance(*id, stream.next_seq, stream.head);
    }
    streams.add_secrets(head);
    for run in &head.runs {
        let (first_seq, first_index, count) = (run.first_seq, run.first_index, run.count);
        streams.add_run(&ids[run.stream], StreamRun { first_seq, first_index, count });
    }
    drop(streams);
    reader.objects_mut().add_segment(Arc::clone(object));
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
