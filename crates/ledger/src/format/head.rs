//! The header of a segment or pack: a CBOR map with integer keys.
//!
//! | key | meaning |
//! |---|---|
//! | 1 | 1 segment, 2 pack |
//! | 2 | segment: its number; pack: number of the first segment that is not wholly in packs |
//! | 3 | digest that this segment must name as its predecessor (segment 0: of `ledger/log-info`) |
//! | 4 | writer's epoch, 5 writer's nonce (segments alone) |
//! | 6 | index of the first record, 7 number of records |
//! | 8 | ledger times: `[records, ns]` runs |
//! | 9 | root of the tree that ends with the last record |
//! | 10 | ids of the sources |
//! | 11 | streams: `[source, boot, first seq, next seq, chain head after]` |
//! | 12 | runs: `[stream, first seq, first index, records]` in order of the index |
//! | 13 | secrets: `[source, epoch, data key, secret]` |
//! | 14 | blocks: `[records, headers part, payloads part]`, a part being `[codec, stored bytes, raw bytes, SHA-256 of the stored bytes or null]` |
//! | 15 | pack: roots of its 256-record tiles, concatenated |
//!
//! Sources and streams are named by their position in 10 and 11. Codec 0 is as it is, 1 is zstd;
//! 2, of headers parts in packs alone, is zstd over headers without their commitments, and makes the
//! object one of format version 2.

use std::convert::Infallible;

use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};
use stele_merkle::Hash;
use stele_record::{Boot, ChainHead, Epoch, EpochSecret, LedgerTime, Seq, SourceId};

use super::{
    BLOCK_RECORDS, Digest, FormatError, PREFIX_BYTES, Prefix, VERSION_BARE, VERSION_WHOLE,
    digest_of,
};
use crate::tree::TILE_LEAVES;

/// The numbers of the codecs in a header.
const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const CODEC_BARE: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Segment,
    Pack,
}

/// Who wrote a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) epoch: u64,
    pub(crate) nonce: [u8; 16],
}

/// Records that were taken in at the same ledger time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRun {
    pub(crate) count: u64,
    pub(crate) time: LedgerTime,
}

/// One boot of one source, as far as the object holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) source: usize,
    pub(crate) boot: Boot,
    pub(crate) first_seq: Seq,
    pub(crate) next_seq: Seq,
    pub(crate) head: ChainHead,
}

/// Consecutive records of one stream at consecutive indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) stream: usize,
    pub(crate) first_seq: Seq,
    pub(crate) first_index: u64,
    pub(crate) count: u64,
}

/// The secret of one epoch of one source, under a data key (0: in clear).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) source: usize,
    pub(crate) epoch: Epoch,
    pub(crate) data_key: u32,
    pub(crate) secret: EpochSecret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Raw,
    Zstd,
}

/// One stored part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) codec: Codec,
    pub(crate) stored_len: u64,
    pub(crate) raw_len: u64,
    pub(crate) digest: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub(crate) count: u64,
    pub(crate) headers: Part,
    /// Whether the headers lack their commitments, which are made again of the payloads.
    pub(crate) bare: bool,
    pub(crate) payloads: Part,
}

impl BlockEntry {
    pub(crate) fn stored_len(&self) -> u64 {
        self.headers.stored_len.saturating_add(self.payloads.stored_len)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) role: Role,
    pub(crate) number: u64,
    pub(crate) previous: Digest,
    pub(crate) writer: Option<Writer>,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) times: Vec<TimeRun>,
    pub(crate) root: Hash,
    pub(crate) sources: Vec<SourceId>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) runs: Vec<Run>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) tiles: Vec<Hash>,
}

type Done = Result<(), minicbor::encode::Error<Infallible>>;

