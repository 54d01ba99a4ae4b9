//! `stele history`: every version of one object, with the record that holds it, who made it, what it
//! changed, and what the object owned.

use clap::Args;
use serde_json::value::RawValue;
use stele_server::api::{Answer, HistoryItem, RequestBasis, RequestSeen};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, NamespaceArgs, StretchArgs};
use crate::client::Query;
use crate::commands::diff::{change_word, full_name};
use crate::error::{CliError, Exit, Outcome};
use crate::output::{self, Plain};
use crate::point;
use crate::resolved::Resolved;
use crate::resources;
use crate::scope::Scope;
use crate::table::Table;
use crate::when::rfc3339;

/// Longest value that is shown whole.
const SHOWN_CHARS_MAX: usize = 80;

/// Arguments of `stele history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele history deploy/web -n shop
  stele history deploy/web -n shop --owned --changes
  stele history pods web-7c -n shop --since 2h -o jsonl

BY needs recorded audit events; a question mark means that the request is known by the object's name
and the time alone. Each version names the index of its record: `stele log prove INDEX` proves it.")]
pub(crate) struct HistoryArgs {
    /// The object: `deploy/web`, `pods web`
    #[arg(value_name = "TYPE/NAME", required = true, num_args = 1..=2)]
    what: Vec<String>,
    /// With everything that it owned, and what that owned, in the order of time
    #[arg(long)]
    owned: bool,
    /// Show the paths in which each version differs from the one before it
    #[arg(long)]
    changes: bool,
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
    let (kind, name) = resources::one(&args.what)?;
    let mut query: Query = vec![("type", kind.to_owned()), ("name", name.to_owned())];
    for (name, text) in [("since", &args.stretch.since), ("until", &args.stretch.until)] {
        query.extend(point::optional(app, text.as_ref())?.map(|time| (name, time)));
    }
    let wanted = [
        ("objects", args.output != Plain::Table),
        ("owned", args.owned),
        ("changes", args.changes),
    ];
    for (name, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        query.push((name, String::from("true")));
    }
    let (client, context) = app.client(&args.connect)?;
    let scope = Scope { namespace: &args.namespace, cluster: &args.cluster, context: &context };
    scope.add(&client, Some(kind), &mut query).await?;
    let answer: Answer<HistoryItem> = client.json("v1/history", &query).await?;
    let resolved = Resolved::from(&answer);
    resolved.note(app);
    match args.output {
        Plain::Table => table(app, args, &answer.items)?,
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

fn table(app: &App, args: &HistoryArgs, items: &[HistoryItem]) -> Result<(), CliError> {
    if items.is_empty() {
        return Ok(());
    }
    let mut table =
        Table::new(["SEEN", "CHANGE", "OBJECT", "RESOURCEVERSION", "BY", "INDEX", "UID"]);
    for item in items {
        let within = item.within.as_ref();
        let version = within.map_or_else(
            || item.resource_version.clone(),
            |range| format!("within ({}, {}]", range.after, range.until),
        );
        table.row([
            rfc3339(item.seen.0),
            change_word(item.change).to_owned(),
            full_name(&item.of),
            version,
            item.by.as_deref().map_or_else(|| "-".to_owned(), maker),
            item.index.to_string(),
            item.of.uid.clone(),
        ]);
    }
    let mut lines = table.lines();
    lines.next().map_or(Ok(()), |head| app.ui.line(&head))?;
    for (line, item) in lines.zip(items) {
        app.ui.line(&line)?;
        if args.changes {
            paths(app, item)?;
        }
    }
    Ok(())
}

/// Who asked for what: `kwok patch status`, with a question mark if that is not certain.
fn maker(by: &RequestSeen) -> String {
    let user = if by.impersonated_user.is_empty() { &by.user } else { &by.impersonated_user };
    let unsure = if by.basis == RequestBasis::ResourceVersion { "" } else { "?" };
    let words = [user.as_str(), &by.verb, &by.subresource];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    if words.is_empty() { format!("#{}{unsure}", by.index) } else { words.join(" ") + unsure }
}

/// What a version changed, less what changes with every version.
fn paths(app: &App, item: &HistoryItem) -> Result<(), CliError> {
    for change in item.changes.iter().flatten() {
        let path = change.path.as_str();
        if path == "/metadata/resourceVersion" || path.starts_with("/metadata/managedFields") {
            continue;
        }
        let text = |side: &Option<Box<RawValue>>| {
            side.as_ref().map_or_else(|| "-".to_owned(), |json| shortened(json.get()))
        };
        app.ui.line(&format!("    {path}: {} → {}", text(&change.before), text(&change.after)))?;
    }
    Ok(())
}

fn shortened(json: &str) -> String {
    if json.chars().count() <= SHOWN_CHARS_MAX {
        return json.to_owned();
    }
    json.chars().take(SHOWN_CHARS_MAX - 1).chain(['…']).collect()
}
