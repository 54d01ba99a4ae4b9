//! Creating a file exactly once, durably, and never visible half-written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use super::hex;
use crate::{ObjectName, Put, StoreError, random_bytes};

const FILE_MODE: u32 = 0o444;
const COMPARE_CHUNK_BYTES: usize = 64 * 1024;

/// Creates objects below one directory.
#[derive(Debug)]
pub(super) struct Creator {
    objects: PathBuf,
    staging: PathBuf,
    /// Whether the file system makes unnamed files that can be linked; found out by trying.
    unnamed: AtomicBool,
    /// What could not be flushed, once that has happened.
    lost: OnceLock<String>,
    /// Open directories that are known to exist durably.
    directories: Mutex<HashMap<PathBuf, Arc<OwnedFd>>>,
}

impl Creator {
    pub(super) fn new(objects: PathBuf, staging: PathBuf) -> Self {
        let unnamed = AtomicBool::new(cfg!(target_os = "linux"));
        Self { objects, staging, unnamed, lost: OnceLock::new(), directories: Mutex::default() }
    }

    /// Makes the staged fallback the only way, as on a file system without unnamed files.
    #[cfg(test)]
    pub(super) fn without_unnamed_files(&self) {
        self.unnamed.store(false, Ordering::Relaxed);
    }

    /// Refuses everything once a flush has failed: nobody knows what of the store is durable.
    pub(super) fn check_flushes(&self) -> Result<(), StoreError> {
        let Some(what) = self.lost.get() else { return Ok(()) };
        Err(StoreError::fatal(what.clone(), io::Error::other("it failed before")))
    }

    pub(super) fn create(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.remember(self.create_once(name, parts))
    }

    /// Flushes the name of an object that is there; its content was flushed before it had the name.
    pub(super) fn make_durable(&self, name: &ObjectName) -> Result<(), StoreError> {
        let path = self.objects.join(name.as_str());
        let parent = path.parent().unwrap_or(&self.objects);
        let directory = self.directory(parent);
        self.remember(directory.and_then(|directory| flush_directory(&directory, parent)))
    }

    fn remember<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Fatal { what, .. }) = &result {
            let _ = self.lost.set(what.clone());
        }
        result
    }

    fn create_once(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
        let path = self.objects.join(name.as_str());
        let parent = path.parent().unwrap_or(&self.objects);
        let directory = self.directory(parent)?;
        let linked = if self.unnamed.load(Ordering::Relaxed) {
            match create_unnamed(&directory, &path, name, parts)? {
                Some(linked) => linked,
                None => {
                    self.unnamed.store(false, Ordering::Relaxed);
                    self.create_staged(&path, name, parts)?
                }
            }
        } else {
            self.create_staged(&path, name, parts)?
        };
        // Also where the name was taken: the attempt that took it may have died before this.
        flush_directory(&directory, parent)?;
        if !linked {
            compare(&path, name, parts)?;
        }
        Ok(if linked { Put::Created } else { Put::AlreadyThere })
    }

    /// The open directory; made, with its parents, if it is not there.
    fn directory(&self, path: &Path) -> Result<Arc<OwnedFd>, StoreError> {
        let mut known = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = known.get(path) {
            return Ok(Arc::clone(directory));
        }
        if !path.is_dir() {
            make_directories(path)?;
        }
        // Whoever has made it, perhaps this process in an attempt that failed: its name may not be
        // durable yet.
        for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.objects)) {
            flush_path(above)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty())
            .map_err(|e| StoreError::io(format!("opening {}", path.display()), e.into()))?;
        let opened = Arc::new(opened);
        known.insert(path.to_owned(), Arc::clone(&opened));
        Ok(opened)
    }

    /// Returns whether the name was free.
    fn create_staged(
        &self,
        path: &Path,
        name: &ObjectName,
        parts: &[&[u8]],
    ) -> Result<bool, StoreError> {
        let staged = self.staging.join(hex(&random_bytes::<8>()));
        let result =
            stage(&staged, name, parts).and_then(|()| match fs::hard_link(&staged, path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(StoreError::io(format!("linking {name}"), error)),
            });
        // A name left in the staging directory is harmless: it is emptied at the next open.
        let _ = fs::remove_file(&staged);
        result
    }
}

