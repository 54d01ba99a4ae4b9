//! Checkpoints, the log's two signatures, and cosignatures.
//!
//! `vectors/note.txt` was made with Go: the checkpoint of the leaves leaf-0 … leaf-12, signed with
//! `golang.org/x/mod/sumdb/note` (seed 0x11…) and `filippo.io/torchwood` 0.10.0 (log ML-DSA-44 seed
//! 0x22…, witness Ed25519 seed 0x33…, witness ML-DSA-44 seed 0x44…); `vkeys.txt` has the four keys.

use super::*;
use crate::hash::leaf_hash;
use crate::key::KeyId;

const ORIGIN: &str = "log.example/stele";
const VECTOR_NOTE: &str = include_str!("vectors/note.txt");
const VECTOR_KEYS: &str = include_str!("vectors/vkeys.txt");
const VECTOR_ROOT: &str = "qO9IRMjh1bpJyBHNuG6VeR9dMsp9lwmv2ij99l6UmlM=";
const TIME: u64 = 1_795_000_000;

fn signer() -> LogSigner {
    LogSigner::from_seed(ORIGIN, &[0x11; 32], &[0x22; 32]).unwrap()
}

fn checkpoint() -> Checkpoint {
    let root = VECTOR_ROOT.parse().unwrap();
    Checkpoint { origin: ORIGIN.to_owned(), size: TreeSize(13), root }
}

fn vector_keys() -> Vec<VerifierKey> {
    VECTOR_KEYS.lines().map(|line| line.parse().unwrap()).collect()
}

fn drop_line(note: &str, at: usize) -> String {
    let mut lines: Vec<_> = note.split_inclusive('\n').collect();
    lines.remove(at);
    lines.concat()
}

#[test]
fn a_note_made_by_other_software_is_believed() {
    let keys = vector_keys();
    let opened =
        LogVerifier::new(keys.clone()).require_all().open_signed(VECTOR_NOTE.as_bytes()).unwrap();
    assert_eq!(opened.checkpoint, checkpoint());
    assert_eq!(opened.signatures.len(), 4);
    assert_eq!(opened.signatures[0].time, None);
    assert!(opened.signatures[1..].iter().all(|s| s.time.is_some()));
    assert_eq!(keys[..2], signer().verifier_keys());
    for key in keys {
        let only = Note::parse(VECTOR_NOTE.as_bytes()).unwrap().verify(&[key]);
        assert_eq!(only.map(|v| v.len()), Ok(1));
    }
}

#[test]
fn the_ed25519_line_is_the_one_that_other_software_makes() {
    let note = signer().sign(&checkpoint(), TIME).unwrap();
    let lines: Vec<_> = note.lines().take(5).collect();
    assert_eq!(lines, VECTOR_NOTE.lines().take(5).collect::<Vec<_>>());
}

#[test]
fn the_log_signs_with_both_keys() {
    let signer = signer();
    let note = signer.sign(&checkpoint(), TIME).unwrap();
    let opened = signer.verifier().open_signed(note.as_bytes()).unwrap();
    assert_eq!(opened.checkpoint, checkpoint());
    assert_eq!(opened.time(), Some(TIME));
    assert_eq!(Note::parse(note.as_bytes()).unwrap().to_string(), note);
    let algorithms: Vec<_> = opened.signatures.iter().map(|s| s.algorithm).collect();
    assert_eq!(algorithms, [Algorithm::Ed25519, Algorithm::MlDsa44]);
    for key in signer.verifier_keys() {
        assert_eq!(LogVerifier::new([key]).open(note.as_bytes()), Ok(checkpoint()));
    }
    assert_eq!(LogVerifier::new([]).open(note.as_bytes()), Err(NoteError::NoKnownKey));
}

#[test]
fn all_keys_may_be_required() {
    let signer = signer();
    let note = signer.sign(&checkpoint(), TIME).unwrap();
    let any = LogVerifier::new(signer.verifier_keys());
    for (line, key) in [4, 5].into_iter().zip(signer.verifier_keys()) {
        let lacking = drop_line(&note, line);
        assert_eq!(any.open(lacking.as_bytes()), Ok(checkpoint()));
        let missing = NoteError::MissingKey { name: ORIGIN.to_owned(), id: key.id() };
        assert_eq!(signer.verifier().open(lacking.as_bytes()), Err(missing));
    }
}

