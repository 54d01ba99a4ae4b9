//! The state file of a check: where the walk stands after each pack, so that an interrupted check
//! goes on from there. Segments are read anew: there are few that are not packed.
//!
//! JSON lines, each as long as its pack needs: a first line that says which log it is about, then
//! one for each pack, appended. A torn last line is as good as none. Not here: any proof. Whoever
//! can write the file can make a check pass over what it names.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stele_merkle::{Hash, KeyRotation, LeafIndex};
use stele_record::{Boot, ChainHead, LedgerTime, Seq, SourceId, SourcePublicKey};
use stele_store::{ObjectName, Store};

use super::examine::Examined;
use super::report::FsckReport;
use super::streams::Stream;
use super::walk::{Previous, SeenRotation, Walk};
use crate::tree::{Lookup, TILE_LEAVES, TILE_LEVELS, Tree};

const FORMAT: &str = "stele-fsck-state/v1";

/// Why a state file cannot be used. Remove it, or name another, to check from the beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsckStateError {
    /// It cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// It is not a state file of this log, checked with these keys.
    #[error("{path} is no state of a check of this log with these keys: {what}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The difference.
        what: String,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begin {
    format: String,
    keys: Vec<String>,
}

/// Where the walk stands after some packs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    /// Packs since the step before, with their lengths in bytes.
    packs: Vec<(String, u64)>,
    /// Roots of the tiles since the step before; empty if records are lost.
    tiles: String,
    tree_is_lost: bool,
    next_index: u64,
    next_segment: Option<u64>,
    /// Digest that the next segment names.
    previous: Option<String>,
    streams: Vec<StreamState>,
    losses: Vec<Option<usize>>,
    last_time_ns: Option<i64>,
    /// Rotations of the log's keys since the step before.
    rotations: Vec<RotationState>,
    report: FsckReport,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RotationState {
    index: u64,
    statement: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StreamState {
    source: String,
    boot: u64,
    next_seq: u64,
    head: Option<String>,
    key: Option<String>,
    losses: u64,
}

/// An open state file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Packs that the steps cover.
    packs: usize,
    /// Tiles that the steps cover.
    tiles: u64,
    /// Rotations that the steps cover.
    rotations: usize,
    /// Of the packs since the last step.
    pending: Vec<(String, u64)>,
    streams: Vec<(SourceId, Boot)>,
}