fn stage(staged: &Path, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(staged)
        .map_err(|error| StoreError::io(format!("staging {name}"), error))?;
    write_and_flush(file, name, parts).map(drop)
}

/// Returns `None` where unnamed files do not work, else whether the name was free.
#[cfg(target_os = "linux")]
fn create_unnamed(
    directory: &OwnedFd,
    path: &Path,
    name: &ObjectName,
    parts: &[&[u8]],
) -> Result<Option<bool>, StoreError> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match openat(directory, ".", flags, Mode::from_raw_mode(FILE_MODE)) {
        Ok(file) => File::from(file),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(StoreError::io(format!("creating {name}"), error.into())),
    };
    let file = write_and_flush(file, name, parts)?;
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, from, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(true)),
        Err(Errno::EXIST) => Ok(Some(false)),
        Err(Errno::NOENT | Errno::XDEV) => Ok(None),
        Err(error) => Err(StoreError::io(format!("linking {name}"), error.into())),
    }
}

#[cfg(not(target_os = "linux"))]
fn create_unnamed(
    _: &OwnedFd,
    _: &Path,
    _: &ObjectName,
    _: &[&[u8]],
) -> Result<Option<bool>, StoreError> {
    Ok(None)
}

fn write_and_flush(mut file: File, name: &ObjectName, parts: &[&[u8]]) -> Result<File, StoreError> {
    write_all(&mut file, parts)
        .map_err(|error| StoreError::io(format!("writing {name}"), error))?;
    file.sync_all().map_err(|error| StoreError::fatal(name.to_string(), error))?;
    Ok(file)
}

fn write_all(file: &mut File, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the file holds exactly `parts`.
fn compare(path: &Path, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
    let conflict = || StoreError::Conflict { name: name.clone() };
    let mut file = File::open(path).map_err(|error| StoreError::read(name, error))?;
    let length = file.metadata().map_err(|error| StoreError::read(name, error))?.len();
    if length != parts.iter().map(|part| part.len() as u64).sum::<u64>() {
        return Err(conflict());
    }
    let mut buffer = vec![0; COMPARE_CHUNK_BYTES];
    for part in parts {
        for chunk in part.chunks(COMPARE_CHUNK_BYTES) {
            let read = &mut buffer[..chunk.len()];
            file.read_exact(read).map_err(|error| StoreError::read(name, error))?;
            if read != chunk {
                return Err(conflict());
            }
        }
    }
    Ok(())
}

/// Flushes every directory from `objects` down, and all those above: whoever made them, this process
/// or one that was killed, may not have flushed their names.
pub(super) fn flush_tree(objects: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io(format!("flushing {}", objects.display()), error);
    let mut directories = vec![objects.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                directories.push(entry.path());
            }
        }
        flush_path(&directory)?;
    }
    let absolute = std::path::absolute(objects).map_err(failed)?;
    for above in absolute.ancestors().skip(1) {
        match File::open(above).map(|directory| rustix::fs::fsync(&directory)) {
            // Where nothing can be flushed or read, this user has made nothing.
            Ok(Ok(()) | Err(Errno::INVAL | Errno::ROFS | Errno::OPNOTSUPP)) => {}
            Ok(Err(error)) => {
                return Err(StoreError::fatal(above.display().to_string(), error.into()));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn flush_path(directory: &Path) -> Result<(), StoreError> {
    let opened = File::open(directory)
        .map_err(|error| StoreError::io(format!("opening {}", directory.display()), error))?;
    flush_directory(&opened.into(), directory)
}

/// Makes a directory and its parents; nothing of it is flushed yet.
pub(super) fn make_directories(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path)
        .map_err(|error| StoreError::io(format!("making {}", path.display()), error))
}

fn flush_directory(directory: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    rustix::fs::fsync(directory)
        .map_err(|error| StoreError::fatal(path.display().to_string(), error.into()))
}