impl Head {
    /// Index after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.count
    }

    /// The oldest version that can say what is in the object: others still read it then.
    fn version(&self) -> u32 {
        if self.blocks.iter().any(|block| block.bare) { VERSION_BARE } else { VERSION_WHOLE }
    }

    /// Prefix, header and digest.
    pub(crate) fn encode(&self) -> (Vec<u8>, Digest) {
        let mut out = vec![0; PREFIX_BYTES];
        out.reserve(256 + self.blocks.len() * 100 + self.runs.len() * 20);
        self.write(&mut Encoder::new(&mut out))
            .expect("invariant: writing to a vector does not fail");
        let header_len = u32::try_from(out.len() - PREFIX_BYTES)
            .expect("invariant: limits on records keep a header below 4 GiB");
        out[..PREFIX_BYTES]
            .copy_from_slice(&Prefix { version: self.version(), header_len }.encode());
        let digest = digest_of(&[&out]);
        out.extend_from_slice(&digest);
        (out, digest)
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> Done {
        let fields = 12 + 2 * u64::from(self.writer.is_some()) + u64::from(self.role == Role::Pack);
        e.map(fields)?;
        e.u8(1)?.u8(if self.role == Role::Segment { 1 } else { 2 })?;
        e.u8(2)?.u64(self.number)?;
        e.u8(3)?.bytes(&self.previous)?;
        if let Some(writer) = &self.writer {
            e.u8(4)?.u64(writer.epoch)?.u8(5)?.bytes(&writer.nonce)?;
        }
        e.u8(6)?.u64(self.first)?.u8(7)?.u64(self.count)?;
        e.u8(8)?.array(self.times.len() as u64)?;
        for run in &self.times {
            e.array(2)?.u64(run.count)?.i64(run.time.unix_ns())?;
        }
        e.u8(9)?.bytes(self.root.as_bytes())?;
        e.u8(10)?.array(self.sources.len() as u64)?;
        for source in &self.sources {
            e.bytes(source.as_bytes())?;
        }
        self.write_streams(e)?;
        self.write_secrets(e)?;
        self.write_blocks(e)?;
        if self.role == Role::Pack {
            let tiles: Vec<u8> = self.tiles.iter().flat_map(|tile| *tile.as_bytes()).collect();
            e.u8(15)?.bytes(&tiles)?;
        }
        Ok(())
    }

    fn write_streams(&self, e: &mut Encoder<&mut Vec<u8>>) -> Done {
        e.u8(11)?.array(self.streams.len() as u64)?;
        for stream in &self.streams {
            e.array(5)?.u64(stream.source as u64)?.u64(stream.boot.0)?;
            e.u64(stream.first_seq.0)?.u64(stream.next_seq.0)?.bytes(stream.head.as_bytes())?;
        }
        e.u8(12)?.array(self.runs.len() as u64)?;
        for run in &self.runs {
            e.array(4)?.u64(run.stream as u64)?.u64(run.first_seq.0)?;
            e.u64(run.first_index)?.u64(run.count)?;
        }
        Ok(())
    }

    fn write_secrets(&self, e: &mut Encoder<&mut Vec<u8>>) -> Done {
        e.u8(13)?.array(self.secrets.len() as u64)?;
        for secret in &self.secrets {
            e.array(4)?.u64(secret.source as u64)?.u32(secret.epoch.0)?;
            e.u32(secret.data_key)?.bytes(secret.secret.as_bytes())?;
        }
        Ok(())
    }

    fn write_blocks(&self, e: &mut Encoder<&mut Vec<u8>>) -> Done {
        e.u8(14)?.array(self.blocks.len() as u64)?;
        for block in &self.blocks {
            e.array(3)?.u64(block.count)?;
            for (part, bare) in [(&block.headers, block.bare), (&block.payloads, false)] {
                e.array(4)?.u8(match part.codec {
                    Codec::Raw => CODEC_RAW,
                    Codec::Zstd if bare => CODEC_BARE,
                    Codec::Zstd => CODEC_ZSTD,
                })?;
                e.u64(part.stored_len)?.u64(part.raw_len)?;
                match &part.digest {
                    Some(digest) => e.bytes(digest)?,
                    None => e.null()?,
                };
            }
        }
        Ok(())
    }

    /// Reads prefix, header and digest from the start of an object.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, Digest), FormatError> {
        let prefix = Prefix::decode(bytes)?;
        let end = PREFIX_BYTES + prefix.header_len as usize;
        let (Some(signed), Some(stored)) = (bytes.get(..end), bytes.get(end..end + 32)) else {
            return Err(FormatError::new("the object ends inside its header"));
        };
        let digest = digest_of(&[signed]);
        if stored != digest {
            return Err(FormatError::new("the header does not have the digest stored after it"));
        }
        let mut d = Decoder::new(&signed[PREFIX_BYTES..]);
        let head = Self::read(&mut d).map_err(|e| FormatError::new(format!("header: {e}")))?;
        if d.position() != prefix.header_len as usize {
            return Err(FormatError::new("bytes follow after the header's last field"));
        }
        head.check().map_err(|what| FormatError::new(format!("header: {what}")))?;
        if prefix.version != head.version() {
            let (stated, needed) = (prefix.version, head.version());
            let what = format!("format version {stated}, what it holds is version {needed}");
            return Err(FormatError::new(what));
        }
        Ok((head, digest))
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let fields = d.map()?;
        key(d, 1)?;
        let role = match d.u8()? {
            1 => Role::Segment,
            2 => Role::Pack,
            _ => return Err(Error::message("neither a segment nor a pack")),
        };
        key(d, 2)?;
        let number = d.u64()?;
        key(d, 3)?;
        let previous = bytes(d)?;
        let mut writer = None;
        if role == Role::Segment {
            key(d, 4)?;
            let epoch = d.u64()?;
            key(d, 5)?;
            writer = Some(Writer { epoch, nonce: bytes(d)? });
        }
        if fields != Some(if role == Role::Segment { 14 } else { 13 }) {
            return Err(Error::message("the number of fields is not that of its kind"));
        }
        key(d, 6)?;
        let first = d.u64()?;
        key(d, 7)?;
        let count = d.u64()?;
        let times = list(d, 8, |d| {
            fixed(d, 2)?;
            Ok(TimeRun { count: d.u64()?, time: LedgerTime::from_unix_ns(d.i64()?) })
        })?;
        key(d, 9)?;
        let root = Hash::from_bytes(bytes(d)?);
        let sources = list(d, 10, |d| Ok(SourceId::from_bytes(bytes(d)?)))?;
        let streams = list(d, 11, read_stream)?;
        let runs = list(d, 12, read_run)?;
        let secrets = list(d, 13, read_secret)?;
        let blocks = list(d, 14, read_block)?;
        let tiles = if role == Role::Pack { read_tiles(d)? } else { Vec::new() };
        Ok(Self {
            role,
            number,
            previous,
            writer,
            first,
            count,
            times,
            root,
            sources,
            streams,
            runs,
            secrets,
            blocks,
            tiles,
        })
    }

    /// What the fields must satisfy together, so that readers can index without checking again.
    fn check(&self) -> Result<(), &'static str> {
        let end = self.first.checked_add(self.count).ok_or("the last index overflows")?;
        if self.count == 0 {
            return Err("there are no records");
        }
        self.check_runs(end)?;
        let sources = self.sources.len();
        if self.streams.iter().any(|stream| stream.source >= sources)
            || self.secrets.iter().any(|secret| secret.source >= sources)
        {
            return Err("a stream or secret names no source");
        }
        if sum(self.times.iter().map(|run| run.count)) != Some(self.count) {
            return Err("the ledger times do not cover the records");
        }
        if !self.times.is_sorted_by_key(|run| run.time) {
            return Err("the ledger times run backwards");
        }
        self.check_blocks(end)
    }

    /// The runs cover the records, and exactly what the streams say of themselves.
    fn check_runs(&self, end: u64) -> Result<(), &'static str> {
        let mut next = self.first;
        let mut seqs: Vec<u64> = self.streams.iter().map(|stream| stream.first_seq.0).collect();
        for run in &self.runs {
            let seq = seqs.get_mut(run.stream).ok_or("a run names no stream")?;
            if run.first_index != next || run.first_seq.0 != *seq || run.count == 0 {
                return Err("the runs do not follow each other");
            }
            *seq = seq.checked_add(run.count).ok_or("a run overflows")?;
            next = next.checked_add(run.count).ok_or("a run overflows")?;
        }
        if next != end {
            return Err("the runs do not cover the records");
        }
        if seqs.iter().zip(&self.streams).any(|(seq, stream)| *seq != stream.next_seq.0) {
            return Err("the runs do not give what the streams say");
        }
        Ok(())
    }

    fn check_blocks(&self, end: u64) -> Result<(), &'static str> {
        let mut next = self.first;
        for block in &self.blocks {
            let room = BLOCK_RECORDS - next % BLOCK_RECORDS;
            if block.count == 0 || block.count > room {
                return Err("a block crosses a multiple of 1024");
            }
            if block.headers.digest.is_none()
                || (block.payloads.codec == Codec::Zstd && block.payloads.digest.is_none())
            {
                return Err("a part lacks its digest");
            }
            // Whoever reads a segment at the start reads its headers alone; and what is stored as it
            // is can be read in pieces.
            if block.bare && (self.role == Role::Segment || block.payloads.codec == Codec::Raw) {
                return Err("headers lack their commitments where they must not");
            }
            next = next.checked_add(block.count).ok_or("a block overflows")?;
        }
        if next != end {
            return Err("the blocks do not cover the records");
        }
        if sum(self.blocks.iter().map(BlockEntry::stored_len)).is_none() {
            return Err("the lengths of the blocks overflow");
        }
        let aligned = self.first.is_multiple_of(TILE_LEAVES) && end.is_multiple_of(TILE_LEAVES);
        if self.role == Role::Pack
            && (!aligned || self.tiles.len() as u64 != self.count / TILE_LEAVES)
        {
            return Err("a pack is not made of whole tiles");
        }
        Ok(())
    }
}

