//! `stele demo`: a recording of a real control plane, taken through the same path as any other
//! input, and the commands to try on it with values that are found in it.

mod sample;
mod tamper;

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use stele_server::api::LogInfo;
use stele_store::random_bytes;
use tokio::net::TcpListener;
use tokio::time::{Duration, sleep};

use crate::app::App;
use crate::client::{Client, Query};
use crate::commands::import;
use crate::commands::up::context_of;
use crate::config;
use crate::data_dir::DataDir;
use crate::delivery::ToLedger;
use crate::error::{CliError, Exit, Outcome};
use crate::keys::LogKeys;
use crate::node::{Node, ServeOptions, Serving};
use crate::signals::Signals;
use crate::when::grouped;

/// A recording of the project's test bed, in the envelope form that `stele import` takes.
static RECORDING: &[u8] = include_bytes!("../../../demo/recording.jsonl.zst");

/// Arguments of `stele demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the data in this directory; default is a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port of the API; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Print what there is to try, and end
    #[arg(long)]
    exit: bool,
    /// Change one byte on disk, and show that it is noticed
    #[arg(long, conflicts_with_all = ["exit", "listen"])]
    tamper: bool,
}

pub(crate) async fn run(app: &App, args: &DemoArgs) -> Outcome {
    let mut signals = Signals::new()?;
    let place = Place::new(args.data.as_deref())?;
    let dir = DataDir::new(&place.path);
    if dir.has_ledger() {
        return Err(CliError::usage(format!("{} holds a ledger already", dir.root().display()))
            .hint(
                "the demo wants a directory of its own; or serve this one: stele up --data DIR",
            ));
    }
    let node = tokio::select! {
        node = fill(app, &dir) => node?,
        () = signals.stop() => return Ok(Exit::Interrupted),
    };
    if args.tamper {
        node.close().await?;
        // As a person would: the key was written down before anybody touched the disk.
        let keys = LogKeys::from_argument(&dir.public_keys().display().to_string())?;
        return tamper::show(app, &dir, &keys).await;
    }
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|e| CliError::failed(format!("cannot listen on {}: {e}", args.listen)))?;
    let mut serving = node.serve(listener, ServeOptions::default())?;
    let outcome = tokio::select! {
        toured = tour(app, args, &dir, &serving) => toured,
        () = signals.stop() => Ok(Exit::Interrupted),
    };
    let outcome = match outcome {
        Ok(Exit::Done) if !args.exit => tokio::select! {
            () = signals.stop() => Ok(Exit::Done),
            error = serving.failed() => Err(error),
        },
        other => other,
    };
    serving.stop().await?;
    outcome
}

/// The demo's directory; removed at the end unless the person named it.
struct Place {
    path: PathBuf,
    temporary: bool,
}

impl Place {
    fn new(named: Option<&Path>) -> Result<Self, CliError> {
        if let Some(path) = named {
            return Ok(Self { path: path.to_owned(), temporary: false });
        }
        let name = format!("stele-demo-{}", hex::encode(random_bytes::<6>()));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| CliError::failed(format!("cannot create {}: {e}", path.display())))?;
        Ok(Self { path, temporary: true })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Makes a ledger and takes the recording in.
async fn fill(app: &App, dir: &DataDir) -> Result<Node, CliError> {
    let (node, _) = Node::open_or_create(app, dir)?;
    app.ui.note("Taking a recording of a real control plane into a new ledger.");
    let input = import::Input {
        name: String::from("demo"),
        reader: Box::new(RECORDING),
        bytes: Some(RECORDING.len() as u64),
    };
    let delivery = ToLedger::new(node.ledger().clone());
    let place = |name: &str| dir.source(name);
    let options = import::Options {
        name: String::from("demo"),
        cluster: String::from("demo"),
        ..import::Options::default()
    };
    import::take_in(app, vec![input], &options, &place, &delivery).await?;
    Ok(node)
}

async fn tour(app: &App, args: &DemoArgs, dir: &DataDir, serving: &Serving) -> Outcome {
    let client = serving.client()?;
    let size = folded(app, &client).await?;
    let sample = sample::find(&client).await?;
    let config_file = dir.root().join("config.toml");
    config::save_context(&config_file, "default", &context_of(dir, serving)?)?;
    let mut lines = vec![
        format!("{} records of a real control plane, {}", grouped(size), sample.stretch()),
        format!("are in a ledger behind {}. In another terminal:", serving.url()),
        String::new(),
        format!("  export STELE_CONFIG={}", shown(&config_file)),
    ];
    lines.extend(sample.commands());
    lines.iter().try_for_each(|line| app.ui.line(line))?;
    if !args.exit {
        let end = if args.data.is_some() { "" } else { " and removes its data" };
        app.ui.line(&format!("\nCtrl-C ends the demo{end}."))?;
    }
    Ok(Exit::Done)
}

fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Waits until the views have taken in every record.
async fn folded(app: &App, client: &Client) -> Result<u64, CliError> {
    let mut progress = app.ui.progress("Folding records", None);
    loop {
        let info: LogInfo = client.json("v1/log", &Query::new()).await?;
        progress.of(info.size);
        progress.at(info.state_size);
        if info.state_size >= info.size {
            return Ok(info.size);
        }
        sleep(Duration::from_millis(50)).await;
    }
}
