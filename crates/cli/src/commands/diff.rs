//! `stele diff`: what changed between two times, as a unified diff of the objects.

use clap::{Args, ValueEnum};
use serde_json::Value;
use similar::TextDiff;
use stele_server::api::{Answer, ChangeKind, DiffItem, ObjectName, VersionSeen};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, NamespaceArgs, StretchArgs};
use crate::client::Query;
use crate::error::{CliError, Exit, Outcome};
use crate::output;
use crate::point;
use crate::resolved::Resolved;
use crate::resources;
use crate::scope::Scope;
use crate::when::rfc3339;

/// Arguments of `stele diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele diff --since 20m -n shop
  stele diff deploy/web --since 2026-11-23T03:00Z --until 2026-11-23T03:12Z
  stele diff -A --since '#812000' -o name")]
pub(crate) struct DiffArgs {
    /// What to compare; default is everything
    #[arg(value_name = "TYPE[/NAME]")]
    what: Option<String>,
    #[command(flatten)]
    stretch: StretchArgs,
    #[command(flatten)]
    namespace: NamespaceArgs,
    /// Label selector
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: DiffOutput,
    /// Show managedFields and resourceVersion too
    #[arg(long)]
    show_managed_fields: bool,
    /// End with exit code 3 if there are differences
    #[arg(long)]
    error_changed: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum DiffOutput {
    /// A unified diff of the objects in YAML.
    #[default]
    Unified,
    /// One line for each object: what happened, and which.
    Name,
    /// One JSON document with both versions of each object.
    Json,
    /// One JSON object a line.
    Jsonl,
}

pub(crate) async fn run(app: &App, args: &DiffArgs) -> Outcome {
    let Some(since) = point::optional(app, args.stretch.since.as_ref())? else {
        return Err(CliError::usage("--since is needed: compared with when?")
            .hint("for example --since 20m"));
    };
    let mut query: Query = vec![("since", since)];
    let until = point::optional(app, args.stretch.until.as_ref())?;
    query.extend(until.map(|until| ("until", until)));
    let what = args.what.as_deref().map(resources::type_or_pair).transpose()?;
    let kind = what.map(|(kind, _)| kind);
    query.extend(kind.map(|kind| ("type", kind.to_owned())));
    query.extend(what.and_then(|(_, name)| name).map(|name| ("name", name.to_owned())));
    query.extend(args.selector.clone().map(|selector| ("selector", selector)));
    let (client, context) = app.client(&args.connect)?;
    let scope = Scope { namespace: &args.namespace, cluster: &args.cluster, context: &context };
    scope.add(&client, kind, &mut query).await?;
    let answer: Answer<DiffItem> = client.json("v1/diff", &query).await?;
    let resolved = Resolved::from(&answer);
    resolved.note(app);
    match args.output {
        DiffOutput::Json => output::json(&app.ui, &answer)?,
        DiffOutput::Jsonl => {
            answer.items.iter().try_for_each(|item| output::json_line(&app.ui, item))?;
        }
        DiffOutput::Name => answer.items.iter().try_for_each(|item| {
            app.ui.line(&format!("{:<8} {}", change_word(item.change), title(item)))
        })?,
        DiffOutput::Unified => {
            answer.items.iter().try_for_each(|item| unified(app, args, item))?;
        }
    }
    if answer.items.is_empty() {
        app.ui.note("Nothing changed.");
    }
    let exit = resolved.warn(app);
    let changed = args.error_changed && !answer.items.is_empty();
    Ok(if exit == Exit::Done && changed { Exit::NotFound } else { exit })
}

/// A change in a word.
pub(crate) const fn change_word(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Listed => "listed",
        ChangeKind::Modified => "modified",
        ChangeKind::Deleted => "deleted",
        ChangeKind::Vanished => "vanished",
        ChangeKind::Replaced => "replaced",
        _ => "changed",
    }
}

fn title(item: &DiffItem) -> String {
    full_name(&item.of)
}

/// An object as people name it: `deployments.apps/shop/web`.
pub(crate) fn full_name(of: &ObjectName) -> String {
    let dot = if of.group.is_empty() { "" } else { "." };
    let slash = if of.namespace.is_empty() { "" } else { "/" };
    format!("{}{dot}{}/{}{slash}{}", of.resource, of.group, of.namespace, of.name)
}

fn unified(app: &App, args: &DiffArgs, item: &DiffItem) -> Result<(), CliError> {
    let before = text(args, item.before.as_ref())?;
    let after = text(args, item.after.as_ref())?;
    if before == after {
        // Only what is left out differs, for example the resourceVersion.
        return app.ui.line(&format!(" {} (no change in what is shown)", title(item)));
    }
    let diff = TextDiff::from_lines(&before, &after);
    let name = title(item);
    let from = label(&name, item.before.as_ref());
    let to = label(&name, item.after.as_ref());
    let text = diff.unified_diff().context_radius(3).header(&from, &to).to_string();
    for line in text.lines() {
        let code = match line.as_bytes().first() {
            Some(b'+') if !line.starts_with("+++") => "32",
            Some(b'-') if !line.starts_with("---") => "31",
            Some(b'@') => "36",
            _ => "",
        };
        let painted = if code.is_empty() { line.to_owned() } else { app.ui.paint(code, line) };
        app.ui.line(&painted)?;
    }
    Ok(())
}

fn label(name: &str, version: Option<&VersionSeen>) -> String {
    match version {
        Some(version) => format!(
            "{name} rv:{} #{} {}",
            version.resource_version,
            version.index,
            rfc3339(version.seen.0)
        ),
        None => String::from("/dev/null"),
    }
}

fn text(args: &DiffArgs, version: Option<&VersionSeen>) -> Result<String, CliError> {
    let Some(version) = version else { return Ok(String::new()) };
    let unreadable = |e: &dyn std::fmt::Display| {
        CliError::failed(format!("an object of the answer can't be read: {e}"))
    };
    let mut value: Value =
        serde_json::from_str(version.object.get()).map_err(|e| unreadable(&e))?;
    if !args.show_managed_fields
        && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
        metadata.remove("generation");
    }
    serde_saphyr::to_string(&value).map_err(|e| unreadable(&e))
}
