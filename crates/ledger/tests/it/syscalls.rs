//! Every system call of a ledger on a disk goes wrong, one after the other: it fails, it happens but
//! its answer is lost, it does half of its work, or the process is killed at it. Every acknowledged
//! record is there afterwards, exactly once and at its place; what was not acknowledged is wholly
//! there or wholly absent, and repeating it settles which; `fsck` is clean.
//!
//! No power is cut: that what was acknowledged had been flushed is seen in the order of the calls.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stele_ledger::{Ledger, LedgerError, LogKey, fsck};
use stele_merkle::LeafIndex;
use stele_store::{Clock as _, DiskStore, Store, SystemClock};
use xtask::faults::{Call, Event, Fault, Run, Tracer, victim};

use crate::common::{Source, clock, key, options};

const PACK: u64 = 256;
const RECORDS: u64 = 130;
const SUBMISSIONS: u64 = 3;
/// The submission that makes a pack possible.
const PACKING: u64 = 1;
/// How long the victim waits for the pack at least: after a fault it does not come.
const PACK_WAIT: Duration = Duration::from_millis(500);
/// How much longer than all it has done before, on a machine that is busy with other things.
const PACK_WAIT_FACTOR: u32 = 4;

fn create_or_open(store: &Arc<dyn Store>) -> Result<Ledger, LedgerError> {
    match Ledger::create(Arc::clone(store), &key(), clock(), options(PACK)) {
        Err(LedgerError::AlreadyExists) => {
            Ledger::open(Arc::clone(store), &key(), clock(), options(PACK))
        }
        other => other,
    }
}

fn say(line: std::fmt::Arguments<'_>) {
    // Written by hand: the harness would capture what the macro prints.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Appends everything and says so after each acknowledgement. Not a test of its own.
#[test]
#[ignore = "the process in which calls go wrong"]
fn append_all() {
    victim(|directory| {
        let result = append_to(directory);
        if let Err(error) = result {
            say(format_args!("refused {error}"));
        }
    });
}

fn append_to(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let clock = SystemClock::new();
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.join("data/log"))?);
    let ledger = create_or_open(&store)?;
    say(format_args!("opened"));
    let mut source = Source::new(1, 1);
    let mut done = ledger.source_head(&source.id).map_or(0, |head| head.next_seq.0) / RECORDS;
    source.events(usize::try_from(done * RECORDS)?, 40);
    while done < SUBMISSIONS {
        let receipt = ledger.append_blocking(source.events(RECORDS as usize, 40))?;
        assert_eq!(receipt.first_index, LeafIndex(done * RECORDS));
        say(format_args!("acknowledged {done}"));
        if done == PACKING {
            wait_for_pack(directory, &clock);
        }
        done += 1;
    }
    ledger.close();
    if let Some(why) = ledger.stopped() {
        return Err(why.to_owned().into());
    }
    Ok(())
}

