//! `stele state`: the views, which hold nothing that is not in the log.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use stele_ledger::{Reader, StoredRecord};
use stele_state::{FoldRecord, State};

use crate::app::App;
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit, Outcome};
use crate::keys::LogKeys;
use crate::log_view::{Directory, read_error};
use crate::ui::Progress;

/// Arguments of `stele state`.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Derive the state from the log again, and say whether it is the same
    Rebuild(RebuildArgs),
}

/// Arguments of `stele state rebuild`.
#[derive(Debug, Args)]
struct RebuildArgs {
    /// Data directory; default is that of `stele up`
    #[arg(long, env = "STELE_DATA", value_name = "DIR", hide_env_values = true)]
    data: Option<PathBuf>,
}

/// Records that are folded together.
const BATCH_RECORDS_MAX: usize = 4_096;
/// Payload bytes that are folded together, unless one record alone has more.
const BATCH_BYTES_TARGET: usize = 32 * 1024 * 1024;

pub(crate) async fn run(app: &App, args: &StateArgs) -> Outcome {
    let StateCommand::Rebuild(args) = &args.command;
    let dir = DataDir::existing(app.data_dir(args.data.as_deref())?)?;
    // A server must not use the state meanwhile.
    let lock = dir.lock()?;
    let reader = Directory::open(&dir, LogKeys::default())?.reader().clone();
    let progress = app.ui.progress("Folding records", Some(reader.size().0));
    let paths = (dir.state(), dir.root().join("state.new"));
    let rebuilt = tokio::task::spawn_blocking(move || {
        let rebuilt = rebuild(&reader, &paths.0, &paths.1, progress);
        drop(lock);
        rebuilt
    })
    .await
    .map_err(CliError::failed)??;
    app.ui.line(&format!("state digest at #{}  {}", rebuilt.index, rebuilt.digest))?;
    match rebuilt.before {
        Before::Same(index) => {
            app.ui.line(&format!("the old state gave the same answers up to #{index}"))?;
            Ok(Exit::Done)
        }
        Before::None(why) => {
            app.ui.line(&format!("there was no old state to compare with: {why}"))?;
            Ok(Exit::Done)
        }
        Before::Other(index, old) => {
            app.ui.line(&format!("the old state was another one at #{index}: {old}"))?;
            Err(CliError::tampered("the old state was not what the log gives; it is replaced")
                .hint("answers given from it since then may have been wrong; please report this"))
        }
    }
}

struct Rebuilt {
    index: u64,
    digest: String,
    before: Before,
}

enum Before {
    /// It had the same digest at this index.
    Same(u64),
    /// It had another digest.
    Other(u64, String),
    /// It could not be read.
    None(String),
}

fn rebuild(
    reader: &Reader,
    old: &Path,
    new: &Path,
    mut progress: Progress,
) -> Result<Rebuilt, CliError> {
    let failed = |e: &dyn std::fmt::Display| CliError::failed(format!("the state: {e}"));
    let before = old_digest(old);
    if new.exists() {
        fs::remove_dir_all(new).map_err(|e| failed(&e))?;
    }
    let state = State::open(new).map_err(|e| failed(&e))?;
    let size = reader.size().0;
    let before = match before {
        Ok((index, digest)) if index > 0 && index <= size => {
            fold(reader, &state, 0..index, &mut progress)?;
            let same = state.digest().map_err(|e| failed(&e))? == digest;
            if same { Before::Same(index) } else { Before::Other(index, digest) }
        }
        Ok((0, _)) => Before::None(String::from("it was empty")),
        Ok((index, _)) => Before::None(format!("it was ahead of the log, at #{index}")),
        Err(why) => Before::None(why),
    };
    fold(reader, &state, state.next_index()..size, &mut progress)?;
    state.sync().map_err(|e| failed(&e))?;
    let digest = state.digest().map_err(|e| failed(&e))?;
    let index = state.next_index();
    drop(state);
    if old.exists() {
        fs::remove_dir_all(old).map_err(|e| failed(&e))?;
    }
    fs::rename(new, old).map_err(|e| failed(&e))?;
    Ok(Rebuilt { index, digest, before })
}

fn old_digest(dir: &Path) -> Result<(u64, String), String> {
    if !dir.exists() {
        return Err(String::from("there was none"));
    }
    let state = State::open(dir).map_err(|e| e.to_string())?;
    let digest = state.digest().map_err(|e| e.to_string())?;
    Ok((state.next_index(), digest))
}

/// Folds the records of `range` into `state`.
fn fold(
    reader: &Reader,
    state: &State,
    range: Range<u64>,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let end = range.end;
    let mut batch: Vec<StoredRecord> = Vec::new();
    let mut bytes = 0;
    let mut outcome = Ok(());
    reader
        .scan(range, &mut |record| {
            bytes += record.payload.as_ref().map_or(0, bytes::Bytes::len);
            let last = record.index.0 + 1 == end;
            batch.push(record);
            if last || batch.len() >= BATCH_RECORDS_MAX || bytes >= BATCH_BYTES_TARGET {
                outcome = apply(state, &std::mem::take(&mut batch));
                bytes = 0;
                progress.at(state.next_index());
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .map_err(read_error)?;
    outcome
}

fn apply(state: &State, batch: &[StoredRecord]) -> Result<(), CliError> {
    let records: Vec<_> = batch
        .iter()
        .map(|record| FoldRecord {
            index: record.index.0,
            header: &record.header,
            payload: record.payload.as_deref().unwrap_or_default(),
        })
        .collect();
    state
        .apply(&records)
        .map(drop)
        .map_err(|e| CliError::failed(format!("the records could not be folded: {e}")))
}
