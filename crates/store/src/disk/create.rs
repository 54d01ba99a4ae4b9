//! Creating a file exactly once, durably, and never visible half-written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use super::hex;
use crate::{ObjectName, Put, StoreError, random_bytes};

const FILE_MODE: u32 = 0o444;
const COMPARE_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes after which a large file is flushed while it is being written. A flush of any file may wait
/// for what the file system has to write of all: many small ones leave gaps for the others.
const FLUSH_BYTES: usize = 4 * 1024 * 1024;

/// Creates objects below one directory.
#[derive(Debug)]
pub(super) struct Creator {
    objects: PathBuf,
    staging: PathBuf,
    /// Whether the file system makes unnamed files that can be linked; found out by trying.
    unnamed: AtomicBool,
    /// Open directories that are known to exist durably.
    directories: Mutex<HashMap<PathBuf, Arc<OwnedFd>>>,
}

impl Creator {
    pub(super) fn new(objects: PathBuf, staging: PathBuf) -> Self {
        let unnamed = AtomicBool::new(cfg!(target_os = "linux"));
        Self { objects, staging, unnamed, directories: Mutex::default() }
    }

    /// Makes the staged fallback the only way, as on a file system without unnamed files.
    #[cfg(test)]
    pub(super) fn without_unnamed_files(&self) {
        self.unnamed.store(false, Ordering::Relaxed);
    }

    /// Flushes the name of an object that is there; its content was flushed before it had the name.
    pub(super) fn make_durable(&self, name: &ObjectName) -> Result<(), StoreError> {
        let path = self.objects.join(name.as_str());
        let parent = path.parent().unwrap_or(&self.objects);
        let directory = self.directory(parent)?;
        flush_directory(&directory, parent)
    }

    pub(super) fn create(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<Put, StoreError> {
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
    let failed = |error: io::Error| StoreError::io(format!("writing {name}"), error);
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let (mut left, mut unflushed) = (slices.as_mut_slice(), 0);
    while !left.is_empty() {
        if unflushed >= FLUSH_BYTES {
            flush(&file, || name.to_string())?;
            unflushed = 0;
        }
        match write_some(&mut file, left) {
            Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                unflushed += written;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    flush(&file, || name.to_string())?;
    Ok(file)
}

/// One write of at most [`FLUSH_BYTES`].
fn write_some(file: &mut File, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut bytes = 0;
    let fit = slices.iter().take_while(|slice| {
        bytes += slice.len();
        bytes <= FLUSH_BYTES
    });
    match fit.count() {
        0 => file.write(&slices[0][..FLUSH_BYTES]),
        fit => file.write_vectored(&slices[..fit]),
    }
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
    flush(directory, || path.display().to_string())
}

/// The one flush of this store. An error is fatal; see the head of `disk`.
fn flush(file: impl AsFd, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    let flushed = rustix::fs::fsync(file);
    #[cfg(test)]
    let flushed = flushed.and_then(|()| faults::flush());
    flushed.map_err(|error| StoreError::fatal(what(), error.into()))
}

/// Moves the object at `path` to `root/quarantine/NAME.N`, with the first N that is free. The link
/// comes before the unlink, so that the bytes are never without a name.
pub(super) fn put_aside(
    path: &Path,
    root: &Path,
    name: &ObjectName,
) -> Result<Option<String>, StoreError> {
    let failed = |error| StoreError::io(format!("putting {name} aside"), error);
    let open = |path: &Path| File::open(path).map(OwnedFd::from).map_err(failed);
    let mut number = 0_u64;
    let kept = loop {
        let kept = root.join(format!("quarantine/{name}.{number}"));
        let parent = kept.parent().unwrap_or(root);
        make_directories(parent)?;
        match fs::hard_link(path, &kept) {
            Ok(()) => {
                // Some of them may have been made just now.
                for above in parent.ancestors().take_while(|above| above.starts_with(root)) {
                    flush_path(above)?;
                }
                break kept;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failed(error)),
        }
    };
    fs::remove_file(path).map_err(failed)?;
    let parent = path.parent().unwrap_or(root);
    flush_directory(&open(parent)?, parent)?;
    Ok(Some(kept.display().to_string()))
}

/// Flushes that fail on demand.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::Cell;

    use rustix::io::Errno;

    thread_local! {
        static UNTIL_FAILURE: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// On this thread the flush after `flushes` more fails, once.
    pub(crate) fn fail_after(flushes: u32) {
        UNTIL_FAILURE.set(Some(flushes));
    }

    /// Whether the failure has happened, or was never asked for.
    pub(crate) fn is_over() -> bool {
        UNTIL_FAILURE.take().is_none()
    }

    pub(crate) fn flush() -> Result<(), Errno> {
        match UNTIL_FAILURE.get() {
            None => Ok(()),
            Some(0) => {
                UNTIL_FAILURE.set(None);
                Err(Errno::IO)
            }
            Some(left) => {
                UNTIL_FAILURE.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
