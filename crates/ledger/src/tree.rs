//! The hashes of the log in memory: all levels of the latest tiles, of older tiles only their
//! roots and what is above. 64 bytes for each 256 records.
//!
//! Not here: reading older leaves back from blocks (`reader`).

use std::collections::VecDeque;

use stele_merkle::{Hash, node_hash};

/// Levels of one tile below its root.
pub(crate) const TILE_LEVELS: u8 = 8;
/// Leaves of one tile.
pub(crate) const TILE_LEAVES: u64 = 1 << TILE_LEVELS;

/// Tiles of which all levels are kept: 16 MiB of hashes.
const RECENT_TILES: usize = 1024;

/// All hashes of up to 256 leaves below their root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tile {
    levels: [Vec<Hash>; TILE_LEVELS as usize],
}

impl Tile {
    /// Adds a leaf; gives the tile's root when it is the 256th.
    fn push(&mut self, leaf: Hash) -> Option<Hash> {
        let mut hash = leaf;
        for level in &mut self.levels {
            level.push(hash);
            if !level.len().is_multiple_of(2) {
                return None;
            }
            hash = node_hash(&level[level.len() - 2], &level[level.len() - 1]);
        }
        Some(hash)
    }

    /// The tile of these leaves and, if there are 256, its root.
    pub(crate) fn of(leaves: impl IntoIterator<Item = Hash>) -> (Self, Option<Hash>) {
        let mut tile = Self::default();
        let mut root = None;
        for leaf in leaves {
            root = tile.push(leaf);
        }
        (tile, root)
    }

    /// A node by its position inside the tile.
    pub(crate) fn node(&self, level: u8, position: u64) -> Option<Hash> {
        let level = self.levels.get(usize::from(level))?;
        level.get(usize::try_from(position).ok()?).copied()
    }

    fn is_full(&self) -> bool {
        self.levels[0].len() as u64 == TILE_LEAVES
    }

    /// Keeps the first `leaves` leaves and the nodes above them alone.
    fn truncate(&mut self, leaves: usize) {
        for (height, level) in self.levels.iter_mut().enumerate() {
            level.truncate(leaves >> height);
        }
    }
}

/// Where a node is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Found(Hash),
    /// In the tile of this number, whose leaves are only in the store.
    InTile(u64),
    /// Not in the tree.
    Missing,
}

/// See the module.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tree {
    size: u64,
    /// `upper[k][i]` is the root of the perfect subtree of 2^(8+k) leaves number `i`.
    upper: Vec<Vec<Hash>>,
    recent: VecDeque<Tile>,
    /// Number of the tile that `recent` starts with.
    recent_first: u64,
}

