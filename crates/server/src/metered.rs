//! A store that measures how long its calls take.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use stele_store::{Clock, ObjectName, Put, Store, StoreError};

use crate::metrics::seconds;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    op: &'static str,
    backend: &'static str,
    outcome: &'static str,
}

/// Passes every call on to another store, and measures it as `stele_store_request_duration_seconds`.
pub struct MeteredStore {
    store: Arc<dyn Store>,
    backend: &'static str,
    clock: Arc<dyn Clock>,
    durations: Family<Call, Histogram>,
}

impl fmt::Debug for MeteredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeteredStore({})", self.backend)
    }
}

impl MeteredStore {
    /// Measures the calls to `store`, under the name `backend`, into this registry.
    pub fn new(
        store: Arc<dyn Store>,
        backend: &'static str,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Self {
        let durations = Family::<Call, Histogram>::new_with_constructor(seconds);
        registry.register(
            "stele_store_request_duration_seconds",
            "Time of calls to the store",
            durations.clone(),
        );
        Self { store, backend, clock, durations }
    }

    fn timed<T>(
        &self,
        op: &'static str,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begin = self.clock.monotonic();
        let result = call(&*self.store);
        let took = self.clock.monotonic().saturating_sub(begin);
        let outcome = match &result {
            Ok(_) => "ok",
            Err(StoreError::NotFound { .. }) => "not-found",
            Err(_) => "error",
        };
        let call = Call { op, backend: self.backend, outcome };
        self.durations.get_or_create(&call).observe(took.as_secs_f64());
        result
    }
}

impl Store for MeteredStore {
    fn put_new(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.timed("put_new", |store| store.put_new(name, parts))
    }

    fn make_durable(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.timed("make_durable", |store| store.make_durable(name))
    }

    fn read(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        self.timed("read", |store| store.read(name))
    }

    fn read_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.timed("read_range", |store| store.read_range(name, range))
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.timed("size", |store| store.size(name))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        self.timed("list", |store| store.list(prefix, after))
    }

    fn retire(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.timed("retire", |store| store.retire(name))
    }

    fn put_hint(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.timed("put_hint", |store| store.put_hint(name, bytes))
    }

    fn read_hint(&self, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        self.timed("read_hint", |store| store.read_hint(name))
    }
}
