//! What the tests of the ledger share: sources that make records, and stores that fail.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, Header, Kind, ObservedTime,
    PayloadType, Seal, Seq, SourceId, SourceKey, Submission, SubmittedRecord,
};
use stele_store::{Clock, ManualClock, Store, UnixNanos};

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
