//! The trait behind which local disk and object stores stand.
//!
//! Two planes: *objects* are written once and never change; *hints* may be overwritten, stale or
//! lost at any time and must never be needed for correctness.

use std::ops::Range;

use bytes::Bytes;

use crate::{ObjectName, StoreError};

/// How a successful create went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// This call created the object.
    Created,
    /// The object was there already with exactly these bytes: an earlier attempt had succeeded.
    AlreadyThere,
}

/// A store of write-once objects. Every call blocks; none is retried inside.
pub trait Store: Send + Sync + 'static {
    /// Creates the object out of `parts`, in order; durable when this returns `Ok`. An object with
    /// equal bytes counts as success.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if other bytes stand under the name: somebody else owns it. After
    /// any other error the object may or may not exist, and may be readable without being durable:
    /// repeat with the same bytes until that succeeds. After [`StoreError::Fatal`] nothing more is
    /// written by this process.
    fn put_new(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError>;

    /// Makes an object durable that another process created and that can be read: on a disk, it may
    /// have died before its name was flushed. Takes no space.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Fatal`], as for [`Store::put_new`].
    fn make_durable(&self, name: &ObjectName) -> Result<(), StoreError>;

    /// The whole object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Io`] if it cannot be read.
    fn read(&self, name: &ObjectName) -> Result<Bytes, StoreError>;

    /// A range of the object's bytes, exactly as long as asked for.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Io`] if it cannot be read or is shorter.
    fn read_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Length of the object in bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Io`].
    fn size(&self, name: &ObjectName) -> Result<u64, StoreError>;

    /// Names that start with `prefix` and come after `after`, sorted by their bytes.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the store cannot be listed.
    fn list(&self, prefix: &str, after: Option<&ObjectName>)
    -> Result<Vec<ObjectName>, StoreError>;

    /// Removes an object whose content lives on, verified, in another one. No other use is right.
    /// Removing what is not there succeeds.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be removed; trying again later is safe.
    fn retire(&self, name: &ObjectName) -> Result<(), StoreError>;

    /// Sets a hint, replacing an earlier one. Readers see the old or the new bytes, or none.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`]; the caller may go on without the hint.
    fn put_hint(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError>;

    /// The hint's bytes, if there are any.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the caller goes on as if there were none.
    fn read_hint(&self, name: &ObjectName) -> Result<Option<Bytes>, StoreError>;
}

/// A store in which a damaged object can be put aside, so that a repair can create it anew. For
/// repairs alone: no other part of the system moves an object, and nothing ever deletes what was
/// put aside.
pub trait Quarantine: Store {
    /// Takes an object, as it is, out of its place and keeps it; durable when this returns `Ok`.
    /// Gives where it is kept, or nothing if there was no such object.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be moved: it is in its place, or in both. After
    /// [`StoreError::Fatal`] nothing more must be written by this process.
    fn quarantine(&self, name: &ObjectName) -> Result<Option<String>, StoreError>;
}
