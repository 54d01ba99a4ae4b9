//! Statements about keys, histories of them, and every way in which they must be refused.

use super::*;
use crate::checkpoint::{Checkpoint, LogVerifier};

const LOG: &str = "example.org/log";

fn signer(origin: &str, seed: u8) -> LogSigner {
    LogSigner::from_seed(origin, &[seed; 32], &[seed + 100; 32]).unwrap()
}

fn rotation(origin: &str, from: u8, to: u8, size: u64) -> KeyRotation {
    KeyRotation {
        origin: origin.to_owned(),
        size: TreeSize(size),
        root: Hash::from_bytes([7; 32]),
        time_s: 1_700_000_000,
        source: [from; 32],
        next_source: [to; 32],
        old: signer(origin, from).verifier_keys(),
        new: signer(origin, to).verifier_keys(),
    }
}

fn checkpoint(size: u64, signers: &[u8]) -> String {
    let checkpoint = Checkpoint {
        origin: LOG.to_owned(),
        size: TreeSize(size),
        root: Hash::from_bytes([9; 32]),
    };
    let mut signer_of = signers.iter().map(|seed| signer(LOG, *seed));
    let first = signer_of.next().unwrap();
    let signer = signer_of.fold(first, LogSigner::with_successor);
    signer.sign(&checkpoint, 1).unwrap()
}

fn history() -> Vec<(LeafIndex, KeyRotation)> {
    vec![(LeafIndex(10), rotation(LOG, 1, 2, 10)), (LeafIndex(20), rotation(LOG, 2, 3, 18))]
}

#[test]
fn the_text_is_fixed_and_survives() {
    let rotation = rotation(LOG, 1, 2, 10);
    let signed = rotation.sign(&signer(LOG, 1), &signer(LOG, 2)).unwrap();
    assert_eq!(KeyRotation::parse(signed.as_bytes()).unwrap(), rotation);
    let [old, new] = [1, 2].map(|seed| signer(LOG, seed).verifier_keys());
    let text = format!(
        "stele-key-rotation/v1\norigin example.org/log\nsize 10\n\
         root BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 1700000000\n\
         source {}\nnext-source {}\nold {}\nold {}\nnew {}\nnew {}\n",
        "01".repeat(32),
        "02".repeat(32),
        old[0],
        old[1],
        new[0],
        new[1]
    );
    assert_eq!(rotation.text(), text);
    assert_eq!(signed.strip_prefix(&text).unwrap().lines().count(), 5);
}

#[test]
fn a_statement_of_an_earlier_program_is_read() {
    let read = KeyRotation::parse(include_bytes!("../../tests/vectors/key-rotation.txt"));
    assert_eq!(read.unwrap(), rotation(LOG, 1, 2, 10));
}

/// Writes the vector that the test above reads. A change of it is a new version of the format.
#[test]
#[ignore = "writes the vector"]
fn write_vector() {
    let signed = rotation(LOG, 1, 2, 10).sign(&signer(LOG, 1), &signer(LOG, 2)).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/key-rotation.txt");
    std::fs::write(path, signed).unwrap();
}

#[test]
fn both_old_and_new_keys_must_sign() {
    let (old, new) = (signer(LOG, 1), signer(LOG, 2));
    let rotation = rotation(LOG, 1, 2, 10);
    rotation.sign(&signer(LOG, 3), &new).unwrap_err();
    rotation.sign(&old, &signer(LOG, 3)).unwrap_err();
    let signed = rotation.sign(&old, &new).unwrap();
    let (text, lines) = signed.split_once("\n\n").unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    for left_out in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(left_out);
        let lacking = format!("{text}\n\n{}\n", fewer.join("\n"));
        let refused = KeyRotation::parse(lacking.as_bytes());
        assert!(matches!(refused, Err(RotationError::NotSigned { .. })), "{refused:?}");
    }
    let twice = format!("{signed}{}\n", lines[0]);
    KeyRotation::parse(twice.as_bytes()).unwrap_err();
}

