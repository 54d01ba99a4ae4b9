//! Commitments: how a header binds a payload without revealing it.
//!
//! `commitment = HMAC-SHA-256(salt, payload)` (RFC 2104) and
//! `salt = HKDF-SHA-256(epoch secret, "stele/salt/v1" ‖ boot ‖ seq)` (RFC 5869, no extract salt).
//! One secret serves a source for an epoch; disclosing one record discloses one salt.

use std::fmt;
use std::sync::LazyLock;

use hkdf::{Hkdf, HkdfExtract};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Boot, Seq};

/// HMAC-SHA-256 of a payload under its record's salt.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// The commitment to `payload` under `salt`.
    pub fn new(salt: &Salt, payload: &[u8]) -> Self {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&salt.0)
            .expect("invariant: HMAC takes a key of any length");
        mac.update(payload);
        Self(mac.finalize().into_bytes().into())
    }

    /// The commitment with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({})", hex::encode(self.0))
    }
}

/// Number of a source's secret: it changes when the source takes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// The secret that a source's salts of one epoch come from. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochSecret([u8; 32]);

impl EpochSecret {
    /// The secret with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes; they belong beside the tree, never into it.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The salt of one record. For several, [`EpochSecret::salts`] costs less.
    pub fn salt(&self, boot: Boot, seq: Seq) -> Salt {
        self.salts().salt(boot, seq)
    }

    /// What makes the salts of many records.
    pub fn salts(&self) -> Salts {
        Salts(extract(&self.0))
    }
}

/// Makes the salts of one epoch: what does not depend on the record was hashed once, which leaves
/// a quarter of the work for each. As secret as the secret itself. Never printed.
#[derive(Clone)]
pub struct Salts(Hkdf<Sha256>);

impl Salts {
    /// The salt of one record.
    pub fn salt(&self, boot: Boot, seq: Seq) -> Salt {
        let info: [&[u8]; 3] = [b"stele/salt/v1\0", &boot.0.to_be_bytes(), &seq.0.to_be_bytes()];
        Salt(expand(&self.0, &info))
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(..)")
    }
}

impl fmt::Debug for EpochSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochSecret(..)")
    }
}

/// What opens one commitment, given the payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl Salt {
    /// The salt with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// HKDF-SHA-256 (RFC 5869) of `secret` without extract salt, `info` given in parts, 32 bytes out.
pub(crate) fn hkdf_sha256(secret: &[u8], info: &[&[u8]]) -> [u8; 32] {
    expand(&extract(secret), info)
}

/// The first step. No extract salt means the same first blocks for every secret.
fn extract(secret: &[u8]) -> Hkdf<Sha256> {
    static UNSALTED: LazyLock<HkdfExtract<Sha256>> = LazyLock::new(|| HkdfExtract::new(None));
    let mut extract = UNSALTED.clone();
    extract.input_ikm(secret);
    extract.finalize().1
}

fn expand(key: &Hkdf<Sha256>, info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    key.expand_multi_info(info, &mut out)
        .expect("invariant: 32 bytes are less than 255 blocks of SHA-256");
    out
}
