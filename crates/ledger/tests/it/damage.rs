//! Damage to stored objects is found and named.

use std::sync::Arc;

use stele_ledger::{Ledger, Problem, RecordRange};
use stele_merkle::TreeSize;
use stele_store::{ObjectName, Store};

use crate::common::{clock, key, open, options};
use crate::image::Image;

fn named(problems: &[Problem], object: &ObjectName) -> bool {
    problems.iter().any(|problem| problem.object == object.as_str())
}

#[test]
fn an_intact_ledger_has_no_problems() {
    let image = Image::make();
    let report = image.fsck(&*image.intact());
    assert_eq!(report.problems, []);
    assert_eq!(report.records, image.size);
    assert!(report.packs >= 2 && report.segments > 0 && report.checkpoints == 1);
    assert_eq!((report.seals, report.seals_unchecked), (60, 0));
}

#[test]
fn a_flip_in_a_plain_payload_or_header_names_the_record() {
    let image = Image::make();
    let (object, bytes) = image.objects.iter().next_back().unwrap();
    assert!(object.as_str().starts_with("segments/"));
    let end = bytes.len();
    // The last record of the last segment is a seal: its payload ends the object.
    let report = image.fsck(&*image.flipped(object, end - 1, 4));
    assert_eq!(report.problems.len(), 1);
    let last = image.size - 1;
    assert_eq!(report.problems[0].records, Some(RecordRange { first: last, last: Some(last) }));
    assert!(report.problems[0].what.contains("commits"), "{}", report.problems[0]);
}

#[test]
fn missing_torn_and_foreign_objects_are_named() {
    let image = Image::make();
    for object in image.objects.keys().filter(|name| name.as_str() != "ledger/log-info") {
        let missing = image.store(|name, bytes| (name != object).then(|| bytes.clone()));
        let report = image.fsck(&*missing);
        assert!(named(&report.problems, object), "{object}: {:?}", report.problems);
        assert_eq!(report.problems.len(), 1, "{object}: {:?}", report.problems);
        for cut in [0, 10, 100, 3] {
            let torn = image.store(|name, bytes| {
                let keep = if cut == 3 { bytes.len() - 1 } else { cut };
                Some(if name == object { bytes.slice(..keep) } else { bytes.clone() })
            });
            let report = image.fsck(&*torn);
            assert!(named(&report.problems, object), "{object}: {:?}", report.problems);
            assert_eq!(report.problems.len(), 1, "{object}: {:?}", report.problems);
            let opened = Ledger::open(torn, &key(), clock(), options(256));
            assert!(opened.is_err(), "{object} cut to {cut}");
        }
    }
    let foreign = image.intact();
    let stray = ObjectName::parse("segments/notes.txt").unwrap();
    foreign.put_new(&stray, &[b"hello"]).unwrap();
    assert!(named(&image.fsck(&*foreign).problems, &stray));
}

#[test]
fn a_forged_checkpoint_is_no_checkpoint() {
    let image = Image::make();
    let store = image.intact();
    let hint = ObjectName::parse("checkpoint").unwrap();
    let text = String::from_utf8(image.hint.to_vec()).unwrap();
    let forged = text.replacen(&image.size.to_string(), &(image.size - 1).to_string(), 1);
    store.put_hint(&hint, forged.as_bytes()).unwrap();
    let report = image.fsck(&*store);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].object, "hints/checkpoint");
    // The hint is only a hint: the ledger opens, and signs what it has.
    assert_eq!(open(&(store.clone() as Arc<dyn Store>), 256).size(), TreeSize(image.size));
    assert_eq!(image.fsck(&*store).problems, []);
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