#[test]
fn no_part_of_what_is_signed_can_change() {
    let signer = signer();
    let note = signer.sign(&checkpoint(), TIME).unwrap();
    let any = LogVerifier::new(signer.verifier_keys());
    for line in [4, 5] {
        let note = drop_line(&note, line);
        // Every byte of the text; the signature line from its key id on in steps.
        let text = note.find('—').unwrap();
        for at in (0..text).chain((text..note.len()).step_by(7)) {
            let mut bytes = note.as_bytes().to_vec();
            bytes[at] ^= 1;
            assert!(any.open(&bytes).is_err(), "line {line} left out, byte {at} changed");
        }
    }
}

#[test]
fn the_time_is_signed_along() {
    let signer = signer();
    let note = Note::parse(signer.sign(&checkpoint(), TIME).unwrap().as_bytes()).unwrap();
    let timed = &note.signatures()[1];
    let key = &signer.verifier_keys()[1];
    for bit in 0..64 {
        let mut bytes = timed.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = Note::new(note.text().to_owned(), vec![Signature::of(key, bytes)]).unwrap();
        assert!(changed.verify(std::slice::from_ref(key)).is_err(), "bit {bit}");
    }
    let latest = signer.sign(&checkpoint(), TIME_MAX).unwrap();
    assert_eq!(signer.verifier().open_signed(latest.as_bytes()).unwrap().time(), Some(TIME_MAX));
    let late = signer.sign(&checkpoint(), TIME_MAX + 1);
    assert_eq!(late, Err(SignError::Time(TIME_MAX + 1)));
}

#[test]
fn of_several_cosignatures_of_a_key_the_latest_counts() {
    let witness =
        SigningKey::from_seed("w.example", Algorithm::Ed25519Cosignature, &[5; 32]).unwrap();
    let body = checkpoint().body();
    let lines = [7, 9, 8].map(|time| cosign(&witness, &body, time).unwrap());
    let note = Note::new(body, lines.to_vec()).unwrap();
    let verified = note.verify(&[witness.verifier_key().clone()]).unwrap();
    assert_eq!(verified.len(), 1);
    assert_eq!(verified[0].time, Some(9));
}

#[test]
fn a_witness_alone_does_not_make_a_checkpoint_of_the_log() {
    let witness = SigningKey::from_seed("w.example", Algorithm::MlDsa44, &[5; 32]).unwrap();
    let line = cosign(&witness, &checkpoint().body(), TIME).unwrap();
    let note = Note::new(checkpoint().body(), vec![line]).unwrap().to_string();
    let mut keys = signer().verifier_keys();
    keys.push(witness.verifier_key().clone());
    let opened = LogVerifier::new(keys).open(note.as_bytes());
    let other = CheckpointError::OtherLog { origin: ORIGIN.to_owned() };
    assert_eq!(opened, Err(NoteError::Checkpoint(other)));
}

#[test]
fn a_log_signs_only_its_own_well_formed_checkpoints() {
    let signer = signer();
    let other = Checkpoint { origin: "other.example".to_owned(), ..checkpoint() };
    assert!(matches!(signer.sign(&other, TIME), Err(SignError::OtherLog { .. })));
    let impossible = Checkpoint { size: TreeSize::EMPTY, root: leaf_hash(b""), ..checkpoint() };
    assert!(matches!(signer.sign(&impossible, TIME), Err(SignError::Checkpoint(_))));
    for origin in ["", "two words", "a+b", "a\nb"] {
        let made = LogSigner::from_seed(origin, &[1; 32], &[2; 32]).map(|_| ());
        assert_eq!(made, Err(KeyError::Name), "{origin:?}");
    }
}

