//! A source that makes records of noise: a whole one, opened, sealed and closed, so that what a
//! benchmark leaves behind is a ledger like any other.

use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, Header, Kind, ObservedTime,
    PayloadType, Salts, Seal, Seq, SourceKey, Submission, SubmittedRecord,
};
use stele_store::random_bytes;

use super::SECONDS_MAX;
use crate::error::CliError;

const EPOCH: Epoch = Epoch(0);

/// What people read in the ledger about such a source.
const ATTESTS: &str = "nothing: its records are noise, made to measure the ledger";

/// One writer's source.
pub(super) struct BenchSource {
    key: SourceKey,
    id: stele_record::SourceId,
    secret: EpochSecret,
    salts: Salts,
    boot: Boot,
    next: Seq,
    head: ChainHead,
    last_observed_ns: i64,
    noise: Vec<u8>,
}

impl BenchSource {
    /// A new source whose payloads have this length.
    pub(super) fn new(payload: usize, now_ns: i64) -> Result<Self, CliError> {
        let key = SourceKey::from_seed(random_bytes()).map_err(CliError::failed)?;
        let secret = EpochSecret::from_bytes(key.derive("epoch/0"));
        let (id, boot) = (key.source_id(), Boot(now_ns.unsigned_abs()));
        Ok(Self {
            key,
            id,
            salts: secret.salts(),
            secret,
            boot,
            next: Seq(0),
            head: ChainHead::start(&id, boot),
            last_observed_ns: now_ns,
            noise: std::iter::repeat_with(random_bytes::<64>).flatten().take(payload).collect(),
        })
    }

    /// Its first record: who it is.
    pub(super) fn open(&mut self, now_ns: i64) -> Submission {
        let declaration = Declaration {
            name: "stele bench".to_owned(),
            attests: ATTESTS.to_owned(),
            public_key: hex::encode(self.key.public().as_bytes()),
            imported: false,
            heartbeat_s: SECONDS_MAX,
            software: concat!("stele ", env!("CARGO_PKG_VERSION")).to_owned(),
            previous: None,
        };
        let record =
            self.record(Kind::SOURCE_OPEN, PayloadType::JSON, declaration.encode(), now_ns);
        self.submission(vec![record])
    }

    /// The next records of noise.
    pub(super) fn events(&mut self, count: usize, now_ns: i64) -> Submission {
        let records = (0..count).map(|_| {
            let payload = scrambled(&self.noise, self.next.0);
            self.record(Kind::EVENT, PayloadType::BYTES, payload, now_ns)
        });
        let records = records.collect();
        self.submission(records)
    }

    /// Its last records: the seal over all of them, and the end.
    pub(super) fn close(&mut self, now_ns: i64) -> Submission {
        let time = ObservedTime::from_unix_ns(now_ns.max(self.last_observed_ns));
        let seal = Seal::sign(&self.key, self.boot, self.next, self.head, time);
        let seal = self.record(Kind::SEAL, PayloadType::CBOR, seal.encode(), now_ns);
        let end = self.record(Kind::SOURCE_CLOSE, PayloadType::BYTES, Vec::new(), now_ns);
        self.submission(vec![seal, end])
    }

    fn submission(&self, records: Vec<SubmittedRecord>) -> Submission {
        Submission { epoch: EPOCH, secret: self.secret.clone(), records }
    }

    fn record(
        &mut self,
        kind: Kind,
        payload_type: PayloadType,
        payload: Vec<u8>,
        now_ns: i64,
    ) -> SubmittedRecord {
        self.last_observed_ns = now_ns.max(self.last_observed_ns);
        let salt = self.salts.salt(self.boot, self.next);
        let header = Header {
            source: self.id,
            boot: self.boot,
            seq: self.next,
            epoch: EPOCH,
            kind,
            event_time: None,
            observed_time: ObservedTime::from_unix_ns(self.last_observed_ns),
            origin_counter: None,
            payload_len: payload.len() as u64,
            payload_type,
            commitment: Commitment::new(&salt, &payload),
        };
        let header = header.encode();
        self.head = self.head.push(&header);
        self.next = self.next.next();
        SubmittedRecord { header: header.into(), payload: payload.into() }
    }
}

/// Other noise for each record, without asking the system for all of it.
fn scrambled(noise: &[u8], seq: u64) -> Vec<u8> {
    let mut state = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = noise.to_vec();
    for chunk in out.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.iter_mut().zip(state.to_le_bytes()).for_each(|(byte, other)| *byte ^= other);
    }
    out
}
