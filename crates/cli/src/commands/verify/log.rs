//! Verifying a whole log: a running one, or one in a directory.

use std::ops::ControlFlow;
use std::path::Path;

use stele_ledger::Reader;
use stele_merkle::{Checkpoint, Policy, TreeSize, verify_consistency};

use crate::app::{App, ConnectArgs};
use crate::checks::Checks;
use crate::config;
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit};
use crate::keys::LogKeys;
use crate::log_view::{Directory, LogView, Opened};
use crate::pins::{Pin, Pinned};
use crate::policies;
use crate::when::{grouped, rfc3339};

/// Verifies the log of a server.
///
/// # Errors
/// When the server can't be asked.
pub(super) async fn server(
    app: &App,
    connect: &ConnectArgs,
    policy: Option<&Policy>,
    pin: bool,
) -> Result<Checks, CliError> {
    let (client, _) = app.client(connect)?;
    let subject = client.base().to_string();
    let view = LogView::Server(client);
    let (note, _) = view.newest().await?;
    let mut checks = Checks::of(subject.trim_end_matches('/'));
    let Some(opened) = signatures(&view, &note, &mut checks).await? else { return Ok(checks) };
    if let Some(policy) = policy {
        cosigned(&view, policy, &opened, &mut checks).await?;
    }
    if pin {
        consistency(app, &view, &opened, &note, &mut checks).await?;
        repin(app, &opened, &mut checks)?;
    }
    Ok(checks)
}

/// Verifies the log in a data directory, every record of it.
///
/// # Errors
/// When the directory can't be read.
pub(crate) async fn directory(
    app: &App,
    data: &Path,
    pinned: Option<LogKeys>,
    policy: Option<&Policy>,
    pin: bool,
) -> Result<Checks, CliError> {
    let dir = DataDir::existing(data)?;
    let mut checks = Checks::of(data.display().to_string());
    let directory = match Directory::open(&dir, pinned.unwrap_or_default()) {
        Ok(directory) => directory,
        Err(error) if error.exit() == Exit::Tampered => {
            checks.fail("records and checkpoint agree", error.to_string());
            return Ok(checks);
        }
        Err(error) => return Err(error),
    };
    let reader = directory.reader().clone();
    let view = LogView::Directory(directory);
    let (note, _) = view.newest().await?;
    let Some(opened) = signatures(&view, &note, &mut checks).await? else { return Ok(checks) };
    if let Some(policy) = policy {
        cosigned(&view, policy, &opened, &mut checks).await?;
    }
    root(&reader, &opened.signed.checkpoint, &mut checks);
    records(app, &reader, &mut checks).await?;
    if pin && !checks.failed() {
        consistency(app, &view, &opened, &note, &mut checks).await?;
        repin(app, &opened, &mut checks)?;
    }
    Ok(checks)
}

