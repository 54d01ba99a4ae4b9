//! Every rule of the specification by a policy that breaks it, and quorums against a plain model.

use super::*;
use crate::checkpoint::{Checkpoint, LogSigner, cosign};
use crate::hash::leaf_hash;
use crate::key::SigningKey;
use crate::tree::TreeSize;

fn key(name: &str, seed: u8, algorithm: Algorithm) -> SigningKey {
    SigningKey::from_seed(name, algorithm, &[seed; 32]).unwrap()
}

/// A witness's key; odd seeds are Ed25519, even ones ML-DSA-44.
fn witness(seed: u8) -> SigningKey {
    let kinds = [Algorithm::MlDsa44, Algorithm::Ed25519Cosignature];
    key(&format!("w{seed}.example"), seed, kinds[usize::from(seed % 2)])
}

fn log() -> LogSigner {
    LogSigner::from_seed("log.example", &[0x11; 32], &[0x22; 32]).unwrap()
}

fn vkey(seed: u8) -> String {
    witness(seed).verifier_key().to_string()
}

fn cosigned_by(seeds: &[u8]) -> Note {
    let root = leaf_hash(b"");
    let checkpoint = Checkpoint { origin: "log.example".to_owned(), size: TreeSize(1), root };
    let note = Note::parse(log().sign(&checkpoint, 7).unwrap().as_bytes()).unwrap();
    seeds.iter().fold(note, |note, seed| {
        note.with(cosign(&witness(*seed), note.text(), u64::from(*seed)).unwrap()).unwrap()
    })
}

#[test]
fn the_example_of_the_specification_is_read() {
    let mut text = format!("# a comment\n\t # another\nlog {}\n\n", log().verifier_keys()[0]);
    for (name, seed) in [("X1", 1), ("X2", 2), ("X3", 3), ("Y1", 4), ("Y2", 5), ("Y3", 6)] {
        text += &format!("  witness\t{name}  {} https://{name}.example \n", vkey(seed));
    }
    text += "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n\
             group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n";
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.logs().len(), 1);
    assert_eq!(policy.witnesses()[1].url.as_deref(), Some("https://X2.example"));
    assert_eq!(policy.quorum_text(), "2 of (2 of (X1, X2, X3), 1 of (Y1, Y2, Y3))");
    for (seeds, met) in [
        (&[][..], false),
        (&[1, 2], false),
        (&[1, 4], false),
        (&[4, 5, 6], false),
        (&[1, 2, 3], false),
        (&[1, 3, 6], true),
        (&[1, 2, 3, 4, 5, 6], true),
        (&[1, 2, 9], false),
    ] {
        let verdict = policy.verdict(&cosigned_by(seeds)).unwrap();
        assert_eq!(verdict.quorum_met, met, "{seeds:?}");
        let known = seeds.iter().filter(|seed| **seed < 9).count();
        assert_eq!(verdict.cosigned.len(), known);
        for (at, by) in verdict.cosigned {
            assert_eq!(by.time, Some(at as u64 + 1));
        }
    }
    let opened = policy.log_verifier().open(cosigned_by(&[]).to_string().as_bytes());
    assert_eq!(opened.map(|checkpoint| checkpoint.size), Ok(TreeSize(1)));
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_line() {
    let (a, b) = (vkey(1), vkey(3));
    let log_key = &log().verifier_keys()[0];
    let same_key = key("other.example", 1, Algorithm::Ed25519Cosignature);
    let (same_key, plain) = (same_key.verifier_key(), key("p", 8, Algorithm::Ed25519));
    let renamed = key("renamed.example", 0x11, Algorithm::Ed25519);
    let begin = format!("witness a {a}\nwitness b {b}\n");
    for (text, line, why) in [
        (String::new(), 1, "no quorum"),
        (begin.clone(), 3, "no quorum"),
        (format!("{begin}quorum a\nquorum b\n"), 4, "two quorums"),
        (format!("{begin}quorum\n"), 3, "no name"),
        (format!("{begin}quorum a b\n"), 3, "two names"),
        (format!("{begin}quorum c\n"), 3, "an unknown name"),
        (format!("quorum a\n{begin}"), 1, "a later name"),
        (format!("{begin}group g any a c\nquorum g\n"), 3, "an unknown member"),
        (format!("group g any a\n{begin}quorum g\n"), 1, "a later member"),
        (format!("{begin}group g any g\nquorum g\n"), 3, "a group in itself"),
        (format!("{begin}group g any a a\nquorum g\n"), 3, "a member twice"),
        (format!("{begin}group g any a\ngroup h all a b\nquorum h\n"), 4, "a member of two groups"),
        (format!("{begin}group g any none\nquorum g\n"), 3, "none as member"),
        (format!("{begin}group none any a\nquorum none\n"), 3, "a group named none"),
        (format!("witness none {a}\nquorum none\n"), 1, "a witness named none"),
        (format!("{begin}group a any b\nquorum a\n"), 3, "a name twice"),
        (format!("{begin}witness a {}\nquorum a\n", vkey(5)), 3, "a name twice"),
        (format!("{begin}group g any\nquorum g\n"), 3, "no members"),
        (format!("{begin}group g\nquorum g\n"), 3, "no threshold"),
        (format!("{begin}group g 0 a b\nquorum g\n"), 3, "a threshold of 0"),
        (format!("{begin}group g 3 a b\nquorum g\n"), 3, "a threshold over the members"),
        (format!("{begin}group g 01 a b\nquorum g\n"), 3, "a zero before"),
        (format!("{begin}group g +1 a b\nquorum g\n"), 3, "a sign"),
        (format!("{begin}group g two a b\nquorum g\n"), 3, "a word"),
        (format!("{begin}witness c {same_key}\nquorum a\n"), 3, "the same public key"),
        (format!("witness p {}\nquorum p\n", plain.verifier_key()), 1, "no key for cosignatures"),
        (format!("log {log_key}\nlog {}\nquorum none\n", renamed.verifier_key()), 2, "a log twice"),
        (format!("log {log_key} u v\nquorum none\n"), 1, "two URLs"),
        ("log\nquorum none\n".to_owned(), 1, "no key"),
        ("log x+y\nquorum none\n".to_owned(), 1, "not a key"),
        (format!("witness a {a} u v\nquorum a\n"), 1, "two URLs"),
        (format!("{begin}quorum a # why\n"), 3, "a comment after"),
        (format!("{begin}Quorum a\n"), 3, "an unknown keyword"),
        (format!("{begin}quorum a\r\n"), 3, "a carriage return"),
        (format!("{begin}# \x7f\nquorum a\n"), 3, "a control character in a comment"),
        (format!("{begin}# \0\nquorum a\n"), 3, "a zero byte"),
    ] {
        let refused = Policy::parse(text.as_bytes()).unwrap_err();
        assert_eq!(refused.line, line, "{why}: {refused}");
    }
}

