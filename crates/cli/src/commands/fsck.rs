//! `stele fsck`: re-derives everything from stored bytes and names what is not as it was written;
//! with a mirror at hand, says what it could put right, and does so if it is told to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use stele_ledger::{FsckOptions, FsckOutcome, FsckReport, LogInfo, Remedy, Repaired, fsck_with};
use stele_store::{DiskStore, Quarantine, Store};

use crate::app::{App, ConnectArgs};
use crate::checks::Checks;
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit, Outcome};
use crate::keys::LogKeys;
use crate::log_view::{ledger_error, store_error};
use crate::output::{self, Plain};
use crate::remote;
use crate::signals::Signals;
use crate::when::grouped;

/// Arguments of `stele fsck`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele fsck
  stele fsck --data /var/lib/stele --key log.pub
  stele fsck --state /var/tmp/fsck.state
  stele fsck --repair-from /mnt/mirror
  stele fsck --repair-from /mnt/mirror --repair

Reads every object: digests, links between segments, leaf hashes, the tree against the signed
checkpoints, payloads against their commitments, chains and seals of sources. Reads only, so it may
run beside `stele up`. Ends with exit code 5 and names object and records if something is wrong.

With --repair-from what is damaged is looked for in a copy of the log, and the copy's objects are
checked like everything else: only what a checkpoint signed by the log's key covers is offered.
Without --repair nothing is written. With it the damaged objects are moved to DIR/log/quarantine,
the copy's take their place, and everything is checked once more; `stele up` must not run then.")]
pub(crate) struct FsckArgs {
    /// Data directory, or that of a mirror; default is that of `stele up`
    #[arg(long, env = "STELE_DATA", value_name = "DIR", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Public key of the log, if it is not to be taken from the directory
    #[arg(long, value_name = "FILE|KEY")]
    key: Option<String>,
    /// Note in this file how far the check is, and go on from there after an interruption
    #[arg(long, value_name = "FILE", conflicts_with = "repair_from")]
    state: Option<PathBuf>,
    /// Look for what is damaged in this copy of the log: a directory, or the URL of a server
    #[arg(long, value_name = "DIR|URL")]
    repair_from: Option<String>,
    /// File with the bearer token for the server of --repair-from; it needs the scope `mirror`
    #[arg(long, value_name = "FILE", requires = "repair_from")]
    token_file: Option<PathBuf>,
    /// Put the copy's objects in the place of the damaged ones
    #[arg(long, requires = "repair_from")]
    repair: bool,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
}

/// How one check went.
struct Checked {
    subject: String,
    pinned: bool,
    outcome: FsckOutcome,
    took: Duration,
}

pub(crate) async fn run(app: &App, args: &FsckArgs) -> Outcome {
    let dir = DataDir::existing(app.data_dir(args.data.as_deref())?)?;
    let key = args.key.as_deref().map(LogKeys::from_argument).transpose()?;
    let mirror = match &args.repair_from {
        None => None,
        Some(place) => {
            let connect = ConnectArgs {
                token_file: args.token_file.clone(),
                key: args.key.clone(),
                ..ConnectArgs::default()
            };
            Some(remote::open(app, place, &connect)?)
        }
    };
    if let (true, Some(mirror)) = (args.repair, &mirror) {
        return repair(app, &dir, key, mirror, args.output).await;
    }
    let store = DiskStore::open_read_only(dir.log()).map_err(store_error)?;
    let checked =
        check_store(app, &dir, Arc::new(store), key, args.state.as_deref(), mirror).await?;
    print(app, &checked, &[], args.output)?;
    let report = &checked.outcome.report;
    if !report.complete {
        let mut error = CliError::interrupted("the check was stopped before its end");
        if let Some(state) = &args.state {
            error = error.hint(format!("go on with the same --state {}", state.display()));
        }
        return Err(error);
    }
    if !checked.outcome.replacements.is_empty() {
        app.ui.note("Nothing was written. To put the mirror's objects in place, add --repair.");
    }
    verdict(app, &checked)
}

