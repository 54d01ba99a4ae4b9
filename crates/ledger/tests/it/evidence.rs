//! Evidence files stand on their own, and nothing in them can be changed unnoticed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stele_ledger::evidence::{self, Report};
use stele_ledger::{Ledger, LogKey};
use stele_merkle::{LeafIndex, LogVerifier};
use stele_record::{Gap, GapReason, Kind, ObservedTime};
use stele_store::{MemoryStore, Store};

use crate::common::{Source, create, key};

fn ledger() -> Ledger {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, 65_536);
    let mut source = Source::new(1, 1);
    let open = source.open_record();
    let submission = source.submission(vec![open]);
    ledger.append_blocking(submission).unwrap();
    ledger.append_blocking(source.events(4, 30)).unwrap();
    let gap = Gap {
        cluster: Some("test".to_owned()),
        group: None,
        resource: None,
        from_ns: ObservedTime::from_unix_ns(1),
        to_ns: Some(ObservedTime::from_unix_ns(2)),
        from_rv: None,
        to_rv: None,
        reason: GapReason::Expired,
        recovered: false,
        detail: "the server had compacted".to_owned(),
    };
    let mut records = vec![source.seal_record(), source.record(Kind::GAP, gap.encode())];
    records.extend(source.events(2, 30).records);
    records.push(source.seal_record());
    ledger.append_blocking(source.submission(records)).unwrap();
    ledger
}

fn export(ledger: &Ledger, indices: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    let indices: Vec<LeafIndex> = indices.iter().map(|index| LeafIndex(*index)).collect();
    evidence::write(ledger, &indices, &mut out).unwrap();
    out
}

fn verify(file: &[u8], verifier: &LogVerifier) -> Report {
    evidence::verify(&mut &file[..], verifier).unwrap()
}

fn counts(report: &Report) -> Vec<u64> {
    report.checks.iter().map(|check| check.count).collect()
}

#[test]
fn a_whole_log_verifies_offline() {
    let ledger = ledger();
    let file = export(&ledger, &(0..10).collect::<Vec<_>>());
    let report = verify(&file, ledger.verifier());
    assert!(report.holds(), "{:?}", report.errors);
    assert_eq!(counts(&report), [2, 10, 10, 9, 2, 2]);
    assert_eq!((report.records, report.size, report.gaps.len()), (10, 10, 1));
    assert_eq!(report.gaps[0].gap.reason, GapReason::Expired);
    assert_eq!(report.warnings.len(), 1);
    assert_eq!(report.signed_by.len(), 2);
}

#[test]
fn parts_verify_as_far_as_they_go() {
    let ledger = ledger();
    // From one seal to the next, with the declaration: the chain can be followed in between.
    let report = verify(&export(&ledger, &[9, 8, 7, 6, 5, 0, 0]), ledger.verifier());
    assert!(report.holds(), "{:?}", report.errors);
    assert_eq!(counts(&report), [2, 6, 6, 4, 2, 1]);
    // Without it nobody knows whose seal it is.
    let report = verify(&export(&ledger, &[9]), ledger.verifier());
    assert!(report.holds());
    assert_eq!(counts(&report), [2, 1, 1, 0, 0, 0]);
    assert_eq!(report.warnings.len(), 1);
}

#[test]
fn no_byte_can_be_changed() {
    let ledger = ledger();
    let file = export(&ledger, &[0, 3, 5, 6]);
    let whole = verify(&file, ledger.verifier());
    assert!(whole.holds());
    let mut survived = Vec::new();
    for at in (0..file.len()).step_by(7) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let report = verify(&changed, ledger.verifier());
        if report.holds() {
            survived.push(at);
        }
    }
    // The keys in the manifest are a hint, and a null payload is a warning: all else is bound.
    let text = String::from_utf8(file).unwrap();
    let keys = text.find("\"keys\"").unwrap()..text.find('\n').unwrap();
    assert!(survived.iter().all(|at| keys.contains(at)), "{survived:?} outside {keys:?}");
}

#[test]
fn other_keys_truncation_and_disorder_are_refused() {
    let ledger = ledger();
    let file = export(&ledger, &[1, 2, 3]);
    let other = LogKey::from_seeds(key().origin(), [8; 32], [9; 32]).unwrap();
    let report = verify(&file, &other.signer().unwrap().verifier());
    assert!(!report.holds());
    let text = String::from_utf8(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (bad, line) in [
        (String::new(), 1),
        ("not json\n".to_owned(), 1),
        (format!("{}\n{}\n{}\n", lines[0], lines[1], lines[2]), 3),
        (format!("{}\n{}\n{}\n{}\n", lines[0], lines[2], lines[1], lines[3]), 3),
        (format!("{}\n{}\n{}\n{}\n", lines[0], lines[1], lines[1], lines[3]), 3),
        (format!("{}\n{}\nnonsense\n{}\n", lines[0], lines[1], lines[3]), 3),
    ] {
        let report = verify(bad.as_bytes(), ledger.verifier());
        assert!(report.errors.iter().any(|error| error.line == line), "{:?}", report.errors);
    }
}

#[test]
fn a_log_whose_source_repeats_itself_does_not_hold() {
    // What only the owner of the log's key can make: one sequence number, two records.
    let (mut source, mut twin) = (Source::new(1, 1), Source::new(1, 1));
    let mut records = vec![source.open_record()];
    records.extend(source.events(2, 10).records);
    twin.record(Kind::EVENT, "x");
    let second = twin.record(Kind::EVENT, "another");
    records.push(second);
    let tree: stele_merkle::MemoryTree =
        records.iter().map(|record| stele_merkle::leaf_hash(&record.header)).collect();
    let root = stele_merkle::root(tree.size(), &tree).unwrap();
    let origin = key().origin().to_owned();
    let signer = key().signer().unwrap();
    let checkpoint = stele_merkle::Checkpoint { origin: origin.clone(), size: tree.size(), root };
    let note = signer.sign(&checkpoint, 1).unwrap();
    let mut file = format!(
        "{}\n",
        serde_json::json!({"format": "stele-evidence/v1", "origin": origin, "checkpoint": note,
            "count": records.len(), "keys": []})
    );
    for (index, record) in (0..).zip(&records) {
        let proof = stele_merkle::inclusion_proof(LeafIndex(index), tree.size(), &tree).unwrap();
        let proof: Vec<String> = proof.iter().map(ToString::to_string).collect();
        let header = STANDARD.encode(&record.header);
        let line = serde_json::json!({"index": index, "record": header, "payload": null,
            "salt": null, "proof": proof});
        file.push_str(&format!("{line}\n"));
    }
    let report = verify(file.as_bytes(), &signer.verifier());
    assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
    assert!(report.errors[0].what.contains("backwards"), "{:?}", report.errors);
}
