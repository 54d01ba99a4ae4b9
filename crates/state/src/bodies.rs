//! How the JSON of objects is stored: small, and read without reading much else.
//!
//! The bodies of one type and namespace go to one chunk, in the order of the log, until it has
//! [`CHUNK_BYTES`] of text. Then all of them are compressed together: what one version repeats of the
//! one before it, and what objects of the same make repeat of each other, costs next to nothing.
//! Until then each batch adds a piece of what it brought. Both are told from a base (`bases`), if
//! there is one.
//!
//! Which body stands at which place is a function of the records alone; which pieces a chunk has
//! before it is whole is not.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::StateError;
use crate::bases::{self, Base, Packer};
use crate::generations::Generations;
use crate::tables::{row, unrow};

/// A chunk with this much text is whole. The more is compressed together the less each body takes,
/// and the more has to be read for one; this much is read in 50 µs.
pub(crate) const CHUNK_BYTES: u64 = 256 * 1024;
/// Longest text of a piece. JSON of one object has at most a few MiB; this bounds what a damaged row
/// can ask for.
const TEXT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of text that are kept for questions. At any time there is up to twice as much.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// Where a body is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Place {
    pub(crate) chunk: u64,
    /// How many bodies of the chunk come before it.
    pub(crate) at: u32,
}

/// Consecutive bodies of a chunk.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Piece {
    lengths: Vec<u32>,
    text: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    /// The base that they are compressed against.
    base: Option<u64>,
    /// Bytes of each body.
    lengths: Cow<'a, [u32]>,
    /// All of them together, compressed.
    data: &'a [u8],
}

impl Piece {
    /// Adds a body.
    pub(crate) fn push(&mut self, body: &[u8]) -> Result<(), StateError> {
        let length = u32::try_from(body.len());
        let length = length.map_err(|_| StateError::Engine("an object of over 4 GiB".into()))?;
        self.lengths.push(length);
        self.text.extend_from_slice(body);
        Ok(())
    }

    /// The row of a text that stands alone, and need not be UTF-8.
    pub(crate) fn pack_text(text: &[u8]) -> Result<Vec<u8>, StateError> {
        let mut piece = Self::default();
        piece.push(text)?;
        piece.pack(&mut Packer::default(), true, None)
    }

    /// Reads such a row.
    pub(crate) fn read_text(stored: &[u8]) -> Result<Vec<u8>, StateError> {
        Ok(Self::read(stored, |_| Err(damaged("a text that stands alone has a base")))?.text)
    }

    /// Adds all bodies of another piece.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.lengths.append(&mut other.lengths);
        self.text.append(&mut other.text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// All bodies, in order.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let mut end = 0;
        self.lengths.iter().map(move |length| {
            let begin = end;
            end += *length as usize;
            &self.text[begin..end]
        })
    }

    /// The text of all bodies.
    pub(crate) fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The row of it; `whole` if it is all of its chunk.
    pub(crate) fn pack(
        &self,
        packer: &mut Packer,
        whole: bool,
        base: Option<(u64, &Base)>,
    ) -> Result<Vec<u8>, StateError> {
        let data = packer.pack(&self.text, whole, base.map(|(_, base)| base))?;
        let lengths = Cow::Borrowed(self.lengths.as_slice());
        Ok(row(&Packed { base: base.map(|(number, _)| number), lengths, data: &data }))
    }

    /// The number of the base of a row.
    pub(crate) fn base(stored: &[u8]) -> Result<Option<u64>, StateError> {
        let packed: Packed<'_> = unrow(stored)?;
        Ok(packed.base)
    }

    /// Whether a row has so many bodies that one is at this place in it.
    pub(crate) fn holds(stored: &[u8], at: u32) -> Result<bool, StateError> {
        let packed: Packed<'_> = unrow(stored)?;
        Ok((at as usize) < packed.lengths.len())
    }

