//! `stele verify`: checks something and says which checks it made. Exit code 5 if one does not
//! hold, and for no other reason.

mod file;
mod log;
mod receipt;

use std::path::PathBuf;

use clap::Args;
use stele_merkle::Policy;

use crate::app::{App, ConnectArgs};
use crate::error::{CliError, Outcome};
use crate::keys::LogKeys;
use crate::output::Plain;
use crate::policies;

pub(crate) use log::directory;

/// Arguments of `stele verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele verify case42.jsonl --key log.pub
  stele verify record.tlog-proof --key log.pub
  stele verify record.cose --record record.json --key log.pub
  stele verify growth.cose --since old.checkpoint --key log.pub
  stele verify --log
  stele verify --log https://ledger.example.com --key log.pub
  stele verify --data /var/lib/stele
  stele verify case42.jsonl --policy trust.policy

A file is checked without any server. A running log is compared with the checkpoint that was pinned
when it was verified before: a smaller tree, or one that does not continue it, is a failure. What
holds is pinned in $XDG_STATE_HOME/stele.")]
pub(crate) struct VerifyArgs {
    /// Evidence file, .tlog-proof file or COSE receipt; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["log", "data"], conflicts_with_all = ["log", "data"])]
    file: Option<PathBuf>,
    /// The record that a COSE receipt, or a .tlog-proof without a leaf, is about: its leaf, or the
    /// JSON of `stele log get`
    #[arg(long, value_name = "FILE", requires = "file")]
    record: Option<PathBuf>,
    /// The older checkpoint that a COSE receipt says is continued; default is the pinned one
    #[arg(long, value_name = "CHECKPOINT", requires = "file")]
    since: Option<PathBuf>,
    /// An evidence file of the same log whose key history leads from the pinned key to the one that
    /// signed the .tlog-proof or COSE receipt
    #[arg(long, value_name = "FILE", requires = "file")]
    key_history: Option<PathBuf>,
    /// Verify a running log: this server, or that of the context
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", conflicts_with = "data")]
    log: Option<String>,
    /// Verify every record of this data directory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Ask for the cosignatures of this trust policy (C2SP tlog-policy) too; without --key it also says
    /// whose log it is
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Do not compare with the pinned checkpoint, and pin nothing
    #[arg(long)]
    no_pin: bool,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(app: &App, args: &VerifyArgs) -> Outcome {
    let policy = args.policy.as_deref().map(policies::read).transpose()?;
    let policy = policy.as_ref();
    let checks = if let Some(url) = &args.log {
        let mut connect = args.connect.clone();
        if !url.is_empty() {
            connect.server = Some(url.clone());
        }
        log::server(app, &connect, policy, !args.no_pin).await?
    } else if let Some(data) = &args.data {
        let pinned = args.connect.key.as_deref().map(LogKeys::from_argument).transpose()?;
        directory(app, data, pinned, policy, !args.no_pin).await?
    } else {
        let file = args.file.as_deref().ok_or_else(|| CliError::usage("a FILE is needed"))?;
        let keys = file_keys(app, args, policy)?;
        let about = file::About { record: args.record.as_deref(), since: args.since.as_deref() };
        let trust = file::Trust::new(&keys, args.key_history.as_deref(), policy)?;
        file::verify(app, file, about, &trust)?
    };
    checks.finish(app, args.output)
}

/// The keys to check a file with. Those that lie beside the evidence prove nothing, so there is no
/// falling back on them.
fn file_keys(app: &App, args: &VerifyArgs, policy: Option<&Policy>) -> Result<LogKeys, CliError> {
    if let (None, Some(policy)) = (&args.connect.key, policy.filter(|p| !p.logs().is_empty())) {
        return LogKeys::from_policy(policy);
    }
    let context = app.context(&args.connect)?;
    let keys = LogKeys::from_texts(&context.key)?;
    if keys.is_empty() {
        return Err(CliError::usage("the public key of the log is needed").hint(
            "--key FILE, for example DIR/keys/log.pub of `stele up`, or --key NAME+HASH+KEY",
        ));
    }
    Ok(keys)
}
