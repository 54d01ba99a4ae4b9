//! Files that people hand to a command, and those that it writes for them: evidence never over an
//! existing one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use stele_ledger::evidence;
use stele_merkle::note::NOTE_BYTES_MAX;
use stele_merkle::{Checkpoint, LogVerifier};

use crate::error::CliError;

/// Creates a file that must not exist yet.
///
/// # Errors
/// When it exists or can't be created.
pub(crate) fn create_new(path: &Path) -> Result<File, CliError> {
    File::create_new(path).map_err(|e| {
        let error = CliError::failed(format!("cannot write {}: {e}", path.display()));
        if e.kind() == io::ErrorKind::AlreadyExists {
            return error.hint("evidence is never overwritten: choose another name");
        }
        error
    })
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// When it exists or can't be written.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut file = create_new(path)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| CliError::failed(format!("cannot write {}: {e}", path.display())))
}

/// Writes a file that must not exist yet, for its owner alone.
///
/// # Errors
/// When it exists or can't be written.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|e| CliError::failed(format!("cannot write {}: {e}", path.display())))
}

/// Writes a file anew: under its name there is at any time the old content or the whole new one,
/// which is durable. The name itself is durable when its directory was synced.
///
/// # Errors
/// When it can't be written.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let staged = path.with_extension("new");
    File::create(&staged)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&staged, path))
        .map_err(|e| CliError::failed(format!("cannot write {}: {e}", path.display())))
}

/// Reads a checkpoint that somebody kept, and believes it if `log` does.
///
/// # Errors
/// When it can't be read, or a tampering error when it does not verify.
pub(crate) fn checkpoint(path: &Path, log: &LogVerifier) -> Result<Checkpoint, CliError> {
    opened(path, &note(path)?, log)
}

/// Reads a signed note, not checked yet.
///
/// # Errors
/// When it can't be read.
pub(crate) fn note(path: &Path) -> Result<String, CliError> {
    let mut note = String::new();
    File::open(path)
        .and_then(|file| file.take(NOTE_BYTES_MAX as u64 + 1).read_to_string(&mut note))
        .map_err(|e| CliError::failed(format!("cannot read {}: {e}", path.display())))?;
    Ok(note)
}

/// The checkpoint in the note of a file, if `log` believes it.
///
/// # Errors
/// A tampering error when it does not verify.
pub(crate) fn opened(path: &Path, note: &str, log: &LogVerifier) -> Result<Checkpoint, CliError> {
    log.open(note.as_bytes()).map_err(|e| {
        CliError::tampered(format!("the checkpoint in {} does not verify: {e}", path.display()))
    })
}

/// The first line of an evidence file, which has the history of the log's keys.
///
/// # Errors
/// When it can't be read.
pub(crate) fn key_history(path: &Path) -> Result<Vec<u8>, CliError> {
    let cannot = |e| CliError::failed(format!("cannot read {}: {e}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let mut line = Vec::new();
    let mut file = BufReader::new(file).take(evidence::LINE_BYTES_MAX);
    file.read_until(b'\n', &mut line).map_err(cannot)?;
    Ok(line)
}
