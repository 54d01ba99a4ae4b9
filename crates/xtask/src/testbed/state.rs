//! What is remembered about a running test bed, in a JSON file in its folder.
//!
//! It is written after every start of a process, so that a test bed whose owner died on the way
//! can be found and ended too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TestbedError;
use super::pki::kubeconfig_path;
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

/// The logs of a failed test are kept for this long.
const LOGS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Ends test beds whose owner died without doing so, and removes their folders; removes what failed
/// tests left behind long ago.
pub(super) fn sweep(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for dir in entries.flatten().map(|entry| entry.path()) {
        let left_over = match State::load(&dir) {
            Ok(Some(state)) => {
                let left = state.owner.as_ref().is_some_and(|owner| !owner.is_alive());
                if left {
                    state.running().iter_mut().for_each(Running::kill);
                    end_clients(&dir, &state.kubectl);
                }
                left
            }
            Ok(None) => is_old_test(&dir),
            Err(_) => false,
        };
        if left_over {
            let _ = fs::remove_dir_all(&dir);
        }
    }
}

/// Ends what a killed test had running against its test bed: `kubectl proxy`.
fn end_clients(dir: &Path, kubectl: &Path) {
    let config = format!("--kubeconfig={}", kubeconfig_path(dir, "admin").display());
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let pid = |entry: fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().ok();
    for pid in processes.flatten().filter_map(pid) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        let ours = words.next() == Some(kubectl.as_os_str().as_encoded_bytes())
            && words.any(|word| word == config.as_bytes());
        if let Some(identity) = Identity::of(pid).filter(|_| ours) {
            identity.kill();
        }
    }
}

fn is_old_test(dir: &Path) -> bool {
    let test = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("test-"));
    let changed = fs::metadata(dir).and_then(|metadata| metadata.modified()).ok();
    let age = changed.and_then(|then| then.elapsed().ok());
    test && age.is_some_and(|age| age > LOGS_KEPT)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_killed_owner_left_running_is_ended() {
        let runs = tempfile::tempdir().unwrap();
        let dir = runs.path().join("test-1-0");
        fs::create_dir_all(&dir).unwrap();
        let mut owner = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let component = Component {
            name: "sleep".into(),
            program: "sleep".into(),
            args: vec!["60".into()],
            log: dir.join("sleep.log"),
        };
        let mut running = Running::start(&component, false).unwrap();
        let identity = Some(running.identity.clone());
        let state = State {
            owner: Some(Identity::of(owner.id()).unwrap()),
            endpoint: String::new(),
            etcd: String::new(),
            kubectl: PathBuf::new(),
            etcdctl: PathBuf::new(),
            processes: vec![Process { component, identity }],
        };
        state.save(&dir).unwrap();
        sweep(runs.path());
        assert!(running.is_alive(), "its owner lives");
        owner.kill().unwrap();
        owner.wait().unwrap();
        sweep(runs.path());
        assert!(!running.is_alive());
        assert!(!dir.exists());
    }
}
