//! Reading: records, proofs and tiles, always from bytes that are checked against the tree.
//!
//! What is read from the store is believed only if its leaf hash is the one in the tree and its
//! payload is what the header commits to. Of the newest records [`Reader::contents`] gives what was
//! checked when they came in (`recent`).

mod proofs;
pub(crate) mod records;
mod stored;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use stele_merkle::{Hash, LeafIndex, LogVerifier, TreeSize};
use stele_record::{Boot, LedgerTime, Seq, SourceId};
use stele_store::{ObjectName, Store, StoreError};

pub(crate) use self::records::record;
pub use self::records::{RecordContent, StoredRecord};
use crate::ReadError;
use crate::cache::Cache;
use crate::format::{
    BLOCK_PAYLOAD_BYTES, BlockHeaders, Digest, Entry, FormatError, Head, Opener, Role, decode_bare,
    decode_headers, decode_payloads, raw_bare_headers,
};
use crate::objects::{Object, Objects, Place, read_part};
use crate::recent::Recent;
use crate::streams::{SourceHead, StreamId, Streams};
use crate::tree::{Lookup, TILE_LEAVES, Tile, Tree};

/// Headers of packs that are kept decoded.
const CACHED_HEADS: usize = 8;
/// Headers parts that are kept decoded; of bare ones the headers of a tile.
const CACHED_BLOCKS: usize = 32;
/// Payloads parts that are kept decompressed, bare headers parts with them.
const CACHED_PAYLOADS: usize = 8;
/// Payloads parts larger than this are not kept: they hold a large payload.
const CACHED_PAYLOAD_BYTES: u64 = BLOCK_PAYLOAD_BYTES as u64 + 1024 * 1024;
/// Tiles outside the recent ones that are kept hashed, of 16 KiB each.
const CACHED_TILES: usize = 64;

/// How often a read is tried again because packing has moved the records meanwhile.
const MOVED_RETRIES: usize = 4;

/// A signed tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// Number of records.
    pub size: TreeSize,
    /// Root of the tree.
    pub root: Hash,
    /// The signed note (C2SP tlog-checkpoint), as it is served.
    pub note: String,
    /// When it was signed, by the ledger's clock.
    pub time: LedgerTime,
}

/// Everything that can be asked of a log without writing to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    store: Arc<dyn Store>,
    origin: String,
    size: AtomicU64,
    checkpoint: RwLock<Option<Arc<SignedCheckpoint>>>,
    cosigned: RwLock<Option<Arc<SignedCheckpoint>>>,
    tree: RwLock<Tree>,
    objects: RwLock<Objects>,
    streams: RwLock<Streams>,
    heads: Cache<ObjectName, Arc<Object>>,
    /// By the index of the first record.
    blocks: Cache<(ObjectName, u64), Arc<BlockHeaders>>,
    payloads: Cache<(ObjectName, usize), RawParts>,
    tiles: Cache<u64, Arc<Tile>>,
    recent: RwLock<Recent>,
}

