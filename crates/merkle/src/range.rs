//! One proof for a run of leaves that follow each other: what the inclusion proofs of all of them
//! together need, each hash once.
//!
//! The definition of RFC 6962, 2.1.1 with a range in place of an index: the roots of the largest
//! subtrees that the splits of the tree yield and that hold no leaf of the range, from left to
//! right. Whoever has the leaf hashes computes everything else. A run of 100 in a log of a million
//! takes about 30 hashes, their single proofs 2,000. For one leaf these are the hashes of its
//! inclusion proof, in another order.
//!
//! Not here: proofs of leaves that do not follow each other.
//! Invariant: a proof is accepted only if every one of its hashes was needed and none was missing.

use crate::hash::{Hash, node_hash};
use crate::tree::{LeafIndex, ProveError, Subtrees, TreeSize, range_root, split};
use crate::verify::ProofError;

/// Proof that `count` leaves from `first` on are in the tree of `size`.
///
/// # Errors
/// [`ProveError::NoSuchLeaf`] with the first leaf that the tree does not have, also where `count`
/// is 0; or [`ProveError::Subtree`] with what `subtrees` answers.
pub fn range_proof<S: Subtrees>(
    first: LeafIndex,
    count: u64,
    size: TreeSize,
    subtrees: &S,
) -> Result<Vec<Hash>, ProveError<S::Error>> {
    let Some(range) = Range::of(first, count, size) else {
        let index = LeafIndex(first.0.max(size.0));
        return Err(ProveError::NoSuchLeaf { index, size });
    };
    let mut proof = Vec::new();
    prove(range, 0, size.0, subtrees, &mut proof).map_err(ProveError::Subtree)?;
    Ok(proof)
}

fn prove<S: Subtrees>(
    range: Range,
    start: u64,
    end: u64,
    subtrees: &S,
    proof: &mut Vec<Hash>,
) -> Result<(), S::Error> {
    match range.within(start, end) {
        Within::Nothing => proof.push(range_root(start, end, subtrees)?),
        Within::All => {}
        Within::Part => {
            let middle = start + split(end - start);
            prove(range, start, middle, subtrees, proof)?;
            prove(range, middle, end, subtrees, proof)?;
        }
    }
    Ok(())
}

/// Checks that the leaves with these hashes are at `first` and the places after it, in the tree of
/// `size` with this `root`. As with inclusion proofs, size and root must be from one checkpoint:
/// some proofs lead to the same root from a wrong size.
///
/// # Errors
/// [`ProofError`] if the proof does not show that; also where there is no leaf.
pub fn verify_range(
    leaves: &[Hash],
    first: LeafIndex,
    size: TreeSize,
    proof: &[Hash],
    root: Hash,
) -> Result<(), ProofError> {
    let Some(range) = Range::of(first, leaves.len() as u64, size) else {
        return Err(ProofError::NoSuchLeaf { index: LeafIndex(first.0.max(size.0)), size });
    };
    let wrong_length = ProofError::Length { got: proof.len() };
    let mut rest = Rest { leaves, proof };
    let computed = rest.root(range, 0, size.0).ok_or(wrong_length.clone())?;
    if !rest.proof.is_empty() {
        return Err(wrong_length);
    }
    if computed == root { Ok(()) } else { Err(ProofError::WrongRoot { expected: root }) }
}

/// What has not been used yet.
struct Rest<'a> {
    leaves: &'a [Hash],
    proof: &'a [Hash],
}

impl Rest<'_> {
    /// Root of the subtree of leaves `start..end`; `None` if the proof is too short.
    fn root(&mut self, range: Range, start: u64, end: u64) -> Option<Hash> {
        if matches!(range.within(start, end), Within::Nothing) {
            return take(&mut self.proof);
        }
        if end - start == 1 {
            return take(&mut self.leaves);
        }
        let middle = start + split(end - start);
        let left = self.root(range, start, middle)?;
        let right = self.root(range, middle, end)?;
        Some(node_hash(&left, &right))
    }
}

