//! A whole tree in memory: for tests, for small logs, and as the plain form that others are
//! compared with. 64 bytes a leaf.
//!
//! Not for a large log: [`crate::Frontier`] keeps what appending needs in a few hundred bytes.

use crate::hash::{Hash, node_hash};
use crate::tree::{LeafIndex, Subtrees, TreeSize};

/// Every complete node of a tree, by level.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    levels: Vec<Vec<Hash>>,
}

/// The tree has no such node: it was asked for a proof in a tree larger than itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no complete node {index} at level {level}")]
pub struct NoSuchNode {
    /// The level asked for.
    pub level: u8,
    /// The node's index in its level.
    pub index: u64,
}

impl MemoryTree {
    /// The tree without leaves.
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Number of leaves.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.levels.first().map_or(0, |leaves| leaves.len() as u64))
    }

    /// Appends a leaf hash, and the nodes it completes.
    pub fn push(&mut self, leaf: Hash) -> LeafIndex {
        let index = LeafIndex(self.size().0);
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(hash);
            if nodes.len() % 2 == 1 {
                break;
            }
            hash = node_hash(&nodes[nodes.len() - 2], &nodes[nodes.len() - 1]);
        }
        index
    }
}

impl FromIterator<Hash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::new();
        for leaf in leaves {
            tree.push(leaf);
        }
        tree
    }
}

impl Subtrees for MemoryTree {
    type Error = NoSuchNode;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, NoSuchNode> {
        self.levels
            .get(usize::from(level))
            .and_then(|nodes| nodes.get(usize::try_from(index).ok()?))
            .copied()
            .ok_or(NoSuchNode { level, index })
    }
}
