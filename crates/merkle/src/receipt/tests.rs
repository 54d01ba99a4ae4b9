//! Receipts: fixed bytes, and nothing but the whole truth is accepted.

use super::*;
use crate::hash::leaf_hash;
use crate::memory::MemoryTree;
use crate::rotation::KeyRotation;
use crate::tree::{consistency_proof, inclusion_proof, root};

const TIME_S: u64 = 1_795_000_000;

/// A receipt of leaf 5 of 13, signed with Ed25519, which gives the same bytes every time.
const INCLUSION_VECTOR: &str = include_str!("vectors/inclusion-ed25519.hex");
/// The same with ML-DSA-44, which gives other bytes every time.
const INCLUSION_ML_DSA_VECTOR: &str = include_str!("vectors/inclusion-ml-dsa-44.hex");
/// That the tree of 13 continues the one of 7.
const CONSISTENCY_VECTOR: &str = include_str!("vectors/consistency-ed25519.hex");

fn leaf(index: u64) -> Hash {
    leaf_hash(format!("leaf-{index}").as_bytes())
}

fn tree() -> MemoryTree {
    (0..13).map(leaf).collect()
}

fn root_at(size: u64) -> Hash {
    root(TreeSize(size), &tree()).unwrap()
}

fn signer() -> LogSigner {
    LogSigner::from_seed("log.example/stele", &[0x11; 32], &[0x22; 32]).unwrap()
}

fn note(size: u64) -> String {
    let origin = signer().origin().to_owned();
    let checkpoint = Checkpoint { origin, size: TreeSize(size), root: root_at(size) };
    signer().sign(&checkpoint, TIME_S).unwrap()
}

fn inclusion(index: u64) -> ReceiptProof {
    let hashes = inclusion_proof(LeafIndex(index), TreeSize(13), &tree()).unwrap();
    ReceiptProof::Inclusion { index: LeafIndex(index), hashes }
}

fn consistency(old: u64) -> ReceiptProof {
    let hashes = consistency_proof(TreeSize(old), TreeSize(13), &tree()).unwrap();
    ReceiptProof::Consistency { old: TreeSize(old), hashes }
}

fn receipt(algorithm: Algorithm, proof: ReceiptProof) -> CoseReceipt {
    signer().receipt(&note(13), algorithm, proof).unwrap()
}

fn vector(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}

#[test]
fn the_bytes_are_fixed() {
    let bytes = receipt(Algorithm::Ed25519, inclusion(5)).encode();
    assert_eq!(hex::encode(&bytes), hex::encode(vector(INCLUSION_VECTOR)));
    assert_eq!(bytes[0], RECEIPT_FIRST_BYTE);
    let bytes = receipt(Algorithm::Ed25519, consistency(7)).encode();
    assert_eq!(hex::encode(&bytes), hex::encode(vector(CONSISTENCY_VECTOR)));
    let page = include_str!("../../../../docs/formats/receipt.md");
    assert!(page.contains(INCLUSION_VECTOR) && page.contains(CONSISTENCY_VECTOR));
}

#[test]
fn what_was_written_is_read_byte_for_byte_and_believed() {
    let log = signer().verifier();
    for text in [INCLUSION_VECTOR, INCLUSION_ML_DSA_VECTOR] {
        let bytes = vector(text);
        let receipt = CoseReceipt::parse(&bytes).unwrap();
        assert_eq!(receipt.encode(), bytes);
        assert_eq!(receipt.time_s(), TIME_S);
        let checkpoint = receipt.verify_inclusion(leaf(5), &log).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (TreeSize(13), root_at(13)));
        assert_eq!(checkpoint.origin, "log.example/stele");
        let other = receipt.verify_consistency(root_at(5), &log);
        assert_eq!(other, Err(ReceiptError::OtherProof { found: "inclusion" }));
    }
    let receipt = CoseReceipt::parse(&vector(CONSISTENCY_VECTOR)).unwrap();
    let checkpoint = receipt.verify_consistency(root_at(7), &log).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (TreeSize(13), root_at(13)));
    let other = receipt.verify_inclusion(leaf(6), &log);
    assert_eq!(other, Err(ReceiptError::OtherProof { found: "consistency" }));
}

