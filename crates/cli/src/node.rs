//! A ledger at work in this process: store, log, views and API, put together from a data
//! directory and taken apart in order.
//!
//! Invariant: [`Serving::stop`] returns only after the ledger's last checkpoint is signed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use stele_ledger::cosigning::Cosigning;
use stele_ledger::{Ledger, LedgerOptions};
use stele_merkle::{LeafIndex, Policy};
use stele_server::{MeteredStore, ServeError, Server, ServerOptions, ServerParts};
use stele_source::load_or_make_key;
use stele_state::State;
use stele_store::{Clock, DiskStore, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::client::Client;
use crate::data_dir::{DataDir, DirLock};
use crate::error::CliError;
use crate::keys::LogKeys;
use crate::log_view::{ledger_error, store_error};
use crate::witnesses::{ROUND_PAUSE_DEFAULT, Witnesses};

/// An open data directory.
pub(crate) struct Node {
    dir: DataDir,
    lock: DirLock,
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    cosigning: Option<Following>,
    registry: Registry,
}

/// A witness policy that is followed.
struct Following {
    cosigning: Arc<Cosigning>,
    pause: Duration,
}

/// How to serve.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServeOptions {
    /// Serve without TLS on an address that others can reach.
    pub(crate) allow_plaintext: bool,
    /// The first record that is served to clients of C2SP tlog-tiles.
    pub(crate) minimum_index: LeafIndex,
}

/// A node whose API is up.
pub(crate) struct Serving {
    /// Where the API listens.
    pub(crate) address: SocketAddr,
    dir: DataDir,
    /// Given back when everything else has ended.
    _lock: DirLock,
    ledger: Ledger,
    /// Asked for as long as the API is up.
    _witnesses: Option<Witnesses>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Node {
    /// Opens the ledger that is in `dir`.
    ///
    /// # Errors
    /// When there is none, it is in use, or what is stored contradicts what was signed.
    pub(crate) fn open(app: &App, dir: &DataDir) -> Result<Self, CliError> {
        let lock = dir.lock()?;
        Self::open_locked(app, dir, lock)
    }

    fn open_locked(app: &App, dir: &DataDir, lock: DirLock) -> Result<Self, CliError> {
        let key = dir.log_key()?;
        let (clock, mut registry) = (Arc::clone(&app.clock), Registry::default());
        let store = store(dir, &clock, &mut registry)?;
        let ledger = Ledger::open(store, &key, Arc::clone(&clock), LedgerOptions::default())
            .map_err(ledger_error)?;
        Ok(Self { dir: dir.clone(), lock, clock, ledger, cosigning: None, registry })
    }

    /// Opens the ledger in `dir`, or makes one there; says which.
    ///
    /// # Errors
    /// As [`Node::open`], or when something can't be written.
    pub(crate) fn open_or_create(app: &App, dir: &DataDir) -> Result<(Self, bool), CliError> {
        let lock = dir.lock()?;
        let key = dir.create()?;
        if dir.has_ledger() {
            return Ok((Self::open_locked(app, dir, lock)?, false));
        }
        let (clock, mut registry) = (Arc::clone(&app.clock), Registry::default());
        let store = store(dir, &clock, &mut registry)?;
        let ledger = Ledger::create(store, &key, Arc::clone(&clock), LedgerOptions::default())
            .map_err(ledger_error)?;
        Ok((Self { dir: dir.clone(), lock, clock, ledger, cosigning: None, registry }, true))
    }

    /// Closes the ledger: what was taken in is durable and signed for.
    ///
    /// # Errors
    /// When its threads ended badly.
    pub(crate) async fn close(self) -> Result<(), CliError> {
        close(self.ledger).await
    }

    /// The ledger.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Follows a witness policy: once the API is up, witnesses are asked, and what is served as the
    /// checkpoint is the newest that meets the policy. They are asked at most once in `pause`.
    ///
    /// # Errors
    /// When the policy is not for this log, or a witness in it can't be asked.
    pub(crate) fn follow(
        &mut self,
        policy: Policy,
        pause: Option<Duration>,
    ) -> Result<(), CliError> {
        let cosigning = Cosigning::new(&self.ledger, policy)
            .map_err(|e| CliError::usage(format!("witness policy: {e}")))?;
        let pause = pause.unwrap_or(ROUND_PAUSE_DEFAULT);
        self.cosigning = Some(Following { cosigning: Arc::new(cosigning), pause });
        Ok(())
    }

    /// Where everything in this process registers its metrics.
    pub(crate) fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Starts views and API.
    ///
    /// # Errors
    /// When the views or a key can't be opened.
    pub(crate) fn serve(
        self,
        listener: TcpListener,
        options: ServeOptions,
    ) -> Result<Serving, CliError> {
        let address = listener.local_addr().map_err(CliError::failed)?;
        let state = State::open(&self.dir.state()).map_err(|e| {
            CliError::failed(format!("cannot open the state: {e}"))
                .hint("it holds nothing that is not in the log: `stele state rebuild --data DIR`")
        })?;
        let append_key = load_or_make_key(&self.dir.append_key()).map_err(CliError::failed)?;
        let start = |f: &Following| Witnesses::start(&self.ledger, &f.cosigning, f.pause);
        let witnesses = self.cosigning.as_ref().map(start).transpose()?;
        let parts = ServerParts {
            ledger: self.ledger.clone(),
            state,
            clock: self.clock,
            cosigning: self.cosigning.map(|following| following.cosigning),
            tokens: self.dir.tokens()?,
            append_key: Some(append_key),
            registry: self.registry,
            tls: Some(self.dir.tls_identity(address.ip())?),
            options: ServerOptions {
                public_tiles: false,
                allow_plaintext: options.allow_plaintext,
                minimum_index: options.minimum_index,
                append_name: String::from("api"),
            },
        };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(Server::new(parts).serve(listener, stopped));
        Ok(Serving {
            address,
            dir: self.dir,
            _lock: self.lock,
            ledger: self.ledger,
            _witnesses: witnesses,
            stop,
            task,
        })
    }

    /// Serves on a free port of the loopback interface, for this process alone.
    ///
    /// # Errors
    /// As [`Node::serve`].
    pub(crate) async fn serve_for_oneself(self) -> Result<Serving, CliError> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|e| CliError::failed(format!("cannot listen on the loopback: {e}")))?;
        self.serve(listener, ServeOptions::default())
    }
}

