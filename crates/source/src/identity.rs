//! A source's directory: its key file and its lock.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use stele_record::SourceKey;
use stele_store::random_bytes;

use crate::SourceError;

const KEY_PREFIX: &str = "stele-source-key/v1 ";

/// Takes the directory for this process; made if absent, for its owner alone: the spool holds
/// payloads.
pub(crate) fn lock(dir: &Path) -> Result<File, SourceError> {
    let failed = |e| SourceError::io("open the source's directory", e);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SourceError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Reads the key in `path`, or makes one there that its owner alone can read.
///
/// # Errors
/// [`SourceError::Corrupt`] if the file holds no key; [`SourceError::Io`].
pub fn load_or_make_key(path: &Path) -> Result<SourceKey, SourceError> {
    let corrupt = |detail: &str| SourceError::Corrupt {
        path: path.to_owned(),
        offset: 0,
        detail: detail.to_owned(),
    };
    let seed = match fs::read_to_string(path) {
        Ok(text) => {
            let mut seed = [0; 32];
            let digits =
                text.strip_prefix(KEY_PREFIX).ok_or_else(|| corrupt("not a source key"))?;
            hex::decode_to_slice(digits.trim_end(), &mut seed)
                .map_err(|_| corrupt("expected 64 hexadecimal digits"))?;
            seed
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => make_key(path)?,
        Err(e) => return Err(SourceError::io("read the source's key", e)),
    };
    SourceKey::from_seed(seed).map_err(|e| corrupt(&e.to_string()))
}

fn make_key(path: &Path) -> Result<[u8; 32], SourceError> {
    let failed = |e| SourceError::io("write the source's key", e);
    let seed: [u8; 32] = random_bytes();
    // Under another name first: a crash must not leave half a key.
    let unfinished = path.with_extension("key.new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed)?;
    writeln!(file, "{KEY_PREFIX}{}", hex::encode(seed)).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    crate::spool::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(seed)
}
