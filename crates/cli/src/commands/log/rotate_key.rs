//! `stele log rotate-key`: replaces the log's key by a new one, in a directory that no server has
//! open.
//!
//! Invariant: it can be interrupted anywhere and repeated; the log's key file is whole at any time.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use stele_ledger::{Ledger, LedgerOptions};
use stele_store::DiskStore;

use crate::app::App;
use crate::config;
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit, Outcome};
use crate::log_view::{ledger_error, store_error};

/// Arguments of `stele log rotate-key`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele log rotate-key --data /var/lib/stele

Stop `stele up` first. The new keys are recorded in the log, signed by the old and by the new ones, so
whoever pins an older key follows: `stele verify --log` says so and pins the new one. The old private
key stays as DIR/keys/log.key.N; nothing needs it any more. May be repeated if it was interrupted.")]
pub(crate) struct RotateKeyArgs {
    /// Data directory; default is that of `stele up`
    #[arg(long, env = "STELE_DATA", value_name = "DIR", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Do not keep the old private key
    #[arg(long)]
    forget_old_key: bool,
}

pub(super) async fn run(app: &App, args: &RotateKeyArgs) -> Outcome {
    let dir = DataDir::existing(app.data_dir(args.data.as_deref())?)?;
    let _lock = dir.lock().map_err(|error| {
        CliError::failed(error)
            .hint("`stele up` has it open: stop it, replace the key, and start it again")
    })?;
    let old = dir.log_key()?;
    let store = DiskStore::open(dir.log()).map_err(store_error)?;
    let new = dir.next_log_key(old.origin())?;
    let (clock, from, to) = (Arc::clone(&app.clock), old.clone(), new.clone());
    let index = tokio::task::spawn_blocking(move || {
        Ledger::rotate_key(Arc::new(store), &from, &to, clock, LedgerOptions::default())
    })
    .await
    .map_err(CliError::failed)?
    .map_err(ledger_error)?;
    let kept = dir.replace_log_key(args.forget_old_key)?;
    let texts = |key: &stele_ledger::LogKey| -> Result<Vec<String>, CliError> {
        let text = key.public_text().map_err(CliError::failed)?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let (old, new) = (texts(&old)?, texts(&new)?);
    let contexts = config::replace_keys(&app.dirs().config_file, &old, &new)?;
    app.ui.line(&format!("recorded  at index {index}, signed by the old and the new key"))?;
    app.ui.line(&format!("key       {}", dir.public_keys().display()))?;
    match kept {
        Some(path) => app.ui.line(&format!("old key   kept in {}", path.display()))?,
        None => app.ui.line("old key   not kept")?,
    }
    if !contexts.is_empty() {
        app.ui.line(&format!("contexts  {}: the new key is pinned", contexts.join(", ")))?;
    }
    Ok(Exit::Done)
}
