//! Writing bodies: to which chunk each goes, and when a chunk is whole.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::Fold;
use super::packing::{Loose, Stored, joined};
use crate::StateError;
use crate::bases::{BASE_BYTES, BASE_CHUNKS, Base};
use crate::bodies::{CHUNK_BYTES, Piece, Place};
use crate::key::Held;
use crate::life::LifeRow;

/// A chunk that takes bodies.
pub(super) struct OpenChunk {
    number: u64,
    count: u32,
    /// Bytes of text.
    bytes: u64,
    /// What this batch brought: the last ones.
    piece: Piece,
}

/// Under which key a piece is stored.
type PieceKey = Held<(u64, u32)>;

impl Fold<'_> {
    /// Stores a body of an object.
    pub(super) fn put_body(&mut self, life: &LifeRow, body: &str) -> Result<Place, StateError> {
        let key = (life.type_id, life.namespace.clone());
        let chunk = match self.chunks.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let found = self.w.chunks.get((life.type_id, life.namespace.as_str()))?;
                let (number, count, bytes) = match found {
                    Some(found) => found.value(),
                    None => (super::count(&mut self.w, "chunks", 1)?, 0, 0),
                };
                entry.insert(OpenChunk { number, count, bytes, piece: Piece::default() })
            }
        };
        let (number, before) = (chunk.number, chunk.bytes);
        let place = Place { chunk: number, at: chunk.count };
        chunk.piece.push(body.as_bytes())?;
        chunk.count += 1;
        chunk.bytes += body.len() as u64;
        let whole = chunk.bytes >= CHUNK_BYTES;
        if (before..chunk.bytes).contains(&(BASE_BYTES - 1)) {
            self.keep_base(life, number)?;
        }
        if whole {
            self.close_chunk(life)?;
        }
        Ok(place)
    }

    /// Makes the first bodies of a chunk the base of their type, if it is time for one.
    fn keep_base(&mut self, life: &LifeRow, number: u64) -> Result<(), StateError> {
        let known = self.type_row(life.type_id)?.base;
        if known.is_some_and(|known| number < known.saturating_add(BASE_CHUNKS)) {
            return Ok(());
        }
        let chunk = self.chunks.get(&(life.type_id, life.namespace.clone()));
        let brought = chunk.map(|chunk| chunk.piece.clone()).unwrap_or_default();
        let text = joined(self.stored(number)?.0, brought)?.into_text();
        let text = &text[..text.len().min(BASE_BYTES as usize)];
        self.w.bases.insert(number, Piece::pack_text(text)?.as_slice());
        self.type_row(life.type_id)?.base = Some(number);
        Ok(())
    }

    /// The base of a type, and its number.
    fn base(&mut self, type_id: u32) -> Result<Option<(u64, Arc<Base>)>, StateError> {
        let Some(number) = self.type_row(type_id)?.base else { return Ok(None) };
        Ok(Some((number, self.kept.bases.get(&self.w, number)?)))
    }

    /// The pieces of a chunk that are stored, and under which keys.
    fn stored(&self, chunk: u64) -> Result<(Vec<Stored>, Vec<PieceKey>), StateError> {
        let (mut pieces, mut keys) = (Vec::new(), Vec::new());
        for row in self.w.bodies.range((chunk, 0)..=(chunk, u32::MAX)) {
            let (key, row) = row?;
            let base = Piece::base(row.value())?;
            let base = base.map(|number| self.kept.bases.get(&self.w, number)).transpose()?;
            pieces.push((row.value().to_vec(), base));
            keys.push(key);
        }
        Ok((pieces, keys))
    }

    /// Compresses all bodies of a chunk together.
    fn close_chunk(&mut self, life: &LifeRow) -> Result<(), StateError> {
        let key = (life.type_id, life.namespace.clone());
        let Some(OpenChunk { number: chunk, piece, .. }) = self.chunks.remove(&key) else {
            return Ok(());
        };
        let (earlier, keys) = self.stored(chunk)?;
        for key in keys {
            self.w.bodies.remove(key.value());
        }
        let base = self.base(life.type_id)?;
        self.packing.give(Loose { chunk, first: 0, earlier, piece, whole: true, base });
        self.w.chunks.remove((life.type_id, life.namespace.as_str()));
        Ok(())
    }

    /// Gives to be packed what the batch brought to the chunks that are not whole.
    pub(super) fn give_pieces(&mut self) -> Result<(), StateError> {
        for ((type_id, namespace), chunk) in std::mem::take(&mut self.chunks) {
            let OpenChunk { number, count, bytes, piece } = chunk;
            if piece.is_empty() {
                continue;
            }
            let brought = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let (first, base) = (count.saturating_sub(brought), self.base(type_id)?);
            let earlier = Vec::new();
            self.packing.give(Loose { chunk: number, first, earlier, piece, whole: false, base });
            self.w.chunks.insert((type_id, namespace.as_str()), (number, count, bytes));
        }
        Ok(())
    }

    /// Writes what was packed.
    pub(super) fn put_packed(&mut self) -> Result<(), StateError> {
        let (packed, packers) = self.packing.take()?;
        for (key, packed) in packed {
            self.w.bodies.insert(key, packed.as_slice());
        }
        self.kept.packers = packers;
        Ok(())
    }
}
