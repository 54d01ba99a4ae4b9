//! Write-once objects, the clock and randomness: the only place where stele touches the outside
//! world on behalf of the log.
//!
//! What this crate is not: it knows neither records nor trees, and it offers no overwrite, no
//! rename and no compare-and-swap, because the log's protocol needs none of them.
//!
//! Invariant: once [`Store::put_new`] has returned `Ok`, the object is durable, complete and never
//! changes. After any other answer the caller believes nothing: it repeats the same call until that
//! succeeds.

mod clock;
mod disk;
mod error;
mod memory;
mod name;
mod random;
mod store;

pub use clock::{Clock, ManualClock, SystemClock, UnixNanos};
pub use disk::DiskStore;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use name::{OBJECT_NAME_BYTES_MAX, ObjectName};
pub use random::random_bytes;
pub use store::{Put, Quarantine, Store};
