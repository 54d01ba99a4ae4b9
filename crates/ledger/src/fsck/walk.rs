//! What the objects are together: the tree, the links between segments, each source's chain, the
//! signed checkpoints. Takes one examined object after the other, in the order of the log.
//!
//! Not here: reading objects, and where a replacement comes from.
//! Invariant: after a loss everything that can still be checked is; what cannot is counted.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use stele_merkle::{Frontier, Hash, KeyRotation, LeafIndex, LogVerifier, Subtrees, TreeSize};
use stele_record::{Boot, Kind, LedgerTime, Seq};
use stele_store::ObjectName;

use super::examine::{Content, Seen};
use super::report::{ByteRange, FsckReport, Problem, RecordRange, SourceRange};
use super::streams::{Place, Stream, StreamChecks};
use crate::format::{Digest, Head};
use crate::info::{self, LogInfo};
use crate::objects::{pack_name, segment_name};
use crate::rotation::{self, RecordedRotation};
use crate::tree::{Lookup, TILE_LEAVES, TILE_LEVELS, Tile, Tree};

/// Packs whose leaves are kept, so that a recorded checkpoint can be compared: the ledger records
/// one at most a segment after it was signed.
const LEAVES_OF_PACKS: usize = 2;

/// The digest that the next segment must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Previous {
    /// Of `ledger/log-info`; `proven` if that object carries its own digest.
    LogInfo { digest: Digest, proven: bool },
    /// Of the segment before.
    Segment(Digest),
    /// Of a replacement for what was before: it is no replacement if another digest is named.
    Replacement(Digest),
    /// What would say it is lost.
    Unknown,
}

/// What the object after a replacement says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It names exactly this one.
    Exact,
    /// It names another one, or another root.
    Refused,
}

/// A stretch of the log that no object is there for.
#[derive(Debug)]
pub(crate) struct Hole {
    /// The first object that is missing, as far as can be told.
    pub(crate) object: ObjectName,
    pub(crate) records: RecordRange,
    pub(crate) what: String,
}

/// A rotation of the log's keys.
#[derive(Debug, Clone)]
pub(crate) struct SeenRotation {
    pub(crate) index: LeafIndex,
    pub(crate) rotation: KeyRotation,
    /// As it is recorded.
    pub(crate) statement: Bytes,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    pub(crate) verifier: LogVerifier,
    /// The keys of the log through time, as it names them itself: they are followed from the first
    /// on. Whether they are the ones in `verifier` is said at the end.
    pub(crate) keys: LogVerifier,
    /// By which the keys were followed so far.
    pub(crate) rotations: Vec<SeenRotation>,
    pub(crate) report: FsckReport,
    /// `None` once a leaf is lost for good.
    pub(crate) tree: Option<Tree>,
    pub(crate) next_index: u64,
    /// Number of the next segment, `None` where the pack that says it cannot be read.
    pub(crate) next_segment: Option<u64>,
    pub(crate) previous: Previous,
    pub(crate) streams: StreamChecks,
    pub(crate) own_source: Option<String>,
    /// Ledger time of the record before.
    pub(crate) last_time: Option<LedgerTime>,
    /// For each loss the problem that tells of it; none if that one knows whose records they are.
    pub(crate) losses: Vec<Option<usize>>,
    /// Problems whose records end where the next object begins.
    open: Vec<usize>,
    /// Leaves of the latest packs.
    leaves: VecDeque<(u64, Vec<Option<Hash>>)>,
    /// Records of the last pack.
    pack_records: u64,
    /// Index after the last pack.
    packs_end: Option<u64>,
    /// A replacement was joined that only the tree binds, and no root that is here has confirmed
    /// it yet.
    pub(crate) unconfirmed: bool,
    /// What the object after a replacement says of it.
    pub(crate) verdict: Option<Verdict>,
    /// A size whose root is wanted later, and the root.
    watched: Option<(u64, Option<Hash>)>,
}

