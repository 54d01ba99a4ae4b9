//! Files that a command writes for a person: never over an existing one.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

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
