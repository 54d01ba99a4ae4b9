//! The proof verifier over all trees of up to 300 leaves: every proof is accepted, and every
//! mutation of it refused. Beside the fast code stands a model that is written from the recursive
//! definitions of RFC 6962, 2.1, and shares nothing with it but the hash function.
//!
//! What is exhaustive: every tree size up to 300, every leaf of it, every older size of it; every
//! hash of each proof altered, left out, doubled, and exchanged with its neighbour; every truncation
//! at either end.
//! What is bounded, with the reason: one bit is flipped in each hash of each proof, another one
//! each time (`verify` has tests with every bit), since a hash is only ever compared or hashed
//! whole. Up to [`CROSSED`], which has every shape of the upper part of a larger tree, every pair of
//! hashes is exchanged, and wrong indices and sizes are tried all with all; beyond it, they are
//! tried where off-by-one and wrong-bit errors lie.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use stele_merkle::{
    EMPTY_ROOT, Hash, LeafIndex, MemoryTree, TreeSize, consistency_proof, inclusion_proof,
    leaf_hash, node_hash, verify_consistency, verify_inclusion,
};

const SIZES: u64 = 300;

/// Up to this size every index and size is tried with every proof.
const CROSSED: u64 = 40;

/// RFC 6962, 2.1: the largest power of two smaller than `n`.
fn split(n: u64) -> u64 {
    let mut k = 1;
    while 2 * k < n {
        k *= 2;
    }
    k
}

