//! The view after a crash: whatever of what was written last is missing, it opens at an earlier
//! record, and folding on from there gives what it would have been.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Log, Pod, Random, fold_into};
use stele_state::State;

const BATCH: usize = 7;

fn log() -> Log {
    let mut log = Log::new();
    log.open(0);
    for rv in 1..700_u64 {
        let name = ["a", "b", "c", "d"][rv as usize % 4];
        let at = i64::try_from(rv).unwrap();
        log.event(at, "v1/pods", "MODIFIED", &Pod::new(name, name, 1).at_rv(rv).json());
    }
    log
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// The file that batches are written to first, and how much of it holds something.
fn journal(dir: &Path) -> (PathBuf, u64) {
    let entries = fs::read_dir(dir.join("view")).unwrap();
    let mut files = entries.map(|entry| entry.unwrap().path());
    let path = files.find(|path| path.extension().is_some_and(|end| end == "jnl")).unwrap();
    let bytes = fs::read(&path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, written as u64)
}

#[test]
fn a_view_of_which_the_end_is_missing_is_folded_on() {
    let log = log();
    let (dir, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let state = State::open(dir.path()).unwrap();
    fold_into(&state, &log.records, BATCH);
    let whole = state.digest().unwrap();
    drop(state);

    let (mut random, mut earlier) = (Random(5), 0);
    for round in 0..20 {
        let torn = torn.path().join(round.to_string());
        copy(dir.path(), &torn);
        let (path, written) = journal(&torn);
        let lost = u64::try_from(random.within(1, 60_000)).unwrap();
        let kept = written.saturating_sub(lost);
        fs::File::options().write(true).open(path).unwrap().set_len(kept).unwrap();

        let state = State::open(&torn).unwrap();
        let next = state.next_index();
        assert!(next < log.records.len() as u64, "{lost} bytes lost, and all is there");
        assert!(next.is_multiple_of(BATCH as u64), "{next} is within a batch");
        earlier += u64::from(next > 0);
        fold_into(&state, &log.records, 100);
        assert_eq!(state.digest().unwrap(), whole, "{lost} bytes lost, folded on from {next}");
        drop(state);
        fs::remove_dir_all(torn).unwrap();
    }
    assert!(earlier > 0, "nothing was left in any round");
}