async fn close(ledger: Ledger) -> Result<(), CliError> {
    tokio::task::spawn_blocking(move || ledger.close())
        .await
        .map_err(|e| CliError::failed(format!("the ledger did not close: {e}")))
}

/// The objects of the ledger in `dir`, every call measured.
fn store(
    dir: &DataDir,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> Result<Arc<dyn Store>, CliError> {
    let disk = DiskStore::open(dir.log()).map_err(store_error)?;
    Ok(Arc::new(MeteredStore::new(Arc::new(disk), "disk", Arc::clone(clock), registry)))
}

impl Serving {
    /// Base URL of the API.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The log's public keys.
    pub(crate) fn keys(&self) -> LogKeys {
        LogKeys::new(self.ledger.verifier().keys().to_vec())
    }

    /// A client of the API with the owner's token.
    ///
    /// # Errors
    /// When the token can't be read.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let token = crate::app::read_token(&self.dir.admin_token())?;
        Client::new(&self.url(), Some(token), self.keys())
    }

    /// Waits until the API ends by itself, which it does only when it fails.
    ///
    /// # Errors
    /// Why it ended.
    pub(crate) async fn failed(&mut self) -> CliError {
        match (&mut self.task).await {
            Ok(Err(error)) => CliError::failed(error),
            Ok(Ok(())) => CliError::failed("the API has ended"),
            Err(error) => CliError::failed(format!("the API has ended: {error}")),
        }
    }

    /// Ends the API, then the ledger: everything that was taken in is durable and signed for.
    ///
    /// # Errors
    /// When the API did not end well.
    pub(crate) async fn stop(self) -> Result<(), CliError> {
        self.stop.send_replace(true);
        let ended = if self.task.is_finished() { Ok(Ok(())) } else { self.task.await };
        close(self.ledger).await?;
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(CliError::failed(error)),
            Err(error) => Err(CliError::failed(format!("the API ended badly: {error}"))),
        }
    }
}
