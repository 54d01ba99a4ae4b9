//! What the tests of the ledger share: sources that make records, and stores that fail.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, Header, Kind, ObservedTime,
    PayloadType, Seal, Seq, SourceId, SourceKey, Submission, SubmittedRecord,
};
use stele_store::{Clock, ManualClock, MemoryStore, ObjectName, Put, Store, StoreError, UnixNanos};

pub(crate) fn key() -> LogKey {
    LogKey::from_seeds("example.org/test", [1; 32], [2; 32]).unwrap()
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)))
}

/// Small packs and no records of the ledger's own.
pub(crate) fn options(pack_records: u64) -> LedgerOptions {
    LedgerOptions {
        pack_records,
        checkpoint_record_pause: Duration::MAX,
        append_wait: Duration::from_millis(200),
        ..LedgerOptions::default()
    }
}

pub(crate) fn open(store: &Arc<dyn Store>, pack_records: u64) -> Ledger {
    Ledger::open(Arc::clone(store), &key(), clock() as Arc<dyn Clock>, options(pack_records))
        .unwrap()
}

pub(crate) fn create(store: &Arc<dyn Store>, pack_records: u64) -> Ledger {
    Ledger::create(Arc::clone(store), &key(), clock(), options(pack_records)).unwrap()
}

/// Waits until nothing more is to be packed.
pub(crate) fn wait_for_packs(store: &dyn Store, count: usize) {
    for _ in 0..2000 {
        if store.list("packs/", None).unwrap().len() >= count {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{count} packs were not made in time");
}

/// A source that makes records in order.
pub(crate) struct Source {
    pub(crate) key: SourceKey,
    pub(crate) id: SourceId,
    pub(crate) boot: Boot,
    pub(crate) seq: Seq,
    pub(crate) head: ChainHead,
    pub(crate) epoch: Epoch,
}

impl Source {
    pub(crate) fn new(seed: u8, boot: u64) -> Self {
        let key = SourceKey::from_seed([seed; 32]).unwrap();
        let id = key.source_id();
        let boot = Boot(boot);
        Self { head: ChainHead::start(&id, boot), key, id, boot, seq: Seq(0), epoch: Epoch(1) }
    }

    pub(crate) fn secret(&self) -> EpochSecret {
        EpochSecret::from_bytes(self.key.derive(&format!("epoch {}", self.epoch.0)))
    }

    pub(crate) fn record(&mut self, kind: Kind, payload: impl Into<Bytes>) -> SubmittedRecord {
        let payload = payload.into();
        let salt = self.secret().salt(self.boot, self.seq);
        let header = Header {
            source: self.id,
            boot: self.boot,
            seq: self.seq,
            epoch: self.epoch,
            kind,
            event_time: None,
            observed_time: ObservedTime::from_unix_ns(1_700_000_000_000_000_000),
            origin_counter: None,
            payload_len: payload.len() as u64,
            payload_type: PayloadType::BYTES,
            commitment: Commitment::new(&salt, &payload),
        }
        .encode();
        self.head = self.head.push(&header);
        self.seq = self.seq.next();
        SubmittedRecord { header: header.into(), payload }
    }

    pub(crate) fn submission(&self, records: Vec<SubmittedRecord>) -> Submission {
        Submission { epoch: self.epoch, secret: self.secret(), records }
    }

    /// `count` events with payloads of about `bytes` bytes that differ.
    pub(crate) fn events(&mut self, count: usize, bytes: usize) -> Submission {
        let records = (0..count).map(|_| {
            let text = format!("{} {} ", self.id, self.seq);
            let payload: Vec<u8> = text.bytes().cycle().take(bytes).collect();
            self.record(Kind::EVENT, payload)
        });
        let records = records.collect();
        self.submission(records)
    }

    pub(crate) fn open_record(&mut self) -> SubmittedRecord {
        let declaration = Declaration {
            name: "test".to_owned(),
            attests: "nothing".to_owned(),
            public_key: hex::encode(self.key.public().as_bytes()),
            imported: false,
            heartbeat_s: 10,
            software: "test".to_owned(),
            previous: None,
        };
        self.record(Kind::SOURCE_OPEN, declaration.encode())
    }

    pub(crate) fn seal_record(&mut self) -> SubmittedRecord {
        let time = ObservedTime::from_unix_ns(1_700_000_000_000_000_000);
        let seal = Seal::sign(&self.key, self.boot, self.seq, self.head, time);
        self.record(Kind::SEAL, seal.encode())
    }
}

/// What a store is asked to change.
pub(crate) enum Change<'a> {
    Create(&'a ObjectName, &'a [&'a [u8]]),
    MakeDurable(&'a ObjectName),
    Retire(&'a ObjectName),
    Hint(&'a ObjectName, &'a [u8]),
}

impl Change<'_> {
    /// Makes it; what is no create gives [`Put::Created`] too.
    pub(crate) fn make(&self, store: &dyn Store) -> Result<Put, StoreError> {
        match *self {
            Self::Create(name, parts) => return store.put_new(name, parts),
            Self::MakeDurable(name) => store.make_durable(name)?,
            Self::Retire(name) => store.retire(name)?,
            Self::Hint(name, bytes) => store.put_hint(name, bytes)?,
        }
        Ok(Put::Created)
    }

    /// The object that is to be created in a directory.
    pub(crate) fn created_in(&self, directory: &str) -> Option<(&ObjectName, &[&[u8]])> {
        let Self::Create(name, parts) = *self else { return None };
        name.number_in(directory).map(|_| (name, parts))
    }
}

type Hook = dyn Fn(&dyn Store, &Change<'_>) -> Result<Put, StoreError> + Send + Sync;

/// A store whose changes a test has in its hands; what is read is read.
pub(crate) struct HookedStore {
    inner: Arc<dyn Store>,
    hook: Box<Hook>,
}

impl HookedStore {
    /// `hook` is called instead of each change.
    pub(crate) fn shared(
        inner: &Arc<dyn Store>,
        hook: impl Fn(&dyn Store, &Change<'_>) -> Result<Put, StoreError> + Send + Sync + 'static,
    ) -> Arc<dyn Store> {
        Arc::new(Self { inner: Arc::clone(inner), hook: Box::new(hook) })
    }

    fn change(&self, change: &Change<'_>) -> Result<Put, StoreError> {
        (self.hook)(&*self.inner, change)
    }
}

impl Store for HookedStore {
    fn put_new(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.change(&Change::Create(name, parts))
    }
    fn make_durable(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.change(&Change::MakeDurable(name)).map(drop)
    }
    fn read(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        self.inner.read(name)
    }
    fn read_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.read_range(name, range)
    }
    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.inner.size(name)
    }
    fn list(&self, p: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectName>, StoreError> {
        self.inner.list(p, after)
    }
    fn retire(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.change(&Change::Retire(name)).map(drop)
    }
    fn put_hint(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.change(&Change::Hint(name, bytes)).map(drop)
    }
    fn read_hint(&self, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        self.inner.read_hint(name)
    }
}

pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

pub(crate) fn io() -> StoreError {
    StoreError::Io { what: "injected".into(), error: std::io::Error::other("injected") }
}

pub(crate) fn fatal() -> StoreError {
    StoreError::Fatal { what: "injected".into(), error: std::io::Error::other("injected") }
}

/// A small generator; the seed decides everything.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// As many seeds, or the one in `STELE_SEED`.
    pub(crate) fn seeds(count: u64) -> Vec<u64> {
        let given = std::env::var("STELE_SEED").ok().and_then(|seed| seed.parse().ok());
        given.map_or_else(|| (0..count).collect(), |seed| vec![seed])
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
