//! `stele import`: recordings that were made by other means, taken in as a source that declares
//! itself imported. Their times stay what they are: a claim of where they come from.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use stele_collect::import::{Format, ImportError, ImportOptions, ImportReport, import};
use stele_record::EventTime;
use stele_source::{Deliver, Source};
use stele_state::point::Point;
use tokio::sync::watch;

use crate::app::{App, ConnectArgs};
use crate::data_dir::DataDir;
use crate::delivery::{ToLedger, ToServer};
use crate::error::{CliError, Exit, Outcome};
use crate::node::Node;
use crate::point;
use crate::recorders::{file_name, source_error, source_options};
use crate::when::{grouped, rfc3339};

/// Arguments of `stele import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl get pods -A -w -o json --output-watch-events | stele import - --name lab
  stele import recording.jsonl.zst audit.log.gz --name lab
  stele import objects.json --observed-at 2026-11-23T03:12Z --complete

Forms: `watch` (kubectl get -w -o json --output-watch-events), `recording` (lines that wrap lists
and watch events with their time of receipt), `list` (objects and lists of objects), `audit` (lines
of audit.k8s.io/v1), `etcd` (etcdctl watch -w json). Plain, zstd or gzip.

Values of Secrets are replaced by keyed digests before anything is stored. What can't be read is
named, recorded as a gap, and ends the command with exit code 1; the rest is taken.")]
pub(crate) struct ImportArgs {
    /// Files to read; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Form of the files; without it each is recognised
    #[arg(long, value_name = "FORM", value_parser = form)]
    format: Option<Format>,
    /// Name for the source; default is the first file's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Cluster that the files are of: its id or a name; default is the name of the source
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// When files that carry no times were taken (see `stele help time`)
    #[arg(long, value_name = "TIME")]
    observed_at: Option<String>,
    /// The files hold all there was: what a list leaves out did not exist, nor did anything
    /// before a watch that begins without a list
    #[arg(long)]
    complete: bool,
    /// Store values of Secrets as they are
    #[arg(long)]
    store_secret_values: bool,
    /// Import into this data directory, with no server
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    connect: ConnectArgs,
}

fn form(text: &str) -> Result<Format, String> {
    text.parse()
}

/// Something to import.
pub(crate) struct Input {
    /// Name in messages.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) reader: Box<dyn Read + Send>,
    /// How many there are, if that is known.
    pub(crate) bytes: Option<u64>,
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Name of the source.
    pub(crate) name: String,
    /// Id or name of the cluster.
    pub(crate) cluster: String,
    /// The form, if it is given.
    pub(crate) format: Option<Format>,
    /// When input without times was taken.
    pub(crate) observed_at: Option<EventTime>,
    /// The input holds all there was.
    pub(crate) complete: bool,
    /// Keep values of Secrets.
    pub(crate) store_secret_values: bool,
}

/// Longest time for delivering what is left once everything was read and delivered.
const DRAIN_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn run(app: &App, args: &ImportArgs) -> Outcome {
    let options = options(app, args)?;
    let inputs = args.files.iter().map(|file| open(file)).collect::<Result<Vec<_>, _>>()?;
    let skipped = match &args.data {
        Some(data) => {
            let dir = DataDir::existing(data)?;
            let node = Node::open(app, &dir)?;
            let delivery = ToLedger::new(node.ledger().clone());
            let taken = take_in(app, inputs, &options, &|name| dir.source(name), &delivery).await;
            node.close().await?;
            taken?
        }
        None => {
            let (client, _) = app.client(&args.connect)?;
            let delivery = ToServer::new(client);
            let place = |name: &str| app.dirs().state.join("sources").join(name);
            take_in(app, inputs, &options, &place, &delivery)
                .await
                .map_err(|e| delivery.take_refusal().unwrap_or(e))?
        }
    };
    if skipped > 0 {
        return Err(CliError::failed(format!(
            "{} parts of the input could not be read; they are recorded as gaps",
            grouped(skipped)
        )));
    }
    Ok(Exit::Done)
}

fn options(app: &App, args: &ImportArgs) -> Result<Options, CliError> {
    let name = args.name.clone().unwrap_or_else(|| stem(&args.files[0]));
    let observed_at = match &args.observed_at {
        None => None,
        Some(text) => match point::parse(app, text)? {
            Point::Now => Some(app.now_ns()),
            Point::Observed(time) => Some(time.0),
            _ => return Err(CliError::usage("--observed-at must be a time")),
        },
    };
    Ok(Options {
        cluster: args.cluster.clone().unwrap_or_else(|| name.clone()),
        name,
        format: args.format,
        observed_at: observed_at.map(EventTime::from_unix_ns),
        complete: args.complete,
        store_secret_values: args.store_secret_values,
    })
}

