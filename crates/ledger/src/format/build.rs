//! Building a segment or pack out of records.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use stele_merkle::Hash;
use stele_record::SourceId;
use stele_store::{ObjectName, Store, StoreError};

use super::bare::{Opener, SaltTable};
use super::block::{decode_bare, entry_len, push_entry, strip_entries};
use super::head::{BlockEntry, Codec, Head, Part, Secret};
use super::parts::Parts;
use super::{BLOCK_PAYLOAD_BYTES, BLOCK_RECORDS, CLEAR, Digest};

/// Bytes of an object that are read back at once.
const COMPARE_BYTES: u64 = 1024 * 1024;

/// Parts smaller than this are not worth a compressor's set-up.
const COMPRESS_FROM_BYTES: usize = 512;

/// Headers of a block are stored bare if its payloads have no more bytes than this in the mean: a proof
/// of a record costs hashing the payloads of its tile then, and what is saved is nothing beside them.
const BARE_PAYLOAD_BYTES_MEAN: u64 = 4096;

/// Level at which is tried whether a part can be compressed at all: on noise a high one would take
/// its time for nothing. Headers with their commitments are left at it: what is not noise there is the
/// same in all.
const TRIAL_LEVEL: i32 = 1;

/// How parts are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// As they are.
    None,
    /// By zstd of this level, where the result is at least an eighth smaller.
    Zstd(i32),
}

/// One record on its way into an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordRef<'a> {
    pub(crate) header: &'a Bytes,
    pub(crate) leaf: Hash,
    pub(crate) data_key: u32,
    /// The payload as it is to be stored.
    pub(crate) payload: &'a Bytes,
}

/// Set up once for all parts of an object.
struct Compressor {
    trial: zstd::bulk::Compressor<'static>,
    compress: zstd::bulk::Compressor<'static>,
    /// For what was compressed, to see that it is still the same.
    decompress: zstd::bulk::Decompressor<'static>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    fn new(level: i32) -> std::io::Result<Self> {
        let compress = zstd::bulk::Compressor::new(level)?;
        let trial = zstd::bulk::Compressor::new(TRIAL_LEVEL)?;
        Ok(Self { trial, compress, decompress: zstd::bulk::Decompressor::new()? })
    }
}

/// Gathers records into blocks.
#[derive(Debug)]
pub(crate) struct ObjectBuilder {
    /// None where parts are stored as they are.
    compressor: Option<Compressor>,
    next: u64,
    headers: Vec<u8>,
    payloads: Parts,
    /// Leaves of the block that is being filled, where it may become a bare one.
    leaves: Vec<Hash>,
    /// Of the secrets that the object will have.
    salts: SaltTable,
    /// Whether a payload of the block is not in clear.
    payload_digest: bool,
    in_block: u64,
    blocks: Vec<BlockEntry>,
    out: Parts,
}

/// How hard a part is compressed.
#[derive(Debug, Clone, Copy)]
enum Effort {
    /// At [`TRIAL_LEVEL`].
    Trial,
    /// At the object's level.
    Level,
}

/// A part of a block, and its bytes one after the other.
type StoredPart = (Part, Vec<Bytes>);

/// The blocks of an object, complete but for its header.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) parts: Vec<Bytes>,
}

/// A whole object.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) head: Head,
    pub(crate) digest: Digest,
    /// The bytes in order.
    pub(crate) parts: Vec<Bytes>,
}

impl Built {
    /// Puts the header before the blocks.
    pub(crate) fn new(head: Head, blocks: Vec<Bytes>) -> Self {
        let (bytes, digest) = head.encode();
        let mut parts = Vec::with_capacity(blocks.len() + 1);
        parts.push(bytes.into());
        parts.extend(blocks);
        Self { head, digest, parts }
    }

    pub(crate) fn slices(&self) -> Vec<&[u8]> {
        self.parts.iter().map(|part| &part[..]).collect()
    }

    pub(crate) fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// Whether these bytes and no others are stored under a name.
    ///
    /// # Errors
    /// [`StoreError`] if what is there cannot be read.
    pub(crate) fn is_stored(
        &self,
        store: &dyn Store,
        name: &ObjectName,
    ) -> Result<bool, StoreError> {
        let length = self.len();
        if store.size(name)? != length {
            return Ok(false);
        }
        let (mut stored, mut next) = (Bytes::new(), 0);
        for part in &self.parts {
            let mut part = &part[..];
            while !part.is_empty() {
                if stored.is_empty() {
                    let end = length.min(next + COMPARE_BYTES);
                    stored = store.read_range(name, next..end)?;
                    next = end;
                }
                let common = part.len().min(stored.len());
                if part[..common] != stored.split_to(common)[..] {
                    return Ok(false);
                }
                part = &part[common..];
            }
        }
        Ok(true)
    }
}

impl ObjectBuilder {
    pub(crate) fn new(first: u64, compression: Compression) -> Self {
        // A failing compressor costs space, not safety: parts are stored as they are.
        let compressor = match compression {
            Compression::None => None,
            Compression::Zstd(level) => Compressor::new(level).ok(),
        };
        Self {
            compressor,
            next: first,
            headers: Vec::new(),
            payloads: Parts::default(),
            leaves: Vec::new(),
            salts: SaltTable::default(),
            payload_digest: false,
            in_block: 0,
            blocks: Vec::new(),
            out: Parts::default(),
        }
    }