#[test]
fn every_record_and_every_earlier_size_gets_a_receipt_of_both_keys() {
    let log = signer().verifier();
    for algorithm in [Algorithm::Ed25519, Algorithm::MlDsa44] {
        for number in 0..13 {
            let written = receipt(algorithm, inclusion(number)).encode();
            assert!(written.len() < RECEIPT_BYTES_MAX);
            let read = CoseReceipt::parse(&written).unwrap();
            read.verify_inclusion(leaf(number), &log).unwrap();
            for other in (0..13).filter(|other| *other != number) {
                read.verify_inclusion(leaf(other), &log).unwrap_err();
            }
        }
        for old in 1..13 {
            let written = receipt(algorithm, consistency(old)).encode();
            let read = CoseReceipt::parse(&written).unwrap();
            read.verify_consistency(root_at(old), &log).unwrap();
            for other in (1..=13).filter(|other| *other != old) {
                read.verify_consistency(root_at(other), &log).unwrap_err();
            }
        }
    }
}

#[test]
fn every_flipped_bit_missing_byte_and_added_byte_is_refused() {
    let log = signer().verifier();
    let believed = |bytes: &[u8]| {
        CoseReceipt::parse(bytes).is_ok_and(|r| r.verify_inclusion(leaf(5), &log).is_ok())
    };
    let bytes = vector(INCLUSION_VECTOR);
    assert!(believed(&bytes));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!believed(&changed), "bit {bit}");
    }
    for at in 0..bytes.len() {
        assert!(!believed(&bytes[..at]), "{at} bytes");
        let mut shorter = bytes.clone();
        shorter.remove(at);
        assert!(!believed(&shorter), "without byte {at}");
    }
    for extra in [0x00, 0xf6, 0xff] {
        assert!(!believed(&[&bytes[..], &[extra]].concat()));
    }
}

#[test]
fn neither_size_nor_index_can_be_exchanged() {
    // Leaf 2 of 3 has the path that leaf 1 of 2 has, so only the signed size tells them apart.
    let log = signer().verifier();
    let hashes = inclusion_proof(LeafIndex(2), TreeSize(3), &tree()).unwrap();
    let proof = ReceiptProof::Inclusion { index: LeafIndex(2), hashes: hashes.clone() };
    let honest = signer().receipt(&note(3), Algorithm::Ed25519, proof).unwrap();
    honest.verify_inclusion(leaf(2), &log).unwrap();
    assert!(
        crate::verify_inclusion(leaf(2), LeafIndex(1), TreeSize(2), &hashes, root_at(3)).is_ok()
    );
    let mut moved = honest.clone();
    moved.proof = ReceiptProof::Inclusion { index: LeafIndex(1), hashes };
    moved.signed.size = TreeSize(2);
    let wrong = moved.verify_inclusion(leaf(2), &log);
    assert!(matches!(wrong, Err(ReceiptError::WrongSignature { .. })), "{wrong:?}");
    moved.signed.size = TreeSize(3);
    assert!(moved.verify_inclusion(leaf(2), &log).is_err());
    // A size in the proof that is not the signed one is not even a receipt.
    let mut bytes = honest.encode();
    let at = bytes.windows(3).position(|w| w == [0x83, 0x03, 0x02]).unwrap();
    bytes[at + 1] = 0x02;
    bytes[at + 2] = 0x01;
    let what = "its proof is for another size than the signed one";
    assert_eq!(CoseReceipt::parse(&bytes), Err(malformed(what)));
}

#[test]
fn other_keys_and_other_logs_are_not_believed() {
    let receipt = receipt(Algorithm::Ed25519, inclusion(5));
    let other = LogSigner::from_seed("log.example/stele", &[0x33; 32], &[0x44; 32]).unwrap();
    let wrong = receipt.verify_inclusion(leaf(5), &other.verifier());
    assert!(matches!(wrong, Err(ReceiptError::UnknownKey { .. })), "{wrong:?}");
    let ml_dsa_alone = LogVerifier::new([signer().verifier_keys().remove(1)]);
    receipt.verify_inclusion(leaf(5), &ml_dsa_alone).unwrap_err();
    // The same key under another name is another log.
    let elsewhere = LogSigner::from_seed("log.example/other", &[0x11; 32], &[0x22; 32]).unwrap();
    receipt.verify_inclusion(leaf(5), &elsewhere.verifier()).unwrap_err();
    let mut renamed = receipt;
    renamed.signed.origin = "log.example/other".into();
    renamed.signed.kid = key_reference(&elsewhere.verifier_keys()[0]);
    let wrong = renamed.verify_inclusion(leaf(5), &elsewhere.verifier());
    assert!(matches!(wrong, Err(ReceiptError::WrongSignature { .. })), "{wrong:?}");
}

