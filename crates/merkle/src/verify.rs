//! Checking proofs (RFC 9162, 2.1.3.2 and 2.1.4.2).
//!
//! Invariant: a proof is accepted only if every one of its hashes was needed and none was missing,
//! so its length is checked by the same walk that checks its content.

use crate::hash::{EMPTY_ROOT, Hash, node_hash};
use crate::tree::{LeafIndex, TreeSize};

/// Most hashes that a proof may have in a C2SP message.
pub const PROOF_HASHES_MAX: usize = 63;

/// Why a proof proves nothing. In every case: do not believe what it was to prove.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The tree of the stated size has no such leaf.
    #[error("the tree of size {size} has no leaf {index}")]
    NoSuchLeaf {
        /// The leaf's stated index.
        index: LeafIndex,
        /// The tree's stated size.
        size: TreeSize,
    },
    /// The tree that should be the newer one is the smaller.
    #[error("a tree of size {new} does not continue one of size {old}")]
    SizesReversed {
        /// Size of the older tree.
        old: TreeSize,
        /// Size of the newer tree.
        new: TreeSize,
    },
    /// There are more or fewer hashes than the stated sizes need.
    #[error("the proof has {got} hashes, which is not the number that these sizes need")]
    Length {
        /// Number of hashes in the proof.
        got: usize,
    },
    /// The proof does not lead to the root.
    #[error("the proof does not lead to the root {expected}")]
    WrongRoot {
        /// The root that it should lead to.
        expected: Hash,
    },
    /// The proof does not lead to the older tree's root.
    #[error("the proof does not lead to the older root {expected}")]
    WrongOldRoot {
        /// The root that it should lead to.
        expected: Hash,
    },
    /// The proof does not lead to the subtree's root.
    #[error("the proof does not lead to the subtree's root {expected}")]
    WrongSubtree {
        /// The root that it should lead to.
        expected: Hash,
    },
}

/// Checks that the leaf with hash `leaf` is at `index` in the tree of `size` with this `root`.
///
/// # Errors
/// [`ProofError`] if the proof does not show that.
pub fn verify_inclusion(
    leaf: Hash,
    index: LeafIndex,
    size: TreeSize,
    proof: &[Hash],
    root: Hash,
) -> Result<(), ProofError> {
    let hash = inclusion_root(leaf, index, size, proof)?;
    if hash == root { Ok(()) } else { Err(ProofError::WrongRoot { expected: root }) }
}

/// Root that the proof leads to from the leaf.
///
/// # Errors
/// [`ProofError`] if it leads to none: there is no such leaf, or its length is wrong.
pub(crate) fn inclusion_root(
    leaf: Hash,
    index: LeafIndex,
    size: TreeSize,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    if !size.contains(index) {
        return Err(ProofError::NoSuchLeaf { index, size });
    }
    let wrong_length = ProofError::Length { got: proof.len() };
    let mut path = Path::to(index.0, size.0 - 1);
    let mut hash = leaf;
    for sibling in proof {
        match path.step() {
            None => return Err(wrong_length),
            Some(Side::Left) => hash = node_hash(sibling, &hash),
            Some(Side::Right) => hash = node_hash(&hash, sibling),
        }
    }
    if path.at_root() { Ok(hash) } else { Err(wrong_length) }
}

/// Checks that the tree of size `old` with `old_root` is a prefix of the tree of size `new` with
/// `new_root`.
///
/// # Errors
/// [`ProofError`] if the proof does not show that.
pub fn verify_consistency(
    old: TreeSize,
    old_root: Hash,
    new: TreeSize,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old == TreeSize::EMPTY {
        return verify_begun(old_root, new, new_root, proof);
    }
    let hash = consistency_root(old, old_root, new, proof)?;
    if hash == new_root { Ok(()) } else { Err(ProofError::WrongRoot { expected: new_root }) }
}

/// Checks that a tree continues the empty one, as every tree does, with an empty proof.
fn verify_begun(
    old_root: Hash,
    new: TreeSize,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_root != EMPTY_ROOT {
        return Err(ProofError::WrongOldRoot { expected: old_root });
    }
    if !proof.is_empty() {
        return Err(ProofError::Length { got: proof.len() });
    }
    if new == TreeSize::EMPTY && new_root != EMPTY_ROOT {
        return Err(ProofError::WrongRoot { expected: new_root });
    }
    Ok(())
}

/// Root of the tree of size `new` that the proof leads to from the tree of size `old`, which must
/// not be empty: the empty tree leads to every root.
///
/// # Errors
/// [`ProofError`] if it leads to none, or not from `old_root`.
pub(crate) fn consistency_root(
    old: TreeSize,
    old_root: Hash,
    new: TreeSize,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    if old > new {
        return Err(ProofError::SizesReversed { old, new });
    }
    let wrong_length = ProofError::Length { got: proof.len() };
    if old == TreeSize::EMPTY {
        return Err(wrong_length);
    }
    if old == new {
        return if proof.is_empty() { Ok(old_root) } else { Err(wrong_length) };
    }
    // A perfect older tree is itself a node of the newer one, so the proof leaves its root out.
    let (seed, rest) = if old.0.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().map(|(first, rest)| (*first, rest)).ok_or(wrong_length.clone())?
    };
    let mut path = Path::to(old.0 - 1, new.0 - 1);
    path.skip_right_edges();
    let (mut old_hash, mut new_hash) = (seed, seed);
    for sibling in rest {
        match path.step() {
            None => return Err(wrong_length),
            Some(Side::Left) => {
                old_hash = node_hash(sibling, &old_hash);
                new_hash = node_hash(sibling, &new_hash);
            }
            Some(Side::Right) => new_hash = node_hash(&new_hash, sibling),
        }
    }
    if !path.at_root() {
        return Err(wrong_length);
    }
    if old_hash == old_root {
        Ok(new_hash)
    } else {
        Err(ProofError::WrongOldRoot { expected: old_root })
    }
}

/// On which side of the walked node its sibling stands.
enum Side {
    Left,
    Right,
}

/// A walk from a node at the lowest level up to the root: the node's index and the index of the
/// last node of the same level.
struct Path {
    node: u64,
    last: u64,
}

impl Path {
    const fn to(node: u64, last: u64) -> Self {
        Self { node, last }
    }

    const fn at_root(&self) -> bool {
        self.last == 0
    }

    const fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Goes up while the node is a right child.
    const fn skip_right_edges(&mut self) {
        while self.node & 1 == 1 {
            self.up();
        }
    }

    /// Goes to the parent that the next sibling makes; none if the walk is at the root already.
    const fn step(&mut self) -> Option<Side> {
        if self.at_root() {
            return None;
        }
        let side = if self.node & 1 == 1 {
            Side::Left
        } else if self.node == self.last {
            // The last node of a level has no right sibling; its level is left out up to the
            // first where it is a right child.
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Some(side)
    }
}

#[cfg(test)]
mod tests;
