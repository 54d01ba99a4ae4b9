//! The log's key is replaced: whoever pins the key of any time goes on, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use stele_ledger::cosigning::Cosigning;
use stele_ledger::evidence::{self, Report, follow};
use stele_ledger::{
    AppendError, Cosigner, CosignerKey, FsckOptions, Ledger, LedgerError, LedgerOptions, LogKey,
    Mirror, Progress, Remedy, fsck, fsck_with,
};
use stele_merkle::{Checkpoint, LeafIndex, LogVerifier, Policy, TreeSize};
use stele_record::{Kind, Seq};
use stele_store::{MemoryStore, Store};

use crate::common::{Source, clock, options, wait_for_packs};

const LOG: &str = "example.org/rotated";

fn key(seed: u8) -> LogKey {
    key_of(LOG, seed)
}

fn key_of(origin: &str, seed: u8) -> LogKey {
    LogKey::from_seeds(origin, [seed; 32], [seed + 100; 32]).unwrap()
}

fn pin(seed: u8) -> LogVerifier {
    key(seed).signer().unwrap().verifier()
}

/// Every segment also gets a checkpoint of the ledger's own.
fn recording() -> LedgerOptions {
    LedgerOptions { checkpoint_record_pause: Duration::ZERO, ..options(256) }
}

fn open(store: &Arc<dyn Store>, key: &LogKey) -> Result<Ledger, LedgerError> {
    Ledger::open(Arc::clone(store), key, clock(), recording())
}

fn rotate(store: &Arc<dyn Store>, old: &LogKey, new: &LogKey) -> Result<LeafIndex, LedgerError> {
    Ledger::rotate_key(Arc::clone(store), old, new, clock(), recording())
}

/// A log whose first key was replaced `rotations` times, with records before, between and after.
fn rotated(origin: &str, first: u8, rotations: u8) -> (Arc<dyn Store>, Vec<LeafIndex>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut ledger =
        Ledger::create(Arc::clone(&store), &key_of(origin, first), clock(), recording()).unwrap();
    let mut source = Source::new(7, 1);
    ledger.append_blocking(source.events(20, 30)).unwrap();
    let mut indices = Vec::new();
    for n in first..first + rotations {
        ledger.close();
        drop(ledger);
        indices.push(rotate(&store, &key_of(origin, n), &key_of(origin, n + 1)).unwrap());
        ledger = open(&store, &key_of(origin, n + 1)).unwrap();
        ledger.append_blocking(source.events(150, 30)).unwrap();
    }
    let packs = ledger.size().0 / 256;
    wait_for_packs(&*store, usize::try_from(packs).unwrap());
    ledger.close();
    (store, indices)
}

