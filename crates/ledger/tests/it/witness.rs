//! The witness: each check with its answer, a naive model beside it, many requests at once, stores
//! that fail, and the process killed around the moment at which it makes a checkpoint durable.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stele_ledger::witness::{Decision, Witness, WitnessError};
use stele_ledger::{Cosigner, CosignerKey};
use stele_merkle::checkpoint::{Checkpoint, LogSigner};
use stele_merkle::witness::{AddCheckpoint, Refusal};
use stele_merkle::{
    EMPTY_ROOT, Hash, LogVerifier, MemoryTree, Note, TreeSize, VerifierKey, consistency_proof,
    leaf_hash, root,
};
use stele_store::{Clock, DiskStore, ManualClock, Put, Store, StoreError, UnixNanos};

use crate::common::{Change, HookedStore, Random, fatal, io, memory};

const LOG: &str = "log.example/forked";
/// The log's Ed25519 signature of a tree without leaves whose root is that of one empty leaf.
const IMPOSSIBLE: &str = "— log.example/forked xd91iAAF5JR+PmZUybE6THFC6zO2lhYZL8JFGbulUGMgvs8KyclWmLPo2gxZBm2g4IhuWI78ZYQL7uGSZzNSYj4h6QY=";
/// Leaves that both histories of the log have.
const COMMON: u64 = 20;
const SIZE_MAX: u64 = 64;

/// Two histories of one log: `false` is the true one.
struct Log {
    signer: LogSigner,
    histories: [MemoryTree; 2],
}

impl Log {
    fn new() -> Self {
        let history = |fork: u64| {
            let name = |i: u64| if i < COMMON { format!("{i}") } else { format!("{i} of {fork}") };
            (0..SIZE_MAX).map(|i| leaf_hash(name(i).as_bytes())).collect()
        };
        let signer = LogSigner::from_seed(LOG, &[1; 32], &[2; 32]).unwrap();
        Self { signer, histories: [history(0), history(1)] }
    }

    fn root(&self, fork: usize, size: u64) -> Hash {
        root(TreeSize(size), &self.histories[fork]).unwrap()
    }

    fn note(&self, root: Hash, size: u64) -> Note {
        let checkpoint = Checkpoint { origin: LOG.to_owned(), size: TreeSize(size), root };
        Note::parse(self.signer.sign(&checkpoint, 5).unwrap().as_bytes()).unwrap()
    }

    fn request(&self, fork: usize, old: u64, size: u64) -> AddCheckpoint {
        let proof =
            consistency_proof(TreeSize(old.min(size)), TreeSize(size), &self.histories[fork]);
        let note = self.note(self.root(fork, size), size);
        AddCheckpoint { old: TreeSize(old), proof: proof.unwrap(), note }
    }
}

fn key() -> CosignerKey {
    CosignerKey::from_seeds(Cosigner::Witness, "witness.example/w1", [3; 32], [4; 32]).unwrap()
}

fn at(seconds: i64) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixNanos(seconds * 1_000_000_000)))
}

fn witness_of(store: &Arc<dyn Store>, log: &Log) -> Witness {
    Witness::new(Arc::clone(store), at(1_000), key(), log.signer.verifier_keys())
}

fn ask(witness: &Witness, request: &AddCheckpoint) -> Decision {
    witness.add_checkpoint(request.encode().as_bytes()).unwrap()
}

/// The size that was cosigned, after the lines were verified.
fn cosigned(decision: &Decision, request: &AddCheckpoint) -> u64 {
    let Decision::Cosigned { checkpoint, lines } = decision else { panic!("{decision:?}") };
    let note = Note::new(request.note.text().to_owned(), lines.clone()).unwrap();
    let verified = note.verify(&key().verifier_keys()).unwrap();
    assert_eq!(verified.len(), 2);
    assert!(verified.iter().all(|by| by.time.is_some_and(|time| time > 0)));
    checkpoint.size.0
}

