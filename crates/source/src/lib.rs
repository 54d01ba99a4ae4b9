//! The life of a source: it takes records in, spools them on disk, seals its chain, and delivers
//! to a ledger, however long that takes.
//!
//! Not here: how a ledger is reached (the caller implements [`Deliver`]), what is observed (crate
//! `collect`), and any HTTP.
//!
//! Invariants: a record is delivered only after it is durable in the spool, and leaves the spool
//! only after the ledger acknowledged it, so a crash at any moment loses nothing that was
//! delivered and repeats at most what the ledger recognises by (source, boot, seq). A cursor is
//! durable no earlier than the record it came with.

mod deliver;
mod error;
mod identity;
mod spool;

pub use deliver::{Deliver, DeliverError, Delivered};
pub use error::SourceError;
pub use identity::load_or_make_key;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use stele_record::{
    Boot, Commitment, Declaration, Epoch, EpochSecret, EventTime, Header, Kind,
    ORIGIN_COUNTER_BYTES_MAX, ObservedTime, PAYLOAD_BYTES_MAX, PayloadType, PreviousBoot, Seal,
    Seq, SourceId, SourceKey,
};
use stele_store::Clock;
use tokio::sync::{Notify, watch};

use spool::{Position, SpoolState, SpoolWriter};

/// Longest pause between two seals unless the options say otherwise.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(10);

/// Most bytes kept in a spool while the ledger can't be reached. When they are full, recording
/// waits, and what the origin can't hold back becomes a gap.
pub const SPOOL_BYTES_MAX_DEFAULT: u64 = 10 * 1024 * 1024 * 1024;

/// Longest keys and values of the cursors of one record together, in bytes. The spool has room for
/// as many with every character escaped.
pub const CURSOR_BYTES_MAX: usize = 128 * 1024;

/// What a source is, as plain data.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Name for people.
    pub name: String,
    /// What it stands for, in words.
    pub attests: String,
    /// The records are handed to it rather than observed by it.
    pub imported: bool,
    /// Longest pause between two seals.
    pub heartbeat: Duration,
    /// Program and version.
    pub software: String,
    /// Most bytes to keep while undelivered.
    pub spool_bytes_max: u64,
}

/// A record to be: everything the source does not add itself.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What the payload is about.
    pub kind: Kind,
    /// When the origin says that it happened, if it says so.
    pub event_time: Option<EventTime>,
    /// The origin's own counter, if it has one.
    pub origin_counter: Option<String>,
    /// Encoding of the payload.
    pub payload_type: PayloadType,
    /// The payload.
    pub payload: Bytes,
}

/// Where a reader of the origin stands; kept with the record that made it true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What is read, for example a watch's cluster and resource.
    pub key: String,
    /// How far, for example a resourceVersion. `None` forgets the key.
    pub value: Option<String>,
}

/// How a source fares, for metrics and health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStatus {
    /// Number of records written in this boot.
    pub next_seq: Seq,
    /// Bytes in the spool that the ledger has not acknowledged.
    pub spool_bytes: u64,
    /// Observed time of the last record.
    pub last_observed: ObservedTime,
}

/// A running source. Clones share it.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

struct Inner {
    options: SourceOptions,
    clock: Arc<dyn Clock>,
    key: SourceKey,
    boot: Boot,
    secret: EpochSecret,
    previous: Option<PreviousBoot>,
    writer: Mutex<SpoolWriter>,
    /// Wakes the delivery when a record was spooled.
    recorded: Notify,
    /// End of what is delivered.
    delivered: watch::Sender<Position>,
    /// Held while the directory is ours.
    _lock: std::fs::File,
}

impl Source {
    /// Opens the source that lives in `dir`, or makes a new one there, and begins a boot.
    ///
    /// # Errors
    /// [`SourceError::InUse`] if another process has it open; [`SourceError::Corrupt`] if the
    /// spool holds what no source wrote; [`SourceError::Io`].
    pub fn open(
        dir: &Path,
        options: SourceOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let lock = identity::lock(dir)?;
        let key = load_or_make_key(&dir.join("source.key"))?;
        let last = spool::recover(dir)?;
        let now = clock.now().0;
        let previous = last.as_ref().map(|state| PreviousBoot {
            boot: state.boot,
            next_seq: state.next_seq,
            last_observed_ns: ObservedTime::from_unix_ns(state.last_observed_ns),
        });
        let boot = Boot(last.as_ref().map_or(0, |s| s.boot + 1).max(now.unsigned_abs()));
        let epoch = Epoch(last.as_ref().map_or(0, |s| s.epoch + 1));
        let cursors = last.map(|s| s.cursors).unwrap_or_default();
        let state = SpoolState::begin(&key.source_id(), boot, epoch, now, cursors);
        let writer = SpoolWriter::create(dir, state)?;
        let (delivered, _) = watch::channel(Position::default());
        let secret = epoch_secret(&key, epoch);
        let source = Self {
            inner: Arc::new(Inner {
                options,
                clock,
                key,
                boot,
                secret,
                previous,
                writer: Mutex::new(writer),
                recorded: Notify::new(),
                delivered,
                _lock: lock,
            }),
        };
        source.declare()?;
        Ok(source)
    }