fn export(store: &Arc<dyn Store>, pinned: &LogVerifier, indices: &[u64]) -> String {
    let reader = Ledger::open_read_only(Arc::clone(store), pinned).unwrap();
    let indices: Vec<LeafIndex> = indices.iter().map(|index| LeafIndex(*index)).collect();
    let mut out = Vec::new();
    evidence::write(&reader, &indices, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verify(file: &str, pinned: &LogVerifier) -> Report {
    evidence::verify(&mut file.as_bytes(), pinned).unwrap()
}

/// The file with its manifest changed.
fn changed(file: &str, change: impl FnOnce(&mut Value)) -> String {
    let (first, rest) = file.split_once('\n').unwrap();
    let mut manifest: Value = serde_json::from_str(first).unwrap();
    change(&mut manifest);
    format!("{manifest}\n{rest}")
}

#[test]
fn the_hand_over_is_signed_by_both_and_what_follows_by_the_new_key() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = Ledger::create(Arc::clone(&store), &key(1), clock(), recording()).unwrap();
    ledger.append_blocking(Source::new(7, 1).events(3, 30)).unwrap();
    ledger.close();
    drop(ledger);
    let index = rotate(&store, &key(1), &key(2)).unwrap();

    let reader = Ledger::open_read_only(Arc::clone(&store), &pin(1)).unwrap();
    let handed_over = reader.signed_checkpoint().unwrap();
    assert!(handed_over.size.contains(index));
    for known in [1, 2] {
        pin(known).open(handed_over.note.as_bytes()).unwrap();
    }
    let record = reader.read(index).unwrap();
    assert_eq!(record.header.kind, Kind::KEY_ROTATION);

    let refused = open(&store, &key(1)).unwrap_err();
    assert!(matches!(refused, LedgerError::RetiredKey { rotated_at, .. } if rotated_at == index));
    let refused = open(&store, &key(3)).unwrap_err();
    assert!(matches!(refused, LedgerError::WrongKey { .. }), "{refused}");
    let ledger = open(&store, &key(2)).unwrap();
    let mut source = Source::new(8, 1);
    let receipt = ledger.append_blocking(source.events(3, 30)).unwrap();
    let note = receipt.checkpoint.note.as_bytes();
    pin(2).open(note).unwrap();
    pin(1).open(note).unwrap_err();
    for known in [1, 2] {
        reader.following(&pin(known)).unwrap().open(note).unwrap();
        ledger.following(&pin(known)).unwrap().open(handed_over.note.as_bytes()).unwrap();
    }
    ledger.verifier().open(handed_over.note.as_bytes()).unwrap();
}

#[test]
fn fsck_and_reading_hold_with_the_key_of_any_time_and_no_other() {
    let (store, _) = rotated(LOG, 1, 2);
    assert_eq!(store.list("packs/", None).unwrap().len(), 1);
    for known in 1..=3 {
        let report = fsck(&*store, &pin(known), &mut |_| {});
        assert_eq!(report.problems, [], "pinned {known}");
        assert!(report.checkpoints >= 4, "{report:?}");
        let reader = Ledger::open_read_only(Arc::clone(&store), &pin(known)).unwrap();
        assert_eq!(reader.signed_checkpoint().unwrap().size, reader.size());
        assert_eq!(reader.rotations().unwrap().len(), 2);
    }
    let report = fsck(&*store, &pin(9), &mut |_| {});
    let whats: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(whats, ["it names keys that are not the log's", "no known key signed the note"]);
    let reader = Ledger::open_read_only(Arc::clone(&store), &pin(9)).unwrap();
    assert_eq!(reader.signed_checkpoint(), None);
}

#[test]
fn a_rotation_that_was_interrupted_is_finished_by_a_repeat() {
    let (store, indices) = rotated(LOG, 1, 1);
    assert_eq!(rotate(&store, &key(1), &key(2)).unwrap(), indices[0]);
    let refused = rotate(&store, &key(1), &key(3)).unwrap_err();
    assert!(matches!(refused, LedgerError::WrongKey { .. }), "{refused}");
    let refused = rotate(&store, &key(2), &key_of("other", 3)).unwrap_err();
    assert!(matches!(refused, LedgerError::WrongKey { .. }), "{refused}");
    for old in [1, 2] {
        let refused = rotate(&store, &key(2), &key(old)).unwrap_err();
        assert!(matches!(refused, LedgerError::NotRotated(_)), "{refused}");
    }
    open(&store, &key(2)).unwrap();
}

#[test]
fn an_empty_log_can_have_its_key_replaced() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    drop(Ledger::create(Arc::clone(&store), &key(1), clock(), recording()).unwrap());
    assert_eq!(rotate(&store, &key(1), &key(2)).unwrap(), LeafIndex(1));
    let report = verify(&export(&store, &pin(1), &[0, 1, 2]), &pin(1));
    assert!(report.holds(), "{report:?}");
}

#[test]
fn evidence_holds_for_whoever_pins_the_key_of_any_time() {
    let (store, indices) = rotated(LOG, 1, 2);
    let file = export(&store, &pin(3), &[0, indices[0].0, 170]);
    for known in 1..=3 {
        let report = verify(&file, &pin(known));
        assert!(report.holds(), "pinned {known}: {:?}", report.errors);
        assert_eq!(report.checks.last().unwrap().count, 2);
        let line = file.lines().next().unwrap().as_bytes();
        let following = follow(line, &pin(known)).unwrap();
        assert_eq!(following.current_keys(), pin(3).keys());
    }
    let one = LogVerifier::new([pin(1).keys()[0].clone()]).require_all();
    assert!(verify(&file, &one).holds());
    assert!(!verify(&file, &pin(9)).holds());
}

