//! `stele log`: the log itself. Works with a server, or on a directory with none (`--data`).

mod append;
mod export;
mod prove;
mod push;
mod read;
mod rotate_key;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::{App, ConnectArgs};
use crate::error::Outcome;
use crate::log_view::LogView;

/// Arguments of `stele log`.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Show what the log is and how far it goes
    Info(read::InfoArgs),
    /// Append own events, and show where they are in the log
    Append(append::AppendArgs),
    /// Show a record
    Get(read::GetArgs),
    /// Prove that a record is in the log, as a C2SP .tlog-proof file or a COSE receipt
    Prove(prove::ProveArgs),
    /// Write the log as static files, readable by any C2SP tlog-tiles client
    Export(export::ExportArgs),
    /// Push the log's leaves to a mirror, which cosigns them (C2SP tlog-mirror)
    Push(push::PushArgs),
    /// Replace the log's key, recorded in the log and signed by the old and the new one
    RotateKey(rotate_key::RotateKeyArgs),
}

/// Where the log is.
#[derive(Debug, Clone, Default, Args)]
struct WhereArgs {
    /// Read this data directory instead of asking a server
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl WhereArgs {
    fn view(&self, app: &App) -> Result<LogView, crate::error::CliError> {
        LogView::open(app, self.data.as_deref(), &self.connect)
    }
}

pub(crate) async fn run(app: &App, args: &LogArgs) -> Outcome {
    match &args.command {
        LogCommand::Info(args) => read::info(app, args).await,
        LogCommand::Append(args) => append::run(app, args).await,
        LogCommand::Get(args) => read::get(app, args).await,
        LogCommand::Prove(args) => prove::run(app, args).await,
        LogCommand::Export(args) => export::run(app, args).await,
        LogCommand::Push(args) => push::run(app, args).await,
        LogCommand::RotateKey(args) => rotate_key::run(app, args).await,
    }
}
