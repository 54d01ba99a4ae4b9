//! `stele referrers`: which objects name an object by its uid.

use clap::Args;
use stele_server::api::{Answer, ObjectItem};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, NamespaceArgs};
use crate::client::Query;
use crate::commands::diff::full_name;
use crate::error::{CliError, Exit, Outcome};
use crate::output::{self, Plain};
use crate::point;
use crate::resolved::Resolved;
use crate::resources;
use crate::scope::Scope;
use crate::table::Table;
use crate::when::rfc3339;

/// Arguments of `stele referrers`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele referrers deploy/web -n shop
  stele referrers node/node-1 --at 2026-11-23T03:12Z

What names an object by its uid: what it owns, events about it, addresses that lead to it. References
by name alone, such as a Secret in a pod, are not looked for.")]
pub(crate) struct ReferrersArgs {
    /// The object: `deploy/web`, `pods web`
    #[arg(value_name = "TYPE/NAME", required = true, num_args = 1..=2)]
    what: Vec<String>,
    /// The point in time (see `stele help time`); default is now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
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

pub(crate) async fn run(app: &App, args: &ReferrersArgs) -> Outcome {
    let (kind, name) = resources::one(&args.what)?;
    let mut query: Query = vec![("type", kind.to_owned()), ("name", name.to_owned())];
    query.extend(point::optional(app, args.at.as_ref())?.map(|at| ("at", at)));
    if args.output == Plain::Table {
        query.push(("bodies", String::from("false")));
    }
    let (client, context) = app.client(&args.connect)?;
    let scope = Scope { namespace: &args.namespace, cluster: &args.cluster, context: &context };
    scope.add(&client, Some(kind), &mut query).await?;
    let answer: Answer<ObjectItem> = client.json("v1/referrers", &query).await?;
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
        return Err(CliError::not_found(format!("nothing that names {kind}/{name} was seen"))
            .hint("name its namespace with -n, or use -A"));
    }
    Ok(exit)
}

fn table(app: &App, items: &[ObjectItem]) -> Result<(), CliError> {
    if items.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["OBJECT", "SEEN", "RESOURCEVERSION", "INDEX", "UID"]);
    for item in items {
        table.row([
            full_name(&item.of),
            rfc3339(item.seen.0),
            item.resource_version.clone(),
            item.index.to_string(),
            item.of.uid.clone(),
        ]);
    }
    table.lines().try_for_each(|line| app.ui.line(&line))
}
