//! The two parts of a block.
//!
//! Headers part: for each record `u16 length, header, u32 check, u32 data key, u32 stored payload
//! length`, big-endian. The check is made of the record's leaf hash and the two numbers after it: it
//! adds no proof (the part's digest and the tree do that) but lets `fsck` say *which* record was
//! altered. In a bare block the headers lack their commitments, and the check is still that of the whole
//! header: it tells whether the payload was altered as well.
//! Payloads part: the stored payloads one after the other.

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use stele_merkle::{Hash, leaf_hash};
use stele_record::{HEADER_BYTES_MAX, Header};

use super::bare::{self, Opener};
use super::head::{BlockEntry, Codec, Part};
use super::{CLEAR, Digest, FormatError};

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
    /// Whether the commitment in the header was made of that payload, and so fits it.
    pub(crate) fits_payload: bool,
}

/// The decoded headers part, or of a bare one the records that were asked for.
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

/// The entries of a raw headers part without their headers' commitments; `None` if a header has none.
pub(super) fn strip_entries(raw: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(raw.len()), raw);
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let (header, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (numbers, after) = after.split_first_chunk::<{ ENTRY_FRAME_BYTES - 2 }>()?;
        let bare = bare::strip(header)?;
        out.extend_from_slice(&u16::try_from(bare.len()).ok()?.to_be_bytes());
        out.extend_from_slice(bare);
        out.extend_from_slice(numbers);
        rest = after;
    }
    Some(out)
}

/// What a headers part holds, as far as it can be read.
#[derive(Debug)]
pub(crate) struct HeadersRead {
    /// The records in order; `None` for one that is not what was written.
    pub(crate) entries: Vec<Option<Entry>>,
    /// The first fault.
    pub(crate) fault: Option<FormatError>,
    /// Whether the stored part has its digest.
    pub(crate) intact: bool,
    /// Whether the lengths add up, so that each payload is where the entries say.
    pub(crate) framed: bool,
}

/// Reads the headers part of the block that starts at index `first`, which is not a bare one.
///
/// Where the part was altered, the error names the first record whose check fails.
pub(crate) fn decode_headers(
    first: u64,
    block: &BlockEntry,
    stored: &Bytes,
) -> Result<BlockHeaders, FormatError> {
    let read = read_headers(block, stored, None);
    if let Some(fault) = read.fault {
        return Err(fault);
    }
    Ok(BlockHeaders { first, entries: read.entries.into_iter().flatten().collect() })
}

/// Reads as many records of a headers part as are still what was written. A bare one needs an opener.
pub(crate) fn read_headers(
    block: &BlockEntry,
    stored: &Bytes,
    opener: Option<Opener<'_>>,
) -> HeadersRead {
    let intact = check_digest(&block.headers, stored);
    let raw = match decompress(&block.headers, stored) {
        Ok(raw) => raw,
        Err(error) => {
            let fault = Some(headers_error(&error));
            return HeadersRead { entries: Vec::new(), fault, intact, framed: false };
        }
    };
    let mut read = Entries { raw: &raw, opener }.all(block, intact);
    if !intact && read.fault.is_none() {
        read.fault = Some(no_digest("headers"));
    }
    read
}

/// The raw headers part of a bare block, for [`decode_bare`].
pub(crate) fn raw_bare_headers(block: &BlockEntry, stored: &Bytes) -> Result<Bytes, FormatError> {
    if !check_digest(&block.headers, stored) {
        return Err(no_digest("headers"));
    }
    decompress(&block.headers, stored).map_err(|error| headers_error(&error))
}

/// The records at these positions of a bare block that starts at index `first`; no other header is
/// made whole.
pub(crate) fn decode_bare(
    first: u64,
    raw: &Bytes,
    positions: Range<usize>,
    opener: Opener<'_>,
) -> Result<BlockHeaders, FormatError> {
    let read = Entries { raw, opener: Some(opener) };
    let mut entries = Vec::with_capacity(positions.len().min(256));
    let (mut at, mut payload) = (0, 0_u64);
    for number in 0..positions.end {
        let fault = |what: &str| FormatError { what: what.to_owned(), entry: Some(number) };
        let frame = read.frame(at, read.stated_len(at), payload);
        let frame = frame.ok_or_else(|| fault(ENDS_INSIDE))?;
        if number >= positions.start {
            entries.push(read.entry(&frame).ok_or_else(|| fault(NOT_WRITTEN))?);
        }
        (at, payload) = (frame.next, frame.payload.end);
    }
    Ok(BlockHeaders { first: first + positions.start as u64, entries })
}

const NOT_WRITTEN: &str = "the record is not the one that was written";
const ENDS_INSIDE: &str = "the headers part ends inside the record";

fn headers_error(error: &FormatError) -> FormatError {
    FormatError::new(format!("headers part: {}", error.what))
}

fn no_digest(part: &str) -> FormatError {
    FormatError::new(format!("the {part} part does not have its digest"))
}

/// A raw headers part that is read.
struct Entries<'a> {
    raw: &'a Bytes,
    /// Of a bare one.
    opener: Option<Opener<'a>>,
}

/// What frames one entry, as it is stored.
struct Frame {
    header: Range<usize>,
    check: u32,
    data_key: u32,
    payload: Range<u64>,
    /// Offset of the entry after it.
    next: usize,
}

