//! The payloads whose form is stele's own: what a source declares at its start, and gaps.
//!
//! Both are JSON, because people read them in evidence. Unknown fields are passed over, so that
//! later versions may add some; a missing field that is not optional is an error.

use serde::{Deserialize, Serialize};

use crate::{ObservedTime, RecordError, SourcePublicKey};

/// First record of every boot: who the source is and what it attests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declaration {
    /// Name for people, for example `recorder/prod-eu`.
    pub name: String,
    /// What the source stands for, in words, for example `what the API server sent to a watch`.
    pub attests: String,
    /// The Ed25519 public key that seals this boot, hexadecimal.
    pub public_key: String,
    /// The records were not observed by this source but handed to it: their event times are the
    /// origin's claim, their observed time is that of the import.
    #[serde(default)]
    pub imported: bool,
    /// Longest pause between two seals, in seconds; a longer one means that the source was down.
    pub heartbeat_s: u64,
    /// Program and version that wrote the stream.
    pub software: String,
    /// Where the boot before this one ended, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousBoot>,
}

/// Where a source's earlier boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousBoot {
    /// The earlier boot.
    pub boot: u64,
    /// Number of records it wrote.
    pub next_seq: u64,
    /// Observed time of its last record.
    pub last_observed_ns: ObservedTime,
}

impl Declaration {
    /// The payload bytes.
    pub fn encode(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] naming the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        from_json("declaration", bytes)
    }

    /// The declared key.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if it is not 32 bytes in hexadecimal.
    pub fn key(&self) -> Result<SourcePublicKey, RecordError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.public_key, &mut bytes).map_err(|_| {
            RecordError::malformed("declaration", "publicKey: expected 64 hexadecimal digits")
        })?;
        Ok(SourcePublicKey::from_bytes(bytes))
    }
}

/// A stretch in which a source was blind, as far as it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The cluster concerned; `None` for a source that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// API group of the resource concerned, `""` for the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Plural name of the resource concerned; `None` means all of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Last moment at which the source surely saw.
    pub from_ns: ObservedTime,
    /// First moment at which it saw again; `None` if it is blind from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ns: Option<ObservedTime>,
    /// Last resourceVersion seen before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_rv: Option<String>,
    /// First resourceVersion at which the state was whole again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_rv: Option<String>,
    /// Why.
    pub reason: GapReason,
    /// No version was missed: what happened in the stretch came later, so only its observed times
    /// are late.
    #[serde(default)]
    pub recovered: bool,
    /// The cause in words, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Why a source was blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GapReason {
    /// The server had already compacted what the watch asked for (410).
    Expired,
    /// The recorder was not running.
    RecorderDown,
    /// The server could not be reached, or ended the stream in an unexpected way.
    Disconnected,
    /// The server refused the recorder (401, 403, 405).
    Denied,
    /// A frame could not be taken: over a limit or not readable.
    Unreadable,
    /// A recording that was imported ends here.
    RecordingEnded,
    /// The server no longer offers this resource.
    ResourceGone,
    /// A reason of a later version.
    #[serde(other)]
    Other,
}

impl Gap {
    /// The payload bytes.
    pub fn encode(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] naming the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        from_json("gap", bytes)
    }
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: plain structs with text keys are valid JSON")
}

pub(crate) fn from_json<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, RecordError> {
    serde_json::from_slice(bytes).map_err(|e| RecordError::malformed(what, e.to_string()))
}