impl Walk {
    /// Before the first object. `watched` is a size whose root will be asked for at the end.
    pub(crate) fn new(verifier: LogVerifier, watched: Option<u64>) -> Self {
        Self {
            keys: verifier.clone(),
            verifier,
            rotations: Vec::new(),
            report: FsckReport::default(),
            tree: Some(Tree::default()),
            next_index: 0,
            next_segment: Some(0),
            previous: Previous::Unknown,
            streams: StreamChecks::default(),
            own_source: None,
            last_time: None,
            losses: Vec::new(),
            open: Vec::new(),
            leaves: VecDeque::new(),
            pack_records: 0,
            packs_end: None,
            unconfirmed: false,
            verdict: None,
            watched: watched.map(|size| (size, None)),
        }
    }

    /// Takes in a pack by its header alone, which was verified when it was written.
    pub(crate) fn trust_pack(&mut self, name: &ObjectName, head: &Head) {
        if let Some(tree) = &mut self.tree {
            head.tiles.iter().for_each(|tile| tree.push_tile(*tile));
        }
        if self.root(TreeSize(head.end())) != Some(head.root) {
            self.problem(name.as_str(), "its tiles do not give the root in its header");
        }
        for stream in &head.streams {
            let id = (head.sources[stream.source], stream.boot);
            let key = self.streams.stream(&id).and_then(|known| known.key);
            let (next_seq, head) = (stream.next_seq, Some(stream.head));
            self.streams.set(id, Stream { next_seq, head, key, losses: 0 });
        }
        self.last_time = head.times.last().map(|run| run.time).max(self.last_time);
        self.after_packs(head.end());
        self.next_segment = Some(head.number);
        self.previous = Previous::Segment(head.previous);
    }

    /// The right edge of the tree at a size.
    pub(crate) fn frontier(&self, size: TreeSize) -> Option<Frontier> {
        let tree = self.tree.as_ref()?;
        Frontier::of(size, &Nodes { tree, leaves: &self.leaves }).ok()
    }

    /// Takes over that the packs up to `index` were walked before.
    pub(crate) fn after_packs(&mut self, index: u64) {
        self.pack_records = index - self.packs_end.unwrap_or(0).min(index);
        self.next_index = index;
        self.packs_end = Some(index);
    }

    /// Whether the end of a lost stretch is still looked for.
    pub(crate) fn has_open_losses(&self) -> bool {
        !self.open.is_empty()
    }

    /// Adds a problem; gives its number.
    pub(crate) fn problem(&mut self, object: &str, what: impl Into<String>) -> usize {
        self.report.problems.push(Problem {
            object: object.to_owned(),
            records: None,
            sources: Vec::new(),
            bytes: None,
            what: what.into(),
            remedy: None,
        });
        self.report.problems.len() - 1
    }

    /// As [`Walk::problem`], about records.
    pub(crate) fn problem_at(
        &mut self,
        object: &ObjectName,
        records: RecordRange,
        what: impl Into<String>,
    ) -> usize {
        let problem = self.problem(object.as_str(), what);
        self.report.problems[problem].records = Some(records);
        problem
    }

    /// The hole before this object, if there is one.
    pub(crate) fn hole_before(&self, name: &ObjectName, content: Option<&Content>) -> Option<Hole> {
        let starts = content.map(|content| content.head.first);
        if let Some(first) = name.number_in(crate::objects::PACKS) {
            let hole = self.open.is_empty() && first > self.next_index;
            return hole.then(|| self.hole(true, first.checked_sub(1)));
        }
        let number = name.number_in(crate::objects::SEGMENTS)?;
        let next = self.next_segment.filter(|next| *next < number)?;
        let last = starts.and_then(|first| first.checked_sub(1));
        let last = last.filter(|last| *last >= self.next_index);
        let end = content.map_or(0, |content| content.head.end());
        let mut hole = self.hole(self.is_pack(end), last);
        if hole.object == segment_name(next) && number - 1 > next {
            hole.what = format!("it is missing, and all up to {}", segment_name(number - 1));
        }
        Some(hole)
    }

    /// The records that were signed and are not there, once all objects were walked.
    pub(crate) fn hole_at_end(&self, signed: u64) -> Option<Hole> {
        let hole = self.open.is_empty() && signed > self.next_index;
        hole.then(|| self.hole(self.is_pack(signed), signed.checked_sub(1)))
    }

    /// Whether what is missing before `end` is rather a pack than segments: no segment was seen
    /// after the last pack, and there is room for as many records as that one has.
    fn is_pack(&self, end: u64) -> bool {
        self.packs_end == Some(self.next_index)
            && end.saturating_sub(self.next_index) >= self.pack_records
    }

