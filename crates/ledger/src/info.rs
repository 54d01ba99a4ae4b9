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
}

impl LogInfo {
    pub(crate) fn new(
        origin: &str,
        source: &SourceId,
        keys: &[VerifierKey],
        created: LedgerTime,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            origin: origin.to_owned(),
            source: source.to_string(),
            keys: keys.iter().map(ToString::to_string).collect(),
            created_ns: created,
        }
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
    let info: LogInfo = serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?;
    if info.format != FORMAT {
        return Err(corrupt(format!("format {}, this program reads {FORMAT}", info.format)));
    }
    Ok((info, digest_of(&[&bytes])))
}
