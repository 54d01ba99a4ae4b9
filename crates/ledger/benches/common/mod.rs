//! What the benchmarks share: sources that make records, and what a directory takes of the disk.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use stele_record::{
    Boot, Commitment, Epoch, EpochSecret, Header, Kind, ObservedTime, PayloadType, Salts, Seq,
    SourceId, SourceKey, Submission, SubmittedRecord,
};
use stele_store::random_bytes;

pub(crate) type Fault = Box<dyn std::error::Error>;

/// The boot of every source here.
pub(crate) const BOOT: Boot = Boot(1);

/// A source that makes records of noise.
pub(crate) struct Stream {
    source: SourceId,
    secret: EpochSecret,
    salts: Salts,
    noise: Vec<u8>,
    next: u64,
}

impl Stream {
    /// Source `number`, with payloads of this length.
    pub(crate) fn new(number: u64, payload: usize) -> Result<Self, Fault> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let secret = EpochSecret::from_bytes(seed);
        Ok(Self {
            source: SourceKey::from_seed(seed)?.source_id(),
            salts: secret.salts(),
            secret,
            noise: std::iter::repeat_with(random_bytes::<64>).flatten().take(payload).collect(),
            next: 0,
        })
    }

    /// The next records.
    pub(crate) fn submission(&mut self, records: usize) -> Submission {
        let first = self.next;
        let noise = (first..first + records as u64).map(|seq| scrambled(&self.noise, seq).into());
        let payloads: Vec<Bytes> = noise.collect();
        self.submission_of(payloads)
    }

    /// The next records, with these payloads.
    pub(crate) fn submission_of(&mut self, payloads: Vec<Bytes>) -> Submission {
        let records = payloads.into_iter().map(|payload| self.record(payload)).collect();
        Submission { epoch: Epoch(0), secret: self.secret.clone(), records }
    }

    fn record(&mut self, payload: Bytes) -> SubmittedRecord {
        let seq = Seq(self.next);
        self.next += 1;
        let header = Header {
            source: self.source,
            boot: BOOT,
            seq,
            epoch: Epoch(0),
            kind: Kind::EVENT,
            event_time: None,
            observed_time: ObservedTime::from_unix_ns(1_795_460_667_690_613_574),
            origin_counter: None,
            payload_len: payload.len() as u64,
            payload_type: PayloadType::BYTES,
            commitment: Commitment::new(&self.salts.salt(BOOT, seq), &payload),
        };
        SubmittedRecord { header: header.encode().into(), payload }
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

/// What the files below a directory take of the disk.
pub(crate) fn stored_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => stored_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