    fn declare(&self) -> Result<(), SourceError> {
        let options = &self.inner.options;
        let declaration = Declaration {
            name: options.name.clone(),
            attests: options.attests.clone(),
            public_key: hex::encode(self.inner.key.public().as_bytes()),
            imported: options.imported,
            heartbeat_s: options.heartbeat.as_secs(),
            software: options.software.clone(),
            previous: self.inner.previous,
        };
        self.append(
            Draft {
                kind: Kind::SOURCE_OPEN,
                event_time: None,
                origin_counter: None,
                payload_type: PayloadType::JSON,
                payload: declaration.encode().into(),
            },
            &[],
        )?;
        Ok(())
    }

    /// The source's id.
    pub fn id(&self) -> SourceId {
        self.inner.key.source_id()
    }

    /// This life's number.
    pub fn boot(&self) -> Boot {
        self.inner.boot
    }

    /// Where the life before this one ended.
    pub fn previous(&self) -> Option<PreviousBoot> {
        self.inner.previous
    }

    /// The clock that observed times come from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// A secret of this source for one purpose; the same in every boot.
    pub fn derive_secret(&self, purpose: &str) -> [u8; 32] {
        self.inner.key.derive(purpose)
    }

    /// The value of a cursor.
    pub fn cursor(&self, key: &str) -> Option<String> {
        self.writer().state().cursors.get(key).cloned()
    }

    /// All cursors, for example to see which watches can be resumed.
    pub fn cursors(&self) -> BTreeMap<String, String> {
        self.writer().state().cursors.clone()
    }

    /// How the source fares.
    pub fn status(&self) -> SourceStatus {
        let writer = self.writer();
        let delivered = *self.inner.delivered.borrow();
        SourceStatus {
            next_seq: Seq(writer.state().next_seq),
            spool_bytes: writer.bytes_after(delivered),
            last_observed: ObservedTime::from_unix_ns(writer.state().last_observed_ns),
        }
    }

    /// Takes a record in, with the cursors that become true with it. When this returns, the
    /// record is in the spool, but durable only after [`Source::flush`]. Waits while the spool
    /// is full.
    ///
    /// # Errors
    /// [`SourceError::PayloadTooLong`] and [`SourceError::FieldTooLong`] refuse one record; every other error is of the spool and
    /// the source must be stopped.
    pub async fn record(&self, draft: Draft, cursors: &[Cursor]) -> Result<Seq, SourceError> {
        self.wait_for_space().await;
        let seq = self.append(draft, cursors)?;
        self.inner.recorded.notify_one();
        Ok(seq)
    }

    async fn wait_for_space(&self) {
        let limit = self.inner.options.spool_bytes_max;
        let mut delivered = self.inner.delivered.subscribe();
        loop {
            let position = *delivered.borrow_and_update();
            if self.writer().bytes_after(position) < limit || delivered.changed().await.is_err() {
                return;
            }
        }
    }

    fn append(&self, draft: Draft, cursors: &[Cursor]) -> Result<Seq, SourceError> {
        if draft.payload.len() as u64 > PAYLOAD_BYTES_MAX {
            return Err(SourceError::PayloadTooLong {
                found: draft.payload.len() as u64,
                limit: PAYLOAD_BYTES_MAX,
            });
        }
        check_fields(&draft, cursors)?;
        let mut writer = self.writer();
        self.append_locked(&mut writer, draft, cursors)
    }

    fn append_locked(
        &self,
        writer: &mut SpoolWriter,
        draft: Draft,
        cursors: &[Cursor],
    ) -> Result<Seq, SourceError> {
        let state = writer.state();
        let seq = Seq(state.next_seq);
        // Observed times of a boot never run backwards, whatever the system's clock does: order
        // within a source is the order of its records.
        let now = self.inner.clock.now().0.max(state.last_observed_ns);
        let salt = self.inner.secret.salt(self.inner.boot, seq);
        let header = Header {
            source: self.id(),
            boot: self.inner.boot,
            seq,
            epoch: Epoch(state.epoch),
            kind: draft.kind,
            event_time: draft.event_time,
            observed_time: ObservedTime::from_unix_ns(now),
            origin_counter: draft.origin_counter,
            payload_len: draft.payload.len() as u64,
            payload_type: draft.payload_type,
            commitment: Commitment::new(&salt, &draft.payload),
        };
        writer.append(&header.encode(), &draft.payload, now, cursors)?;
        Ok(seq)
    }

