//! Running a program with a limit of time, and ending what it started when the limit is reached.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::progress::Progress;

const POLL: Duration = Duration::from_millis(100);

/// Waits for a child; `None` if it took too long and was killed, with everything it had started.
pub(crate) fn wait_at_most(
    child: &mut Child,
    limit: Duration,
) -> std::io::Result<Option<ExitStatus>> {
    let clock = Progress::quiet();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if clock.elapsed() > limit {
            kill_tree(child.id());
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Kills the descendants of a process, parents first, so that none starts another.
fn kill_tree(root: u32) {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (process, parent) in processes() {
        children.entry(parent).or_default().push(process);
    }
    let mut doomed = vec![root];
    while let Some(process) = doomed.pop() {
        if process != root
            && let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw)
        {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        doomed.extend(children.remove(&process).unwrap_or_default());
    }
}

/// Every process with its parent.
fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let parse = |entry: fs::DirEntry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // After the name in parentheses: state, parent.
        let (_, rest) = stat.rsplit_once(')')?;
        Some((process, rest.split_whitespace().nth(1)?.parse().ok()?))
    };
    entries.flatten().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_takes_too_long_is_ended_with_its_children() {
        let mut quick = Command::new("true").spawn().unwrap();
        let status = wait_at_most(&mut quick, Duration::from_secs(10)).unwrap();
        assert!(status.is_some_and(|status| status.success()));

        let mut slow = Command::new("sh").args(["-c", "sleep 77 & wait"]).spawn().unwrap();
        let pid = slow.id();
        std::thread::sleep(Duration::from_millis(300));
        let grandchildren: Vec<u32> =
            processes().into_iter().filter(|(_, parent)| *parent == pid).map(|(p, _)| p).collect();
        assert_eq!(grandchildren.len(), 1);
        assert_eq!(wait_at_most(&mut slow, Duration::ZERO).unwrap(), None);
        std::thread::sleep(Duration::from_millis(300));
        assert!(
            !processes()
                .iter()
                .any(|(process, parent)| grandchildren.contains(process) && *parent == pid)
        );
    }
}
