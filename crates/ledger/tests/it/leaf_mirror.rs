//! A mirror of leaves: what is pushed is held if it was proven, served as it was, and cosigned once it
//! is whole; wrong entries, wrong proofs, interruptions and ends at any write change nothing of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use stele_ledger::leaf_mirror::{LeafMirror, LeafMirrorError, UploadDecision};
use stele_ledger::witness::Decision;
use stele_ledger::{Cosigner, CosignerKey, SubtreeDecision};
use stele_merkle::mirror::{Package, packages};
use stele_merkle::tile::{TILE_WIDTH, TilePath, encode_bundle, encode_hashes, width_at};
use stele_merkle::witness::{AddCheckpoint, Refusal, SignSubtree};
use stele_merkle::{
    Checkpoint, Hash, LogSigner, LogVerifier, MemoryTree, Note, Subtree, TreeSize,
    consistency_proof, leaf_hash, root,
};
use stele_store::{Clock, Store, StoreError};

use crate::common::{HookedStore, Random, clock, memory};

const LOG: &str = "log.example/pushed";
/// More than a tile of tiles.
const SIZE_MAX: u64 = 66_000;

/// A log with entries of all lengths, the empty one among them.
struct Log {
    signer: LogSigner,
    entries: Vec<Vec<u8>>,
    tree: MemoryTree,
}

impl Log {
    fn new(size: u64) -> Self {
        let entry = |n: u64| n.to_string().repeat((n % 7) as usize).into_bytes();
        let entries: Vec<Vec<u8>> = (0..size).map(entry).collect();
        let tree = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let signer = LogSigner::from_seed(LOG, &[1; 32], &[2; 32]).unwrap();
        Self { signer, entries, tree }
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let root = root(TreeSize(size), &self.tree).unwrap();
        Checkpoint { origin: LOG.to_owned(), size: TreeSize(size), root }
    }

    fn announce(&self, mirror: &LeafMirror, old: u64, size: u64) {
        let note = self.signer.sign(&self.checkpoint(size), 7).unwrap();
        let proof = consistency_proof(TreeSize(old), TreeSize(size), &self.tree).unwrap();
        let note = Note::parse(note.as_bytes()).unwrap();
        let request = AddCheckpoint { old: TreeSize(old), proof, note };
        let decision = mirror.add_checkpoint(request.encode().as_bytes()).unwrap();
        let Decision::Cosigned { lines, .. } = decision else { panic!("{decision:?}") };
        assert_eq!(lines, [], "a mirror cosigns nothing that it does not hold");
    }

    fn entries(&self, start: u64, end: u64) -> Vec<&[u8]> {
        self.entries[start as usize..end as usize].iter().map(Vec::as_slice).collect()
    }

    /// Uploads up to `count` packages, from where the mirror is.
    fn upload(
        &self,
        mirror: &LeafMirror,
        end: u64,
        count: usize,
    ) -> Result<Option<UploadDecision>, LeafMirrorError> {
        let next = match mirror.begin(LOG, end, TreeSize(end))? {
            Ok(_) => end,
            Err(UploadDecision::Conflict(info)) => info.next,
            Err(other) => panic!("{other:?}"),
        };
        let upload = match mirror.begin(LOG, next.min(end), TreeSize(end))? {
            Ok(upload) => upload,
            Err(decision) => return Ok(Some(decision)),
        };
        for range in packages(next.min(end), TreeSize(end)).take(count) {
            let entries = self.entries(range.start(), range.end());
            let proof = range.subtree().proof(TreeSize(end), &self.tree).unwrap();
            mirror.take(&upload, range, &Package { entries, proof })?.unwrap();
        }
        if mirror.is_whole(&upload) { mirror.finish(&upload).map(Some) } else { Ok(None) }
    }

