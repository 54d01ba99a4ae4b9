//! `ledger/log-info`: which log this is. Written once, when the ledger is created.
//!
//! Its digest is what segment 0 names as its predecessor, so that segments of two ledgers cannot
//! be mixed.

use serde::{Deserialize, Serialize};
use stele_merkle::{LogVerifier, VerifierKey};
use stele_record::{LedgerTime, SourceId};
use stele_store::{ObjectName, Store, StoreError};

use crate::LedgerError;
use crate::format::{Digest, digest_of};

const FORMAT: &str = "stele-ledger/v1";

/// Name of the log, its public keys and when it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogInfo {
    format: String,
    /// The log's name.
    pub origin: String,
    /// Its public keys as vkeys. A hint: who checks a log brings the keys along.
    pub keys: Vec<String>,
    /// The source as which the ledger records its own checkpoints, hexadecimal.
    pub source: String,
    /// When it was created, by the ledger's clock.
    pub created_ns: LedgerTime,
    /// SHA-256 of this file without this field, hexadecimal: tells damage from another log's file
    /// once the segment that names the file's digest is packed. Files of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl LogInfo {
    pub(crate) fn new(
        origin: &str,
        source: &SourceId,
        keys: &[VerifierKey],
        created: LedgerTime,
    ) -> Self {
        let info = Self {
            format: FORMAT.to_owned(),
            origin: origin.to_owned(),
            source: source.to_string(),
            keys: keys.iter().map(ToString::to_string).collect(),
            created_ns: created,
            sha256: None,
        };
        let sha256 = Some(hex::encode(digest_of(&[&info.encode()])));
        Self { sha256, ..info }
    }

    /// Whether it carries its own digest.
    pub(crate) const fn is_proven(&self) -> bool {
        self.sha256.is_some()
    }

    /// Reads the bytes of the file and checks that they are those of a log with such keys. Whether the
    /// keys in it are the log's first ones, only its records say: they may have been replaced.
    pub(crate) fn check(bytes: &[u8], verifier: &LogVerifier) -> Result<Self, String> {
        let info = Self::decode(bytes)?;
        let known = verifier.keys();
        if !known.iter().any(|key| key.name() == info.origin) {
            return Err(format!("it names the log {:?}, no key is of that log", info.origin));
        }
        info.unauthenticated_verifier().map_err(|error| error.to_string())?;
        Ok(info)
    }

    /// Whether the verifier's keys are the ones with which the log began.
    pub(crate) fn begins_with(&self, verifier: &LogVerifier) -> bool {
        let known = verifier.keys();
        self.keys.iter().all(|key| known.iter().any(|known| known.to_string() == *key))
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let info: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if info.format != FORMAT {
            return Err(format!("format {}, this program reads {FORMAT}", info.format));
        }
        // A bit that was read wrongly may hide the digest, and segment 0 would name another file's.
        if info.encode() != bytes {
            return Err("it is not in the form in which it is written".to_owned());
        }
        let bare = Self { sha256: None, ..info.clone() };
        let computed = hex::encode(digest_of(&[&bare.encode()]));
        if info.sha256.as_ref().is_some_and(|stated| *stated != computed) {
            return Err("it does not have the digest that it states".to_owned());
        }
        Ok(info)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self)
            .expect("invariant: plain structs with text keys are valid JSON");
        text.push(b'\n');
        text
    }

    /// Reads the log's information from a store.
    ///
    /// # Errors
    /// [`LedgerError::NotALedger`] if there is none, [`LedgerError::Corrupt`] if it is malformed.
    pub fn load(store: &dyn Store) -> Result<Self, LedgerError> {
        load(store).map(|(info, _)| info)
    }

    /// A verifier of the keys that the store itself names: good against accidents, worth nothing
    /// against somebody who can write to the store.
    ///
    /// # Errors
    /// [`LedgerError::Key`] if a key is malformed.
    pub fn unauthenticated_verifier(&self) -> Result<LogVerifier, LedgerError> {
        let keys: Result<Vec<VerifierKey>, _> = self.keys.iter().map(|key| key.parse()).collect();
        Ok(LogVerifier::new(keys?).require_all())
    }
}

pub(crate) fn name() -> ObjectName {
    fixed("ledger/log-info")
}

pub(crate) fn checkpoint_hint() -> ObjectName {
    fixed("checkpoint")
}

/// Who packs, see `pack`.
pub(crate) fn lease_hint() -> ObjectName {
    fixed("packing")
}

pub(crate) fn fixed(name: &str) -> ObjectName {
    ObjectName::parse(name).expect("invariant: a literal that follows the grammar of names")
}

pub(crate) fn numbered(directory: &str, number: u64) -> ObjectName {
    ObjectName::numbered(directory, number)
        .expect("invariant: a literal directory follows the grammar of names")
}

pub(crate) fn load(store: &dyn Store) -> Result<(LogInfo, Digest), LedgerError> {
    let bytes = match store.read(&name()) {
        Err(StoreError::NotFound { .. }) => return Err(LedgerError::NotALedger),
        other => other?,
    };
    let corrupt =
        |what: String| LedgerError::Corrupt { object: name().to_string(), record: None, what };
    let info = LogInfo::decode(&bytes).map_err(corrupt)?;
    Ok((info, digest_of(&[&bytes])))
}
