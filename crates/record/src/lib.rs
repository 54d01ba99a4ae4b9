//! The bytes that stele hashes: the record header, the commitment to a payload, the chain that a
//! source seals, and the few payloads whose form is stele's own.
//!
//! What this crate is not: it knows no Merkle tree, no file, no network, no clock. What an auditor
//! must believe about a single record can be read here in an evening.
//!
//! Invariant: the leaf of the log is exactly the encoded [`Header`]. Encoding is a function (one
//! header, one byte string) and [`Header::decode`] accepts that byte string and no other.

mod chain;
mod commit;
mod error;
pub mod frame;
mod header;
pub mod kube;
mod payloads;
mod source;
mod submission;
mod time;

pub use chain::{ChainHead, Seal, SealError};
pub use commit::{Commitment, Epoch, EpochSecret, Salt, Salts};
pub use error::RecordError;
pub use header::{Header, Kind, PayloadType};
pub use payloads::{Declaration, Gap, GapReason, PreviousBoot};
pub use source::{Boot, Seq, SourceId, SourceKey, SourcePublicKey};
pub use submission::{
    SUBMISSION_BYTES_TARGET, SUBMISSION_RECORDS_MAX, Submission, SubmittedRecord,
};
pub use time::{EventTime, LedgerTime, ObservedTime};

/// Longest payload that one record may carry, in bytes. A Kubernetes object is limited to about
/// 1.5 MiB by etcd and a list page of 500 of them seldom passes 16 MiB.
pub const PAYLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Longest encoded header, in bytes. C2SP entries end at 65,535 bytes; a header is about 150 and
/// only the origin counter has a free length.
pub const HEADER_BYTES_MAX: usize = 512;

/// Longest origin counter, in bytes of UTF-8. A Kubernetes resourceVersion is an opaque string of
/// no stated length; etcd revisions take 19 digits at the most.
pub const ORIGIN_COUNTER_BYTES_MAX: usize = 128;
