//! The messages of the mirror protocol (C2SP tlog-mirror), as both sides read and write them: the
//! upload of entries with proofs, and the answer that says how far a mirror is.
//!
//! ```text
//! u16 length || origin || u64 start || u64 end || u16 length || ticket || package...
//! package = (u16 length || entry)... || u8 count || hash...
//! ```
//!
//! A package ends at a multiple of 256 or at `end`; its proof shows the tree of `end` leaves to have
//! the subtree from the multiple of 256 below it. `add-checkpoint` and `sign-subtree` are the witness's.
//!
//! Not here: HTTP itself, and what a mirror decides.
//! Invariant: what is written is read again as the same message, and a part of a message is told apart
//! from a wrong one; what is read is bounded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::parse_decimal;
use crate::hash::{HASH_BYTES, Hash};
use crate::key::KEY_NAME_BYTES_MAX;
use crate::subtree::Subtree;
use crate::tile::{ENTRY_BYTES_MAX, TILE_WIDTH};
use crate::tree::TreeSize;
use crate::verify::PROOF_HASHES_MAX;
use crate::witness::MessageError;

/// Path of the call below the submission prefix.
pub const ADD_ENTRIES_PATH: &str = "add-entries";

/// Content type of an upload.
pub const UPLOAD_CONTENT_TYPE: &str = "application/octet-stream";

/// Content type of an answer that says how far the mirror is.
pub const INFO_CONTENT_TYPE: &str = "text/x.tlog.mirror-info";

/// Packages of an upload at most, as senders keep it.
pub const UPLOAD_PACKAGES_MAX: usize = 32;

/// Longest package in bytes.
pub const PACKAGE_BYTES_MAX: usize =
    TILE_WIDTH as usize * (2 + ENTRY_BYTES_MAX) + 1 + PROOF_HASHES_MAX * HASH_BYTES;

/// Longest answer that is read, in bytes: two numbers and the longest ticket.
pub const INFO_BYTES_MAX: usize = 128 * 1024;

const fn malformed(what: &'static str) -> MessageError {
    MessageError::Malformed { what }
}

/// What an upload begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadHead {
    /// Name of the log.
    pub origin: String,
    /// Index of the first entry.
    pub start: u64,
    /// Size of the pending checkpoint that the entries are proven by.
    pub end: TreeSize,
    /// What the mirror gave for this, or nothing.
    pub ticket: Vec<u8>,
}

impl UploadHead {
    /// The bytes; none if the origin or the ticket is too long for them.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = u16::try_from(self.origin.len()).ok()?.to_be_bytes().to_vec();
        out.extend_from_slice(self.origin.as_bytes());
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(&self.end.0.to_be_bytes());
        out.extend_from_slice(&u16::try_from(self.ticket.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&self.ticket);
        Some(out)
    }

    /// Reads the begin of an upload, and gives what follows; none if there is only a part of it.
    ///
    /// # Errors
    /// [`MessageError::Malformed`]: answer 400.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, MessageError> {
        let mut rest = Bytes(bytes);
        let Some(length) = rest.u16() else { return Ok(None) };
        if usize::from(length) > KEY_NAME_BYTES_MAX {
            return Err(malformed("its origin is longer than 255 bytes"));
        }
        let Some(origin) = rest.take(length.into()) else { return Ok(None) };
        let origin = str::from_utf8(origin).map_err(|_| malformed("its origin is not UTF-8"))?;
        let (Some(start), Some(end)) = (rest.u64(), rest.u64()) else { return Ok(None) };
        if start > end {
            return Err(malformed("its start is after its end"));
        }
        let Some(ticket) = rest.u16().and_then(|length| rest.take(length.into())) else {
            return Ok(None);
        };
        let head =
            Self { origin: origin.to_owned(), start, end: TreeSize(end), ticket: ticket.to_vec() };
        Ok(Some((head, rest.0)))
    }

    /// The packages of the upload, in order.
    pub fn packages(&self) -> impl Iterator<Item = PackageRange> + use<> {
        packages(self.start, self.end)
    }
}