/// The name of a file without what follows the first dot.
fn stem(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let stem = name.as_deref().and_then(|name| name.split('.').next());
    stem.filter(|stem| !stem.is_empty() && *stem != "-").unwrap_or("import").to_owned()
}

fn open(file: &Path) -> Result<Input, CliError> {
    if file.as_os_str() == "-" {
        return Ok(Input { name: "-".to_owned(), reader: Box::new(std::io::stdin()), bytes: None });
    }
    let cannot =
        |e: std::io::Error| CliError::failed(format!("cannot read {}: {e}", file.display()));
    let opened = File::open(file).map_err(cannot)?;
    let metadata = opened.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        return Err(CliError::usage(format!("{} is a directory", file.display())));
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok(Input { name: file.display().to_string(), reader: Box::new(opened), bytes })
}

/// Takes inputs in through a source of their own, and gives the number of parts that could not be
/// read. Returns when the ledger has acknowledged everything.
///
/// # Errors
/// When nothing of an input could be read, or the records could not be delivered.
pub(crate) async fn take_in<D: Deliver + Clone + 'static>(
    app: &App,
    inputs: Vec<Input>,
    options: &Options,
    place: &dyn Fn(&str) -> PathBuf,
    delivery: &D,
) -> Result<u64, CliError> {
    let dir = place(&format!("import-{}", file_name(&options.name)));
    let description = source_options(
        format!("import/{}", options.name),
        "what a person handed over; times and content are the claim of its origin",
        true,
    );
    let source = Source::open(&dir, description, app.clock.clone()).map_err(source_error)?;
    let (stop, stopped) = watch::channel(false);
    let delivering = {
        let (source, delivery) = (source.clone(), delivery.clone());
        tokio::spawn(async move { source.run(&delivery, stopped, DRAIN_MAX).await })
    };
    let mut failed = delivering;
    let outcome = tokio::select! {
        read = read_all(app, inputs, options, &source) => read,
        ended = &mut failed => return Err(ended_early(ended)),
    };
    // What was read is delivered even if a later input is at fault.
    let drained = tokio::select! {
        drained = source.drained() => drained.map_err(source_error),
        ended = &mut failed => return Err(ended_early(ended)),
    };
    stop.send_replace(true);
    failed.await.map_err(CliError::failed)?.map_err(source_error)?;
    drained.and(outcome)
}

fn ended_early(
    ended: Result<Result<(), stele_source::SourceError>, tokio::task::JoinError>,
) -> CliError {
    match ended {
        Ok(Err(error)) => source_error(error),
        Ok(Ok(())) => CliError::failed("the delivery ended early"),
        Err(error) => CliError::failed(error),
    }
}

async fn read_all(
    app: &App,
    inputs: Vec<Input>,
    options: &Options,
    source: &Source,
) -> Result<u64, CliError> {
    let mut skipped = 0;
    for input in inputs {
        let mut progress = app.ui.progress("Importing bytes", input.bytes);
        let options = ImportOptions {
            format: options.format,
            name: input.name.clone(),
            cluster: options.cluster.clone(),
            observed_at: options.observed_at,
            complete: options.complete,
            store_secret_values: options.store_secret_values,
        };
        let report = import(input.reader, options, source, |step| progress.at(step.bytes)).await;
        drop(progress);
        let report = report.map_err(|e| import_error(&input.name, e))?;
        tell(app, &input.name, &report);
        skipped += report.skipped;
    }
    Ok(skipped)
}

fn import_error(name: &str, error: ImportError) -> CliError {
    match error {
        ImportError::UnknownFormat { .. } => {
            CliError::usage(error).hint("`stele help import` describes the forms")
        }
        ImportError::Empty => CliError::usage(format!("{name}: {error}")),
        ImportError::Source(error) => source_error(error),
        error => CliError::failed(format!("{name}: {error}")),
    }
}

fn tell(app: &App, name: &str, report: &ImportReport) {
    let stretch = match (report.first_time, report.last_time) {
        (Some(first), Some(last)) => {
            format!(", from {} to {}", rfc3339(first.unix_ns()), rfc3339(last.unix_ns()))
        }
        _ => String::new(),
    };
    app.ui.note(&format!(
        "{name}: {} documents as {}, {} records{stretch}",
        grouped(report.documents),
        report.format.name(),
        grouped(report.records),
    ));
    for guess in &report.guesses {
        app.ui.warn(&format!("{name}: {guess}"));
    }
    if report.future_times > 0 {
        let count = grouped(report.future_times);
        app.ui.warn(&format!("{name}: {count} records claim times in the future"));
    }
    for fault in &report.faults {
        app.ui.warn(&format!("{name}: {fault}"));
    }
}
