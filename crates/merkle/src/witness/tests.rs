//! Messages are read as they are written, and nothing else is.

use super::*;
use crate::checkpoint::{Checkpoint, LogSigner};
use crate::hash::leaf_hash;

fn note() -> Note {
    let log = LogSigner::from_seed("log.example", &[1; 32], &[2; 32]).unwrap();
    let root = leaf_hash(b"");
    let checkpoint = Checkpoint { origin: "log.example".to_owned(), size: TreeSize(1), root };
    Note::parse(log.sign(&checkpoint, 7).unwrap().as_bytes()).unwrap()
}

fn request(hashes: usize) -> AddCheckpoint {
    let proof = (0..hashes).map(|i| leaf_hash(&[i as u8])).collect();
    AddCheckpoint { old: TreeSize(20_852_014), proof, note: note() }
}

#[test]
fn requests_are_read_as_they_are_written() {
    for hashes in [0, 1, 63] {
        let request = request(hashes);
        let text = request.encode();
        assert!(text.starts_with("old 20852014\n"), "{text}");
        assert_eq!(AddCheckpoint::parse(text.as_bytes()).as_ref(), Ok(&request));
    }
    let none = AddCheckpoint { old: TreeSize::EMPTY, proof: Vec::new(), note: note() };
    assert!(none.encode().starts_with("old 0\n\nlog.example\n1\n"));
}

#[test]
fn requests_that_break_a_rule_are_refused() {
    let good = request(2).encode();
    let hash = leaf_hash(b"").to_string();
    for (bad, why) in [
        (String::new(), "nothing"),
        (good.replace("old ", "Old "), "another keyword"),
        (good.replace("old 2", "old  2"), "two spaces"),
        (good.replace("old 2", "old 02"), "a zero before"),
        (good.replace("old 2", "old +2"), "a sign"),
        (good.replace("old 20852014", "old "), "no size"),
        (good.replace("old 20852014", "old 18446744073709551616"), "a size over 64 bits"),
        (good.replace("old 20852014\n", ""), "no first line"),
        (good.replacen('\n', "\r\n", 1), "a carriage return"),
        (good.replacen("\n\n", "\n", 1), "no empty line"),
        (good.replacen("\n\n", "\nx\n\n", 1), "no hash"),
        (good.replacen("\n\n", "\n \n\n", 1), "a space"),
        (request(64).encode(), "64 hashes"),
        (format!("old 1\n\n{}", note().text()), "no signatures"),
        (format!("old 1\n{hash}\n"), "no checkpoint"),
    ] {
        assert!(AddCheckpoint::parse(bad.as_bytes()).is_err(), "{why}");
    }
    let long = [b"old 1\n\n", &vec![b'a'; ADD_CHECKPOINT_BYTES_MAX][..]].concat();
    assert!(matches!(AddCheckpoint::parse(&long), Err(MessageError::TooLong { .. })));
    assert!(AddCheckpoint::parse(b"old 1\n\n\xff\n\n").is_err());
}

#[test]
fn the_longest_request_that_the_limit_is_for_is_read() {
    let line = note().signatures()[1].to_string();
    let text = format!("{}\n{}", note().text(), format!("{line}\n").repeat(17));
    let note = Note::parse(text.as_bytes()).unwrap();
    let request = AddCheckpoint { note, ..request(63) };
    assert_eq!(AddCheckpoint::parse(request.encode().as_bytes()), Ok(request));
}

#[test]
fn answers_are_told_apart() {
    let lines = note().signatures().to_vec();
    let body = encode_cosignatures(&lines);
    assert_eq!(Answer::parse(200, body.as_bytes()), Ok(Answer::Cosigned(lines)));
    let size = encode_size(TreeSize(42));
    assert_eq!(size, "42\n");
    assert_eq!(Answer::parse(409, size.as_bytes()), Ok(Answer::OtherSize(TreeSize(42))));
    for bad in [&b""[..], b"\n", b"x\n", b"\xe2\x80\x94 a AAAAAAA=", b"\xff\n", b"\xe2\x80\x94 a\n"]
    {
        assert!(Answer::parse(200, bad).is_err(), "{bad:?}");
    }
    for (status, body) in
        [(409, "roots differ"), (409, ""), (409, "042\n"), (422, "42\n"), (503, "")]
    {
        let refused = Answer::Refused { status, reason: body.trim().to_owned() };
        assert_eq!(Answer::parse(status, body.as_bytes()), Ok(refused));
    }
    let noisy = Answer::parse(500, &[b"a\x1b[31m\xff".as_slice(), &[b'x'; 9_999]].concat());
    let Ok(Answer::Refused { reason, .. }) = noisy else { panic!("{noisy:?}") };
    assert!(reason.starts_with("a [31m") && reason.len() < 600, "{reason}");
    let long = vec![b'x'; ANSWER_BYTES_MAX + 1];
    assert!(matches!(Answer::parse(500, &long), Err(MessageError::TooLong { .. })));
}

#[test]
fn refusals_have_the_statuses_of_the_specification() {
    let origin = "log.example".to_owned();
    for (refusal, status) in [
        (Refusal::Malformed("x".to_owned()), 400),
        (Refusal::SizesReversed { old: TreeSize(2), new: TreeSize(1) }, 400),
        (Refusal::Untrusted(NoteError::NoKnownKey), 403),
        (Refusal::UnknownLog { origin }, 404),
        (Refusal::Inconsistent("x".to_owned()), 422),
    ] {
        assert_eq!(refusal.status(), status);
    }
}

#[test]
fn requests_for_subtrees_are_read_as_they_are_written() {
    let (lines, text) = (note().signatures().to_vec(), note().text().to_owned());
    for (cosignatures, hashes, signatures) in
        [(vec![], 0, vec![]), (lines.clone(), 3, vec![]), (lines[..1].to_vec(), 63, lines.clone())]
    {
        let request = SignSubtree {
            subtree: Subtree::new(8, 13).unwrap(),
            hash: leaf_hash(b"subtree"),
            cosignatures,
            proof: (0..hashes).map(|i| leaf_hash(&[i])).collect(),
            checkpoint: text.clone(),
            signatures,
        };
        let body = request.encode();
        assert!(body.starts_with("subtree 8 13\n"), "{body}");
        assert_eq!(SignSubtree::parse(body.as_bytes()).as_ref(), Ok(&request));
        for wrong in [
            body.replacen("8 13", "4 13", 1),
            body.replacen("8 13", "08 13", 1),
            body.replacen("8 13", "13 13", 1),
            body.replacen("\n\n", "\n", 1),
            body.replacen("\n\n", "\nno hash\n\n", 1),
            body[..body.len() - 1].to_owned(),
        ] {
            assert!(SignSubtree::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let one = format!("{}\n", lines[0]);
        let many = body.replacen("\n\n", &format!("\n{}\n", one.repeat(9)), 1);
        assert!(SignSubtree::parse(many.as_bytes()).is_err());
    }
}
