//! Bare headers: record headers without their commitments, and how they become whole again.
//!
//! A commitment is a function of the epoch's secret, the record's place in its stream and the payload.
//! Where a block holds payloads in clear and its object holds the secrets, storing the commitments as
//! well tells nothing new, and no compressor makes them smaller. What comes back is hashed like any
//! header: the tree decides whether it is the one that was written.
//!
//! Not here: how a block is laid out (`block`), and which blocks are bare (`build`).
//! Invariant: what [`Opener::header`] gives is a canonical header whose commitment fits the payload.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use stele_record::{Commitment, Epoch, Header, Salts, SourceId};

use super::head::{Head, Secret};
use super::{CLEAR, Digest};

/// Bytes of the commitment: the last ones of a header.
const COMMITMENT_BYTES: usize = size_of::<Digest>();

/// What makes the salts of each source's epochs, as far as secrets are in clear.
#[derive(Debug, Default)]
pub(crate) struct SaltTable(HashMap<(SourceId, Epoch), Salts>);

impl SaltTable {
    /// Those of an object.
    pub(crate) fn of(head: &Head) -> Self {
        let mut table = Self::default();
        for secret in &head.secrets {
            table.add(head.sources[secret.source], secret);
        }
        table
    }

    pub(crate) fn add(&mut self, source: SourceId, entry: &Secret) {
        if entry.data_key == CLEAR {
            self.0.insert((source, entry.epoch), entry.secret.salts());
        }
    }

    pub(crate) fn get(&self, source: &SourceId, epoch: Epoch) -> Option<&Salts> {
        self.0.get(&(*source, epoch))
    }
}

/// What headers of a bare block are made whole with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opener<'a> {
    /// The raw payloads part.
    pub(crate) payloads: &'a Bytes,
    pub(crate) salts: &'a SaltTable,
}

impl Opener<'_> {
    /// The whole header; `None` if the bytes are no bare header, or payload or secret are missing.
    pub(super) fn header(&self, bare: &[u8], payload: &Range<u64>) -> Option<Bytes> {
        let (mut bytes, header) = read_bare(bare)?;
        let at = |offset: u64| usize::try_from(offset).ok();
        let payload = self.payloads.get(at(payload.start)?..at(payload.end)?)?;
        if header.payload_len != payload.len() as u64 {
            return None;
        }
        let salt = self.salts.get(&header.source, header.epoch)?.salt(header.boot, header.seq);
        let commitment = Commitment::new(&salt, payload);
        bytes[bare.len()..].copy_from_slice(commitment.as_bytes());
        Some(bytes.into())
    }
}

/// The header without its commitment.
pub(super) fn strip(header: &[u8]) -> Option<&[u8]> {
    header.split_last_chunk::<COMMITMENT_BYTES>().map(|(bare, _)| bare)
}

/// The payload length that a bare header states.
pub(super) fn payload_len(bare: &[u8]) -> Option<u64> {
    read_bare(bare).map(|(_, header)| header.payload_len)
}

/// What a bare header says, and its bytes with room for the commitment.
fn read_bare(bare: &[u8]) -> Option<(Vec<u8>, Header)> {
    let mut bytes = Vec::with_capacity(bare.len() + COMMITMENT_BYTES);
    bytes.extend_from_slice(bare);
    bytes.resize(bare.len() + COMMITMENT_BYTES, 0);
    let header = Header::decode(&bytes).ok()?;
    Some((bytes, header))
}
