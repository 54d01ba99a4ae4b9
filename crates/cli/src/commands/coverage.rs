//! `stele coverage`: from when to when each type was recorded, and when nobody looked.

use std::collections::BTreeMap;

use clap::Args;
use stele_server::api::{CoverageAnswer, GapSeen, Instant};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, StretchArgs};
use crate::client::Query;
use crate::error::{CliError, Exit, Outcome};
use crate::output::{self, Plain};
use crate::point;
use crate::resolved::{Resolved, describe};
use crate::table::Table;
use crate::when::{grouped, rfc3339};

/// Arguments of `stele coverage`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele coverage --since 30d
  stele coverage --since 2026-11-23T00:00Z --until 2026-11-24T00:00Z -o json

Ends with exit code 6 if the recorder was blind within the stretch.")]
pub(crate) struct CoverageArgs {
    #[command(flatten)]
    stretch: StretchArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// The reason of a gap that lies before the first list of a type.
const NOT_COVERED_YET: &str = "not-covered-yet";

/// More gaps of one reason than this are shown as one line.
const ALIKE_SHOWN_MAX: usize = 3;

pub(crate) async fn run(app: &App, args: &CoverageArgs) -> Outcome {
    let mut query = Query::new();
    for (name, text) in [("since", &args.stretch.since), ("until", &args.stretch.until)] {
        query.extend(point::optional(app, text.as_ref())?.map(|time| (name, time)));
    }
    let (client, context) = app.client(&args.connect)?;
    let cluster = args.cluster.cluster.clone().or(context.cluster);
    query.extend(cluster.map(|cluster| ("cluster", cluster)));
    let answer: CoverageAnswer = client.json("v1/coverage", &query).await?;
    Resolved { ledger: &answer.ledger, time: Some(&answer.time), gaps: &answer.gaps }.note(app);
    match args.output {
        Plain::Table => table(app, &answer)?,
        Plain::Json => output::json(&app.ui, &answer)?,
        Plain::Jsonl => {
            answer.items.iter().try_for_each(|item| output::json_line(&app.ui, item))?;
        }
        Plain::Yaml => output::yaml(&app.ui, &answer)?,
    }
    if answer.items.is_empty() {
        app.ui.note("Nothing was recorded in that stretch.");
        return Ok(Exit::NotFound);
    }
    // Without --since the stretch begins with the first record, and each type is listed a little
    // after it: that is no blindness.
    let counts = |gap: &&GapSeen| {
        !gap.recovered && (args.stretch.since.is_some() || gap.reason != NOT_COVERED_YET)
    };
    let blind = answer.gaps.iter().any(|gap| counts(&gap));
    Ok(if blind { Exit::Gap } else { Exit::Done })
}

fn table(app: &App, answer: &CoverageAnswer) -> Result<(), CliError> {
    let items = answer.items.as_slice();
    if items.is_empty() {
        return Ok(());
    }
    let clusters = items.iter().any(|item| item.cluster != items[0].cluster);
    let titles = ["RESOURCE", "COVERED", "FROM", "TO", "GAPS"];
    let mut table = Table::new(clusters.then_some("CLUSTER").into_iter().chain(titles));
    for item in items {
        let dot = if item.group.is_empty() { "" } else { "." };
        let cells = [
            format!("{}{dot}{}", item.resource, item.group),
            format!("{:.3}%", item.covered * 100.0),
            time(item.from),
            time(item.to),
            item.gaps.len().to_string(),
        ];
        table.row(clusters.then(|| item.cluster.clone()).into_iter().chain(cells));
    }
    table.lines().try_for_each(|line| app.ui.line(&line))?;
    if !answer.gaps.is_empty() {
        app.ui.line("")?;
    }
    gap_lines(&answer.gaps).iter().try_for_each(|line| app.ui.line(line))?;
    problems(app, answer)
}

/// The gaps in lines; many of one reason in one.
fn gap_lines(gaps: &[GapSeen]) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&GapSeen>> = BTreeMap::new();
    for gap in gaps {
        by_reason.entry(&gap.reason).or_default().push(gap);
    }
    let mut lines = Vec::new();
    for (reason, alike) in by_reason {
        if alike.len() <= ALIKE_SHOWN_MAX {
            lines.extend(alike.into_iter().map(describe));
            continue;
        }
        let from = alike.iter().map(|gap| gap.from).min().flatten();
        let open = alike.iter().any(|gap| gap.to.is_none());
        let to = alike.iter().filter_map(|gap| gap.to).max().filter(|_| !open);
        let begin = from.map_or_else(|| String::from("the beginning"), |from| rfc3339(from.0));
        let end = to.map_or_else(|| String::from("now"), |to| rfc3339(to.0));
        let count = alike.len();
        lines.push(format!("{count} gaps within {begin} - {end}: {reason}; -o json lists them"));
    }
    lines
}

/// Records that say something which could not be used: each is a place where the state may be
/// less than what was recorded.
fn problems(app: &App, answer: &CoverageAnswer) -> Result<(), CliError> {
    if answer.problem_count == 0 {
        return Ok(());
    }
    app.ui.line(&format!("\n{} records could not be used:", grouped(answer.problem_count)))?;
    let mut problems = answer.problems.iter();
    problems
        .try_for_each(|problem| app.ui.line(&format!("  #{}  {}", problem.index, problem.reason)))
}

fn time(instant: Option<Instant>) -> String {
    instant.map(|time| rfc3339(time.0)).unwrap_or_default()
}