    /// All tiles of the tree, naively.
    fn tiles(&self, size: u64) -> Vec<(TilePath, Vec<u8>)> {
        let width = u64::from(TILE_WIDTH);
        let mut tiles = Vec::new();
        for bundle in 0..size.div_ceil(width) {
            let entries = self.entries(bundle * width, size.min((bundle + 1) * width));
            let path = TilePath::entries(bundle, entries.len() as u16).unwrap();
            tiles.push((path, encode_bundle(entries).unwrap()));
        }
        let mut nodes: Vec<Hash> = self.entries(0, size).into_iter().map(leaf_hash).collect();
        for level in 0.. {
            for (tile, hashes) in nodes.chunks(TILE_WIDTH.into()).enumerate() {
                let path = TilePath::hashes(level, tile as u64, hashes.len() as u16).unwrap();
                assert_eq!(width_at(level, tile as u64, TreeSize(size)), path.width());
                tiles.push((path, encode_hashes(hashes)));
            }
            let full = nodes.chunks_exact(TILE_WIDTH.into());
            let of = |hashes: &[Hash]| {
                let tree: MemoryTree = hashes.iter().copied().collect();
                root(TreeSize(width), &tree).unwrap()
            };
            nodes = full.map(of).collect();
            if nodes.is_empty() {
                return tiles;
            }
        }
        unreachable!()
    }
}

fn key() -> CosignerKey {
    CosignerKey::from_seeds(Cosigner::Mirror, "mirror.example", [3; 32], [4; 32]).unwrap()
}

fn mirror(store: &Arc<dyn Store>, log: &Log) -> Result<LeafMirror, LeafMirrorError> {
    let clock: Arc<dyn Clock> = clock();
    LeafMirror::open(Arc::clone(store), clock, key(), log.signer.verifier_keys(), [])
}

fn hash() -> String {
    hex::encode(Sha256::digest(LOG))
}

/// What is served is the log's, whole, with the signatures of both.
fn holds(mirror: &LeafMirror, log: &Log, size: u64) {
    let latest = mirror.latest(&hash()).unwrap().unwrap();
    let keys = log.signer.verifier_keys().into_iter().chain(key().verifier_keys());
    let all = LogVerifier::new(keys).require_all();
    assert_eq!(all.open(latest.note.as_bytes()).unwrap(), log.checkpoint(size));
    for (path, bytes) in log.tiles(size) {
        assert_eq!(mirror.tile(&hash(), path).unwrap(), Some(bytes), "{path} of {size}");
    }
    let absent = TilePath::entries(size.div_ceil(256) + 1, 1).unwrap();
    assert_eq!(mirror.tile(&hash(), absent).unwrap(), None);
}

#[test]
fn what_is_pushed_in_any_pieces_is_held_served_and_cosigned() {
    let log = Log::new(3_000);
    for seed in Random::seeds(6) {
        let mut random = Random::new(seed);
        let store = memory();
        let (mut pending, mut held) = (0, 0);
        for _ in 0..12 {
            // Opened again each time: nothing is known but what is stored.
            let mirror = mirror(&store, &log).unwrap();
            let size = pending + random.below(400);
            log.announce(&mirror, pending, size);
            pending = size;
            let decision = log.upload(&mirror, size, 1 + random.below(3) as usize).unwrap();
            if let Some(UploadDecision::Cosigned { size, lines }) = &decision {
                assert_eq!((size.0, lines.len()), (pending, 2), "seed {seed}");
                held = pending;
            }
            if held > 0 {
                holds(&mirror, &log, held);
            }
        }
        let mirror = mirror(&store, &log).unwrap();
        let decision = log.upload(&mirror, pending, usize::MAX).unwrap();
        assert!(matches!(decision, Some(UploadDecision::Cosigned { .. })), "seed {seed}");
        holds(&mirror, &log, pending);
        let partial = store.list(&format!("mirrored/{}/partial/", hash()), None).unwrap();
        assert!(partial.len() <= 1, "{partial:?}");
    }
}

