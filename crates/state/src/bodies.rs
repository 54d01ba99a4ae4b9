//! How the JSON of objects is stored: small, and read without reading much else.
//!
//! The bodies of an object stand in rows of up to [`ROW_BODIES`] in the order of the log. While a
//! row grows, each body is compressed by itself; when it is full, or the object has ended, all of
//! them are compressed together: what one version repeats of the one before it costs next to
//! nothing. What objects of the same make repeat of each other (the pods of a Deployment, the
//! events about them) is taken from a dictionary: the bodies of one of them.
//!
//! Rows and dictionaries are functions of the records alone, like everything here.

use std::collections::HashMap;

use std::sync::{Arc, Mutex, PoisonError};

use minicbor::{Decode, Encode};
use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound, get_error_name};

use crate::StateError;

/// Most bodies in a row.
pub(crate) const ROW_BODIES: usize = 16;
/// A row is full once its bodies have this many bytes: one body costs the reading of all.
pub(crate) const ROW_BYTES: u64 = 64 * 1024;
/// Largest dictionary: the bodies of one object, up to there.
const DICTIONARY_BYTES: usize = 16 * 1024;
/// Objects of one make after which there is a dictionary, if none of them has ended before.
pub(crate) const FAMILY_MIN: u32 = 8;
/// Level of zstd. Each frame waits for it.
const ZSTD_LEVEL: i32 = 3;
/// Dictionaries that are kept ready to write with; each takes up to 200 KiB.
const WRITERS_KEPT: usize = 256;
/// Dictionaries that are kept ready to read with; each takes up to 50 KiB.
const READERS_KEPT: usize = 1_024;
/// Longest text of a row. JSON of one object has at most a few MiB; this bounds what a damaged row
/// can ask for.
const TEXT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A row: consecutive bodies of one object.
#[derive(Debug, Default, Encode, Decode)]
pub(crate) struct BodyRow {
    /// What the bodies were compressed with.
    #[n(0)]
    pub(crate) dictionary: Option<u32>,
    /// All bodies were compressed together.
    #[n(1)]
    sealed: bool,
    #[n(2)]
    parts: Vec<Part>,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Encode, Decode)]
#[cbor(array)]
struct Part {
    /// Number of the version, less that of the row's first one.
    #[n(0)]
    number: u32,
    /// Bytes of the text.
    #[n(1)]
    length: u32,
    /// Bytes of its own frame, unless sealed.
    #[n(2)]
    stored: u32,
}

impl BodyRow {
    /// An empty row.
    pub(crate) fn new(dictionary: Option<u32>) -> Self {
        Self { dictionary, ..Self::default() }
    }

    /// Whether no further body is to be added.
    pub(crate) fn is_full(&self) -> bool {
        self.parts.len() >= ROW_BODIES || self.text_len() >= ROW_BYTES
    }

