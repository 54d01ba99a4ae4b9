//! `stele reference`, hidden: the reference documents in `docs/reference`, printed from the code
//! that they describe, so that a test can tell when they differ.

use std::fmt::Write as _;

use clap::{Arg, Args, Command, CommandFactory, ValueEnum};

use crate::app::App;
use crate::args::Cli;
use crate::error::{CliError, Exit, Outcome};
use crate::topics::TOPICS;

/// Arguments of `stele reference`.
#[derive(Debug, Args)]
pub(crate) struct ReferenceArgs {
    /// Which document
    #[arg(value_enum)]
    document: Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Document {
    /// All commands, as markdown.
    Cli,
    /// The HTTP API, as OpenAPI in JSON.
    Openapi,
}

pub(crate) fn run(app: &App, args: &ReferenceArgs) -> Outcome {
    let text = match args.document {
        Document::Cli => cli(),
        Document::Openapi => {
            let value = serde_json::to_value(stele_server::openapi())
                .and_then(|value| serde_json::to_string_pretty(&value))
                .map_err(CliError::failed)?;
            format!("{value}\n")
        }
    };
    app.ui.raw(text.as_bytes())?;
    Ok(Exit::Done)
}

fn cli() -> String {
    let mut root = Cli::command();
    root.build();
    let mut out = String::from(
        "# Commands of stele\n\n\
         Printed by `stele reference cli`; do not edit. Flags of every command: `--color WHEN`, \
         `-q`/`--quiet`, `-h`/`--help`.\n",
    );
    for command in root.get_subcommands().filter(|c| !c.is_hide_set()) {
        describe(command, &mut out);
    }
    for topic in TOPICS {
        let _ = write!(out, "\n## stele help {}\n\n```text\n{}\n```\n", topic.name, topic.text);
    }
    out
}

fn describe(command: &Command, out: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = write!(out, "\n## {name}\n\n{}\n\n```text\n{usage}\n```\n", about.trim());
    let shown = |arg: &&Arg| !arg.is_hide_set() && !is_global(arg);
    if command.get_arguments().any(|arg| shown(&arg)) {
        out.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for arg in command.get_arguments().filter(shown) {
        let _ = writeln!(out, "| {} | {} |", argument_name(arg), argument_help(arg));
    }
    if let Some(after) = command.get_after_help() {
        let _ = write!(out, "\n```text\n{}\n```\n", after.to_string().trim());
    }
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        describe(sub, out);
    }
}

fn is_global(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "color" | "quiet" | "help" | "version")
}

fn argument_name(arg: &Arg) -> String {
    let values: Vec<_> =
        arg.get_value_names().unwrap_or_default().iter().map(|v| v.as_str()).collect();
    let value = if arg.get_action().takes_values() { values.join(" ") } else { String::new() };
    if arg.is_positional() {
        return format!("`{value}`");
    }
    let long = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    format!("`{}`", format!("{short}{long} {value}").trim_end())
}

fn argument_help(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> =
        arg.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
    if arg.get_action().takes_values() && !values.is_empty() {
        let _ = write!(text, ": {}", values.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " (`{}`)", variable.to_string_lossy());
    }
    text.replace('\n', " ").replace('|', "\\|")
}