#[test]
fn every_changed_byte_of_a_statement_is_refused() {
    let signed = rotation(LOG, 1, 2, 10).sign(&signer(LOG, 1), &signer(LOG, 2)).unwrap();
    let end = signed.find("\n\n").unwrap();
    // The long keys differ from each other in nothing that is read in another way.
    for at in (0..end).filter(|at| *at < 500 || at % 97 == 0) {
        let mut changed = signed.clone().into_bytes();
        changed[at] ^= 1;
        assert!(KeyRotation::parse(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_key_may_not_replace_itself_and_must_be_of_the_log() {
    let mut same = rotation(LOG, 1, 2, 10);
    same.new.clone_from(&same.old);
    let signed = same.sign(&signer(LOG, 1), &signer(LOG, 1)).unwrap();
    KeyRotation::parse(signed.as_bytes()).unwrap_err();
    let mut other = rotation("other", 1, 2, 10);
    other.origin = LOG.to_owned();
    let signed = other.sign(&signer("other", 1), &signer("other", 2)).unwrap();
    KeyRotation::parse(signed.as_bytes()).unwrap_err();
}

#[test]
fn whoever_pins_any_key_follows_to_all() {
    for pinned in 1..=3 {
        let pinned = signer(LOG, pinned).verifier().with_history(&history()).unwrap();
        for (size, by) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3), (1000, 3)] {
            if size > 0 {
                pinned.open(checkpoint(size, &[by]).as_bytes()).unwrap();
            }
            for other in (1..=3).filter(|other| *other != by) {
                pinned.open(checkpoint(size.max(1), &[other]).as_bytes()).unwrap_err();
            }
        }
        assert_eq!(pinned.current_keys(), signer(LOG, 3).verifier_keys());
    }
    let one = LogVerifier::new([signer(LOG, 1).verifier_keys()[0].clone()]).require_all();
    let one = one.with_history(&history()).unwrap();
    one.open(checkpoint(21, &[3]).as_bytes()).unwrap();
}

#[test]
fn at_the_hand_over_both_know_the_checkpoint() {
    let note = checkpoint(11, &[1, 2]);
    for known in [1, 2] {
        signer(LOG, known).verifier().open(note.as_bytes()).unwrap();
        let following = signer(LOG, known).verifier().with_history(&history()).unwrap();
        following.open(note.as_bytes()).unwrap();
    }
}

#[test]
fn a_retired_key_that_signs_is_told_of_as_a_fork() {
    let log = signer(LOG, 1).verifier().with_history(&history()).unwrap();
    let refused = log.open(checkpoint(11, &[1]).as_bytes()).unwrap_err();
    let NoteError::RetiredKey { size, rotated_at, .. } = refused else { panic!("{refused}") };
    assert_eq!((size, rotated_at), (TreeSize(11), LeafIndex(10)));
    let refused = log.open(checkpoint(30, &[2]).as_bytes()).unwrap_err();
    assert!(matches!(refused, NoteError::RetiredKey { rotated_at: LeafIndex(20), .. }));
    let unknown = log.open(checkpoint(30, &[4]).as_bytes()).unwrap_err();
    assert_eq!(unknown, NoteError::NoKnownKey);
}

#[test]
fn histories_that_were_cut_reordered_or_mixed_are_refused() {
    let verifier = || signer(LOG, 1).verifier();
    let whole = history();
    let refused = |history: &[(LeafIndex, KeyRotation)]| {
        verifier().with_history(history).unwrap_err();
    };
    refused(&whole[1..]);
    refused(&[whole[1].clone(), whole[0].clone()]);
    refused(&[(LeafIndex(20), whole[0].1.clone()), (LeafIndex(10), whole[1].1.clone())]);
    refused(&[whole[0].clone(), (LeafIndex(20), rotation(LOG, 1, 3, 18))]);
    refused(&[(LeafIndex(10), rotation("other", 1, 2, 10))]);
    refused(&[(LeafIndex(9), rotation(LOG, 1, 2, 10))]);
    let mut early = whole.clone();
    early[1].1.size = TreeSize(10);
    refused(&early);
    refused(&[whole[0].clone(), (LeafIndex(20), rotation(LOG, 2, 1, 18))]);
    let mut other_source = whole.clone();
    other_source[1].1.source = [5; 32];
    refused(&other_source);
    assert_eq!(
        signer(LOG, 4).verifier().with_history(&whole).unwrap_err(),
        RotationError::Stranger
    );
    // Cut at the end: a checkpoint of the last keys is not believed.
    let cut = verifier().with_history(&whole[..1]).unwrap();
    assert_eq!(cut.open(checkpoint(30, &[3]).as_bytes()), Err(NoteError::NoKnownKey));
}

#[test]
fn keys_from_elsewhere_take_part_in_a_history_that_has_them() {
    let log = signer(LOG, 3).verifier().with_history(&history()).unwrap();
    let one = |seed: u8| LogVerifier::new([signer(LOG, seed).verifier_keys()[0].clone()]);
    for known in 1..=3 {
        assert!(log.knows(&one(known).keys()[0]));
        one(known).with_history_of(&log).open(checkpoint(21, &[3]).as_bytes()).unwrap();
    }
    assert!(!log.knows(&one(4).keys()[0]));
    let stranger = one(4).with_history_of(&log);
    stranger.open(checkpoint(21, &[3]).as_bytes()).unwrap_err();
    stranger.open(checkpoint(21, &[4]).as_bytes()).unwrap();
    let nobody = LogVerifier::new([]).with_history_of(&log);
    nobody.open(checkpoint(21, &[3]).as_bytes()).unwrap_err();
}
