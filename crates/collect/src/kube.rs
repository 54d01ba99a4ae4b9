//! The Kubernetes recorder: lists and watches every type of object that an API server offers and
//! records the raw frames.
//!
//! Not a cache and not an informer: it keeps no objects, only where each watch stands. What the
//! frames mean is decided by whoever reads the ledger.
//!
//! Invariants: a frame is recorded exactly as it came (values of Secrets aside, see
//! [`crate::redact`]); the place to resume at becomes durable with the frame that it follows; a
//! stretch that was missed or seen late is in a gap record.

mod access;
mod blind;
mod discovery;
mod documents;
mod error;
mod http;
mod metrics;
mod recorder;
mod stream;

pub use access::{Access, Cluster, connect, contexts};
pub use error::{ConnectError, RecorderError};
pub use metrics::RecorderMetrics;
pub use recorder::{Recorder, RecorderOptions, Timing};

/// Longest list page that is taken, in bytes. A longer one is asked for again in smaller pieces.
pub const PAGE_BYTES_MAX: usize = 60 * 1024 * 1024;

/// Longest watch line that is taken, in bytes. etcd takes objects up to 1.5 MiB unless told
/// otherwise. A longer line becomes a gap and is healed by a new list.
pub const WATCH_LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest answer to a discovery request, in bytes.
pub const DISCOVERY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest document that is taken, in bytes: a schema, or the version of the server.
pub const DOCUMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most schemas of one server that are recorded.
pub const SCHEMAS_MAX: usize = 1_024;

/// Most lists that run at the same time: each may hold a page in memory.
pub const LISTS_AT_ONCE: usize = 4;

/// Longest time a watch is asked to last; servers and proxies between often end them at 300 s.
pub const WATCH_SECONDS_MAX: u32 = 295;

/// Failed tries to resume a watch, each answered by the server, after which it is listed anew.
pub const RESUME_TRIES_MAX: u32 = 5;