impl Journal {
    /// Opens or makes the file, and puts the walk where it says.
    pub(crate) fn open(
        path: &Path,
        store: &dyn Store,
        walk: &mut Walk,
    ) -> Result<Self, FsckStateError> {
        let failed = |error| FsckStateError::Io { path: path.to_owned(), error };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            packs: 0,
            tiles: 0,
            rotations: 0,
            pending: Vec::new(),
            streams: Vec::new(),
        };
        let keys = walk.verifier.keys().iter().map(ToString::to_string).collect();
        let begin = Begin { format: FORMAT.to_owned(), keys };
        let good = journal.read(&text, &begin, store, walk)?;
        journal.file.set_len(good as u64).map_err(failed)?;
        io::Seek::seek(&mut journal.file, io::SeekFrom::End(0)).map_err(failed)?;
        if good == 0 {
            journal.append(&begin)?;
        }
        Ok(journal)
    }

    /// Packs that are not read again.
    pub(crate) fn packs(&self) -> usize {
        self.packs
    }

    /// Takes in the lines; gives the length of those that are good.
    fn read(
        &mut self,
        text: &[u8],
        begin: &Begin,
        store: &dyn Store,
        walk: &mut Walk,
    ) -> Result<usize, FsckStateError> {
        let path = self.path.clone();
        let foreign =
            |what: &str| Err(FsckStateError::Foreign { path: path.clone(), what: what.to_owned() });
        let mut good = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            if good == 0 {
                match serde_json::from_slice::<Begin>(line) {
                    Ok(found) if found == *begin => {}
                    Ok(_) => return foreign("it names other keys or another version"),
                    Err(_) => return foreign("its first line is another one"),
                }
            } else {
                let Ok(step) = serde_json::from_slice::<Step>(line) else { break };
                if !are_there(&step, store) || self.apply(step, walk).is_none() {
                    break;
                }
            }
            good += line.len();
        }
        if good == 0 && text.contains(&b'\n') {
            return foreign("its first line is another one");
        }
        Ok(good)
    }

    /// Puts the walk after a step; none if the step cannot be read.
    fn apply(&mut self, step: Step, walk: &mut Walk) -> Option<()> {
        let bytes = STANDARD.decode(&step.tiles).ok()?;
        let (tiles, rest) = bytes.as_chunks::<32>();
        let streams: Option<Vec<_>> = step.streams.iter().map(stream_of).collect();
        let rotations: Option<Vec<_>> = step.rotations.iter().map(rotation_of).collect();
        let (streams, rotations) = (streams?, rotations?);
        let previous = step.previous.as_deref().map(digest);
        let previous = match previous {
            None => Previous::Unknown,
            Some(digest) => Previous::Segment(digest?),
        };
        if !rest.is_empty() {
            return None;
        }
        if let Some(tree) = &mut walk.tree {
            tiles.iter().for_each(|tile| tree.push_tile(Hash::from_bytes(*tile)));
        }
        if step.tree_is_lost {
            walk.tree = None;
        }
        self.tiles += tiles.len() as u64;
        self.packs += step.packs.len();
        self.rotations += rotations.len();
        walk.rotations.extend(rotations);
        walk.after_packs(step.next_index);
        walk.next_segment = step.next_segment;
        walk.previous = previous;
        streams.into_iter().for_each(|(id, stream)| walk.streams.set(id, stream));
        walk.streams.set_losses(step.losses.len() as u64);
        walk.losses = step.losses;
        walk.last_time = step.last_time_ns.map(LedgerTime::from_unix_ns);
        walk.report = step.report;
        walk.report.resumed_after = step.packs.last().map(|(name, _)| name.clone());
        walk.report.records_not_read_again = walk.report.records;
        Some(())
    }

    /// Notes a pack that was walked.
    pub(crate) fn note(&mut self, pack: &Examined, walk: &Walk) -> Result<(), FsckStateError> {
        self.pending.push((pack.name.to_string(), pack.len));
        if let Ok(content) = &pack.content {
            self.streams.extend(walk.streams_of(content).map(|(id, _)| id));
        }
        if walk.has_open_losses() {
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.streams);
        ids.sort_unstable();
        ids.dedup();
        let streams = ids.iter().filter_map(|id| Some((id, walk.streams.stream(id)?)));
        let tiles = walk.tree.as_ref().map_or_else(Vec::new, |tree| self.tiles_of(tree));
        self.tiles += tiles.len() as u64;
        let tiles: Vec<u8> = tiles.iter().flat_map(|tile| *tile.as_bytes()).collect();
        let previous = match walk.previous {
            Previous::Segment(digest) => Some(hex::encode(digest)),
            _ => None,
        };
        let packs = std::mem::take(&mut self.pending);
        self.packs += packs.len();
        let rotations = walk.rotations.iter().skip(self.rotations).map(state_of_rotation).collect();
        self.rotations = walk.rotations.len();
        self.append(&Step {
            packs,
            tiles: STANDARD.encode(tiles),
            tree_is_lost: walk.tree.is_none(),
            next_index: walk.next_index,
            next_segment: walk.next_segment,
            previous,
            streams: streams.map(|(id, stream)| state_of(id, stream)).collect(),
            losses: walk.losses.clone(),
            last_time_ns: walk.last_time.map(LedgerTime::unix_ns),
            rotations,
            report: FsckReport { resumed_after: None, ..walk.report.clone() },
        })
    }

    /// The roots of the tiles since the last step.
    fn tiles_of(&self, tree: &Tree) -> Vec<Hash> {
        let root = |tile| match tree.lookup(TILE_LEVELS, tile) {
            Lookup::Found(root) => Some(root),
            Lookup::InTile(_) | Lookup::Missing => None,
        };
        (self.tiles..tree.size() / TILE_LEAVES).map_while(root).collect()
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), FsckStateError> {
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            self.file.write_all(&text)
        });
        written.map_err(|error| FsckStateError::Io { path: self.path.clone(), error })
    }

    /// A check that is through has no state.
    pub(crate) fn remove(self) -> Result<(), FsckStateError> {
        fs::remove_file(&self.path)
            .map_err(|error| FsckStateError::Io { path: self.path.clone(), error })
    }
}

/// Whether the packs of a step are there, each as long as it was.
fn are_there(step: &Step, store: &dyn Store) -> bool {
    step.packs.iter().all(|(name, len)| {
        let size = ObjectName::parse(name.as_str()).and_then(|name| store.size(&name));
        // One that could not be read has length 0.
        *len == 0 || size.is_ok_and(|size| size == *len)
    })
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

fn state_of_rotation(seen: &SeenRotation) -> RotationState {
    let statement = String::from_utf8_lossy(&seen.statement).into_owned();
    RotationState { index: seen.index.0, statement }
}

fn rotation_of(state: &RotationState) -> Option<SeenRotation> {
    let rotation = KeyRotation::parse(state.statement.as_bytes()).ok()?;
    let statement = Bytes::copy_from_slice(state.statement.as_bytes());
    Some(SeenRotation { index: LeafIndex(state.index), rotation, statement })
}

fn state_of((source, boot): &(SourceId, Boot), stream: &Stream) -> StreamState {
    StreamState {
        source: source.to_string(),
        boot: boot.0,
        next_seq: stream.next_seq.0,
        head: stream.head.map(|head| hex::encode(head.as_bytes())),
        key: stream.key.map(|key| hex::encode(key.as_bytes())),
        losses: stream.losses,
    }
}

fn stream_of(state: &StreamState) -> Option<((SourceId, Boot), Stream)> {
    let head = state.head.as_deref().map(digest);
    let key = state.key.as_deref().map(digest);
    let stream = Stream {
        next_seq: Seq(state.next_seq),
        head: match head {
            None => None,
            Some(head) => Some(ChainHead::from_bytes(head?)),
        },
        key: match key {
            None => None,
            Some(key) => Some(SourcePublicKey::from_bytes(key?)),
        },
        losses: state.losses,
    };
    Some(((state.source.parse().ok()?, Boot(state.boot)), stream))
}
