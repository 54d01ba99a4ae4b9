//! `stele witness`: cosigns checkpoints of other logs (C2SP tlog-witness).
//!
//! ```text
//! DIR/keys/witness.key   private key of the witness, for its owner's eyes only
//! DIR/keys/witness.pub   its public keys, to be handed out
//! DIR/states/            what was cosigned last for each log
//! ```
//!
//! Invariant: key and states are made together and used together. A witness that has lost its states
//! would cosign any tree; one that has lost its key is another witness.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use stele_ledger::witness::Witness;
use stele_server::{MeteredStore, WitnessServer};
use stele_store::DiskStore;
use tokio::sync::watch;

use super::up::bind;
use crate::app::App;
use crate::cosigner_dir::{CosignerDir, LogsArgs};
use crate::error::{CliError, Exit, Outcome};
use crate::log_view::store_error;
use crate::logging;
use crate::signals::Signals;

/// Arguments of `stele witness`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele witness --data /var/lib/stele-witness --name witness.example.org/w1 --log log.pub
  stele witness --data /var/lib/stele-witness --policy logs.policy --listen 127.0.0.1:7118

At the first start a key is made. The lines that are printed then go into the policies of those who
rely on this witness, with the address under which they reach it. Put TLS in front of it.

It answers POST /add-checkpoint and /sign-subtree, GET /<hex SHA-256 of an origin>/checkpoint, /livez, /readyz and
/metrics. Take good care of the data directory: a witness that is set back to an older copy of it
can be made to cosign two histories.")]
pub(crate) struct WitnessArgs {
    /// Directory for the witness's key and what it cosigned last
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Name of the witness, for its first start; default is one made by chance
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    logs: LogsArgs,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7118")]
    listen: SocketAddr,
    /// Serve without TLS on an address that other machines can reach
    #[arg(long)]
    allow_plaintext: bool,
}

pub(crate) async fn run(app: &App, args: &WitnessArgs) -> Outcome {
    logging::start();
    let mut signals = Signals::new()?;
    let logs = args.logs.read()?;
    let listener = bind(args.listen).await?;
    let address = listener.local_addr().map_err(CliError::failed)?;
    app.ui.line(&format!("stele {}", env!("CARGO_PKG_VERSION")))?;
    let dir = CosignerDir::of_witness(&args.data);
    let (key, created) = dir.key(args.name.as_deref())?;
    let mut registry = Registry::default();
    let disk = Arc::new(DiskStore::open(dir.states()).map_err(store_error)?);
    let store = Arc::new(MeteredStore::new(disk, "disk", Arc::clone(&app.clock), &mut registry));
    let age = if created { "new" } else { "opened" };
    app.ui.line(&format!("data     {}", args.data.display()))?;
    app.ui.line(&format!("witness  {}, {age}", key.name()))?;
    let witness = Arc::new(Witness::new(store, Arc::clone(&app.clock), key, logs.keys));
    for origin in witness.origins() {
        app.ui.line(&format!("log      {origin}"))?;
    }
    let url = format!("http://{address}");
    for (name, key) in ["ed25519", "ml-dsa-44"].iter().zip(witness.verifier_keys()) {
        app.ui.line(&format!("policy   witness {name} {key} {url}"))?;
    }
    let clock = Arc::clone(&app.clock);
    let server = WitnessServer { witness, clock, registry, allow_plaintext: args.allow_plaintext };
    let (stop, stopped) = watch::channel(false);
    let mut serving = tokio::spawn(server.serve(listener, stopped));
    app.ui.line(&format!("api      {url}"))?;
    let ended = tokio::select! {
        () = signals.stop() => {
            stop.send_replace(true);
            serving.await
        }
        ended = &mut serving => ended,
    };
    ended.map_err(CliError::failed)?.map_err(CliError::failed)?;
    app.ui.note("Stopped; everything that was cosigned is durable.");
    Ok(Exit::Done)
}