/// Waits until the first segment is gone, which is after all flushes of the pack: what goes wrong in
/// one of them is known before anything else is appended. Looks by another name of the directory,
/// which is not watched: how often it is looked at differs from run to run.
fn wait_for_pack(directory: &Path, clock: &SystemClock) {
    let alias = directory.with_extension("alias");
    let _ = std::os::unix::fs::symlink(directory, &alias);
    let now = clock.monotonic();
    let end = now + PACK_WAIT.max(now * PACK_WAIT_FACTOR);
    while clock.monotonic() < end {
        if !fs::exists(alias.join("data/log/objects/segments/00000000000000000000"))
            .unwrap_or(false)
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What is in the directory holds, and everything can be appended to it.
fn settle(directory: &Path, acknowledged: u64) -> Result<(), String> {
    let store = DiskStore::open(directory.join("data/log")).map_err(|e| e.to_string())?;
    let store: Arc<dyn Store> = Arc::new(store);
    let ledger = create_or_open(&store).map_err(|e| format!("it cannot be opened: {e}"))?;
    let mut source = Source::new(1, 1);
    let there = ledger.source_head(&source.id).map_or(0, |head| head.next_seq.0);
    if there % RECORDS != 0 || there / RECORDS < acknowledged || ledger.size().0 != there {
        let size = ledger.size();
        return Err(format!("{there} records of {size}, {acknowledged} submissions acknowledged"));
    }
    for n in 0..SUBMISSIONS {
        let receipt = ledger.append_blocking(source.events(RECORDS as usize, 40));
        let receipt = receipt.map_err(|e| format!("submission {n} is refused afterwards: {e}"))?;
        let indices: Vec<u64> = receipt.indices().map(|index| index.0).collect();
        if indices != (n * RECORDS..(n + 1) * RECORDS).collect::<Vec<_>>() {
            return Err(format!("submission {n} is at {:?}", receipt.runs));
        }
    }
    ledger.close();
    if let Some(why) = ledger.stopped() {
        return Err(format!("it stopped afterwards: {why}"));
    }
    let report = fsck(&*store, ledger.verifier(), &mut |_| {});
    if !report.problems.is_empty() || report.records != SUBMISSIONS * RECORDS {
        return Err(format!("{} records, {:?}", report.records, report.problems));
    }
    Ok(())
}

/// What is to be durable when something else happens.
#[derive(Default)]
struct Unflushed(BTreeSet<(String, String)>);

impl Unflushed {
    fn call(&mut self, call: &Call) {
        let parent =
            |file: &str| file.rsplit_once('/').map_or(".", |(parent, _)| parent).to_owned();
        if call.name.starts_with("link") || call.name.starts_with("mkdir") {
            self.0.insert((parent(&call.file), call.file.clone()));
        } else if call.flushes() {
            self.0.retain(|(directory, _)| *directory != call.file);
        }
    }

    fn holds(&self, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        match self.0.iter().find(|(_, file)| wanted(file)) {
            Some((_, file)) => Err(format!("{file} was not flushed")),
            None => Ok(()),
        }
    }
}

/// Nothing is signed or acknowledged before it is durable, and no segment goes before its pack is.
fn check_order(run: &Run, unflushed: &mut Unflushed) -> Result<(), String> {
    let in_log = |file: &str| !["packs", "hints", "staging"].iter().any(|x| file.contains(x));
    for event in &run.events {
        match event {
            Event::Call(call) => {
                if call.name.starts_with("unlink") && call.file.contains("/segments/") {
                    unflushed.holds(|file| file.contains("packs"))?;
                }
                if call.name.starts_with("rename") && call.file.ends_with("hints/checkpoint") {
                    unflushed.holds(in_log)?;
                }
                unflushed.call(call);
            }
            // What a flush that goes wrong should have flushed is not.
            Event::Hit(call) if !call.flushes() => unflushed.call(call),
            Event::Hit(_) => {}
            Event::Said(line) if line.starts_with("acknowledged") => unflushed.holds(in_log)?,
            Event::Said(_) => {}
        }
    }
    Ok(())
}

fn number(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

fn check(call: &Call, fault: Fault, run: &Run, before: u64) -> Result<u64, String> {
    // The standard library panics if a directory cannot be closed, which Linux never says.
    let panicked = run.said().any(|line| line.contains("panicked"));
    if panicked && !run.said().any(|line| line.contains("during closedir")) {
        let lines: Vec<&str> = run.said().collect();
        return Err(format!("it panicked: {}", lines.join(" | ")));
    }
    let done = run.said().filter_map(number).last().map_or(before, |last| last + 1);
    let hit = run.events.iter().position(|event| matches!(event, Event::Hit(_))).unwrap_or(0);
    let after = |start: &str| {
        run.events[hit..].iter().any(|e| matches!(e, Event::Said(line) if line.starts_with(start)))
    };
    if call.flushes() && fault != Fault::Kill && (after("acknowledged") || !after("refused")) {
        return Err("it went on after a flush had failed".to_owned());
    }
    let opened = run.events[..hit].contains(&Event::Said("opened".into()));
    match fault {
        Fault::Short if done < SUBMISSIONS => {
            Err("half of the bytes were taken for all".to_owned())
        }
        Fault::Enospc if opened && !call.flushes() && done < SUBMISSIONS => {
            Err("it did not wait for space".to_owned())
        }
        _ => Ok(done),
    }
}

/// Makes each call of a run that begins with what `prepare` makes go wrong.
fn sweep(tracer: &Tracer, prepare: &(dyn Fn(&Path) + Sync), before: u64) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("plain");
    fs::create_dir(&directory).unwrap();
    prepare(&directory);
    // After a crash nobody knows what was flushed.
    let left = || {
        let names = |name: &str| (format!("data/log/objects/{name}"), format!("objects/{name}/x"));
        Unflushed(if before > 0 { ["segments", "packs"].map(names).into() } else { [].into() })
    };
    let plain = tracer.run(&directory, None).unwrap();
    assert_eq!(plain.said().filter_map(number).last(), Some(SUBMISSIONS - 1), "{plain:?}");
    check_order(&plain, &mut left()).unwrap();
    settle(&directory, SUBMISSIONS).unwrap();
    let calls: BTreeSet<Call> = plain.calls().cloned().collect();
    let sweep = tracer
        .sweep(parent.path(), &calls, prepare, &|directory, call, fault, run| {
            check_order(run, &mut left())?;
            let acknowledged = check(call, fault, run, before)?;
            settle(directory, acknowledged)
        })
        .unwrap();
    eprintln!("{} calls, {} faults", calls.len(), sweep.runs);
    assert!(sweep.faults.is_empty(), "{:#?}", sweep.faults);
    // When a hint is written depends on the time that has passed.
    let missed: Vec<&Call> = sweep.missed.iter().filter(|c| !is_hint(c)).collect();
    assert!(missed.is_empty(), "these calls were never hit: {missed:?}");
}

fn is_hint(call: &Call) -> bool {
    call.file.contains("/staging/") || call.file.contains("/hints")
}

#[test]
fn every_call_of_creating_appending_and_packing_goes_wrong() {
    let Some(tracer) = Tracer::for_test("syscalls::append_all").unwrap() else { return };
    sweep(&tracer, &|_| {}, 0);
}

#[test]
fn every_call_of_reopening_after_a_crash_goes_wrong() {
    let Some(tracer) = Tracer::for_test("syscalls::append_all").unwrap() else { return };
    let crashed = tempfile::tempdir().unwrap();
    // Killed when a pack had its name, but nobody had read it back: its segments are there still.
    let call = Call {
        name: "linkat".into(),
        file: "data/log/objects/packs/00000000000000000000".into(),
        nth: 1,
    };
    let files = crashed.path().join("files");
    let run = tracer.run(&files, Some((&call, Fault::KillAfter))).unwrap();
    assert!(run.was_hit(), "{run:?}");
    sweep(&tracer, &|directory| copy(&files, directory), PACKING + 1);
}

fn next_key() -> LogKey {
    LogKey::from_seeds(key().origin(), [3; 32], [4; 32]).unwrap()
}

fn rotate_in(directory: &Path) -> Result<LeafIndex, Box<dyn std::error::Error>> {
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.join("data/log"))?);
    Ok(Ledger::rotate_key(store, &key(), &next_key(), clock(), options(PACK))?)
}

