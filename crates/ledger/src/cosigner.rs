//! The private key of somebody who cosigns checkpoints, a witness or a mirror: one name, and a key of
//! each kind that cosigns.
//!
//! The message that an Ed25519 cosignature signs does not name its signer, and what a cosignature
//! means follows from whose it is: a key must never be used by two of them, nor by a log.

use std::fmt;
use std::path::Path;

use stele_merkle::checkpoint::cosign;
use stele_merkle::{Algorithm, Hash, SignError, Signature, SigningKey, Subtree, VerifierKey};
use stele_store::random_bytes;

use crate::LogKeyError;
use crate::key_file::{KeyFile, Seeds};

/// What a cosignature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cosigner {
    /// That no other tree of this log was seen.
    Witness,
    /// That every record of the tree is held.
    Mirror,
}

impl Cosigner {
    const fn file(self) -> KeyFile {
        let version = match self {
            Self::Witness => "stele-witness-key/v1",
            Self::Mirror => "stele-mirror-key/v1",
        };
        KeyFile { version, name: "name" }
    }
}

/// The private key of a witness or mirror. Its seeds are never printed.
pub struct CosignerKey {
    cosigner: Cosigner,
    seeds: Seeds,
    ed25519: SigningKey,
    ml_dsa_44: SigningKey,
}

impl CosignerKey {
    /// A new key, from the system's randomness.
    ///
    /// # Errors
    /// [`LogKeyError::Key`] if `name` cannot name a key: it has a space, a `+`, or is too long.
    pub fn generate(cosigner: Cosigner, name: &str) -> Result<Self, LogKeyError> {
        Self::from_seeds(cosigner, name, random_bytes(), random_bytes())
    }

    /// The key of these seeds.
    ///
    /// # Errors
    /// [`LogKeyError::Key`] if the name or a seed is refused.
    pub fn from_seeds(
        cosigner: Cosigner,
        name: &str,
        ed25519: [u8; 32],
        ml_dsa_44: [u8; 32],
    ) -> Result<Self, LogKeyError> {
        let key = |algorithm, seed| SigningKey::from_seed(name, algorithm, seed);
        Ok(Self {
            cosigner,
            ed25519: key(Algorithm::Ed25519Cosignature, &ed25519)?,
            ml_dsa_44: key(Algorithm::MlDsa44, &ml_dsa_44)?,
            seeds: Seeds { name: name.to_owned(), ed25519, ml_dsa_44 },
        })
    }

    /// The cosigner's name.
    pub fn name(&self) -> &str {
        &self.seeds.name
    }

    /// The public keys: Ed25519, then ML-DSA-44.
    pub fn verifier_keys(&self) -> Vec<VerifierKey> {
        self.signing_keys().map(|key| key.verifier_key().clone()).to_vec()
    }

    const fn signing_keys(&self) -> [&SigningKey; 2] {
        [&self.ed25519, &self.ml_dsa_44]
    }

    /// The lines of cosignatures, one for each key, over the checkpoint with this body; the time in
    /// seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`SignError`]: try again.
    pub fn cosign(&self, body: &str, time_s: u64) -> Result<Vec<Signature>, SignError> {
        self.signing_keys().into_iter().map(|key| cosign(key, body, time_s)).collect()
    }

    /// The line of the cosignature, by ML-DSA-44, that the log's tree has this subtree with this root.
    ///
    /// # Errors
    /// [`SignError`]: try again.
    pub fn cosign_subtree(
        &self,
        origin: &str,
        subtree: Subtree,
        hash: Hash,
    ) -> Result<Signature, SignError> {
        subtree.cosign(&self.ml_dsa_44, origin, hash)
    }

    /// Reads a key file of this kind of cosigner.
    ///
    /// # Errors
    /// [`LogKeyError`]; nothing is guessed, restore it from a backup.
    pub fn load(cosigner: Cosigner, path: &Path) -> Result<Self, LogKeyError> {
        let Seeds { name, ed25519, ml_dsa_44 } = cosigner.file().load(path)?;
        Self::from_seeds(cosigner, &name, ed25519, ml_dsa_44)
    }

    /// Writes a key file that only its owner can read. An existing file is never replaced.
    ///
    /// # Errors
    /// [`LogKeyError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), LogKeyError> {
        self.cosigner.file().save(&self.seeds, path)
    }

    /// The public keys, one vkey a line: what somebody needs to put it into a policy.
    pub fn public_text(&self) -> String {
        self.verifier_keys().iter().map(|key| format!("{key}\n")).collect()
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerKey({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_survives_its_file_and_the_file_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness.key");
        let key = CosignerKey::generate(Cosigner::Witness, "witness.example/w1").unwrap();
        key.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            CosignerKey::load(Cosigner::Witness, &path).unwrap().public_text(),
            key.public_text()
        );
        key.save(&path).unwrap_err();
        CosignerKey::load(Cosigner::Mirror, &path).unwrap_err();
        assert_eq!(format!("{key:?}"), "CosignerKey(witness.example/w1)");
        let text = std::fs::read_to_string(&path).unwrap();
        for bad in ["", "stele-log-key/v1\n", &text[..text.len() - 3], &format!("{text}x\n")] {
            Cosigner::Witness.file().parse(bad).map(|_| ()).unwrap_err();
        }
        CosignerKey::generate(Cosigner::Witness, "two words").unwrap_err();
    }
}
