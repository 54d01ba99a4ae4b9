//! One round of a mirror: what is new at the source, verified, written, cosigned.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use stele_merkle::{Checkpoint, Frontier, TreeSize};
use stele_store::{ObjectName, Store, StoreError};

use super::{Held, Mirror, MirrorError, Synced, pending_hint};
use crate::ReadError;
use crate::format::{Digest, Role};
use crate::fsck::{Content, Examined, Walk, examine, examine_bytes};
use crate::info::{self, checkpoint_hint};
use crate::ledger::Ledger;
use crate::objects::{Object, PACKS, SEGMENTS, pack_name, segment_name};
use crate::tree::{Lookup, TILE_LEAVES, TILE_LEVELS};

/// What is new at the source, and shown to give the signed root.
struct Plan {
    packs: Vec<(ObjectName, Digest)>,
    segments: Vec<(ObjectName, Digest)>,
    packed_end: u64,
    next_segment: u64,
    tree: Frontier,
}

fn plan_segment(plan: &mut Plan, source: &dyn Store, name: &ObjectName) -> Result<(), MirrorError> {
    if name.number_in(SEGMENTS) != Some(plan.next_segment) {
        // It was packed meanwhile, if it was ever there.
        return Err(MirrorError::Moved);
    }
    let content = content(examine(source, name))?;
    let size = plan.tree.size().0;
    if content.head.first > size || content.head.end() <= size {
        let what = format!("{name}: its first index does not continue the log");
        return Err(MirrorError::Source(what));
    }
    let skip = usize::try_from(size - content.head.first).unwrap_or(usize::MAX);
    for record in content.records.iter().skip(skip).flatten() {
        plan.tree.push(record.leaf);
    }
    plan.next_segment += 1;
    plan.segments.push((name.clone(), content.digest));
    Ok(())
}

/// How many records the source has, by the header of its last object.
fn extent(source: &dyn Store) -> Result<u64, MirrorError> {
    for directory in [SEGMENTS, PACKS] {
        if let Some(last) = list(source, directory)?.last() {
            return Ok(Object::load(source, last).map_err(object_error)?.head.end());
        }
    }
    Ok(0)
}

impl Mirror {
    /// Takes in what is new at the source. After an error open the mirror again.
    ///
    /// # Errors
    /// [`MirrorError`]; what was written until then is verified and stays.
    pub fn sync(&mut self, source: &Arc<dyn Store>) -> Result<Synced, MirrorError> {
        let before = self.tail.next_index;
        // In this order: what the source does meanwhile only adds to what was seen.
        let note = source.read_hint(&checkpoint_hint()).map_err(MirrorError::Read)?;
        let note = note.ok_or(MirrorError::Nothing)?;
        let seen = self.believe(source, &note)?;
        let note = String::from_utf8_lossy(&note).into_owned();
        let segments = list(&**source, SEGMENTS)?;
        let packs = list(&**source, PACKS)?;
        if self.tail.own_source.is_none() {
            let bytes = source.read(&info::name()).map_err(read_error)?;
            self.begin(&bytes).map_err(MirrorError::Source)?;
            self.put(&info::name(), &bytes)?;
        }
        let new_packs = packs.last() >= Some(&pack_name(self.packs.next_index));
        if !self.is_new(&**source, &seen, &note)? && !new_packs {
            return Ok(self.unchanged());
        }
        let mut objects = 0;
        match self.plan(&**source, &packs, &segments, &seen) {
            Ok(plan) => {
                self.store
                    .put_hint(&pending_hint(), note.as_bytes())
                    .map_err(MirrorError::Store)?;
                for planned in &plan.packs {
                    self.take(&**source, planned, |mirror, name, content| {
                        mirror.packs.pack(name, content);
                        &mirror.packs
                    })?;
                }
                if !plan.packs.is_empty() {
                    self.rebuild_tail()?;
                }
                for planned in &plan.segments {
                    let content = self.take(&**source, planned, |mirror, name, content| {
                        mirror.tail.segment(name, content);
                        &mirror.tail
                    })?;
                    self.segments.insert(content.head.number, content.head.end());
                }
                objects += (plan.packs.len() + plan.segments.len()) as u64;
            }
            Err(error @ (MirrorError::Source(_) | MirrorError::Moved)) => {
                return Err(self.why(source, seen, note, error));
            }
            Err(error) => return Err(error),
        }
        let records = self.tail.next_index - before;
        if self.held.as_ref().is_some_and(|held| held.checkpoint.size >= seen.size) {
            return Ok(Synced { objects, ..self.unchanged() });
        }
        let cosigned = Some(self.cosign(seen, note)?);
        Ok(Synced { records, objects, cosigned, ..self.unchanged() })
    }

