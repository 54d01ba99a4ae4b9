//! `stele coverage`: from when to when each type was recorded, and when nobody looked.

use clap::Args;
use stele_server::api::{CoverageAnswer, Instant};

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
    let blind = answer.gaps.iter().any(|gap| !gap.recovered);
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
    answer.gaps.iter().try_for_each(|gap| app.ui.line(&describe(gap)))?;
    problems(app, answer)
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
