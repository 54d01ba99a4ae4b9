//! The ledger as a source of its own: it records signed checkpoints among the records, so that
//! whoever holds the records holds the history of the tree heads too.
//!
//! It writes only while others append; a ledger at rest stays at rest. Each process that writes the
//! ledger is a boot of its own; one whose boot another process has taken goes on in a later one.

use std::time::Duration;

use bytes::Bytes;
use stele_merkle::KeyRotation;
use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, Header, Kind, ObservedTime,
    PayloadType, RecordError, Seal, Seq, SourceId, SourceKey, Submission, SubmittedRecord,
};
use stele_store::UnixNanos;

use crate::rotation::ROTATION_BOOT;
use crate::streams::Streams;
use crate::{LogKey, SignedCheckpoint};

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

    /// The last records of this key's source: that the log's keys are replaced by those of `next`.
    ///
    /// # Errors
    /// What went wrong; nothing was signed then that anybody could use.
    pub(crate) fn rotation(
        key: &LogKey,
        next: &LogKey,
        latest: &SignedCheckpoint,
        now: UnixNanos,
    ) -> Result<Submission, String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let mut own = Self::new(key, |_| None, now, Duration::ZERO, Duration::ZERO)
            .map_err(|e| failed(&e))?;
        own.at.boot = ROTATION_BOOT;
        own.at.head = ChainHead::start(&own.id, ROTATION_BOOT);
        let (old, new) =
            (key.signer().map_err(|e| failed(&e))?, next.signer().map_err(|e| failed(&e))?);
        let next_source = ledger_source_id(next).map_err(|e| failed(&e))?;
        let rotation = KeyRotation {
            origin: own.origin.clone(),
            size: latest.size,
            root: latest.root,
            time_s: now.unix_seconds(),
            source: *own.id.as_bytes(),
            next_source: *next_source.as_bytes(),
            old: old.verifier_keys(),
            new: new.verifier_keys(),
        };
        let signed = rotation.sign(&old, &new).map_err(|e| failed(&e))?;
        let time = ObservedTime::from_unix_ns(now.0);
        let declaration = own.declaration().encode();
        let records = vec![
            own.record(Kind::SOURCE_OPEN, PayloadType::JSON, time, declaration),
            own.record(Kind::KEY_ROTATION, PayloadType::TEXT, time, signed.into_bytes()),
            own.seal(time),
        ];
        Ok(Submission { epoch: EPOCH, secret: own.secret, records })
    }

    /// Whether the log has the record that replaces this source's key: then it must sign nothing.
    pub(crate) fn is_retired(&self, streams: &Streams) -> bool {
        streams.position(&(self.id, ROTATION_BOOT)).is_some()
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
        records.push(self.seal(time));
        Submission { epoch: EPOCH, secret: self.secret.clone(), records }
    }

    fn seal(&mut self, time: ObservedTime) -> SubmittedRecord {
        let OwnPosition { boot, seq, head, .. } = self.at;
        let seal = Seal::sign(&self.key, boot, seq, head, time).encode();
        self.record(Kind::SEAL, PayloadType::CBOR, time, seal)
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