#[test]
fn histories_that_were_cut_reordered_changed_or_taken_elsewhere_are_refused() {
    let (store, _) = rotated(LOG, 1, 2);
    let file = export(&store, &pin(3), &[0]);
    let refused = |file: &str| {
        let report = verify(file, &pin(1));
        assert!(!report.holds());
        report.errors[0].what.clone()
    };
    for cut in 0..2 {
        let cut = changed(&file, |m| drop(m["rotations"].as_array_mut().unwrap().remove(cut)));
        refused(&cut);
    }
    refused(&changed(&file, |m| drop(m.as_object_mut().unwrap().remove("rotations"))));
    let what = refused(&changed(&file, |m| m["rotations"].as_array_mut().unwrap().reverse()));
    assert!(what.contains("does not continue the history"), "{what}");
    // It may not say that it is elsewhere, or be proven with what belongs to the other one.
    refused(&changed(&file, |m| m["rotations"][0]["index"] = 22.into()));
    for field in ["proof", "consistency", "payload", "salt", "record"] {
        refused(&changed(&file, |m| {
            m["rotations"][0][field] = m["rotations"][1][field].clone();
        }));
    }
    // Another log, with other keys; and another log with the same keys, as a fork has them.
    let (other, _) = rotated("example.org/other", 1, 2);
    let theirs = export(&other, &key_of("example.org/other", 1).signer().unwrap().verifier(), &[0]);
    let mut theirs: Value = serde_json::from_str(theirs.lines().next().unwrap()).unwrap();
    refused(&changed(&file, |m| m["rotations"] = theirs["rotations"].take()));
    let fork = rotated_fork();
    let mut fork: Value = serde_json::from_str(fork.lines().next().unwrap()).unwrap();
    let what = refused(&changed(&file, |m| m["rotations"] = fork["rotations"].take()));
    assert!(what.contains("is not of the log that is signed"), "{what}");
}

/// The first line of a log with the same keys but other records.
fn rotated_fork() -> String {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = Ledger::create(Arc::clone(&store), &key(1), clock(), recording()).unwrap();
    ledger.append_blocking(Source::new(9, 1).events(40, 30)).unwrap();
    ledger.close();
    drop(ledger);
    for n in 1..3 {
        rotate(&store, &key(n), &key(n + 1)).unwrap();
    }
    export(&store, &pin(3), &[0])
}

#[test]
fn a_checkpoint_by_a_retired_key_is_told_of_as_a_fork() {
    let (store, indices) = rotated(LOG, 1, 1);
    let reader = Ledger::open_read_only(Arc::clone(&store), &pin(2)).unwrap();
    let size = reader.size();
    let stolen = key(1).signer().unwrap();
    let sign = |size, root| {
        let checkpoint = Checkpoint { origin: LOG.to_owned(), size, root };
        stolen.sign(&checkpoint, 1_700_000_000).unwrap()
    };
    // Of this very tree, and of one that is made up.
    for root in [reader.root(size).unwrap(), reader.root(TreeSize(5)).unwrap()] {
        let note = sign(size, root);
        let said = reader.following(&pin(2)).unwrap().open(note.as_bytes()).unwrap_err();
        let said = said.to_string();
        assert!(said.contains(&format!("replaced by record {}", indices[0])), "{said}");
        assert!(said.contains("a fork"), "{said}");
        let file = export(&store, &pin(2), &[0]);
        let report = verify(&changed(&file, |m| m["checkpoint"] = note.into()), &pin(1));
        assert!(report.errors[0].what.contains("a fork"), "{:?}", report.errors);
    }
    // Beside the log it is not believed either, and `fsck` says why.
    let name = stele_store::ObjectName::parse("checkpoint").unwrap();
    store.put_hint(&name, sign(size, reader.root(size).unwrap()).as_bytes()).unwrap();
    let reader = Ledger::open_read_only(Arc::clone(&store), &pin(1)).unwrap();
    assert_eq!(reader.signed_checkpoint(), None);
    let report = fsck(&*store, &pin(1), &mut |_| {});
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].what.contains("a fork"), "{:?}", report.problems);
}

