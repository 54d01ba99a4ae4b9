//! Answers about the log itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Instant;

/// What the log is and how far it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogInfo {
    /// `stele/v1`.
    pub api_version: String,
    /// `LogInfo`.
    pub kind: String,
    /// The log's name: first line of its checkpoints.
    pub origin: String,
    /// Number of records under the newest checkpoint.
    pub size: u64,
    /// Root hash of that checkpoint, base64.
    pub root: String,
    /// The newest checkpoint, a signed note.
    pub checkpoint: String,
    /// When it was signed, by the log's clock.
    pub checkpoint_time: Instant,
    /// Verifier keys of the log, in the form of C2SP signed-note. Taken from the log itself: pin
    /// them on first use and compare later.
    pub verifier_keys: Vec<String>,
    /// Smallest index whose record can be read.
    pub oldest_index: u64,
    /// Number of records that the views have taken in.
    pub state_size: u64,
    /// The server's time.
    pub time: Instant,
    /// How it stands with the witnesses, if the log has a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnessing: Option<Witnessing>,
}

/// How it stands with the witnesses of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Witnessing {
    /// The policy's quorum in words.
    pub quorum: String,
    /// Number of records under the newest checkpoint that meets it; absent if there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned_size: Option<u64>,
    /// That checkpoint, a signed note with the cosignatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The witnesses, in the order of the policy.
    pub witnesses: Vec<WitnessState>,
}

/// How it stands with one witness, since the server started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WitnessState {
    /// Its name in the policy.
    pub name: String,
    /// Where it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Records under the largest checkpoint that it has cosigned; 0 if none.
    pub cosigned_size: u64,
    /// The time in its newest cosignature, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned_at: Option<Instant>,
    /// Failures since it has cosigned last.
    pub failures: u64,
    /// Why it did not cosign the last time it was asked; absent if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// That a smaller log is a prefix of a larger one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencyProof {
    /// `stele/v1`.
    pub api_version: String,
    /// `ConsistencyProof`.
    pub kind: String,
    /// The smaller size.
    pub old: u64,
    /// The larger size.
    pub new: u64,
    /// The proof of RFC 6962, 2.1.2, base64.
    pub hashes: Vec<String>,
    /// The newest checkpoint, a signed note; its size may be larger than `new`.
    pub checkpoint: String,
}

/// Consecutive places in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunOfIndices {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// The acknowledgement of a delivered submission: its records are durable and under a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAck {
    /// `stele/v1`.
    pub api_version: String,
    /// `DeliveryAck`.
    pub kind: String,
    /// Index of the first record.
    pub first_index: u64,
    /// Number of records.
    pub count: u64,
    /// Where all of them are, in the order of the submission: one run, or several if they had
    /// arrived in pieces before.
    pub runs: Vec<RunOfIndices>,
    /// A checkpoint that covers them, a signed note.
    pub checkpoint: String,
    /// For each record its inclusion proof in that checkpoint, base64, from the leaf's sibling to
    /// the root's child. Empty if the request wanted others, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<Vec<String>>,
    /// For each of `runs` one proof of all its records in that checkpoint, base64: the roots of
    /// the largest subtrees of the tree that hold none of them, from left to right. Only if the
    /// request had `proofs=runs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_proofs: Vec<Vec<String>>,
}

/// Names of stored objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredObjects {
    /// `stele/v1`.
    pub api_version: String,
    /// `StoredObjects`.
    pub kind: String,
    /// The names, sorted; ask again with the last one as `after` until there are none.
    pub names: Vec<String>,
}
