//! What is remembered about a running test bed, in a JSON file in its folder.
//!
//! It is written after every start of a process, so that a test bed whose owner died on the way
//! can be found and ended too.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TestbedError;
use super::process::{Component, Identity, Running};

const FILE: &str = "testbed.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// The process it must not outlive; none for `cargo xtask testbed up`.
    pub(super) owner: Option<Identity>,
    /// Address of the API server.
    pub(super) endpoint: String,
    /// Address of etcd.
    pub(super) etcd: String,
    /// Where kubectl and etcdctl are.
    pub(super) kubectl: PathBuf,
    pub(super) etcdctl: PathBuf,
    pub(super) processes: Vec<Process>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) component: Component,
    /// None while it is stopped on purpose.
    pub(super) identity: Option<Identity>,
}

impl State {
    /// What is remembered in `dir`; `None` if there never was a test bed or it was stopped.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, TestbedError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TestbedError::io(format!("read {}", path.display()))(error)),
        };
        let context = format!("read {}", path.display());
        serde_json::from_slice(&bytes).map(Some).map_err(TestbedError::malformed(context))
    }

    /// Replaces what was remembered; never leaves half a file.
    pub(super) fn save(&self, dir: &Path) -> Result<(), TestbedError> {
        let partial = dir.join(format!("{FILE}.partial"));
        let context = || format!("write {}", dir.join(FILE).display());
        let bytes = serde_json::to_vec_pretty(self).map_err(TestbedError::malformed(context()))?;
        fs::write(&partial, bytes).map_err(TestbedError::io(context()))?;
        fs::rename(&partial, dir.join(FILE)).map_err(TestbedError::io(context()))
    }

    /// Forgets the test bed in `dir`.
    pub(super) fn remove(dir: &Path) {
        let _ = fs::remove_file(dir.join(FILE));
    }

    /// The processes that were started.
    pub(super) fn running(&self) -> Vec<Running> {
        let known = |process: &Process| {
            let identity = process.identity.clone()?;
            Some(Running::adopt(process.component.clone(), identity))
        };
        self.processes.iter().filter_map(known).collect()
    }
}

/// Ends test beds whose owner died without doing so, and removes their folders.
pub(super) fn sweep(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for dir in entries.flatten().map(|entry| entry.path()) {
        let Ok(Some(state)) = State::load(&dir) else { continue };
        if state.owner.as_ref().is_some_and(|owner| !owner.is_alive()) {
            state.running().iter_mut().for_each(Running::kill);
            let _ = fs::remove_dir_all(&dir);
        }
    }
}
