//! `stele help`: the help of a command, or a topic that many commands share.

use clap::{Args, CommandFactory};

use crate::app::App;
use crate::args::Cli;
use crate::error::{CliError, Exit, Outcome};
use crate::topics;

/// Arguments of `stele help`.
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A topic (time, output, exit-codes, environment) or a command, for example `log prove`
    #[arg(value_name = "TOPIC|COMMAND")]
    words: Vec<String>,
}

pub(crate) fn run(app: &App, args: &HelpArgs) -> Outcome {
    if let [word] = args.words.as_slice()
        && let Some(topic) = topics::find(word)
    {
        app.ui.line(topic.text)?;
        return Ok(Exit::Done);
    }
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    for word in &args.words {
        if command.find_subcommand(word).is_none() {
            return Err(CliError::usage(format!("there is no topic or command {word:?}"))
                .hint("`stele help` lists both"));
        }
        command = command.find_subcommand_mut(word).expect("invariant: it was just found");
    }
    app.ui.line(command.render_long_help().to_string().trim_end())?;
    Ok(Exit::Done)
}
