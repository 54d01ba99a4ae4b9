//! `stele demo --tamper`: one byte is changed on disk, and two commands are asked about it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::checks::Checks;
use crate::commands::{fsck, verify};
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit, Outcome};
use crate::keys::LogKeys;
use crate::output::Plain;
use crate::when::grouped;

/// Shows it. Ends well if both commands notice.
pub(super) async fn show(app: &App, dir: &DataDir, keys: &LogKeys) -> Outcome {
    app.ui.line("Before:\n")?;
    let before = ask(app, dir, keys).await?;
    if before.iter().any(Checks::failed) {
        return Err(CliError::failed("the demo's ledger is not whole before it was touched"));
    }
    let file = largest(&dir.log().join("objects")).map_err(|e| cannot(&dir.log(), &e))?;
    let (offset, old, new) = flip(&file).map_err(|e| cannot(&file, &e))?;
    let name = file.strip_prefix(dir.root()).unwrap_or(&file);
    app.ui.line(&format!(
        "\nNow the byte at {} of {} is changed from {old:#04x} to {new:#04x}.\n",
        grouped(offset),
        name.display()
    ))?;
    let after = ask(app, dir, keys).await?;
    if after.iter().all(Checks::failed) {
        app.ui.line("\nBoth noticed, and ended with exit code 5: evidence of tampering.")?;
        return Ok(Exit::Done);
    }
    Err(CliError::failed("the changed byte was not noticed"))
}

async fn ask(app: &App, dir: &DataDir, keys: &LogKeys) -> Result<[Checks; 2], CliError> {
    let shown = dir.root().display();
    let key = dir.public_keys();
    app.ui.line(&format!("$ stele verify --data {shown} --key {}", key.display()))?;
    let verified = verify::directory(app, dir.root(), Some(keys.clone()), None, false).await?;
    verified.print(app, Plain::Table)?;
    app.ui.line(&format!("\n$ stele fsck --data {shown} --key {}", key.display()))?;
    let checked = fsck::check(app, dir, Some(keys.clone())).await?;
    checked.print(app, Plain::Table)?;
    Ok([verified, checked])
}

fn cannot(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot change {}: {error}", path.display()))
}

/// The largest file: the one with most of the records.
fn largest(dir: &Path) -> std::io::Result<PathBuf> {
    let mut found: Option<(u64, PathBuf)> = None;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
                continue;
            }
            let candidate = (entry.metadata()?.len(), entry.path());
            if found.as_ref().is_none_or(|best| candidate > *best) {
                found = Some(candidate);
            }
        }
    }
    let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "there is no file");
    found.map(|(_, path)| path).ok_or_else(none)
}

/// Changes one bit in the second half of a file: offset, old byte, new byte.
fn flip(path: &Path) -> std::io::Result<(u64, u8, u8)> {
    // Objects are read-only; who owns them can change that, which is the point.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let offset = file.metadata()?.len() * 3 / 4;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    let old = byte[0];
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[old ^ 0x01])?;
    file.sync_all()?;
    Ok((offset, old, old ^ 0x01))
}