/// Replaces the log's key. Not a test of its own.
#[test]
#[ignore = "the process in which calls go wrong"]
fn replace_key() {
    victim(|directory| match rotate_in(directory) {
        Ok(index) => say(format_args!("rotated {index}")),
        Err(error) => say(format_args!("refused {error}")),
    });
}

/// Whatever became of the first try, the second one ends it, and the log goes on with the new key.
fn settle_rotation(directory: &Path) -> Result<(), String> {
    let index = rotate_in(directory).map_err(|e| format!("it cannot be repeated: {e}"))?;
    if index != LeafIndex(RECORDS + 1) {
        return Err(format!("it is recorded at {index}"));
    }
    let store = DiskStore::open(directory.join("data/log")).map_err(|e| e.to_string())?;
    let store: Arc<dyn Store> = Arc::new(store);
    let ledger = Ledger::open(Arc::clone(&store), &next_key(), clock(), options(PACK));
    ledger.map_err(|e| format!("the new key does not open it: {e}"))?.close();
    let report = fsck(&*store, &key().signer().unwrap().verifier(), &mut |_| {});
    if !report.problems.is_empty() || report.records != RECORDS + 3 {
        return Err(format!("{} records, {:?}", report.records, report.problems));
    }
    Ok(())
}

#[test]
fn every_change_of_replacing_the_key_goes_wrong() {
    let Some(tracer) = Tracer::for_test("syscalls::replace_key").unwrap() else { return };
    let parent = tempfile::tempdir().unwrap();
    let files = parent.path().join("files");
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(files.join("data/log")).unwrap());
    let ledger = create_or_open(&store).unwrap();
    ledger.append_blocking(Source::new(1, 1).events(RECORDS as usize, 40)).unwrap();
    drop((ledger, store));
    let plain = parent.path().join("plain");
    copy(&files, &plain);
    let run = tracer.run(&plain, None).unwrap();
    assert!(run.said().any(|line| line.starts_with("rotated")), "{run:?}");
    let calls: BTreeSet<Call> = run.calls().filter(|call| call.changes()).cloned().collect();
    let sweep = tracer
        .sweep(
            parent.path(),
            &calls,
            &|directory| copy(&files, directory),
            &|directory, _, _, _| settle_rotation(directory),
        )
        .unwrap();
    eprintln!("{} calls, {} faults", calls.len(), sweep.runs);
    assert!(sweep.faults.is_empty(), "{:#?}", sweep.faults);
    assert!(sweep.missed.iter().all(is_hint), "never hit: {:?}", sweep.missed);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