fn status(decision: &Decision) -> u16 {
    match decision {
        Decision::Cosigned { .. } => 200,
        Decision::OtherSize(_) => 409,
        Decision::Refused(refusal) => refusal.status(),
    }
}

#[test]
fn checks_are_made_in_the_order_of_the_specification() {
    let (log, store) = (Log::new(), memory());
    let witness = witness_of(&store, &log);
    let stranger = LogSigner::from_seed("other.example", &[8; 32], &[9; 32]).unwrap();
    let impostor = LogSigner::from_seed(LOG, &[8; 32], &[9; 32]).unwrap();
    let signed = |signer: &LogSigner, old: u64, size: u64| {
        let origin = signer.origin().to_owned();
        let checkpoint = Checkpoint { origin, size: TreeSize(size), root: log.root(0, size) };
        let note = Note::parse(signer.sign(&checkpoint, 5).unwrap().as_bytes()).unwrap();
        AddCheckpoint { old: TreeSize(old), proof: Vec::new(), note }
    };
    let status = |request: &AddCheckpoint| status(&ask(&witness, request));

    // Each request breaks this rule and all later ones.
    assert!(matches!(
        witness.add_checkpoint(b"old 7\n").unwrap(),
        Decision::Refused(Refusal::Malformed(_))
    ));
    assert_eq!(status(&signed(&stranger, 9, 1)), 404);
    assert_eq!(status(&signed(&impostor, 9, 1)), 403);
    assert_eq!(status(&log.request(0, 9, 1)), 400);
    let first = log.request(0, 0, 30);
    assert_eq!(ask(&witness, &log.request(0, 1, 30)), Decision::OtherSize(TreeSize::EMPTY));
    let tainted = AddCheckpoint { proof: vec![EMPTY_ROOT], ..first.clone() };
    assert_eq!(status(&tainted), 422);
    assert_eq!(cosigned(&ask(&witness, &first), &first), 30);
    assert_eq!(ask(&witness, &first), Decision::OtherSize(TreeSize(30)));
    assert_eq!(ask(&witness, &log.request(1, 0, 31)), Decision::OtherSize(TreeSize(30)));
    assert_eq!(ask(&witness, &log.request(1, 29, 29)), Decision::OtherSize(TreeSize(30)));
    // The same size and another root; a proof from another history; a proof too long.
    assert_eq!(status(&log.request(1, 30, 30)), 422);
    assert_eq!(status(&log.request(1, 30, 40)), 422);
    let mut long = log.request(0, 30, 40);
    long.proof.push(EMPTY_ROOT);
    assert_eq!(status(&long), 422);
    let next = log.request(0, 30, 40);
    assert_eq!(cosigned(&ask(&witness, &next), &next), 40);
    let again = log.request(0, 40, 40);
    assert_eq!(cosigned(&ask(&witness, &again), &again), 40);
}

#[test]
fn a_tree_without_leaves_is_cosigned_with_its_one_root() {
    let (log, store) = (Log::new(), memory());
    let witness = witness_of(&store, &log);
    // A log that signs another root for no leaves, made with Go's `note`, since ours does not.
    let impossible = format!("old 0\n\n{LOG}\n0\n{}\n\n{IMPOSSIBLE}\n", leaf_hash(b""));
    assert_eq!(status(&witness.add_checkpoint(impossible.as_bytes()).unwrap()), 422);
    let body = format!("old 0\n\n{}", log.note(EMPTY_ROOT, 0));
    assert_eq!(status(&witness.add_checkpoint(body.as_bytes()).unwrap()), 200);
    assert_eq!(status(&witness.add_checkpoint(body.as_bytes()).unwrap()), 200);
    let next = log.request(0, 0, 5);
    assert_eq!(cosigned(&ask(&witness, &next), &next), 5);
}

