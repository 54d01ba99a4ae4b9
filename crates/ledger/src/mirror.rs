//! A mirror: a verified copy of a log in another store, and its cosignature over what it holds.
//!
//! Each round takes the source's newest signed checkpoint, proves that it continues what is held,
//! checks every new object as `fsck` does, writes it, and cosigns once everything is durable: with
//! C2SP keys of its own name, for a mirror's cosignature says more than a witness's: "I hold it all".
//!
//! Not here: the wire protocol of C2SP tlog-mirror (`add-entries`), which carries leaves alone; and
//! where the objects come from, which is any store.
//!
//! Invariants: nothing is written that was not verified before, and nothing signed that is not
//! durable. A checkpoint that does not continue what is held ends the mirror, with both as evidence.

mod sync;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use stele_merkle::{Checkpoint, Hash, LogVerifier, NoteError, SignError, TreeSize};
use stele_record::{Declaration, Kind};
use stele_store::{Clock, ObjectName, Store, StoreError};

use crate::format::{Role, digest_of};
use crate::fsck::{Content, Previous, Problem, Walk, examine};
use crate::info::{self, LogInfo, checkpoint_hint, fixed};
use crate::objects::{Object, PACKS, SEGMENTS};
use crate::streams::StreamId;
use crate::{CosignerKey, Ledger, LedgerError, ReadError};

/// Why a mirror did not take in what its source shows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// The log's key signed two histories. Keep both checkpoints, show them around, and end.
    #[error(
        "the log has forked: its checkpoint over {} records does not continue the one over {} \
         records that is held here",
        .0.seen.size, .0.held.size
    )]
    Fork(Box<Contradiction>),
    /// The source shows less than it had signed, and no longer has the rest.
    #[error(
        "the log was rolled back: it shows {} records, but {} are held here, signed",
        .0.seen.size, .0.held.size
    )]
    Rollback(Box<Contradiction>),
    /// What the source stores is not what its key signed. Run `fsck` there.
    #[error("the source is damaged: {0}")]
    Source(String),
    /// The source's checkpoint is not signed by the log.
    #[error("the source's checkpoint is not the log's: {0}")]
    NotSigned(#[from] NoteError),
    /// There is no log, or nothing was signed yet. Try again later.
    #[error("the source has no signed checkpoint")]
    Nothing,
    /// The source was packing meanwhile. Try again.
    #[error("the source has moved records while they were read")]
    Moved,
    /// What is stored here is not what was written. Run `fsck`, and repair from the source.
    #[error("this copy is damaged: {0}")]
    Own(String),
    /// The cosignature could not be made.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The source cannot be read. Try again.
    #[error("the source cannot be read: {0}")]
    Read(#[source] StoreError),
    /// This copy cannot be read or written.
    #[error(transparent)]
    Store(StoreError),
}

/// Two checkpoints of the log's key of which the second does not continue the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// What is held.
    pub held: Checkpoint,
    /// Its signed note.
    pub held_note: String,
    /// What the source shows.
    pub seen: Checkpoint,
    /// Its signed note.
    pub seen_note: String,
}

/// What a round did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Records that are held and cosigned.
    pub size: TreeSize,
    /// Records that were new.
    pub records: u64,
    /// Objects that were written.
    pub objects: u64,
    /// The checkpoint with the log's signatures and the mirror's, if it is new.
    pub cosigned: Option<String>,
}

/// A checkpoint that is held, with its note.
#[derive(Debug, Clone)]
struct Held {
    checkpoint: Checkpoint,
    note: String,
}

impl Held {
    /// Against what the source shows.
    fn against(self, seen: Checkpoint, seen_note: String) -> Box<Contradiction> {
        Box::new(Contradiction { held: self.checkpoint, held_note: self.note, seen, seen_note })
    }
}

/// A copy that is open for writing.
pub struct Mirror {
    store: Arc<dyn Store>,
    verifier: LogVerifier,
    key: CosignerKey,
    clock: Arc<dyn Clock>,
    /// What the packs are together.
    packs: Walk,
    /// What packs and segments are together.
    tail: Walk,
    /// Own segments that are not in own packs, with the index after their last record.
    segments: BTreeMap<u64, u64>,
    held: Option<Held>,
    /// The packs that hold the declarations of streams whose keys are not known yet.
    declared: HashMap<StreamId, ObjectName>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("held", &self.held).finish_non_exhaustive()
    }
}

