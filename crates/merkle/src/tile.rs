//! Tiles of C2SP tlog-tiles: their paths, their widths, and the framing of entry bundles.
//!
//! Not here: reading or serving them.
//! Invariant: a path has one text form, and only that one is parsed.

mod build;

use std::fmt;
use std::str::FromStr;

pub use self::build::TileBuilder;
use crate::hash::{EMPTY_ROOT, HASH_BYTES, Hash, node_hash};
use crate::tree::{LeafIndex, TreeSize};

/// Hashes in a full tile, and entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// Levels of the tree that one tile spans.
pub const TILE_HEIGHT: u8 = 8;

/// Highest tile level that a path may name.
pub const TILE_LEVEL_MAX: u8 = 63;

/// Longest entry of a bundle in bytes: its length is written in 16 bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Why something is no tile, no path of one, or no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// The path is not the one text form of a tile's path. Answer "not found".
    #[error("not the path of a tile")]
    Path,
    /// A tile has 1 to 256 hashes or entries, and a level of 0 to 63. Correct the request.
    #[error("no tile has level {level} and width {width}")]
    Shape {
        /// The level asked for.
        level: u8,
        /// The width asked for.
        width: u16,
    },
    /// An entry is too long for a bundle. Log its digest instead.
    #[error("an entry of {bytes} bytes does not fit a bundle, whose entries end at 65535")]
    EntryTooLong {
        /// Length of the entry.
        bytes: usize,
    },
    /// The bytes are no tile or bundle of the expected width. Do not use them.
    #[error("expected {expected} in the tile, but its bytes do not hold exactly that")]
    Content {
        /// What was expected.
        expected: &'static str,
    },
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of this tile level: nodes of tree level 8 × level.
    Hashes(u8),
    /// Entries: a bundle.
    Entries,
}

/// Which tile: kind, index among those of its kind, and how many hashes or entries it holds.
/// Text form: `tile/0/x001/234.p/5`, `tile/entries/000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

impl TilePath {
    /// The tile of hashes at a tile level.
    ///
    /// # Errors
    /// [`TileError::Shape`] for a level over 63 or a width outside 1 to 256.
    pub fn hashes(level: u8, index: u64, width: u16) -> Result<Self, TileError> {
        if level > TILE_LEVEL_MAX || !(1..=TILE_WIDTH).contains(&width) {
            return Err(TileError::Shape { level, width });
        }
        Ok(Self { kind: TileKind::Hashes(level), index, width })
    }

    /// The bundle of entries.
    ///
    /// # Errors
    /// [`TileError::Shape`] for a width outside 1 to 256.
    pub fn entries(index: u64, width: u16) -> Result<Self, TileError> {
        Self::hashes(0, index, width).map(|path| Self { kind: TileKind::Entries, ..path })
    }

    /// Parses the text form, `tile/…`, without a slash before it.
    ///
    /// # Errors
    /// [`TileError::Path`] for any other text.
    pub fn parse(text: &str) -> Result<Self, TileError> {
        text.parse()
    }

    /// What the tile holds.
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its index among the tiles of its kind, from 0.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds, 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it holds 256, so that it will never change.
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Whether a log may no longer serve the tile once its minimum index is `minimum`: all entries that
    /// it would be over if it were full are below that (C2SP tlog-tiles, pruning).
    pub fn is_pruned(&self, minimum: LeafIndex) -> bool {
        let level = match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        let width = u64::from(TILE_WIDTH).checked_pow(u32::from(level) + 1);
        let end = width.and_then(|width| width.checked_mul(self.index.checked_add(1)?));
        end.is_some_and(|end| end <= minimum.0)
    }

    /// Whether the tree of `size` has this tile with at least this width.
    pub fn is_within(&self, size: TreeSize) -> bool {
        let level = match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        self.width <= width_at(level, self.index, size)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let digits = self.index.to_string();
        let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
        let (leading, last) = padded.split_at(padded.len() - 3);
        for at in (0..leading.len()).step_by(3) {
            write!(f, "x{}/", &leading[at..at + 3])?;
        }
        f.write_str(last)?;
        if !self.is_full() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for TilePath {
    type Err = TileError;

    fn from_str(text: &str) -> Result<Self, TileError> {
        let path = read_path(text).ok_or(TileError::Path)?;
        // Zeros in front, empty groups and the like come out different when written again.
        if path.to_string() == text { Ok(path) } else { Err(TileError::Path) }
    }
}

fn read_path(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let (groups, width) = match rest.split_once(".p/") {
        Some((groups, width)) => (groups, decimal(width).filter(|w| *w < u64::from(TILE_WIDTH))?),
        None => (rest, u64::from(TILE_WIDTH)),
    };
    let index = decimal(&groups.replace(['x', '/'], ""))?;
    let width = u16::try_from(width).ok()?;
    let path = match kind {
        "entries" => TilePath::entries(index, width),
        level => TilePath::hashes(u8::try_from(decimal(level)?).ok()?, index, width),
    };
    path.ok()
}

fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Number of hashes that a tile level has in the tree of `size`: `size / 256^level`, rounded down.
pub const fn level_width(level: u8, size: TreeSize) -> u64 {
    if level >= 8 { 0 } else { size.0 >> (level * TILE_HEIGHT) }
}

/// Width of the partial tile at a tile level in the tree of `size`; 0 if there is none.
pub const fn tile_width(level: u8, size: TreeSize) -> u16 {
    (level_width(level, size) % TILE_WIDTH as u64) as u16
}

/// Width of the tile `index` at a tile level in the tree of `size`; 0 if the tree has no such tile.
pub const fn width_at(level: u8, index: u64, size: TreeSize) -> u16 {
    let hashes = level_width(level, size);
    let full = hashes / TILE_WIDTH as u64;
    if index < full {
        TILE_WIDTH
    } else if index == full {
        tile_width(level, size)
    } else {
        0
    }
}

/// Root of a part of a tile: of nodes of one level that follow each other, the first of which is at a
/// multiple of their number, rounded up to a power of two.
pub fn root_of(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => EMPTY_ROOT,
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// The bytes of a tile with these hashes.
pub fn encode_hashes<'a>(hashes: impl IntoIterator<Item = &'a Hash>) -> Vec<u8> {
    hashes.into_iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile that must hold `width` of them.
///
/// # Errors
/// [`TileError::Content`] if it does not.
pub fn decode_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, TileError> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() || hashes.len() != usize::from(width) {
        return Err(TileError::Content { expected: "as many hashes as its width" });
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

/// The bytes of a bundle with these entries: each with its length before it, 16 bits, big-endian.
///
/// # Errors
/// [`TileError::EntryTooLong`].
pub fn encode_bundle<'a>(
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, TileError> {
    let mut out = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len())
            .map_err(|_| TileError::EntryTooLong { bytes: entry.len() })?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// The entries of a bundle that must hold `width` of them.
///
/// # Errors
/// [`TileError::Content`] if it does not.
pub fn decode_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    let wrong = TileError::Content { expected: "as many entries as its width" };
    let mut rest = bytes;
    let mut entries = Vec::with_capacity(usize::from(width));
    for _ in 0..width {
        let (length, tail) = rest.split_first_chunk().ok_or(wrong.clone())?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, tail) = tail.split_at_checked(length).ok_or(wrong.clone())?;
        entries.push(entry);
        rest = tail;
    }
    if rest.is_empty() { Ok(entries) } else { Err(wrong) }
}

#[cfg(test)]
mod tests;
