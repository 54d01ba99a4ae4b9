//! The tiles of a growing tree, each given out once when it is full, the others on request.
//!
//! Not here: reading and writing them, and the bundles of entries.
//! Invariant: a tile that is given out follows from the leaves alone.

use super::{TILE_HEIGHT, TILE_WIDTH, TileError, TilePath, level_width, tile_width};
use crate::frontier::{Frontier, FrontierError};
use crate::hash::Hash;
use crate::tree::TreeSize;

/// The right edge of a tiled tree: at each tile level the hashes that do not fill a tile yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TileBuilder {
    size: u64,
    /// Fewer than [`TILE_WIDTH`] hashes at each level.
    edge: Vec<Vec<Hash>>,
}

impl TileBuilder {
    /// The tree without leaves.
    pub const fn new() -> Self {
        Self { size: 0, edge: Vec::new() }
    }

    /// Continues the tree of `size`. `read` gives the hashes of its partial tiles; that they lead
    /// to the right root is the caller's to check, with [`TileBuilder::root`].
    ///
    /// # Errors
    /// What `read` answers, or its [`TileError::Content`] if a tile has another width.
    pub fn resume<E: From<TileError>>(
        size: TreeSize,
        mut read: impl FnMut(TilePath) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut edge = Vec::new();
        for level in (0..).take_while(|level| level_width(*level, size) > 0) {
            let mut hashes = Vec::new();
            let width = tile_width(level, size);
            if width > 0 {
                let index = level_width(level, size) / u64::from(TILE_WIDTH);
                hashes = read(TilePath::hashes(level, index, width)?)?;
                if hashes.len() != usize::from(width) {
                    return Err(
                        TileError::Content { expected: "as many hashes as its width" }.into()
                    );
                }
            }
            edge.push(hashes);
        }
        Ok(Self { size: size.0, edge })
    }

    /// Number of leaves.
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Takes back the leaves of the partial tile at level 0; the others are in full tiles.
    pub fn drop_partial_leaves(&mut self) {
        self.size -= self.size % u64::from(TILE_WIDTH);
        if let Some(leaves) = self.edge.first_mut() {
            leaves.clear();
        }
    }

    /// Appends a leaf hash, and gives out the tiles that it fills, from level 0 upwards.
    ///
    /// # Errors
    /// What `full` answers.
    pub fn push<E: From<TileError>>(
        &mut self,
        leaf: Hash,
        mut full: impl FnMut(TilePath, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.size += 1;
        let mut hash = leaf;
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.edge.len() == at {
                self.edge.push(Vec::new());
            }
            let hashes = &mut self.edge[at];
            hashes.push(hash);
            if hashes.len() < usize::from(TILE_WIDTH) {
                break;
            }
            let index = level_width(level, TreeSize(self.size)) / u64::from(TILE_WIDTH) - 1;
            full(TilePath::hashes(level, index, TILE_WIDTH)?, hashes)?;
            let mut tile = Frontier::new();
            for hash in hashes.drain(..) {
                tile.push(hash);
            }
            hash = tile.root();
        }
        Ok(())
    }

    /// The partial tiles of the tree, from level 0 upwards.
    pub fn partial(&self) -> impl Iterator<Item = (TilePath, &[Hash])> {
        let size = self.size();
        self.edge.iter().zip(0_u8..).filter_map(move |(hashes, level)| {
            let index = level_width(level, size) / u64::from(TILE_WIDTH);
            let width = u16::try_from(hashes.len()).ok().filter(|width| *width > 0)?;
            let path = TilePath::hashes(level, index, width).ok()?;
            Some((path, hashes.as_slice()))
        })
    }

    /// Root of the tree.
    ///
    /// # Errors
    /// [`FrontierError`] if there are more leaves than a tree can have.
    pub fn root(&self) -> Result<Hash, FrontierError> {
        let mut tree = Frontier::new();
        // A tree has eight tile levels at most.
        for (level, hashes) in self.edge.iter().enumerate().rev() {
            for hash in hashes {
                tree.push_subtree(level as u8 * TILE_HEIGHT, *hash)?;
            }
        }
        Ok(tree.root())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::hash::leaf_hash;
    use crate::memory::MemoryTree;
    use crate::tree::{Subtrees, root};

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    #[test]
    fn tiles_are_those_of_the_whole_tree_and_resuming_changes_nothing() {
        const SIZE: u64 = 70_000;
        let tree: MemoryTree = (0..SIZE).map(leaf).collect();
        let expected = |path: TilePath| -> Vec<Hash> {
            let crate::tile::TileKind::Hashes(level) = path.kind() else { panic!("{path}") };
            let first = path.index() * u64::from(TILE_WIDTH);
            let hashes = first..first + u64::from(path.width());
            hashes.map(|index| tree.subtree(level * 8, index).unwrap()).collect()
        };
        let mut builder = TileBuilder::new();
        let mut full = BTreeMap::new();
        for index in 0..SIZE {
            if [1, 255, 256, 257, 65_535, 65_536, 69_999].contains(&index) {
                let size = TreeSize(index);
                assert_eq!(builder.root(), Ok(root(size, &tree).unwrap()));
                let read = |path| Ok::<_, TileError>(expected(path));
                assert_eq!(TileBuilder::resume(size, read).as_ref(), Ok(&builder));
            }
            let put = |path: TilePath, hashes: &[Hash]| {
                assert_eq!(hashes, expected(path), "{path}");
                assert!(full.insert(path, ()).is_none(), "{path}");
                Ok::<_, TileError>(())
            };
            builder.push(leaf(index), put).unwrap();
        }
        assert_eq!(builder.root(), Ok(root(TreeSize(SIZE), &tree).unwrap()));
        assert_eq!(full.len(), 273 + 1);
        let partial: Vec<String> = builder.partial().map(|(path, _)| path.to_string()).collect();
        assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        for (path, hashes) in builder.partial() {
            assert_eq!(hashes, expected(path), "{path}");
        }
        builder.drop_partial_leaves();
        assert_eq!(builder.size(), TreeSize(273 * 256));
        assert_eq!(builder.root(), Ok(root(TreeSize(273 * 256), &tree).unwrap()));
    }

    #[test]
    fn a_partial_tile_of_another_width_is_refused() {
        let read = |_| Ok::<_, TileError>(vec![leaf(0); 4]);
        TileBuilder::resume(TreeSize(5), read).unwrap_err();
        TileBuilder::resume(TreeSize(4), read).unwrap();
    }
}
