//! What a ledger stores and exports.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use stele_ledger::{Ledger, LedgerOptions, LogKey, evidence as evidence_file, parse_public_keys};
use stele_merkle::{LeafIndex, LogVerifier};
use stele_store::{Clock, ManualClock, MemoryStore, ObjectName, Store, UnixNanos};

use crate::record::submission_of;

const LOG_INFO: &str = "ledger/log-info";
const RECORDS: u64 = 9;
/// Prefix of a segment: eight bytes, its version, the length of its header.
const PREFIX_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;

/// A small ledger: its objects, its evidence, its keys.
struct Sample {
    log_info: Vec<u8>,
    segment: ObjectName,
    segment_bytes: Vec<u8>,
    evidence: Vec<u8>,
    public_keys: String,
    verifier: LogVerifier,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let key = LogKey::from_seeds("log.example/fuzz", [1; 32], [2; 32]).unwrap();
        let clock: Arc<dyn Clock> =
            Arc::new(ManualClock::new(UnixNanos(1_795_000_000_000_000_000)));
        let options =
            LedgerOptions { checkpoint_record_pause: Duration::MAX, ..LedgerOptions::default() };
        let ledger = Ledger::create(Arc::clone(&store), &key, clock, options).unwrap();
        ledger.append_blocking(submission_of(RECORDS)).unwrap();
        let mut evidence = Vec::new();
        let indices: Vec<LeafIndex> = (0..ledger.size().0).map(LeafIndex).collect();
        evidence_file::write(&ledger, &indices, &mut evidence).unwrap();
        let segment = store.list("segments/", None).unwrap().remove(0);
        let read = |name: &ObjectName| store.read(name).unwrap().to_vec();
        Sample {
            log_info: read(&ObjectName::parse(LOG_INFO).unwrap()),
            segment_bytes: read(&segment),
            segment,
            evidence,
            public_keys: key.public_text().unwrap(),
            verifier: ledger.verifier().clone(),
        }
    })
}

/// The bytes with the digest of the header made right, so that what is behind it is reached.
fn with_digest(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let Some(length) = data.get(12..PREFIX_BYTES).and_then(|length| length.try_into().ok()) else {
        return bytes;
    };
    let end = PREFIX_BYTES.saturating_add(u32::from_be_bytes(length) as usize);
    if let Some(header) = data.get(..end) {
        let digest = Sha256::digest(header);
        if let Some(stored) = bytes.get_mut(end..end + DIGEST_BYTES) {
            stored.copy_from_slice(&digest);
        }
    }
    bytes
}

pub(crate) fn segment(data: &[u8]) -> bool {
    let sample = sample();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    store.put_new(&ObjectName::parse(LOG_INFO).unwrap(), &[&sample.log_info]).unwrap();
    store.put_new(&sample.segment, &[&with_digest(data)]).unwrap();
    let Ok(reader) = Ledger::open_read_only(store, &sample.verifier) else { return false };
    let mut leaves = BTreeMap::new();
    let read = reader.scan(0..u64::MAX, &mut |record| {
        leaves.insert(record.index, record.leaf_hash);
        ControlFlow::Continue(())
    });
    // What is read without a fault is what the tree has.
    for (index, leaf) in &leaves {
        let proof = reader.inclusion_proof(*index, reader.size()).unwrap();
        let root = reader.root(reader.size()).unwrap();
        stele_merkle::verify_inclusion(*leaf, *index, reader.size(), &proof, root).unwrap();
    }
    read.is_ok() && leaves.len() as u64 == reader.size().0
}

pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    vec![sample().segment_bytes.clone()]
}

pub(crate) fn evidence(data: &[u8]) -> bool {
    let sample = sample();
    let report = evidence_file::verify(&mut &data[..], &sample.verifier).unwrap();
    // The log has one checkpoint that evidence is written for.
    assert!(!report.holds() || report.size == RECORDS, "{report:?}");
    report.holds()
}

pub(crate) fn evidence_seeds() -> Vec<Vec<u8>> {
    vec![sample().evidence.clone()]
}

pub(crate) fn public_keys(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    parse_public_keys(text).is_ok_and(|log| !log.keys().is_empty())
}

pub(crate) fn public_keys_seeds() -> Vec<Vec<u8>> {
    vec![format!("# of the log\n\n{}", sample().public_keys).into_bytes()]
}
