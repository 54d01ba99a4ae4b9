//! The stored objects as they are, for copies of the log: a mirror checks every byte itself.

use std::ops::Range;

use bytes::Bytes;
use stele_store::{ObjectName, StoreError};

use super::Reader;

impl Reader {
    /// Names of stored objects that start with `prefix` and come after `after`, sorted. While the
    /// log is written to, ask for segments before packs: what moves meanwhile is in a pack.
    ///
    /// # Errors
    /// What the store answers.
    pub fn stored_names(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        self.store().list(prefix, after)
    }

    /// Length of a stored object in bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] also if its records were packed meanwhile.
    pub fn stored_size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.store().size(name)
    }

    /// Bytes of a stored object, unchecked. They hold the secrets that open commitments.
    ///
    /// # Errors
    /// As [`Reader::stored_size`].
    pub fn stored_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.store().read_range(name, range)
    }
}
