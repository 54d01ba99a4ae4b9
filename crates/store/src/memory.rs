//! A store in memory, for tests and for short-lived views. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{ObjectName, Put, Quarantine, Store, StoreError};

/// Objects and hints in two maps.
#[derive(Debug, Default)]
pub struct MemoryStore {
    planes: Mutex<Planes>,
}

#[derive(Debug, Default)]
struct Planes {
    objects: BTreeMap<ObjectName, Bytes>,
    hints: BTreeMap<ObjectName, Bytes>,
    quarantine: Vec<(ObjectName, Bytes)>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn planes(&self) -> MutexGuard<'_, Planes> {
        self.planes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn put_new(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
        let bytes = Bytes::from(parts.concat());
        let mut planes = self.planes();
        match planes.objects.get(name) {
            None => {
                planes.objects.insert(name.clone(), bytes);
                Ok(Put::Created)
            }
            Some(existing) if *existing == bytes => Ok(Put::AlreadyThere),
            Some(_) => Err(StoreError::Conflict { name: name.clone() }),
        }
    }

    fn make_durable(&self, _name: &ObjectName) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        let planes = self.planes();
        let found = planes.objects.get(name).cloned();
        found.ok_or_else(|| StoreError::NotFound { name: name.clone() })
    }

    fn read_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.read(name)?;
        let length = bytes.len() as u64;
        if range.start > range.end || range.end > length {
            let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(StoreError::Io { what: format!("reading {name}"), error });
        }
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(bytes.slice(at(range.start)..at(range.end)))
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        Ok(self.read(name)?.len() as u64)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        let planes = self.planes();
        let wanted = |name: &&ObjectName| {
            name.as_str().starts_with(prefix) && after.is_none_or(|after| *name > after)
        };
        Ok(planes.objects.keys().filter(wanted).cloned().collect())
    }

    fn retire(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.planes().objects.remove(name);
        Ok(())
    }

    fn put_hint(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.planes().hints.insert(name.clone(), Bytes::copy_from_slice(bytes));
        Ok(())
    }

    fn read_hint(&self, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        Ok(self.planes().hints.get(name).cloned())
    }
}

impl Quarantine for MemoryStore {
    fn quarantine(&self, name: &ObjectName) -> Result<Option<String>, StoreError> {
        let mut planes = self.planes();
        let Some(bytes) = planes.objects.remove(name) else { return Ok(None) };
        planes.quarantine.push((name.clone(), bytes));
        Ok(Some(format!("{name}.{}", planes.quarantine.len() - 1)))
    }
}