#[test]
fn any_trusted_key_is_enough_and_no_wrong_line_is_taken() {
    let (log, store) = (Log::new(), memory());
    let [plain, timed]: [VerifierKey; 2] = log.signer.verifier_keys().try_into().unwrap();
    let only = |key: &VerifierKey| Witness::new(memory(), at(1), key_clone(), [key.clone()]);
    fn key_clone() -> CosignerKey {
        key()
    }
    let both = log.request(0, 0, 3);
    let one_line = |key: &VerifierKey| AddCheckpoint {
        note: both.note.only_by(std::slice::from_ref(key)).unwrap(),
        ..both.clone()
    };
    for (witness, request, expected) in [
        (only(&plain), &both, 200),
        (only(&timed), &both, 200),
        (only(&plain), &one_line(&plain), 200),
        (only(&plain), &one_line(&timed), 403),
        (witness_of(&store, &log), &one_line(&timed), 200),
    ] {
        assert_eq!(status(&ask(&witness, request)), expected);
    }
    // A valid line beside a wrong one of the same log.
    let wrong = log.note(log.root(1, 40), 40).only_by(std::slice::from_ref(&timed)).unwrap();
    let note = one_line(&plain).note.with(wrong.signatures()[0].clone()).unwrap();
    let request = AddCheckpoint { note, ..both.clone() };
    assert_eq!(status(&ask(&witness_of(&memory(), &log), &request)), 403);
}

#[test]
fn what_was_cosigned_is_served_and_carries_no_unchecked_line() {
    let (log, store) = (Log::new(), memory());
    let witness = witness_of(&store, &log);
    let id = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(LOG));
    assert_eq!(witness.latest(&id).unwrap(), None);
    let mut request = log.request(0, 0, 7);
    // A line with the witness's own name and id, not made by it, must not wedge the log.
    let forged = log.request(0, 0, 9);
    let line = match ask(&witness_of(&memory(), &log), &forged) {
        Decision::Cosigned { lines, .. } => lines[0].clone(),
        other => panic!("{other:?}"),
    };
    request.note = request.note.with(line).unwrap();
    assert_eq!(cosigned(&ask(&witness, &request), &request), 7);
    let latest = witness.latest(&id).unwrap().unwrap();
    assert_eq!((latest.checkpoint.size, latest.time_s), (TreeSize(7), 1_000));
    let note = Note::parse(latest.note.as_bytes()).unwrap();
    assert_eq!(note.signatures().len(), 4);
    let mut all = log.signer.verifier_keys();
    all.extend(witness.verifier_keys().to_vec());
    LogVerifier::new(all).require_all().open(latest.note.as_bytes()).unwrap();
    let next = log.request(0, 7, 8);
    assert_eq!(cosigned(&ask(&witness, &next), &next), 8);
    for other in ["", "00", &id[1..], &id.to_uppercase()] {
        assert_eq!(witness.latest(other).unwrap(), None, "{other}");
    }
}

#[test]
fn times_do_not_run_backwards_and_old_objects_are_retired() {
    let (log, store) = (Log::new(), memory());
    let clock = at(1_000);
    let id = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(LOG));
    let keys = log.signer.verifier_keys();
    let witness =
        Witness::new(Arc::clone(&store), Arc::clone(&clock) as Arc<dyn Clock>, key(), keys);
    for size in 0..SIZE_MAX {
        clock.set(UnixNanos(1_000_000_000 * (1_000 - i64::try_from(size).unwrap() * 20)));
        let request = log.request(0, size.saturating_sub(1), size);
        cosigned(&ask(&witness, &request), &request);
        assert_eq!(witness.latest(&id).unwrap().unwrap().time_s, 1_000);
        assert!(store.list("cosigned/", None).unwrap().len() <= 16);
    }
}

