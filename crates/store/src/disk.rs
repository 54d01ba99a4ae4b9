//! A store in a local directory.
//!
//! ```text
//! DIR/lock       shared by the processes that write; held alone while staging is emptied
//! DIR/objects/   write-once files, mode 0444, never visible half-written
//! DIR/hints/     files that may be replaced
//! DIR/staging/   only where the file system has no unnamed files; emptied by an open that is alone
//! DIR/quarantine/  damaged objects that a repair has put aside; never emptied
//! ```
//!
//! Any number of processes may write: a create has one winner whoever tries. The lock is for
//! cleaning up alone.
//!
//! A create is: unnamed file, write, flush, link under its name, flush the directory. The link is
//! atomic and fails if the name exists. A failed flush is fatal: Linux marks the lost pages clean,
//! so that a second flush would report success. After one, the store takes nothing more until it is
//! opened again. Opening it flushes every directory: a name that a crash has left without its flush
//! is seen, and would be believed.

mod create;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use self::create::Creator;
use crate::{ObjectName, Put, Quarantine, Store, StoreError, random_bytes};

/// How often the lock is tried while another process empties the staging directory.
const LOCK_ATTEMPTS: usize = 200;
/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A directory with write-once files.
#[derive(Debug)]
pub struct DiskStore {
    root: PathBuf,
    /// `None` when opened for reading only.
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    creator: Creator,
    hints: Mutex<()>,
    /// What could not be flushed: nothing is written after that.
    failed: OnceLock<String>,
    /// The lock lives as long as this file is open.
    _lock: File,
}

impl DiskStore {
    /// Opens `root` for writing and makes it, for its owner alone, if it is not there. Other
    /// processes may have it open for writing too.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process keeps it for itself, as earlier versions do;
    /// [`StoreError::Io`] if the directory cannot be made or read.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        make_root(&root)?;
        create::make_directories(&root.join("objects"))?;
        for plane in ["hints", "staging"] {
            create::make_directories(&root.join(plane))?;
        }
        let lock = lock(&root.join("lock"), &|| empty(&root.join("staging")))?;
        create::flush_tree(&root.join("objects"))?;
        let creator = Creator::new(root.join("objects"), root.join("staging"));
        Ok(Self {
            root,
            writer: Some(Writer {
                creator,
                hints: Mutex::new(()),
                failed: OnceLock::new(),
                _lock: lock,
            }),
        })
    }

    /// Opens `root` for reading, also while another process writes there.
    ///
    /// # Errors
    /// [`StoreError::Io`] if there is no store at `root`.
    pub fn open_read_only(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let objects = root.join("objects");
        let is_store = fs::metadata(&objects)
            .map_err(|error| StoreError::io(format!("opening {}", objects.display()), error))?;
        if !is_store.is_dir() {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(StoreError::io(format!("opening {}", objects.display()), error));
        }
        Ok(Self { root, writer: None })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that holds (or would hold) an object.
    pub fn object_path(&self, name: &ObjectName) -> PathBuf {
        self.root.join("objects").join(name.as_str())
    }

    fn hint_path(&self, name: &ObjectName) -> PathBuf {
        self.root.join("hints").join(name.as_str())
    }

    /// Writes, unless a flush has failed before.
    fn writing<T>(
        &self,
        write: impl FnOnce(&Writer) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let writer = self.writer.as_ref().ok_or(StoreError::ReadOnly)?;
        if let Some(what) = writer.failed.get() {
            let error = io::Error::other("an earlier flush failed; nothing was written");
            return Err(StoreError::fatal(what, error));
        }
        let written = write(writer);
        if let Err(StoreError::Fatal { what, .. }) = &written {
            let _ = writer.failed.set(what.clone());
        }
        written
    }
}

fn make_root(root: &Path) -> Result<(), StoreError> {
    if root.is_dir() {
        return Ok(());
    }
    create::make_directories(root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o700))
        .map_err(|error| StoreError::io(format!("protecting {}", root.display()), error))
}

/// Takes a share of the lock; calls `alone` first if nobody else has one.
fn lock(path: &Path, alone: &dyn Fn() -> Result<(), StoreError>) -> Result<File, StoreError> {
    let failed = |error| StoreError::io(format!("locking {}", path.display()), error);
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            alone()?;
            file.unlock().map_err(failed)?;
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock_shared() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(StoreError::Locked { path: path.to_owned() })
}

fn empty(directory: &Path) -> Result<(), StoreError> {
    let what = || format!("emptying {}", directory.display());
    for entry in fs::read_dir(directory).map_err(|error| StoreError::io(what(), error))? {
        let entry = entry.map_err(|error| StoreError::io(what(), error))?;
        fs::remove_file(entry.path()).map_err(|error| StoreError::io(what(), error))?;
    }
    Ok(())
}

impl Store for DiskStore {
    fn put_new(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.writing(|writer| writer.creator.create(name, parts))
    }

    fn make_durable(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.writing(|writer| writer.creator.make_durable(name))
    }

    fn read(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        let bytes = fs::read(self.object_path(name));
        bytes.map(Bytes::from).map_err(|error| StoreError::read(name, error))
    }

    fn read_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        let file = File::open(self.object_path(name));
        let file = file.map_err(|error| StoreError::read(name, error))?;
        let size = file.metadata().map_err(|error| StoreError::read(name, error))?.len();
        if range.start > range.end || range.end > size {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(StoreError::Io { what: format!("reading {name}"), error });
        }
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start)
            .map_err(|error| StoreError::read(name, error))?;
        Ok(bytes.into())
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let metadata = fs::metadata(self.object_path(name));
        metadata.map(|m| m.len()).map_err(|error| StoreError::read(name, error))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        let directory = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
        let mut names = Vec::new();
        walk(&self.root.join("objects"), directory, &mut |name| {
            if name.as_str().starts_with(prefix) && after.is_none_or(|after| name > *after) {
                names.push(name);
            }
        })?;
        names.sort_unstable();
        Ok(names)
    }

    fn retire(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.writing(|_| match fs::remove_file(self.object_path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(format!("retiring {name}"), error))
            }
            _ => Ok(()),
        })
    }

    fn put_hint(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.writing(|writer| {
            let _one_at_a_time = writer.hints.lock().unwrap_or_else(|e| e.into_inner());
            let path = self.hint_path(name);
            let failed = |error| StoreError::io(format!("writing hint {name}"), error);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            let staged = self.root.join("staging").join(hex(&random_bytes::<8>()));
            fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, &path)).map_err(|error| {
                // Else a full disk gets a file more at every try.
                let _ = fs::remove_file(&staged);
                failed(error)
            })
        })
    }

    fn read_hint(&self, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        match fs::read(self.hint_path(name)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(format!("reading hint {name}"), error)),
        }
    }
}

impl Quarantine for DiskStore {
    fn quarantine(&self, name: &ObjectName) -> Result<Option<String>, StoreError> {
        self.writing(|_| create::put_aside(&self.object_path(name), &self.root, name))
    }
}

/// Calls `found` for every object below `objects/directory`; other files are passed over.
fn walk(
    objects: &Path,
    directory: &str,
    found: &mut dyn FnMut(ObjectName),
) -> Result<(), StoreError> {
    let failed = |error| StoreError::io(format!("listing {directory:?}"), error);
    let entries = match fs::read_dir(objects.join(directory)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(file_name) = entry.file_name().into_string() else { continue };
        let path =
            if directory.is_empty() { file_name } else { format!("{directory}/{file_name}") };
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(objects, &path, found)?;
        } else if let Ok(name) = ObjectName::parse(path) {
            found(name);
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