    /// The source's checkpoint, by the keys that are known, or those to which the source's own records
    /// lead from them; these are followed again as they are taken in.
    fn believe(&self, source: &Arc<dyn Store>, note: &[u8]) -> Result<Checkpoint, MirrorError> {
        self.tail.keys.open(note).or_else(|error| {
            let following = Ledger::open_read_only(Arc::clone(source), &self.verifier)
                .and_then(|reader| reader.following(&self.verifier));
            following.ok().and_then(|keys| keys.open(note).ok()).ok_or(MirrorError::from(error))
        })
    }

    fn unchanged(&self) -> Synced {
        Synced { size: self.size(), records: 0, objects: 0, cosigned: None }
    }

    /// Whether the checkpoint is over more than is held. One over less must be of the same tree.
    fn is_new(
        &mut self,
        source: &dyn Store,
        seen: &Checkpoint,
        note: &str,
    ) -> Result<bool, MirrorError> {
        if seen.size.0 > self.tail.next_index {
            return Ok(true);
        }
        if self.root(seen.size)? != Some(seen.root) {
            return Err(self.fork(seen.clone(), note.to_owned()));
        }
        let Some(held) = &self.held else { return Ok(true) };
        if seen.size >= held.checkpoint.size {
            return Ok(seen.size > held.checkpoint.size);
        }
        // Its pointer may be old; or the rest is gone.
        if extent(source)? >= held.checkpoint.size.0 {
            return Ok(false);
        }
        let contradiction = held.clone().against(seen.clone(), note.to_owned());
        Err(MirrorError::Rollback(contradiction))
    }

    fn fork(&self, seen: Checkpoint, seen_note: String) -> MirrorError {
        match &self.held {
            Some(held) => MirrorError::Fork(held.clone().against(seen, seen_note)),
            None => MirrorError::Source("its records are not those that are here".to_owned()),
        }
    }

    /// Why the source's objects do not continue what is held: if they give what its key signed, it
    /// signed two histories; else it is `error`.
    fn why(
        &self,
        source: &Arc<dyn Store>,
        seen: Checkpoint,
        note: String,
        error: MirrorError,
    ) -> MirrorError {
        let Some(held) = &self.held else { return error };
        let Ok(reader) = Ledger::open_read_only(Arc::clone(source), &self.verifier) else {
            return error;
        };
        let signed = reader.root(seen.size).is_ok_and(|root| root == seen.root);
        let other = reader.root(held.checkpoint.size).is_ok_and(|r| r != held.checkpoint.root);
        if signed && other { self.fork(seen, note) } else { error }
    }

    /// Shows by headers and leaf hashes that the new objects continue what is held and give the
    /// signed root. Nothing is written.
    fn plan(
        &self,
        source: &dyn Store,
        packs: &[ObjectName],
        segments: &[ObjectName],
        seen: &Checkpoint,
    ) -> Result<Plan, MirrorError> {
        let mut plan = Plan {
            packs: Vec::new(),
            segments: Vec::new(),
            packed_end: self.packs.next_index,
            next_segment: self.tail.next_segment.unwrap_or(0),
            tree: frontier(&self.tail, self.tail.next_index)?,
        };
        let held = pack_name(self.packs.next_index);
        for name in packs.iter().filter(|name| **name >= held) {
            let object = Object::load(source, name).map_err(object_error)?;
            if object.head.end() > seen.size.0 {
                break;
            }
            self.plan_pack(&mut plan, source, name, &object)?;
        }
        let held = segment_name(plan.next_segment);
        for name in segments.iter().filter(|name| **name >= held) {
            if plan.tree.size() >= seen.size {
                break;
            }
            plan_segment(&mut plan, source, name)?;
        }
        if plan.tree.size() < seen.size {
            return Err(MirrorError::Moved);
        }
        let exact = plan.tree.size() == seen.size;
        let root = if exact { Some(plan.tree.root()) } else { self.tail.root(seen.size) };
        if root != Some(seen.root) {
            let what = format!("its first {} records do not give the signed root", seen.size);
            return Err(MirrorError::Source(what));
        }
        Ok(plan)
    }

    fn plan_pack(
        &self,
        plan: &mut Plan,
        source: &dyn Store,
        name: &ObjectName,
        object: &Object,
    ) -> Result<(), MirrorError> {
        let head = &object.head;
        let wrong = |what: &str| MirrorError::Source(format!("{name}: {what}"));
        if head.role != Role::Pack || head.first != plan.packed_end {
            return Err(wrong("it does not continue the pack before it"));
        }
        let longer = head.end() > plan.tree.size().0;
        if longer && head.first < plan.tree.size().0 {
            plan.tree = frontier(&self.tail, head.first)?;
        }
        for (tile, number) in head.tiles.iter().zip(head.first >> TILE_LEVELS..) {
            let own = self.tail.tree.as_ref().map(|tree| tree.lookup(TILE_LEVELS, number));
            if matches!(own, Some(Lookup::Found(own)) if own != *tile) {
                return Err(wrong("a tile is not the one that is held"));
            }
            if longer {
                let joined = plan.tree.push_subtree(TILE_LEVELS, *tile);
                joined.map_err(|e| wrong(&e.to_string()))?;
            }
        }
        // Records of a tile that is not full here: only the pack itself tells.
        let (held, first) = (self.tail.next_index, head.first);
        let partial = held > first && !held.is_multiple_of(TILE_LEAVES);
        if longer && partial && !self.has_leaves_of(&content(examine(source, name))?) {
            return Err(wrong("a record is not the one that is held"));
        }
        if longer && plan.tree.root() != head.root {
            return Err(wrong("its tiles do not give the root in its header"));
        }
        plan.packed_end = head.end();
        plan.next_segment = plan.next_segment.max(head.number);
        plan.packs.push((name.clone(), object.digest));
        Ok(())
    }

