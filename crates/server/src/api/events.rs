//! Answers to appended events.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The acknowledgement of appended events: they are durable and under a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppendAck {
    /// `stele/v1`.
    pub api_version: String,
    /// `AppendAck`.
    pub kind: String,
    /// The source that the server recorded them as.
    pub source: String,
    /// A checkpoint that covers all of them, a signed note.
    pub checkpoint: String,
    /// The events in the order of the request.
    pub items: Vec<AppendedEvent>,
}

/// One appended event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppendedEvent {
    /// Its index in the log.
    pub index: u64,
    /// The `id` of the CloudEvent, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Bytes of its leaf, base64: SHA-256 over a zero byte and these is the leaf hash.
    pub leaf: String,
    /// The salt that opens the leaf's commitment to the payload, base64.
    pub salt: String,
    /// Inclusion proof in the checkpoint, base64, from the leaf's sibling to the root's child.
    pub proof: Vec<String>,
}