#[test]
fn a_damaged_state_is_never_taken_for_none() {
    let (log, store) = (Log::new(), memory());
    let request = log.request(0, 0, 30);
    cosigned(&ask(&witness_of(&store, &log), &request), &request);
    let name = store.list("cosigned/", None).unwrap().pop().unwrap();
    let good = store.read(&name).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        let damaged = memory();
        damaged.put_new(&name, &[&bytes]).unwrap();
        let answer =
            witness_of(&damaged, &log).add_checkpoint(log.request(1, 0, 30).encode().as_bytes());
        // A flip in a line of the log's does not matter to what was cosigned.
        let harmless = matches!(answer, Ok(Decision::OtherSize(TreeSize(30))));
        assert!(
            harmless || matches!(answer, Err(WitnessError::Corrupt { .. })),
            "{at}: {answer:?}"
        );
    }
}

/// What the specification says, in the plainest words: the size and root that were cosigned last.
#[derive(Default)]
struct Model {
    last: Option<(u64, Hash)>,
}

impl Model {
    fn expect(&mut self, log: &Log, request: &AddCheckpoint, known: bool, trusted: bool) -> u16 {
        let checkpoint = Checkpoint::parse_form(request.note.text()).unwrap();
        let (old, size) = (request.old.0, checkpoint.size.0);
        let (last_size, last_root) = self.last.unwrap_or((0, EMPTY_ROOT));
        // The proof is right if it is the one that the history of this root has.
        let history = (0..2).find(|fork| log.root(*fork, size) == checkpoint.root);
        let shown = |fork| {
            old <= size
                && log.root(fork, old) == last_root
                && request.proof == log.request(fork, old, size).proof
        };
        // Of a log that is new to it, a witness takes any tree.
        let right = if old == 0 { request.proof.is_empty() } else { history.is_some_and(shown) };
        match () {
            () if !known => 404,
            () if !trusted => 403,
            () if old > size => 400,
            () if old != last_size => 409,
            () if !right => 422,
            () => {
                self.last = Some((size, checkpoint.root));
                200
            }
        }
    }
}

#[test]
fn a_naive_model_answers_the_same_to_random_requests() {
    let log = Log::new();
    let strangers = [LOG, "other.example"]
        .map(|origin| LogSigner::from_seed(origin, &[8; 32], &[9; 32]).unwrap());
    for seed in Random::seeds(24) {
        let mut random = Random::new(seed);
        let (store, mut model) = (memory(), Model::default());
        let mut witness = witness_of(&store, &log);
        let mut seen = BTreeMap::new();
        for _ in 0..120 {
            let last = model.last.map_or(0, |(size, _)| size);
            let near =
                |random: &mut Random| (last + random.below(9)).saturating_sub(3).min(SIZE_MAX);
            let old = if random.below(3) > 0 { last } else { near(&mut random) };
            let size = near(&mut random);
            let fork = usize::from(random.below(4) == 0);
            let mut request = log.request(fork, old, size);
            match random.below(12) {
                0 => request.proof.push(EMPTY_ROOT),
                1 => drop(request.proof.pop()),
                2 => request.proof.iter_mut().take(1).for_each(|hash| *hash = EMPTY_ROOT),
                3 if last > 0 => request.note = log.note(leaf_hash(b"no such tree"), size.max(1)),
                _ => {}
            }
            let (mut known, mut trusted) = (true, true);
            if random.below(10) == 0 {
                let signer = &strangers[usize::try_from(random.below(2)).unwrap()];
                (known, trusted) = (signer.origin() == LOG, false);
                let checkpoint = Checkpoint::parse(request.note.text()).unwrap();
                let checkpoint = Checkpoint { origin: signer.origin().to_owned(), ..checkpoint };
                let note = signer.sign(&checkpoint, 5).unwrap();
                request.note = Note::parse(note.as_bytes()).unwrap();
            }
            if random.below(10) == 0 {
                witness = witness_of(&store, &log);
            }
            let decision = ask(&witness, &request);
            let expected = model.expect(&log, &request, known, trusted);
            assert_eq!(status(&decision), expected, "seed {seed}: {}", request.encode());
            if let Decision::OtherSize(size) = decision {
                assert_eq!(size.0, last, "seed {seed}");
            }
            *seen.entry(expected).or_insert(0) += 1;
        }
        assert!(seen[&200] > 10, "seed {seed}: {seen:?}");
    }
}

