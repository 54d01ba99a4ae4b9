//! A record as a CloudEvents 1.0 event in JSON.
//!
//! Extension names are lower-case letters and digits, as the standard demands. Numbers that may
//! pass 2³¹ are strings, because the standard's integers have 32 bits.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Instant;

/// A record of the log as a CloudEvent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordEvent {
    /// `1.0`.
    pub specversion: String,
    /// `SOURCE/BOOT/SEQ`: unique in all logs.
    pub id: String,
    /// `urn:stele:source:SOURCE`.
    pub source: String,
    /// `stele.` and the name of the record's kind.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened: event time where the origin claims one, else observed time.
    pub time: Instant,
    /// Encoding of the payload.
    pub datacontenttype: String,
    /// The payload, if it is JSON: exactly its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    /// The payload in base64, if it is not JSON or if base64 was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// Index in the log, decimal.
    pub steleindex: String,
    /// Who recorded it: a source id.
    pub stelesource: String,
    /// In which life of the source, decimal.
    pub steleboot: String,
    /// Position in that life, decimal.
    pub steleseq: String,
    /// Name of the kind.
    pub stelekind: String,
    /// When the origin says that it happened, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steleeventtime: Option<Instant>,
    /// When the source saw it.
    pub steleobservedtime: Instant,
    /// When the ledger took it in.
    pub steleledgertime: Instant,
    /// The origin's own counter, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steleorigincounter: Option<String>,
    /// The leaf's bytes, base64.
    pub steleleaf: String,
    /// The salt that opens the leaf's commitment to the payload, base64; absent if the payload was
    /// erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stelesalt: Option<String>,
    /// Inclusion proof, in the form of C2SP tlog-proof, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steleproof: Option<String>,
}
