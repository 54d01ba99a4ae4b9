//! A check that is interrupted goes on where it was, finds the same, and says what it has not read
//! again.

use std::sync::atomic::{AtomicBool, Ordering};

use stele_ledger::{FsckOptions, FsckReport, fsck_with};
use stele_store::{MemoryStore, Store};

use crate::image::Image;

/// What must be the same however often a check was interrupted.
fn comparable(report: FsckReport) -> FsckReport {
    FsckReport { resumed_after: None, records_not_read_again: 0, ..report }
}

#[test]
fn an_interrupted_check_goes_on_and_finds_the_same() {
    let image = Image::make();
    let directory = tempfile::tempdir().unwrap();
    let packs = image.objects.keys().filter(|name| name.as_str().starts_with("packs/")).count();
    assert_eq!(packs, 2);
    let (first, bytes) =
        image.objects.iter().find(|(n, _)| n.as_str() != "ledger/log-info").unwrap();
    let stores: [std::sync::Arc<MemoryStore>; 3] =
        [image.intact(), image.flipped(first, bytes.len() / 2, 8), image.flipped(first, 20, 8)];
    for (number, store) in stores.iter().enumerate() {
        let whole = image.fsck(&**store);
        assert!(whole.complete);
        for stop_after in 1..=packs as u64 + 2 {
            let state = directory.path().join(format!("{number}-{stop_after}"));
            let stop = AtomicBool::new(false);
            let options = |stop| FsckOptions {
                threads: 2,
                state: Some(state.clone()),
                stop: Some(stop),
                ..FsckOptions::default()
            };
            let early = fsck_with(&**store, &image.verifier, &options(&stop), &mut |step| {
                stop.store(step.objects_done >= stop_after, Ordering::Relaxed);
            });
            assert!(!early.unwrap().report.complete);
            assert!(state.exists());
            // As if the machine had stopped inside of the last line.
            let torn = std::fs::read(&state).unwrap();
            let go_on = AtomicBool::new(false);
            std::fs::write(&state, [&torn[..], b"{\"packs\":[[\"pa"].concat()).unwrap();
            let later = fsck_with(&**store, &image.verifier, &options(&go_on), &mut |_| {});
            let report = later.unwrap().report;
            // The first pack is not noted before the next one says where it ended, if it is lost.
            let noted = stop_after.min(2) - u64::from(number == 2 && stop_after == 1);
            assert_eq!(report.resumed_after.is_some(), noted > 0, "{number} {stop_after}");
            assert!(report.records_not_read_again <= noted * 256);
            assert_eq!(comparable(report), comparable(whole.clone()));
            assert!(!state.exists());
        }
    }
}

#[test]
fn a_state_is_of_one_log_and_of_what_is_still_there() {
    let image = Image::make();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let stop = AtomicBool::new(false);
    let store = image.intact();
    let options =
        FsckOptions { state: Some(state.clone()), stop: Some(&stop), ..FsckOptions::default() };
    let done =
        |step: &stele_ledger::Progress| stop.store(step.objects_done >= 2, Ordering::Relaxed);
    fsck_with(&*store, &image.verifier, &options, &mut |step| done(step)).unwrap();
    let text = std::fs::read(&state).unwrap();
    stop.store(false, Ordering::Relaxed);
    let other = stele_ledger::LogKey::from_seeds("other", [1; 32], [2; 32]).unwrap();
    let other = other.signer().unwrap().verifier();
    fsck_with(&*store, &other, &options, &mut |_| {}).unwrap_err();
    std::fs::write(&state, "something else\n").unwrap();
    fsck_with(&*store, &image.verifier, &options, &mut |_| {}).unwrap_err();
    assert_eq!(std::fs::read(&state).unwrap(), b"something else\n");
    // A pack that was checked and is gone since is not passed over.
    std::fs::write(&state, text).unwrap();
    let pack = store.list("packs/", None).unwrap().remove(1);
    store.retire(&pack).unwrap();
    let report = fsck_with(&*store, &image.verifier, &options, &mut |_| {}).unwrap().report;
    assert!(report.problems.iter().any(|p| p.object == pack.as_str()), "{:?}", report.problems);
}
