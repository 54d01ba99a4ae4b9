//! Who wrote a record and where in its stream it stands: source id, boot, sequence number, and the
//! Ed25519 key that a source seals with.
//!
//! Not here: where a key is kept, or when a seal is made (crate `source`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use crate::RecordError;

/// A source: SHA-256 of its first public key (32 raw bytes of Ed25519).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId([u8; 32]);

impl SourceId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceId({self})")
    }
}

impl FromStr for SourceId {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| RecordError::malformed("source id", "expected 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

/// One life of a source between start and stop: nanoseconds since the Unix epoch at its start by
/// the source's clock, made larger where needed so that later boots have larger numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub u64);

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of a record in its boot, from 0, without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source's public key, Ed25519 (RFC 8032).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePublicKey([u8; 32]);

impl SourcePublicKey {
    /// The key with these raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id of a source whose first key this is.
    pub fn source_id(&self) -> SourceId {
        SourceId(Sha256::digest(self.0).into())
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// A source's private key. Its seed is never printed.
pub struct SourceKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceKey({})", self.source_id())
    }
}

impl SourceKey {
    /// The key of this seed (RFC 8032, 5.1.5).
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if the library refuses the seed; make another.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, RecordError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|e| RecordError::malformed("source key", e.to_string()))?;
        Ok(Self { seed, pair })
    }

    /// The public half.
    pub fn public(&self) -> SourcePublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        SourcePublicKey(bytes)
    }

    /// The id of the source that has this as its first key.
    pub fn source_id(&self) -> SourceId {
        self.public().source_id()
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }

    /// A secret for one `purpose`, derived from the seed by HKDF-SHA-256; equal for equal
    /// purposes, and tells nothing about the seed or about another purpose.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        crate::commit::hkdf_sha256(&self.seed, &[b"stele/derive/v1\0", purpose.as_bytes()])
    }
}
