//! The two parts of a block.
//!
//! Headers part: for each record `u16 length, header, u32 check, u32 data key, u32 stored payload
//! length`, big-endian. The check is made of the record's leaf hash and the two numbers after it: it
//! adds no proof (the part's digest and the tree do that) but lets `fsck` say *which* record was
//! altered.
//! Payloads part: the stored payloads one after the other.

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use stele_merkle::{Hash, leaf_hash};
use stele_record::{HEADER_BYTES_MAX, Header};

use super::head::{BlockEntry, Codec, Part};
use super::{Digest, FormatError};

/// Largest part that is decompressed: a block's target, one payload over it, and framing.
const PART_RAW_BYTES_MAX: u64 = stele_record::PAYLOAD_BYTES_MAX + 8 * 1024 * 1024;

/// Bytes of an entry beside the header itself.
const ENTRY_FRAME_BYTES: usize = 14;

/// One record of a block, without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) header: Bytes,
    pub(crate) leaf: Hash,
    pub(crate) data_key: u32,
    /// Where its stored payload lies in the raw payloads part.
    pub(crate) payload: Range<u64>,
}

/// The decoded headers part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockHeaders {
    pub(crate) first: u64,
    pub(crate) entries: Vec<Entry>,
}

/// Appends one entry of the headers part.
pub(super) fn push_entry(
    out: &mut Vec<u8>,
    header: &[u8],
    leaf: &Hash,
    data_key: u32,
    payload_len: usize,
) {
    let length = u16::try_from(header.len()).expect("invariant: headers end at 512 bytes");
    let payload_len = u32::try_from(payload_len).expect("invariant: payloads end at 64 MiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(&check_of(leaf, data_key, payload_len).to_be_bytes());
    out.extend_from_slice(&data_key.to_be_bytes());
    out.extend_from_slice(&payload_len.to_be_bytes());
}

/// The first four bytes of the leaf hash, with the two numbers mixed in.
fn check_of(leaf: &Hash, data_key: u32, payload_len: u32) -> u32 {
    let [a, b, c, d, ..] = *leaf.as_bytes();
    u32::from_be_bytes([a, b, c, d]) ^ data_key.rotate_left(16) ^ payload_len
}

/// Bytes that one entry takes.
pub(super) const fn entry_len(header: &[u8]) -> usize {
    ENTRY_FRAME_BYTES + header.len()
}

/// What a headers part holds, as far as it can be read.
#[derive(Debug)]
pub(crate) struct HeadersRead {
    /// The records in order; `None` for one that is not what was written.
    pub(crate) entries: Vec<Option<Entry>>,
    /// The first fault.
    pub(crate) fault: Option<FormatError>,
    /// Whether the lengths add up, so that each payload is where the entries say.
    pub(crate) framed: bool,
}

/// Reads the headers part of the block that starts at index `first`.
///
/// Where the part was altered, the error names the first record whose check fails.
pub(crate) fn decode_headers(
    first: u64,
    block: &BlockEntry,
    stored: &Bytes,
) -> Result<BlockHeaders, FormatError> {
    let read = read_headers(block, stored);
    if let Some(fault) = read.fault {
        return Err(fault);
    }
    Ok(BlockHeaders { first, entries: read.entries.into_iter().flatten().collect() })
}

/// Reads as many records of a headers part as are still what was written.
pub(crate) fn read_headers(block: &BlockEntry, stored: &Bytes) -> HeadersRead {
    let intact = check_digest(&block.headers, stored);
    let raw = match decompress(&block.headers, stored) {
        Ok(raw) => raw,
        Err(error) => {
            let fault = FormatError::new(format!("headers part: {}", error.what));
            return HeadersRead { entries: Vec::new(), fault: Some(fault), framed: false };
        }
    };
    let mut read = parse_entries(&raw, block);
    if !intact && read.fault.is_none() {
        read.fault = Some(FormatError::new("the headers part does not have its digest"));
    }
    read
}

fn parse_entries(raw: &Bytes, block: &BlockEntry) -> HeadersRead {
    let count = usize::try_from(block.count).unwrap_or(usize::MAX);
    let entries = Vec::with_capacity(count.min(256));
    let mut read = HeadersRead { entries, fault: None, framed: false };
    let (mut at, mut payload) = (0, 0_u64);
    for number in 0..count {
        let stated = array(raw, at).map(|length| usize::from(u16::from_be_bytes(length)));
        let parsed = stated.and_then(|length| parse_entry(raw, at, length, payload));
        let parsed = match parsed {
            Some((entry, true, next)) => {
                (at, payload) = (next, entry.payload.end);
                read.entries.push(Some(entry));
                continue;
            }
            // If its length was altered, another one fits, and what follows can be read.
            altered => (0..=HEADER_BYTES_MAX)
                .filter_map(|length| parse_entry(raw, at, length, payload))
                .find(|(_, intact, _)| *intact)
                .or(altered),
        };
        let Some((entry, _, next)) = parsed else {
            let what = "the headers part ends inside the record".to_owned();
            read.fault.get_or_insert(FormatError { what, entry: Some(number) });
            return read;
        };
        let what = "the record is not the one that was written".to_owned();
        read.fault.get_or_insert(FormatError { what, entry: Some(number) });
        (at, payload) = (next, entry.payload.end);
        read.entries.push(None);
    }
    read.framed = at == raw.len() && read.fit_payloads(payload, block.payloads.raw_len);
    if !read.framed {
        let what = "the lengths in the headers part do not add up";
        read.fault.get_or_insert(FormatError::new(what));
    }
    read
}

impl HeadersRead {
    /// Whether the payloads' lengths add up; where those of all records but one are known, that
    /// one's follows.
    fn fit_payloads(&mut self, found: u64, raw_len: u64) -> bool {
        let mut altered = (0..self.entries.len()).filter(|at| self.entries[*at].is_none());
        let (Some(first), None) = (altered.next(), altered.next()) else { return found == raw_len };
        for entry in self.entries[first..].iter_mut().flatten() {
            let moved = |offset: u64| offset.wrapping_add(raw_len).wrapping_sub(found);
            entry.payload = moved(entry.payload.start)..moved(entry.payload.end);
            if entry.payload.start > entry.payload.end || entry.payload.end > raw_len {
                return false;
            }
        }
        true
    }
}

/// The entry at an offset with a header of this length, whether its check holds, and the offset
/// after it.
fn parse_entry(
    raw: &Bytes,
    at: usize,
    length: usize,
    payload: u64,
) -> Option<(Entry, bool, usize)> {
    let end = at + 2 + length;
    let check = u32::from_be_bytes(array(raw, end)?);
    let data_key = u32::from_be_bytes(array(raw, end + 4)?);
    let stored = u32::from_be_bytes(array(raw, end + 8)?);
    let header = raw.slice(at + 2..end);
    let leaf = leaf_hash(&header);
    let intact = check_of(&leaf, data_key, stored) == check;
    // If the length was altered, the header has it too: what comes after is still found, whatever
    // else was altered in the part.
    let in_header = || {
        let length = u32::try_from(Header::decode(&header).ok()?.payload_len).ok()?;
        (check_of(&leaf, data_key, length) == check).then_some(length)
    };
    let stored = if intact { stored } else { in_header().unwrap_or(stored) };
    let payload = payload..payload + u64::from(stored);
    Some((Entry { header, leaf, data_key, payload }, intact, end + 12))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads the payloads part: all stored payloads, concatenated.
pub(crate) fn decode_payloads(block: &BlockEntry, stored: &Bytes) -> Result<Bytes, FormatError> {
    if !check_digest(&block.payloads, stored) {
        return Err(FormatError::new("the payloads part does not have its digest"));
    }
    decompress(&block.payloads, stored)
        .map_err(|e| FormatError::new(format!("payloads part: {}", e.what)))
}

fn check_digest(part: &Part, stored: &[u8]) -> bool {
    part.digest.is_none_or(|digest| Digest::from(Sha256::digest(stored)) == digest)
}

fn decompress(part: &Part, stored: &Bytes) -> Result<Bytes, FormatError> {
    match part.codec {
        Codec::Raw => Ok(stored.clone()),
        Codec::Zstd if part.raw_len > PART_RAW_BYTES_MAX => {
            Err(FormatError::new(format!("{} bytes are over the limit", part.raw_len)))
        }
        Codec::Zstd => {
            let length = usize::try_from(part.raw_len).unwrap_or(usize::MAX);
            let raw = zstd::bulk::decompress(stored, length)
                .map_err(|e| FormatError::new(format!("decompression failed: {e}")))?;
            if raw.len() != length {
                return Err(FormatError::new("decompression gave another length than stated"));
            }
            Ok(raw.into())
        }
    }
}
