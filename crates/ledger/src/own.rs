//! The ledger as a source of its own: it records signed checkpoints among the records, so that
//! whoever holds the records holds the history of the tree heads too.
//!
//! It writes only while others append; a ledger at rest stays at rest. Each process that writes the
//! ledger is a boot of its own; one whose boot another process has taken goes on in a later one.

use std::time::Duration;

use bytes::Bytes;
use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, Header, Kind, ObservedTime,
    PayloadType, RecordError, Seal, Seq, SourceId, SourceKey, Submission, SubmittedRecord,
};
use stele_store::UnixNanos;

use crate::LogKey;
use crate::streams::Streams;

const EPOCH: Epoch = Epoch(0);

pub(crate) struct OwnSource {
    key: SourceKey,
    id: SourceId,
    secret: EpochSecret,
    origin: String,
    at: OwnPosition,
    every: Duration,
}

/// Where the source stands, and when its next record is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnPosition {
    boot: Boot,
    seq: Seq,
    head: ChainHead,
    due: Duration,
}

impl std::fmt::Debug for OwnSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnSource")
            .field("id", &self.id)
            .field("at", &self.at)
            .finish_non_exhaustive()
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
        let boot = next_boot(latest(&id), now);
        let head = ChainHead::start(&id, boot);
        let due = monotonic.saturating_add(every);
        let at = OwnPosition { boot, seq: Seq(0), head, due };
        Ok(Self { key, id, secret, origin, at, every })
    }

    pub(crate) fn is_due(&self, monotonic: Duration) -> bool {
        monotonic >= self.at.due
    }

    /// Where it stands, to go back to if what it submits next is not written.
    pub(crate) fn position(&self) -> OwnPosition {
        self.at
    }

    /// Takes back what was submitted since [`OwnSource::position`].
    pub(crate) fn take_back(&mut self, at: OwnPosition) {
        self.at = at;
    }

    /// Begins a new boot if the log does not continue this one: another process has taken it, or a
    /// later one, or a write of unknown outcome had succeeded after all.
    pub(crate) fn align(&mut self, streams: &Streams, now: UnixNanos) {
        let OwnPosition { boot, seq, head, due } = self.at;
        let latest = streams.latest_boot(&self.id);
        let continues = match streams.position(&(self.id, boot)) {
            Some(position) => position == (seq, head),
            None => seq == Seq(0) && latest.is_none_or(|latest| latest < boot),
        };
        if !continues {
            let boot = next_boot(latest.max(Some(boot)), now);
            self.at =
                OwnPosition { boot, seq: Seq(0), head: ChainHead::start(&self.id, boot), due };
        }
    }

    /// A submission with the last signed note and a seal; the first one also declares the source.
    pub(crate) fn submit(&mut self, note: &str, now: UnixNanos, monotonic: Duration) -> Submission {
        self.at.due = monotonic.saturating_add(self.every);
        let time = ObservedTime::from_unix_ns(now.0);
        let mut records = Vec::with_capacity(3);
        if self.at.seq == Seq(0) {
            let declaration = self.declaration().encode();
            records.push(self.record(Kind::SOURCE_OPEN, PayloadType::JSON, time, declaration));
        }
        let note = note.as_bytes().to_vec();
        records.push(self.record(Kind::CHECKPOINT, PayloadType::TEXT, time, note));
        let seal = Seal::sign(&self.key, self.at.boot, self.at.seq, self.at.head, time).encode();
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
        let salt = self.secret.salt(self.at.boot, self.at.seq);
        let header = Header {
            source: self.id,
            boot: self.at.boot,
            seq: self.at.seq,
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
        self.at.head = self.at.head.push(&header);
        self.at.seq = self.at.seq.next();
        SubmittedRecord { header: header.into(), payload: Bytes::from(payload) }
    }
}

/// Boots are times, but never earlier than the one before.
fn next_boot(latest: Option<Boot>, now: UnixNanos) -> Boot {
    let after = latest.map_or(0, |boot| boot.0.saturating_add(1));
    Boot(u64::try_from(now.0).unwrap_or(0).max(after))
}
