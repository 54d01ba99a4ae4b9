//! `stele leaf-mirror`: takes the leaves of logs that are pushed to it, and cosigns what it holds whole
//! (C2SP tlog-mirror).
//!
//! Invariant: one process has the data directory, as the lock on its states says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use stele_ledger::leaf_mirror::LeafMirror;
use stele_server::{LeafMirrorServer, MeteredStore};
use stele_store::DiskStore;
use tokio::sync::watch;

use super::up::bind;
use crate::app::App;
use crate::cosigner_dir::{CosignerDir, LogsArgs};
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit, Outcome};
use crate::log_view::store_error;
use crate::logging;
use crate::signals::Signals;

/// Arguments of `stele leaf-mirror`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele leaf-mirror --data /var/lib/leaves --name mirror.example.org/m1 --log log.pub
  stele log push http://127.0.0.1:7119 --mirror-key /var/lib/leaves/keys/mirror.pub

Any log that speaks C2SP tlog-mirror can push to it: POST /add-checkpoint, then /add-entries. It serves
the copy as C2SP tlog-tiles below /<hex SHA-256 of the origin>/, with its own cosignatures on the
checkpoint, and answers POST /sign-subtree, /livez, /readyz and /metrics. Put TLS in front of it.

It holds leaves alone: of a stele log the headers of records, and no payload. `stele mirror` keeps a
copy of everything, from which a log can be repaired.")]
pub(crate) struct LeafMirrorArgs {
    /// Directory for the mirror's key and what it holds
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Name of the mirror, for its first start; default is one made by chance
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    logs: LogsArgs,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7119")]
    listen: SocketAddr,
    /// Serve without TLS on an address that other machines can reach
    #[arg(long)]
    allow_plaintext: bool,
}

pub(crate) async fn run(app: &App, args: &LeafMirrorArgs) -> Outcome {
    logging::start();
    let mut signals = Signals::new()?;
    let logs = args.logs.read()?;
    let listener = bind(args.listen).await?;
    let address = listener.local_addr().map_err(CliError::failed)?;
    app.ui.line(&format!("stele {}", env!("CARGO_PKG_VERSION")))?;
    let dir = CosignerDir::of_leaf_mirror(&args.data);
    let (key, created) = dir.key(args.name.as_deref())?;
    let _lock = DataDir::new(&args.data).lock()?;
    let mut registry = Registry::default();
    let disk = Arc::new(DiskStore::open(dir.states()).map_err(store_error)?);
    let store = Arc::new(MeteredStore::new(disk, "disk", Arc::clone(&app.clock), &mut registry));
    let age = if created { "new" } else { "opened" };
    app.ui.line(&format!("data     {}", args.data.display()))?;
    app.ui.line(&format!("mirror   {}, {age}", key.name()))?;
    let clock = Arc::clone(&app.clock);
    let mirror = LeafMirror::open(store, Arc::clone(&clock), key, logs.keys, logs.replaced);
    let mirror = Arc::new(mirror.map_err(|e| CliError::tampered(e.to_string()))?);
    for origin in mirror.origins() {
        app.ui.line(&format!("log      {origin}"))?;
    }
    let url = format!("http://{address}");
    for (name, key) in ["ed25519", "ml-dsa-44"].iter().zip(mirror.verifier_keys()) {
        app.ui.line(&format!("policy   witness {name} {key}"))?;
    }
    let server =
        LeafMirrorServer { mirror, clock, registry, allow_plaintext: args.allow_plaintext };
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
    app.ui.note("Stopped; everything that was cosigned is held.");
    Ok(Exit::Done)
}
