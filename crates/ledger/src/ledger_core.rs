//! The ledger without threads: whoever holds it decides when it writes, follows and packs.
//!
//! [`crate::Ledger`] is this with two threads. On its own it is for those who must decide the order
//! of things themselves, as a simulation does: it never sleeps, takes the time from its clock
//! alone, and does nothing between two calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use stele_merkle::{Checkpoint, LogSigner, LogVerifier};
use stele_record::{LedgerTime, SourceId, Submission};
use stele_store::{Clock, Put, Store, StoreError, random_bytes};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::append::{Prepared, prepare};
use crate::format::Writer as WriterId;
use crate::info::{self, LogInfo};
use crate::ledger::LedgerOptions;
use crate::own::{OwnSource, ledger_source_id};
use crate::pack::Packer;
use crate::put::SegmentPut;
use crate::reader::Reader;
use crate::recover::recover;
use crate::rotation::check_key;
use crate::round::Request;
use crate::settle::Access;
use crate::writer::{Hint, InFlight, Next, Others, Patience, SegmentLimits, Step, Writer, sign};
use crate::{AppendError, LedgerError, LogKey, Receipt, SignedCheckpoint};

/// See the module.
#[derive(Debug)]
pub struct LedgerCore {
    pub(crate) writer: Writer,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) own_source: SourceId,
    verifier: LogVerifier,
    pack_records: u64,
    queue: VecDeque<Request>,
    /// The segment that was gathered behind the last one.
    put: Option<SegmentPut>,
}

/// What a submission will be answered with.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Result<Receipt, AppendError>>);

impl Answer {
    /// The answer, once there is one; `None` before, and after it was taken.
    pub fn take(&mut self) -> Option<Result<Receipt, AppendError>> {
        self.0.try_recv().ok()
    }
}

impl LedgerCore {
    /// Creates a ledger in an empty store and opens it.
    ///
    /// # Errors
    /// [`LedgerError::AlreadyExists`], [`LedgerError::Store`], or as [`LedgerCore::open`].
    pub fn create(
        store: Arc<dyn Store>,
        key: &LogKey,
        clock: Arc<dyn Clock>,
        options: &LedgerOptions,
    ) -> Result<Self, LedgerError> {
        options.check()?;
        let created = LedgerTime::from_unix_ns(clock.now().0);
        let keys = key.signer()?.verifier_keys();
        let source = ledger_source_id(key).map_err(bad_seed)?;
        let info = LogInfo::new(key.origin(), &source, &keys, created);
        match store.put_new(&info::name(), &[&info.encode()]) {
            Ok(Put::Created) => {}
            Ok(Put::AlreadyThere) | Err(StoreError::Conflict { .. }) => {
                return Err(LedgerError::AlreadyExists);
            }
            Err(error) => return Err(error.into()),
        }
        Self::open(store, key, clock, options)
    }

    /// Opens the ledger in a store: reads it and checks it against what was signed. Others may have
    /// it open for writing too.
    ///
    /// # Errors
    /// [`LedgerError::NotALedger`] if there is none, [`LedgerError::WrongKey`] if it is another
    /// log's, [`LedgerError::RetiredKey`] if it was replaced, [`LedgerError::Corrupt`] if what is
    /// stored contradicts itself or the last checkpoint.
    pub fn open(
        store: Arc<dyn Store>,
        key: &LogKey,
        clock: Arc<dyn Clock>,
        options: &LedgerOptions,
    ) -> Result<Self, LedgerError> {
        Self::open_signing(store, key, key.signer()?, clock, options)
    }