/// RFC 6962, 2.1: MTH.
fn tree_hash(d: &[Hash]) -> Hash {
    match d {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = d.split_at(split(d.len() as u64) as usize);
            node_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

/// RFC 6962, 2.1.1: PATH.
fn path(m: usize, d: &[Hash]) -> Vec<Hash> {
    if d.len() == 1 {
        return Vec::new();
    }
    let (left, right) = d.split_at(split(d.len() as u64) as usize);
    let (mut path, sibling) = if m < left.len() {
        (path(m, left), tree_hash(right))
    } else {
        (path(m - left.len(), right), tree_hash(left))
    };
    path.push(sibling);
    path
}

/// RFC 6962, 2.1.2: SUBPROOF.
fn subproof(m: usize, d: &[Hash], complete: bool) -> Vec<Hash> {
    if m == d.len() {
        return if complete { Vec::new() } else { vec![tree_hash(d)] };
    }
    let (left, right) = d.split_at(split(d.len() as u64) as usize);
    let (mut proof, sibling) = if m <= left.len() {
        (subproof(m, left, complete), tree_hash(right))
    } else {
        (subproof(m - left.len(), right, false), tree_hash(left))
    };
    proof.push(sibling);
    proof
}

/// On which side the siblings of leaf `index` stand, from the leaf up: all that an inclusion proof
/// says about index and size. `None` if the tree has no such leaf.
fn sides(index: u64, size: u64) -> Option<Vec<bool>> {
    if index >= size {
        return None;
    }
    if size == 1 {
        return Some(Vec::new());
    }
    let k = split(size);
    let (mut below, right) =
        if index < k { (sides(index, k)?, true) } else { (sides(index - k, size - k)?, false) };
    below.push(right);
    Some(below)
}

struct Forest {
    leaves: Vec<Hash>,
    tree: MemoryTree,
    /// Root of each size.
    roots: Vec<Hash>,
}

impl Forest {
    fn new() -> Self {
        let leaves: Vec<Hash> =
            (0..SIZES).map(|i| leaf_hash(format!("leaf-{i}").as_bytes())).collect();
        let roots = (0..=SIZES as usize).map(|n| tree_hash(&leaves[..n])).collect();
        Self { tree: leaves.iter().copied().collect(), leaves, roots }
    }

    fn root(&self, size: u64) -> Hash {
        self.roots[size as usize]
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        inclusion_proof(LeafIndex(index), TreeSize(size), &self.tree).unwrap()
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        consistency_proof(TreeSize(old), TreeSize(new), &self.tree).unwrap()
    }

    /// Whether the older tree's root leads to the newer one's by the proof.
    fn continues(&self, old: u64, new: u64, proof: &[Hash]) -> bool {
        let (old_root, new_root) = (self.root(old), self.root(new));
        verify_consistency(TreeSize(old), old_root, TreeSize(new), new_root, proof).is_ok()
    }
}

fn includes(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> bool {
    verify_inclusion(leaf, LeafIndex(index), TreeSize(size), proof, root).is_ok()
}

/// Calls `refused` with each mutation of the proof of `number` in a tree of `size`.
fn mutations(proof: &[Hash], size: u64, number: u64, mut refused: impl FnMut(&[Hash])) {
    let all_pairs = size <= CROSSED;
    let seed = (size + number) as usize;
    let mut changed = proof.to_vec();
    for at in 0..proof.len() {
        let bit = (seed * 7 + at * 37) % 256;
        changed[at].0[bit / 8] ^= 1 << (bit % 8);
        refused(&changed);
        changed[at] = proof[at];
        let reach = if all_pairs { proof.len() } else { proof.len().min(at + 2) };
        for other in at + 1..reach {
            changed.swap(at, other);
            refused(&changed);
            changed.swap(at, other);
            // One hash in the place of another.
            changed[at] = proof[other];
            refused(&changed);
            changed[at] = proof[at];
        }
        refused(&proof[..at]);
        refused(&proof[at + 1..]);
        changed.remove(at);
        refused(&changed);
        changed.insert(at, proof[at]);
        // The same hash twice.
        changed.insert(at, proof[at]);
        refused(&changed);
        changed.remove(at);
    }
    for extra in [Hash([0; 32]), EMPTY_ROOT] {
        for at in [0, proof.len()] {
            changed.insert(at, extra);
            refused(&changed);
            changed.remove(at);
        }
    }
}

/// Numbers that a faulty verifier would take for `number` in a tree of up to `end`.
fn near(number: u64, end: u64) -> impl Iterator<Item = u64> {
    let flipped = (0..10).map(move |bit| number ^ (1 << bit));
    let steps = [number.wrapping_sub(1), number + 1, number / 2, number * 2, 0, end - 1, end];
    flipped.chain(steps).chain([u64::MAX, 1 << 63]).filter(move |other| *other != number)
}

/// All numbers up to `end`, or those near `number` in larger trees.
fn others(number: u64, end: u64) -> Box<dyn Iterator<Item = u64>> {
    if end <= CROSSED {
        Box::new((0..=end + 2).filter(move |other| *other != number))
    } else {
        Box::new(near(number, end))
    }
}

#[test]
fn inclusion() {
    let forest = Forest::new();
    for size in 1..=SIZES {
        let root = forest.root(size);
        for index in 0..size {
            let proof = forest.inclusion(index, size);
            let leaf = forest.leaves[index as usize];
            let what = || format!("leaf {index} of {size}");
            assert_eq!(proof, path(index as usize, &forest.leaves[..size as usize]), "{}", what());
            assert!(includes(leaf, index, size, &proof, root), "{}", what());
            mutations(&proof, size, index, |changed| {
                assert!(!includes(leaf, index, size, changed, root), "{}: {changed:?}", what());
            });
            assert!(!includes(leaf, index, size, &proof, forest.root(size - 1)), "{}", what());
            assert!(!includes(root, index, size, &proof, root) || size == 1, "{}", what());
            for other in others(index, size) {
                assert!(!includes(leaf, other, size, &proof, root), "{} at {other}", what());
                if let Some(leaf) = forest.leaves.get(other as usize) {
                    assert!(!includes(*leaf, index, size, &proof, root), "{other} as {}", what());
                }
            }
        }
    }
}

/// A proof with the root of one size says nothing about the size itself: it is accepted for another
/// index and size just where the model's paths have the same sides, and nowhere else. This is why
/// a size is only ever taken from under the signature that the root is taken from.
#[test]
fn inclusion_for_another_size() {
    let forest = Forest::new();
    for size in 1..=SIZES {
        for index in 0..size {
            let proof = forest.inclusion(index, size);
            let (leaf, root) = (forest.leaves[index as usize], forest.root(size));
            let own = sides(index, size).unwrap();
            assert_eq!(own.len(), proof.len());
            for other in others(size, size).filter(|other| *other <= 2 * SIZES) {
                // With the other tree's own root it is refused, always.
                if other <= SIZES {
                    let accepted = includes(leaf, index, other, &proof, forest.root(other));
                    assert!(!accepted, "leaf {index} of {size} in {other}");
                }
                let indices = if size <= CROSSED { 0..other } else { index..index + 1 };
                for index in indices {
                    let accepted = includes(leaf, index, other, &proof, root);
                    let same = sides(index, other).is_some_and(|sides| sides == own);
                    assert_eq!(accepted, same, "{index} of {other}");
                }
            }
        }
    }
}

#[test]
fn consistency() {
    let forest = Forest::new();
    for new in 1..=SIZES {
        for old in 1..=new {
            let proof = forest.consistency(old, new);
            let what = || format!("{old} to {new}");
            let model = subproof(old as usize, &forest.leaves[..new as usize], true);
            assert_eq!(proof, model, "{}", what());
            assert!(forest.continues(old, new, &proof), "{}", what());
            mutations(&proof, new, old, |changed| {
                assert!(!forest.continues(old, new, changed), "{}: {changed:?}", what());
            });
            let check = |old_size: u64, old_root, new_size: u64, new_root| {
                let (old, new) = (TreeSize(old_size), TreeSize(new_size));
                verify_consistency(old, old_root, new, new_root, &proof).is_ok()
            };
            let (old_root, new_root) = (forest.root(old), forest.root(new));
            let wrong = Hash([9; 32]);
            assert!(!check(old, wrong, new, new_root), "{}", what());
            assert!(!check(old, old_root, new, wrong), "{}", what());
            assert!(old == new || !check(new, new_root, old, old_root), "{} reversed", what());
            for other in others(old, new).filter(|other| (1..=SIZES).contains(other)) {
                assert!(!forest.continues(other, new, &proof), "{} from {other}", what());
            }
            for other in others(new, new).filter(|other| *other <= SIZES && old < new) {
                assert!(!forest.continues(old, other, &proof), "{} in {other}", what());
            }
        }
    }
}

#[test]
fn roots() {
    let forest = Forest::new();
    for size in 0..=SIZES {
        let root = stele_merkle::root(TreeSize(size), &forest.tree);
        assert_eq!(root, Ok(forest.root(size)), "{size}");
    }
}

/// The empty tree is continued by every tree, with no proof; no tree is continued by it.
#[test]
fn consistency_with_the_empty_tree() {
    let forest = Forest::new();
    for size in 0..=SIZES {
        assert!(forest.consistency(0, size).is_empty());
        assert!(forest.continues(0, size, &[]));
        assert!(!forest.continues(0, size, &[EMPTY_ROOT]));
        assert!(size == 0 || !forest.continues(size, 0, &[]));
        let size = TreeSize(size);
        let wrong = Hash([1; 32]);
        verify_consistency(TreeSize(0), wrong, size, wrong, &[]).unwrap_err();
    }
    verify_consistency(TreeSize(0), EMPTY_ROOT, TreeSize(0), Hash([1; 32]), &[]).unwrap_err();
}

/// The largest sizes there are: the arithmetic holds, and the walk ends.
#[test]
fn the_largest_sizes() {
    let hashes = [Hash([3; 32]); 64];
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
        for index in [0, 1, size / 2, size - 2, size - 1, size, u64::MAX] {
            for length in 0..=hashes.len() {
                let proof = &hashes[..length];
                assert!(!includes(hashes[0], index, size, proof, EMPTY_ROOT));
                let (old, new) = (TreeSize(index), TreeSize(size));
                verify_consistency(old, hashes[0], new, EMPTY_ROOT, proof).unwrap_err();
            }
        }
    }
}

/// The eight leaves and their roots that Certificate Transparency implementations have been
/// compared by since RFC 6962.
#[test]
fn roots_of_certificate_transparency() {
    let leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = MemoryTree::new();
    for (leaf, root) in leaves.iter().zip(roots) {
        tree.push(leaf_hash(&hex::decode(leaf).unwrap()));
        let found = stele_merkle::root(tree.size(), &tree).unwrap();
        assert_eq!(found.to_hex(), root, "{} leaves", tree.size());
    }
}
