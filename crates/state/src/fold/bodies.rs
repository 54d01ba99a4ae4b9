//! Writing bodies: to which chunk each goes, and when a chunk is whole.

use std::collections::btree_map::Entry;

use super::Fold;
use crate::StateError;
use crate::bodies::{CHUNK_BYTES, Packer, Piece, Place};
use crate::life::LifeRow;
use crate::spread::each_with;

/// A chunk that takes bodies.
pub(super) struct OpenChunk {
    number: u64,
    count: u32,
    /// Bytes of text.
    bytes: u64,
    /// What this batch brought: the last ones.
    piece: Piece,
}

/// A piece that is not written yet.
pub(super) struct Loose {
    chunk: u64,
    first: u32,
    piece: Piece,
    whole: bool,
}

/// Pieces of which it is not worth to start a thread.
const ALONE_MAX: usize = 32;

/// Where a piece is stored, and what.
type Packed = ((u64, u32), Vec<u8>);

fn pack(packer: &mut Packer, loose: Loose) -> Result<Option<Packed>, StateError> {
    let packed = packer.pack(&loose.piece, loose.whole)?;
    Ok(Some(((loose.chunk, loose.first), packed)))
}

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
        let place = Place { chunk: chunk.number, at: chunk.count };
        chunk.piece.push(body)?;
        chunk.count += 1;
        chunk.bytes += body.len() as u64;
        if chunk.bytes >= CHUNK_BYTES {
            self.close_chunk(life)?;
        }
        Ok(place)
    }

    /// Compresses all bodies of a chunk together.
    fn close_chunk(&mut self, life: &LifeRow) -> Result<(), StateError> {
        let key = (life.type_id, life.namespace.clone());
        let Some(chunk) = self.chunks.remove(&key) else { return Ok(()) };
        let (mut whole, mut stored) = (Piece::default(), Vec::new());
        for row in self.w.bodies.range((chunk.number, 0)..=(chunk.number, u32::MAX)) {
            let (key, piece) = row?;
            whole.append(Piece::read(piece.value())?);
            stored.push(key);
        }
        whole.append(chunk.piece);
        for key in stored {
            self.w.bodies.remove(key.value());
        }
        self.pieces.push(Loose { chunk: chunk.number, first: 0, piece: whole, whole: true });
        self.w.chunks.remove((life.type_id, life.namespace.as_str()));
        Ok(())
    }

    /// Writes the chunks that became whole, and what the batch brought to the others.
    pub(super) fn put_pieces(&mut self) -> Result<(), StateError> {
        for ((type_id, namespace), chunk) in std::mem::take(&mut self.chunks) {
            if chunk.piece.is_empty() {
                continue;
            }
            let brought = u32::try_from(chunk.piece.len()).unwrap_or(u32::MAX);
            let first = chunk.count.saturating_sub(brought);
            let (number, piece) = (chunk.number, chunk.piece);
            self.pieces.push(Loose { chunk: number, first, piece, whole: false });
            let row = (chunk.number, chunk.count, chunk.bytes);
            self.w.chunks.insert((type_id, namespace.as_str()), row);
        }
        let pieces = std::mem::take(&mut self.pieces);
        let packed = each_with(pieces, ALONE_MAX, &mut self.kept.packers, pack)?;
        for (key, packed) in packed {
            self.w.bodies.insert(key, packed.as_slice());
        }
        Ok(())
    }
}
