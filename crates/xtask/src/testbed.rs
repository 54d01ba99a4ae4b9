//! A real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager,
//! kube-scheduler, and KWOK for the nodes.
//!
//! In a test:
//!
//! ```no_run
//! # fn main() -> Result<(), xtask::testbed::TestbedError> {
//! use xtask::testbed::{Testbed, TestbedOptions};
//!
//! let Some(mut bed) = Testbed::for_test(&TestbedOptions::default())? else { return Ok(()) };
//! bed.kubectl(&["create", "configmap", "hello"])?;
//! bed.restart_apiserver()?;
//! # Ok(()) }
//! ```
//!
//! Everything stops when the value is dropped, and what a killed test left behind is stopped by the
//! next one. Certificates, data and logs are in the test bed's own folder. It is not hardened in any
//! way: whoever can reach loopback on this machine can write to its etcd.

mod cluster;
mod components;
mod error;
mod pki;
mod ports;
mod process;
mod sink;
mod start;
mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::TestbedError;

use crate::not_run;
use crate::progress::Progress;
use components::API_SERVER;
use process::{Running, stop_all};
use sink::Sink;
use state::{Process, State};

/// How a test bed is made.
#[derive(Debug, Clone)]
pub struct TestbedOptions {
    /// Its folder. Without one it gets a folder of its own, which is removed with it.
    pub dir: Option<PathBuf>,
    /// How many nodes KWOK plays.
    pub nodes: u16,
    /// How often the API server compacts etcd; its own default is 5 minutes.
    pub etcd_compaction_interval: Option<Duration>,
    /// Where audit events go besides the log `logs/audit.jsonl`.
    pub audit_webhook: AuditWebhook,
    /// More flags for kube-apiserver, for example `--watch-cache=false`.
    pub api_server_flags: Vec<String>,
    /// Says what it is doing on standard error.
    pub progress: bool,
}

impl Default for TestbedOptions {
    fn default() -> Self {
        Self {
            dir: None,
            nodes: 4,
            etcd_compaction_interval: None,
            audit_webhook: AuditWebhook::Sink,
            api_server_flags: Vec::new(),
            progress: false,
        }
    }
}

/// Who receives the audit webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditWebhook {
    /// A thread of this process, which writes batches to `logs/audit-webhook.jsonl`.
    Sink,
    /// Somebody else.
    Url(String),
    /// There is no webhook.
    Off,
}

/// A running test bed.
#[derive(Debug)]
pub struct Testbed {
    dir: PathBuf,
    state: State,
    running: Vec<Running>,
    progress: Progress,
    on_drop: OnDrop,
    /// How often a component was started again that had ended by itself.
    revived: usize,
    /// Receives audit batches for as long as the test bed lives.
    _sink: Option<Sink>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    /// Stop everything and remove the folder.
    Remove,
    /// Stop everything and leave the folder.
    Stop,
    /// Leave everything running.
    Leave,
}

/// One component of a test bed and whether it runs.
#[derive(Debug, Clone)]
pub struct ComponentStatus {
    /// Its name.
    pub name: String,
    /// Its process id, if it was started.
    pub pid: Option<u32>,
    /// Whether it runs.
    pub alive: bool,
    /// Its log.
    pub log: PathBuf,
}

impl Testbed {
    /// Builds what is not built, starts a control plane, and waits until its nodes are ready.
    pub fn start(options: &TestbedOptions) -> Result<Self, TestbedError> {
        start::start(options, true)
    }

    /// Like [`start`](Self::start), but it runs on until somebody calls [`stop`](Self::stop) on what
    /// [`attach`](Self::attach) gives.
    pub fn start_detached(options: &TestbedOptions) -> Result<Self, TestbedError> {
        start::start(options, false)
    }

    /// For tests: a test bed, or `None` where there is no Go to build one.
    ///
    /// With `STELE_TESTBED=required` that is an error. Otherwise it says on standard error that the
    /// test was not run, and adds the test's name to the file `$STELE_NOT_RUN`, if that is
    /// set, so that `cargo xtask test` does not count it as passed.
    pub fn for_test(options: &TestbedOptions) -> Result<Option<Self>, TestbedError> {
        unless_go_is_missing(Self::start(options))
    }

    /// The test bed that runs in `dir`.
    pub fn attach(dir: &Path) -> Result<Self, TestbedError> {
        let state = State::load(dir)?.ok_or_else(|| TestbedError::Absent { dir: dir.into() })?;
        Ok(Self {
            dir: dir.into(),
            running: state.running(),
            state,
            progress: Progress::quiet(),
            on_drop: OnDrop::Leave,
            revived: 0,
            _sink: None,
        })
    }