/// What payloads, and bare headers, are cut out of.
#[derive(Debug, Clone)]
struct RawParts {
    /// The headers part, if it is a bare one.
    bare: Bytes,
    payloads: Bytes,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("origin", &self.origin).finish_non_exhaustive()
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    pub(crate) fn new(store: Arc<dyn Store>, origin: String, log_info: Digest) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                origin,
                size: AtomicU64::new(0),
                checkpoint: RwLock::default(),
                cosigned: RwLock::default(),
                tree: RwLock::default(),
                objects: RwLock::new(Objects::new(log_info)),
                streams: RwLock::default(),
                heads: Cache::new(CACHED_HEADS),
                blocks: Cache::new(CACHED_BLOCKS),
                payloads: Cache::new(CACHED_PAYLOADS),
                tiles: Cache::new(CACHED_TILES),
                recent: RwLock::default(),
            }),
        }
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// Number of records that can be read.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.shared.size.load(Ordering::Acquire))
    }

    /// The latest signed checkpoint that is known. An open ledger always has one; a ledger that is
    /// read only has the one that was found beside it, if it verifies.
    pub fn signed_checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        read(&self.shared.checkpoint).clone()
    }

    /// The newest checkpoint that is known to be cosigned by witnesses; never larger than the latest
    /// signed one. Whoever relies on it checks the cosignatures against a policy.
    pub fn cosigned_checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        read(&self.shared.cosigned).clone()
    }

    /// The checkpoint to prove records up to `last` with: the cosigned one if it covers them, since it
    /// says more, else the latest signed one that does.
    pub fn checkpoint_over(&self, last: LeafIndex) -> Option<Arc<SignedCheckpoint>> {
        let covers = |checkpoint: &Arc<SignedCheckpoint>| checkpoint.size.contains(last);
        self.cosigned_checkpoint()
            .filter(covers)
            .or_else(|| self.signed_checkpoint().filter(covers))
    }

    /// Takes the cosigned checkpoint that lies beside the log, if these keys of the log signed it. An
    /// open ledger does this by itself when it follows a policy.
    pub fn take_stored_cosigned(&self, log: &LogVerifier) {
        if let Some(checkpoint) = crate::cosigning::stored(self, log) {
            self.set_cosigned(Arc::new(checkpoint));
        }
    }

    pub(crate) fn set_cosigned(&self, checkpoint: Arc<SignedCheckpoint>) {
        *write(&self.shared.cosigned) = Some(checkpoint);
    }

    /// Where a source stands.
    pub fn source_head(&self, source: &SourceId) -> Option<SourceHead> {
        self.streams().head(source)
    }

    /// All sources and where they stand, by id.
    pub fn sources(&self) -> Vec<(SourceId, SourceHead)> {
        self.streams().sources()
    }

    /// The index of a source's record, if the log holds it.
    ///
    /// # Errors
    /// [`ReadError`] if the pack that should hold it cannot be read.
    pub fn find(
        &self,
        source: &SourceId,
        boot: Boot,
        seq: Seq,
    ) -> Result<Option<LeafIndex>, ReadError> {
        let stream: StreamId = (*source, boot);
        if let Some(index) = self.streams().index_of(&stream, seq) {
            return Ok(Some(LeafIndex(index)));
        }
        let pack =
            self.objects().packs.iter().rev().find(|p| p.holds(source, boot, seq)).map(|p| p.first);
        let Some(first) = pack else { return Ok(None) };
        let object = self.pack(&crate::objects::pack_name(first))?;
        let head = &object.head;
        let run = head.runs.iter().find(|run| {
            let stream = &head.streams[run.stream];
            head.sources[stream.source] == *source
                && stream.boot == boot
                && (run.first_seq.0..run.first_seq.0 + run.count).contains(&seq.0)
        });
        Ok(run.map(|run| LeafIndex(run.first_index + (seq.0 - run.first_seq.0))))
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    pub(crate) fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        read(&self.shared.tree)
    }

    pub(crate) fn tree_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        write(&self.shared.tree)
    }

    pub(crate) fn objects(&self) -> RwLockReadGuard<'_, Objects> {
        read(&self.shared.objects)
    }

    pub(crate) fn objects_mut(&self) -> RwLockWriteGuard<'_, Objects> {
        write(&self.shared.objects)
    }

    pub(crate) fn streams(&self) -> RwLockReadGuard<'_, Streams> {
        read(&self.shared.streams)
    }

    pub(crate) fn streams_mut(&self) -> RwLockWriteGuard<'_, Streams> {
        write(&self.shared.streams)
    }

    pub(crate) fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        read(&self.shared.recent)
    }

    /// Takes note of a pack; gives the segments that it replaces.
    pub(crate) fn add_pack(&self, head: &Head) -> Vec<Arc<Object>> {
        self.recent_mut().forget_before(head.end());
        self.objects_mut().add_pack(head)
    }

    pub(crate) fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        write(&self.shared.recent)
    }

    /// Makes records readable up to the checkpoint's size. The size never lags behind the
    /// checkpoint, so that whoever sees the checkpoint can ask for proofs in its tree.
    pub(crate) fn publish(&self, checkpoint: Arc<SignedCheckpoint>) {
        self.publish_size(checkpoint.size.0);
        self.set_checkpoint(Some(checkpoint));
    }

    pub(crate) fn publish_size(&self, size: u64) {
        self.shared.size.store(size, Ordering::Release);
    }

    pub(crate) fn set_checkpoint(&self, checkpoint: Option<Arc<SignedCheckpoint>>) {
        *write(&self.shared.checkpoint) = checkpoint;
    }

    fn pack(&self, name: &ObjectName) -> Result<Arc<Object>, ReadError> {
        let load = || Object::load(self.store(), name).map(Arc::new);
        self.shared.heads.get_or(name.clone(), load)
    }

    /// The object that holds a record, by what this process knows.
    pub(crate) fn object(&self, index: u64) -> Result<Arc<Object>, ReadError> {
        let place = self.objects().place(index);
        match place {
            Some(Place::Segment(object)) => Ok(object),
            Some(Place::Pack(name)) => self.pack(&name),
            None => Err(ReadError::OutOfRange { index, size: self.size() }),
        }
    }

    /// Calls `f` with the object that holds `index`; again if the object was packed meanwhile.
    fn with_object<T>(
        &self,
        index: u64,
        f: impl Fn(&Object) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let gone = |result: &Result<T, ReadError>| {
            matches!(result, Err(ReadError::Store(StoreError::NotFound { .. })))
        };
        let mut result = self.object(index).and_then(|object| f(&object));
        let mut tries = 0;
        while gone(&result) && tries < MOVED_RETRIES {
            tries += 1;
            result = match self.look_for_packs(index) {
                Some(pack) => f(&pack),
                None => self.object(index).and_then(|object| f(&object)),
            };
        }
        result
    }

    /// Whether the record at an index is in a pack by now, whoever has made it.
    pub(crate) fn is_packed(&self, index: u64) -> bool {
        index < self.objects().packed_end() || self.look_for_packs(index).is_some()
    }

    /// Takes note of packs that another process has made of segments that are gone; gives the one
    /// that holds `index`. What is read from it is checked against the tree like everything.
    pub(crate) fn look_for_packs(&self, index: u64) -> Option<Arc<Object>> {
        let mut first = self.objects().packed_end();
        loop {
            let pack = self.pack(&crate::objects::pack_name(first)).ok()?;
            let head = &pack.head;
            if head.role != Role::Pack || head.first != first {
                return None;
            }
            // One that ends after what is known is entered when its records are (`tail`).
            if head.end() <= self.size().0 && self.has_tiles(head) {
                self.add_pack(head);
            }
            if index < head.end() {
                return (first <= index).then_some(pack);
            }
            first = head.end();
        }
    }

    /// Whether the tiles of a pack, which end within the tree, are those in the tree.
    pub(crate) fn has_tiles(&self, head: &Head) -> bool {
        let first = head.first / TILE_LEAVES;
        let tree = self.tree();
        let mut tiles = head.tiles.iter().zip(first..);
        tiles.all(|(tile, number)| {
            tree.lookup(crate::tree::TILE_LEVELS, number) == Lookup::Found(*tile)
        })
    }

    /// Headers of one block as they were stored, that of the record at `index` among them: all, or if
    /// they are bare those of its tile. Digests are checked, the tree is not asked.
    fn stored_headers(
        &self,
        object: &Object,
        block: usize,
        index: u64,
    ) -> Result<Arc<BlockHeaders>, ReadError> {
        let entry = &object.head.blocks[block];
        let (first, offset) = object.place(block);
        let tile = index - index % TILE_LEAVES;
        let from = if entry.bare { tile.max(first) } else { first };
        let corrupt = |e: FormatError| {
            let record = e.entry.map(|entry| first + entry as u64);
            ReadError::corrupt(&object.name, record, e.what)
        };
        self.shared.blocks.get_or((object.name.clone(), from), || {
            if entry.bare {
                let RawParts { bare, payloads } = self.raw_parts(object, block)?;
                let end = (tile + TILE_LEAVES).min(first + entry.count);
                let at = |index: u64| usize::try_from(index - first).unwrap_or(usize::MAX);
                let opener = Opener { payloads: &payloads, salts: object.salts() };
                let headers = decode_bare(first, &bare, at(from)..at(end), opener);
                return headers.map(Arc::new).map_err(corrupt);
            }
            let stored = read_part(self.store(), object, offset, entry.headers.stored_len)?;
            decode_headers(first, entry, &stored).map(Arc::new).map_err(corrupt)
        })
    }

    /// Whether a stored record is the one in the tree.
    fn check_entry(&self, object: &Object, index: u64, entry: &Entry) -> Result<(), ReadError> {
        if self.node(0, index)? == entry.leaf {
            return Ok(());
        }
        let what = "the record is not the one in the tree";
        Err(ReadError::corrupt(&object.name, Some(index), what))
    }

    /// The whole payloads part of a block.
    fn block_payloads(&self, object: &Object, block: usize) -> Result<Bytes, ReadError> {
        self.raw_parts(object, block).map(|parts| parts.payloads)
    }

    fn raw_parts(&self, object: &Object, block: usize) -> Result<RawParts, ReadError> {
        if object.head.blocks[block].payloads.raw_len > CACHED_PAYLOAD_BYTES {
            return self.load_parts(object, block);
        }
        let load = || self.load_parts(object, block);
        self.shared.payloads.get_or((object.name.clone(), block), load)
    }

    /// Reads the payloads part, and with it the headers part if that is of no use alone.
    fn load_parts(&self, object: &Object, block: usize) -> Result<RawParts, ReadError> {
        let entry = &object.head.blocks[block];
        let (first, offset) = object.place(block);
        let (middle, end) = (entry.headers.stored_len, entry.stored_len());
        let from = if entry.bare { 0 } else { middle };
        let mut payloads = read_part(self.store(), object, offset + from, end - from)?;
        let headers = usize::try_from(middle - from).unwrap_or(usize::MAX).min(payloads.len());
        let headers = payloads.split_to(headers);
        let bare = if entry.bare { raw_bare_headers(entry, &headers) } else { Ok(headers) };
        let parts = bare.and_then(|bare| {
            let payloads = decode_payloads(entry, &payloads)?;
            Ok(RawParts { bare, payloads })
        });
        parts.map_err(|e| {
            let last = first + entry.count - 1;
            let what = format!("records {first} to {last}: {}", e.what);
            ReadError::corrupt(&object.name, None, what)
        })
    }

    /// A node of the tree, from memory or recomputed from stored records.
    pub(crate) fn node(&self, level: u8, index: u64) -> Result<Hash, ReadError> {
        let found = self.tree().lookup(level, index);
        match found {
            Lookup::Found(hash) => Ok(hash),
            Lookup::Missing => {
                let first = index.checked_shl(u32::from(level)).unwrap_or(u64::MAX);
                Err(ReadError::OutOfRange { index: first, size: self.size() })
            }
            Lookup::InTile(number) => {
                let tile = self.shared.tiles.get_or(number, || self.load_tile(number))?;
                let width = crate::tree::TILE_LEVELS - level;
                let position = index & ((1 << width) - 1);
                let first = index << level;
                tile.node(level, position)
                    .ok_or_else(|| ReadError::OutOfRange { index: first, size: self.size() })
            }
        }
    }

    /// Hashes the stored records of a full tile and compares with the root in memory.
    fn load_tile(&self, number: u64) -> Result<Arc<Tile>, ReadError> {
        let first = number * TILE_LEAVES;
        let mut leaves = Vec::with_capacity(TILE_LEAVES as usize);
        let mut name = None;
        while (leaves.len() as u64) < TILE_LEAVES {
            let index = first + leaves.len() as u64;
            let headers = self.with_object(index, |object| {
                let headers = self.stored_headers(object, object.block_of(index), index)?;
                Ok((object.name.clone(), headers))
            })?;
            let skip = usize::try_from(index - headers.1.first).unwrap_or(usize::MAX);
            // A block may go on behind the tile.
            let rest = TILE_LEAVES as usize - leaves.len();
            let entries = headers.1.entries.iter().skip(skip).take(rest);
            leaves.extend(entries.map(|entry| entry.leaf));
            name = Some(headers.0);
        }
        let (tile, root) = Tile::of(leaves);
        let wanted = self.tree().lookup(crate::tree::TILE_LEVELS, number);
        if root.map(Lookup::Found) == Some(wanted) {
            return Ok(Arc::new(tile));
        }
        let last = first + TILE_LEAVES - 1;
        let what = format!("records {first} to {last} are not those in the tree");
        Err(ReadError::Corrupt {
            object: name.map_or_else(String::new, |name| name.to_string()),
            record: None,
            what,
        })
    }
}
