//! The command line of stele: every command, the terminal, exit codes.
//!
//! What this crate is not: nothing here decides what is true. It parses, asks the other crates or
//! a server, and prints. Only this crate knows clap, terminals and the person's home directory.
//!
//! Invariants: answers go to standard output and everything else to standard error; exit code 5
//! means that a verification failed, and nothing else.

mod app;
mod args;
mod checks;
mod client;
mod commands;
mod config;
mod cosigner_dir;
mod data_dir;
mod delivery;
mod dirs;
mod error;
mod files;
mod keys;
mod log_view;
mod logging;
mod node;
mod output;
mod pins;
mod point;
mod policies;
mod receipts;
mod recorder_metrics;
mod recorders;
mod remote;
mod resolved;
mod resources;
mod scope;
mod signals;
mod sse;
mod subscription;
mod table;
mod tls;
mod topics;
mod ui;
mod when;
mod witnesses;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::error::Exit;
use crate::ui::{ColorWhen, Ui};

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return clap_ended(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Ui::new(ColorWhen::Auto, false).error(&error.into());
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(commands::run(cli));
    // What still runs in the background holds nothing that must be kept: commands wait for what
    // must be durable.
    runtime.shutdown_background();
    exit.into()
}

/// Help and version are answers; everything else is a usage error.
fn clap_ended(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}