/// The checkpoint that the objects being written are under.
fn pending_hint() -> ObjectName {
    fixed("pending")
}

impl Mirror {
    /// Opens a copy, or begins one in an empty store. Headers of packs are believed, because they
    /// were verified when they were written; segments are checked again.
    ///
    /// # Errors
    /// [`MirrorError::Own`] or [`MirrorError::Store`].
    pub fn open(
        store: Arc<dyn Store>,
        verifier: LogVerifier,
        key: CosignerKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, MirrorError> {
        let walk = Walk::new(verifier.clone(), None);
        let mut mirror = Self {
            store,
            verifier,
            key,
            clock,
            packs: walk.clone(),
            tail: walk,
            segments: BTreeMap::new(),
            held: None,
            declared: HashMap::new(),
        };
        match mirror.store.read(&info::name()) {
            Ok(bytes) => mirror.begin(&bytes).map_err(MirrorError::Own)?,
            Err(StoreError::NotFound { .. }) => return Ok(mirror),
            Err(error) => return Err(MirrorError::Store(error)),
        }
        for name in mirror.list(PACKS)? {
            mirror.own_pack(&name)?;
        }
        mirror.own_rotations()?;
        mirror.rebuild_tail()?;
        mirror.own_checkpoints()?;
        Ok(mirror)
    }

    /// Number of records that are held.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.tail.next_index)
    }

