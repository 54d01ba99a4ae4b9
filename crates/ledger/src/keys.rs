//! The log's private key: two seeds and the log's name. Its file is a [`KeyFile`], `stele-log-key/v1`,
//! whose name is the log's `origin`.
//!
//! The file of public keys holds one C2SP vkey a line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use stele_merkle::{KeyError, LogSigner, LogVerifier, VerifierKey};
use stele_record::SourceKey;
use stele_store::random_bytes;

use crate::key_file::{KeyFile, Seeds};

const FILE: KeyFile = KeyFile { version: "stele-log-key/v1", name: "origin" };

/// Why a key could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogKeyError {
    /// The text is no key file. Nothing is guessed; restore it from a backup.
    #[error("not such a key file: {0}")]
    Malformed(&'static str),
    /// The origin or a seed cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
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

/// The private key of a log. Its seeds are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct LogKey {
    origin: String,
    ed25519: [u8; 32],
    ml_dsa_44: [u8; 32],
}

impl LogKey {
    /// A new key for the log `origin`, from the system's randomness.
    ///
    /// # Errors
    /// [`LogKeyError::Key`] if `origin` cannot name a key: it has a space, a `+`, or is too long.
    pub fn generate(origin: &str) -> Result<Self, LogKeyError> {
        Self::from_seeds(origin, random_bytes(), random_bytes())
    }

    /// The key of these seeds.
    ///
    /// # Errors
    /// [`LogKeyError::Key`] if the origin or a seed is refused.
    pub fn from_seeds(
        origin: &str,
        ed25519: [u8; 32],
        ml_dsa_44: [u8; 32],
    ) -> Result<Self, LogKeyError> {
        LogSigner::from_seed(origin, &ed25519, &ml_dsa_44)?;
        Ok(Self { origin: origin.to_owned(), ed25519, ml_dsa_44 })
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What signs checkpoints.
    ///
    /// # Errors
    /// [`KeyError`] if the library refuses a seed that it took before.
    pub fn signer(&self) -> Result<LogSigner, KeyError> {
        LogSigner::from_seed(&self.origin, &self.ed25519, &self.ml_dsa_44)
    }

    /// The key of the ledger's own source.
    pub(crate) fn source_key(&self) -> Result<SourceKey, stele_record::RecordError> {
        let seed = SourceKey::from_seed(self.ed25519)?.derive("ledger source");
        SourceKey::from_seed(seed)
    }

    /// The text of the key file.
    pub fn encode(&self) -> String {
        FILE.encode(&self.seeds())
    }

    fn seeds(&self) -> Seeds {
        let (name, ed25519, ml_dsa_44) = (self.origin.clone(), self.ed25519, self.ml_dsa_44);
        Seeds { name, ed25519, ml_dsa_44 }
    }

    fn of(Seeds { name, ed25519, ml_dsa_44 }: Seeds) -> Result<Self, LogKeyError> {
        Self::from_seeds(&name, ed25519, ml_dsa_44)
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// [`LogKeyError::Malformed`] or [`LogKeyError::Key`].
    pub fn parse(text: &str) -> Result<Self, LogKeyError> {
        Self::of(FILE.parse(text)?)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`LogKeyError::Io`] if it cannot be read, else as [`LogKey::parse`].
    pub fn load(path: &Path) -> Result<Self, LogKeyError> {
        Self::of(FILE.load(path)?)
    }

    /// Writes a key file that only its owner can read, whole and durable or not at all. An existing
    /// file is never replaced.
    ///
    /// # Errors
    /// [`LogKeyError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), LogKeyError> {
        FILE.save(&self.seeds(), path)
    }

    /// The public keys, one vkey a line: what somebody needs to check this log.
    ///
    /// # Errors
    /// [`KeyError`] if the library refuses a seed that it took before.
    pub fn public_text(&self) -> Result<String, KeyError> {
        let keys = self.signer()?.verifier_keys();
        Ok(keys.iter().map(|key| format!("{key}\n")).collect())
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({})", self.origin)
    }
}

/// Reads a file of public keys: one vkey a line; empty lines and lines that start with `#` are
/// passed over. Every key in it must have signed what is to be believed.
///
/// # Errors
/// [`KeyError`] for a line that is no vkey, or if there is none.
pub fn parse_public_keys(text: &str) -> Result<LogVerifier, KeyError> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let keys = lines.map(str::parse).collect::<Result<Vec<VerifierKey>, _>>()?;
    if keys.is_empty() {
        return Err(KeyError::Text);
    }
    Ok(LogVerifier::new(keys).require_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_survives_its_file_and_the_file_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.key");
        let key = LogKey::generate("example.org/log").unwrap();
        key.save(&path).unwrap();
        assert_eq!(LogKey::load(&path).unwrap(), key);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        key.save(&path).unwrap_err();
        let debug = format!("{key:?}");
        assert_eq!(debug, "LogKey(example.org/log)");
    }

    #[test]
    fn the_text_is_fixed() {
        let key = LogKey::from_seeds("log", [1; 32], [2; 32]).unwrap();
        let text = format!(
            "stele-log-key/v1\norigin log\ned25519 {}\nml-dsa-44 {}\n",
            "01".repeat(32),
            "02".repeat(32)
        );
        assert_eq!(key.encode(), text);
        assert_eq!(LogKey::parse(&text).unwrap(), key);
        for bad in ["", "stele-log-key/v2\n", &text[..text.len() - 3], &format!("{text}x\n")] {
            LogKey::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn public_keys_are_read_back() {
        let key = LogKey::from_seeds("log", [1; 32], [2; 32]).unwrap();
        let text = format!("# keys of log\n\n{}", key.public_text().unwrap());
        let verifier = parse_public_keys(&text).unwrap();
        assert_eq!(verifier.keys(), key.signer().unwrap().verifier_keys());
        parse_public_keys("# none\n").unwrap_err();
    }
}