#[test]
fn only_signed_checkpoints_get_receipts() {
    let other = LogSigner::from_seed("log.example/stele", &[0x33; 32], &[0x44; 32]).unwrap();
    let unsigned = other.receipt(&note(13), Algorithm::Ed25519, inclusion(5));
    assert!(matches!(unsigned, Err(ReceiptError::Checkpoint(_))), "{unsigned:?}");
    let altered = note(13).replace("\n13\n", "\n14\n");
    let altered = signer().receipt(&altered, Algorithm::Ed25519, inclusion(5));
    assert!(matches!(altered, Err(ReceiptError::Checkpoint(_))), "{altered:?}");
    let refused = |proof| signer().receipt(&note(13), Algorithm::Ed25519, proof).unwrap_err();
    let hashes = vec![leaf(0)];
    let beyond = ReceiptProof::Inclusion { index: LeafIndex(13), hashes: hashes.clone() };
    assert!(matches!(refused(beyond), ReceiptError::Proof(ProofError::NoSuchLeaf { .. })));
    let reversed = ReceiptProof::Consistency { old: TreeSize(14), hashes };
    assert!(matches!(refused(reversed), ReceiptError::Proof(ProofError::SizesReversed { .. })));
    // RFC 9942 has no form for these.
    assert_eq!(refused(consistency(13)), ReceiptError::EmptyProof);
    assert_eq!(refused(consistency(0)), ReceiptError::EmptyProof);
}

#[test]
fn other_profiles_are_refused_with_the_reason() {
    let bytes = vector(INCLUSION_VECTOR);
    let swap = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
        let mut changed = bytes.clone();
        changed.splice(at..at + from.len(), to.iter().copied());
        CoseReceipt::parse(&changed).unwrap_err().to_string()
    };
    for (from, to, why) in [
        (&[0xd2, 0x84][..], &[0xd1, 0x84][..], "not tagged as COSE_Sign1"),
        (&[0x01, 0x27], &[0x01, 0x32], "neither EdDSA (-8) nor ML-DSA-44 (-48)"),
        (&[0x19, 0x01, 0x8b, 0x01], &[0x19, 0x01, 0x8b, 0x02], "RFC9162_SHA256"),
        (b"checkpoint/13", b"checkpoint/0d", "checkpoint/SIZE"),
        (&[0xa1, 0x20, 0x81], &[0xa1, 0x22, 0x81], "neither one of inclusion nor"),
        (&[0xf6, 0x58, 0x40], &[0x40, 0x58, 0x40], "payload is not detached"),
        (&[0x83, 0x0d, 0x05], &[0x83, 0x18, 0x0d, 0x05], "two numbers"),
    ] {
        let said = swap(from, to);
        assert!(said.contains(why), "{said}: {why}");
    }
    let long = [&bytes[..], &[0; RECEIPT_BYTES_MAX]].concat();
    assert_eq!(CoseReceipt::parse(&long), Err(malformed("it is too long")));
}

#[test]
fn receipts_are_checked_by_the_keys_that_sign_a_tree_of_their_size() {
    let origin = signer().origin().to_owned();
    let other = |seed: u8| LogSigner::from_seed(&origin, &[seed; 32], &[seed + 1; 32]).unwrap();
    let rotation = KeyRotation {
        origin: origin.clone(),
        size: TreeSize(9),
        root: root_at(9),
        time_s: TIME_S,
        source: [1; 32],
        next_source: [2; 32],
        old: signer().verifier_keys(),
        new: other(3).verifier_keys(),
    };
    let history = [(LeafIndex(10), rotation)];
    let by = |signer: &LogSigner| {
        let checkpoint =
            Checkpoint { origin: origin.clone(), size: TreeSize(13), root: root_at(13) };
        let note = signer.sign(&checkpoint, TIME_S).unwrap();
        signer.receipt(&note, Algorithm::Ed25519, inclusion(5)).unwrap()
    };
    for pinned in [signer(), other(3)] {
        let log = pinned.verifier().with_history(&history).unwrap();
        assert_eq!(by(&other(3)).verify_inclusion(leaf(5), &log).unwrap().size, TreeSize(13));
        let retired = by(&signer()).verify_inclusion(leaf(5), &log).unwrap_err();
        let ReceiptError::RetiredKey { rotated_at, .. } = retired else { panic!("{retired}") };
        assert_eq!(rotated_at, LeafIndex(10));
        let unknown = by(&other(7)).verify_inclusion(leaf(5), &log).unwrap_err();
        assert!(matches!(unknown, ReceiptError::UnknownKey { .. }), "{unknown}");
    }
    // Without the history the old key says which one it lacks.
    let lacking = by(&other(3)).verify_inclusion(leaf(5), &signer().verifier()).unwrap_err();
    assert!(lacking.to_string().contains(&key_reference(&other(3).verifier_keys()[0])));
}
