//! The state of Kubernetes clusters over time: a deterministic fold of list pages and watch lines
//! into an embedded engine, and the questions on it.
//!
//! What this crate is not: it has no Kubernetes client, no HTTP, no clock, and knows nothing of
//! Merkle trees. It believes its records and never repairs them: what one says is kept as said,
//! what none says is a gap.
//!
//! Invariant (L5): the state after record `n` is a pure function of records `0..=n`, whatever the
//! batches they came in. The engine's file holds nothing that is not in the log: it can be
//! deleted and folded again.

mod bases;
mod bodies;
mod chunks;
mod engine;
mod error;
mod existence;
mod fold;
mod generations;
pub mod json;
mod key;
mod life;
pub mod pick;
pub mod point;
pub mod query;
pub mod rv;
mod spread;
mod table;
mod tables;
mod time;
mod versions;

pub use engine::State;
pub use error::StateError;
pub use fold::{Applied, FoldRecord};
pub use point::{Point, PointError};
pub use time::{Time, TimeBasis};