#[test]
fn names_are_bytes_without_an_encoding() {
    let (a, b) = (vkey(1), vkey(3));
    let text = [b"witness K ", a.as_bytes(), b"\nwitness \xe2\x84\xaa ", b.as_bytes()].concat();
    let text = [&text[..], b"\nwitness \xff ", vkey(5).as_bytes()].concat();
    let text =
        [&text[..], b"\ngroup all-\xfe 3 K \xe2\x84\xaa \xff\n# \x80\nquorum all-\xfe"].concat();
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.witnesses().len(), 3);
    assert!(policy.verdict(&cosigned_by(&[1, 3, 5])).unwrap().quorum_met);
}

#[test]
fn a_policy_without_witnesses_needs_none() {
    let policy = Policy::parse(b"quorum none\n").unwrap();
    assert!(policy.verdict(&cosigned_by(&[])).unwrap().quorum_met);
    assert_eq!(policy.quorum_text(), "none");
    let note = cosigned_by(&[]).to_string();
    assert_eq!(policy.log_verifier().open(note.as_bytes()), Err(NoteError::NoKnownKey));
}

#[test]
fn a_wrong_line_of_a_known_witness_spoils_the_note() {
    let policy = Policy::parse(
        format!("witness a {}\nwitness b {}\nquorum a\n", vkey(1), vkey(3)).as_bytes(),
    );
    let policy = policy.unwrap();
    let other =
        cosign(&witness(3), "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", 3);
    let note = cosigned_by(&[1]).with(other.unwrap()).unwrap();
    assert!(matches!(policy.verdict(&note), Err(NoteError::WrongSignature { .. })));
}

#[test]
fn size_and_number_of_entries_are_bounded() {
    let entries = |count: usize| {
        let keys = (0..count).map(|i| {
            let seed: [u8; 32] = std::array::from_fn(|at| (i >> (8 * (at % 2))) as u8);
            SigningKey::from_seed("w", Algorithm::Ed25519Cosignature, &seed).unwrap()
        });
        let lines =
            keys.enumerate().map(|(i, key)| format!("witness w{i} {}\n", key.verifier_key()));
        format!("{}quorum none\n", lines.collect::<String>())
    };
    assert!(Policy::parse(entries(POLICY_ENTRIES_MAX).as_bytes()).is_ok());
    let refused = Policy::parse(entries(POLICY_ENTRIES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(refused.line, POLICY_ENTRIES_MAX + 1);
    let long = format!("# {}\nquorum none\n", "c".repeat(POLICY_BYTES_MAX));
    assert!(Policy::parse(long.as_bytes()).is_err());
}

/// All groups of three over five witnesses, all sets of cosigners.
#[test]
fn quorums_are_those_of_a_plain_count() {
    let begin: String = (1..=5).map(|seed| format!("witness w{seed} {}\n", vkey(seed))).collect();
    for inner in 1..=3 {
        for outer in 1..=3 {
            let text =
                format!("{begin}group i {inner} w1 w2 w3\ngroup o {outer} w4 i w5\nquorum o\n");
            let policy = Policy::parse(text.as_bytes()).unwrap();
            for set in 0_u32..32 {
                let has = |witness: usize| set >> witness & 1 == 1;
                let first = (0..3).filter(|w| has(*w)).count() >= inner;
                let met = usize::from(first) + usize::from(has(3)) + usize::from(has(4)) >= outer;
                assert_eq!(policy.is_met(&has), met, "{text} {set:b}");
            }
        }
    }
}
