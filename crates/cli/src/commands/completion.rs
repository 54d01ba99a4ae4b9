//! `stele completion`: scripts that make a shell complete commands and flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::app::App;
use crate::args::Cli;
use crate::error::{Exit, Outcome};

/// Arguments of `stele completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  stele completion bash > ~/.local/share/bash-completion/completions/stele"
)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(app: &App, args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stele", &mut script);
    app.ui.raw(&script)?;
    Ok(Exit::Done)
}