#[test]
fn tiles_of_tiles_are_served_too() {
    let (log, store) = (Log::new(SIZE_MAX), memory());
    let mirror = mirror(&store, &log).unwrap();
    log.announce(&mirror, 0, SIZE_MAX);
    log.upload(&mirror, SIZE_MAX, usize::MAX).unwrap().unwrap();
    holds(&mirror, &log, SIZE_MAX);
}

#[test]
fn nothing_is_held_that_was_not_proven() {
    let (log, store) = (Log::new(700), memory());
    let mirror = mirror(&store, &log).unwrap();
    let conflict = |start, end| match mirror.begin(LOG, start, TreeSize(end)).unwrap() {
        Err(UploadDecision::Conflict(info)) => (info.size.0, info.next),
        other => panic!("{other:?}"),
    };
    assert_eq!(conflict(0, 0), (0, 0));
    assert!(matches!(
        mirror.begin("log.example/other", 0, TreeSize(0)).unwrap(),
        Err(UploadDecision::Refused(Refusal::UnknownLog { .. }))
    ));
    log.announce(&mirror, 0, 300);
    log.announce(&mirror, 300, 700);
    assert_eq!(conflict(0, 500), (700, 0));
    assert_eq!(conflict(1, 300), (300, 0));
    let upload = mirror.begin(LOG, 0, TreeSize(300)).unwrap().unwrap();
    let ranges: Vec<_> = packages(0, TreeSize(300)).collect();
    let good = |at: usize| {
        let entries = log.entries(ranges[at].start(), ranges[at].end());
        let proof = ranges[at].subtree().proof(TreeSize(300), &log.tree).unwrap();
        Package { entries, proof }
    };
    let refused = |at: usize, package: &Package<'_>| {
        mirror.take(&upload, ranges[at], package).unwrap().unwrap_err().status()
    };
    for (at, change) in [(0, 0), (0, 255), (0, 9)] {
        let mut wrong = good(at);
        wrong.entries[change] = b"another";
        assert_eq!(refused(at, &wrong), 422);
        let mut wrong = good(at);
        wrong.proof[0] = leaf_hash(b"");
        assert_eq!(refused(at, &wrong), 422);
        wrong.proof.pop();
        assert_eq!(refused(at, &wrong), 422);
    }
    // The second package comes first: what is before it is missing.
    assert_eq!(refused(1, &good(1)), 400);
    assert_eq!(mirror.info(&upload).next, 0);
    // Only what is whole is cosigned, and the smaller checkpoint still counts.
    mirror.take(&upload, ranges[0], &good(0)).unwrap().unwrap();
    assert!(!mirror.is_whole(&upload));
    assert!(matches!(mirror.finish(&upload).unwrap(), UploadDecision::Conflict(_)));
    mirror.take(&upload, ranges[1], &good(1)).unwrap().unwrap();
    let done = mirror.finish(&upload).unwrap();
    assert!(matches!(done, UploadDecision::Cosigned { size: TreeSize(300), .. }));
    holds(&mirror, &log, 300);
    // The same again, and a package that is held already, change nothing.
    mirror.take(&upload, ranges[0], &good(0)).unwrap().unwrap();
    assert_eq!(mirror.finish(&upload).unwrap(), done);
    // After a later one, no smaller one is cosigned.
    log.upload(&mirror, 700, usize::MAX).unwrap().unwrap();
    assert!(matches!(mirror.finish(&upload).unwrap(), UploadDecision::Conflict(_)));
    assert_eq!(conflict(0, 300), (700, 700));
    holds(&mirror, &log, 700);
}