    fn hole(&self, pack: bool, last: Option<u64>) -> Hole {
        let object = match self.next_segment {
            Some(number) if !pack => segment_name(number),
            _ => pack_name(self.next_index),
        };
        let records = RecordRange { first: self.next_index, last };
        Hole { object, records, what: "it is missing".to_owned() }
    }

    /// Notes that the records from here to the next object are lost, as `problem` tells.
    pub(crate) fn lose(&mut self, problem: usize) {
        self.lose_tree(Some(problem));
        self.previous = Previous::Unknown;
        let records = &mut self.report.problems[problem].records;
        let records = records.get_or_insert(RecordRange { first: self.next_index, last: None });
        match records.last {
            None => self.open.push(problem),
            Some(last) => self.next_index = self.next_index.max(last.saturating_add(1)),
        }
    }

    /// The lost stretch ends before `index`.
    pub(crate) fn close_losses(&mut self, index: u64) {
        for problem in std::mem::take(&mut self.open) {
            if let Some(records) = &mut self.report.problems[problem].records {
                records.last = index.checked_sub(1).filter(|last| *last >= records.first);
            }
        }
    }

    fn lose_tree(&mut self, problem: Option<usize>) {
        self.tree = None;
        self.streams.lost();
        self.losses.push(problem);
    }

    /// Tells of what is wrong inside an object.
    pub(crate) fn tell_faults(&mut self, name: &ObjectName, content: &Content) {
        for (fault, sources) in &content.faults {
            let Range { start, end } = fault.records;
            let records = RecordRange { first: start, last: end.checked_sub(1) };
            let problem = self.problem_at(name, records, fault.what.clone());
            let told = &mut self.report.problems[problem];
            told.sources.clone_from(sources);
            told.bytes = byte_range(&fault.bytes);
        }
    }

    /// Takes in a pack that is where it belongs.
    pub(crate) fn pack(&mut self, name: &ObjectName, content: &Content) {
        let head = &content.head;
        if head.first < self.next_index {
            self.problem(name.as_str(), "its records are in the pack before it too");
            return;
        }
        self.next_index = head.first;
        self.close_losses(head.first);
        self.report.headers += 1;
        if head.number == 0 {
            self.link(name, head.previous);
        }
        for (seen, index) in content.records.iter().zip(head.first..) {
            self.record(name, index, seen.as_ref());
        }
        self.keep_leaves(content);
        self.tiles(name, content);
        self.pack_records = head.count;
        self.packs_end = Some(head.end());
        self.next_segment = Some(head.number);
        self.previous = Previous::Segment(head.previous);
        self.end_of_object(name, content);
    }

    /// Keeps the leaves of a pack, so that roots inside of it can be computed.
    pub(crate) fn keep_leaves(&mut self, content: &Content) {
        let leaves = content.records.iter().map(|seen| seen.as_ref().map(|seen| seen.leaf));
        self.leaves.push_back((content.head.first, leaves.collect()));
        if self.leaves.len() > LEAVES_OF_PACKS {
            self.leaves.pop_front();
        }
    }

    fn tiles(&mut self, name: &ObjectName, content: &Content) {
        let head = &content.head;
        for ((stated, computed), number) in head.tiles.iter().zip(&content.tiles).zip(0..) {
            // Where a record is lost, the header stands in for it: its digest is right.
            if computed.is_some_and(|root| root != *stated) {
                let first = head.first + number * TILE_LEAVES;
                let records = RecordRange { first, last: Some(first + TILE_LEAVES - 1) };
                self.problem_at(name, records, "the records do not give their tile's root");
            }
            self.report.tiles += u64::from(*computed == Some(*stated));
            if let Some(tree) = &mut self.tree {
                tree.push_tile(computed.unwrap_or(*stated));
            }
        }
    }

