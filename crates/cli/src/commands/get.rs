//! `stele get`: objects as they were at a time.

use clap::Args;
use serde_json::{Map, Value, json};
use stele_server::api::{Answer, ObjectItem};
use stele_server::columns::{Column, Columns, Object};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, NamespaceArgs};
use crate::client::{Client, Query};
use crate::config::Context;
use crate::error::{CliError, Exit, Outcome};
use crate::output::{self, Output};
use crate::point;
use crate::resolved::Resolved;
use crate::resources::{self, Wanted};
use crate::scope::Scope;
use crate::table::Table;

/// Arguments of `stele get`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele get pods -A --at 2026-11-23T03:12Z
  stele get deploy/web -n shop --at '20m ago' -o yaml
  stele get pods,svc -l app=web --at '#812345'
  stele get events -A --at rv:48213 -o jsonl")]
pub(crate) struct GetArgs {
    /// What to show: `pods`, `pods web`, `deploy/web`, `pods,svc`
    #[arg(value_name = "TYPE [NAME...]", required = true)]
    what: Vec<String>,
    /// Point in time (see `stele help time`)
    #[arg(long, value_name = "TIME", default_value = "now", hide_default_value = true)]
    at: String,
    #[command(flatten)]
    namespace: NamespaceArgs,
    /// Label selector, for example `app=web,tier!=cache`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Output format (see `stele help output`)
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(app: &App, args: &GetArgs) -> Outcome {
    let wanted = resources::parse(&args.what)?;
    let at = point::canonical(app, &args.at)?;
    let (client, context) = app.client(&args.connect)?;
    let ask = Ask { args, context: &context, at };
    let mut answer: Option<Answer<ObjectItem>> = None;
    let mut missing = Vec::new();
    for one in &wanted {
        let pinned = answer.as_ref().and_then(|first| first.ledger.index);
        for name in names(one) {
            let found = ask.objects(&client, &one.kind, name, pinned).await?;
            if let Some(name) = name
                && found.items.is_empty()
            {
                missing.push(format!("{}/{name}", one.kind));
            }
            answer = Some(merge(answer, found));
        }
    }
    let answer = answer.ok_or_else(|| CliError::usage("a TYPE is needed"))?;
    let resolved = Resolved::from(&answer);
    resolved.note(app);
    print(app, args, &answer, single(&wanted))?;
    let exit = resolved.warn(app);
    Ok(finish(app, args, &answer, &missing, exit))
}

fn finish(
    app: &App,
    args: &GetArgs,
    answer: &Answer<ObjectItem>,
    missing: &[String],
    exit: Exit,
) -> Exit {
    let unsure =
        if exit == Exit::Gap { "; the recorder was blind, so it may have been there" } else { "" };
    for name in missing {
        app.ui.warn(&format!("{name} was not found at that time{unsure}"));
    }
    let human = matches!(args.output, Output::Table | Output::Wide);
    if missing.is_empty() && answer.items.is_empty() && human {
        app.ui.note(&format!("No resources found{unsure}."));
    }
    let nothing = answer.items.is_empty() || !missing.is_empty();
    if exit == Exit::Done && nothing { Exit::NotFound } else { exit }
}

fn names(wanted: &Wanted) -> Vec<Option<&str>> {
    if wanted.names.is_empty() {
        return vec![None];
    }
    wanted.names.iter().map(|name| Some(name.as_str())).collect()
}

fn single(wanted: &[Wanted]) -> bool {
    matches!(wanted, [one] if one.names.len() == 1)
}

struct Ask<'a> {
    args: &'a GetArgs,
    context: &'a Context,
    at: String,
}

impl Ask<'_> {
    /// Asks for one type. Later questions of one command are answered from the same records as the
    /// first, or the parts could contradict each other.
    async fn objects(
        &self,
        client: &Client,
        kind: &str,
        name: Option<&str>,
        pinned: Option<u64>,
    ) -> Result<Answer<ObjectItem>, CliError> {
        let mut query: Query = vec![("type", kind.to_owned()), ("at", self.at.clone())];
        query.extend(pinned.map(|index| ("known_at", index.to_string())));
        query.extend(name.map(|name| ("name", name.to_owned())));
        query.extend(self.args.selector.clone().map(|selector| ("selector", selector)));
        let scope = Scope {
            namespace: &self.args.namespace,
            cluster: &self.args.cluster,
            context: self.context,
        };
        scope.add(client, Some(kind), &mut query).await?;
        client.json("v1/objects", &query).await
    }
}

fn merge(so_far: Option<Answer<ObjectItem>>, next: Answer<ObjectItem>) -> Answer<ObjectItem> {
    let Some(mut all) = so_far else { return next };
    all.items.extend(next.items);
    for gap in next.gaps {
        if !all.gaps.contains(&gap) {
            all.gaps.push(gap);
        }
    }
    all
}

