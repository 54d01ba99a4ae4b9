//! Proofs, tiles and entry bundles.

use std::sync::Arc;

use stele_merkle::{
    Algorithm, CoseReceipt, Hash, LeafIndex, LogSigner, ProveError, ReceiptProof, Subtrees,
    TreeSize, consistency_proof, inclusion_proof, range_proof, root, tile,
};

use super::{Reader, SignedCheckpoint};
use crate::tree::{Lookup, TILE_LEVELS, Tree};
use crate::{CoseReceiptError, ReadError};

impl Subtrees for Reader {
    type Error = ReadError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, ReadError> {
        self.node(level, index)
    }
}

/// The hashes in memory, under one lock for a whole proof.
struct InMemory<'a>(&'a Tree);

/// A hash is in the store alone, or nowhere; [`Reader::node`] finds out.
struct NotInMemory;

impl Subtrees for InMemory<'_> {
    type Error = NotInMemory;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, NotInMemory> {
        match self.0.lookup(level, index) {
            Lookup::Found(hash) => Ok(hash),
            Lookup::InTile(_) | Lookup::Missing => Err(NotInMemory),
        }
    }
}

impl Reader {
    /// Root of the tree of the first `size` records.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if the log is smaller.
    pub fn root(&self, size: TreeSize) -> Result<Hash, ReadError> {
        self.check_size(size)?;
        root(size, self)
    }

    /// Proof that the record at `index` is in the tree of `size`.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if the tree does not hold it or the log is smaller.
    pub fn inclusion_proof(
        &self,
        index: LeafIndex,
        size: TreeSize,
    ) -> Result<Vec<Hash>, ReadError> {
        self.check_size(size)?;
        let recent = inclusion_proof(index, size, &InMemory(&self.tree()));
        recent.or_else(|_| inclusion_proof(index, size, self).map_err(read_error))
    }

    /// One proof that the `count` records from `first` on are in the tree of `size`, for
    /// [`stele_merkle::verify_range`].
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if the tree does not hold them all, there are none, or the log is
    /// smaller.
    pub fn range_proof(
        &self,
        first: LeafIndex,
        count: u64,
        size: TreeSize,
    ) -> Result<Vec<Hash>, ReadError> {
        self.check_size(size)?;
        let recent = range_proof(first, count, size, &InMemory(&self.tree()));
        recent.or_else(|_| range_proof(first, count, size, self).map_err(read_error))
    }

    /// Proof that the tree of size `old` is the beginning of the tree of size `new`.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if `old` is above `new`, or `new` above the log's size.
    pub fn consistency_proof(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Hash>, ReadError> {
        self.check_size(new)?;
        consistency_proof(old, new, self).map_err(read_error)
    }

    /// The COSE receipt that the record at `index` is in the tree of the latest checkpoint.
    ///
    /// # Errors
    /// [`CoseReceiptError::Read`] if it is not, or there is no checkpoint;
    /// [`CoseReceiptError::Receipt`] if `signer` is not what signed that checkpoint, or the tree
    /// has one record only.
    pub fn inclusion_receipt(
        &self,
        signer: &LogSigner,
        algorithm: Algorithm,
        index: LeafIndex,
    ) -> Result<CoseReceipt, CoseReceiptError> {
        let checkpoint = self.checkpoint_for(index.0)?;
        let hashes = self.inclusion_proof(index, checkpoint.size)?;
        let proof = ReceiptProof::Inclusion { index, hashes };
        Ok(signer.receipt(&checkpoint.note, algorithm, proof)?)
    }

    /// The COSE receipt that the tree of the latest checkpoint continues the one of size `old`.
    ///
    /// # Errors
    /// As [`Reader::inclusion_receipt`], and if `old` is empty or the latest size itself.
    pub fn consistency_receipt(
        &self,
        signer: &LogSigner,
        algorithm: Algorithm,
        old: TreeSize,
    ) -> Result<CoseReceipt, CoseReceiptError> {
        let checkpoint = self.checkpoint_for(old.0)?;
        let hashes = self.consistency_proof(old, checkpoint.size)?;
        let proof = ReceiptProof::Consistency { old, hashes };
        Ok(signer.receipt(&checkpoint.note, algorithm, proof)?)
    }

    /// The latest checkpoint, for a receipt about `index` of the log.
    fn checkpoint_for(&self, index: u64) -> Result<Arc<SignedCheckpoint>, ReadError> {
        let size = TreeSize::EMPTY;
        self.signed_checkpoint().ok_or(ReadError::OutOfRange { index, size })
    }

    /// The bytes of a C2SP hash tile: `width` hashes, 1 to 256, at tile level `level`.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if the log is too small for it.
    pub fn hash_tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, ReadError> {
        self.check_tile(level, index, width)?;
        let first = index * u64::from(tile::TILE_WIDTH);
        let hashes = (first..first + u64::from(width))
            .map(|node| self.node(level * TILE_LEVELS, node))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(tile::encode_hashes(&hashes))
    }

    /// The bytes of a C2SP entry bundle with `width` records, 1 to 256.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if the log is too small for it.
    pub fn entry_bundle(&self, index: u64, width: u16) -> Result<Vec<u8>, ReadError> {
        self.check_tile(0, index, width)?;
        let mut next = index * u64::from(tile::TILE_WIDTH);
        let end = next + u64::from(width);
        let mut entries = Vec::with_capacity(usize::from(width));
        while next < end {
            let found = self.with_object(next, |object| {
                let headers = self.stored_headers(object, object.block_of(next), next)?;
                super::records::entries(&headers, &(next..end))
                    .map(|(index, entry)| {
                        self.check_entry(object, index, entry)?;
                        Ok(entry.header.clone())
                    })
                    .collect::<Result<Vec<_>, ReadError>>()
            })?;
            next += found.len() as u64;
            entries.extend(found);
        }
        tile::encode_bundle(entries.iter().map(|entry| &entry[..])).map_err(|e| {
            ReadError::Corrupt { object: "entry bundle".into(), record: None, what: e.to_string() }
        })
    }

    fn check_size(&self, size: TreeSize) -> Result<(), ReadError> {
        if size <= self.size() {
            return Ok(());
        }
        Err(ReadError::OutOfRange { index: size.0, size: self.size() })
    }

    fn check_tile(&self, level: u8, index: u64, width: u16) -> Result<(), ReadError> {
        let size = self.size();
        let there = level <= tile::TILE_LEVEL_MAX && width > 0;
        if there && tile::width_at(level, index, size) >= width {
            return Ok(());
        }
        Err(ReadError::OutOfRange { index, size })
    }
}

fn read_error(error: ProveError<ReadError>) -> ReadError {
    match error {
        ProveError::Subtree(error) => error,
        ProveError::NoSuchLeaf { index, size } => ReadError::OutOfRange { index: index.0, size },
        ProveError::SizesReversed { old, new } => ReadError::OutOfRange { index: old.0, size: new },
        _ => ReadError::Corrupt { object: "tree".into(), record: None, what: error.to_string() },
    }
}