    /// Reads a row; `base` gives the base with a number.
    pub(crate) fn read(
        stored: &[u8],
        base: impl FnOnce(u64) -> Result<Arc<Base>, StateError>,
    ) -> Result<Self, StateError> {
        let packed: Packed<'_> = unrow(stored)?;
        let length: u64 = packed.lengths.iter().map(|length| u64::from(*length)).sum();
        if length > TEXT_BYTES_MAX {
            return Err(damaged("its piece is over the limit"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let base = packed.base.map(base).transpose()?;
        let text = bases::unpack(packed.data, length, base.as_deref())?;
        Ok(Self { lengths: packed.lengths.into_owned(), text })
    }
}

/// Pieces that were read, by their chunk, with the place of their first body; shared by all
/// questions.
#[derive(Default)]
pub(crate) struct Pieces(Mutex<Generations<u64, (u32, Arc<Piece>), KEPT_BYTES>>);

impl Pieces {
    /// The body at a place; `load` gives the piece it is in and the place of that piece's first
    /// body. What stands at a place never changes, so it does not matter which piece it is.
    pub(crate) fn body(
        &self,
        place: Place,
        load: impl FnOnce() -> Result<(u32, Piece), StateError>,
    ) -> Result<String, StateError> {
        let (first, piece) = match self.kept(place) {
            Some(kept) => kept,
            None => {
                let (first, piece) = load()?;
                let piece = Arc::new(piece);
                self.keep(place.chunk, first, &piece);
                (first, piece)
            }
        };
        let at = place.at.checked_sub(first).map(|at| at as usize);
        let body = at.and_then(|at| piece.bodies().nth(at));
        let body = body.ok_or_else(|| damaged("it is not in its piece"))?;
        String::from_utf8(body.to_vec()).map_err(|_| damaged("it is no UTF-8"))
    }

    fn kept(&self, place: Place) -> Option<(u32, Arc<Piece>)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, piece) = kept.get(&place.chunk)?;
        let end = u64::from(*first) + piece.len() as u64;
        (u64::from(*first)..end).contains(&u64::from(place.at)).then(|| (*first, Arc::clone(piece)))
    }

    fn keep(&self, chunk: u64, first: u32, piece: &Arc<Piece>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.put(chunk, (first, Arc::clone(piece)), piece.text.len());
    }
}

/// A row of bodies is not what was written.
pub(crate) fn damaged(what: &str) -> StateError {
    StateError::Damaged(format!("a body cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Vec<String> {
        (0..20).map(|n| format!("{{\"n\":{n},{}}}", "\"same\":true,".repeat(n))).collect()
    }

    fn piece(bodies: &[String]) -> Piece {
        let mut piece = Piece::default();
        bodies.iter().for_each(|body| piece.push(body.as_bytes()).unwrap());
        piece
    }

    #[test]
    fn pieces_come_back_as_they_were() {
        let (bodies, mut packer) = (bodies(), Packer::default());
        for whole in [false, true] {
            let stored = piece(&bodies).pack(&mut packer, whole, None).unwrap();
            let none = |_| unreachable!("there is no base");
            let read = Piece::read(&stored, none).unwrap();
            assert!(read.bodies().eq(bodies.iter().map(String::as_bytes)));
            for end in 0..stored.len() {
                Piece::read(&stored[..end], none).unwrap_err();
            }
        }
    }

    #[test]
    fn a_body_is_found_in_whatever_piece_it_is() {
        let (bodies, pieces) = (bodies(), Pieces::default());
        let place = |at: usize| Place { chunk: 3, at: u32::try_from(at).unwrap() };
        let never = || unreachable!("it is kept");
        let early = || Ok((5, piece(&bodies[5..8])));
        assert_eq!(pieces.body(place(6), early).unwrap(), bodies[6]);
        assert_eq!(pieces.body(place(7), never).unwrap(), bodies[7]);
        let whole = || Ok((0, piece(&bodies)));
        assert_eq!(pieces.body(place(8), whole).unwrap(), bodies[8]);
        assert_eq!(pieces.body(place(6), never).unwrap(), bodies[6]);
        let wrong = || Ok((0, piece(&bodies)));
        pieces.body(place(20), wrong).unwrap_err();
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pieces = Pieces::default();
        let body = "x".repeat(1 << 20);
        for chunk in 0..200 {
            let place = Place { chunk, at: 0 };
            pieces.body(place, || Ok((0, piece(std::slice::from_ref(&body))))).unwrap();
            let kept = pieces.0.lock().unwrap();
            let held = kept.len();
            assert!(held <= 2 * (KEPT_BYTES >> 20) + 2, "{held}");
        }
    }
}
