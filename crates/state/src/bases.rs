//! Texts that bodies are compressed against: the bodies of a type are much alike, whatever their
//! namespace, so each is told by what differs from some that came before.
//!
//! The first bodies of a chunk become the base of their type when it has none, or an old one. What
//! was compressed against a base needs it for ever. Which text it is is a function of the records
//! alone.

use std::sync::{Arc, Mutex, OnceLock};

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict};

use crate::StateError;
use crate::bodies::{Piece, damaged};
use crate::generations::{Generations, get_or};
use crate::tables::Tables;

/// Bytes of text of a base. More makes bodies hardly smaller.
pub(crate) const BASE_BYTES: u64 = 32 * 1024;
/// A base this many chunks old is followed by another one: in the meantime objects have changed.
pub(crate) const BASE_CHUNKS: u64 = 4_096;
/// Level of zstd for whole chunks.
const WHOLE_LEVEL: i32 = 6;
/// Level of zstd for pieces, which are compressed once more.
const PIECE_LEVEL: i32 = 1;
/// Bases that are kept; each takes up to 0.5 MB. At any time there are up to twice as many.
const KEPT: usize = 64;

/// A base, prepared.
pub(crate) struct Base {
    text: Vec<u8>,
    read: DDict<'static>,
    piece: OnceLock<CDict<'static>>,
    whole: OnceLock<CDict<'static>>,
}

impl Base {
    fn new(text: Vec<u8>) -> Self {
        let read = DDict::create(&text);
        Self { text, read, piece: OnceLock::new(), whole: OnceLock::new() }
    }
}

/// Bases that were read, by their numbers.
#[derive(Default)]
pub(crate) struct Bases(Mutex<Generations<u64, Arc<Base>, KEPT>>);

impl Bases {
    /// The base with a number.
    pub(crate) fn get(&self, tables: &Tables, number: u64) -> Result<Arc<Base>, StateError> {
        get_or(&self.0, number, || {
            let found = tables.bases.get(number)?;
            let found = found.ok_or_else(|| StateError::Damaged("no such base".to_owned()))?;
            Ok((Base::new(Piece::read_text(found.value())?), 1))
        })
    }
}

/// Compresses texts.
#[derive(Default)]
pub(crate) struct Packer(Option<CCtx<'static>>);

impl Packer {
    /// A text as it is stored; `whole` if it is all of its chunk.
    pub(crate) fn pack(
        &mut self,
        text: &[u8],
        whole: bool,
        base: Option<&Base>,
    ) -> Result<Vec<u8>, StateError> {
        let level = if whole { WHOLE_LEVEL } else { PIECE_LEVEL };
        let context = self.0.get_or_insert_with(CCtx::create);
        let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(text.len()));
        let done = match base {
            Some(base) => {
                let prepared = if whole { &base.whole } else { &base.piece };
                let prepared = prepared.get_or_init(|| CDict::create(&base.text, level));
                context.compress_using_cdict(&mut out, text, prepared)
            }
            None => context.compress(&mut out, text, level),
        };
        let failed = |code| StateError::Engine(zstd::zstd_safe::get_error_name(code).to_owned());
        done.map_err(failed)?;
        Ok(out)
    }
}

thread_local! {
    /// Setting one up takes as long as reading a chunk.
    static UNPACKER: std::cell::RefCell<DCtx<'static>> = std::cell::RefCell::new(DCtx::create());
}

/// The text of so many bytes that was stored.
pub(crate) fn unpack(
    data: &[u8],
    length: usize,
    base: Option<&Base>,
) -> Result<Vec<u8>, StateError> {
    let mut text = Vec::with_capacity(length);
    let done = UNPACKER.with_borrow_mut(|context| match base {
        Some(base) => context.decompress_using_ddict(&mut text, data, &base.read),
        None => context.decompress(&mut text, data),
    });
    done.map_err(|code| damaged(zstd::zstd_safe::get_error_name(code)))?;
    if text.len() == length { Ok(text) } else { Err(damaged("it has another length")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_with_and_without_a_base_and_not_with_another_one() {
        let text = b"{\"kind\":\"Pod\",\"name\":\"web-7\"}".repeat(20);
        let bases = [b"{\"kind\":\"Pod\",\"name\":\"".to_vec(), b"something else".to_vec()];
        let bases = bases.map(|text| Base::new(text.repeat(9)));
        let mut packer = Packer::default();
        for whole in [false, true] {
            for base in [None, Some(&bases[0]), Some(&bases[1])] {
                let stored = packer.pack(&text, whole, base).unwrap();
                assert_eq!(unpack(&stored, text.len(), base).unwrap(), text);
                unpack(&stored, text.len() - 1, base).unwrap_err();
                unpack(&stored, text.len() + 1, base).unwrap_err();
            }
            let stored = packer.pack(&text, whole, Some(&bases[0])).unwrap();
            assert_ne!(unpack(&stored, text.len(), Some(&bases[1])).ok(), Some(text.clone()));
        }
    }
}