fn take(hashes: &mut &[Hash]) -> Option<Hash> {
    let (first, rest) = hashes.split_first()?;
    *hashes = rest;
    Some(*first)
}

/// Leaves `first..end`, at least one, all of them in the tree.
#[derive(Clone, Copy)]
struct Range {
    first: u64,
    end: u64,
}

/// How much of a subtree a range covers.
enum Within {
    Nothing,
    Part,
    All,
}

impl Range {
    fn of(first: LeafIndex, count: u64, size: TreeSize) -> Option<Self> {
        let end = first.0.checked_add(count)?;
        (count > 0 && end <= size.0).then_some(Self { first: first.0, end })
    }

    const fn within(self, start: u64, end: u64) -> Within {
        if self.end <= start || end <= self.first {
            Within::Nothing
        } else if self.first <= start && end <= self.end {
            Within::All
        } else {
            Within::Part
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryTree, inclusion_proof, leaf_hash, root};

    const SIZES: u64 = 24;

    fn tree() -> (Vec<Hash>, MemoryTree) {
        let leaves: Vec<Hash> = (0..SIZES).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let tree = leaves.iter().copied().collect();
        (leaves, tree)
    }

    /// Calls `f` with every range of every tree: size, first, leaves, proof, root.
    fn each(mut f: impl FnMut(u64, u64, &[Hash], Vec<Hash>, Hash)) {
        let (leaves, tree) = tree();
        for size in 1..=SIZES {
            let root = root(TreeSize(size), &tree).unwrap();
            for first in 0..size {
                for count in 1..=size - first {
                    let proof = range_proof(LeafIndex(first), count, TreeSize(size), &tree);
                    let in_range = &leaves[first as usize..(first + count) as usize];
                    f(size, first, in_range, proof.unwrap(), root);
                }
            }
        }
    }

    #[test]
    fn every_range_of_every_small_tree_is_proven_and_every_change_refused() {
        each(|size, first, leaves, proof, root| {
            let check = |leaves: &[Hash], first, size, proof: &[Hash]| {
                verify_range(leaves, LeafIndex(first), TreeSize(size), proof, root)
            };
            assert_eq!(check(leaves, first, size, &proof), Ok(()));
            // Another place may take as many hashes; none leads to the same root.
            check(leaves, first + 1, size, &proof).unwrap_err();
            check(&leaves[1..], first + 1, size, &proof).unwrap_err();
            for changed in 0..leaves.len() {
                let mut leaves = leaves.to_vec();
                leaves[changed].0[0] ^= 1;
                check(&leaves, first, size, &proof).unwrap_err();
            }
            for changed in 0..proof.len() {
                let mut proof = proof.clone();
                proof[changed].0[31] ^= 0x80;
                check(leaves, first, size, &proof).unwrap_err();
                proof.remove(changed);
                check(leaves, first, size, &proof).unwrap_err();
            }
            let longer: Vec<Hash> = proof.iter().chain(&leaves[..1]).copied().collect();
            check(leaves, first, size, &longer).unwrap_err();
        });
    }

    #[test]
    fn a_proof_of_one_leaf_has_the_hashes_of_its_inclusion_proof() {
        let (_, tree) = tree();
        each(|size, first, leaves, mut proof, _| {
            if leaves.len() == 1 {
                let mut single = inclusion_proof(LeafIndex(first), TreeSize(size), &tree).unwrap();
                single.sort_unstable();
                proof.sort_unstable();
                assert_eq!(proof, single);
            }
        });
    }

    #[test]
    fn no_leaf_is_no_range() {
        let (_, tree) = tree();
        for (first, count, size) in [(0, 0, 5), (5, 1, 5), (3, 3, 5), (u64::MAX, 2, 5), (0, 1, 0)] {
            let (first, size) = (LeafIndex(first), TreeSize(size));
            range_proof(first, count, size, &tree).unwrap_err();
            let leaves = vec![leaf_hash(b""); count as usize];
            verify_range(&leaves, first, size, &[], leaf_hash(b"")).unwrap_err();
        }
    }
}
