//! The commands, one module each: arguments, and `run`.

pub(crate) mod agent;
pub(crate) mod bench;
pub(crate) mod completion;
pub(crate) mod configure;
pub(crate) mod coverage;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod fsck;
pub(crate) mod get;
pub(crate) mod help;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod ip;
pub(crate) mod kubeconfig;
pub(crate) mod leaf_mirror;
pub(crate) mod log;
pub(crate) mod mirror;
pub(crate) mod reference;
pub(crate) mod referrers;
pub(crate) mod state;
pub(crate) mod up;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod webhook;
pub(crate) mod witness;

use crate::app::App;
use crate::args::{Cli, Command};
use crate::error::{Exit, Outcome};
use crate::ui::Ui;

/// Runs a command and says how the program ends.
pub(crate) async fn run(cli: Cli) -> Exit {
    let ui = Ui::new(cli.global.color, cli.global.quiet);
    let outcome = match App::new(&cli.global) {
        Ok(app) => dispatch(&app, cli.command).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(exit) => exit,
        Err(error) => {
            // A reader that closed the pipe has all it wants: end without a word.
            if error.exit() != Exit::Done {
                ui.error(&error);
            }
            error.exit()
        }
    }
}

async fn dispatch(app: &App, command: Command) -> Outcome {
    match command {
        Command::Agent(args) => agent::run(app, &args).await,
        Command::Bench(args) => bench::run(app, &args).await,
        Command::Completion(args) => completion::run(app, &args),
        Command::Config(args) => configure::run(app, &args),
        Command::Coverage(args) => coverage::run(app, &args).await,
        Command::Demo(args) => demo::run(app, &args).await,
        Command::Diff(args) => diff::run(app, &args).await,
        Command::Export(args) => export::run(app, &args).await,
        Command::Fsck(args) => fsck::run(app, &args).await,
        Command::Get(args) => get::run(app, &args).await,
        Command::Help(args) => help::run(app, &args),
        Command::History(args) => history::run(app, &args).await,
        Command::Import(args) => import::run(app, &args).await,
        Command::Ip(args) => ip::run(app, &args).await,
        Command::Kubeconfig(args) => kubeconfig::run(app, &args).await,
        Command::LeafMirror(args) => leaf_mirror::run(app, &args).await,
        Command::Log(args) => log::run(app, &args).await,
        Command::Mirror(args) => mirror::run(app, &args).await,
        Command::Reference(args) => reference::run(app, &args),
        Command::Referrers(args) => referrers::run(app, &args).await,
        Command::State(args) => state::run(app, &args).await,
        Command::Up(args) => up::run(app, &args).await,
        Command::Verify(args) => verify::run(app, &args).await,
        Command::Watch(args) => watch::run(app, &args).await,
        Command::Webhook(args) => webhook::run(app, &args).await,
        Command::Witness(args) => witness::run(app, &args).await,
    }
}
