//! `stele up`: ledger, views, API and recorders in one process, with no configuration needed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use stele_merkle::LeafIndex;
use tokio::net::TcpListener;

use crate::app::App;
use crate::config::{self, Context, UpSettings, Written};
use crate::data_dir::DataDir;
use crate::delivery::ToLedger;
use crate::error::{CliError, Outcome};
use crate::logging;
use crate::node::{Node, ServeOptions, Serving};
use crate::policies;
use crate::recorders::{self, Recorders};
use crate::signals;
use crate::when::grouped;

/// Arguments of `stele up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele up
  stele up --data /var/lib/stele --kubeconfig admin.conf --context prod --context staging
  stele up --no-record --listen 127.0.0.1:0
  stele up --witness-policy witnesses.policy

At the first start a data directory, the log's key, a token and a context of the user's
configuration are made, so that every other command finds them without flags.

With a witness policy, the checkpoint that is served to everybody is the newest one that meets it.
Recording never waits for witnesses: what is acknowledged is durable and signed by the log.")]
pub(crate) struct UpArgs {
    /// Data directory; default is $XDG_DATA_HOME/stele
    #[arg(long, env = "STELE_DATA", value_name = "DIR", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Address and port of the API; port 0 takes a free one [default: 127.0.0.1:7117]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Serve without TLS on an address that other machines can reach
    #[arg(long)]
    allow_plaintext: bool,
    /// Trust policy (C2SP tlog-policy) with the witnesses that are asked to cosign each checkpoint
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// Ask witnesses about a new checkpoint at most once in so many seconds [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    witness_pause: Option<u32>,
    /// Serve no tile and no entry bundle that ends at or before this record (C2SP tlog-tiles, pruning);
    /// nothing is deleted. Publish a retention policy before
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    minimum_index: u64,
    /// Name of the context to write to the user's configuration
    #[arg(long, value_name = "NAME", default_value = "default")]
    save_context: String,
    /// Leave the user's configuration alone
    #[arg(long, conflicts_with = "save_context")]
    no_save_context: bool,
    #[command(flatten)]
    record: recorders::RecordArgs,
    /// Record nothing: only serve
    #[arg(long, conflicts_with_all = ["kubeconfig", "kube_contexts", "in_cluster"])]
    no_record: bool,
}

const LISTEN_DEFAULT: &str = "127.0.0.1:7117";

pub(crate) async fn run(app: &App, args: &UpArgs) -> Outcome {
    logging::start();
    let signals = signals::Signals::new()?;
    let settings = app.config()?.up;
    let listen = listen_address(args, &settings)?;
    let clusters = if args.no_record {
        recorders::Clusters::none("recording is off")
    } else {
        args.record.with_settings(&settings).clusters().await?
    };
    let policy = args.witness_policy.as_ref().or(settings.witness_policy.as_ref());
    let policy = policy.map(|path| policies::read(path)).transpose()?;
    let listener = bind(listen).await?;
    app.ui.line(&format!("stele {}", env!("CARGO_PKG_VERSION")))?;
    let dir = DataDir::new(app.data_dir(args.data.as_deref())?);
    let (mut node, created) = Node::open_or_create(app, &dir)?;
    announce_log(app, &dir, &node, created)?;
    if let Some(policy) = policy {
        app.ui.line(&format!("policy   quorum {}", policy.quorum_text()))?;
        let pause = args.witness_pause.or(settings.witness_pause);
        node.follow(policy, pause.map(|s| Duration::from_secs(s.max(1).into())))?;
    }
    let delivery = ToLedger::new(node.ledger().clone());
    let place = |name: &str| dir.source(name);
    let recorders =
        Recorders::start(app, &place, clusters, &args.record, &delivery, node.registry_mut())?;
    let options = ServeOptions {
        allow_plaintext: args.allow_plaintext,
        minimum_index: minimum_index(args, &node)?,
    };
    let mut serving = node.serve(listener, options)?;
    // Before its address is told: whoever reads that finds the server without flags.
    if !args.no_save_context {
        save_context(app, args, &dir, &serving)?;
    }
    app.ui.line(&format!("api      {}", serving.url()))?;
    recorders.announce(app)?;
    let outcome = until_stopped(app, signals, recorders, &mut serving).await;
    serving.stop().await?;
    app.ui.note("Stopped; everything that was recorded is signed for.");
    outcome
}

/// The first record that is served to clients of C2SP tlog-tiles. A log has a larger checkpoint.
fn minimum_index(args: &UpArgs, node: &Node) -> Result<LeafIndex, CliError> {
    let size = node.ledger().size().0;
    if args.minimum_index > size {
        let message = format!("--minimum-index is {}, the log has {size}", args.minimum_index);
        return Err(CliError::usage(message));
    }
    Ok(LeafIndex(args.minimum_index))
}

/// A listener at this address.
///
/// # Errors
/// When the address is taken or not allowed.
pub(crate) async fn bind(listen: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(listen).await.map_err(|e| {
        CliError::failed(format!("cannot listen on {listen}: {e}"))
            .hint("choose another port with --listen, or 0 for a free one")
    })
}

async fn until_stopped(
    app: &App,
    mut signals: signals::Signals,
    mut recorders: Recorders,
    serving: &mut Serving,
) -> Outcome {
    let failure = tokio::select! {
        () = signals.stop() => None,
        error = recorders.failed() => Some(error),
        error = serving.failed() => Some(error),
    };
    recorders.end(app, &mut signals, failure).await
}

fn listen_address(args: &UpArgs, settings: &UpSettings) -> Result<SocketAddr, CliError> {
    if let Some(address) = args.listen {
        return Ok(address);
    }
    let text = settings.listen.as_deref().unwrap_or(LISTEN_DEFAULT);
    text.parse().map_err(|_| {
        CliError::usage(format!("up.listen: {text:?} is not ADDRESS:PORT"))
            .hint("for example 127.0.0.1:7117")
    })
}

fn announce_log(app: &App, dir: &DataDir, node: &Node, created: bool) -> Result<(), CliError> {
    let ledger = node.ledger();
    let age = if created { "new" } else { "opened" };
    app.ui.line(&format!("data     {}", dir.root().display()))?;
    app.ui.line(&format!(
        "log      {}, {age}, {} records",
        ledger.origin(),
        grouped(ledger.size().0)
    ))
}

fn save_context(
    app: &App,
    args: &UpArgs,
    dir: &DataDir,
    serving: &Serving,
) -> Result<(), CliError> {
    let context = context_of(dir, serving)?;
    let path = &app.dirs().config_file;
    let name = &args.save_context;
    match config::save_context(path, name, &context)? {
        Written::OtherLedger => {
            app.ui.warn(&format!(
                "the context {name:?} in {} is of another ledger and was left alone",
                path.display()
            ));
            app.ui.note(&format!(
                "To ask this one: --save-context NAME here, or --server {} --token-file {} --key {}",
                serving.url(),
                dir.admin_token().display(),
                dir.public_keys().display()
            ));
            Ok(())
        }
        Written::Saved | Written::Unchanged => {
            app.ui.line(&format!("context  {name}, in {}", path.display()))
        }
    }
}

/// The context of the owner of this node.
pub(crate) fn context_of(dir: &DataDir, serving: &Serving) -> Result<Context, CliError> {
    Ok(Context {
        server: Some(serving.url()),
        key: serving.keys().texts(),
        token_file: Some(absolute(&dir.admin_token())?),
        certificate_file: Some(absolute(&dir.certificate())?),
        ..Context::default()
    })
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(CliError::failed)
}