    /// Takes in a segment that is where it belongs and not in packs.
    pub(crate) fn segment(&mut self, name: &ObjectName, content: &Content) {
        let head = &content.head;
        self.report.headers += 1;
        self.link(name, head.previous);
        self.previous = Previous::Segment(content.digest);
        self.next_segment = head.number.checked_add(1);
        if !self.open.is_empty() {
            self.next_index = head.first.max(self.next_index);
            self.close_losses(head.first);
        } else if head.first > self.next_index {
            let last = head.first.checked_sub(1);
            let records = RecordRange { first: self.next_index, last };
            self.problem_at(name, records, "the records before it are missing");
            self.lose_tree(None);
            self.next_index = head.first;
        } else if head.end() <= self.next_index || !self.may_overlap(head.first) {
            let what = "its first index does not continue the log";
            self.problem(name.as_str(), what);
        }
        let next = self.next_index;
        for (seen, index) in content.records.iter().zip(head.first..) {
            if index >= next {
                self.record(name, index, seen.as_ref());
                match (seen, &mut self.tree) {
                    (Some(seen), Some(tree)) => tree.push(seen.leaf),
                    (None, Some(_)) => self.tree = None,
                    (_, None) => {}
                }
            }
        }
        self.end_of_object(name, content);
    }

    /// Whether a segment may begin there: at the end of the log, or before it if it is the first
    /// one after the packs.
    fn may_overlap(&self, first: u64) -> bool {
        first == self.next_index || self.packs_end == Some(self.next_index)
    }

    /// Takes note of a sound segment that packs have replaced.
    pub(crate) fn packed_segment(&mut self) {
        self.report.headers += 1;
    }

    /// The digest of the segment before must be the one that this object names.
    fn link(&mut self, name: &ObjectName, named: Digest) {
        match self.previous {
            Previous::Segment(digest) if digest != named => {
                self.problem(name.as_str(), "the segment does not follow the one before it");
            }
            Previous::LogInfo { digest, proven } if digest != named => {
                if proven {
                    let what = "it was not written for the log that ledger/log-info names";
                    self.problem(name.as_str(), what);
                } else {
                    let what = "it is not the one that the first records were written for";
                    self.problem(info::name().as_str(), what);
                }
            }
            Previous::Replacement(digest) if digest != named => self.refuse_replacement(),
            Previous::Replacement(_) => self.verdict = Some(Verdict::Exact),
            _ => {}
        }
    }

    /// What was joined last in place of something damaged was not that: nothing here is to blame.
    fn refuse_replacement(&mut self) {
        self.verdict = Some(Verdict::Refused);
        self.unconfirmed = false;
        self.lose_tree(None);
    }

    /// Follows one record in order.
    fn record(&mut self, name: &ObjectName, index: u64, seen: Option<&Seen>) {
        self.next_index = index + 1;
        let Some(seen) = seen else {
            // Whose it was, the object's runs say; told with the fault.
            self.streams.lost();
            self.losses.push(None);
            return;
        };
        self.report.leaves += 1;
        if let Some(time) = seen.time {
            self.report.records += 1;
            if self.last_time.is_some_and(|last| time < last) {
                let what = "its ledger time is before that of the record before it";
                self.problem_at(name, one(index), what);
            }
            self.last_time = Some(time);
        }
        if let Some(place) = &seen.place {
            self.follow(name, index, place, seen);
        }
    }

    fn follow(&mut self, name: &ObjectName, index: u64, place: &Place, seen: &Seen) {
        let shown = self.streams.add(place, &seen.leaf, seen.payload.as_ref());
        self.report.seals += shown.seals;
        self.report.seals_unchecked += shown.seals_unchecked;
        for what in shown.faults {
            let problem = self.problem_at(name, one(index), what);
            let range = SourceRange::new(&place.source, place.boot, place.seq, place.seq);
            self.report.problems[problem].sources.push(range);
        }
        if let Some((seqs, losses)) = shown.lost {
            self.attribute(place, &seqs, losses);
        }
    }

    /// Says with each of the losses whose records are among them.
    fn attribute(&mut self, place: &Place, seqs: &Range<u64>, losses: Range<u64>) {
        let (first, last) = (Seq(seqs.start), Seq(seqs.end.saturating_sub(1)));
        let range = SourceRange::new(&place.source, place.boot, first, last);
        let mut told = None;
        for loss in losses {
            let loss = usize::try_from(loss).ok().and_then(|loss| self.losses.get(loss));
            let problem = loss.copied().flatten().filter(|problem| told != Some(*problem));
            if let Some(problem) = problem {
                told = Some(problem);
                self.report.problems[problem].sources.push(range.clone());
            }
        }
    }