#[test]
fn a_writer_that_finds_its_key_replaced_signs_no_more() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let appending = Ledger::create(Arc::clone(&store), &key(1), clock(), recording()).unwrap();
    let following = open(&store, &key(1)).unwrap();
    let mut source = Source::new(7, 1);
    appending.append_blocking(source.events(3, 30)).unwrap();
    let index = rotate(&store, &key(1), &key(2)).unwrap();

    let refused = appending.append_blocking(source.events(3, 30)).unwrap_err();
    assert!(matches!(refused, AppendError::Stopped(_)), "{refused}");
    following.follow_blocking().unwrap_err();
    for ledger in [&appending, &following] {
        let why = ledger.append_blocking(Source::new(8, 1).events(1, 30)).unwrap_err().to_string();
        assert!(why.contains("open the ledger again with the new key"), "{why}");
        let last = ledger.checkpoint();
        assert!(!last.size.contains(index), "{} is signed", last.size);
        pin(1).open(last.note.as_bytes()).unwrap();
        ledger.close();
    }
    // What was refused is not in the log, and can be sent to whoever has the new key.
    let mut source = Source::new(7, 1);
    let ledger = open(&store, &key(2)).unwrap();
    assert_eq!(ledger.source_head(&source.id).unwrap().next_seq, Seq(3));
    ledger.append_blocking(source.events(6, 30)).unwrap();
    ledger.close();
    for known in [1, 2] {
        assert_eq!(fsck(&*store, &pin(known), &mut |_| {}).problems, [], "pinned {known}");
    }
}

#[test]
fn a_key_is_replaced_once_however_many_try() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    drop(Ledger::create(Arc::clone(&store), &key(1), clock(), recording()).unwrap());
    let tried: Vec<_> = std::thread::scope(|scope| {
        let tries = [2, 3, 4].map(|new| (new, &store));
        let tries =
            tries.map(|(new, store)| scope.spawn(move || (new, rotate(store, &key(1), &key(new)))));
        tries.into_iter().map(|tried| tried.join().unwrap()).collect()
    });
    let done: Vec<u8> =
        tried.iter().filter(|(_, tried)| tried.is_ok()).map(|(new, _)| *new).collect();
    let [new] = done[..] else { panic!("{tried:?}") };
    let reader = Ledger::open_read_only(Arc::clone(&store), &pin(new)).unwrap();
    assert_eq!(reader.rotations().unwrap().len(), 1);
    open(&store, &key(new)).unwrap();
    assert_eq!(fsck(&*store, &pin(1), &mut |_| {}).problems, []);
}

#[test]
fn an_interrupted_fsck_knows_the_keys_when_it_goes_on() {
    let (store, _) = rotated(LOG, 1, 2);
    let directory = tempfile::tempdir().unwrap();
    for known in 1..=3 {
        let stop = AtomicBool::new(false);
        let options = FsckOptions {
            state: Some(directory.path().join("state")),
            stop: Some(&stop),
            ..FsckOptions::default()
        };
        let mut at_first = |_: &Progress| stop.store(true, Ordering::Relaxed);
        let early = fsck_with(&*store, &pin(known), &options, &mut at_first).unwrap().report;
        assert!(!early.complete && early.packs == 1, "{early:?}");
        stop.store(false, Ordering::Relaxed);
        let later = fsck_with(&*store, &pin(known), &options, &mut |_| {}).unwrap().report;
        assert!(later.resumed_after.is_some());
        assert_eq!(later.problems, [], "pinned {known}");
        // One that was signed inside of the pack is not computed again.
        let whole = fsck(&*store, &pin(known), &mut |_| {}).checkpoints;
        assert_eq!(later.checkpoints + later.checkpoints_unchecked, whole);
    }
}