impl Tree {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        if self.recent.back().is_none_or(Tile::is_full) {
            if self.recent.is_empty() {
                self.recent_first = self.size / TILE_LEAVES;
            }
            self.recent.push_back(Tile::default());
        }
        let root = self.recent.back_mut().and_then(|tile| tile.push(leaf));
        self.size += 1;
        if let Some(root) = root {
            self.push_upper(root);
        }
    }

    /// Adds 256 leaves by their root; the tree must end at a multiple of 256.
    pub(crate) fn push_tile(&mut self, root: Hash) {
        debug_assert!(self.size.is_multiple_of(TILE_LEAVES));
        self.recent.clear();
        self.size += TILE_LEAVES;
        self.push_upper(root);
    }

    /// Takes back what was pushed after the first `size` leaves; they must not be in a trimmed tile.
    pub(crate) fn truncate(&mut self, size: u64) {
        if size >= self.size {
            return;
        }
        let tiles = size.div_ceil(TILE_LEAVES);
        let keep = usize::try_from(tiles.saturating_sub(self.recent_first)).unwrap_or(usize::MAX);
        self.recent.truncate(keep);
        if let Some(last) = self.recent.back_mut()
            && !size.is_multiple_of(TILE_LEAVES)
        {
            last.truncate(usize::try_from(size % TILE_LEAVES).unwrap_or(usize::MAX));
        }
        for (height, level) in self.upper.iter_mut().enumerate() {
            let nodes = (size / TILE_LEAVES) >> height;
            level.truncate(usize::try_from(nodes).unwrap_or(usize::MAX));
        }
        self.size = size;
    }

    /// Forgets the leaves of older tiles. What was pushed so far can't be taken back any more.
    pub(crate) fn trim(&mut self) {
        while self.recent.len() > RECENT_TILES {
            self.recent.pop_front();
            self.recent_first += 1;
        }
    }

    fn push_upper(&mut self, root: Hash) {
        let mut hash = root;
        for level in 0.. {
            if level == self.upper.len() {
                self.upper.push(Vec::new());
            }
            let level = &mut self.upper[level];
            level.push(hash);
            if !level.len().is_multiple_of(2) {
                return;
            }
            hash = node_hash(&level[level.len() - 2], &level[level.len() - 1]);
        }
    }

    pub(crate) fn lookup(&self, level: u8, index: u64) -> Lookup {
        if level >= TILE_LEVELS {
            let nodes = self.upper.get(usize::from(level - TILE_LEVELS));
            let node = usize::try_from(index).ok().and_then(|index| nodes?.get(index));
            return node.map_or(Lookup::Missing, |hash| Lookup::Found(*hash));
        }
        let in_tile = TILE_LEVELS - level;
        let tile = index >> in_tile;
        if tile < self.recent_first || self.recent.is_empty() {
            let known = tile < self.size / TILE_LEAVES;
            return if known { Lookup::InTile(tile) } else { Lookup::Missing };
        }
        let position = index & ((1 << in_tile) - 1);
        usize::try_from(tile - self.recent_first)
            .ok()
            .and_then(|tile| self.recent.get(tile)?.node(level, position))
            .map_or(Lookup::Missing, Lookup::Found)
    }
}

#[cfg(test)]
mod tests {
    use stele_merkle::{MemoryTree, Subtrees, leaf_hash};

    use super::*;

    #[test]
    fn every_node_is_that_of_the_plain_tree() {
        let (mut tree, mut from_tiles, mut plain) =
            (Tree::default(), Tree::default(), MemoryTree::new());
        let leaves: Vec<Hash> = (0..1500_u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        leaves.iter().for_each(|leaf| {
            plain.push(*leaf);
        });
        for tile in leaves[..1024].chunks(256) {
            let (_, root) = Tile::of(tile.iter().copied());
            from_tiles.push_tile(root.unwrap());
        }
        leaves[1024..].iter().for_each(|leaf| from_tiles.push(*leaf));
        for level in 0..11_u8 {
            for index in 0..1500 >> level {
                let wanted = Lookup::Found(plain.subtree(level, index).unwrap());
                assert_eq!(tree.lookup(level, index), wanted, "{level} {index}");
                let found = from_tiles.lookup(level, index);
                if level < 8 && index >> (8 - level) < 4 {
                    assert_eq!(found, Lookup::InTile(index >> (8 - level)));
                } else {
                    assert_eq!(found, wanted);
                }
            }
            assert_eq!(tree.lookup(level, 1500 >> level), Lookup::Missing);
        }
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let leaves: Vec<Hash> = (0..1100_u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let other = leaf_hash(b"other");
        for first in [0, 1, 255, 256, 257, 511, 512, 700] {
            for count in [1, 2, 255, 256, 400] {
                let (mut tree, mut plain) = (Tree::default(), MemoryTree::new());
                leaves[..first].iter().for_each(|leaf| tree.push(*leaf));
                (0..count).for_each(|_| tree.push(other));
                tree.truncate(first as u64);
                assert_eq!(tree.size(), first as u64);
                leaves[first..].iter().for_each(|leaf| tree.push(*leaf));
                leaves.iter().for_each(|leaf| {
                    plain.push(*leaf);
                });
                for level in 0..11_u8 {
                    for index in 0..1100 >> level {
                        let wanted = Lookup::Found(plain.subtree(level, index).unwrap());
                        assert_eq!(tree.lookup(level, index), wanted, "{first} {count} {level}");
                    }
                    assert_eq!(tree.lookup(level, 1100 >> level), Lookup::Missing);
                }
            }
        }
    }
}