fn print(
    app: &App,
    args: &GetArgs,
    answer: &Answer<ObjectItem>,
    single: bool,
) -> Result<(), CliError> {
    match args.output {
        Output::Table | Output::Wide => tables(app, args, answer),
        Output::Name => {
            let mut lines = answer.items.iter().map(|item| app.ui.line(&full_name(item)));
            lines.try_for_each(|line| line)
        }
        Output::Jsonl => answer.items.iter().try_for_each(|item| app.ui.line(item.object.get())),
        Output::Json => output::json(&app.ui, &document(answer, single)?),
        Output::Yaml => output::yaml(&app.ui, &document(answer, single)?),
    }
}

fn full_name(item: &ObjectItem) -> String {
    let of = &item.of;
    let dot = if of.group.is_empty() { "" } else { "." };
    format!("{}{dot}{}/{}", of.kind.to_lowercase(), of.group, of.name)
}

/// What `-o json` prints: a `v1` List as kubectl prints it, or the one object that was named, and
/// beside it `ledger`, which says where in the log the answer stands.
fn document(answer: &Answer<ObjectItem>, single: bool) -> Result<Value, CliError> {
    let mut items = answer.items.iter().map(object).collect::<Result<Vec<_>, _>>()?;
    let mut document = match items.pop() {
        Some(Value::Object(one)) if single && items.is_empty() => one,
        last => {
            items.extend(last);
            let mut list = Map::new();
            list.insert("apiVersion".to_owned(), json!("v1"));
            list.insert("kind".to_owned(), json!("List"));
            list.insert("metadata".to_owned(), json!({"resourceVersion": ""}));
            list.insert("items".to_owned(), Value::Array(items));
            list
        }
    };
    document.insert("ledger".to_owned(), ledger(answer)?);
    Ok(Value::Object(document))
}

fn ledger(answer: &Answer<ObjectItem>) -> Result<Value, CliError> {
    let mut value = serde_json::to_value(&answer.ledger).map_err(CliError::failed)?;
    value["time"] = serde_json::to_value(&answer.time).map_err(CliError::failed)?;
    value["gaps"] = serde_json::to_value(&answer.gaps).map_err(CliError::failed)?;
    Ok(value)
}

fn object(item: &ObjectItem) -> Result<Value, CliError> {
    let mut value: Value = serde_json::from_str(item.object.get())
        .map_err(|e| CliError::failed(format!("an object of the answer can't be read: {e}")))?;
    // Objects in a list come without the two fields that tell what they are.
    if let Some(fields) = value.as_object_mut() {
        let of = &item.of;
        fields.entry("kind").or_insert_with(|| json!(of.kind));
        let slash = if of.group.is_empty() { "" } else { "/" };
        let version = format!("{}{slash}{}", of.group, of.version);
        fields.entry("apiVersion").or_insert_with(|| json!(version));
    }
    Ok(value)
}

fn tables(app: &App, args: &GetArgs, answer: &Answer<ObjectItem>) -> Result<(), CliError> {
    let now = answer.time.as_ref().and_then(|time| time.at).map_or(app.now_ns(), |at| at.0);
    let mut rest = answer.items.as_slice();
    let mut first = true;
    while let Some(head) = rest.first() {
        let same = |item: &&ObjectItem| {
            item.of.group == head.of.group && item.of.resource == head.of.resource
        };
        let count = rest.iter().take_while(same).count();
        let (group, after) = rest.split_at(count);
        if !first {
            app.ui.line("")?;
        }
        one_table(app, args, group, now, first && after.is_empty())?;
        (rest, first) = (after, false);
    }
    Ok(())
}

fn one_table(
    app: &App,
    args: &GetArgs,
    items: &[ObjectItem],
    now: i64,
    only: bool,
) -> Result<(), CliError> {
    let of = &items[0].of;
    let columns = Columns::of(&of.group, &of.kind);
    let shown = |column: &&Column| args.output == Output::Wide || !column.is_wide();
    let columns: Vec<&Column> = columns.iter().filter(shown).collect();
    let with_namespace =
        args.namespace.all_namespaces && items.iter().any(|item| !item.of.namespace.is_empty());
    let titles = columns.iter().map(|column| column.title().to_uppercase());
    let namespace = with_namespace.then(|| String::from("NAMESPACE"));
    let mut table = Table::new(namespace.into_iter().chain(titles));
    for item in items {
        let value = object(item)?;
        let object = Object::new(&value, now);
        let cell = |column: &&Column| match column.title() {
            "Name" if !only => full_name(item),
            _ => cell_text(&column.cell(&object)),
        };
        let namespace = with_namespace.then(|| object.namespace());
        table.row(namespace.into_iter().chain(columns.iter().map(cell)));
    }
    table.lines().try_for_each(|line| app.ui.line(&line))
}

/// A cell as text; one with nothing in it is empty.
fn cell_text(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
