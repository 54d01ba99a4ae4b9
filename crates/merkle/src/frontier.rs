//! What appending to a tree needs: the roots of its perfect subtrees from left to right, one for
//! each one-bit of its size. At most 64 hashes.
//!
//! Not here: proofs, which need the other nodes too ([`crate::Subtrees`]).
//! Invariant: `peaks.len() == size.count_ones()`, largest subtree first.

use crate::hash::{Hash, node_hash};
use crate::tree::{LeafIndex, Subtrees, TreeSize, fold_peaks};

/// A tree that subtrees are joined to has at most two to this power leaves.
const SIZE_BITS: u8 = 63;

/// The right edge of a tree; appends in amortised constant time, roots in O(log size).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// Why nothing was appended. The frontier is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontierError {
    /// A perfect subtree can only be appended where the size is a multiple of its leaves, up to
    /// 2^63 leaves in all; append smaller ones first.
    #[error("a subtree of level {level} cannot follow {size} leaves")]
    NotAligned {
        /// Level of the subtree.
        level: u8,
        /// Leaves before it.
        size: TreeSize,
    },
}

impl Frontier {
    /// The frontier of the tree without leaves.
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// The frontier of the tree of the first `size` leaves.
    ///
    /// # Errors
    /// What `subtrees` answers.
    pub fn of<S: Subtrees>(size: TreeSize, subtrees: &S) -> Result<Self, S::Error> {
        let mut peaks = Vec::with_capacity(size.0.count_ones() as usize);
        let mut at = 0;
        while at < size.0 {
            let level = (size.0 - at).ilog2();
            peaks.push(subtrees.subtree(level as u8, at >> level)?);
            at += 1 << level;
        }
        Ok(Self { size: size.0, peaks })
    }

    /// Number of leaves.
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Root of the tree.
    pub fn root(&self) -> Hash {
        fold_peaks(self.peaks.iter().copied())
    }

    /// Appends a leaf hash and gives its index.
    pub fn push(&mut self, leaf: Hash) -> LeafIndex {
        self.push_each(leaf, |_, _, _| {})
    }

    /// Appends a leaf hash, tells every node that is complete now as (level, index, hash), the leaf
    /// itself first, and gives the leaf's index.
    pub fn push_each(&mut self, leaf: Hash, complete: impl FnMut(u8, u64, Hash)) -> LeafIndex {
        let index = LeafIndex(self.size);
        self.join(0, leaf, complete);
        index
    }

    /// Appends a perfect subtree of 2^`level` leaves by its root alone.
    ///
    /// # Errors
    /// [`FrontierError::NotAligned`].
    pub fn push_subtree(&mut self, level: u8, root: Hash) -> Result<(), FrontierError> {
        let fits = level < SIZE_BITS
            && self.size.is_multiple_of(1 << level)
            && self.size <= (1 << SIZE_BITS) - (1 << level);
        if !fits {
            return Err(FrontierError::NotAligned { level, size: self.size() });
        }
        self.join(level, root, |_, _, _| {});
        Ok(())
    }

    fn join(&mut self, level: u8, root: Hash, mut complete: impl FnMut(u8, u64, Hash)) {
        let mut hash = root;
        let mut at = level;
        complete(at, self.size >> at, hash);
        while at < SIZE_BITS && (self.size >> at) & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            at += 1;
            complete(at, self.size >> at, hash);
        }
        self.peaks.push(hash);
        self.size += 1 << level;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use crate::memory::MemoryTree;
    use crate::tree::root;

    #[test]
    fn agrees_with_the_whole_tree_at_every_size() {
        let mut frontier = Frontier::new();
        let mut tree = MemoryTree::new();
        for i in 0..300_u64 {
            assert_eq!(Ok(frontier.root()), root(tree.size(), &tree));
            assert_eq!(Frontier::of(tree.size(), &tree).as_ref(), Ok(&frontier));
            let leaf = leaf_hash(&i.to_be_bytes());
            tree.push(leaf);
            let index = frontier.push_each(leaf, |level, index, hash| {
                assert_eq!(tree.subtree(level, index), Ok(hash));
            });
            assert_eq!(index, LeafIndex(i));
        }
    }

    #[test]
    fn whole_subtrees_may_be_appended_where_they_fit() {
        let tree: MemoryTree = (0..24_u64).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut frontier = Frontier::new();
        for index in 0..3 {
            frontier.push_subtree(3, tree.subtree(3, index).unwrap()).unwrap();
        }
        assert_eq!(Ok(frontier.root()), root(TreeSize(24), &tree));
        let before = frontier.clone();
        let hash = leaf_hash(b"");
        assert!(frontier.push_subtree(4, hash).is_err());
        assert!(frontier.push_subtree(64, hash).is_err());
        assert_eq!(frontier, before);
    }
}