/// The packages of an upload of the entries from `start` on, up to the tree of `end`.
pub fn packages(start: u64, end: TreeSize) -> impl Iterator<Item = PackageRange> {
    let mut next = start;
    std::iter::from_fn(move || {
        let range = PackageRange::at(next, end)?;
        next = range.end();
        Some(range)
    })
}

/// Which entries a package has, and which subtree they are the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageRange {
    start: u64,
    subtree: Subtree,
}

impl PackageRange {
    /// The package that begins with the entry `start`, in an upload that ends at `end`.
    fn at(start: u64, end: TreeSize) -> Option<Self> {
        if start >= end.0 {
            return None;
        }
        let width = u64::from(TILE_WIDTH);
        let first = start - start % width;
        let subtree = Subtree::new(first, first.saturating_add(width).min(end.0))?;
        Some(Self { start, subtree })
    }

    /// Its first entry.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The entry after its last one.
    pub const fn end(self) -> u64 {
        self.subtree.end()
    }

    /// What its proof is of; the entries before its first one are with the mirror.
    pub const fn subtree(self) -> Subtree {
        self.subtree
    }
}

/// A package: entries, and the proof that the tree has the subtree that they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package<'a> {
    /// The entries.
    pub entries: Vec<&'a [u8]>,
    /// The proof.
    pub proof: Vec<Hash>,
}

impl<'a> Package<'a> {
    /// Adds the bytes of the package to `out`; false, and nothing is added, if an entry or the proof
    /// is too long.
    #[must_use]
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        if self.proof.len() > PROOF_HASHES_MAX
            || self.entries.iter().any(|entry| entry.len() > ENTRY_BYTES_MAX)
        {
            return false;
        }
        for entry in &self.entries {
            out.extend_from_slice(&(entry.len() as u16).to_be_bytes());
            out.extend_from_slice(entry);
        }
        out.push(self.proof.len() as u8);
        self.proof.iter().for_each(|hash| out.extend_from_slice(hash.as_bytes()));
        true
    }

    /// Reads the package of this range, and gives what follows; none if there is only a part of it.
    ///
    /// # Errors
    /// [`MessageError::Malformed`]: answer 400.
    pub fn parse(
        bytes: &'a [u8],
        range: PackageRange,
    ) -> Result<Option<(Self, &'a [u8])>, MessageError> {
        let mut rest = Bytes(bytes);
        let count = usize::try_from(range.end() - range.start).unwrap_or(usize::MAX);
        let mut entries = Vec::with_capacity(count.min(TILE_WIDTH.into()));
        for _ in 0..count {
            match rest.u16().and_then(|length| rest.take(length.into())) {
                Some(entry) => entries.push(entry),
                None => return Ok(None),
            }
        }
        let Some([hashes]) = rest.take(1) else { return Ok(None) };
        let hashes = usize::from(*hashes);
        if hashes > PROOF_HASHES_MAX {
            return Err(malformed("a proof of it has more than 63 hashes"));
        }
        let Some(proof) = rest.take(hashes * HASH_BYTES) else { return Ok(None) };
        let proof = proof.chunks_exact(HASH_BYTES).filter_map(|hash| hash.try_into().ok());
        let proof = proof.map(Hash::from_bytes).collect();
        Ok(Some((Self { entries, proof }, rest.0)))
    }
}

/// How far a mirror is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorInfo {
    /// Size of a pending checkpoint: what the next upload ends at.
    pub size: TreeSize,
    /// The first entry that the mirror does not have: where the next upload starts.
    pub next: u64,
    /// What the next upload carries.
    pub ticket: Vec<u8>,
}

