//! Proof files: what is written is read again, and only what the log signed is believed.

use super::*;
use crate::checkpoint::LogSigner;
use crate::hash::leaf_hash;
use crate::memory::MemoryTree;
use crate::tree::{TreeSize, inclusion_proof, root};

fn leaf(index: u64) -> Hash {
    leaf_hash(format!("leaf-{index}").as_bytes())
}

fn signer() -> LogSigner {
    LogSigner::from_seed("log.example/stele", &[0x11; 32], &[0x22; 32]).unwrap()
}

fn proof(index: u64, extra: Option<&[u8]>) -> TlogProof {
    let tree: MemoryTree = (0..13).map(leaf).collect();
    let (size, index) = (TreeSize(13), LeafIndex(index));
    let root = root(size, &tree).unwrap();
    let checkpoint = Checkpoint { origin: signer().origin().to_owned(), size, root };
    TlogProof {
        extra: extra.map(<[u8]>::to_vec),
        index,
        hashes: inclusion_proof(index, size, &tree).unwrap(),
        checkpoint_note: signer().sign(&checkpoint, 1_795_000_000).unwrap(),
    }
}

#[test]
fn what_is_written_is_read_and_believed() {
    for extra in [None, Some(&b""[..]), Some(b"\0any bytes")] {
        let proof = proof(5, extra);
        let text = proof.encode();
        assert_eq!(TlogProof::parse(&text).as_ref(), Ok(&proof));
        let checkpoint = proof.verify(leaf(5), &signer().verifier()).unwrap();
        assert_eq!(checkpoint.size, TreeSize(13));
    }
    let text = proof(5, None).encode();
    assert!(text.starts_with(
        "c2sp.org/tlog-proof@v1\nindex 5\n6p/BobbhkbRg0NYwbj6HDBc/OTMPE82htwz8cr3DmLo=\n"
    ));
    assert!(text.contains("=\n\nlog.example/stele\n13\nqO9IRMjh1bp"));
}

#[test]
fn a_log_of_one_leaf_has_an_empty_proof() {
    let checkpoint =
        Checkpoint { origin: signer().origin().to_owned(), size: TreeSize(1), root: leaf(0) };
    let checkpoint_note = signer().sign(&checkpoint, 1).unwrap();
    let proof = TlogProof { extra: None, index: LeafIndex(0), hashes: Vec::new(), checkpoint_note };
    let text = proof.encode();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example/stele\n1\n"));
    assert_eq!(TlogProof::parse(&text), Ok(proof.clone()));
    assert_eq!(proof.verify(leaf(0), &signer().verifier()), Ok(checkpoint));
}

#[test]
fn another_leaf_index_proof_or_log_is_not_believed() {
    let good = proof(5, None);
    let log = signer().verifier();
    assert!(matches!(good.verify(leaf(6), &log), Err(ProofFileError::Proof(_))));
    let moved = TlogProof { index: LeafIndex(6), ..good.clone() };
    assert!(matches!(moved.verify(leaf(5), &log), Err(ProofFileError::Proof(_))));
    let mut short = good.clone();
    short.hashes.pop();
    assert!(matches!(short.verify(leaf(5), &log), Err(ProofFileError::Proof(_))));
    let stranger = LogSigner::from_seed("log.example/stele", &[1; 32], &[2; 32]).unwrap();
    let refused = good.verify(leaf(5), &stranger.verifier());
    assert_eq!(refused, Err(ProofFileError::Checkpoint(NoteError::NoKnownKey)));
}

#[test]
fn malformed_files_are_refused() {
    let good = proof(5, Some(b"x")).encode();
    let hash = "6p/BobbhkbRg0NYwbj6HDBc/OTMPE82htwz8cr3DmLo=\n";
    for (bad, why) in [
        (String::new(), "nothing"),
        (good.replace("@v1", "@v2"), "another version"),
        (good.replacen("c2sp", " c2sp", 1), "a space before"),
        (good.replace("index 5", "index 05"), "a zero in front"),
        (good.replace("index 5", "index  5"), "two spaces"),
        (good.replace("index 5", "index -5"), "a sign"),
        (good.replace("index 5\n", ""), "no index"),
        (good.replace("extra eA==", "extra eA="), "extra that is not base64"),
        (good.replace("extra eA==", "extra eA==\nextra eA=="), "two extras"),
        (good.replace("index 5\n", "index 5\nextra eA==\n"), "extra after the index"),
        (good.replace(hash, "6p/Bob==\n"), "a short hash"),
        (good.replace(hash, &hash.repeat(61)), "64 hashes"),
        (good.replace("=\n\nlog", "=\nlog"), "no empty line"),
        (good.replace('\n', "\r\n"), "other line ends"),
        ("x".repeat(PROOF_FILE_BYTES_MAX + 1), "too long"),
    ] {
        assert_ne!(bad, good, "{why}");
        let parsed = TlogProof::parse(&bad);
        assert!(matches!(parsed, Err(ProofFileError::Malformed { .. })), "{why}: {parsed:?}");
    }
    let most = good.replace(hash, &hash.repeat(60));
    assert_eq!(TlogProof::parse(&most).map(|p| p.hashes.len()), Ok(63));
}
