//! `stele history`: every version of one object, with the record that holds it.

use clap::Args;
use stele_server::api::{Answer, HistoryItem};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, NamespaceArgs, StretchArgs};
use crate::client::Query;
use crate::commands::diff::change_word;
use crate::error::{CliError, Exit, Outcome};
use crate::output::{self, Plain};
use crate::point;
use crate::resolved::Resolved;
use crate::resources;
use crate::scope::Scope;
use crate::table::Table;
use crate::when::rfc3339;

/// Arguments of `stele history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele history deploy/web -n shop
  stele history pods web-7c -n shop --since 2h -o jsonl

Each version names the index of its record: `stele log prove INDEX` proves it.")]
pub(crate) struct HistoryArgs {
    /// The object: `deploy/web`, `pods web`
    #[arg(value_name = "TYPE/NAME", required = true, num_args = 1..=2)]
    what: Vec<String>,
    #[command(flatten)]
    stretch: StretchArgs,
    #[command(flatten)]
    namespace: NamespaceArgs,
    /// Output format; all but `table` include the objects
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(app: &App, args: &HistoryArgs) -> Outcome {
    let (kind, name) = match args.what.as_slice() {
        [pair] => resources::pair(pair)?,
        [kind, name] if !kind.contains('/') => (kind.as_str(), name.as_str()),
        _ => return Err(CliError::usage("one object is needed, as TYPE/NAME")),
    };
    let mut query: Query = vec![("type", kind.to_owned()), ("name", name.to_owned())];
    for (name, text) in [("since", &args.stretch.since), ("until", &args.stretch.until)] {
        query.extend(point::optional(app, text.as_ref())?.map(|time| (name, time)));
    }
    if args.output != Plain::Table {
        query.push(("objects", String::from("true")));
    }
    let (client, context) = app.client(&args.connect)?;
    let scope = Scope { namespace: &args.namespace, cluster: &args.cluster, context: &context };
    scope.add(&client, Some(kind), &mut query).await?;
    let answer: Answer<HistoryItem> = client.json("v1/history", &query).await?;
    let resolved = Resolved::from(&answer);
    resolved.note(app);
    match args.output {
        Plain::Table => table(app, &answer.items)?,
        Plain::Json => output::json(&app.ui, &answer)?,
        Plain::Jsonl => {
            answer.items.iter().try_for_each(|item| output::json_line(&app.ui, item))?;
        }
        Plain::Yaml => output::yaml(&app.ui, &answer)?,
    }
    let exit = resolved.warn(app);
    if answer.items.is_empty() && exit == Exit::Done {
        return Err(CliError::not_found(format!("no version of {kind}/{name} was seen"))
            .hint("name its namespace with -n, or use -A"));
    }
    Ok(exit)
}

fn table(app: &App, items: &[HistoryItem]) -> Result<(), CliError> {
    if items.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["SEEN", "CHANGE", "RESOURCEVERSION", "INDEX", "NAMESPACE", "UID"]);
    for item in items {
        let within = item.within.as_ref();
        let version = within.map_or_else(
            || item.resource_version.clone(),
            |range| format!("within ({}, {}]", range.after, range.until),
        );
        table.row([
            rfc3339(item.seen.0),
            change_word(item.change).to_owned(),
            version,
            item.index.to_string(),
            item.of.namespace.clone(),
            item.of.uid.clone(),
        ]);
    }
    table.lines().try_for_each(|line| app.ui.line(&line))
}
