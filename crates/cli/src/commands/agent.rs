//! `stele agent`: records clusters here and delivers to a ledger elsewhere. While that can't be
//! reached, the spool keeps everything.

use std::path::PathBuf;

use clap::Args;
use prometheus_client::registry::Registry;

use crate::app::{App, read_token};
use crate::client::Client;
use crate::delivery::ToServer;
use crate::error::{CliError, Exit, Outcome};
use crate::keys::LogKeys;
use crate::logging;
use crate::recorders::{RecordArgs, Recorders};
use crate::signals::Signals;

/// Arguments of `stele agent`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  stele agent --server https://ledger.example.com --token-file token --key log.pub --spool /var/lib/stele-agent

The server acknowledges with proofs. With --key they are checked against the log's public key, and
an acknowledgement that does not hold stops the agent with exit code 5.")]
pub(crate) struct AgentArgs {
    /// Base URL of the ledger's server
    #[arg(long, env = "STELE_SERVER", value_name = "URL", hide_env_values = true)]
    server: String,
    /// File with a token that may deliver as this agent's sources
    #[arg(long, env = "STELE_TOKEN_FILE", value_name = "FILE", hide_env_values = true)]
    token_file: PathBuf,
    /// Public key of the log: a file, or a verifier key itself
    #[arg(long, env = "STELE_KEY", value_name = "FILE|KEY", hide_env_values = true)]
    key: Option<String>,
    /// Directory for the sources' keys and what is not delivered yet
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
    #[command(flatten)]
    record: RecordArgs,
    /// Print the ids of the sources, for the server's token file, and end
    #[arg(long)]
    print_sources: bool,
}

pub(crate) async fn run(app: &App, args: &AgentArgs) -> Outcome {
    logging::start();
    let mut signals = Signals::new()?;
    let clusters = args.record.clusters().await?;
    if clusters.is_empty() {
        return Err(CliError::usage(format!("nothing to record: {}", clusters.why_none()))
            .hint("name a cluster: --kubeconfig FILE, --context CONTEXT, or --in-cluster"));
    }
    let keys = args.key.as_deref().map(LogKeys::from_argument).transpose()?.unwrap_or_default();
    if keys.is_empty() {
        app.ui.warn("no key of the log is known, so acknowledgements are not checked (--key)");
    }
    let client = Client::new(&args.server, Some(read_token(&args.token_file)?), keys)?;
    let delivery = ToServer::new(client);
    let place = |name: &str| args.spool.join(name);
    if args.print_sources {
        return print_sources(app, &clusters.source_names(), &place);
    }
    let mut registry = Registry::default();
    let mut recorders =
        Recorders::start(app, &place, clusters, &args.record, &delivery, &mut registry)?;
    app.ui.line(&format!("stele {}", env!("CARGO_PKG_VERSION")))?;
    app.ui.line(&format!("ledger   {}", args.server))?;
    recorders.announce(app)?;
    let failure = tokio::select! {
        () = signals.stop() => None,
        error = recorders.failed() => Some(delivery.take_refusal().unwrap_or(error)),
    };
    recorders.end(app, &mut signals, failure).await
}

fn print_sources(app: &App, names: &[String], place: &dyn Fn(&str) -> PathBuf) -> Outcome {
    for name in names {
        let dir = place(name);
        std::fs::create_dir_all(&dir)
            .map_err(|e| CliError::failed(format!("cannot create {}: {e}", dir.display())))?;
        let key = stele_source::load_or_make_key(&dir.join("source.key"))
            .map_err(crate::recorders::source_error)?;
        app.ui.line(&format!("{}  {name}", key.source_id()))?;
    }
    Ok(Exit::Done)
}
