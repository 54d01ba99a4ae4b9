//! `stele fsck`: re-derives everything from stored bytes and names what is not as it was written.

use std::path::PathBuf;

use clap::Args;
use stele_ledger::{FsckReport, LogInfo, Problem};
use stele_store::DiskStore;

use crate::app::App;
use crate::checks::Checks;
use crate::data_dir::DataDir;
use crate::error::{CliError, Outcome};
use crate::keys::LogKeys;
use crate::log_view::{ledger_error, store_error};
use crate::output::Plain;
use crate::when::grouped;

/// Arguments of `stele fsck`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele fsck
  stele fsck --data /var/lib/stele --key log.pub

Reads every object: digests, links between segments, leaf hashes, the tree against the signed
checkpoint, payloads against their commitments, chains and seals of sources. Reads only, so it may
run beside `stele up`. Ends with exit code 5 and names object and record if something is wrong.")]
pub(crate) struct FsckArgs {
    /// Data directory; default is that of `stele up`
    #[arg(long, env = "STELE_DATA", value_name = "DIR", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Public key of the log, if it is not to be taken from the directory
    #[arg(long, value_name = "FILE|KEY")]
    key: Option<String>,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
}

pub(crate) async fn run(app: &App, args: &FsckArgs) -> Outcome {
    let dir = DataDir::existing(app.data_dir(args.data.as_deref())?)?;
    let key = args.key.as_deref().map(LogKeys::from_argument).transpose()?;
    check(app, &dir, key).await?.finish(app, args.output)
}

/// Checks every byte of the ledger in `dir`.
///
/// # Errors
/// When the directory can't be read.
pub(crate) async fn check(
    app: &App,
    dir: &DataDir,
    key: Option<LogKeys>,
) -> Result<Checks, CliError> {
    let store = DiskStore::open_read_only(dir.log()).map_err(store_error)?;
    let pinned = key.is_some();
    let keys = match key {
        Some(keys) => keys,
        None => LogKeys::from_texts(&LogInfo::load(&store).map_err(ledger_error)?.keys)?,
    };
    let mut progress = app.ui.progress("Checking objects", None);
    let verifier = keys.verifier();
    let report = tokio::task::spawn_blocking(move || {
        stele_ledger::fsck(&store, &verifier, &mut |step| {
            progress.of(step.objects_total);
            progress.at(step.objects_done);
        })
    })
    .await
    .map_err(CliError::failed)?;
    Ok(list(&dir.root().display().to_string(), &report, pinned))
}

fn list(subject: &str, report: &FsckReport, pinned: bool) -> Checks {
    let mut checks = Checks::of(subject);
    let objects = format!("{} segments, {} packs", grouped(report.segments), grouped(report.packs));
    if report.problems.is_empty() {
        checks.ok("objects read, digests and links between them", objects);
        checks.ok("records, payloads and tree recomputed", grouped(report.records));
        checks.ok("seals of sources over their chains", grouped(report.seals));
    } else {
        checks.warn("read and whole", format!("{objects}, {} records", grouped(report.records)));
    }
    if !pinned {
        checks.warn("key of the log", "taken from the directory itself; give --key to be sure");
    }
    for problem in &report.problems {
        checks.fail(place(problem), problem.what.clone());
    }
    checks
}

fn place(problem: &Problem) -> String {
    match problem.record {
        Some(index) => format!("{}, record {index}", problem.object),
        None => problem.object.clone(),
    }
}