    /// Its folder: kubeconfigs, `logs/`, `etcd/`, `pki/`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The administrator's kubeconfig; it needs no other file.
    pub fn kubeconfig(&self) -> PathBuf {
        pki::kubeconfig_path(&self.dir, "admin")
    }

    /// The API server's address.
    pub fn endpoint(&self) -> &str {
        &self.state.endpoint
    }

    /// etcd's address (plain HTTP).
    pub fn etcd_endpoint(&self) -> &str {
        &self.state.etcd
    }

    /// The kubectl that was built with this control plane.
    pub fn kubectl_program(&self) -> &Path {
        &self.state.kubectl
    }

    /// The API server's audit log, JSON lines.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("logs/audit.jsonl")
    }

    /// The batches that [`AuditWebhook::Sink`] received, one `EventList` a line.
    pub fn audit_webhook_log(&self) -> PathBuf {
        self.dir.join("logs/audit-webhook.jsonl")
    }

    /// All components.
    pub fn status(&mut self) -> Vec<ComponentStatus> {
        let mut status = |process: &Process| {
            let found =
                self.running.iter_mut().find(|r| r.component.name == process.component.name);
            ComponentStatus {
                name: process.component.name.clone(),
                pid: process.identity.as_ref().map(|identity| identity.pid),
                alive: found.is_some_and(Running::is_alive),
                log: process.component.log.clone(),
            }
        };
        self.state.processes.iter().map(&mut status).collect()
    }

    /// Ends the API server: SIGTERM, and SIGKILL after 3 seconds.
    pub fn stop_apiserver(&mut self) -> Result<(), TestbedError> {
        self.stop_component(API_SERVER)
    }

    /// Starts the API server again at the same address and waits until it is ready.
    pub fn start_apiserver(&mut self) -> Result<(), TestbedError> {
        self.start_component(API_SERVER)?;
        self.wait_for_apiserver()
    }

    /// Ends the API server and starts it again. Its watch cache starts empty, so a watch from before
    /// is answered 410.
    pub fn restart_apiserver(&mut self) -> Result<(), TestbedError> {
        self.stop_apiserver()?;
        self.start_apiserver()
    }

    /// Stops every process; the folder stays.
    pub fn stop(mut self) -> Result<(), TestbedError> {
        self.running.reverse();
        stop_all(&mut self.running);
        self.on_drop = OnDrop::Leave;
        State::remove(&self.dir);
        Ok(())
    }

    fn stop_component(&mut self, name: &str) -> Result<(), TestbedError> {
        let at = self.running.iter().position(|running| running.component.name == name);
        if let Some(at) = at {
            self.progress.step(&format!("stopping {name}"));
            stop_all(&mut self.running[at..=at]);
            self.running.remove(at);
            self.remember(name, None)?;
        }
        Ok(())
    }

    fn start_component(&mut self, name: &str) -> Result<(), TestbedError> {
        if self.running.iter_mut().any(|r| r.component.name == name && r.is_alive()) {
            return Ok(());
        }
        self.running.retain(|running| running.component.name != name);
        let Some(process) = self.state.processes.iter().find(|p| p.component.name == name) else {
            return Err(TestbedError::Absent { dir: self.dir.clone() });
        };
        self.progress.step(&format!("starting {name}"));
        let running = Running::start(&process.component, self.on_drop == OnDrop::Leave)?;
        let identity = running.identity.clone();
        self.running.push(running);
        self.remember(name, Some(identity))
    }

    fn remember(
        &mut self,
        name: &str,
        identity: Option<process::Identity>,
    ) -> Result<(), TestbedError> {
        if let Some(process) = self.state.processes.iter_mut().find(|p| p.component.name == name) {
            process.identity = identity;
        }
        self.state.save(&self.dir)
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Leave {
            return;
        }
        // Nothing it holds is wanted any more, so there is no reason to be gentle.
        self.running.iter_mut().for_each(Running::kill);
        State::remove(&self.dir);
        if self.on_drop == OnDrop::Remove && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        } else if std::thread::panicking() {
            self.progress.important(&format!("test bed logs: {}", self.dir.join("logs").display()));
        }
    }
}

/// Builds the programs of the test bed that are not built yet.
pub fn build(progress: &Progress) -> Result<(), TestbedError> {
    start::build(progress).map(drop)
}

/// Receives audit batches in this process until it is killed; for `cargo xtask testbed up`.
pub fn run_audit_sink(port: u16, file: &Path) -> Result<(), TestbedError> {
    let _sink = Sink::start(port, file)?;
    loop {
        std::thread::park();
    }
}

/// For tests: what was made, or `None`, reported as not run, where Go is missing and not required.
pub(crate) fn unless_go_is_missing<T>(
    made: Result<T, TestbedError>,
) -> Result<Option<T>, TestbedError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error @ TestbedError::GoMissing { .. }) if !not_run::testbed_is_required() => {
            not_run::report(&error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