#[test]
fn a_mirror_gives_back_the_rotations_but_no_other_keys() {
    let (mirror, _) = rotated(LOG, 1, 2);
    let names = mirror.list("", None).unwrap();
    let checkpoint = stele_store::ObjectName::parse("checkpoint").unwrap();
    let hint = mirror.read_hint(&checkpoint).unwrap().unwrap();
    for lost in &names {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        for name in names.iter().filter(|name| *name != lost) {
            store.put_new(name, &[&mirror.read(name).unwrap()]).unwrap();
        }
        store.put_hint(&checkpoint, &hint).unwrap();
        // The newest key: whoever pins an older one cannot tell that the tail is the log's.
        let options = FsckOptions { mirror: Some(&*mirror), ..FsckOptions::default() };
        let outcome = fsck_with(&*store, &pin(3), &options, &mut |_| {}).unwrap();
        assert_eq!(outcome.report.problems.len(), 1, "{lost}: {:?}", outcome.report.problems);
        assert_eq!(outcome.replacements.len(), 1, "{lost}: {:?}", outcome.report.problems);
    }
}

#[test]
fn a_mirror_with_keys_of_its_own_is_refused() {
    let (mirror, _) = rotated(LOG, 11, 2);
    let (store, _) = rotated(LOG, 1, 2);
    let info = stele_store::ObjectName::parse("ledger/log-info").unwrap();
    store.retire(&info).unwrap();
    let options = FsckOptions { mirror: Some(&*mirror), ..FsckOptions::default() };
    for known in 1..=3 {
        let outcome = fsck_with(&*store, &pin(known), &options, &mut |_| {}).unwrap();
        assert_eq!(outcome.replacements, []);
        let remedy = outcome.report.problems[0].remedy.as_ref();
        assert!(matches!(remedy, Some(Remedy::None(_))), "{remedy:?}");
    }
}

#[test]
fn a_witness_policy_that_lists_a_replaced_key_is_still_this_logs() {
    let (store, _) = rotated(LOG, 1, 1);
    let ledger = open(&store, &key(2)).unwrap();
    for (listed, ours) in [(1, true), (2, true), (9, false)] {
        let policy = format!("log {}\nquorum none\n", pin(listed).keys()[0]);
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        assert_eq!(Cosigning::new(&ledger, policy).is_ok(), ours, "key {listed}");
    }
}

#[test]
fn a_mirror_follows_the_keys_and_knows_them_when_it_is_opened_again() {
    let own: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mirror = |seed: u8| {
        let name = "mirror.example.org/rotated";
        let cosigner = CosignerKey::from_seeds(Cosigner::Mirror, name, [7; 32], [8; 32]).unwrap();
        Mirror::open(Arc::clone(&own), pin(seed), cosigner, clock())
    };
    let (source, _) = rotated(LOG, 1, 1);
    // With a later key alone it cannot tell whose log it begins with.
    mirror(2).unwrap().sync(&source).unwrap_err();
    mirror(9).unwrap().sync(&source).unwrap_err();
    mirror(1).unwrap().sync(&source).unwrap();
    let mut open_all_the_time = mirror(1).unwrap();
    let mut number = 2;
    for seed in [20, 21] {
        rotate(&source, &key(number), &key(number + 1)).unwrap();
        number += 1;
        let ledger = open(&source, &key(number)).unwrap();
        ledger.append_blocking(Source::new(seed, 1).events(200, 30)).unwrap();
        wait_for_packs(&*source, usize::try_from(ledger.size().0 / 256).unwrap());
        ledger.close();
        let synced = open_all_the_time.sync(&source).unwrap();
        assert_eq!(synced.size, ledger.size());
    }
    let mut again = mirror(1).unwrap();
    assert_eq!(again.size(), open_all_the_time.size());
    assert!(own.list("packs/", None).unwrap().len() > 1);
    assert_eq!(again.sync(&source).unwrap().records, 0);
    let ledger = open(&source, &key(number)).unwrap();
    ledger.append_blocking(Source::new(22, 1).events(3, 30)).unwrap();
    ledger.close();
    assert!(again.sync(&source).unwrap().records > 0);
    for known in 1..=4 {
        assert_eq!(fsck(&*own, &pin(known), &mut |_| {}).problems, [], "pinned {known}");
    }
}
