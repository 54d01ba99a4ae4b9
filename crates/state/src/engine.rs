//! The engine: opens the folder the view lives in, applies batches of records, opens snapshots
//! for questions.
//!
//! A batch is committed whole or not at all. Most of them are not made durable at once: after a
//! crash the view is at an earlier record and the caller folds on from [`State::next_index`].

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::StateError;
use crate::bases::Bases;
use crate::bodies::Pieces;
use crate::fold::{Applied, Fold, FoldRecord, Kept};
use crate::query::memo::Memo;
use crate::table::Space;
use crate::tables::{FORMAT, Spaces, Tables};

/// Name of the engine's folder within the folder of the view.
const FOLDER: &str = "view";
/// The view as earlier versions had it.
const EARLIER: &str = "state.redb";

/// Memory that the engine may use for blocks that were read.
const CACHE_BYTES: u64 = 256 * 1024 * 1024;
/// Memory for rows that are not in sorted files yet; as much again while they are written.
const BUFFER_BYTES: u64 = 32 * 1024 * 1024;
/// What is kept twice, in a journal and in memory, until it is in sorted files.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;
/// Threads that write sorted files. A long merge keeps one of them; who folds must not wait for it.
const WORKERS: usize = 4;
/// As [`BUFFER_BYTES`], for what is true only for a while: rows that were removed are passed over
/// until they leave the buffer and the files that it goes to.
const LIVE_BUFFER_BYTES: u64 = 1024 * 1024;
/// Files from such buffers before they become one with the rest.
const LIVE_FILES: u8 = 2;
/// Rows are compressed and read in blocks of about this size.
const BLOCK_BYTES: u32 = 8 * 1024;

/// A batch that ends behind a multiple of this index is made durable.
const DURABLE_EVERY: u64 = 65_536;

/// The state of all clusters over time. Cloning gives another handle on the same state.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    rows: Keyspace,
    bodies: Keyspace,
    live: Keyspace,
    /// Of whoever folds; forgotten when a batch fails.
    kept: Mutex<Kept>,
    pieces: Pieces,
    /// For questions; who folds has their own.
    bases: Bases,
    /// What questions have read of the newest state.
    memo: Mutex<Arc<Memo>>,
    next: watch::Sender<u64>,
    /// Of a view that is not kept; removed last.
    _temporary: Option<TempDir>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State(next index {})", self.next_index())
    }
}