async fn signatures(
    view: &LogView,
    note: &str,
    checks: &mut Checks,
) -> Result<Option<Opened>, CliError> {
    let opened = match view.open_checkpoint(note).await {
        Ok(opened) => opened,
        Err(error) if error.exit() == Exit::Tampered => {
            checks.fail("checkpoint signature", error.to_string());
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let size = opened.signed.checkpoint.size;
    for signature in &opened.signed.signatures {
        let detail = format!("{}+{} over checkpoint {size}", signature.name, signature.id);
        checks.ok("checkpoint signature", detail);
    }
    if !opened.pinned {
        checks
            .warn("key of the log", "taken from the log itself; give --key to be sure whose it is");
    }
    Ok(Some(opened))
}

/// Checks that the published checkpoint meets the policy, and that the newest one continues it.
async fn cosigned(
    view: &LogView,
    policy: &Policy,
    newest: &Opened,
    checks: &mut Checks,
) -> Result<(), CliError> {
    const WHAT: &str = "consistent with the cosigned checkpoint";
    let published = view.published().await?;
    let mut log = view.verifier_for(&newest.keys, &published).await?;
    let logs = policy.logs();
    if !logs.is_empty() && !logs.iter().any(|listed| log.knows(&listed.key)) {
        // It may list a key that was replaced before the pinned one.
        log = view.history(&newest.keys).await?;
    }
    policies::check(policy, &log, &published, checks);
    let old = match log.open(published.as_bytes()) {
        Ok(old) => Pinned { checkpoint: old, at_ns: None },
        Err(error) => {
            checks.fail("checkpoint signature", error.to_string());
            return Ok(());
        }
    };
    let now = &newest.signed.checkpoint;
    match continues(view, &old, now).await? {
        Ok(()) => checks.ok(WHAT, format!("{} -> {}", old.checkpoint.size, now.size)),
        Err(why) => checks.fail(WHAT, why),
    }
    Ok(())
}

fn root(reader: &Reader, checkpoint: &Checkpoint, checks: &mut Checks) {
    const WHAT: &str = "root recomputed from the records";
    match reader.root(checkpoint.size) {
        Ok(root) if root == checkpoint.root => checks.ok(WHAT, root.to_string()),
        Ok(root) => checks.fail(WHAT, format!("{root}, but {} was signed", checkpoint.root)),
        Err(error) => checks.fail(WHAT, error.to_string()),
    }
}

/// Reads every record: each is compared with the tree, and each payload with its commitment.
async fn records(app: &App, reader: &Reader, checks: &mut Checks) -> Result<(), CliError> {
    const WHAT: &str = "records and payloads read and compared with the tree";
    let size = reader.size().0;
    let reader = reader.clone();
    let mut progress = app.ui.progress("Verifying records", Some(size));
    let (result, read) = tokio::task::spawn_blocking(move || {
        let mut read = 0;
        let result = reader.scan(0..size, &mut |record| {
            read = record.index.0 + 1;
            progress.at(read);
            ControlFlow::Continue(())
        });
        (result, read)
    })
    .await
    .map_err(CliError::failed)?;
    let share = format!("{}/{}", grouped(read), grouped(size));
    match result {
        Ok(()) if read == size => checks.ok(WHAT, share),
        Ok(()) => checks.fail(WHAT, share),
        Err(error) => checks.fail(WHAT, format!("{share}; {error}")),
    }
    Ok(())
}

/// Once everything holds, contexts that pin keys which were replaced pin the ones that sign now.
fn repin(app: &App, opened: &Opened, checks: &mut Checks) -> Result<(), CliError> {
    let Some(current) = opened.replaced_by().filter(|_| opened.pinned) else { return Ok(()) };
    let what = format!("the log's key was replaced: {} signs now", current.label());
    if checks.failed() {
        checks.warn("key of the log", what);
        return Ok(());
    }
    let path = &app.dirs().config_file;
    let names = config::replace_keys(path, &opened.keys.texts(), &current.texts())?;
    let follows = if names.is_empty() {
        "give the new one to --key from now on".to_owned()
    } else {
        format!("pinned from now on in context {}", names.join(", "))
    };
    checks.warn("key of the log", format!("{what}, and the old key signed that; {follows}"));
    Ok(())
}

/// Compares with the pinned checkpoint, and pins the newer one.
async fn consistency(
    app: &App,
    view: &LogView,
    opened: &Opened,
    note: &str,
    checks: &mut Checks,
) -> Result<(), CliError> {
    // Pinned under the keys that sign now; where they are new, perhaps only under those before.
    let pin = Pin::of(app.dirs(), &opened.replaced_by().unwrap_or_else(|| opened.keys.clone()));
    let now = &opened.signed.checkpoint;
    let latest = match pin.read(&opened.verifier)? {
        Some(pinned) => Some(pinned),
        None => Pin::of(app.dirs(), &opened.keys).read(&opened.verifier)?,
    };
    let Some(pinned) = latest else {
        pin.write(note.as_bytes())?;
        checks.ok("checkpoint pinned", format!("{}, for the first time", now.size));
        return Ok(());
    };
    let what = match pinned.at_ns {
        Some(ns) => format!("consistent with checkpoint pinned {}", rfc3339(ns)),
        None => String::from("consistent with the pinned checkpoint"),
    };
    match continues(view, &pinned, now).await? {
        Ok(()) => {
            checks.ok(what, format!("{} -> {}", pinned.checkpoint.size, now.size));
            if now.size > pinned.checkpoint.size || !pin.exists() {
                pin.write(note.as_bytes())?;
            }
        }
        Err(why) => checks.fail(what, why),
    }
    Ok(())
}

/// Whether the tree of `now` continues the pinned one; if not, why.
async fn continues(
    view: &LogView,
    pinned: &Pinned,
    now: &Checkpoint,
) -> Result<Result<(), String>, CliError> {
    let old = &pinned.checkpoint;
    if now.size < old.size {
        return Ok(Err(format!(
            "the log shows {} records, but {} were pinned: it was rolled back or replaced",
            now.size, old.size
        )));
    }
    if old.size == TreeSize::EMPTY {
        return Ok(Ok(()));
    }
    let proof = match view.consistency(old.size, now.size).await {
        Ok(proof) => proof,
        Err(error) if error.exit() == Exit::Tampered => return Ok(Err(error.to_string())),
        Err(error) => return Err(error),
    };
    Ok(verify_consistency(old.size, old.root, now.size, now.root, &proof).map_err(|e| {
        format!("checkpoint {} does not continue {}: a fork ({e})", now.size, old.size)
    }))
}
