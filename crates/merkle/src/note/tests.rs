//! The example of the specification, and notes that break one rule each.

use super::*;
use crate::key::SigningKey;

const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
const LINE: &str = "— a AAAAAAA=";

fn key() -> VerifierKey {
    KEY.parse().unwrap()
}

/// A key and the note in which it signs `text`.
fn signed(name: &str, seed: u8, text: &str) -> (VerifierKey, Signature) {
    let key = SigningKey::from_seed(name, Algorithm::Ed25519, &[seed; 32]).unwrap();
    let line = Signature::of(key.verifier_key(), key.sign_bytes(text.as_bytes()).unwrap());
    (key.verifier_key().clone(), line)
}

#[test]
fn the_example_of_the_specification_is_believed() {
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.to_string(), NOTE);
    let verified = note.verify(&[key()]).unwrap();
    assert_eq!(verified.len(), 1);
    assert_eq!((verified[0].name.as_str(), verified[0].time), ("example.com/foo", None));
}

#[test]
fn every_flipped_bit_is_noticed() {
    for at in 0..NOTE.len() {
        for bit in 0..8 {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let opened = Note::parse(&bytes).and_then(|note| note.verify(&[key()]));
            assert!(opened.is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn malformed_notes_are_refused() {
    for (note, why) in [
        (String::new(), "nothing"),
        ("text\n".to_owned(), "no empty line"),
        (format!("text\n{LINE}\n"), "no empty line"),
        (format!("\n{LINE}\n"), "no text"),
        ("text\n\n".to_owned(), "no signature"),
        (format!("text\n\n{LINE}"), "no newline at the end"),
        (format!("text\n\n{LINE}\n\n"), "an empty line after the signatures"),
        (format!("text\n\n{LINE}\nmore\n"), "a line that is no signature"),
        (format!("text\n\n {LINE}\n"), "a space before"),
        (format!("text\n\n{LINE} \n"), "a space behind"),
        ("text\n\n- a AAAAAAA=\n".to_owned(), "a hyphen for the dash"),
        ("text\n\n—a AAAAAAA=\n".to_owned(), "no space after the dash"),
        ("text\n\n—  AAAAAAA=\n".to_owned(), "an empty name"),
        ("text\n\n— a+b AAAAAAA=\n".to_owned(), "a plus in the name"),
        ("text\n\n— a\u{2003}b AAAAAAA=\n".to_owned(), "a space in the name"),
        ("text\n\n— a\n".to_owned(), "no signature on the line"),
        ("text\n\n— a AAAAAA==\n".to_owned(), "a key id and no more"),
        ("text\n\n— a AAAAAAB=\n".to_owned(), "another form of the same base64"),
        ("text\n\n— a AAAAAAA\n".to_owned(), "base64 without its end"),
        ("text\n\n— a AAAA-AA=\n".to_owned(), "another alphabet"),
        (format!("te\txt\n\n{LINE}\n"), "a tab"),
        (format!("text\r\n\n{LINE}\n"), "a carriage return"),
        (format!("te\0xt\n\n{LINE}\n"), "a zero byte"),
    ] {
        let parsed = Note::parse(note.as_bytes());
        assert!(matches!(parsed, Err(NoteError::Malformed { .. })), "{why}: {parsed:?}");
    }
    let not_utf8 = [b"te\xffxt\n\n", LINE.as_bytes(), b"\n"].concat();
    assert!(Note::parse(&not_utf8).is_err());
}

#[test]
fn the_last_empty_line_separates() {
    for text in ["a\n\nb\n", "a\n\n", "\n", "a\n\n\n\n"] {
        let note = Note::parse(format!("{text}\n{LINE}\n").as_bytes()).unwrap();
        assert_eq!(note.text(), text);
        assert_eq!(Note::new(text.to_owned(), note.signatures().to_vec()), Ok(note));
    }
}

#[test]
fn only_what_can_be_read_again_is_a_note() {
    let line = Signature::parse(LINE).unwrap();
    for text in ["", "no newline", "a\tb\n"] {
        assert!(Note::new(text.to_owned(), vec![line.clone()]).is_err(), "{text:?}");
    }
    assert!(Note::new("a\n".to_owned(), Vec::new()).is_err());
}

#[test]
fn length_and_lines_are_bounded() {
    let lines = |count: usize| format!("text\n\n{}", format!("{LINE}\n").repeat(count));
    assert_eq!(Note::parse(lines(100).as_bytes()).map(|n| n.signatures().len()), Ok(100));
    assert_eq!(Note::parse(lines(101).as_bytes()), Err(NoteError::TooManyLines));
    let long = |text: usize| format!("{}\n\n{LINE}\n", "t".repeat(text));
    let rest = long(0).len();
    assert!(Note::parse(long(NOTE_BYTES_MAX - rest).as_bytes()).is_ok());
    let bytes = NOTE_BYTES_MAX + 1;
    assert_eq!(Note::parse(long(bytes - rest).as_bytes()), Err(NoteError::TooLong { bytes }));
}

#[test]
fn unknown_keys_are_passed_over_and_known_ones_must_fit() {
    let text = "text\n";
    let (a, line_a) = signed("a", 1, text);
    let (b, line_b) = signed("b", 2, text);
    let (_, wrong_b) = signed("b", 2, "other\n");
    let note = |lines: &[&Signature]| {
        Note::new(text.to_owned(), lines.iter().map(|l| (*l).clone()).collect()).unwrap()
    };
    let names = |note: &Note, keys: &[VerifierKey]| {
        note.verify(keys).map(|v| v.into_iter().map(|v| v.name).collect::<Vec<_>>())
    };
    let (only_a, only_b) = ([a.clone()], [b.clone()]);
    let both = [a.clone(), b.clone()];
    let wrong = NoteError::WrongSignature { name: "b".to_owned(), id: b.id() };

    assert_eq!(names(&note(&[&line_a]), &[]), Err(NoteError::NoKnownKey));
    assert_eq!(names(&note(&[&line_a]), &only_b), Err(NoteError::NoKnownKey));
    assert_eq!(names(&note(&[&line_a, &wrong_b]), &only_a), Ok(vec!["a".to_owned()]));
    assert_eq!(names(&note(&[&line_a, &wrong_b]), &both), Err(wrong.clone()));
    assert_eq!(names(&note(&[&line_b, &wrong_b]), &only_b), Err(wrong.clone()));
    assert_eq!(names(&note(&[&wrong_b, &line_b]), &only_b), Err(wrong));
    let twice = note(&[&line_b, &line_b, &line_a]);
    assert_eq!(names(&twice, &both), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(names(&twice, &[b.clone(), b]), Ok(vec!["b".to_owned()]));
}

#[test]
fn a_key_of_the_same_name_with_another_id_is_another_key() {
    let (known, _) = signed("log", 1, "text\n");
    let (_, other) = signed("log", 2, "text\n");
    let note = Note::new("text\n".to_owned(), vec![other]).unwrap();
    assert_eq!(note.verify(&[known]), Err(NoteError::NoKnownKey));
}

#[test]
fn only_characters_below_the_space_are_control_characters() {
    for text in ["del \u{7f}\n", "c1 \u{85}\n", "separator \u{2028}\n", "\u{1f512}\n"] {
        let note = Note::parse(format!("{text}\n{LINE}\n").as_bytes()).unwrap();
        assert_eq!(note.text(), text);
    }
    for byte in (0..0x20).filter(|byte| *byte != b'\n') {
        let text = format!("text{}\n\n{LINE}\n", char::from(byte));
        assert!(Note::parse(text.as_bytes()).is_err(), "{byte:#x}");
    }
}

#[test]
fn lines_are_added_and_those_that_were_not_checked_left_out() {
    let text = "text\n";
    let (a, line_a) = signed("a", 1, text);
    let (_, line_b) = signed("b", 2, text);
    let note = Note::new(text.to_owned(), vec![line_a.clone()]).unwrap();
    let both = note.with(line_b.clone()).unwrap();
    assert_eq!(both.signatures(), [line_a, line_b.clone()]);
    assert_eq!(both.only_by(&[a]), Ok(note));
    assert!(both.only_by(&[]).is_err());
    let full = Note::new(text.to_owned(), vec![line_b.clone(); SIGNATURE_LINES_MAX]).unwrap();
    assert_eq!(full.with(line_b), Err(NoteError::TooManyLines));
}
