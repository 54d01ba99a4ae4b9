//! Ledgers as they lie in a store, to be damaged.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stele_ledger::{FsckReport, Ledger, fsck};
use stele_merkle::LogVerifier;
use stele_store::{MemoryStore, ObjectName, Store};

use crate::common::{Source, create, wait_for_packs};

/// Every object and the checkpoint of a ledger with packs and segments.
pub(crate) struct Image {
    pub(crate) objects: BTreeMap<ObjectName, Bytes>,
    pub(crate) hint: Bytes,
    pub(crate) verifier: LogVerifier,
    pub(crate) size: u64,
}

impl Image {
    /// With packs and segments, two sources and a seal in each submission.
    pub(crate) fn make() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let ledger = create(&store, 256);
        let mut sources = [Source::new(1, 1), Source::new(2, 1)];
        for round in 0..30 {
            for source in &mut sources {
                append(&ledger, source, round == 0, 8, 60);
            }
        }
        wait_for_packs(&*store, 2);
        Self::of(&*store, ledger)
    }

    /// A few segments; or one pack and a few segments.
    pub(crate) fn small(packed: bool) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let ledger = create(&store, 256);
        let mut sources = [Source::new(1, 1), Source::new(2, 1)];
        let events = if packed { 125 } else { 4 };
        for round in 0..if packed { 1 } else { 2 } {
            for source in &mut sources {
                append(&ledger, source, round == 0, events, 9);
            }
        }
        if packed {
            for source in &mut sources {
                append(&ledger, source, false, 3, 9);
            }
            wait_for_packs(&*store, 1);
        }
        Self::of(&*store, ledger)
    }

    fn of(store: &dyn Store, ledger: Ledger) -> Self {
        let size = ledger.size().0;
        let verifier = ledger.verifier().clone();
        drop(ledger);
        let objects = store.list("", None).unwrap().into_iter();
        let objects = objects.map(|name| (name.clone(), store.read(&name).unwrap())).collect();
        let hint = ObjectName::parse("checkpoint").unwrap();
        let hint = store.read_hint(&hint).unwrap().unwrap();
        Self { objects, hint, verifier, size }
    }

    pub(crate) fn store(
        &self,
        change: impl Fn(&ObjectName, &Bytes) -> Option<Bytes>,
    ) -> Arc<MemoryStore> {
        let store = MemoryStore::new();
        for (name, bytes) in &self.objects {
            if let Some(bytes) = change(name, bytes) {
                store.put_new(name, &[&bytes]).unwrap();
            }
        }
        store.put_hint(&ObjectName::parse("checkpoint").unwrap(), &self.hint).unwrap();
        Arc::new(store)
    }

    /// As it was written.
    pub(crate) fn intact(&self) -> Arc<MemoryStore> {
        self.store(|_, bytes| Some(bytes.clone()))
    }

    pub(crate) fn fsck(&self, store: &dyn Store) -> FsckReport {
        fsck(store, &self.verifier, &mut |_| {})
    }

    pub(crate) fn flipped(&self, object: &ObjectName, at: usize, mask: u8) -> Arc<MemoryStore> {
        self.store(|name, bytes| {
            let mut bytes = bytes.to_vec();
            if name == object {
                bytes[at] ^= mask;
            }
            Some(bytes.into())
        })
    }
}

fn append(ledger: &Ledger, source: &mut Source, open: bool, events: usize, bytes: usize) {
    let mut records = Vec::new();
    if open {
        records.push(source.open_record());
    }
    records.extend(source.events(events, bytes).records);
    records.push(source.seal_record());
    ledger.append_blocking(source.submission(records)).unwrap();
}
