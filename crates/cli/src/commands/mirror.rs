//! `stele mirror`: keeps a verified copy of a log, and cosigns what it holds.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stele_ledger::{Contradiction, Cosigner, CosignerKey, LogInfo, Mirror, MirrorError, Synced};
use stele_merkle::LogVerifier;
use stele_store::{DiskStore, Store};

use crate::app::{App, ConnectArgs};
use crate::data_dir::{DataDir, DirLock};
use crate::error::{CliError, Exit, Outcome};
use crate::files;
use crate::keys::LogKeys;
use crate::log_view::{ledger_error, store_error};
use crate::remote;
use crate::signals::Signals;
use crate::when::grouped;

/// Arguments of `stele mirror`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele mirror https://ledger.example.com --to /mnt/mirror --key log.pub --token-file mirror.token
  stele mirror /var/lib/stele --to /mnt/mirror --once
  stele fsck --data /mnt/mirror --key log.pub
  stele fsck --repair-from /mnt/mirror

Every record is checked before it is written: its leaf in the tree that the log signed, its payload
against its commitment, its source's chain and seals. A checkpoint that does not continue the one
that is held ends the mirror with exit code 5; both are kept in DIR/evidence.

What is held is cosigned with the mirror's own key, DIR/keys/mirror.key, made at the first start;
hand out DIR/keys/mirror.pub. The cosigned checkpoint is DIR/log/hints/checkpoint. The token for a
server needs the scope `mirror`, because the stored objects hold the secrets that open payloads.")]
pub(crate) struct MirrorArgs {
    /// The log: a data or mirror directory, or the URL of a server
    #[arg(value_name = "DIR|URL")]
    source: String,
    /// Directory of the copy
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Name of the mirror's key, used when it is made: a name that only this mirror has, such as
    /// mirror.example.com/prod [default: mirror/ and 16 random digits]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Take in what is there now, and end
    #[arg(long)]
    once: bool,
    /// Seconds between two looks at the source
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Public key of the log: a file such as DIR/keys/log.pub, or a verifier key itself
    #[arg(long, env = "STELE_KEY", value_name = "FILE|KEY", hide_env_values = true)]
    key: Option<String>,
    /// File with the bearer token for a server
    #[arg(long, env = "STELE_TOKEN_FILE", value_name = "FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

/// How often a source that was packing meanwhile is asked again before that is an error.
const MOVED_TRIES: usize = 8;
/// Pause before that: the checkpoint beside a log lags by up to a quarter of a second.
const MOVED_PAUSE: Duration = Duration::from_millis(250);

pub(crate) async fn run(app: &App, args: &MirrorArgs) -> Outcome {
    let mut signals = Signals::new()?;
    let connect = ConnectArgs {
        key: args.key.clone(),
        token_file: args.token_file.clone(),
        ..ConnectArgs::default()
    };
    let source = remote::open(app, &args.source, &connect)?;
    let target = Target::open(app, args, source)?;
    loop {
        let synced = tokio::select! {
            synced = target.sync() => synced,
            // A round that is cut off leaves nothing half-written.
            () = signals.stop() => return stopped(app),
        };
        match synced {
            Ok(synced) => report(app, args, &synced)?,
            Err(error @ (MirrorError::Nothing | MirrorError::Read(_) | MirrorError::Moved))
                if !args.once =>
            {
                app.ui.warn(&format!("{error}; trying again"));
            }
            Err(error) => return Err(target.refused(app, error)),
        }
        if args.once {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
            () = signals.stop() => return stopped(app),
        }
    }
}

fn stopped(app: &App) -> Outcome {
    app.ui.note("Stopped; what was cosigned is held.");
    Ok(Exit::Done)
}

fn report(app: &App, args: &MirrorArgs, synced: &Synced) -> Result<(), CliError> {
    if synced.cosigned.is_none() && !args.once {
        return Ok(());
    }
    app.ui.line(&format!(
        "{} records are held and cosigned; {} are new, in {} objects",
        grouped(synced.size.0),
        grouped(synced.records),
        grouped(synced.objects)
    ))
}

/// The directory of the copy, and all that is needed to open it again after an error.
struct Target {
    root: PathBuf,
    _lock: DirLock,
    source: Arc<dyn Store>,
    own: Arc<dyn Store>,
    verifier: LogVerifier,
    key: PathBuf,
    clock: Arc<dyn stele_store::Clock>,
    /// Open between rounds; none before the first one and after an error.
    mirror: Arc<std::sync::Mutex<Option<Mirror>>>,
}

impl Target {
    fn open(app: &App, args: &MirrorArgs, source: Arc<dyn Store>) -> Result<Self, CliError> {
        let root = args.to.clone();
        let dir = DataDir::new(&root);
        let lock = dir.lock()?;
        let key = make_keys(app, &root, args.name.as_deref())?;
        let own: Arc<dyn Store> = Arc::new(DiskStore::open(dir.log()).map_err(store_error)?);
        let verifier = verifier(app, args, &own, &source)?;
        let clock = Arc::clone(&app.clock);
        Ok(Self { root, _lock: lock, source, own, verifier, key, clock, mirror: Arc::default() })
    }

