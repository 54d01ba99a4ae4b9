//! Mirrors: what they hold is the log, byte for byte; what is not the log they refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stele_ledger::{
    Contradiction, Cosigner, CosignerKey, FsckOptions, Ledger, Mirror, MirrorError, fsck_with,
};
use stele_merkle::{LogVerifier, Note};
use stele_store::{Clock, ObjectName, Store, StoreError};

use crate::common::{HookedStore, Source, clock, create, key, memory, open, wait_for_packs};
use crate::image::Image;

fn mirror_key() -> CosignerKey {
    CosignerKey::from_seeds(Cosigner::Mirror, "mirror.example.org/test", [7; 32], [8; 32]).unwrap()
}

fn verifier() -> LogVerifier {
    key().signer().unwrap().verifier()
}

fn mirror(store: &Arc<dyn Store>) -> Result<Mirror, MirrorError> {
    Mirror::open(Arc::clone(store), verifier(), mirror_key(), clock())
}

fn hint(store: &dyn Store) -> Option<Bytes> {
    store.read_hint(&ObjectName::parse("checkpoint").unwrap()).unwrap()
}

fn copy(from: &dyn Store) -> Arc<dyn Store> {
    let store = memory();
    for name in from.list("", None).unwrap() {
        store.put_new(&name, &[&from.read(&name).unwrap()]).unwrap();
    }
    if let Some(note) = hint(from) {
        store.put_hint(&ObjectName::parse("checkpoint").unwrap(), &note).unwrap();
    }
    store
}

/// Everything that the mirror holds is the source's, and whole.
fn same(source: &dyn Store, own: &Arc<dyn Store>) {
    assert_eq!(own.list("", None).unwrap(), source.list("", None).unwrap());
    for name in own.list("", None).unwrap() {
        assert_eq!(own.read(&name).unwrap(), source.read(&name).unwrap(), "{name}");
    }
    let outcome =
        fsck_with(&**own, &verifier(), &FsckOptions::default(), &mut |_| {}).unwrap().report;
    assert_eq!((outcome.problems, outcome.seals_unchecked), (vec![], 0));
}