/// All of these trees are of one history, so none contradicts another.
fn assert_one_history(log: &Log, cosigned: &[(u64, Hash)]) {
    let one = (0..2).any(|fork| cosigned.iter().all(|(size, root)| log.root(fork, *size) == *root));
    assert!(one, "{cosigned:?}");
}

#[test]
fn of_many_requests_at_once_no_two_answers_contradict_each_other() {
    const THREADS: u64 = 8;
    let log = Log::new();
    for seed in Random::seeds(4) {
        let store = memory();
        // As of two processes: they share nothing but the store.
        let witnesses = [witness_of(&store, &log), witness_of(&store, &log)];
        let work = |thread: u64| {
            let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(thread));
            let witness = &witnesses[usize::try_from(thread % 2).unwrap()];
            let (mut known, mut cosigned) = (0, Vec::new());
            let fork = usize::try_from(thread / 2 % 2).unwrap();
            for _ in 0..30 {
                let size = (known + random.below(4)).min(SIZE_MAX);
                match ask(witness, &log.request(fork, known, size)) {
                    Decision::Cosigned { checkpoint, .. } => {
                        cosigned.push((checkpoint.size.0, checkpoint.root));
                        known = size;
                    }
                    Decision::OtherSize(size) => known = size.0,
                    Decision::Refused(_) => {}
                }
            }
            cosigned
        };
        let all: Vec<_> = std::thread::scope(|scope| {
            let work = &work;
            let running: Vec<_> = (0..THREADS).map(|t| scope.spawn(move || work(t))).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.len() > 10, "seed {seed}: {}", all.len());
        assert_one_history(&log, &all);
    }
}

/// A store that does something around the n-th create.
fn around_creates(
    inner: &Arc<dyn Store>,
    hook: impl Fn(usize, &dyn Fn() -> Result<Put, StoreError>) -> Result<Put, StoreError>
    + Send
    + Sync
    + 'static,
) -> Arc<dyn Store> {
    let puts = AtomicUsize::new(0);
    HookedStore::shared(inner, move |store, change| match change {
        Change::Create(..) => hook(puts.fetch_add(1, Ordering::SeqCst), &|| change.make(store)),
        _ => change.make(store),
    })
}

/// One process stops between its checks and its create for so long that another one has cosigned
/// many trees meanwhile and retired the very number that the first is about to take.
#[test]
fn a_number_that_was_retired_meanwhile_is_not_won() {
    let (log, inner) = (Arc::new(Log::new()), memory());
    let fast = witness_of(&inner, &log);
    let first = log.request(0, 0, 21);
    cosigned(&ask(&fast, &first), &first);
    let (others, log_of_others) = (Arc::clone(&inner), Arc::clone(&log));
    let slow_store = around_creates(&inner, move |number, put| {
        if number == 0 {
            let fast = witness_of(&others, &log_of_others);
            for size in 22..60 {
                let request = log_of_others.request(0, size - 1, size);
                cosigned(&ask(&fast, &request), &request);
            }
        }
        put()
    });
    // The slow one holds a tree of the other history, which is consistent up to 20 records only.
    let slow = witness_of(&slow_store, &log);
    let same = log.request(0, 21, 25);
    assert_eq!(ask(&slow, &same), Decision::OtherSize(TreeSize(59)));
    let next = log.request(0, 59, 60);
    assert_eq!(cosigned(&ask(&fast, &next), &next), 60);
    assert_eq!(ask(&fast, &same), Decision::OtherSize(TreeSize(60)));
}