    fn text_len(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.length)).sum()
    }

    /// Adds a body; `number` counts from the row's first version.
    pub(crate) fn push(
        &mut self,
        number: u32,
        body: &str,
        packer: &mut Packer,
    ) -> Result<(), StateError> {
        let frame = packer.compress(body.as_bytes(), self.dictionary)?;
        let length = |bytes: usize| {
            u32::try_from(bytes).map_err(|_| StateError::Engine("an object of over 4 GiB".into()))
        };
        let (length, stored) = (length(body.len())?, length(frame.len())?);
        self.parts.push(Part { number, length, stored });
        self.data.extend_from_slice(&frame);
        Ok(())
    }

    /// Compresses all bodies together, with this dictionary.
    pub(crate) fn seal(
        &mut self,
        texts: &[u8],
        dictionary: Option<u32>,
        packer: &mut Packer,
    ) -> Result<(), StateError> {
        self.data = packer.compress(texts, dictionary)?;
        self.dictionary = dictionary;
        self.sealed = true;
        self.parts.iter_mut().for_each(|part| part.stored = 0);
        Ok(())
    }

    /// All bodies, one after the other.
    pub(crate) fn texts(&self, unpacker: &mut Unpacker<'_>) -> Result<Vec<u8>, StateError> {
        if self.sealed {
            return unpacker.decompress(&self.data, self.text_len());
        }
        let mut texts = Vec::new();
        for at in 0..self.parts.len() {
            texts.extend_from_slice(&self.own(at, unpacker)?);
        }
        Ok(texts)
    }

    /// The body of one version; `number` counts from the row's first version.
    pub(crate) fn body(
        &self,
        number: u32,
        unpacker: &mut Unpacker<'_>,
    ) -> Result<String, StateError> {
        let at = self.parts.iter().position(|part| part.number == number);
        let at = at.ok_or_else(|| damaged("it is not in its row"))?;
        let bytes = if self.sealed {
            let before: u64 = self.parts[..at].iter().map(|part| u64::from(part.length)).sum();
            let texts = unpacker.decompress(&self.data, self.text_len())?;
            let begin = usize::try_from(before).unwrap_or(usize::MAX);
            let end = begin.saturating_add(self.parts[at].length as usize);
            texts.get(begin..end).ok_or_else(|| damaged("its row is too short"))?.to_vec()
        } else {
            self.own(at, unpacker)?
        };
        String::from_utf8(bytes).map_err(|_| damaged("it is no UTF-8"))
    }

    fn own(&self, at: usize, unpacker: &mut Unpacker<'_>) -> Result<Vec<u8>, StateError> {
        let begin: usize = self.parts[..at].iter().map(|part| part.stored as usize).sum();
        let end = begin.saturating_add(self.parts[at].stored as usize);
        let frame = self.data.get(begin..end).ok_or_else(|| damaged("its row is too short"))?;
        unpacker.decompress(frame, u64::from(self.parts[at].length))
    }
}

/// The dictionary that these bodies of one object make.
pub(crate) fn dictionary_of(texts: &[u8]) -> Vec<u8> {
    // The last ones: an object is shown whole only once it runs.
    texts[texts.len().saturating_sub(DICTIONARY_BYTES)..].to_vec()
}

/// What objects of one make have in common: the name without what numbers and hashes append to it.
/// A wrong guess costs bytes, nothing else.
pub(crate) fn stem(name: &str) -> &str {
    let mut end = 0;
    for part in name.split_inclusive(['-', '.']) {
        if end > 0 && part.bytes().any(|byte| byte.is_ascii_digit()) {
            return name[..end].trim_end_matches(['-', '.']);
        }
        end += part.len();
    }
    name
}

/// Compresses. Its dictionaries are those of one transaction and the ones before it.
#[derive(Default)]
pub(crate) struct Packer {
    context: CCtx<'static>,
    dictionaries: HashMap<u32, Arc<Ready>>,
    plain: Option<Arc<Ready>>,
    out: Vec<u8>,
}

/// A dictionary to write and to read with.
pub(crate) struct Ready {
    write: CDict<'static>,
    pub(crate) read: DDict<'static>,
}

impl Ready {
    fn new(content: &[u8]) -> Arc<Self> {
        let (write, read) = (CDict::create(content, ZSTD_LEVEL), DDict::create(content));
        Arc::new(Self { write, read })
    }
}

impl Packer {
    /// Whether a dictionary has to be given before it can be used.
    pub(crate) fn lacks(&self, dictionary: Option<u32>) -> bool {
        dictionary.is_some_and(|number| !self.dictionaries.contains_key(&number))
    }

    /// Makes a dictionary ready.
    pub(crate) fn prepare(&mut self, number: u32, content: &[u8]) {
        if self.dictionaries.len() >= WRITERS_KEPT {
            self.dictionaries.clear();
        }
        self.dictionaries.insert(number, Ready::new(content));
    }

    /// A dictionary that is ready.
    pub(crate) fn dictionary(&self, number: u32) -> Option<Arc<Ready>> {
        self.dictionaries.get(&number).map(Arc::clone)
    }

    fn compress(&mut self, text: &[u8], dictionary: Option<u32>) -> Result<Vec<u8>, StateError> {
        let dictionary = match dictionary {
            Some(number) => self.dictionary(number),
            None => Some(Arc::clone(self.plain.get_or_insert_with(|| Ready::new(&[])))),
        };
        let dictionary = dictionary.ok_or_else(|| damaged("its dictionary is not ready"))?;
        self.out.clear();
        self.out.reserve(compress_bound(text.len()));
        self.context.compress_using_cdict(&mut self.out, text, &dictionary.write).map_err(
            |code| StateError::Engine(format!("compression failed: {}", get_error_name(code))),
        )?;
        Ok(self.out.clone())
    }
}