    /// One round; again while the source is packing.
    async fn sync(&self) -> Result<Synced, MirrorError> {
        let mut tries = 0;
        loop {
            let round = self.round();
            let done = tokio::task::spawn_blocking(round).await;
            match done.unwrap_or_else(|e| Err(MirrorError::Own(e.to_string()))) {
                Err(MirrorError::Moved) if tries < MOVED_TRIES => {
                    tries += 1;
                    tokio::time::sleep(MOVED_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    fn round(&self) -> impl FnOnce() -> Result<Synced, MirrorError> + Send + 'static + use<> {
        let (own, source, verifier) =
            (self.own.clone(), self.source.clone(), self.verifier.clone());
        let (slot, clock, path) = (self.mirror.clone(), self.clock.clone(), self.key.clone());
        move || {
            let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut mirror = match slot.take() {
                Some(mirror) => mirror,
                None => {
                    let key = CosignerKey::load(Cosigner::Mirror, &path)
                        .map_err(|e| MirrorError::Own(e.to_string()))?;
                    Mirror::open(own, verifier, key, clock)?
                }
            };
            let synced = mirror.sync(&source)?;
            *slot = Some(mirror);
            Ok(synced)
        }
    }

    /// Keeps the evidence, if there is some, and says what is wrong.
    fn refused(&self, app: &App, error: MirrorError) -> CliError {
        let both = match &error {
            MirrorError::Fork(both) | MirrorError::Rollback(both) => both.clone(),
            MirrorError::Source(_) | MirrorError::NotSigned(_) => {
                return CliError::tampered(error).hint("run `stele fsck` at the source");
            }
            MirrorError::Own(_) => {
                return CliError::tampered(&error).hint(
                    "run `stele fsck --data DIR` here; repair with --repair-from the source",
                );
            }
            _ => return CliError::failed(error),
        };
        let kept = keep(&self.root, &both);
        let error = CliError::tampered(&error);
        match kept {
            Ok(path) => error.hint(format!("both signed checkpoints are in {}", path.display())),
            Err(why) => {
                app.ui.warn(&format!("the evidence cannot be kept: {why}; here it is:"));
                app.ui.warn(&both.held_note);
                app.ui.warn(&both.seen_note);
                error
            }
        }
    }
}

/// Writes both notes to a new directory below `DIR/evidence`; the same two are written once.
fn keep(root: &Path, both: &Contradiction) -> Result<PathBuf, CliError> {
    let name = format!("held-{}-seen-{}", both.held.size, both.seen.size);
    let notes = [("held.checkpoint", &both.held_note), ("seen.checkpoint", &both.seen_note)];
    let mut number = 0;
    loop {
        let path = root.join("evidence").join(format!("{name}.{number}"));
        let is_kept = |(file, note): &(&str, &String)| {
            fs::read(path.join(file)).is_ok_and(|bytes| bytes == note.as_bytes())
        };
        if notes.iter().all(is_kept) {
            return Ok(path);
        }
        if !path.exists() {
            fs::create_dir_all(&path)?;
            for (file, note) in notes {
                files::write_new(&path.join(file), note.as_bytes())?;
            }
            return Ok(path);
        }
        number += 1;
    }
}

/// The keys of the log: those that were given, else those with which the copy was begun, else the
/// source's own.
fn verifier(
    app: &App,
    args: &MirrorArgs,
    own: &Arc<dyn Store>,
    source: &Arc<dyn Store>,
) -> Result<LogVerifier, CliError> {
    if let Some(key) = &args.key {
        return Ok(LogKeys::from_argument(key)?.verifier());
    }
    let begun = LogInfo::load(&**own);
    let begun = begun.map(|info| info.keys);
    let keys = match begun {
        Ok(keys) => keys,
        Err(_) => {
            app.ui
                .warn("the key of the log is taken from the source itself; give --key to be sure");
            // The calls of a remote store block, which this thread must not.
            let source = source.clone();
            let load = std::thread::spawn(move || LogInfo::load(&*source));
            let info = load.join().map_err(|_| CliError::failed("the source cannot be read"))?;
            info.map_err(ledger_error)?.keys
        }
    };
    Ok(LogKeys::from_texts(&keys)?.verifier())
}

/// Makes the directory and the mirror's key as far as they are missing; the key's file.
fn make_keys(app: &App, root: &Path, name: Option<&str>) -> Result<PathBuf, CliError> {
    if DataDir::new(root).root().join("keys/log.key").exists() {
        return Err(CliError::usage(format!("{} is a ledger, not a mirror", root.display()))
            .hint("give the copy a directory of its own"));
    }
    let keys = root.join("keys");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys);
    made.map_err(|e| CliError::failed(format!("cannot create {}: {e}", keys.display())))?;
    let path = keys.join("mirror.key");
    let key = if path.exists() {
        CosignerKey::load(Cosigner::Mirror, &path).map_err(CliError::failed)?
    } else {
        let random = || format!("mirror/{}", hex::encode(stele_store::random_bytes::<8>()));
        let name = name.map_or_else(random, str::to_owned);
        let key = CosignerKey::generate(Cosigner::Mirror, &name)
            .map_err(|e| CliError::usage(format!("--name: {e}")))?;
        key.save(&path).map_err(CliError::failed)?;
        key
    };
    if name.is_some_and(|name| name != key.name()) {
        return Err(CliError::usage(format!("the key in {} is of {}", path.display(), key.name()))
            .hint("a mirror keeps its name; leave --name out"));
    }
    let public = key.public_text();
    let public_path = keys.join("mirror.pub");
    if fs::read_to_string(&public_path).ok().as_deref() != Some(&public) {
        fs::write(&public_path, public).map_err(|e| {
            CliError::failed(format!("cannot write {}: {e}", public_path.display()))
        })?;
    }
    app.ui.note(&format!("mirror {}", key.name()));
    Ok(path)
}
