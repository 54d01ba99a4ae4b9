//! The data directory of somebody who cosigns for other logs, and which logs these are.
//!
//! ```text
//! DIR/keys/NAME.key   private key, for its owner's eyes only
//! DIR/keys/NAME.pub   its public keys, to be handed out
//! DIR/states/         what was cosigned, and what is held
//! ```
//!
//! Invariant: key and states are made together and used together. Who has lost the states would cosign
//! any tree; who has lost the key is somebody else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use stele_ledger::{Cosigner, CosignerKey, evidence};
use stele_merkle::{LogVerifier, VerifierKey};
use stele_store::{DiskStore, random_bytes};

use crate::data_dir::{cannot, private_dir};
use crate::error::CliError;
use crate::files;
use crate::keys::LogKeys;
use crate::log_view::store_error;
use crate::policies;

/// Which logs to cosign for.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// Log to cosign for: a file with its public keys, or a verifier key; may be repeated
    #[arg(long = "log", value_name = "FILE|KEY", required_unless_present = "policy")]
    logs: Vec<String>,
    /// Cosign for the logs that this file lists (C2SP tlog-policy); its witnesses do not matter
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Evidence file (`stele export`) of a log whose keys were replaced: its history leads from the keys
    /// that are given to those that sign now, which take their place; may be repeated
    #[arg(long = "key-history", value_name = "FILE")]
    histories: Vec<PathBuf>,
}

/// The logs to cosign for.
pub(crate) struct CosignedLogs {
    /// The keys that sign now.
    pub(crate) keys: Vec<VerifierKey>,
    /// Keys that were given, and were replaced.
    pub(crate) replaced: Vec<VerifierKey>,
}

impl LogsArgs {
    /// The keys of the logs.
    ///
    /// # Errors
    /// When a file can't be read, there is no log, or a history of keys does not hold.
    pub(crate) fn read(&self) -> Result<CosignedLogs, CliError> {
        let mut keys = Vec::new();
        for log in &self.logs {
            keys.extend(LogKeys::from_argument(log)?.into_keys());
        }
        if let Some(path) = &self.policy {
            let policy = policies::read(path)?;
            keys.extend(policy.logs().iter().map(|log| log.key.clone()));
        }
        if keys.is_empty() {
            return Err(CliError::usage("no log is known to cosign for")
                .hint("name one with --log FILE, or in a `log` line of the policy"));
        }
        let mut logs = CosignedLogs { keys, replaced: Vec::new() };
        self.histories.iter().try_for_each(|path| logs.follow(path))?;
        Ok(logs)
    }
}

impl CosignedLogs {
    /// Puts the keys that sign now in the place of those of the log that the history is of.
    fn follow(&mut self, path: &Path) -> Result<(), CliError> {
        let history = files::key_history(path)?;
        let mut why = None;
        let origins: BTreeSet<String> = self.keys.iter().map(|k| k.name().to_owned()).collect();
        for origin in origins {
            let given = self.keys.iter().filter(|key| key.name() == origin).cloned();
            match evidence::follow(&history, &LogVerifier::new(given)) {
                Ok(following) => {
                    let current = following.current_keys();
                    let stays = |key: &VerifierKey| key.name() != origin || current.contains(key);
                    self.replaced.extend(self.keys.extract_if(.., |key| !stays(key)));
                    let new = current.iter().filter(|key| !self.keys.contains(key)).cloned();
                    let new: Vec<_> = new.collect();
                    if new.is_empty() {
                        let shown = path.display();
                        let what = format!("{shown} leads to no other keys of {origin}");
                        return Err(CliError::usage(what).hint(
                            "export a record that came after the keys were replaced: \
                             stele export --from INDEX --to INDEX --out FILE",
                        ));
                    }
                    self.keys.extend(new);
                    return Ok(());
                }
                Err(error) => why = Some(error),
            }
        }
        let why = why.map_or_else(String::new, |error| format!(": {error}"));
        let shown = path.display();
        Err(CliError::tampered(format!("{shown} is no history of the keys of a log given{why}")))
    }
}

/// See the module.
pub(crate) struct CosignerDir {
    root: PathBuf,
    cosigner: Cosigner,
    /// Name of its files, and what it is.
    name: &'static str,
    /// Directory of what it has cosigned, among the objects.
    cosigned: &'static str,
}

impl CosignerDir {
    /// That of a witness.
    pub(crate) fn of_witness(root: &Path) -> Self {
        let cosigner = Cosigner::Witness;
        Self { root: root.to_owned(), cosigner, name: "witness", cosigned: "cosigned" }
    }

    /// That of a mirror of leaves.
    pub(crate) fn of_leaf_mirror(root: &Path) -> Self {
        let cosigner = Cosigner::Mirror;
        Self { root: root.to_owned(), cosigner, name: "mirror", cosigned: "mirrored" }
    }

    /// Where the states are.
    pub(crate) fn states(&self) -> PathBuf {
        self.root.join("states")
    }

    /// The key, and whether it was made now.
    ///
    /// # Errors
    /// When key or states are there without the other, or can't be read or made.
    pub(crate) fn key(&self, name: Option<&str>) -> Result<(CosignerKey, bool), CliError> {
        let keys = self.root.join("keys");
        let path = keys.join(format!("{}.key", self.name));
        let objects = self.states().join("objects");
        if path.is_file() {
            let key = CosignerKey::load(self.cosigner, &path).map_err(CliError::failed)?;
            if !objects.is_dir() {
                return Err(self
                    .half("its states are missing")
                    .hint("restore them: without them it could contradict what it cosigned")
                    .hint(format!(
                        "or begin a new {}, with another key, in an empty directory",
                        self.name
                    )));
            }
            if name.is_some_and(|name| name != key.name()) {
                let what =
                    format!("this {} is named {}; a name can't change", self.name, key.name());
                return Err(CliError::usage(what));
            }
            return Ok((key, false));
        }
        if objects.join(self.cosigned).is_dir() {
            return Err(self.half("its key is missing").hint(format!(
                "restore the key from a backup, or begin a new {} in an empty directory",
                self.name
            )));
        }
        let made = format!("stele-{}/{}", self.name, hex::encode(random_bytes::<8>()));
        let key = CosignerKey::generate(self.cosigner, name.unwrap_or(&made))
            .map_err(|e| CliError::usage(format!("--name: {e}")))?;
        for dir in [&self.root, &keys] {
            private_dir(dir).map_err(|e| cannot("create", dir, &e))?;
        }
        // States first: a key without them is refused.
        drop(DiskStore::open(self.states()).map_err(store_error)?);
        key.save(&path).map_err(CliError::failed)?;
        let public = keys.join(format!("{}.pub", self.name));
        fs::write(&public, key.public_text()).map_err(|e| cannot("write", &public, &e))?;
        Ok((key, true))
    }

    fn half(&self, what: &str) -> CliError {
        CliError::failed(format!("{} holds a {}, but {what}", self.root.display(), self.name))
    }
}
