//! Roots and proofs, made from the hashes of perfect subtrees (RFC 6962, 2.1).
//!
//! Not here: where those hashes come from ([`Subtrees`]), and checking a proof (`verify`).
//! Invariant: only perfect, aligned subtrees inside the tree are asked for.

use std::fmt;

use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// Position of a leaf in the log, from 0, the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(pub u64);

/// Number of leaves in a tree; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(pub u64);

impl LeafIndex {
    /// Size of the smallest tree that holds this leaf.
    #[must_use]
    pub const fn size_with(self) -> TreeSize {
        TreeSize(self.0.saturating_add(1))
    }
}

impl TreeSize {
    /// The tree without leaves.
    pub const EMPTY: Self = Self(0);

    /// Whether the tree holds the leaf at `index`.
    pub const fn contains(self, index: LeafIndex) -> bool {
        index.0 < self.0
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the hashes of a tree's perfect subtrees are found.
pub trait Subtrees {
    /// Why a hash could not be had.
    type Error;

    /// Root of the perfect subtree of 2^`level` leaves that starts at leaf `index << level`.
    /// Level 0 is a leaf hash. Only subtrees that lie wholly inside the tree are asked for.
    ///
    /// # Errors
    /// What the implementation says; it is handed on unchanged.
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

impl<S: Subtrees + ?Sized> Subtrees for &S {
    type Error = S::Error;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, S::Error> {
        (**self).subtree(level, index)
    }
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError<E> {
    /// The tree of this size has no such leaf. The request is wrong; refuse it.
    #[error("the tree of size {size} has no leaf {index}")]
    NoSuchLeaf {
        /// The leaf asked for.
        index: LeafIndex,
        /// The tree's size.
        size: TreeSize,
    },
    /// A smaller tree was asked to continue a larger one. The request is wrong; refuse it.
    #[error("a tree of size {new} does not continue one of size {old}")]
    SizesReversed {
        /// The size said to be the older one.
        old: TreeSize,
        /// The size said to be the newer one.
        new: TreeSize,
    },
    /// A hash could not be had. What to do depends on the cause.
    #[error("cannot read a hash of the tree")]
    Subtree(#[source] E),
}

/// Root of the tree of the first `size` leaves.
///
/// # Errors
/// What `subtrees` answers.
pub fn root<S: Subtrees>(size: TreeSize, subtrees: &S) -> Result<Hash, S::Error> {
    if size == TreeSize::EMPTY { Ok(EMPTY_ROOT) } else { range_root(0, size.0, subtrees) }
}

/// Proof that the leaf at `index` is in the tree of `size`: from the leaf's sibling up to a child
/// of the root.
///
/// # Errors
/// [`ProveError::NoSuchLeaf`], or [`ProveError::Subtree`] with what `subtrees` answers.
pub fn inclusion_proof<S: Subtrees>(
    index: LeafIndex,
    size: TreeSize,
    subtrees: &S,
) -> Result<Vec<Hash>, ProveError<S::Error>> {
    if !size.contains(index) {
        return Err(ProveError::NoSuchLeaf { index, size });
    }
    let (mut start, mut end) = (0, size.0);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index.0 < middle {
            proof.push(range_root(middle, end, subtrees).map_err(ProveError::Subtree)?);
            end = middle;
        } else {
            proof.push(range_root(start, middle, subtrees).map_err(ProveError::Subtree)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of size `old` is a prefix of the tree of size `new`. Empty if the sizes are
/// equal or `old` is empty.
///
/// # Errors
/// [`ProveError::SizesReversed`], or [`ProveError::Subtree`] with what `subtrees` answers.
pub fn consistency_proof<S: Subtrees>(
    old: TreeSize,
    new: TreeSize,
    subtrees: &S,
) -> Result<Vec<Hash>, ProveError<S::Error>> {
    if old > new {
        return Err(ProveError::SizesReversed { old, new });
    }
    if old == TreeSize::EMPTY {
        return Ok(Vec::new());
    }
    continuation(0, old.0, new, subtrees).map_err(ProveError::Subtree)
}

/// What shows that the tree of `size` has the leaves `start..end`, which are a subtree within it: the
/// roots beside the way down to where they end, the lowest first.
pub(crate) fn continuation<S: Subtrees>(
    start: u64,
    end: u64,
    size: TreeSize,
    subtrees: &S,
) -> Result<Vec<Hash>, S::Error> {
    let mut proof = Vec::new();
    let (mut low, mut high, mut from) = (0, size.0, start);
    while (from, end) != (low, high) {
        let middle = low + split(high - low);
        if end <= middle {
            proof.push(range_root(middle, high, subtrees)?);
            high = middle;
        } else {
            proof.push(range_root(low, middle, subtrees)?);
            low = middle;
            from = from.max(middle);
        }
    }
    if from != start {
        proof.push(range_root(low, high, subtrees)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Root of leaves `start..end`, a range that repeated splitting of a tree yields: not empty, and
/// aligned to the largest power of two that fits in it.
pub(crate) fn range_root<S: Subtrees>(
    start: u64,
    end: u64,
    subtrees: &S,
) -> Result<Hash, S::Error> {
    let level = (end - start).ilog2();
    let perfect = subtrees.subtree(level as u8, start >> level)?;
    let middle = start + (1 << level);
    if middle == end {
        return Ok(perfect);
    }
    Ok(node_hash(&perfect, &range_root(middle, end, subtrees)?))
}

/// Joins the roots of perfect subtrees, largest first, into the root of all their leaves.
pub(crate) fn fold_peaks(peaks: impl DoubleEndedIterator<Item = Hash>) -> Hash {
    peaks.rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
}

/// Largest power of two below `n`, for `n` of at least 2.
pub(crate) const fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
mod tests;
