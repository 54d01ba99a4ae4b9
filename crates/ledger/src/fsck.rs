//! `fsck`: everything that is stored is derived again from its bytes, with nothing believed.
//!
//! Digests of objects and their chain, every leaf hash, every commitment, every source's sequence,
//! chain and seals, the roots, the checkpoints recorded in the log and the one beside it. Goes on
//! after a problem, and tells only of causes: a record that is lost is one problem, not also each
//! hash above it.

mod objects;
mod streams;

use bytes::Bytes;
use stele_merkle::{Hash, LogVerifier, Subtrees, TreeSize};
use stele_record::LedgerTime;
use stele_store::{ObjectName, Store, StoreError};

use self::streams::StreamChecks;
use crate::format::{Digest, digest_of};
use crate::info::{self, checkpoint_hint};
use crate::objects::{PACKS, SEGMENTS};
use crate::tree::{Lookup, Tree};

/// How often a check is begun anew because another process was packing meanwhile.
const MOVED_TRIES: usize = 4;

/// How far a check has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The object that is being read.
    pub object: String,
    /// Objects done.
    pub objects_done: u64,
    /// Objects in all.
    pub objects_total: u64,
    /// Records done.
    pub records_done: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object at fault.
    pub object: String,
    /// Index of the record at fault, where it is known.
    pub record: Option<u64>,
    /// The fault.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", crate::error::place(&self.object, self.record), self.what)
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Records that are what was written, payload included.
    pub records: u64,
    /// Segments read.
    pub segments: u64,
    /// Packs read.
    pub packs: u64,
    /// Seals of sources whose signature and chain hold.
    pub seals: u64,
    /// Seals that could not be checked, because the source's key or records before it are lost.
    pub seals_unchecked: u64,
    /// Signed checkpoints, recorded in the log or beside it, whose root the records give.
    pub checkpoints: u64,
    /// Everything that is wrong; empty means that the ledger is whole.
    pub problems: Vec<Problem>,
}

/// Checks a whole ledger; goes on after a problem.
///
/// `verifier` holds the log's public keys as the caller knows them, never as the store names them.
/// The ledger may be open elsewhere: what is appended meanwhile is not looked at.
pub fn fsck(
    store: &dyn Store,
    verifier: &LogVerifier,
    progress: &mut dyn FnMut(&Progress),
) -> FsckReport {
    let mut tries = 0;
    loop {
        let mut fsck = Fsck::new(store, verifier, progress);
        let packs = fsck.run();
        tries += 1;
        // Objects that are gone although they were listed: were they packed meanwhile?
        let now = || store.list(&format!("{PACKS}/"), None).ok();
        if !fsck.moved || tries == MOVED_TRIES || now() == Some(packs) {
            return fsck.report;
        }
    }
}

struct Fsck<'a> {
    store: &'a dyn Store,
    verifier: &'a LogVerifier,
    progress: &'a mut dyn FnMut(&Progress),
    done: Progress,
    report: FsckReport,
    /// `None` once a leaf is lost for good.
    tree: Option<Tree>,
    next_index: u64,
    /// Number of the next segment, `None` where the pack that says it cannot be read.
    next_segment: Option<u64>,
    /// The digest that the next segment must name, where it is known.
    previous: Option<Digest>,
    streams: StreamChecks,
    own_source: Option<String>,
    /// Ledger time of the record before.
    last_time: Option<LedgerTime>,
    /// Checkpoints recorded in the object that is being read.
    pending: Vec<(u64, Bytes)>,
    /// An object was listed but is gone.
    moved: bool,
}

impl<'a> Fsck<'a> {
    fn new(
        store: &'a dyn Store,
        verifier: &'a LogVerifier,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Self {
        Self {
            store,
            verifier,
            progress,
            done: Progress {
                object: String::new(),
                objects_done: 0,
                objects_total: 0,
                records_done: 0,
            },
            report: FsckReport::default(),
            tree: Some(Tree::default()),
            next_index: 0,
            next_segment: Some(0),
            previous: None,
            streams: StreamChecks::default(),
            own_source: None,
            last_time: None,
            pending: Vec::new(),
            moved: false,
        }
    }

