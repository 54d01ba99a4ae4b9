//! Processes that are known again later, and are ended only if they are still the same.
//!
//! A process id alone can be somebody else's by the time it is used. So the moment it started, as
//! the kernel counts it, and the program it runs are remembered and compared. Reads `/proc`, so
//! this works on Linux only.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::TestbedError;

/// How long a process may take to end after SIGTERM. kube-apiserver would take up to a minute.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// How long the kernel may take until a started program can be recognised.
const START: Duration = Duration::from_secs(1);

const POLL: Duration = Duration::from_millis(20);

/// A program with its arguments; kept in the state file, so that it can be started again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) log: PathBuf,
}

impl Component {
    /// An error about this component with the end of its log.
    pub(super) fn failed(&self, what: &str) -> TestbedError {
        TestbedError::Component {
            component: self.name.clone(),
            what: what.into(),
            tail: crate::go::tail(&self.log, 20),
            log: self.log.clone(),
        }
    }
}

/// A process that can be told from a later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: u32,
    /// Start, in clock ticks since the machine started.
    started: u64,
    /// What it was started as: the first argument.
    program: String,
}

impl Identity {
    /// Who has this process id now; nobody, if it has ended or waits to be reaped.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses and may hold anything, so count after it.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // Empty while the kernel is still loading the program.
        let program = command.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
        Some(Self { pid, started, program: String::from_utf8_lossy(program).into_owned() })
    }

    /// Like `of`, for a process that was started just now.
    fn of_new(pid: u32) -> Option<Self> {
        let polls = START.as_millis() / POLL.as_millis();
        (0..polls).find_map(|_| {
            let found = Self::of(pid);
            if found.is_none() {
                std::thread::sleep(POLL);
            }
            found
        })
    }

    /// This process.
    pub(super) fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Ends a process that is another's to reap; it is gone when the kernel says so, a moment later.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
        let polls = GRACE.as_millis() / POLL.as_millis();
        for _ in (0..polls).take_while(|_| self.is_alive()) {
            std::thread::sleep(POLL);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            // It may end between the look and the signal: then there is nothing to do.
            let _ = kill_process(pid, signal);
        }
    }
}

/// A component that was started, by us or by an earlier `up`.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) component: Component,
    pub(super) identity: Identity,
    /// Ours to reap, if we started it.
    child: Option<Child>,
}

impl Running {
    /// Starts a component; everything it prints is added to its log.
    pub(super) fn start(component: &Component, own_group: bool) -> Result<Self, TestbedError> {
        let context = || format!("start {}", component.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&component.log)
            .map_err(TestbedError::io(format!("open {}", component.log.display())))?;
        let errors = log.try_clone().map_err(TestbedError::io(context()))?;
        let mut command = Command::new(&component.program);
        command.args(&component.args).stdin(Stdio::null()).stdout(log).stderr(errors);
        if let Some(dir) = component.log.parent() {
            command.current_dir(dir);
        }
        if own_group {
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(TestbedError::io(context()))?;
        let Some(identity) = Identity::of_new(child.id()) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(component.failed("ended at once"));
        };
        Ok(Self { component: component.clone(), identity, child: Some(child) })
    }

    /// One that was started earlier, by another process.
    pub(super) fn adopt(component: Component, identity: Identity) -> Self {
        Self { component, identity, child: None }
    }

    /// Whether it still runs.
    pub(super) fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => self.identity.is_alive(),
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.identity.signal(Signal::TERM);
    }

    /// Ends it, now.
    pub(super) fn kill(&mut self) {
        match &mut self.child {
            Some(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            None => self.identity.kill(),
        }
    }
}

/// Asks all of them to end, and ends those which have not done so after [`GRACE`].
pub(super) fn stop_all(running: &mut [Running]) {
    running.iter().for_each(Running::terminate);
    let polls = GRACE.as_millis() / POLL.as_millis();
    for _ in 0..polls {
        if !running.iter_mut().any(Running::is_alive) {
            return;
        }
        std::thread::sleep(POLL);
    }
    running.iter_mut().for_each(Running::kill);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sleeper(dir: &Path) -> Running {
        let component = Component {
            name: "sleep".into(),
            program: "sleep".into(),
            args: vec!["60".into()],
            log: dir.join("sleep.log"),
        };
        Running::start(&component, false).unwrap()
    }

    #[test]
    fn a_process_is_stopped_and_stays_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut running = vec![sleeper(dir.path())];
        assert!(running[0].is_alive());
        stop_all(&mut running);
        assert!(!running[0].is_alive());
    }

    #[test]
    fn another_process_with_the_same_id_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut running = sleeper(dir.path());
        let earlier =
            Identity { started: running.identity.started - 1, ..running.identity.clone() };
        assert!(!earlier.is_alive());
        earlier.signal(Signal::KILL);
        assert!(running.is_alive());
        running.kill();
    }
}