    /// Which log this is, by the bytes of its `ledger/log-info`.
    fn begin(&mut self, bytes: &Bytes) -> Result<(), String> {
        let info = LogInfo::check(bytes, &self.verifier)?;
        if !info.begins_with(&self.verifier) {
            return Err("the log began with other keys than the ones given".to_owned());
        }
        let digest = digest_of(&[bytes]);
        for walk in [&mut self.packs, &mut self.tail] {
            walk.previous = Previous::LogInfo { digest, proven: true };
            walk.own_source = Some(info.source.clone());
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<ObjectName>, MirrorError> {
        self.store.list(&format!("{directory}/"), None).map_err(MirrorError::Store)
    }

    fn own_pack(&mut self, name: &ObjectName) -> Result<(), MirrorError> {
        let object = match Object::load(&*self.store, name) {
            Ok(object) => object,
            Err(ReadError::Store(error)) => return Err(MirrorError::Store(error)),
            Err(error) => return Err(MirrorError::Own(error.to_string())),
        };
        let head = &object.head;
        if head.role != Role::Pack || head.first != self.packs.next_index {
            let what = format!("{name}: it does not continue the pack before it");
            return Err(MirrorError::Own(what));
        }
        for stream in head.streams.iter().filter(|stream| stream.first_seq.0 == 0) {
            let id = (head.sources[stream.source], stream.boot);
            self.declared.insert(id, name.clone());
        }
        self.packs.trust_pack(name, head);
        Self::sound(&self.packs).map_err(MirrorError::Own)
    }

    /// Follows the log's keys through the rotations in own packs.
    fn own_rotations(&mut self) -> Result<(), MirrorError> {
        if self.packs.next_index == 0 {
            return Ok(());
        }
        let rotations = Ledger::open_read_only(Arc::clone(&self.store), &self.verifier)
            .and_then(|reader| reader.rotations());
        let rotations = rotations.map_err(|error| match error {
            LedgerError::Store(error) => MirrorError::Store(error),
            other => MirrorError::Own(other.to_string()),
        })?;
        let packed = self.packs.next_index;
        for recorded in rotations.iter().filter(|recorded| recorded.record.index.0 < packed) {
            self.packs.take_rotation(recorded).map_err(MirrorError::Own)?;
        }
        Ok(())
    }

    /// Joins the own segments to the packs anew; those that packs hold are retired.
    fn rebuild_tail(&mut self) -> Result<(), MirrorError> {
        self.tail = self.packs.clone();
        self.segments.clear();
        for name in self.list(SEGMENTS)? {
            let Some(number) = name.number_in(SEGMENTS) else { continue };
            if self.tail.next_segment.is_some_and(|next| number < next) {
                self.store.retire(&name).map_err(MirrorError::Store)?;
                continue;
            }
            let examined = examine(&*self.store, &name);
            let content = match examined.content {
                Ok(content) if content.faults.is_empty() => content,
                Ok(content) => {
                    return Err(MirrorError::Own(format!("{name}: {}", content.faults[0].0.what)));
                }
                Err(unreadable) => {
                    return Err(MirrorError::Own(format!("{name}: {}", unreadable.what)));
                }
            };
            self.learn_keys(&content);
            if self.tail.next_segment != Some(number) {
                return Err(MirrorError::Own(format!("{name}: a segment before it is missing")));
            }
            self.tail.segment(&name, &content);
            Self::sound(&self.tail).map_err(MirrorError::Own)?;
            self.segments.insert(number, content.head.end());
        }
        Ok(())
    }

    /// The checkpoints that were stored here: records for all of them must be here.
    fn own_checkpoints(&mut self) -> Result<(), MirrorError> {
        for hint in [checkpoint_hint(), pending_hint()] {
            let note = self.store.read_hint(&hint).map_err(MirrorError::Store)?;
            let opened = note.as_ref().and_then(|note| self.tail.keys.open(note).ok());
            let (Some(checkpoint), Some(note)) = (opened, note) else { continue };
            let note = String::from_utf8_lossy(&note).into_owned();
            if hint == pending_hint() && checkpoint.size.0 > self.tail.next_index {
                // The objects under it were not all written before the end.
                continue;
            }
            if self.root(checkpoint.size)? != Some(checkpoint.root) {
                if let Some(held) = self.held.take().filter(|_| hint == pending_hint()) {
                    return Err(MirrorError::Fork(held.against(checkpoint, note)));
                }
                let what = format!("its records do not give the root in hints/{hint}");
                return Err(MirrorError::Own(what));
            }
            if self.held.as_ref().is_none_or(|held| checkpoint.size > held.checkpoint.size) {
                self.held = Some(Held { checkpoint, note });
            }
        }
        Ok(())
    }

    /// The root of the first records that are held; read back where it is not in memory.
    fn root(&mut self, size: TreeSize) -> Result<Option<Hash>, MirrorError> {
        let known = self.tail.root(size);
        if known.is_some() || size.0 >= self.packs.next_index {
            return Ok(known);
        }
        let packs = self.list(PACKS)?;
        let after = packs.partition_point(|name| name.number_in(PACKS) < Some(size.0));
        let Some(name) = after.checked_sub(1).and_then(|at| packs.get(at)) else { return Ok(None) };
        match examine(&*self.store, name).content {
            Ok(content) => self.tail.keep_leaves(&content),
            Err(unreadable) => {
                return Err(MirrorError::Own(format!("{name}: {}", unreadable.what)));
            }
        }
        Ok(self.tail.root(size))
    }

    /// What is wrong, if something is.
    fn sound(walk: &Walk) -> Result<(), String> {
        walk.report.problems.first().map_or(Ok(()), |problem: &Problem| Err(problem.to_string()))
    }

    /// Finds the keys of streams that were declared before this mirror was opened.
    fn learn_keys(&mut self, content: &Content) {
        let head = &content.head;
        for stream in &head.streams {
            let id = (head.sources[stream.source], stream.boot);
            let unknown = |walk: &Walk| walk.streams.stream(&id).is_some_and(|s| s.key.is_none());
            if !unknown(&self.tail) && !unknown(&self.packs) {
                continue;
            }
            let Some(pack) = self.declared.remove(&id) else { continue };
            let Ok(declaring) = examine(&*self.store, &pack).content else { continue };
            let declaration = declaring.records.iter().flatten().find_map(|seen| {
                let place = seen.place.filter(|p| (p.source, p.boot) == id)?;
                let payload = seen.payload.as_ref().filter(|_| place.kind == Kind::SOURCE_OPEN)?;
                Declaration::decode(payload).ok()?.key().ok()
            });
            if let Some(key) = declaration.filter(|key| key.source_id() == id.0) {
                self.tail.streams.set_key(&id, key);
                self.packs.streams.set_key(&id, key);
            }
        }
    }
}