fn sum(mut counts: impl Iterator<Item = u64>) -> Option<u64> {
    counts.try_fold(0_u64, u64::checked_add)
}

fn key(d: &mut Decoder<'_>, wanted: u8) -> Result<(), Error> {
    if d.u8()? == wanted {
        return Ok(());
    }
    Err(Error::message(format!("expected key {wanted}")))
}

fn fixed(d: &mut Decoder<'_>, wanted: u64) -> Result<(), Error> {
    if d.array()? == Some(wanted) {
        return Ok(());
    }
    Err(Error::message(format!("expected an array of {wanted}")))
}

fn bytes<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], Error> {
    d.bytes()?.try_into().map_err(|_| Error::message(format!("expected {N} bytes")))
}

fn position(d: &mut Decoder<'_>) -> Result<usize, Error> {
    usize::try_from(d.u64()?).map_err(|_| Error::message("a position is too large"))
}

fn list<'b, T>(
    d: &mut Decoder<'b>,
    number: u8,
    mut item: impl FnMut(&mut Decoder<'b>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    key(d, number)?;
    let length = d.array()?.ok_or_else(|| Error::message("expected a definite length"))?;
    (0..length).map(|_| item(d)).collect()
}

fn read_stream(d: &mut Decoder<'_>) -> Result<Stream, Error> {
    fixed(d, 5)?;
    Ok(Stream {
        source: position(d)?,
        boot: Boot(d.u64()?),
        first_seq: Seq(d.u64()?),
        next_seq: Seq(d.u64()?),
        head: ChainHead::from_bytes(bytes(d)?),
    })
}

