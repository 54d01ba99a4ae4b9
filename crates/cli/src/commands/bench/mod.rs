//! `stele bench`: how many records a running ledger takes in, and how long each waits for its
//! proof. Everything that the ledger answers is checked while the load is on.
//!
//! What is measured is the whole way of a delivering source: made, sent over HTTP, durable, signed,
//! answered, checked. Not here: what the ledger does without a server in between
//! (`cargo xtask bench`).

mod checks;
mod load;
mod report;
mod source;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stele_server::api::LogInfo;

use self::checks::Checks;
use self::load::{Load, Pace};
use self::report::{Report, Step};
use crate::app::{App, ConnectArgs};
use crate::client::{Client, Query};
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit, Outcome};
use crate::keys::LogKeys;
use crate::node::Node;
use crate::output::{self, Plain};
use crate::signals::Signals;

/// Longest run, or step of a run.
const SECONDS_MAX: u64 = 3_600;
/// Most writers: each is a source of its own, and stays in the ledger for ever.
const WRITERS_MAX: u64 = 4_096;
/// Most bytes of payloads in one submission.
const SUBMISSION_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Steps in which the highest rate is looked for.
const SEARCH_STEPS: usize = 6;
/// A step has reached its rate if it came this close to it.
const RATE_REACHED: f64 = 0.95;

/// Arguments of `stele bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele bench --data /tmp/scratch                    as fast as it goes
  stele bench --data /tmp/scratch --p99 50ms         the highest rate that keeps 99 of 100 under 50 ms
  stele bench --server http://127.0.0.1:7117 --rate 20000 --batch 100 --seconds 60 -o json

What is written stays in the ledger for ever, so a ledger that holds records already, and one on
another machine, is left alone unless --yes-write-here is given. Every acknowledgement is checked:
the log's signatures on its checkpoint, and the proof that the records are under it. Four times a
second the newest checkpoint is proven to continue the one before, and at the end a sample of
records is read back. With --data a server is started in this process; it then has the same
processors as the load.")]
pub(crate) struct BenchArgs {
    /// Directory of a scratch ledger, made if it is not there, instead of a running server
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "context"])]
    data: Option<PathBuf>,
    /// Bytes of a record's payload
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    payload: u64,
    /// Records that are delivered together
    #[arg(long, value_name = "RECORDS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    batch: u64,
    /// Sources that deliver at the same time, each waiting for its last answer
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=WRITERS_MAX))]
    writers: u64,
    /// For how long; with --p99, for how long each step
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// Most records to write
    #[arg(long, value_name = "RECORDS", default_value_t = 10_000_000)]
    records_max: u64,
    /// Deliver this many records a second, instead of as many as are acknowledged
    #[arg(long, value_name = "RECORDS", conflicts_with = "p99", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// Find the highest rate at which 99 of 100 acknowledgements take no longer than this
    #[arg(long, value_name = "TIME", value_parser = latency)]
    p99: Option<Duration>,
    /// Write into a ledger that holds records already, or is not on this machine
    #[arg(long)]
    yes_write_here: bool,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// `50ms`, `1.5s`.