    /// As [`LedgerCore::open`]; `signer` signs with the key, and perhaps with another one too.
    pub(crate) fn open_signing(
        store: Arc<dyn Store>,
        key: &LogKey,
        signer: LogSigner,
        clock: Arc<dyn Clock>,
        options: &LedgerOptions,
    ) -> Result<Self, LedgerError> {
        options.check()?;
        let (info, digest) = info::load(&*store)?;
        let first = info.unauthenticated_verifier()?;
        if info.origin != key.origin() {
            let key = key.origin().to_owned();
            return Err(LedgerError::WrongKey { key, ledger: info.origin });
        }
        let mut tail = recover(store, info.origin, digest, &first, Access::Writing)?;
        let reader = tail.reader.clone();
        check_key(&reader, &first, &signer)?;
        tail.flush()?;
        let verifier = reader.following(&signer.verifier())?;
        let size = reader.size();
        let root = reader.root(size)?;
        let checkpoint = Checkpoint { origin: reader.origin().to_owned(), size, root };
        let hinted = reader.signed_checkpoint().map_or(tail.last_time, |last| last.time);
        let now = LedgerTime::from_unix_ns(clock.now().0);
        tail.last_time = now.max(tail.last_time).max(hinted);
        let latest = sign(&signer, tail.last_time, &checkpoint).map_err(|what| {
            LedgerError::Corrupt { object: "checkpoint".into(), record: None, what }
        })?;
        let latest = Arc::new(latest);
        reader.publish(Arc::clone(&latest));
        let own = OwnSource::new(
            key,
            |id| reader.streams().latest_boot(id),
            clock.now(),
            clock.monotonic(),
            options.checkpoint_record_pause,
        );
        let closing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            id: WriterId { epoch: tail.writer_epoch + 1, nonce: random_bytes() },
            tail,
            clock,
            signer,
            own: own.map_err(bad_seed)?,
            limits: SegmentLimits {
                records: options.segment_records,
                bytes: options.segment_bytes,
            },
            sizes: watch::Sender::new(latest.size),
            latest,
            hint: Hint::due(),
            closing: Arc::clone(&closing),
            others: Others::default(),
            round: None,
            in_flight: InFlight::default(),
            patience: Patience::default(),
        };
        let own_source = ledger_source_id(key).map_err(bad_seed)?;
        let pack_records = options.pack_records;
        Ok(Self {
            writer,
            closing,
            own_source,
            verifier,
            pack_records,
            queue: VecDeque::new(),
            put: None,
        })
    }

    /// What reads this ledger.
    pub fn reader(&self) -> &Reader {
        &self.writer.tail.reader
    }

    /// The latest signed checkpoint.
    pub fn checkpoint(&self) -> &Arc<SignedCheckpoint> {
        &self.writer.latest
    }

    /// Believes the checkpoints of this ledger.
    pub fn verifier(&self) -> &LogVerifier {
        &self.verifier
    }

    /// Takes a submission in; [`LedgerCore::step`] answers it.
    ///
    /// # Errors
    /// [`AppendError`] if it is refused on its own.
    pub fn submit(&mut self, submission: Submission) -> Result<Answer, AppendError> {
        let (request, answer) = request(prepare(submission)?, None, &self.own_source)?;
        self.queue.push_back(request);
        Ok(Answer(answer))
    }

    /// Goes on with the segment that is to be written; if there is none, begins one with what was
    /// submitted; if nothing was, takes in what others have written.
    ///
    /// Of several submissions the later ones go into a segment behind the first, as they do when
    /// they arrive while that is being written; the next step writes it.
    ///
    /// # Errors
    /// [`AppendError::Stopped`]: it can no longer write. Open the ledger anew.
    pub fn step(&mut self) -> Result<Step, AppendError> {
        self.next().and_then(|next| self.go_on(next)).map_err(AppendError::Stopped)
    }

    fn next(&mut self) -> Result<Next, String> {
        if let Some(put) = self.put.take() {
            return Ok(Next::Put(put));
        }
        if self.writer.round.is_some() {
            return self.writer.step();
        }
        if !self.queue.is_empty() {
            self.gather(self.queue.len().div_ceil(2));
        }
        if self.writer.has_gathered() {
            return self.writer.start();
        }
        self.writer.follow()?;
        self.writer.write_hint_if_stale();
        Ok(Next::Step(Step::Done(Duration::ZERO)))
    }

    fn go_on(&mut self, next: Next) -> Result<Step, String> {
        let put = match next {
            Next::Put(put) => put,
            Next::Step(step) => return Ok(step),
        };
        self.gather(self.queue.len());
        let written = put.run(self.writer.tail.reader.store(), &*self.writer.clock);
        let next = self.writer.written(written)?;
        let pause = self.writer.settle()?;
        Ok(match next {
            Next::Put(put) => {
                self.put = Some(put);
                Step::Again(Duration::ZERO)
            }
            Next::Step(Step::Done(_)) if self.writer.has_gathered() => Step::Again(pause),
            Next::Step(Step::Done(_)) => Step::Done(pause),
            Next::Step(again) => again,
        })
    }

    /// Adds up to so many of the submissions to the segment that is gathered.
    fn gather(&mut self, submissions: usize) {
        for _ in 0..submissions {
            if !self.writer.takes_more() {
                return;
            }
            let Some(request) = self.queue.pop_front() else { return };
            self.writer.gather(request);
        }
    }

    /// What packs this ledger; it may be called while the core is at work.
    pub fn packer(&self) -> Packer {
        let (reader, clock) = (self.reader().clone(), Arc::clone(&self.writer.clock));
        let closing = Arc::clone(&self.closing);
        Packer::new(reader, clock, self.pack_records, closing, self.writer.id.nonce)
    }
}

/// A request with the answer's other end.
pub(crate) fn request(
    prepared: Prepared,
    permit: Option<OwnedSemaphorePermit>,
    own_source: &SourceId,
) -> Result<(Request, oneshot::Receiver<Result<Receipt, AppendError>>), AppendError> {
    if prepared.source == *own_source {
        // Its own next record would contradict the foreign one, and nothing could be written.
        let what = "its source is the ledger itself, which nobody else writes as".to_owned();
        return Err(AppendError::Invalid { record: 0, what });
    }
    let (reply, answer) = oneshot::channel();
    Ok((Request { prepared, reply, permit }, answer))
}

fn bad_seed(error: stele_record::RecordError) -> LedgerError {
    LedgerError::Corrupt { object: "log key".into(), record: None, what: error.to_string() }
}