/// Waits until the hint beside the log is the newest checkpoint.
fn settled(ledger: &Ledger, store: &dyn Store) {
    while hint(store).as_deref() != Some(ledger.checkpoint().note.as_bytes()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn round(ledger: &Ledger, sources: &mut [Source], first: bool) {
    for source in sources {
        let mut records = Vec::new();
        if first {
            records.push(source.open_record());
        }
        records.extend(source.events(9, 40).records);
        records.push(source.seal_record());
        ledger.append_blocking(source.submission(records)).unwrap();
    }
}

#[test]
fn a_mirror_follows_segments_and_packs_and_cosigns_them() {
    let (source, own) = (memory(), memory());
    let ledger = create(&source, 256);
    let mut sources = [Source::new(1, 1), Source::new(2, 1)];
    assert_eq!(mirror(&own).unwrap().size().0, 0);
    let mut following = None;
    for number in 0..36 {
        round(&ledger, &mut sources, number == 0);
        if number % 3 == 0 {
            settled(&ledger, &*source);
            // Now and then as after a new start.
            let mut open = match following.take().filter(|_| number % 9 != 0) {
                Some(open) => open,
                None => mirror(&own).unwrap(),
            };
            let synced = loop {
                match open.sync(&source) {
                    Ok(synced) => break synced,
                    Err(MirrorError::Moved) => open = mirror(&own).unwrap(),
                    Err(error) => panic!("{error}"),
                }
            };
            assert_eq!(synced.size, ledger.size());
            following = Some(open);
        }
    }
    wait_for_packs(&*source, 2);
    ledger.close();
    let mut following = mirror(&own).unwrap();
    following.sync(&source).unwrap();
    same(&*source, &own);
    let again = following.sync(&source).unwrap();
    assert_eq!((again.records, again.objects, again.cosigned), (0, 0, None));
    // The log's own signatures are there still, and two under the mirror's name.
    let note = hint(&*own).unwrap();
    let checkpoint = verifier().open(&note).unwrap();
    assert_eq!(checkpoint.size, ledger.size());
    let keys = mirror_key().verifier_keys();
    let signed = Note::parse(&note).unwrap().verify(&keys).unwrap();
    assert_eq!(signed.len(), 2);
    assert!(signed.iter().all(|s| s.name == "mirror.example.org/test" && s.time.is_some()));
    assert_eq!(Ledger::open_read_only(own, &verifier()).unwrap().size(), ledger.size());
}

#[test]
fn a_fork_is_refused_and_both_checkpoints_are_the_evidence() {
    let source = memory();
    let ledger = create(&source, 256);
    let mut sources = [Source::new(1, 1), Source::new(2, 1)];
    (0..9).for_each(|number| round(&ledger, &mut sources, number == 0));
    ledger.close();
    let other = copy(&*source);
    let mut others = [Source::new(3, 1), Source::new(4, 1)];
    for (rounds, packed) in [(3, false), (20, true), (1, false)] {
        let (source, other) = (copy(&*source), copy(&*other));
        let ledger = open(&source, 256);
        let mut sources =
            sources.iter().map(|s| Source { seq: s.seq, head: s.head, ..Source::new(1, 1) });
        let mut first = [sources.next().unwrap()];
        (0..if rounds == 1 { 4 } else { 1 }).for_each(|_| round(&ledger, &mut first, false));
        ledger.close();
        let own = memory();
        mirror(&own).unwrap().sync(&source).unwrap();
        let forked = open(&other, 256);
        if rounds == 1 {
            // Fewer segments than are held, with more records.
            forked.append_blocking(Source::new(5, 1).events(100, 10)).unwrap();
        }
        (0..rounds).for_each(|number| round(&forked, &mut others, number == 0));
        if packed {
            wait_for_packs(&*other, 1);
        }
        forked.close();
        others = [Source::new(3, 1), Source::new(4, 1)];
        let before = own.list("", None).unwrap();
        let refused = mirror(&own).unwrap().sync(&other).unwrap_err();
        let MirrorError::Fork(both) = refused else { panic!("{packed}: {refused}") };
        let Contradiction { held, held_note, seen, seen_note } = *both;
        assert_eq!(verifier().open(held_note.as_bytes()).unwrap(), held);
        assert_eq!(verifier().open(seen_note.as_bytes()).unwrap(), seen);
        assert_eq!((held.size, seen.size), (ledger.size(), forked.size()));
        assert_eq!(own.list("", None).unwrap(), before);
        // Whoever checks the rewritten log beside the mirror sees it too.
        let options = FsckOptions { mirror: Some(&*own), ..FsckOptions::default() };
        let found = fsck_with(&*other, &verifier(), &options, &mut |_| {}).unwrap().report;
        let [problem] = &found.problems[..] else { panic!("{found:?}") };
        assert!(problem.object.contains("mirror") && problem.what.contains("signed root"));
        assert_eq!(verifier().open(&hint(&*own).unwrap()).unwrap(), held);
    }
}

#[test]
fn a_rollback_is_refused_and_an_old_pointer_is_none() {
    let source = memory();
    let ledger = create(&source, 65_536);
    let mut sources = [Source::new(1, 1)];
    round(&ledger, &mut sources, true);
    settled(&ledger, &*source);
    let old = copy(&*source);
    round(&ledger, &mut sources, false);
    ledger.close();
    let own = memory();
    let mut open = mirror(&own).unwrap();
    open.sync(&source).unwrap();
    let stale = copy(&*source);
    stale.put_hint(&ObjectName::parse("checkpoint").unwrap(), &hint(&*old).unwrap()).unwrap();
    assert_eq!(open.sync(&stale).unwrap().size, ledger.size());
    let refused = open.sync(&old).unwrap_err();
    assert!(matches!(refused, MirrorError::Rollback(_)), "{refused}");
    let refused = mirror(&own).unwrap().sync(&old).unwrap_err();
    assert!(matches!(refused, MirrorError::Rollback(_)), "{refused}");
    // Another log's objects, and one without a checkpoint.
    let foreign = key().public_text().unwrap().replace("example.org/test", "example.org/tesu");
    assert!(stele_ledger::parse_public_keys(&foreign).is_err());
    assert!(matches!(open.sync(&memory()), Err(MirrorError::Nothing)));
}

#[test]
fn nothing_damaged_is_taken_in() {
    let image = Image::make();
    for (name, bytes) in &image.objects {
        for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let source: Arc<dyn Store> = image.flipped(name, at, 1 << (at % 8));
            let own = memory();
            let refused = mirror(&own).unwrap().sync(&source);
            assert!(refused.is_err(), "{name} byte {at}: {refused:?}");
            assert!(own.read(name).is_err(), "{name} byte {at} was taken in");
            for held in own.list("", None).unwrap() {
                assert_eq!(own.read(&held).unwrap(), image.objects[&held]);
            }
            assert_eq!(hint(&*own), None, "{name} byte {at} was cosigned");
            // Once the source is repaired the same copy goes on.
            let intact: Arc<dyn Store> = image.intact();
            mirror(&own).unwrap().sync(&intact).unwrap();
            assert_eq!(own.list("", None).unwrap().len(), image.objects.len());
        }
    }
}

/// A store in which the world stops after some writes.
fn stops_after(inner: &Arc<dyn Store>, writes: u64) -> Arc<dyn Store> {
    let left = AtomicU64::new(writes);
    HookedStore::shared(inner, move |store, change| {
        let left = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.map_err(|_| StoreError::Full)?;
        change.make(store)
    })
}

/// Ended before each of its writes, in a round that brings segments and in one that packs them.
#[test]
fn a_mirror_goes_on_after_an_end_at_any_write() {
    let early = memory();
    let ledger = create(&early, 256);
    let mut sources = [Source::new(1, 1), Source::new(2, 1)];
    (0..9).for_each(|number| round(&ledger, &mut sources, number == 0));
    ledger.close();
    let late = copy(&*early);
    let ledger = open(&late, 256);
    (0..9).for_each(|_| round(&ledger, &mut sources, false));
    wait_for_packs(&*late, 1);
    ledger.close();
    let clock: Arc<dyn Clock> = clock();
    let mut writes = 0;
    loop {
        let own = memory();
        let store = stops_after(&own, writes);
        let run = || {
            let open = || Mirror::open(store.clone(), verifier(), mirror_key(), clock.clone());
            open()?.sync(&early)?;
            open()?.sync(&late)
        };
        let ended = run().is_err();
        let mut again = mirror(&own).unwrap();
        again.sync(&late).unwrap();
        same(&*late, &own);
        if !ended {
            break;
        }
        writes += 1;
    }
    assert!(writes > 30, "{writes}");
}
