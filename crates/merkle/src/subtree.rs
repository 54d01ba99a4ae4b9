//! Subtrees of a tree that are not its beginning: proofs that a tree has them, and cosignatures over
//! them (C2SP tlog-cosignature; draft-ietf-plants-merkle-tree-certs, 4.1 and 4.4).
//!
//! A subtree is a run of leaves that starts where a perfect tree of at least its size could. The
//! consistency proof of RFC 6962 is the one of the subtree that starts at 0.
//!
//! Not here: who may have a subtree cosigned.
//! Invariant: a proof is accepted only if every one of its hashes was needed and none was missing.

use crate::checkpoint::{SignError, subtree_message};
use crate::hash::{Hash, node_hash};
use crate::key::{Algorithm, SigningKey, VerifierKey};
use crate::note::Signature;
use crate::tree::{LeafIndex, ProveError, Subtrees, TreeSize, continuation, range_root, split};
use crate::verify::ProofError;

/// The leaves from `start` up to, but without, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    start: u64,
    end: u64,
}

impl Subtree {
    /// The subtree of these leaves; none if it is empty, or does not start at a multiple of the
    /// smallest power of two that is not below its size.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        let size = end.checked_sub(start).filter(|size| *size > 0)?;
        let aligned = start == 0 || start.is_multiple_of(size.checked_next_power_of_two()?);
        aligned.then_some(Self { start, end })
    }

    /// Its first leaf.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The leaf after its last one.
    pub const fn end(self) -> u64 {
        self.end
    }

    const fn last(self) -> LeafIndex {
        LeafIndex(self.end - 1)
    }

    /// Root of its leaves.
    ///
    /// # Errors
    /// What `subtrees` answers.
    pub fn root<S: Subtrees>(self, subtrees: &S) -> Result<Hash, S::Error> {
        range_root(self.start, self.end, subtrees)
    }

    /// Proof that the tree of `size` has this subtree.
    ///
    /// # Errors
    /// [`ProveError::NoSuchLeaf`] if the tree ends before it, or [`ProveError::Subtree`] with what
    /// `subtrees` answers.
    pub fn proof<S: Subtrees>(
        self,
        size: TreeSize,
        subtrees: &S,
    ) -> Result<Vec<Hash>, ProveError<S::Error>> {
        if !size.contains(self.last()) {
            return Err(ProveError::NoSuchLeaf { index: self.last(), size });
        }
        continuation(self.start, self.end, size, subtrees).map_err(ProveError::Subtree)
    }

    /// Checks that the tree of `size` with this `root` has the subtree with the root `hash`.
    ///
    /// # Errors
    /// [`ProofError`] if the proof does not show that.
    pub fn verify(
        self,
        hash: Hash,
        size: TreeSize,
        root: Hash,
        proof: &[Hash],
    ) -> Result<(), ProofError> {
        if !size.contains(self.last()) {
            return Err(ProofError::NoSuchLeaf { index: self.last(), size });
        }
        let wrong_length = || ProofError::Length { got: proof.len() };
        let (steps, from) = self.steps(size);
        // A part of the subtree is where both trees begin to differ, unless it is all of it.
        let (begin, siblings) = if from == self.start {
            (hash, proof)
        } else {
            let (begin, siblings) = proof.split_first().ok_or_else(wrong_length)?;
            (*begin, siblings)
        };
        if siblings.len() != steps.len() {
            return Err(wrong_length());
        }
        let (mut inner, mut outer) = (begin, begin);
        for (sibling, step) in siblings.iter().zip(steps.iter().rev()) {
            match step {
                Step::After => outer = node_hash(&outer, sibling),
                Step::Before => outer = node_hash(sibling, &outer),
                Step::Within => {
                    inner = node_hash(sibling, &inner);
                    outer = node_hash(sibling, &outer);
                }
            }
        }
        if inner != hash {
            return Err(ProofError::WrongSubtree { expected: hash });
        }
        if outer == root { Ok(()) } else { Err(ProofError::WrongRoot { expected: root }) }
    }

    /// From the root of the tree of `size` down to where the subtree ends: what is beside the way at
    /// each step, and where the part begins at which it ends.
    fn steps(self, size: TreeSize) -> (Vec<Step>, u64) {
        let (mut low, mut high, mut from) = (0, size.0, self.start);
        let mut steps = Vec::new();
        while (from, self.end) != (low, high) {
            let middle = low + split(high - low);
            if self.end <= middle {
                steps.push(Step::After);
                high = middle;
            } else {
                steps.push(if from < middle { Step::Within } else { Step::Before });
                low = middle;
                from = from.max(middle);
            }
        }
        (steps, from)
    }

    /// The line with which a key cosigns that the log's tree has this subtree with this root. The
    /// caller has checked that.
    ///
    /// # Errors
    /// [`SignError`]; nothing was signed then. Of the algorithms only ML-DSA-44 signs subtrees.
    pub fn cosign(
        self,
        key: &SigningKey,
        origin: &str,
        hash: Hash,
    ) -> Result<Signature, SignError> {
        let public = key.verifier_key();
        let failed = || SignError::Failed(public.algorithm());
        let message = self.message(public, origin, hash).ok_or_else(failed)?;
        let signature = key.sign_bytes(&message).ok_or_else(failed)?;
        Ok(Signature::of(public, [&NO_TIME.to_be_bytes()[..], &signature].concat()))
    }

    /// Whether the line is this key's cosignature that the log's tree has this subtree with this root.
    pub fn is_cosigned(
        self,
        line: &Signature,
        key: &VerifierKey,
        origin: &str,
        hash: Hash,
    ) -> bool {
        let Some(message) = self.message(key, origin, hash) else { return false };
        let Some((time, signature)) = line.bytes().split_first_chunk() else { return false };
        line.is_by(key) && u64::from_be_bytes(*time) == NO_TIME && key.verifies(&message, signature)
    }

    fn message(self, key: &VerifierKey, origin: &str, hash: Hash) -> Option<Vec<u8>> {
        let signs = key.algorithm() == Algorithm::MlDsa44;
        let message = || subtree_message(key.name(), NO_TIME, origin, self.start..self.end, hash);
        signs.then(message).flatten()
    }
}