    /// Checks everything; gives the packs that were there.
    fn run(&mut self) -> Vec<ObjectName> {
        // In this order, so that what another process does meanwhile only adds to what was seen.
        let hint = self.store.read_hint(&checkpoint_hint());
        let segments = self.list(SEGMENTS);
        let packs = self.list(PACKS);
        self.log_info();
        self.done.objects_total = (packs.len() + segments.len()) as u64;
        for name in &packs {
            self.start(name);
            self.report.packs += 1;
            self.pack(name);
            self.done.objects_done += 1;
        }
        for name in &segments {
            self.start(name);
            self.report.segments += 1;
            self.segment(name);
            self.done.objects_done += 1;
        }
        self.hint(hint);
        (self.progress)(&self.done);
        packs
    }

    fn start(&mut self, name: &ObjectName) {
        self.done.object = name.to_string();
        (self.progress)(&self.done);
    }

    fn problem(&mut self, object: &str, record: Option<u64>, what: impl Into<String>) {
        self.report.problems.push(Problem { object: object.to_owned(), record, what: what.into() });
    }

    fn log_info(&mut self) {
        let name = info::name();
        match self.store.read(&name) {
            Ok(bytes) => self.previous = Some(digest_of(&[&bytes])),
            Err(error) => return self.problem(name.as_str(), None, error.to_string()),
        }
        match info::load(self.store) {
            Ok((info, _)) => {
                let known = self.verifier.keys();
                if !known.iter().any(|key| key.name() == info.origin) {
                    let what = format!("it names the log {:?}, no key is of that log", info.origin);
                    self.problem(name.as_str(), None, what);
                }
                let named = |key: &String| known.iter().any(|known| known.to_string() == *key);
                if !info.keys.iter().all(named) {
                    self.problem(name.as_str(), None, "it names keys that are not the log's");
                }
                self.own_source = Some(info.source);
            }
            Err(crate::LedgerError::Corrupt { what, .. }) => {
                self.problem(name.as_str(), None, what);
            }
            Err(error) => self.problem(name.as_str(), None, error.to_string()),
        }
    }

    fn list(&mut self, directory: &str) -> Vec<ObjectName> {
        let prefix = format!("{directory}/");
        let names = match self.store.list(&prefix, None) {
            Ok(names) => names,
            Err(error) => {
                self.problem(&prefix, None, error.to_string());
                return Vec::new();
            }
        };
        let (known, unknown): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.number_in(directory).is_some());
        for name in unknown {
            self.problem(name.as_str(), None, "no ledger writes an object of this name");
        }
        known
    }

    /// The checkpoint beside the log: it must be there, be signed, and be of these records.
    fn hint(&mut self, hint: Result<Option<Bytes>, StoreError>) {
        let name = format!("hints/{}", checkpoint_hint());
        let note = match hint {
            Ok(Some(note)) => note,
            Ok(None) => return self.problem(&name, None, "there is no signed checkpoint"),
            Err(error) => return self.problem(&name, None, error.to_string()),
        };
        if let Err(what) = self.checkpoint(&note) {
            self.problem(&name, None, what);
        }
    }

    /// Checks a signed note against the records; counts it if it holds.
    fn checkpoint(&mut self, note: &[u8]) -> Result<(), String> {
        let checkpoint = self.verifier.open(note).map_err(|e| e.to_string())?;
        let size = checkpoint.size;
        if size.0 > self.next_index && self.tree.is_some() {
            return Err(format!("{size} records were signed, only {} are here", self.next_index));
        }
        match self.root(size) {
            Some(root) if root == checkpoint.root => self.report.checkpoints += 1,
            Some(_) => return Err(format!("the first {size} records do not give the signed root")),
            // Lost records were told of; which root they gave cannot be known.
            None => {}
        }
        Ok(())
    }

    fn root(&self, size: TreeSize) -> Option<Hash> {
        stele_merkle::root(size, &Nodes(self.tree.as_ref()?)).ok()
    }
}

struct Nodes<'a>(&'a Tree);

impl Subtrees for Nodes<'_> {
    type Error = ();

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, ()> {
        match self.0.lookup(level, index) {
            Lookup::Found(hash) => Ok(hash),
            Lookup::InTile(_) | Lookup::Missing => Err(()),
        }
    }
}
