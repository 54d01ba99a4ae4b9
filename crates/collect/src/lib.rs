//! Adapters: how stele gets its input. The Kubernetes recorder lists and watches every type of
//! object an API server offers, the importer reads what people already hold, and redaction keeps
//! values of Secrets out of both.
//!
//! Not here: the ledger, proofs, and what a frame means (crate `state`). An adapter hands raw bytes
//! with their context to a [`stele_source::Source`] and says where it was blind.
//!
//! Invariant: what was missed is in a gap record; nothing is made up to fill a hole.

mod backoff;
pub mod import;
pub mod kube;
pub mod redact;
mod text;

pub use backoff::Backoff;