/// The time of a cosignature that says nothing about time.
const NO_TIME: u64 = 0;

/// What is beside the way down to a subtree's end.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Leaves after the subtree.
    After,
    /// Leaves before it.
    Before,
    /// Leaves of it.
    Within,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use crate::memory::MemoryTree;
    use crate::tree::{consistency_proof, root};

    const SIZE_MAX: u64 = 40;

    fn tree() -> MemoryTree {
        (0..SIZE_MAX).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect()
    }

    /// Every subtree of every small tree, and every way to damage its proof.
    #[test]
    fn a_proof_holds_for_its_subtree_and_for_nothing_else() {
        let tree = tree();
        let mut proofs = 0;
        for size in 1..=SIZE_MAX {
            let whole = root(TreeSize(size), &tree).unwrap();
            for (start, end) in (0..size).flat_map(|s| (s + 1..=size).map(move |e| (s, e))) {
                let Some(subtree) = Subtree::new(start, end) else { continue };
                let hash = subtree.root(&tree).unwrap();
                let proof = subtree.proof(TreeSize(size), &tree).unwrap();
                let verify = |hash, proof: &[Hash]| {
                    subtree.verify(hash, TreeSize(size), whole, proof).is_ok()
                };
                assert!(verify(hash, &proof), "{start}..{end} of {size}");
                proofs += 1;
                if start == 0 {
                    let old = TreeSize(end);
                    assert_eq!(consistency_proof(old, TreeSize(size), &tree).unwrap(), proof);
                }
                let other = leaf_hash(b"other");
                assert!(!verify(other, &proof));
                assert!(!verify(hash, &[&proof[..], &[other]].concat()));
                for at in 0..proof.len() {
                    let mut damaged = proof.clone();
                    damaged[at] = other;
                    assert!(!verify(hash, &damaged), "{start}..{end} of {size}, hash {at}");
                    damaged.remove(at);
                    assert!(!verify(hash, &damaged));
                }
            }
        }
        assert!(proofs > 1_000);
    }

    #[test]
    fn what_is_no_subtree_is_refused() {
        for (start, end) in [(0, 0), (5, 5), (6, 5), (1, 3), (4, 9), (256, 513), (1, u64::MAX)] {
            assert_eq!(Subtree::new(start, end), None, "{start}..{end}");
        }
        for (start, end) in [(0, u64::MAX), (8, 13), (256, 512), (512, 600), (7, 8)] {
            assert!(Subtree::new(start, end).is_some(), "{start}..{end}");
        }
        let late = Subtree::new(8, 13).unwrap();
        assert!(late.proof(TreeSize(12), &tree()).is_err());
        let hash = leaf_hash(b"");
        assert!(matches!(
            late.verify(hash, TreeSize(12), hash, &[]),
            Err(ProofError::NoSuchLeaf { .. })
        ));
    }

    #[test]
    fn a_cosignature_is_of_one_subtree_of_one_log() {
        let key = |algorithm| SigningKey::from_seed("w.example", algorithm, &[3; 32]).unwrap();
        let signing = key(Algorithm::MlDsa44);
        let public = signing.verifier_key();
        let (subtree, hash) = (Subtree::new(8, 13).unwrap(), leaf_hash(b"root"));
        let line = subtree.cosign(&signing, "log.example", hash).unwrap();
        assert!(subtree.is_cosigned(&line, public, "log.example", hash));
        assert!(!subtree.is_cosigned(&line, public, "log.example/2", hash));
        assert!(!subtree.is_cosigned(&line, public, "log.example", leaf_hash(b"")));
        let other = Subtree::new(8, 14).unwrap();
        assert!(!other.is_cosigned(&line, public, "log.example", hash));
        let ed25519 = key(Algorithm::Ed25519Cosignature);
        assert!(subtree.cosign(&ed25519, "log.example", hash).is_err());
    }
}
