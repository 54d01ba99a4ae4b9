//! Every bit of every hash of a proof counts, and what is refused is refused with its reason. All
//! trees of up to 300 leaves are in `tests/proofs.rs`.

use super::*;
use crate::hash::leaf_hash;
use crate::memory::MemoryTree;
use crate::tree::{consistency_proof, inclusion_proof, root};

const SIZES: u64 = 33;

fn leaf(index: u64) -> Hash {
    leaf_hash(format!("leaf-{index}").as_bytes())
}

fn tree_and_roots() -> (MemoryTree, Vec<Hash>) {
    let tree: MemoryTree = (0..SIZES).map(leaf).collect();
    let roots = (0..=SIZES).map(|n| root(TreeSize(n), &tree).unwrap()).collect();
    (tree, roots)
}

/// The proof with each of its bits flipped, each hash left out, one more in each place, and two
/// neighbours exchanged.
fn mutations(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        for bit in 0..256 {
            let mut flipped = proof.to_vec();
            flipped[at].0[bit / 8] ^= 1 << (bit % 8);
            all.push(flipped);
        }
        let mut shorter = proof.to_vec();
        shorter.remove(at);
        all.push(shorter);
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            all.push(swapped);
        }
    }
    for at in 0..=proof.len() {
        for extra in [Hash([0; 32]), EMPTY_ROOT, *proof.get(at).unwrap_or(&EMPTY_ROOT)] {
            let mut longer = proof.to_vec();
            longer.insert(at, extra);
            all.push(longer);
        }
    }
    all
}

#[test]
fn every_mutation_of_an_inclusion_proof_is_refused() {
    let (tree, roots) = tree_and_roots();
    for n in 1..=SIZES {
        for m in 0..n {
            let (index, size) = (LeafIndex(m), TreeSize(n));
            let proof = inclusion_proof(index, size, &tree).unwrap();
            for mutated in mutations(&proof).iter().filter(|mutated| **mutated != proof) {
                let checked = verify_inclusion(leaf(m), index, size, mutated, roots[n as usize]);
                assert!(checked.is_err(), "leaf {m} of {n}: {mutated:?}");
                if mutated.len() != proof.len() {
                    assert_eq!(checked, Err(ProofError::Length { got: mutated.len() }));
                }
            }
        }
    }
}

#[test]
fn every_mutation_of_a_consistency_proof_is_refused() {
    let (tree, roots) = tree_and_roots();
    for new in 1..=SIZES {
        for old in 0..=new {
            let (small, large) = (TreeSize(old), TreeSize(new));
            let (old_root, new_root) = (roots[old as usize], roots[new as usize]);
            let proof = consistency_proof(small, large, &tree).unwrap();
            for mutated in mutations(&proof).iter().filter(|mutated| **mutated != proof) {
                let checked = verify_consistency(small, old_root, large, new_root, mutated);
                assert!(checked.is_err(), "{old} to {new}: {mutated:?}");
                if mutated.len() != proof.len() {
                    assert_eq!(checked, Err(ProofError::Length { got: mutated.len() }));
                }
            }
        }
    }
}

#[test]
fn wrong_roots_and_reversed_sizes_are_refused() {
    let (tree, roots) = tree_and_roots();
    let (old, new) = (TreeSize(5), TreeSize(9));
    let proof = consistency_proof(old, new, &tree).unwrap();
    let wrong = Hash([7; 32]);
    let expected = wrong;
    assert_eq!(
        verify_consistency(old, wrong, new, roots[9], &proof),
        Err(ProofError::WrongOldRoot { expected })
    );
    assert_eq!(
        verify_consistency(old, roots[5], new, wrong, &proof),
        Err(ProofError::WrongRoot { expected })
    );
    assert_eq!(
        verify_consistency(new, roots[9], old, roots[5], &proof),
        Err(ProofError::SizesReversed { old: new, new: old })
    );
    assert!(verify_consistency(new, roots[9], new, wrong, &[]).is_err());
    assert!(verify_consistency(TreeSize::EMPTY, wrong, new, roots[9], &[]).is_err());
    // A perfect older tree stands in its own proof, so its root must be compared as well.
    let proof = consistency_proof(TreeSize(4), new, &tree).unwrap();
    assert!(verify_consistency(TreeSize(4), wrong, new, roots[9], &proof).is_err());
}