/// Checks every byte of the ledger in `dir`, as a list.
///
/// # Errors
/// When the directory can't be read.
pub(crate) async fn check(
    app: &App,
    dir: &DataDir,
    key: Option<LogKeys>,
) -> Result<Checks, CliError> {
    let store = DiskStore::open_read_only(dir.log()).map_err(store_error)?;
    Ok(list(&check_store(app, dir, Arc::new(store), key, None, None).await?))
}

async fn repair(
    app: &App,
    dir: &DataDir,
    key: Option<LogKeys>,
    mirror: &Arc<dyn Store>,
    format: Plain,
) -> Outcome {
    // Alone from here to the end: what is checked is what is repaired.
    let _lock = dir.lock()?;
    let store = Arc::new(DiskStore::open(dir.log()).map_err(store_error)?);
    let reading: Arc<dyn Store> = store.clone();
    let mut checked =
        check_store(app, dir, reading.clone(), key.clone(), None, Some(mirror.clone())).await?;
    if !checked.outcome.report.complete {
        print(app, &checked, &[], format)?;
        return Err(CliError::interrupted("the check was stopped; nothing was repaired"));
    }
    let mut outcome = std::mem::take(&mut checked.outcome);
    let (writing, source): (Arc<dyn Quarantine>, _) = (store, mirror.clone());
    let (outcome, done) = tokio::task::spawn_blocking(move || {
        let done = stele_ledger::repair(&*writing, &*source, &mut outcome);
        (outcome, done)
    })
    .await
    .map_err(CliError::failed)?;
    checked.outcome = outcome;
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            print(app, &checked, &[], format)?;
            return Err(CliError::failed(format!("the repair ended early: {error}"))
                .hint("check again; what was replaced before is in place"));
        }
    };
    print(app, &checked, &done, format)?;
    if done.is_empty() {
        return verdict(app, &checked);
    }
    app.ui.note(&format!(
        "{} replaced; everything is checked once more.",
        grouped(done.len() as u64)
    ));
    let again = check_store(app, dir, reading, key, None, None).await?;
    if !again.outcome.report.complete {
        return Err(CliError::interrupted("the check after the repair was stopped"));
    }
    for problem in &again.outcome.report.problems {
        app.ui.warn(&format!("still wrong: {problem}"));
    }
    verdict(app, &again)
}

async fn check_store(
    app: &App,
    dir: &DataDir,
    store: Arc<dyn Store>,
    key: Option<LogKeys>,
    state: Option<&Path>,
    mirror: Option<Arc<dyn Store>>,
) -> Result<Checked, CliError> {
    let pinned = key.is_some();
    let keys = match key {
        Some(keys) => keys,
        None => LogKeys::from_texts(&LogInfo::load(&*store).map_err(ledger_error)?.keys)?,
    };
    let verifier = keys.verifier();
    let mut progress = app.ui.progress("Checking bytes", None);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, state) = (stop.clone(), state.map(Path::to_owned));
    let begin = app.clock.monotonic();
    let mut checking = tokio::task::spawn_blocking(move || {
        let mirror = mirror.as_deref();
        let options = FsckOptions { threads: 0, state, mirror, stop: Some(&stopped) };
        fsck_with(&*store, &verifier, &options, &mut |step| {
            progress.of(step.bytes_total);
            progress.at(step.bytes_done);
        })
    });
    let mut signals = Signals::new()?;
    let outcome = tokio::select! {
        outcome = &mut checking => outcome,
        () = signals.stop() => {
            stop.store(true, Ordering::Relaxed);
            checking.await
        }
    };
    let outcome = outcome.map_err(CliError::failed)?.map_err(|e| {
        CliError::failed(e).hint("remove the file, or name another, to check from the beginning")
    })?;
    let took = app.clock.monotonic().saturating_sub(begin);
    Ok(Checked { subject: dir.root().display().to_string(), pinned, outcome, took })
}

impl Checked {
    /// Records that were read in a second.
    fn rate(&self) -> u64 {
        let report = &self.outcome.report;
        let read = report.leaves.saturating_sub(report.records_not_read_again);
        (read as f64 / self.took.as_secs_f64().max(1e-3)) as u64
    }
}

