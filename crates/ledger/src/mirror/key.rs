//! The mirror's private key: a name and a seed, from which the keys of both algorithms come.
//!
//! ```text
//! stele-mirror-key/v1 NAME SEED
//! ```

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use stele_merkle::checkpoint::cosign;
use stele_merkle::{Algorithm, KeyError, SignError, SigningKey, VerifierKey};
use stele_record::{RecordError, SourceKey};
use stele_store::random_bytes;

const VERSION: &str = "stele-mirror-key/v1";

/// Why a mirror's key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorKeyError {
    /// The text is no key file. Restore it from a backup; a new key is a new mirror.
    #[error("{0} is not the key of a mirror: expected `stele-mirror-key/v1 NAME SEED`")]
    Malformed(PathBuf),
    /// The name or seed cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The seed cannot be used.
    #[error(transparent)]
    Seed(#[from] RecordError),
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
}

/// The keys of a mirror: Ed25519 and ML-DSA-44 cosignatures under one name, which is not the log's
/// nor a witness's. Never printed.
#[derive(Debug)]
pub struct MirrorKey {
    keys: [SigningKey; 2],
}

impl MirrorKey {
    /// The key of a name and seed.
    ///
    /// # Errors
    /// [`MirrorKeyError`] if the name cannot be that of a key.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, MirrorKeyError> {
        let seed = SourceKey::from_seed(seed)?;
        let key =
            |algorithm, purpose| SigningKey::from_seed(name, algorithm, &seed.derive(purpose));
        Ok(Self {
            keys: [
                key(Algorithm::Ed25519Cosignature, "mirror/ed25519")?,
                key(Algorithm::MlDsa44, "mirror/ml-dsa-44")?,
            ],
        })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`MirrorKeyError`].
    pub fn load(path: &Path) -> Result<Self, MirrorKeyError> {
        let text = fs::read_to_string(path)
            .map_err(|error| MirrorKeyError::Io { path: path.to_owned(), error })?;
        let malformed = || MirrorKeyError::Malformed(path.to_owned());
        let mut words = text.trim_end_matches('\n').split(' ');
        let (version, name, digits) = (words.next(), words.next(), words.next());
        let mut seed = [0; 32];
        if version != Some(VERSION) || words.next().is_some() {
            return Err(malformed());
        }
        hex::decode_to_slice(digits.ok_or_else(malformed)?, &mut seed).map_err(|_| malformed())?;
        Self::from_seed(name.ok_or_else(malformed)?, seed)
    }

    /// Makes a key and writes it to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`MirrorKeyError`]; an existing file is never replaced.
    pub fn create(path: &Path, name: &str) -> Result<Self, MirrorKeyError> {
        let seed = random_bytes();
        let key = Self::from_seed(name, seed)?;
        let io = |error| MirrorKeyError::Io { path: path.to_owned(), error };
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let text = format!("{VERSION} {name} {}\n", hex::encode(seed));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(key)
    }

    /// The mirror's name.
    pub fn name(&self) -> &str {
        self.keys[0].verifier_key().name()
    }

    /// The public keys, for whoever wants to believe the cosignatures.
    pub fn verifier_keys(&self) -> Vec<VerifierKey> {
        self.keys.iter().map(|key| key.verifier_key().clone()).collect()
    }

    /// The note with this mirror's cosignatures added; `body` is its text.
    pub(super) fn cosign(&self, note: &str, body: &str, time_s: u64) -> Result<String, SignError> {
        let mut cosigned = note.to_owned();
        for key in &self.keys {
            let signature = cosign(key, body, time_s)?;
            // Writing to a string does not fail.
            let _ = writeln!(cosigned, "{signature}");
        }
        Ok(cosigned)
    }
}