#[test]
fn stores_that_fail_leave_no_cosignature_without_a_durable_checkpoint() {
    let log = Log::new();
    let request = log.request(0, 0, 30);
    let body = request.encode();

    let inner = memory();
    let before =
        around_creates(&inner, move |number, put| if number == 0 { Err(io()) } else { put() });
    let witness_before = witness_of(&before, &log);
    assert!(matches!(witness_before.add_checkpoint(body.as_bytes()), Err(WitnessError::Store(_))));
    assert!(inner.list("cosigned/", None).unwrap().is_empty());
    assert_eq!(cosigned(&ask(&witness_before, &request), &request), 30);

    // The create succeeds and its answer is lost: reading back shows that it is there.
    let inner = memory();
    let after = around_creates(&inner, move |_, put| put().and(Err(io())));
    assert_eq!(cosigned(&ask(&witness_of(&after, &log), &request), &request), 30);

    let inner = memory();
    let dying = around_creates(&inner, move |_, put| put().and(Err(fatal())));
    let dying = witness_of(&dying, &log);
    assert!(matches!(dying.add_checkpoint(body.as_bytes()), Err(WitnessError::Stopped(_))));
    assert!(dying.stopped().is_some());
    assert!(matches!(dying.add_checkpoint(body.as_bytes()), Err(WitnessError::Stopped(_))));
    // After a restart it knows what may have been durable.
    assert_eq!(
        ask(&witness_of(&inner, &log), &log.request(1, 0, 30)),
        Decision::OtherSize(TreeSize(30))
    );
}

const DIRECTORY: &str = "STELE_WITNESS_DIRECTORY";
const KILL_AT: &str = "STELE_WITNESS_KILL_AT";

/// Cosigns whatever it can of both histories, until it is killed around its n-th create: before it,
/// or after it and before the answer. Not a test of its own.
#[test]
#[ignore = "the process that is killed"]
fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let at: usize = std::env::var(KILL_AT).unwrap().parse().unwrap();
    let disk: Arc<dyn Store> = Arc::new(DiskStore::open(Path::new(&directory)).unwrap());
    let store = around_creates(&disk, move |number, put| {
        if number == at / 2 && at.is_multiple_of(2) {
            std::process::abort();
        }
        let put = put();
        if number == at / 2 {
            std::process::abort();
        }
        put
    });
    let log = Log::new();
    let witness = witness_of(&store, &log);
    let mut known = 0;
    loop {
        for fork in [0, 1] {
            let size = (known + 1).min(SIZE_MAX);
            match ask(&witness, &log.request(fork, known, size)) {
                Decision::Cosigned { checkpoint, .. } => {
                    let root = checkpoint.root;
                    writeln!(std::io::stderr(), "cosigned {} {root}", checkpoint.size).unwrap();
                    known = size;
                }
                Decision::OtherSize(size) => known = size.0,
                Decision::Refused(_) => {}
            }
        }
    }
}

#[test]
fn killed_around_its_create_it_never_contradicts_what_it_answered() {
    let log = Log::new();
    let directory = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for at in [1, 0, 7, 2, 12, 3, 18, 1] {
        let victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "witness::victim", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(KILL_AT, at.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(!victim.status.success());
        for line in String::from_utf8(victim.stderr).unwrap().lines() {
            let Some((size, root)) =
                line.strip_prefix("cosigned ").and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            all.push((size.parse().unwrap(), root.parse().unwrap()));
        }
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.path()).unwrap());
        let id = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(LOG));
        let last = witness_of(&store, &log).latest(&id).unwrap().map(|last| last.checkpoint);
        let mut with_last = all.clone();
        with_last.extend(last.map(|last| (last.size.0, last.root)));
        assert_one_history(&log, &with_last);
        assert!(all.iter().all(|answered| answered.0 <= with_last.last().unwrap().0));
    }
    assert!(all.len() > 15, "{all:?}");
}