impl MirrorInfo {
    /// The body of an answer, of type [`INFO_CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        format!("{}\n{}\n{}\n", self.size, self.next, STANDARD.encode(&self.ticket))
    }

    /// Reads the body of an answer.
    ///
    /// # Errors
    /// [`MessageError`]: the other side does not speak the protocol.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let (bytes, limit) = (body.len(), INFO_BYTES_MAX);
        if bytes > limit {
            return Err(MessageError::TooLong { bytes, limit });
        }
        let wrong = || malformed("it is not a size, an index and a ticket, a line each");
        let lines: Vec<&str> =
            str::from_utf8(body).map_err(|_| wrong())?.split_terminator('\n').collect();
        let [size, next, ticket] = lines[..] else { return Err(wrong()) };
        let ticket = STANDARD.decode(ticket).map_err(|_| wrong())?;
        let ticket = Some(ticket).filter(|ticket| ticket.len() <= usize::from(u16::MAX));
        match (parse_decimal(size), parse_decimal(next), ticket) {
            (Some(size), Some(next), Some(ticket)) if body.ends_with(b"\n") => {
                Ok(Self { size: TreeSize(size), next, ticket })
            }
            _ => Err(wrong()),
        }
    }
}

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    fn head(start: u64, end: u64) -> UploadHead {
        let ticket = b"ticket".to_vec();
        UploadHead { origin: "log.example".to_owned(), start, end: TreeSize(end), ticket }
    }

    fn ranges(start: u64, end: u64) -> Vec<(u64, u64, u64)> {
        let of = |range: PackageRange| (range.subtree().start(), range.start(), range.end());
        head(start, end).packages().map(of).collect()
    }

    #[test]
    fn packages_end_at_multiples_of_256() {
        assert_eq!(ranges(0, 0), []);
        assert_eq!(ranges(7, 7), []);
        assert_eq!(ranges(0, 5), [(0, 0, 5)]);
        assert_eq!(ranges(5, 256), [(0, 5, 256)]);
        assert_eq!(ranges(255, 513), [(0, 255, 256), (256, 256, 512), (512, 512, 513)]);
        assert_eq!(ranges(u64::MAX - 1, u64::MAX).len(), 1);
    }

    #[test]
    fn uploads_are_read_as_they_are_written_and_parts_of_them_are_parts() {
        let head = head(250, 300);
        let entries: Vec<Vec<u8>> = (0..50).map(|n| vec![n; n.into()]).collect();
        let mut upload = head.encode().unwrap();
        let mut packages = Vec::new();
        for range in head.packages() {
            let of = |index: u64| entries[usize::try_from(index - 250).unwrap()].as_slice();
            let entries = (range.start()..range.end()).map(of).collect();
            let package = Package { entries, proof: vec![leaf_hash(b"proof"); 63] };
            assert!(package.encode(&mut upload));
            packages.push(package);
        }
        let read = |bytes: &[u8]| -> Result<Option<usize>, MessageError> {
            let Some((read, mut rest)) = UploadHead::parse(bytes)? else { return Ok(None) };
            assert_eq!(read, head);
            for (count, range) in read.packages().enumerate() {
                let Some((package, after)) = Package::parse(rest, range)? else {
                    return Ok(Some(count));
                };
                assert_eq!(package, packages[count]);
                rest = after;
            }
            assert!(rest.is_empty());
            Ok(Some(packages.len()))
        };
        assert_eq!(read(&upload), Ok(Some(2)));
        for length in 0..upload.len() {
            assert!(read(&upload[..length]).unwrap() < Some(2), "{length} bytes");
        }
    }

    #[test]
    fn what_is_over_a_limit_is_refused() {
        let mut long = head(0, 1);
        long.origin = "o".repeat(256);
        assert!(UploadHead::parse(&long.encode().unwrap()).is_err());
        assert!(UploadHead::parse(&head(2, 1).encode().unwrap()).is_err());
        let range = head(0, 1).packages().next().unwrap();
        assert!(Package::parse(&[0, 0, 64], range).is_err());
        let entry = vec![0; ENTRY_BYTES_MAX + 1];
        let mut out = Vec::new();
        assert!(!Package { entries: vec![&entry], proof: Vec::new() }.encode(&mut out));
        let proof = vec![leaf_hash(b""); 64];
        assert!(!Package { entries: vec![b""], proof }.encode(&mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        for ticket in [Vec::new(), b"opaque".to_vec()] {
            let info = MirrorInfo { size: TreeSize(70_000), next: 512, ticket };
            assert_eq!(MirrorInfo::parse(info.encode().as_bytes()), Ok(info));
        }
        assert_eq!(MirrorInfo::parse(b"0\n0\n\n").map(|info| info.next), Ok(0));
        for bad in ["", "1\n2\n", "1\n2\n\n\n", "01\n2\n\n", "1\n2\n*\n", "1\n2\n", "1\n2\nAA=="] {
            assert!(MirrorInfo::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
