//! One boot of the server's own source: the chain, and the records that would extend it.

use bytes::Bytes;
use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, EventTime, Header, Kind,
    ObservedTime, PayloadType, Salt, Seal, Seq, SourceId, SourceKey, Submission, SubmittedRecord,
};

use super::EventDraft;
use crate::limits::APPEND_HEARTBEAT;

/// All boots use one epoch: the salt depends on the boot as well.
const EPOCH: Epoch = Epoch(0);

/// Who the source is.
pub(super) struct Identity {
    key: SourceKey,
    secret: EpochSecret,
    name: String,
}

impl Identity {
    pub(super) fn new(key: SourceKey, name: String) -> Self {
        let secret = EpochSecret::from_bytes(key.derive("epoch/0"));
        Self { key, secret, name }
    }

    pub(super) fn source(&self) -> SourceId {
        self.key.source_id()
    }
}

/// Where a boot stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    boot: Boot,
    next_seq: Seq,
    head: ChainHead,
    last_observed_ns: i64,
}

/// Records that would extend a boot.
pub(super) struct Batch {
    life: Life,
    records: Vec<SubmittedRecord>,
    salts: Vec<Salt>,
}

impl Batch {
    pub(super) fn of(life: &Life) -> Self {
        Self { life: *life, records: Vec::new(), salts: Vec::new() }
    }

    /// Begins a boot behind the one that the ledger knows: its number and its next sequence
    /// number.
    pub(super) fn open(identity: &Identity, known: Option<(Boot, Seq)>, now_ns: i64) -> Self {
        let after = known.map_or(0, |(boot, _)| boot.0 + 1);
        let boot = Boot(after.max(now_ns.unsigned_abs()));
        let head = ChainHead::start(&identity.source(), boot);
        let mut batch = Self::of(&Life { boot, next_seq: Seq(0), head, last_observed_ns: now_ns });
        let declaration = Declaration {
            name: identity.name.clone(),
            attests:
                "that a caller with a token for it appended the event; what the event says is \
                      the caller's claim"
                    .to_owned(),
            public_key: hex::encode(identity.key.public().as_bytes()),
            imported: false,
            heartbeat_s: APPEND_HEARTBEAT.as_secs(),
            software: concat!("stele ", env!("CARGO_PKG_VERSION")).to_owned(),
            previous: None,
        };
        let payload = declaration.encode().into();
        batch.push(identity, Kind::SOURCE_OPEN, None, PayloadType::JSON, payload, now_ns);
        batch
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn event(&mut self, identity: &Identity, draft: EventDraft, now_ns: i64) {
        let EventDraft { event_time, payload_type, payload } = draft;
        self.push(identity, Kind::EVENT, event_time, payload_type, payload, now_ns);
    }

    pub(super) fn seal(&mut self, identity: &Identity, now_ns: i64) {
        let Life { boot, next_seq, head, last_observed_ns } = self.life;
        let time = ObservedTime::from_unix_ns(now_ns.max(last_observed_ns));
        let seal = Seal::sign(&identity.key, boot, next_seq, head, time);
        self.push(identity, Kind::SEAL, None, PayloadType::CBOR, seal.encode().into(), now_ns);
    }

    pub(super) fn close(&mut self, identity: &Identity, now_ns: i64) {
        let kind = Kind::SOURCE_CLOSE;
        self.push(identity, kind, None, PayloadType::BYTES, Bytes::new(), now_ns);
    }

    fn push(
        &mut self,
        identity: &Identity,
        kind: Kind,
        event_time: Option<EventTime>,
        payload_type: PayloadType,
        payload: Bytes,
        now_ns: i64,
    ) {
        let life = &mut self.life;
        let observed_ns = now_ns.max(life.last_observed_ns);
        let salt = identity.secret.salt(life.boot, life.next_seq);
        let header = Header {
            source: identity.source(),
            boot: life.boot,
            seq: life.next_seq,
            epoch: EPOCH,
            kind,
            event_time,
            observed_time: ObservedTime::from_unix_ns(observed_ns),
            origin_counter: None,
            payload_len: payload.len() as u64,
            payload_type,
            commitment: Commitment::new(&salt, &payload),
        };
        let header = header.encode();
        life.head = life.head.push(&header);
        life.next_seq = life.next_seq.next();
        life.last_observed_ns = observed_ns;
        self.records.push(SubmittedRecord { header: header.into(), payload });
        self.salts.push(salt);
    }

    /// The boot after these records, the submission, and the salt of each record.
    pub(super) fn finish(self, identity: &Identity) -> (Life, Submission, Vec<Salt>) {
        let secret = identity.secret.clone();
        (self.life, Submission { epoch: EPOCH, secret, records: self.records }, self.salts)
    }
}
