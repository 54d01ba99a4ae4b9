//! The chain over a source's records and the seal that signs its head.
//!
//! `head(0) = SHA-256("stele/chain/v1\0" ‖ source ‖ boot)` and
//! `head(n+1) = SHA-256(0x02 ‖ head(n) ‖ SHA-256(0x00 ‖ record n))`, where the inner hash is the
//! record's leaf hash (RFC 6962, 2.1), so that somebody who holds leaf hashes alone can follow it.
//! Heads are recomputed, never stored beside the records. A [`Seal`] is itself the payload of a
//! record of the same chain and covers all records before it.

use std::fmt;

use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};

use crate::{Boot, ObservedTime, RecordError, Seq, SourceId, SourceKey, SourcePublicKey};

/// Head of a source's chain after some number of records.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHead([u8; 32]);

impl ChainHead {
    /// The head before the first record of a boot.
    pub fn start(source: &SourceId, boot: Boot) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"stele/chain/v1\0");
        hash.update(source.as_bytes());
        hash.update(boot.0.to_be_bytes());
        Self(hash.finalize().into())
    }

    /// The head after one more record, given its encoded header.
    #[must_use]
    pub fn push(self, record: &[u8]) -> Self {
        let mut leaf = Sha256::new();
        leaf.update([0x00]);
        leaf.update(record);
        self.push_leaf_hash(&leaf.finalize().into())
    }

    /// The head after one more record, given its leaf hash.
    #[must_use]
    pub fn push_leaf_hash(self, leaf_hash: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update([0x02]);
        hash.update(self.0);
        hash.update(leaf_hash);
        Self(hash.finalize().into())
    }

    /// The head with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHead({})", hex::encode(self.0))
    }
}

/// A source's signature over the head of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Records covered: those with a smaller sequence number.
    pub next_seq: Seq,
    /// The chain's head after them.
    pub head: ChainHead,
    /// When the seal was made, by the source's clock.
    pub time: ObservedTime,
    /// Ed25519 over [`Seal::message`].
    pub signature: [u8; 64],
}

/// Why a seal does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The signature is not the key's: evidence of tampering or of a foreign key.
    #[error("the seal's signature does not verify")]
    Signature,
    /// Signed, but over another chain than the records at hand: evidence that records were
    /// altered, left out or put in.
    #[error("the seal is over another chain head than the records give")]
    Head,
    /// Signed for another number of records than stand before it.
    #[error("the seal covers another number of records than stand before it")]
    Position,
}

impl Seal {
    /// Seals the chain of (`key`, `boot`) that has `head` after `next_seq` records.
    pub fn sign(
        key: &SourceKey,
        boot: Boot,
        next_seq: Seq,
        head: ChainHead,
        time: ObservedTime,
    ) -> Self {
        let message = Self::message(&key.source_id(), boot, next_seq, &head, time);
        Self { next_seq, head, time, signature: key.sign(&message) }
    }

    /// The signed bytes: `"stele/seal/v1\0" ‖ source ‖ boot ‖ next_seq ‖ head ‖ time`, integers
    /// big-endian.
    pub fn message(
        source: &SourceId,
        boot: Boot,
        next_seq: Seq,
        head: &ChainHead,
        time: ObservedTime,
    ) -> Vec<u8> {
        let mut message = Vec::with_capacity(102);
        message.extend_from_slice(b"stele/seal/v1\0");
        message.extend_from_slice(source.as_bytes());
        message.extend_from_slice(&boot.0.to_be_bytes());
        message.extend_from_slice(&next_seq.0.to_be_bytes());
        message.extend_from_slice(&head.0);
        message.extend_from_slice(&time.unix_ns().to_be_bytes());
        message
    }

    /// Checks the seal that stands at `seq`, where the records before it give `head`.
    ///
    /// # Errors
    /// A [`SealError`]; each is evidence, none can be repaired by trying again.
    pub fn verify(
        &self,
        key: &SourcePublicKey,
        source: &SourceId,
        boot: Boot,
        seq: Seq,
        head: &ChainHead,
    ) -> Result<(), SealError> {
        let message = Self::message(source, boot, self.next_seq, &self.head, self.time);
        if !key.verifies(&message, &self.signature) {
            return Err(SealError::Signature);
        }
        if self.next_seq != seq {
            return Err(SealError::Position);
        }
        if self.head != *head {
            return Err(SealError::Head);
        }
        Ok(())
    }

    /// The payload of a seal record: a CBOR map, keys 1 `next_seq`, 2 `head`, 3 `time`,
    /// 4 `signature`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        let mut e = Encoder::new(&mut out);
        let done = e
            .map(4)
            .and_then(|e| e.u8(1)?.u64(self.next_seq.0))
            .and_then(|e| e.u8(2)?.bytes(&self.head.0))
            .and_then(|e| e.u8(3)?.i64(self.time.unix_ns()))
            .and_then(|e| e.u8(4)?.bytes(&self.signature));
        done.expect("invariant: writing to a vector does not fail");
        out
    }

    /// Reads what [`Seal::encode`] wrote.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let seal = Self::read(&mut Decoder::new(bytes))
            .map_err(|e| RecordError::malformed("seal", e.to_string()))?;
        if seal.encode() != bytes {
            return Err(RecordError::malformed("seal", "the encoding is not canonical"));
        }
        Ok(seal)
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, minicbor::decode::Error> {
        let wrong = |_| minicbor::decode::Error::message("a byte string has the wrong length");
        d.map()?;
        d.u8()?;
        let next_seq = Seq(d.u64()?);
        d.u8()?;
        let head = ChainHead(d.bytes()?.try_into().map_err(wrong)?);
        d.u8()?;
        let time = ObservedTime::from_unix_ns(d.i64()?);
        d.u8()?;
        let signature = d.bytes()?.try_into().map_err(wrong)?;
        Ok(Self { next_seq, head, time, signature })
    }
}