    /// Seals the chain as it stands.
    ///
    /// # Errors
    /// Those of the spool.
    pub fn seal(&self) -> Result<Seq, SourceError> {
        let mut writer = self.writer();
        let state = writer.state();
        let time = ObservedTime::from_unix_ns(self.inner.clock.now().0.max(state.last_observed_ns));
        let seal = Seal::sign(
            &self.inner.key,
            self.inner.boot,
            Seq(state.next_seq),
            state.chain_head()?,
            time,
        );
        let draft = Draft {
            kind: Kind::SEAL,
            event_time: None,
            origin_counter: None,
            payload_type: PayloadType::CBOR,
            payload: seal.encode().into(),
        };
        let seq = self.append_locked(&mut writer, draft, &[])?;
        drop(writer);
        self.inner.recorded.notify_one();
        Ok(seq)
    }

    fn close(&self) -> Result<(), SourceError> {
        self.seal()?;
        let draft = Draft {
            kind: Kind::SOURCE_CLOSE,
            event_time: None,
            origin_counter: None,
            payload_type: PayloadType::BYTES,
            payload: Bytes::new(),
        };
        self.append(draft, &[])?;
        Ok(())
    }

    /// Makes all records taken so far durable.
    ///
    /// # Errors
    /// [`SourceError::Io`]: what was not durable before may be lost; stop the source.
    pub async fn flush(&self) -> Result<(), SourceError> {
        let source = self.clone();
        tokio::task::spawn_blocking(move || source.flush_blocking())
            .await
            .map_err(|_| SourceError::Stopped)??;
        Ok(())
    }

    fn flush_blocking(&self) -> Result<Position, SourceError> {
        let (file, end) = self.writer().begin_flush()?;
        if let Some(file) = file {
            // Outside the lock: recording goes on while the disk works.
            let synced = file.sync_data();
            self.writer().end_flush(end, synced)?;
        }
        Ok(end)
    }

    /// Waits until the ledger has acknowledged everything taken in before this call. Needs
    /// [`Source::run`] at work.
    ///
    /// # Errors
    /// [`SourceError::Stopped`] if the source ended before.
    pub async fn drained(&self) -> Result<(), SourceError> {
        let end = self.writer().end();
        self.inner
            .delivered
            .subscribe()
            .wait_for(|position| *position >= end)
            .await
            .map_err(|_| SourceError::Stopped)?;
        Ok(())
    }

    /// Delivers and seals until `shutdown` becomes true; then seals, closes the boot, delivers
    /// for at most `drain_max` more, and returns. Call it once.
    ///
    /// # Errors
    /// Those of the spool, and [`SourceError::Refused`] if the ledger will never take the
    /// records. What was not delivered stays in the spool for the next boot.
    pub async fn run(
        &self,
        deliver: &impl Deliver,
        shutdown: watch::Receiver<bool>,
        drain_max: Duration,
    ) -> Result<(), SourceError> {
        deliver::run(self, deliver, shutdown, drain_max).await
    }

    fn writer(&self) -> MutexGuard<'_, SpoolWriter> {
        // A panic while the lock was held can only have come between two whole updates of the
        // writer, which reports errors and never panics half-way.
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what the spool could take but never give back: delivery would end there for good.
fn check_fields(draft: &Draft, cursors: &[Cursor]) -> Result<(), SourceError> {
    let counter = draft.origin_counter.as_ref().map_or(0, String::len);
    let cursor = |c: &Cursor| c.key.len() + c.value.as_ref().map_or(0, String::len);
    let cursors = cursors.iter().map(cursor).sum();
    let fields = [
        ("origin counter", counter, ORIGIN_COUNTER_BYTES_MAX),
        ("cursors", cursors, CURSOR_BYTES_MAX),
    ];
    match fields.into_iter().find(|(_, found, limit)| found > limit) {
        None => Ok(()),
        Some((field, found, limit)) => {
            let (found, limit) = (found as u64, limit as u64);
            Err(SourceError::FieldTooLong { field, found, limit })
        }
    }
}

/// The secret of one epoch of the source with this key.
fn epoch_secret(key: &SourceKey, epoch: Epoch) -> EpochSecret {
    EpochSecret::from_bytes(key.derive(&format!("epoch/{}", epoch.0)))
}

#[cfg(test)]
mod tests;
