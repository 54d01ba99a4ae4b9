//! The entries of one log in a mirror of leaves, and the tiles over them.
//!
//! Invariant: entries have no hole; what a full bundle or tile holds does not change.

use std::sync::Arc;

use bytes::Bytes;
use stele_merkle::mirror::{Package, PackageRange};
use stele_merkle::tile::{
    TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath, decode_bundle, decode_hashes, encode_bundle,
    encode_hashes, root_of,
};
use stele_merkle::{Hash, Subtrees, leaf_hash};
use stele_store::{ObjectName, Store, StoreError};

use crate::ReadError;
use crate::info::numbered;

const WIDTH: u64 = TILE_WIDTH as u64;

/// A bundle that may be stored: its entries begin at a multiple of 256.
#[derive(Debug)]
pub(super) struct Bundle {
    first: u64,
    count: u64,
    bytes: Vec<u8>,
    leaves: Vec<Hash>,
}

impl Bundle {
    /// Root of the subtree of its entries.
    pub(super) fn root(&self) -> Hash {
        root_of(&self.leaves)
    }

    const fn end(&self) -> u64 {
        self.first + self.count
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Entries {
    store: Arc<dyn Store>,
    directory: String,
    /// The first entry that is not here.
    next: u64,
}

impl Entries {
    /// What is there of a log.
    pub(super) fn open(store: Arc<dyn Store>, directory: String) -> Result<Self, ReadError> {
        let bundles = format!("{directory}/bundles");
        let mut next = 0;
        for name in store.list(&format!("{bundles}/"), None)? {
            if name.number_in(&bundles) != Some(next / WIDTH) {
                return Err(ReadError::corrupt(&name, None, "a bundle before it is missing"));
            }
            next += WIDTH;
        }
        let mut entries = Self { store, directory, next };
        if let Some((size, _)) = entries.partial()? {
            entries.next = entries.next.max(size);
        }
        Ok(entries)
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    fn name(&self, kind: &str, number: u64) -> ObjectName {
        numbered(&format!("{}/{kind}", self.directory), number)
    }

    /// The last bundle that is not full, with the size up to which it goes.
    fn partial(&self) -> Result<Option<(u64, ObjectName)>, ReadError> {
        let directory = format!("{}/partial", self.directory);
        let names = self.store.list(&format!("{directory}/"), None)?;
        let last = names.into_iter().next_back();
        Ok(last.and_then(|name| Some((name.number_in(&directory)?, name))))
    }

    /// The entries of a package, with those before them in the same bundle, which are here; none if
    /// those are not.
    pub(super) fn joined(
        &self,
        range: PackageRange,
        package: &Package<'_>,
    ) -> Result<Option<Bundle>, ReadError> {
        let (first, end) = (range.subtree().start(), range.end());
        if range.start() > self.next {
            return Ok(None);
        }
        let before = usize::try_from(range.start() - first).unwrap_or(usize::MAX);
        let held = if before == 0 { Bytes::new() } else { self.bundle(first / WIDTH)?.0 };
        let held_entries = split(&held);
        let Some(held_entries) = held_entries.get(..before) else { return Ok(None) };
        let entries = held_entries.iter().chain(&package.entries).copied();
        let leaves: Vec<Hash> = entries.clone().map(leaf_hash).collect();
        let Ok(bytes) = encode_bundle(entries) else { return Ok(None) };
        Ok(Some(Bundle { first, count: end - first, bytes, leaves }))
    }

    /// Stores a bundle that was proven. What is held already stays as it is.
    pub(super) fn keep(&mut self, bundle: &Bundle) -> Result<(), ReadError> {
        if bundle.end() <= self.next {
            return Ok(());
        }
        if bundle.count < WIDTH {
            self.put("partial", bundle.end(), &bundle.bytes)?;
        } else {
            self.keep_tiles(bundle.first / WIDTH, &bundle.leaves)?;
            self.put("bundles", bundle.first / WIDTH, &bundle.bytes)?;
        }
        self.next = bundle.end();
        self.retire_partial(bundle.end());
        Ok(())
    }

    /// The tile of a full bundle, and those above it that become full with it.
    fn keep_tiles(&self, index: u64, leaves: &[Hash]) -> Result<(), ReadError> {
        self.put("tiles-0", index, &encode_hashes(leaves))?;
        let (mut level, mut index) = (0, index);
        while (index + 1).is_multiple_of(WIDTH) {
            (level, index) = (level + 1, index / WIDTH);
            let hashes = self.hashes(level, index, TILE_WIDTH)?;
            self.put(&format!("tiles-{level}"), index, &encode_hashes(&hashes))?;
        }
        Ok(())
    }

    fn put(&self, kind: &str, number: u64, bytes: &[u8]) -> Result<(), ReadError> {
        let name = self.name(kind, number);
        match self.store.put_new(&name, &[bytes]) {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                Err(ReadError::corrupt(&name, None, "other bytes than the proven ones stand here"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Retires bundles that are not full and end before `end`. Should that fail, the next one does it.
    fn retire_partial(&self, end: u64) {
        let directory = format!("{}/partial", self.directory);
        let Ok(names) = self.store.list(&format!("{directory}/"), None) else { return };
        let earlier = |name: &&ObjectName| name.number_in(&directory).is_some_and(|n| n < end);
        for name in names.iter().filter(earlier) {
            if let Err(error) = self.store.retire(name) {
                tracing::warn!(object = %name, %error, "a bundle that has grown cannot be retired");
            }
        }
    }

    /// The stored bytes of a bundle, full or not, and their name.
    fn bundle(&self, index: u64) -> Result<(Bytes, ObjectName), ReadError> {
        let name = self.name("bundles", index);
        match self.store.read(&name) {
            Ok(bytes) => return Ok((bytes, name)),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match self.partial()?.filter(|(size, _)| size / WIDTH == index) {
            Some((_, partial)) => match self.store.read(&partial) {
                // It became a full one meanwhile, or a longer one.
                Err(StoreError::NotFound { .. }) => Ok((self.store.read(&name)?, name)),
                other => Ok((other?, partial)),
            },
            None => Ok((self.store.read(&name)?, name)),
        }
    }

    /// The first `width` entries of a bundle.
    fn entries(&self, index: u64, width: u16) -> Result<Vec<u8>, ReadError> {
        let (bytes, name) = self.bundle(index)?;
        let entries = split(&bytes);
        let wanted = entries.get(..usize::from(width));
        let corrupt = || ReadError::corrupt(&name, None, "it has fewer entries than it should");
        encode_bundle(wanted.ok_or_else(corrupt)?.iter().copied()).map_err(|_| corrupt())
    }

    /// The first `width` hashes of a tile.
    fn hashes(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, ReadError> {
        let name = self.name(&format!("tiles-{level}"), index);
        let corrupt = |what: &str| ReadError::corrupt(&name, None, what);
        match self.store.read(&name) {
            Ok(bytes) => {
                let mut hashes = decode_hashes(&bytes, TILE_WIDTH)
                    .map_err(|_| corrupt("it is not a full tile"))?;
                hashes.truncate(width.into());
                return Ok(hashes);
            }
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(below) = level.checked_sub(1) {
            let tile = |n| self.hashes(below, index * WIDTH + n, TILE_WIDTH);
            return (0..u64::from(width)).map(|n| Ok(root_of(&tile(n)?))).collect();
        }
        let bundle = self.entries(index, width)?;
        let entries = decode_bundle(&bundle, width).map_err(|_| corrupt("it is no bundle"))?;
        Ok(entries.into_iter().map(leaf_hash).collect())
    }

    /// The bytes of a tile or bundle that is here.
    pub(super) fn tile(&self, path: TilePath) -> Result<Vec<u8>, ReadError> {
        match path.kind() {
            TileKind::Entries => self.entries(path.index(), path.width()),
            TileKind::Hashes(level) => {
                Ok(encode_hashes(&self.hashes(level, path.index(), path.width())?))
            }
        }
    }
}

impl Subtrees for Entries {
    type Error = ReadError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, ReadError> {
        let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let (first, count) = (index << within, 1_u64 << within);
        let width = u16::try_from(first % WIDTH + count).unwrap_or(TILE_WIDTH);
        let hashes = self.hashes(tile_level, first / WIDTH, width)?;
        Ok(root_of(&hashes[usize::from(width) - count as usize..]))
    }
}

/// The entries of a bundle of any width, as far as it can be read.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut entries, mut rest) = (Vec::new(), bytes);
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((entry, after)) = after.split_at_checked(length) else { break };
        entries.push(entry);
        rest = after;
    }
    entries
}
