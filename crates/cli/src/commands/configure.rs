//! `stele config`: where the configuration is and what it says.

use clap::{Args, Subcommand};

use crate::app::App;
use crate::config::DEFAULT_FILE;
use crate::error::{CliError, Exit, Outcome};

/// Arguments of `stele config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a configuration file with every key, its default and its meaning
    Default,
    /// Print the paths of the files that are read
    Path,
    /// Print the configuration in force
    View,
}

pub(crate) fn run(app: &App, args: &ConfigArgs) -> Outcome {
    match args.command {
        ConfigCommand::Default => app.ui.raw(DEFAULT_FILE.as_bytes())?,
        ConfigCommand::Path => {
            for path in [&app.dirs().config_file, &app.dirs().system_config_file] {
                app.ui.line(&path.display().to_string())?;
            }
        }
        ConfigCommand::View => {
            let text = toml::to_string_pretty(&app.config()?)
                .map_err(|e| CliError::failed(format!("cannot print the configuration: {e}")))?;
            app.ui.raw(text.as_bytes())?;
        }
    }
    Ok(Exit::Done)
}