fn print(app: &App, checked: &Checked, done: &[Repaired], format: Plain) -> Result<(), CliError> {
    let document = || {
        json!({
            "apiVersion": stele_server::api::API_VERSION,
            "kind": "Fsck",
            "subject": checked.subject,
            "verified": checked.outcome.report.complete
                && checked.outcome.report.problems.is_empty(),
            "keyPinned": checked.pinned,
            "durationMs": u64::try_from(checked.took.as_millis()).unwrap_or(u64::MAX),
            "recordsPerSecond": checked.rate(),
            "report": checked.outcome.report,
            "repaired": done.iter().map(|repaired| json!({
                "object": repaired.name.to_string(),
                "kept": repaired.kept,
            })).collect::<Vec<_>>(),
        })
    };
    match format {
        Plain::Table => list(checked).print(app, Plain::Table)?,
        Plain::Json => output::json(&app.ui, &document())?,
        Plain::Jsonl => output::json_line(&app.ui, &document())?,
        Plain::Yaml => output::yaml(&app.ui, &document())?,
    }
    for Repaired { name, kept } in done {
        let kept = kept.as_ref().map(|kept| format!("; what was there is kept as {kept}"));
        app.ui.note(&format!("replaced {name}{}", kept.unwrap_or_default()));
    }
    Ok(())
}

fn verdict(app: &App, checked: &Checked) -> Outcome {
    let problems = &checked.outcome.report.problems;
    match problems.first() {
        None => Ok(Exit::Done),
        Some(first) => {
            let count = grouped(problems.len() as u64);
            app.ui.note(&format!("Findings: {count}."));
            Err(CliError::tampered(format!("{} is not whole: {first}", checked.subject)))
        }
    }
}

fn list(checked: &Checked) -> Checks {
    let report = &checked.outcome.report;
    let mut checks = Checks::of(checked.subject.clone());
    let objects = format!("{} segments, {} packs", grouped(report.segments), grouped(report.packs));
    if let Some(last) = &report.resumed_after {
        let records = grouped(report.records_not_read_again);
        let detail = format!("{records} records up to {last}: checked by an earlier run");
        checks.warn("not read again", detail);
    }
    if report.problems.is_empty() {
        counts(report, objects, &mut checks);
    } else {
        let records = grouped(report.records);
        checks.warn("read and whole", format!("{objects}, {records} records"));
        let unchecked = report.roots_unchecked + report.seals_unchecked + report.streams_unchecked;
        if unchecked > 0 {
            let detail = format!(
                "{} roots, {} chain heads, {} seals, {} checkpoints, because records are lost",
                grouped(report.roots_unchecked),
                grouped(report.streams_unchecked),
                grouped(report.seals_unchecked),
                grouped(report.checkpoints_unchecked)
            );
            checks.warn("could not be checked", detail);
        }
    }
    if !report.complete {
        checks.warn("the rest", "not looked at: the check was stopped");
    }
    if !checked.pinned {
        checks.warn("key of the log", "taken from the directory itself; give --key to be sure");
    }
    for problem in &report.problems {
        let remedy = match &problem.remedy {
            None => String::new(),
            Some(Remedy::Available) => "; the mirror has it, verified".to_owned(),
            Some(Remedy::Done) => "; replaced from the mirror".to_owned(),
            Some(Remedy::None(why)) => format!("; not to be had from the mirror: {why}"),
        };
        let whose = problem.sources.iter().map(|range| {
            let id = &range.source[..range.source.len().min(12)];
            format!("; source {id} boot {} seq {}-{}", range.boot, range.first_seq, range.last_seq)
        });
        let whose: String = whose.collect();
        checks.fail(problem.place(), format!("{}{whose}{remedy}", problem.what));
    }
    checks
}

fn counts(report: &FsckReport, objects: String, checks: &mut Checks) {
    checks.ok("objects read, digests and links between them", objects);
    checks.ok("records, payloads and tree recomputed", grouped(report.records));
    let tree = format!("{} tiles, {} roots", grouped(report.tiles), grouped(report.roots));
    checks.ok("tiles and roots that objects state", tree);
    checks.ok("runs and chain heads that objects state", grouped(report.streams));
    checks.ok("seals of sources over their chains", grouped(report.seals));
    let signed = format!(
        "{}, the largest over {} records",
        grouped(report.checkpoints),
        grouped(report.signed_records)
    );
    checks.ok("signed checkpoints against the tree", signed);
}
