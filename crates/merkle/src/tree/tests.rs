//! Roots and proofs against values computed with the Go module `golang.org/x/mod/sumdb/tlog`. Against
//! the recursive definitions of RFC 6962, 2.1, they are in `tests/proofs.rs`.

use super::*;
use crate::hash::leaf_hash;
use crate::memory::MemoryTree;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(format!("leaf-{i}").as_bytes())).collect()
}

#[test]
fn roots_are_those_of_the_go_reference() {
    let tree: MemoryTree = leaves(70_000).into_iter().collect();
    for (size, expected) in [
        (0, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        (1, "MF31n5WQw8msY9KydDw4jjeSRJB4zr9/s9vmRxZDsrc="),
        (7, "CwB/uRXrmyoUb1SxyG7FO2ZPjkVbdmCwtu4T7cDZIcA="),
        (8, "ymt7PmdKyGwQJ7Wch8Bk/DvCezEylMdfg70F/dE/Dc8="),
        (13, "qO9IRMjh1bpJyBHNuG6VeR9dMsp9lwmv2ij99l6UmlM="),
        (255, "PeIqGlwT+K18b98DQwUZDYcLenK5nPaenN1vflQwwTY="),
        (256, "9+1etEvmGQjN9muzFoE9x1RCqipbMHF3wGxygnE1bJE="),
        (257, "RdfiB7m9lIoLHlUWLtw4ZFPIqYU7XzxFfiVxbAvpjsI="),
        (65_536, "7FUIpq/HNNI9TQusNBhtN9wZ3pDlMnwZ7AOJ+oqsWdM="),
        (70_000, "iBwvTHw7YMhk1XSquRdGoWciDFIKL4M9hu7m3++5rMs="),
    ] {
        let root = root(TreeSize(size), &tree).unwrap();
        assert_eq!(root.to_string(), expected, "size {size}");
    }
    let last = inclusion_proof(LeafIndex(69_999), TreeSize(70_000), &tree).unwrap();
    assert_eq!(last.len(), 9);
    assert_eq!(last[0].to_string(), "MUTu9pQpukAasDL//+0L9Uf7iqvszAq3cDgKzh0Fe4Y=");
    assert_eq!(last[7].to_string(), "rrZCzG3NxaBfDL2sT6m0CSKJFFfdAvMDpLa0joeklqo=");
}

#[test]
fn proofs_of_small_trees_are_those_of_the_go_reference() {
    let tree: MemoryTree = leaves(13).into_iter().collect();
    let text = |proof: Vec<Hash>| proof.iter().map(Hash::to_string).collect::<Vec<_>>();
    let shared = [
        "OY6960bhee7/rO9GNf0wQQlU4Wm4jiJ0H6ls/7ECKoU=",
        "vdHF/1WxnLaw58dhv5psyqJ/u/wHt08fq7bpEaC9KrM=",
        "0LdDhSa4DYLPUcCWqLZaLBnAngz/lEGdQjYr6UrsW2Q=",
    ];
    let inclusion = inclusion_proof(LeafIndex(5), TreeSize(13), &tree).unwrap();
    assert_eq!(text(inclusion)[0], "6p/BobbhkbRg0NYwbj6HDBc/OTMPE82htwz8cr3DmLo=");
    let consistency = text(consistency_proof(TreeSize(6), TreeSize(13), &tree).unwrap());
    assert_eq!(consistency[0], "mFu102uSeACHaHHaklp+gqvoOp3bpYgpIKAHpV6is3Y=");
    assert_eq!(consistency[1..], shared);
}

#[test]
fn impossible_requests_are_refused() {
    let tree: MemoryTree = leaves(5).into_iter().collect();
    let (index, size) = (LeafIndex(5), TreeSize(5));
    assert_eq!(inclusion_proof(index, size, &tree), Err(ProveError::NoSuchLeaf { index, size }));
    assert!(inclusion_proof(LeafIndex(0), TreeSize(0), &tree).is_err());
    let (old, new) = (TreeSize(5), TreeSize(4));
    assert_eq!(consistency_proof(old, new, &tree), Err(ProveError::SizesReversed { old, new }));
    let beyond = inclusion_proof(LeafIndex(0), TreeSize(9), &tree);
    assert!(matches!(beyond, Err(ProveError::Subtree(_))), "{beyond:?}");
}

/// A tree of any size in which every leaf has the same hash, so that a level has one hash.
struct Uniform;

impl Subtrees for Uniform {
    type Error = std::convert::Infallible;

    fn subtree(&self, level: u8, _: u64) -> Result<Hash, Self::Error> {
        Ok((0..level).fold(leaf_hash(b""), |hash, _| node_hash(&hash, &hash)))
    }
}

#[test]
fn the_largest_sizes_do_not_overflow() {
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
        let size = TreeSize(size);
        let root = root(size, &Uniform).unwrap();
        for index in [0, 1, size.0 / 2, size.0 - 1] {
            let index = LeafIndex(index);
            let proof = inclusion_proof(index, size, &Uniform).unwrap();
            crate::verify_inclusion(leaf_hash(b""), index, size, &proof, root).unwrap();
        }
        for old in [1, 3, size.0 / 2, size.0 - 1] {
            let old = TreeSize(old);
            let old_root = super::root(old, &Uniform).unwrap();
            let proof = consistency_proof(old, size, &Uniform).unwrap();
            crate::verify_consistency(old, old_root, size, root, &proof).unwrap();
        }
    }
}