    /// What the header of an object says about all of its records together.
    fn end_of_object(&mut self, name: &ObjectName, content: &Content) {
        let head = &content.head;
        match self.root(TreeSize(head.end())) {
            None => self.report.roots_unchecked += 1,
            Some(root) if root == head.root => {
                self.report.roots += 1;
                self.unconfirmed = false;
            }
            Some(_) if self.unconfirmed => self.refuse_replacement(),
            Some(_) => {
                self.problem(name.as_str(), "its records do not give the root in its header");
            }
        }
        for stream in &head.streams {
            let source = head.sources[stream.source];
            match self.streams.agrees(&(source, stream.boot), stream.next_seq, &stream.head) {
                None => self.report.streams_unchecked += 1,
                Some(true) => self.report.streams += 1,
                Some(false) => {
                    let what = format!("its header gives another chain head for source {source}");
                    self.problem(name.as_str(), what);
                }
            }
        }
        self.watch();
        self.recorded_statements(name, content);
    }

    /// Keeps the root of the watched size as soon as it can be computed.
    fn watch(&mut self) {
        let Some((size, None)) = self.watched else { return };
        if size <= self.next_index {
            let root = self.root(TreeSize(size));
            self.watched = Some((size, root));
        }
    }

    /// Checks the checkpoints that the log itself records, and follows its keys.
    fn recorded_statements(&mut self, name: &ObjectName, content: &Content) {
        for (seen, index) in content.records.iter().zip(content.head.first..) {
            let Some(Seen { place: Some(place), payload: Some(note), .. }) = seen else { continue };
            let checkpoint = match place.kind {
                Kind::CHECKPOINT => true,
                Kind::KEY_ROTATION => false,
                _ => continue,
            };
            if self.own_source.as_ref() != Some(&place.source.to_string()) {
                continue;
            }
            let checked = if checkpoint {
                self.checkpoint(note).map_err(|what| format!("recorded checkpoint: {what}"))
            } else {
                self.rotate(LeafIndex(index), place, note)
            };
            if let Err(what) = checked {
                let range = SourceRange::new(&place.source, place.boot, place.seq, place.seq);
                let problem = self.problem_at(name, one(index), what);
                self.report.problems[problem].sources.push(range);
            }
        }
    }

    /// Begins with the keys that the log names, and follows them as far as is known.
    pub(crate) fn name_keys(&mut self, info: &LogInfo) {
        let Ok(named) = info.unauthenticated_verifier() else { return };
        let next = self.rotations.last().map(|last| hex::encode(last.rotation.next_source));
        self.own_source = Some(next.unwrap_or_else(|| info.source.clone()));
        self.keys = named.clone().with_history(&self.history()).unwrap_or(named);
    }

    fn history(&self) -> Vec<(LeafIndex, KeyRotation)> {
        self.rotations.iter().map(|seen| (seen.index, seen.rotation.clone())).collect()
    }

    /// Follows the keys through a rotation.
    fn rotate(&mut self, index: LeafIndex, place: &Place, note: &Bytes) -> Result<(), String> {
        let rotation = rotation::read(place, note)?;
        if self.root(rotation.size).is_some_and(|root| root != rotation.root) {
            let size = rotation.size;
            return Err(format!("the rotation was made for another tree of {size} records"));
        }
        let mut history = self.history();
        history.push((index, rotation.clone()));
        self.keys = self.keys.clone().with_history(&history).map_err(|e| e.to_string())?;
        self.own_source = Some(hex::encode(rotation.next_source));
        self.rotations.push(SeenRotation { index, rotation, statement: note.clone() });
        Ok(())
    }

    /// Takes over a rotation in a pack that was walked before.
    pub(crate) fn take_rotation(&mut self, recorded: &RecordedRotation) -> Result<(), String> {
        let record = &recorded.record;
        let statement = record.payload.clone().unwrap_or_default();
        self.rotate(record.index, &Place::of(&record.header), &statement)
    }