#[test]
fn an_end_at_any_write_loses_nothing_that_was_cosigned() {
    let log = Log::new(600);
    let mut writes = 0;
    loop {
        let inner = memory();
        let left = AtomicU64::new(writes);
        let store = HookedStore::shared(&inner, move |store, change| {
            let left = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            left.map_err(|_| StoreError::Full)?;
            change.make(store)
        });
        let mut cosigned = 0;
        let mut run = || -> Result<(), LeafMirrorError> {
            let mirror = mirror(&store, &log)?;
            for (old, size) in [(0, 200), (200, 512), (512, 600)] {
                let note = log.signer.sign(&log.checkpoint(size), 7).unwrap();
                let tree = &log.tree;
                let proof = consistency_proof(TreeSize(old), TreeSize(size), tree).unwrap();
                let note = Note::parse(note.as_bytes()).unwrap();
                let request = AddCheckpoint { old: TreeSize(old), proof, note };
                mirror.add_checkpoint(request.encode().as_bytes())?;
                if let Some(UploadDecision::Cosigned { size, .. }) =
                    log.upload(&mirror, size, usize::MAX)?
                {
                    cosigned = size.0;
                }
            }
            Ok(())
        };
        let ended = run().is_err();
        let again = mirror(&inner, &log).unwrap();
        if cosigned > 0 {
            let latest = again.latest(&hash()).unwrap().unwrap();
            assert!(latest.checkpoint.size.0 >= cosigned, "{writes} writes");
            holds(&again, &log, latest.checkpoint.size.0);
        }
        let old = match again.begin(LOG, 0, TreeSize(9_999)).unwrap() {
            Err(UploadDecision::Conflict(info)) => info.size.0,
            other => panic!("{other:?}"),
        };
        log.announce(&again, old, 600);
        log.upload(&again, 600, usize::MAX).unwrap().unwrap();
        holds(&again, &log, 600);
        if !ended {
            break;
        }
        writes += 1;
    }
    assert!(writes > 10, "{writes}");
}

#[test]
fn subtrees_of_what_was_cosigned_are_cosigned() {
    let (log, store) = (Log::new(700), memory());
    let mirror = mirror(&store, &log).unwrap();
    let subtree = Subtree::new(256, 400).unwrap();
    let hash_of = |subtree: Subtree| subtree.root(&log.tree).unwrap();
    let request = |size: u64, signatures: Vec<_>| SignSubtree {
        subtree,
        hash: hash_of(subtree),
        cosignatures: Vec::new(),
        proof: subtree.proof(TreeSize(size), &log.tree).unwrap(),
        checkpoint: log.checkpoint(size).body(),
        signatures,
    };
    let ask = |request: &SignSubtree| mirror.sign_subtree(request.encode().as_bytes()).unwrap();
    let status = |request: &SignSubtree| match ask(request) {
        SubtreeDecision::Refused(refusal) => refusal.status(),
        SubtreeDecision::Unknown(_) => 409,
        _ => 200,
    };
    log.announce(&mirror, 0, 500);
    // The log's own signature is not the mirror's.
    let signed = log.signer.sign(&log.checkpoint(500), 7).unwrap();
    let by_log = Note::parse(signed.as_bytes()).unwrap().signatures().to_vec();
    assert_eq!(status(&request(500, by_log.clone())), 403);
    let Some(UploadDecision::Cosigned { lines, .. }) =
        log.upload(&mirror, 500, usize::MAX).unwrap()
    else {
        panic!()
    };
    for signatures in [Vec::new(), by_log, lines] {
        let decision = ask(&request(500, signatures));
        let SubtreeDecision::Cosigned(lines) = decision else { panic!("{decision:?}") };
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let key = &key().verifier_keys()[1];
        assert!(subtree.is_cosigned(line, key, LOG, hash_of(subtree)));
    }
    assert_eq!(status(&request(600, Vec::new())), 409);
    let mut wrong = request(500, Vec::new());
    wrong.hash = leaf_hash(b"");
    assert_eq!(status(&wrong), 422);
    let mut wrong = request(500, Vec::new());
    wrong.checkpoint = wrong.checkpoint.replacen(LOG, "log.example/other", 1);
    assert_eq!(status(&wrong), 404);
    let mut wrong = request(500, Vec::new());
    wrong.checkpoint = log.checkpoint(300).body();
    assert_eq!(status(&wrong), 400);
}
