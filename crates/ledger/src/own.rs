//! The ledger as a source of its own: it records signed checkpoints among the records, so that
//! whoever holds the records holds the history of the tree heads too.
//!
//! It writes only while others append; a ledger at rest stays at rest.

use std::time::Duration;

use bytes::Bytes;
use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, Header, Kind, ObservedTime,
    PayloadType, RecordError, Seal, Seq, SourceId, SourceKey, Submission, SubmittedRecord,
};
use stele_store::UnixNanos;

use crate::LogKey;

const EPOCH: Epoch = Epoch(0);

pub(crate) struct OwnSource {
    key: SourceKey,
    id: SourceId,
    secret: EpochSecret,
    origin: String,
    boot: Boot,
    seq: Seq,
    head: ChainHead,
    every: Duration,
    due: Duration,
}

impl std::fmt::Debug for OwnSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnSource").field("id", &self.id).field("seq", &self.seq).finish()
    }
}

/// Id of the source as which the log of this key records its checkpoints.
///
/// # Errors
/// [`RecordError`] if the library refuses the seed.
pub fn ledger_source_id(key: &LogKey) -> Result<SourceId, RecordError> {
    Ok(key.source_key()?.source_id())
}

impl OwnSource {
    /// The source in a new boot after `latest`.
    pub(crate) fn new(
        key: &LogKey,
        latest: impl FnOnce(&SourceId) -> Option<Boot>,
        now: UnixNanos,
        monotonic: Duration,
        every: Duration,
    ) -> Result<Self, RecordError> {
        let origin = key.origin().to_owned();
        let key = key.source_key()?;
        let id = key.source_id();
        let secret = EpochSecret::from_bytes(key.derive("epoch 0"));
        let after = latest(&id).map_or(0, |boot| boot.0.saturating_add(1));
        let boot = Boot(u64::try_from(now.0).unwrap_or(0).max(after));
        let head = ChainHead::start(&id, boot);
        let due = monotonic.saturating_add(every);
        Ok(Self { key, id, secret, origin, boot, seq: Seq(0), head, every, due })
    }

    pub(crate) fn is_due(&self, monotonic: Duration) -> bool {
        monotonic >= self.due
    }

    /// A submission with the last signed note and a seal; the first one also declares the source.
    pub(crate) fn submit(&mut self, note: &str, now: UnixNanos, monotonic: Duration) -> Submission {
        self.due = monotonic.saturating_add(self.every);
        let time = ObservedTime::from_unix_ns(now.0);
        let mut records = Vec::with_capacity(3);
        if self.seq == Seq(0) {
            let declaration = self.declaration().encode();
            records.push(self.record(Kind::SOURCE_OPEN, PayloadType::JSON, time, declaration));
        }
        let note = note.as_bytes().to_vec();
        records.push(self.record(Kind::CHECKPOINT, PayloadType::TEXT, time, note));
        let seal = Seal::sign(&self.key, self.boot, self.seq, self.head, time).encode();
        records.push(self.record(Kind::SEAL, PayloadType::CBOR, time, seal));
        Submission { epoch: EPOCH, secret: self.secret.clone(), records }
    }

    fn declaration(&self) -> Declaration {
        Declaration {
            name: format!("ledger/{}", self.origin),
            attests: "which tree heads the ledger had signed; written only while others append"
                .to_owned(),
            public_key: hex::encode(self.key.public().as_bytes()),
            imported: false,
            heartbeat_s: self.every.as_secs(),
            software: concat!("stele ", env!("CARGO_PKG_VERSION")).to_owned(),
            previous: None,
        }
    }

    fn record(
        &mut self,
        kind: Kind,
        payload_type: PayloadType,
        observed_time: ObservedTime,
        payload: Vec<u8>,
    ) -> SubmittedRecord {
        let salt = self.secret.salt(self.boot, self.seq);
        let header = Header {
            source: self.id,
            boot: self.boot,
            seq: self.seq,
            epoch: EPOCH,
            kind,
            event_time: None,
            observed_time,
            origin_counter: None,
            payload_len: payload.len() as u64,
            payload_type,
            commitment: Commitment::new(&salt, &payload),
        }
        .encode();
        self.head = self.head.push(&header);
        self.seq = self.seq.next();
        SubmittedRecord { header: header.into(), payload: Bytes::from(payload) }
    }
}
