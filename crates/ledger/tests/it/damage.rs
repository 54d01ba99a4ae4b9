//! Damage to stored bytes is found and named.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stele_ledger::{FsckReport, Ledger, Problem, fsck};
use stele_merkle::{LogVerifier, TreeSize};
use stele_store::{MemoryStore, ObjectName, Store};

use crate::common::{Source, clock, create, key, open, options, wait_for_packs};

/// Every object and the checkpoint of a ledger with packs and segments.
struct Image {
    objects: BTreeMap<ObjectName, Bytes>,
    hint: Bytes,
    verifier: LogVerifier,
    size: u64,
}

impl Image {
    fn make() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let ledger = create(&store, 256);
        let mut sources = [Source::new(1, 1), Source::new(2, 1)];
        for round in 0..30 {
            for source in &mut sources {
                let mut submission = source.events(8, 60);
                if round == 0 {
                    *source = Source::new(source.key.derive("x")[0], 1);
                    let open = source.open_record();
                    submission = source.submission(vec![open]);
                }
                let seal = source.seal_record();
                submission.records.push(seal);
                ledger.append_blocking(submission).unwrap();
            }
        }
        wait_for_packs(&*store, 2);
        let size = ledger.size().0;
        let verifier = ledger.verifier().clone();
        drop(ledger);
        let objects = store.list("", None).unwrap().into_iter();
        let objects = objects.map(|name| (name.clone(), store.read(&name).unwrap())).collect();
        let hint = ObjectName::parse("checkpoint").unwrap();
        let hint = store.read_hint(&hint).unwrap().unwrap();
        Self { objects, hint, verifier, size }
    }

    fn store(&self, change: impl Fn(&ObjectName, &Bytes) -> Option<Bytes>) -> Arc<dyn Store> {
        let store = MemoryStore::new();
        for (name, bytes) in &self.objects {
            if let Some(bytes) = change(name, bytes) {
                store.put_new(name, &[&bytes]).unwrap();
            }
        }
        store.put_hint(&ObjectName::parse("checkpoint").unwrap(), &self.hint).unwrap();
        Arc::new(store)
    }

    fn fsck(&self, store: &Arc<dyn Store>) -> FsckReport {
        fsck(&**store, &self.verifier, &mut |_| {})
    }

    fn flipped(&self, object: &ObjectName, at: usize, mask: u8) -> Arc<dyn Store> {
        self.store(|name, bytes| {
            let mut bytes = bytes.to_vec();
            if name == object {
                bytes[at] ^= mask;
            }
            Some(bytes.into())
        })
    }
}

fn named(problems: &[Problem], object: &ObjectName) -> bool {
    problems.iter().any(|problem| problem.object == object.as_str())
}

#[test]
fn an_intact_ledger_has_no_problems() {
    let image = Image::make();
    let report = image.fsck(&image.store(|_, bytes| Some(bytes.clone())));
    assert_eq!(report.problems, []);
    assert_eq!(report.records, image.size);
    assert!(report.packs >= 2 && report.segments > 0 && report.checkpoints == 1);
    assert_eq!((report.seals, report.seals_unchecked), (60, 0));
}

#[test]
fn every_flipped_bit_is_found_and_its_object_named() {
    let image = Image::make();
    let mut flips = 0;
    let mut localised = 0;
    for (object, bytes) in &image.objects {
        if object.as_str() == "ledger/log-info" {
            continue;
        }
        // A prime step, so that all kinds of fields are hit over the objects.
        let step = if bytes.len() > 5000 { 97 } else { 11 };
        for at in (flips % step..bytes.len()).step_by(step) {
            flips += 1;
            let store = image.flipped(object, at, 1 << (at % 8));
            let report = image.fsck(&store);
            assert!(named(&report.problems, object), "{object} byte {at}: {:?}", report.problems);
            assert_eq!(report.problems.len(), 1, "{object} byte {at}: {:?}", report.problems);
            localised += usize::from(report.problems[0].record.is_some());
        }
    }
    assert!(flips > 500, "{flips}");
    assert!(localised * 4 > flips, "{localised} of {flips}");
}

#[test]
fn a_flip_in_a_plain_payload_or_header_names_the_record() {
    let image = Image::make();
    let (object, bytes) = image.objects.iter().next_back().unwrap();
    assert!(object.as_str().starts_with("segments/"));
    let end = bytes.len();
    // The last record of the last segment is a seal: its payload ends the object.
    let report = image.fsck(&image.flipped(object, end - 1, 4));
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].record, Some(image.size - 1));
    assert!(report.problems[0].what.contains("commits"), "{}", report.problems[0]);
}

#[test]
fn the_log_information_is_bound_too() {
    let image = Image::make();
    let name = ObjectName::parse("ledger/log-info").unwrap();
    let report = image.fsck(&image.flipped(&name, 30, 1));
    assert!(!report.problems.is_empty());
}

#[test]
fn missing_torn_and_foreign_objects_are_named() {
    let image = Image::make();
    for object in image.objects.keys().filter(|name| name.as_str() != "ledger/log-info") {
        let missing = image.store(|name, bytes| (name != object).then(|| bytes.clone()));
        let report = image.fsck(&missing);
        assert!(!report.problems.is_empty(), "{object}");
        for cut in [0, 10, 100, 3] {
            let torn = image.store(|name, bytes| {
                let keep = if cut == 3 { bytes.len() - 1 } else { cut };
                Some(if name == object { bytes.slice(..keep) } else { bytes.clone() })
            });
            let report = image.fsck(&torn);
            assert!(named(&report.problems, object), "{object}: {:?}", report.problems);
            let opened = Ledger::open(torn, &key(), clock(), options(256));
            assert!(opened.is_err(), "{object} cut to {cut}");
        }
    }
    let foreign = image.store(|_, bytes| Some(bytes.clone()));
    let stray = ObjectName::parse("segments/notes.txt").unwrap();
    foreign.put_new(&stray, &[b"hello"]).unwrap();
    assert!(named(&image.fsck(&foreign).problems, &stray));
}

#[test]
fn a_forged_checkpoint_is_no_checkpoint() {
    let image = Image::make();
    let store = image.store(|_, bytes| Some(bytes.clone()));
    let hint = ObjectName::parse("checkpoint").unwrap();
    let text = String::from_utf8(image.hint.to_vec()).unwrap();
    let forged = text.replacen(&image.size.to_string(), &(image.size - 1).to_string(), 1);
    store.put_hint(&hint, forged.as_bytes()).unwrap();
    let report = image.fsck(&store);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].object, "hints/checkpoint");
    // The hint is only a hint: the ledger opens, and signs what it has.
    assert_eq!(open(&store, 256).size(), TreeSize(image.size));
    assert_eq!(image.fsck(&store).problems, []);
}

#[test]
fn reads_do_not_believe_what_is_stored() {
    let image = Image::make();
    let (pack, bytes) =
        image.objects.iter().find(|(n, _)| n.as_str().starts_with("packs/")).unwrap();
    let store = image.flipped(pack, bytes.len() - 40, 2);
    let reader = Ledger::open_read_only(store, &image.verifier).unwrap();
    let failed = (0..256).filter(|index| reader.read(stele_merkle::LeafIndex(*index)).is_err());
    assert!(failed.count() > 0);
}