/// Dictionaries ready to read with, shared by all questions.
#[derive(Default)]
pub(crate) struct Readers(Mutex<HashMap<u32, Arc<DDict<'static>>>>);

impl Readers {
    /// A dictionary; `load` gives its content. Only committed ones may be asked for: numbers of
    /// others may come again with another content.
    pub(crate) fn get(
        &self,
        number: u32,
        load: impl FnOnce() -> Result<Vec<u8>, StateError>,
    ) -> Result<Arc<DDict<'static>>, StateError> {
        let kept = |readers: &Self| {
            readers.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number).map(Arc::clone)
        };
        if let Some(found) = kept(self) {
            return Ok(found);
        }
        let made = Arc::new(DDict::create(&load()?));
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() >= READERS_KEPT {
            readers.clear();
        }
        readers.insert(number, Arc::clone(&made));
        Ok(made)
    }
}

/// Decompresses the bodies of one row.
pub(crate) struct Unpacker<'a> {
    pub(crate) context: &'a mut DCtx<'static>,
    pub(crate) dictionary: Option<&'a DDict<'static>>,
}

impl Unpacker<'_> {
    fn decompress(&mut self, frame: &[u8], length: u64) -> Result<Vec<u8>, StateError> {
        if length > TEXT_BYTES_MAX {
            return Err(damaged("its row is over the limit"));
        }
        let mut out = Vec::with_capacity(usize::try_from(length).unwrap_or(usize::MAX));
        let done = match self.dictionary {
            Some(dictionary) => self.context.decompress_using_ddict(&mut out, frame, dictionary),
            None => self.context.decompress(&mut out, frame),
        };
        done.map_err(|code| damaged(get_error_name(code)))?;
        if out.len() as u64 == length { Ok(out) } else { Err(damaged("it has another length")) }
    }
}

/// Compresses the content of a dictionary, which is written once.
pub(crate) fn pack_dictionary(content: &[u8]) -> Result<Vec<u8>, StateError> {
    Ok(zstd::bulk::compress(content, 9)?)
}

/// The content of a stored dictionary.
pub(crate) fn unpack_dictionary(stored: &[u8]) -> Result<Vec<u8>, StateError> {
    Ok(zstd::bulk::decompress(stored, DICTIONARY_BYTES)?)
}

fn damaged(what: &str) -> StateError {
    StateError::Damaged(format!("a body cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_what_comes_before_numbers_and_hashes() {
        for (name, wanted) in [
            ("web-7c9f8d6b5-x2x4z", "web"),
            ("web-7c9f8d6b5", "web"),
            ("shop-api-0", "shop-api"),
            ("web-7c9f8d6b5-x2x4z.18ab3f", "web"),
            ("node-1", "node"),
            ("default", "default"),
            ("10.96.0.1", "10"),
            ("0ad-server", "0ad-server"),
            ("", ""),
        ] {
            assert_eq!(stem(name), wanted, "{name}");
        }
    }

    #[test]
    fn bodies_are_read_from_growing_and_from_sealed_rows() {
        let mut packer = Packer::default();
        let bodies: Vec<String> =
            (0..5).map(|n| format!("{{\"n\":{n},{}}}", "\"same\":true,".repeat(40))).collect();
        let content = bodies[0].repeat(3).into_bytes();
        packer.prepare(7, &content);
        let dictionary = DDict::create(&content);
        for number in [None, Some(7)] {
            let mut context = DCtx::create();
            let mut row = BodyRow::new(number);
            for (at, body) in (0..).zip(&bodies) {
                row.push(at * 3, body, &mut packer).unwrap();
            }
            let dictionary = number.map(|_| &dictionary);
            let mut unpacker = Unpacker { context: &mut context, dictionary };
            let texts = row.texts(&mut unpacker).unwrap();
            assert_eq!(texts, bodies.concat().into_bytes());
            for sealed in [false, true] {
                if sealed {
                    row.seal(&texts, number, &mut packer).unwrap();
                }
                for (at, body) in (0..).zip(&bodies) {
                    assert_eq!(&row.body(at * 3, &mut unpacker).unwrap(), body);
                }
                row.body(1, &mut unpacker).unwrap_err();
            }
        }
    }
}