#[test]
fn a_plain_key_does_not_cosign() {
    let key = SigningKey::from_seed("w.example", Algorithm::Ed25519, &[5; 32]).unwrap();
    let refused = cosign(&key, &checkpoint().body(), TIME);
    assert_eq!(refused, Err(SignError::Failed(Algorithm::Ed25519)));
}

#[test]
fn bodies_are_read_as_the_specification_says() {
    let body = checkpoint().body();
    assert_eq!(Checkpoint::parse(&body), Ok(checkpoint()));
    assert_eq!(Checkpoint::parse(&format!("{body}an extension\n")), Ok(checkpoint()));
    let spaced = body.replace(ORIGIN, "rekor.example - 26056");
    assert_eq!(Checkpoint::parse(&spaced).unwrap().origin, "rekor.example - 26056");
    let empty = format!("a\n0\n{EMPTY_ROOT}\n");
    assert_eq!(Checkpoint::parse(&empty).unwrap().size, TreeSize::EMPTY);
    for bad in [
        String::new(),
        "\n".to_owned(),
        "a\n13\n".to_owned(),
        format!("\n13\n{VECTOR_ROOT}\n"),
        format!("a\n13\n{VECTOR_ROOT}"),
        format!("a\n\n{VECTOR_ROOT}\n"),
        format!("a\n013\n{VECTOR_ROOT}\n"),
        format!("a\n+13\n{VECTOR_ROOT}\n"),
        format!("a\n-1\n{VECTOR_ROOT}\n"),
        format!("a\n1e3\n{VECTOR_ROOT}\n"),
        format!("a\n13 \n{VECTOR_ROOT}\n"),
        format!("a\n18446744073709551616\n{VECTOR_ROOT}\n"),
        "a\n13\nqO9IRMjh1bpJyBHNuG6VeR9dMsp9lwmv2ij99l6Umg==\n".to_owned(),
        "a\n13\nqO9IRMjh1bpJyBHNuG6VeR9dMsp9lwmv2ij99l6UmlN=\n".to_owned(),
        format!("a\n0\n{VECTOR_ROOT}\n"),
        format!("{body}\n"),
        format!("{body}extension\n\nextension\n"),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_signed_text_that_is_no_checkpoint_is_refused() {
    let key = SigningKey::from_seed(ORIGIN, Algorithm::Ed25519, &[0x11; 32]).unwrap();
    let text = format!("{ORIGIN}\nnot a size\n{VECTOR_ROOT}\n");
    let line = Signature::of(key.verifier_key(), key.sign_bytes(text.as_bytes()).unwrap());
    let note = Note::new(text, vec![line]).unwrap().to_string();
    let opened = signer().verifier();
    let any = LogVerifier::new(opened.keys().to_vec());
    assert!(matches!(any.open(note.as_bytes()), Err(NoteError::Checkpoint(_))));
    assert_eq!(key.verifier_key().id(), KeyId(0xb3be_10c8));
}

#[test]
fn an_impossible_tree_is_told_apart_from_a_malformed_body() {
    let body = format!("{ORIGIN}\n0\n{VECTOR_ROOT}\n");
    let checkpoint = Checkpoint::parse_form(&body).unwrap();
    assert!(!checkpoint.is_possible());
    assert!(Checkpoint::parse(&body).is_err());
    // A log that signs it anyway is believed to have signed, but the tree is not.
    for algorithm in [Algorithm::MlDsa44, Algorithm::Ed25519Cosignature] {
        let key = SigningKey::from_seed(ORIGIN, algorithm, &[0x22; 32]).unwrap();
        let message = timed_message(key.verifier_key(), 1, &body).unwrap();
        let bytes = [&1_u64.to_be_bytes()[..], &key.sign_bytes(&message).unwrap()].concat();
        let line = Signature::of(key.verifier_key(), bytes);
        let note = Note::new(body.clone(), vec![line]).unwrap();
        assert!(note.verify(&[key.verifier_key().clone()]).is_ok());
        let log = LogVerifier::new([key.verifier_key().clone()]);
        assert!(matches!(log.open(note.to_string().as_bytes()), Err(NoteError::Checkpoint(_))));
        assert!(cosign(&key, &body, 1).is_err());
    }
}