    /// Whether a pack has the held records of the tile that is not full yet.
    fn has_leaves_of(&self, pack: &Content) -> bool {
        let end = self.tail.next_index;
        let tile = end >> TILE_LEVELS << TILE_LEVELS;
        let first = pack.head.first;
        (tile..end).filter(|index| *index >= first).all(|index| {
            let own = self.tail.tree.as_ref().map(|tree| tree.lookup(0, index));
            let at = usize::try_from(index - first).unwrap_or(usize::MAX);
            let theirs = pack.records.get(at).and_then(Option::as_ref);
            matches!((own, theirs), (Some(Lookup::Found(own)), Some(seen)) if own == seen.leaf)
        })
    }

    /// Takes in a planned object once `add` has shown that it goes on with the walk that it gives.
    fn take(
        &mut self,
        source: &dyn Store,
        (name, digest): &(ObjectName, Digest),
        add: for<'a> fn(&'a mut Self, &ObjectName, &Content) -> &'a Walk,
    ) -> Result<Content, MirrorError> {
        let (content, bytes) = fetch(source, name, digest)?;
        self.learn_keys(&content);
        Self::sound(add(self, name, &content)).map_err(MirrorError::Source)?;
        self.put(name, &bytes)?;
        Ok(content)
    }

    fn put(&self, name: &ObjectName, bytes: &Bytes) -> Result<(), MirrorError> {
        match self.store.put_new(name, &[bytes]) {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { name }) => {
                Err(MirrorError::Own(format!("{name} is here already with other bytes")))
            }
            Err(error) => Err(MirrorError::Store(error)),
        }
    }

    /// Says over everything that is held that it is held.
    fn cosign(&mut self, seen: Checkpoint, note: String) -> Result<String, MirrorError> {
        if self.tail.root(seen.size) != Some(seen.root) {
            let what = "its records do not give the root that was just verified".to_owned();
            return Err(MirrorError::Own(what));
        }
        let time = self.clock.now().unix_seconds();
        let mut cosigned = note;
        for line in self.key.cosign(&seen.body(), time)? {
            // Writing to a string does not fail.
            let _ = writeln!(cosigned, "{line}");
        }
        let stored = self.store.put_hint(&checkpoint_hint(), cosigned.as_bytes());
        stored.map_err(MirrorError::Store)?;
        self.held = Some(Held { checkpoint: seen, note: cosigned.clone() });
        Ok(cosigned)
    }
}

fn list(source: &dyn Store, directory: &str) -> Result<Vec<ObjectName>, MirrorError> {
    let mut names = source.list(&format!("{directory}/"), None).map_err(MirrorError::Read)?;
    names.retain(|name| name.number_in(directory).is_some());
    Ok(names)
}

/// The right edge of what is held, up to a size.
fn frontier(walk: &Walk, size: u64) -> Result<Frontier, MirrorError> {
    let damaged = || MirrorError::Own("its tree is not whole".to_owned());
    walk.frontier(TreeSize(size)).ok_or_else(damaged)
}

fn fetch(
    source: &dyn Store,
    name: &ObjectName,
    digest: &Digest,
) -> Result<(Content, Bytes), MirrorError> {
    let bytes = source.read(name).map_err(read_error)?;
    let content = content(examine_bytes(name, &bytes))?;
    if content.digest != *digest {
        return Err(MirrorError::Source(format!("{name}: it was exchanged while it was read")));
    }
    Ok((content, bytes))
}

/// An object without any fault.
fn content(examined: Examined) -> Result<Content, MirrorError> {
    let name = examined.name;
    match examined.content {
        Err(unreadable) if unreadable.gone => Err(MirrorError::Moved),
        Err(unreadable) => Err(MirrorError::Source(format!("{name}: {}", unreadable.what))),
        Ok(content) => match content.faults.first() {
            None => Ok(content),
            Some((fault, _)) => Err(MirrorError::Source(format!("{name}: {}", fault.what))),
        },
    }
}

fn read_error(error: StoreError) -> MirrorError {
    match error {
        StoreError::NotFound { .. } => MirrorError::Moved,
        error => MirrorError::Read(error),
    }
}

fn object_error(error: ReadError) -> MirrorError {
    match error {
        ReadError::Store(error) => read_error(error),
        error => MirrorError::Source(error.to_string()),
    }
}
