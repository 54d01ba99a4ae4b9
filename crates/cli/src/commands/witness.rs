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

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use stele_ledger::witness::Witness;
use stele_ledger::{Cosigner, CosignerKey};
use stele_merkle::VerifierKey;
use stele_server::{MeteredStore, WitnessServer};
use stele_store::{DiskStore, random_bytes};
use tokio::sync::watch;

use super::up::bind;
use crate::app::App;
use crate::data_dir::{cannot, private_dir};
use crate::error::{CliError, Exit, Outcome};
use crate::keys::LogKeys;
use crate::log_view::store_error;
use crate::logging;
use crate::policies;
use crate::signals::Signals;

/// Arguments of `stele witness`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele witness --data /var/lib/stele-witness --name witness.example.org/w1 --log log.pub
  stele witness --data /var/lib/stele-witness --policy logs.policy --listen 127.0.0.1:7118

At the first start a key is made. The lines that are printed then go into the policies of those who
rely on this witness, with the address under which they reach it. Put TLS in front of it.

It answers POST /add-checkpoint, GET /<hex SHA-256 of an origin>/checkpoint, /livez, /readyz and
/metrics. Take good care of the data directory: a witness that is set back to an older copy of it
can be made to cosign two histories.")]
pub(crate) struct WitnessArgs {
    /// Directory for the witness's key and what it cosigned last
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Name of the witness, for its first start; default is one made by chance
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Log to cosign for: a file with its public keys, or a verifier key; may be repeated
    #[arg(long = "log", value_name = "FILE|KEY", required_unless_present = "policy")]
    logs: Vec<String>,
    /// Cosign for the logs that this file lists (C2SP tlog-policy); its witnesses do not matter
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
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
    let logs = logs(args)?;
    let listener = bind(args.listen).await?;
    let address = listener.local_addr().map_err(CliError::failed)?;
    app.ui.line(&format!("stele {}", env!("CARGO_PKG_VERSION")))?;
    let dir = WitnessDir { root: args.data.clone() };
    let (key, created) = dir.key(args.name.as_deref())?;
    let mut registry = Registry::default();
    let disk = Arc::new(DiskStore::open(dir.states()).map_err(store_error)?);
    let store = Arc::new(MeteredStore::new(disk, "disk", Arc::clone(&app.clock), &mut registry));
    let age = if created { "new" } else { "opened" };
    app.ui.line(&format!("data     {}", args.data.display()))?;
    app.ui.line(&format!("witness  {}, {age}", key.name()))?;
    let witness = Arc::new(Witness::new(store, Arc::clone(&app.clock), key, logs));
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

/// The keys of the logs to cosign for.
fn logs(args: &WitnessArgs) -> Result<Vec<VerifierKey>, CliError> {
    let mut logs = Vec::new();
    for log in &args.logs {
        logs.extend(LogKeys::from_argument(log)?.into_keys());
    }
    if let Some(path) = &args.policy {
        let policy = policies::read(path)?;
        logs.extend(policy.logs().iter().map(|log| log.key.clone()));
    }
    if logs.is_empty() {
        return Err(CliError::usage("no log is known to cosign for")
            .hint("name one with --log FILE, or in a `log` line of the policy"));
    }
    Ok(logs)
}

/// The data directory of a witness.
struct WitnessDir {
    root: PathBuf,
}

impl WitnessDir {
    fn states(&self) -> PathBuf {
        self.root.join("states")
    }

    /// The witness's key, and whether it was made now.
    fn key(&self, name: Option<&str>) -> Result<(CosignerKey, bool), CliError> {
        let keys = self.root.join("keys");
        let path = keys.join("witness.key");
        let objects = self.states().join("objects");
        if path.is_file() {
            let key = CosignerKey::load(Cosigner::Witness, &path).map_err(CliError::failed)?;
            if !objects.is_dir() {
                return Err(self
                    .half("its states are missing")
                    .hint("restore them: without them it could contradict what it cosigned")
                    .hint("or begin a new witness, with another key, in an empty directory"));
            }
            if name.is_some_and(|name| name != key.name()) {
                let what = format!("this witness is named {}; a name can't change", key.name());
                return Err(CliError::usage(what));
            }
            return Ok((key, false));
        }
        if objects.join("cosigned").is_dir() {
            return Err(self.half("its key is missing").hint(
                "restore the key from a backup, or begin a new witness in an empty directory",
            ));
        }
        let made = format!("stele-witness/{}", hex::encode(random_bytes::<8>()));
        let key = CosignerKey::generate(Cosigner::Witness, name.unwrap_or(&made))
            .map_err(|e| CliError::usage(format!("--name: {e}")))?;
        for dir in [&self.root, &keys] {
            private_dir(dir).map_err(|e| cannot("create", dir, &e))?;
        }
        // States first: a key without them is refused.
        drop(DiskStore::open(self.states()).map_err(store_error)?);
        key.save(&path).map_err(CliError::failed)?;
        let public = keys.join("witness.pub");
        fs::write(&public, key.public_text()).map_err(|e| cannot("write", &public, &e))?;
        Ok((key, true))
    }

    fn half(&self, what: &str) -> CliError {
        CliError::failed(format!("{} holds a witness, but {what}", self.root.display()))
    }
}
