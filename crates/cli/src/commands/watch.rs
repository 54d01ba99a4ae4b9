//! `stele watch`: the recorded sequence of changes from any point, into the present.
//!
//! A broken connection is taken up again behind the last event that was printed, so nothing is
//! printed twice and nothing is left out.

use clap::{Args, ValueEnum};
use stele_server::api::{HistoryItem, WatchItem};

use crate::app::{App, ConnectArgs};
use crate::args::{ChangeArgs, ClusterArgs, NamespaceArgs};
use crate::client::Query;
use crate::commands::diff::change_word;
use crate::error::{CliError, Exit, Outcome};
use crate::output;
use crate::point;
use crate::resolved::describe;
use crate::resources;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::subscription::Subscription;
use crate::when::rfc3339;

/// Arguments of `stele watch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele watch -A
  stele watch deploy/web -n shop -o jsonl
  stele watch pods --since 2h
  stele watch -A --ip 10.244.1.7 --since 1d
  stele watch -n shop --owner deploy/web
  stele watch -A --from-index 812345 -o jsonl

With -o jsonl each line has the index of its record: after a stop, go on with --from-index.")]
pub(crate) struct WatchArgs {
    /// What to follow; default is everything
    #[arg(value_name = "TYPE[/NAME]")]
    what: Option<String>,
    /// Begin at this time instead of now (see `stele help time`)
    #[arg(long, value_name = "TIME", conflicts_with = "from_index")]
    since: Option<String>,
    /// Begin at this ledger index
    #[arg(long, value_name = "INDEX")]
    from_index: Option<u64>,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: WatchOutput,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum WatchOutput {
    /// One line for each change.
    #[default]
    Table,
    /// One JSON object a line, with the object after the change.
    Jsonl,
}

pub(crate) async fn run(app: &App, args: &WatchArgs) -> Outcome {
    // Before the first line is out: whoever has seen one may interrupt.
    let mut signals = Signals::new()?;
    let mut query = Query::new();
    let what = args.what.as_deref().map(resources::type_or_pair).transpose()?;
    let kind = what.map(|(kind, _)| kind);
    query.extend(kind.map(|kind| ("type", kind.to_owned())));
    query.extend(what.and_then(|(_, name)| name).map(|name| ("name", name.to_owned())));
    args.changes.add(&mut query);
    if args.output == WatchOutput::Jsonl {
        query.push(("objects", String::from("true")));
    }
    let since = point::optional(app, args.since.as_ref())?;
    let (client, context) = app.client(&args.connect)?;
    let scope = Scope { namespace: &args.namespace, cluster: &args.cluster, context: &context };
    scope.add(&client, kind, &mut query).await?;
    let begin = match (&since, args.from_index) {
        (Some(since), _) => since.clone(),
        (None, Some(index)) => format!("ledger index {index}"),
        (None, None) => String::from("now"),
    };
    app.ui.note(&format!("From {begin}."));
    let mut start = Query::new();
    start.extend(since.map(|since| ("since", since)));
    start.extend(args.from_index.map(|index| ("from_index", index.to_string())));
    let note = |text: &str| app.ui.note(text);
    let mut subscription = Subscription::new(&client, query, start, None, &note);
    let watch = Watch { app, args };
    loop {
        let received = tokio::select! {
            received = subscription.next() => received?,
            () = signals.stop() => break,
        };
        watch.show(received.item)?;
    }
    app.ui.note(&resume_hint(subscription.last_id()));
    Ok(Exit::Interrupted)
}

/// Where a new subscription goes on.
fn resume_hint(last_id: Option<&str>) -> String {
    match last_id.and_then(|id| id.split('.').next()) {
        Some(index) => format!("Go on with --from-index {index}."),
        None => String::from("Nothing was received."),
    }
}

struct Watch<'a> {
    app: &'a App,
    args: &'a WatchArgs,
}

impl Watch<'_> {
    fn show(&self, item: WatchItem) -> Result<(), CliError> {
        match item {
            WatchItem::Change(change) => self.change(&change),
            WatchItem::Gap(gap) => match self.args.output {
                WatchOutput::Table => self.app.ui.line(&describe(&gap)),
                WatchOutput::Jsonl => {
                    output::json_line(&self.app.ui, &serde_json::json!({"gap": gap}))
                }
            },
            _ => Ok(()),
        }
    }

    fn change(&self, item: &HistoryItem) -> Result<(), CliError> {
        if self.args.output == WatchOutput::Jsonl {
            return output::json_line(&self.app.ui, item);
        }
        let of = &item.of;
        let word = change_word(item.change);
        let code = match word {
            "added" | "listed" => "32",
            "deleted" | "vanished" | "replaced" => "31",
            _ => "33",
        };
        let word = self.app.ui.paint(code, &format!("{word:<8}"));
        let slash = if of.namespace.is_empty() { "" } else { "/" };
        let dot = if of.group.is_empty() { "" } else { "." };
        self.app.ui.line(&format!(
            "{}  {word}  {}{dot}{}/{}{slash}{}  rv:{}  #{}",
            rfc3339(item.seen.0),
            of.resource,
            of.group,
            of.namespace,
            of.name,
            item.resource_version,
            item.index
        ))
    }
}