impl Entries<'_> {
    /// Every record of a block. Lengths in a part that has its digest are not called in question.
    fn all(&self, block: &BlockEntry, intact: bool) -> HeadersRead {
        let count = usize::try_from(block.count).unwrap_or(usize::MAX);
        let entries = Vec::with_capacity(count.min(256));
        let mut read = HeadersRead { entries, fault: None, intact, framed: false };
        let (mut at, mut payload) = (0, 0_u64);
        for number in 0..count {
            let frame = self.frame(at, self.stated_len(at), payload);
            let entry = frame.as_ref().and_then(|frame| self.entry(frame));
            if let (Some(frame), Some(entry)) = (&frame, entry) {
                (at, payload) = (frame.next, frame.payload.end);
                read.entries.push(Some(entry));
                continue;
            }
            let other = if intact { None } else { self.fitting_frame(at, payload) };
            let Some(frame) = other.or_else(|| Some(self.with_stated_payload(frame?))) else {
                let what = ENDS_INSIDE.to_owned();
                read.fault.get_or_insert(FormatError { what, entry: Some(number) });
                return read;
            };
            let what = NOT_WRITTEN.to_owned();
            read.fault.get_or_insert(FormatError { what, entry: Some(number) });
            (at, payload) = (frame.next, frame.payload.end);
            read.entries.push(None);
        }
        let raw_len = block.payloads.raw_len;
        // Bare headers were made of the payloads where they are: nothing can be moved.
        let fits =
            if block.bare { payload == raw_len } else { read.fit_payloads(payload, raw_len) };
        read.framed = at == self.raw.len() && fits;
        if !read.framed {
            let what = "the lengths in the headers part do not add up";
            read.fault.get_or_insert(FormatError::new(what));
        }
        read
    }

    /// The length of the header at an offset, as it is stored.
    fn stated_len(&self, at: usize) -> Option<usize> {
        array(self.raw, at).map(|length| usize::from(u16::from_be_bytes(length)))
    }

    /// The frame of the entry at an offset, if its header has this length.
    fn frame(&self, at: usize, length: Option<usize>, payload: u64) -> Option<Frame> {
        let end = at + 2 + length?;
        let check = u32::from_be_bytes(array(self.raw, end)?);
        let data_key = u32::from_be_bytes(array(self.raw, end + 4)?);
        let stored = u32::from_be_bytes(array(self.raw, end + 8)?);
        let payload = payload..payload + u64::from(stored);
        Some(Frame { header: at + 2..end, check, data_key, payload, next: end + 12 })
    }

    /// If the header's length was altered, another one fits, and what follows can be read.
    fn fitting_frame(&self, at: usize, payload: u64) -> Option<Frame> {
        (0..=HEADER_BYTES_MAX)
            .filter_map(|length| self.frame(at, Some(length), payload))
            .find(|frame| self.entry(frame).is_some())
    }

    /// The record in a frame, if it is what was written.
    fn entry(&self, frame: &Frame) -> Option<Entry> {
        self.entry_with(frame, frame.payload.clone())
    }

    fn entry_with(&self, frame: &Frame, payload: Range<u64>) -> Option<Entry> {
        let stored = u32::try_from(payload.end - payload.start).ok()?;
        let header = match &self.opener {
            None => self.raw.slice(frame.header.clone()),
            Some(opener) if frame.data_key == CLEAR => {
                opener.header(&self.raw[frame.header.clone()], &payload)?
            }
            Some(_) => return None,
        };
        let leaf = leaf_hash(&header);
        let fits_payload = self.opener.is_some();
        let entry = Entry { header, leaf, data_key: frame.data_key, payload, fits_payload };
        (check_of(&leaf, frame.data_key, stored) == frame.check).then_some(entry)
    }

    /// If the payload's length in the frame was altered, the header has it too: what comes after is
    /// still found, whatever else was altered in the part.
    fn with_stated_payload(&self, mut frame: Frame) -> Frame {
        let bytes = &self.raw[frame.header.clone()];
        let length = match self.opener {
            None => Header::decode(bytes).ok().map(|header| header.payload_len),
            Some(_) => bare::payload_len(bytes),
        };
        let end = length.and_then(|length| frame.payload.start.checked_add(length));
        if let Some(end) = end
            && self.entry_with(&frame, frame.payload.start..end).is_some()
        {
            frame.payload.end = end;
        }
        frame
    }
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

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads the payloads part: all stored payloads, concatenated.
pub(crate) fn decode_payloads(block: &BlockEntry, stored: &Bytes) -> Result<Bytes, FormatError> {
    salvage_payloads(block, stored).map_err(|(fault, _)| fault)
}

/// As [`decode_payloads`]; with the fault what can be had of the part nevertheless.
pub(crate) fn salvage_payloads(
    block: &BlockEntry,
    stored: &Bytes,
) -> Result<Bytes, (FormatError, Option<Bytes>)> {
    let raw = decompress(&block.payloads, stored)
        .map_err(|e| FormatError::new(format!("payloads part: {}", e.what)));
    match (check_digest(&block.payloads, stored), raw) {
        (true, raw) => raw.map_err(|fault| (fault, None)),
        (false, raw) => Err((no_digest("payloads"), raw.ok())),
    }
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