fn read_run(d: &mut Decoder<'_>) -> Result<Run, Error> {
    fixed(d, 4)?;
    Ok(Run {
        stream: position(d)?,
        first_seq: Seq(d.u64()?),
        first_index: d.u64()?,
        count: d.u64()?,
    })
}

fn read_secret(d: &mut Decoder<'_>) -> Result<Secret, Error> {
    fixed(d, 4)?;
    Ok(Secret {
        source: position(d)?,
        epoch: Epoch(d.u32()?),
        data_key: d.u32()?,
        secret: EpochSecret::from_bytes(bytes(d)?),
    })
}

fn read_block(d: &mut Decoder<'_>) -> Result<BlockEntry, Error> {
    fixed(d, 3)?;
    let count = d.u64()?;
    let (headers, bare) = read_part(d, CODEC_BARE)?;
    let (payloads, _) = read_part(d, CODEC_ZSTD)?;
    Ok(BlockEntry { count, headers, bare, payloads })
}

/// A part, and whether it has the codec of headers without commitments.
fn read_part(d: &mut Decoder<'_>, codec_max: u8) -> Result<(Part, bool), Error> {
    fixed(d, 4)?;
    let number = d.u8()?;
    let codec = match number {
        CODEC_RAW => Codec::Raw,
        CODEC_ZSTD | CODEC_BARE if number <= codec_max => Codec::Zstd,
        _ => return Err(Error::message("unknown codec")),
    };
    let (stored_len, raw_len) = (d.u64()?, d.u64()?);
    if codec == Codec::Raw && stored_len != raw_len {
        return Err(Error::message("a part's two lengths differ although it is stored as it is"));
    }
    let digest = if d.datatype()? == Type::Null {
        d.null()?;
        None
    } else {
        Some(bytes(d)?)
    };
    Ok((Part { codec, stored_len, raw_len, digest }, number == CODEC_BARE))
}

fn read_tiles(d: &mut Decoder<'_>) -> Result<Vec<Hash>, Error> {
    key(d, 15)?;
    let bytes = d.bytes()?;
    let (tiles, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(Error::message("expected hashes of 32 bytes"));
    }
    Ok(tiles.iter().map(|tile| Hash::from_bytes(*tile)).collect())
}