    /// Takes note of a secret that the object's header will have. Records whose secret is not known
    /// keep their commitment.
    pub(crate) fn add_secret(&mut self, source: SourceId, secret: &Secret) {
        if self.compressor.is_some() {
            self.salts.add(source, secret);
        }
    }

    pub(crate) fn push(&mut self, record: RecordRef<'_>) {
        let RecordRef { header, leaf, data_key, payload } = record;
        self.headers.reserve(entry_len(header));
        push_entry(&mut self.headers, header, &leaf, data_key, payload.len());
        self.payloads.push(payload);
        if self.compressor.is_some() {
            self.leaves.push(leaf);
        }
        self.payload_digest |= data_key != CLEAR;
        self.in_block += 1;
        self.next += 1;
        let full = self.payloads.len() >= BLOCK_PAYLOAD_BYTES as u64;
        if full || self.next.is_multiple_of(BLOCK_RECORDS) {
            self.end_block();
        }
    }

    /// Stored bytes so far, without the block that is being filled.
    pub(crate) fn stored_len(&self) -> u64 {
        self.out.len()
    }

    fn end_block(&mut self) {
        if self.in_block == 0 {
            return;
        }
        let headers = Bytes::from(std::mem::take(&mut self.headers));
        let mut raw = std::mem::take(&mut self.payloads).finish();
        if self.compressor.is_some() && raw.len() > 1 {
            raw = vec![raw.concat().into()];
        }
        let payloads = self.encode(&raw, self.payload_digest, Effort::Level);
        let whole = self.bare(&headers, &payloads, &raw);
        let bare = whole.is_some();
        let headers = whole.unwrap_or_else(|| self.encode(&[headers], true, Effort::Trial));
        let [headers, payloads] = [headers, payloads].map(|(part, bytes)| {
            bytes.iter().for_each(|bytes| self.out.push(bytes));
            part
        });
        self.blocks.push(BlockEntry { count: self.in_block, headers, bare, payloads });
        self.leaves.clear();
        self.in_block = 0;
        self.payload_digest = false;
    }

    /// The headers part without commitments, if they are to be left out and are had again of what is
    /// stored: this is seen here, for every record, by the code that reads them.
    fn bare(&mut self, headers: &[u8], payloads: &StoredPart, raw: &[Bytes]) -> Option<StoredPart> {
        let (Part { codec: Codec::Zstd, raw_len, .. }, [raw]) = (payloads.0, raw) else {
            return None;
        };
        if self.payload_digest || raw_len > self.in_block * BARE_PAYLOAD_BYTES_MEAN {
            return None;
        }
        let bare = Bytes::from(strip_entries(headers)?);
        let opener = Opener { payloads: raw, salts: &self.salts };
        let whole = decode_bare(0, &bare, 0..self.leaves.len(), opener).ok()?;
        let leaves = whole.entries.iter().map(|entry| entry.leaf);
        let same = leaves.eq(self.leaves.iter().copied());
        let stored = self.encode(&[bare], true, Effort::Level);
        (same && stored.0.codec == Codec::Zstd).then_some(stored)
    }

    /// A part as it is stored, and its bytes.
    fn encode(&mut self, raw: &[Bytes], with_digest: bool, effort: Effort) -> StoredPart {
        let raw_len: usize = raw.iter().map(Bytes::len).sum();
        if let Some(compressed) = self.compress(raw, raw_len, effort) {
            let digest = Some(Sha256::digest(&compressed).into());
            let stored_len = compressed.len() as u64;
            let part = Part { codec: Codec::Zstd, stored_len, raw_len: raw_len as u64, digest };
            return (part, vec![compressed.into()]);
        }
        let digest = with_digest.then(|| {
            let mut hash = Sha256::new();
            raw.iter().for_each(|part| hash.update(part));
            hash.finalize().into()
        });
        let stored_len = raw_len as u64;
        (Part { codec: Codec::Raw, stored_len, raw_len: stored_len, digest }, raw.to_vec())
    }

    fn compress(&mut self, raw: &[Bytes], raw_len: usize, effort: Effort) -> Option<Vec<u8>> {
        let Compressor { trial, compress, decompress } = self.compressor.as_mut()?;
        if raw_len < COMPRESS_FROM_BYTES {
            return None;
        }
        let [input] = raw else { return None };
        let pays = |compressed: &Vec<u8>| compressed.len() + raw_len / 8 <= raw_len;
        let tried = trial.compress(input).ok().filter(pays)?;
        let compressed = match effort {
            Effort::Trial => tried,
            Effort::Level => compress.compress(input).ok().filter(pays)?,
        };
        // What is stored instead of bytes that were hashed must be them.
        let same = decompress.decompress(&compressed, raw_len).is_ok_and(|back| back == *input);
        same.then_some(compressed)
    }

    pub(crate) fn finish(mut self) -> Content {
        self.end_block();
        Content { blocks: self.blocks, parts: self.out.finish() }
    }
}