impl State {
    /// Opens the view in a folder, or makes an empty one. A view of another format is dropped: it
    /// is folded again from index 0.
    ///
    /// # Errors
    /// [`StateError::InUse`], [`StateError::Io`] or [`StateError::Engine`].
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        // For its owner alone: the view holds whole objects.
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let earlier = dir.join(EARLIER);
        if earlier.exists() {
            std::fs::remove_file(earlier)?;
        }
        let path = dir.join(FOLDER);
        if let Some(state) = Self::start(&path, None)? {
            return Ok(state);
        }
        tracing::warn!(path = %path.display(), "the state view has another format; rebuilding it");
        std::fs::remove_dir_all(&path)?;
        Self::start(&path, None)?.ok_or_else(has_another_format)
    }

    /// An empty view that is gone with its last handle, for tests and short questions.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::Engine`] if the folder for temporary files can't be used.
    pub fn temporary() -> Result<Self, StateError> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join(FOLDER);
        Self::start(&path, Some(dir))?.ok_or_else(has_another_format)
    }

    /// `None` if the files are of another format.
    fn start(path: &Path, temporary: Option<TempDir>) -> Result<Option<Self>, StateError> {
        let builder = Database::builder(path).cache_size(CACHE_BYTES);
        let db = builder.max_journaling_size(JOURNAL_BYTES).worker_threads(WORKERS).open()?;
        let options = |compression| {
            KeyspaceCreateOptions::default()
                .max_memtable_size(BUFFER_BYTES)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
                .data_block_compression_policy(CompressionPolicy::all(compression))
        };
        let rows = db.keyspace("rows", || options(CompressionType::Lz4))?;
        let bodies = db.keyspace("bodies", || options(CompressionType::None))?;
        let live = db.keyspace("live", || {
            let strategy = Leveled::default().with_l0_threshold(LIVE_FILES);
            options(CompressionType::Lz4)
                .max_memtable_size(LIVE_BUFFER_BYTES)
                .compaction_strategy(Arc::new(strategy))
        })?;
        let (kept, memo) = (Mutex::default(), Mutex::default());
        let (pieces, bases) = (Pieces::default(), Bases::default());
        let (next, _temporary) = (watch::Sender::new(0), temporary);
        let inner = Inner { db, rows, bodies, live, kept, pieces, bases, memo, next, _temporary };
        let mut tables = inner.tables();
        let next = tables.meta.get("next_index")?.map_or(0, |next| next.value());
        inner.next.send_replace(next);
        match tables.meta.get("format")?.map(|format| format.value()) {
            Some(FORMAT) => {}
            Some(_) => return Ok(None),
            None => {
                tables.meta.insert("format", FORMAT);
                inner.commit(tables)?;
            }
        }
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// The record that must come next.
    pub fn next_index(&self) -> u64 {
        *self.inner.next.borrow()
    }

    /// Tells of each new [`State::next_index`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.next.subscribe()
    }

    /// Folds a run of records. Records below [`State::next_index`] are passed
    /// over, so that a batch may be repeated. A record that can't be used never stops the fold: it
    /// is kept as a problem.
    ///
    /// Blocks on the disk; only one batch is folded at a time.
    ///
    /// # Errors
    /// [`StateError::Hole`] if records are missing before or in the batch: nothing was applied.
    /// [`StateError::Engine`] or [`StateError::Damaged`]: nothing was applied.
    pub fn apply(&self, batch: &[FoldRecord<'_>]) -> Result<Applied, StateError> {
        let mut kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What is not committed must not outlive its batch.
        let mut own = std::mem::take(&mut *kept);
        let mut fold = Fold::begin(self.inner.tables(), &mut own)?;
        fold.records(batch)?;
        let (applied, next, tables) = fold.finish()?;
        self.inner.commit(tables)?;
        let first = next - applied.records;
        if first / DURABLE_EVERY != next / DURABLE_EVERY {
            self.sync()?;
        }
        *kept = own;
        drop(kept);
        self.inner.next.send_if_modified(|current| std::mem::replace(current, next) != next);
        Ok(applied)
    }

    /// Makes all that was folded durable, so that a restart need not fold it again.
    ///
    /// # Errors
    /// [`StateError::Engine`]; the view is then as it was at some earlier record.
    pub fn sync(&self) -> Result<(), StateError> {
        Ok(self.inner.db.persist(PersistMode::SyncAll)?)
    }

    /// SHA-256 over all rows of all tables, in hexadecimal: equal for equal records, however they
    /// were batched. Reads everything; for tests and support.
    ///
    /// # Errors
    /// [`StateError::Engine`].
    pub fn digest(&self) -> Result<String, StateError> {
        self.tables().digest()
    }

    /// What each table holds: name, rows, bytes of keys and values before they are compressed.
    /// Reads everything; for measuring.
    ///
    /// # Errors
    /// [`StateError::Engine`].
    pub fn table_sizes(&self) -> Result<Vec<(&'static str, u64, u64)>, StateError> {
        self.tables().sizes()
    }

    /// Waits until the engine has written and merged what it has to, for measuring. Not to be
    /// called while somebody folds.
    pub fn settle(&self) {
        let db = &self.inner.db;
        while db.outstanding_flushes() > 0 || db.active_compactions() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Bytes of the view on disk, with what is kept twice until it is in sorted files.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn stored_bytes(&self) -> Result<u64, StateError> {
        Ok(self.inner.db.disk_space()?)
    }

    pub(crate) fn pieces(&self) -> &Pieces {
        &self.inner.pieces
    }

    pub(crate) fn bases(&self) -> &Bases {
        &self.inner.bases
    }

    /// What was read of the state before this record.
    pub(crate) fn memo(&self, next: u64) -> Arc<Memo> {
        Memo::of(&self.inner.memo, next)
    }

    /// All tables as they are now.
    pub(crate) fn tables(&self) -> Tables {
        self.inner.tables()
    }

    #[cfg(test)]
    pub(crate) fn commit(&self, tables: Tables) -> Result<(), StateError> {
        self.inner.commit(tables)
    }
}

impl Inner {
    fn tables(&self) -> Tables {
        let snapshot = Arc::new(self.db.snapshot());
        let space = |keyspace: &Keyspace| Space {
            keyspace: keyspace.clone(),
            snapshot: Arc::clone(&snapshot),
        };
        Tables::new(&Spaces {
            rows: space(&self.rows),
            bodies: space(&self.bodies),
            live: space(&self.live),
        })
    }

    fn commit(&self, tables: Tables) -> Result<(), StateError> {
        let mut batch = self.db.batch();
        tables.commit(&mut batch);
        Ok(batch.commit()?)
    }
}

fn has_another_format() -> StateError {
    StateError::Engine("a new view has another format".to_owned())
}