    /// From here on the keys that the caller knows, through time. They must be among the ones that
    /// the log names; if they are not, nothing that was checked by those counts.
    pub(crate) fn settle_keys(&mut self) -> Result<(), String> {
        let known = self.verifier.keys();
        let following = self.verifier.clone().with_history(&self.history());
        let theirs = match (&following, self.rotations.first()) {
            (Err(_), _) => false,
            (Ok(_), None) => self.keys.keys().iter().all(|key| known.contains(key)),
            (Ok(_), Some(first)) => self.keys.keys() == first.rotation.old,
        };
        self.keys = following.unwrap_or_else(|_| self.verifier.clone());
        if theirs {
            return Ok(());
        }
        self.report.checkpoints_unchecked += std::mem::take(&mut self.report.checkpoints);
        self.report.signed_records = 0;
        Err(if self.losses.is_empty() {
            "it names keys that are not the log's".to_owned()
        } else {
            "no rotation among the records that are left leads from its keys to the known ones"
                .to_owned()
        })
    }

    /// The size of the tree in a checkpoint, if the known or the named keys signed it.
    pub(crate) fn signed_size(&self, note: &[u8]) -> Option<u64> {
        let opened = self.keys.open(note).or_else(|_| self.verifier.open(note));
        Some(opened.ok()?.size.0)
    }

    /// Checks a signed note against the records; counts it if it holds.
    pub(crate) fn checkpoint(&mut self, note: &Bytes) -> Result<(), String> {
        let checkpoint = self.keys.open(note).map_err(|e| e.to_string())?;
        let size = checkpoint.size;
        if size.0 > self.next_index && self.tree.is_some() {
            return Err(format!("{size} records were signed, only {} are here", self.next_index));
        }
        match self.root(size) {
            Some(root) if root == checkpoint.root => {
                self.report.checkpoints += 1;
                self.report.signed_records = self.report.signed_records.max(size.0);
                Ok(())
            }
            Some(_) if !self.unconfirmed => {
                Err(format!("the first {size} records do not give the signed root"))
            }
            _ => {
                self.report.checkpoints_unchecked += 1;
                Ok(())
            }
        }
    }

    /// The root of the first records; `None` if it cannot be computed any more.
    pub(crate) fn root(&self, size: TreeSize) -> Option<Hash> {
        if let Some((watched, root @ Some(_))) = self.watched
            && watched == size.0
        {
            return root;
        }
        let tree = self.tree.as_ref()?;
        stele_merkle::root(size, &Nodes { tree, leaves: &self.leaves }).ok()
    }

    /// Where the streams of an object stand now.
    pub(crate) fn streams_of<'a>(
        &'a self,
        content: &'a Content,
    ) -> impl Iterator<Item = (crate::streams::StreamId, &'a Stream)> {
        let head = &content.head;
        head.streams.iter().filter_map(|stream| {
            let id: (_, Boot) = (head.sources[stream.source], stream.boot);
            Some((id, self.streams.stream(&id)?))
        })
    }
}

pub(crate) fn byte_range(bytes: &Range<u64>) -> Option<ByteRange> {
    let last = bytes.end.checked_sub(1).filter(|last| *last >= bytes.start)?;
    Some(ByteRange { first: bytes.start, last })
}

const fn one(index: u64) -> RecordRange {
    RecordRange { first: index, last: Some(index) }
}

struct Nodes<'a> {
    tree: &'a Tree,
    leaves: &'a VecDeque<(u64, Vec<Option<Hash>>)>,
}

impl Subtrees for Nodes<'_> {
    type Error = ();

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, ()> {
        match self.tree.lookup(level, index) {
            Lookup::Found(hash) => Ok(hash),
            Lookup::Missing => Err(()),
            Lookup::InTile(number) => self.in_tile(number, level, index),
        }
    }
}

impl Nodes<'_> {
    /// A node of a tile of one of the latest packs.
    fn in_tile(&self, number: u64, level: u8, index: u64) -> Result<Hash, ()> {
        let first = number * TILE_LEAVES;
        let within = |(start, leaves): &&(u64, Vec<Option<Hash>>)| {
            (*start..start + leaves.len() as u64).contains(&first)
        };
        let (start, leaves) = self.leaves.iter().find(within).ok_or(())?;
        let at = usize::try_from(first - start).map_err(|_| ())?;
        let leaves = leaves.get(at..at + TILE_LEAVES as usize).ok_or(())?;
        let leaves: Option<Vec<Hash>> = leaves.iter().copied().collect();
        let (tile, _) = Tile::of(leaves.ok_or(())?);
        let position = index & ((1 << (TILE_LEVELS - level)) - 1);
        tile.node(level, position).ok_or(())
    }
}
