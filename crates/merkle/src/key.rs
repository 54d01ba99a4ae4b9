//! Keys of signed notes: the verifier key with its text form (vkey), and the signing key.
//!
//! Not here: which text a signature is over beyond its bytes (`note`), and where keys are kept.
//! Invariant: a [`VerifierKey`] has a valid name, a key of the right length that its algorithm
//! takes, and the id that follows from both.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Longest name of a key in bytes: an ML-DSA cosignature writes its length in 8 bits.
pub const KEY_NAME_BYTES_MAX: usize = 255;

/// Longest vkey that is read, in bytes; an ML-DSA-44 key with the longest name is shorter.
const VKEY_BYTES_MAX: usize = 4_096;

/// What a key signs with, and what it signs: the type byte of signed notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// 0x01: Ed25519 over the note's text.
    Ed25519,
    /// 0x04: Ed25519 over a checkpoint and a time: a witness's cosignature.
    Ed25519Cosignature,
    /// 0x06: ML-DSA-44 over a checkpoint's tree and a time.
    MlDsa44,
}

impl Algorithm {
    /// The type byte.
    pub const fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Ed25519Cosignature => 0x04,
            Self::MlDsa44 => 0x06,
        }
    }

    /// Whether its signatures carry a time.
    pub const fn is_timed(self) -> bool {
        !matches!(self, Self::Ed25519)
    }

    const fn from_type_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::Ed25519Cosignature),
            0x06 => Some(Self::MlDsa44),
            _ => None,
        }
    }

    const fn public_key_bytes(self) -> usize {
        match self {
            Self::Ed25519 | Self::Ed25519Cosignature => 32,
            Self::MlDsa44 => 1_312,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 | Self::Ed25519Cosignature => &ED25519,
            Self::MlDsa44 => &ML_DSA_44,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::Ed25519Cosignature => "Ed25519 cosignature",
            Self::MlDsa44 => "ML-DSA-44",
        })
    }
}

/// Why a key is refused. Correct the key or its text; it is never used in part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name is empty, longer than 255 bytes, or has a space, a control character or `+`.
    #[error("not a key name: 1 to 255 bytes without spaces, control characters and `+`")]
    Name,
    /// The text is no vkey.
    #[error("not a verifier key: expected <name>+<8 hex digits>+<base64>")]
    Text,
    /// The type byte names an algorithm that is not supported.
    #[error("signature type {0:#04x} is not supported")]
    Unsupported(u8),
    /// The id in the text is not that of the name and key beside it.
    #[error("the key id {written} does not belong to this name and key, which have {expected}")]
    WrongId {
        /// The id in the text.
        written: KeyId,
        /// The id that name and key have.
        expected: KeyId,
    },
    /// The algorithm does not take these bytes as a key, or anybody could sign for it.
    #[error("the bytes are no usable key of {0}")]
    Rejected(Algorithm),
}

/// First four bytes of the hash of a key's name, type and bytes. Text form: 8 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A public key with its name, as written in a vkey: `<name>+<id>+<base64 of type and key>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    algorithm: Algorithm,
    key: Vec<u8>,
}

impl VerifierKey {
    /// The key with this name and these raw bytes.
    ///
    /// # Errors
    /// [`KeyError::Name`] or [`KeyError::Rejected`].
    pub fn new(name: &str, algorithm: Algorithm, key: &[u8]) -> Result<Self, KeyError> {
        check_name(name)?;
        let usable = key.len() == algorithm.public_key_bytes()
            && UnparsedPublicKey::new(algorithm.verification(), key).parse().is_ok()
            && !(algorithm.public_key_bytes() == 32 && is_small_order(key));
        if !usable {
            return Err(KeyError::Rejected(algorithm));
        }
        let id = key_id(name, algorithm, key);
        Ok(Self { name: name.to_owned(), id, algorithm, key: key.to_vec() })
    }

    /// The key's name; for a log's own key, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the key signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes of the key, without name and type.
    pub fn key_bytes(&self) -> &[u8] {
        &self.key
    }

    /// Whether `signature` is this key's over `message`, nothing added or taken away.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.key)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.algorithm.type_byte()];
        bytes.extend_from_slice(&self.key);
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(bytes))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({}+{}, {})", self.name, self.id, self.algorithm)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > VKEY_BYTES_MAX {
            return Err(KeyError::Text);
        }
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Text);
        };
        let mut written = [0; 4];
        hex::decode_to_slice(id, &mut written).map_err(|_| KeyError::Text)?;
        let written = KeyId(u32::from_be_bytes(written));
        let bytes = STANDARD.decode(key).map_err(|_| KeyError::Text)?;
        let (type_byte, key) = bytes.split_first().ok_or(KeyError::Text)?;
        let algorithm =
            Algorithm::from_type_byte(*type_byte).ok_or(KeyError::Unsupported(*type_byte))?;
        let parsed = Self::new(name, algorithm, key)?;
        if parsed.id != written {
            return Err(KeyError::WrongId { written, expected: parsed.id });
        }
        Ok(parsed)
    }
}

/// A private key with its name. Neither seed nor key is ever printed.
pub struct SigningKey {
    public: VerifierKey,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    MlDsa44(PqdsaKeyPair),
}

impl SigningKey {
    /// The key of this seed (RFC 8032, 5.1.5; FIPS 204, algorithm 6).
    ///
    /// # Errors
    /// [`KeyError::Name`], or [`KeyError::Rejected`] if the library refuses the seed.
    pub fn from_seed(name: &str, algorithm: Algorithm, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let rejected = |_| KeyError::Rejected(algorithm);
        let (pair, public) = match algorithm {
            Algorithm::Ed25519 | Algorithm::Ed25519Cosignature => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(rejected)?;
                let public = VerifierKey::new(name, algorithm, pair.public_key().as_ref())?;
                (Pair::Ed25519(pair), public)
            }
            Algorithm::MlDsa44 => {
                let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed).map_err(rejected)?;
                let public = VerifierKey::new(name, algorithm, pair.public_key().as_ref())?;
                (Pair::MlDsa44(pair), public)
            }
        };
        Ok(Self { public, pair })
    }

    /// The public half.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.public
    }

    /// Signs bytes; none if the library fails, which it may for ML-DSA when it gets no randomness.
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Pair::MlDsa44(pair) => {
                let mut signature = vec![0; ML_DSA_44_SIGNING.signature_len()];
                let length = pair.sign(message, &mut signature).ok()?;
                signature.truncate(length);
                Some(signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}+{}, {})", self.public.name, self.public.id, self.public.algorithm)
    }
}

/// Whether signed notes allow this as a key's name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c < ' ' || c == '+')
}

fn check_name(name: &str) -> Result<(), KeyError> {
    if is_name(name) && name.len() <= KEY_NAME_BYTES_MAX { Ok(()) } else { Err(KeyError::Name) }
}

fn key_id(name: &str, algorithm: Algorithm, key: &[u8]) -> KeyId {
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', algorithm.type_byte()])
        .chain_update(key)
        .finalize();
    KeyId(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// Whether an Ed25519 key is a point of small order, for which signatures can be made that fit any
/// message. The eight points have these y-coordinates, three of them in a second, larger form.
fn is_small_order(key: &[u8]) -> bool {
    const Y: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut y = key.to_vec();
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    Y.contains(&hex::encode(y).as_str())
}

#[cfg(test)]
mod tests;
