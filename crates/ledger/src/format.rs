//! The format of segments and packs: bytes in, bytes out, no I/O.
//!
//! ```text
//! prefix   8 bytes "STELELOG", format version u32, length of the header u32 (big-endian)
//! header   CBOR map, see `head`
//! digest   SHA-256 over prefix and header; it names the object in the chain of segments
//! blocks   for each block of the header's table: its headers part, its payloads part
//! ```
//!
//! The header holds lengths and digests of all parts, so its digest binds every byte of the object,
//! and a reader can trust a header without reading the rest. A payloads part that is stored as it is
//! needs no digest of its own: each payload is bound by the commitment in its record's header.
//!
//! Version 2 is version 1 with *bare* blocks: their headers lack the commitments, which follow from
//! payloads and secrets that the object holds anyway (`bare`). Objects without such a block are still
//! written as version 1.
//!
//! A segment and a pack differ in their header alone. What one version wrote, every later version
//! reads; golden vectors under test hold that.

mod bare;
mod block;
mod build;
mod head;
mod parts;
#[cfg(test)]
mod tests;

pub(crate) use bare::{Opener, SaltTable};
pub(crate) use block::{
    BlockHeaders, Entry, HeadersRead, decode_bare, decode_headers, decode_payloads,
    raw_bare_headers, read_headers, salvage_payloads,
};
pub(crate) use build::{Built, Compression, Content, ObjectBuilder, RecordRef};
pub(crate) use head::{BlockEntry, Codec, Head, Role, Run, Secret, Stream, TimeRun, Writer};

use sha2::{Digest as _, Sha256};

/// The data key of what is stored in clear.
pub(crate) const CLEAR: u32 = 0;

/// Records per block at most; blocks never cross a multiple of it. The more records are compressed
/// together the less each takes, and the more has to be read for one.
pub(crate) const BLOCK_RECORDS: u64 = 1024;

/// A block takes no further record once it has this many payload bytes.
pub(crate) const BLOCK_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;

/// Longest header of a segment or pack that is read.
pub(crate) const HEADER_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Bytes before the header.
pub(crate) const PREFIX_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"STELELOG";
/// All headers are whole.
const VERSION_WHOLE: u32 = 1;
/// There are bare blocks.
const VERSION_BARE: u32 = 2;
/// The newest version that is read.
const VERSION_MAX: u32 = VERSION_BARE;

/// SHA-256 of bytes of an object.
pub(crate) type Digest = [u8; 32];

pub(crate) fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Why bytes are not an object of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct FormatError {
    /// The field and its fault.
    pub(crate) what: String,
    /// Position in its block of the record at fault, where that is known.
    pub(crate) entry: Option<usize>,
}

impl FormatError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), entry: None }
    }
}

/// The first bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    version: u32,
    pub(crate) header_len: u32,
}

impl Prefix {
    pub(crate) fn encode(self) -> [u8; PREFIX_BYTES] {
        let mut out = [0; PREFIX_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.version.to_be_bytes());
        out[12..].copy_from_slice(&self.header_len.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some(bytes) = bytes.first_chunk::<PREFIX_BYTES>() else {
            return Err(FormatError::new("the object is shorter than its prefix"));
        };
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        if bytes[..8] != MAGIC {
            return Err(FormatError::new("the object does not start with STELELOG"));
        }
        let version = number(8);
        if !(VERSION_WHOLE..=VERSION_MAX).contains(&version) {
            return Err(FormatError::new(format!(
                "format version {version}, this program reads up to {VERSION_MAX}"
            )));
        }
        let header_len = number(12);
        if header_len > HEADER_BYTES_MAX {
            return Err(FormatError::new(format!(
                "the header has {header_len} bytes, the limit is {HEADER_BYTES_MAX}"
            )));
        }
        Ok(Self { version, header_len })
    }

    /// Offset of the first block.
    pub(crate) fn blocks_start(self) -> u64 {
        PREFIX_BYTES as u64 + u64::from(self.header_len) + 32
    }
}