fn latency(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').ok_or("expected a time as 50ms or 2s")?, 1.0),
    };
    let number: f64 = number.trim().parse().map_err(|_| "expected a time as 50ms or 2s")?;
    let seconds = number * unit;
    if !(seconds > 0.0 && seconds <= SECONDS_MAX as f64) {
        return Err(format!("expected more than nothing and at most {SECONDS_MAX} s"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub(crate) async fn run(app: &App, args: &BenchArgs) -> Outcome {
    if args.batch * args.payload > SUBMISSION_BYTES_MAX {
        return Err(CliError::usage(format!(
            "{} records of {} bytes are over the limit of {SUBMISSION_BYTES_MAX} bytes together",
            args.batch, args.payload
        ))
        .hint("make --batch or --payload smaller"));
    }
    let Some(data) = &args.data else {
        let (client, _) = app.client(&args.connect)?;
        return bench(app, args, client).await;
    };
    let (node, _) = Node::open_or_create(app, &DataDir::new(data))?;
    let serving = node.serve_for_oneself().await?;
    let outcome = bench(app, args, serving.client()?).await;
    serving.stop().await?;
    outcome
}

async fn bench(app: &App, args: &BenchArgs, client: Client) -> Outcome {
    let info: LogInfo = client.json("v1/log", &Query::new()).await?;
    may_write(args, &client, info.size)?;
    let pinned = !client.keys().is_empty();
    let client =
        if pinned { client } else { client.with_keys(LogKeys::from_texts(&info.verifier_keys)?) };
    let checks = Arc::new(Checks::new(client.clone(), app.clock.clone()));
    let mut signals = Signals::new()?;
    let mut load = Load::start(app, args, client, Arc::clone(&checks)).await?;
    let (steps, best) = tokio::select! {
        steps = measure(app, args, &mut load) => steps?,
        () = signals.stop() => {
            app.ui.note("Stopped; what was delivered stays in the ledger.");
            return Ok(Exit::Interrupted);
        }
    };
    load.stop().await?;
    checks.read_back().await?;
    let report = Report::new(args, &info, pinned, steps, best, checks.counts());
    match args.output {
        Plain::Table => report.print_summary(&app.ui)?,
        Plain::Json => output::json(&app.ui, &report)?,
        Plain::Jsonl => output::json_line(&app.ui, &report)?,
        Plain::Yaml => output::yaml(&app.ui, &report)?,
    }
    // A goal that was not met at any rate is an answer, as is a search that found nothing.
    Ok(if args.p99.is_some() && best.is_none() { Exit::NotFound } else { Exit::Done })
}

/// Records are for ever: refuses a ledger that holds some, and one elsewhere.
fn may_write(args: &BenchArgs, client: &Client, size: u64) -> Result<(), CliError> {
    if args.yes_write_here {
        return Ok(());
    }
    let refuse = |why: String| {
        Err(CliError::usage(why)
            .hint("what a benchmark writes stays in the ledger for ever")
            .hint("take a scratch ledger, --data DIR, or say --yes-write-here"))
    };
    let host = client.base().host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if !loopback {
        return refuse(format!("{} is not on this machine", client.base()));
    }
    if size > 0 {
        return refuse(format!("the ledger at {} holds {size} records already", client.base()));
    }
    Ok(())
}

/// The steps that were taken, and which of them met the goal best, if there is a goal.
async fn measure(
    app: &App,
    args: &BenchArgs,
    load: &mut Load,
) -> Result<(Vec<Step>, Option<usize>), CliError> {
    let table = args.output == Plain::Table;
    if table {
        app.ui.line(&Step::head())?;
    }
    let mut steps = Vec::new();
    let seconds = Duration::from_secs(args.seconds);
    let mut take = async |pace: Pace, steps: &mut Vec<Step>| {
        let step = load.run(pace, seconds).await?;
        if table {
            app.ui.line(&step.row())?;
        }
        steps.push(step);
        Ok::<_, CliError>(())
    };
    let Some(goal) = args.p99 else {
        let pace = args.rate.map_or(Pace::AsAcknowledged, |rate| Pace::Rate(rate as f64));
        take(pace, &mut steps).await?;
        return Ok((steps, None));
    };
    // No rate is higher than the one at which every writer waits for nothing but its answer.
    take(Pace::AsAcknowledged, &mut steps).await?;
    let (mut low, mut high) = (0.0, steps[0].rate);
    let mut best = None;
    for _ in 0..SEARCH_STEPS {
        let rate = if best.is_none() { (low + high) / 2.0 } else { low + (high - low) * 0.6 };
        if rate < 1.0 {
            break;
        }
        take(Pace::Rate(rate), &mut steps).await?;
        let number = steps.len() - 1;
        if steps[number].meets(goal, RATE_REACHED) {
            (best, low) = (Some(number), rate);
        } else {
            high = rate;
        }
    }
    Ok((steps, best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_need_a_unit_and_a_sensible_size() {
        assert_eq!(latency("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(latency("1.5s"), Ok(Duration::from_millis(1_500)));
        for bad in ["50", "", "ms", "-1s", "0ms", "NaNs", "infs", "2h", "99999s"] {
            latency(bad).unwrap_err();
        }
    }
}
