//! System calls made to fail for real: a test runs a part of itself under `testbed/faults`, which
//! makes one call on files below a directory go wrong, or kills the process there.
//!
//! Not here: what must hold afterwards, which is the test's business.
//!
//! The part that is run is a test of the same binary, ignored otherwise, that calls [`victim`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::go::GoModule;
use crate::not_run;
use crate::testbed::{TestbedError, unless_go_is_missing};

const MODULE: GoModule = GoModule { name: "faults", programs: &[("stele-faults", ".")] };

const DIRECTORY_VARIABLE: &str = "STELE_FAULTS_DIRECTORY";

/// How many processes run at once: they wait for the disk most of the time.
const PROCESSES: usize = 4;

/// How often a call is tried to be hit that is not made in every run.
const TRIES: usize = 3;

/// One system call of a program: its name, the file below the directory, and how often the two have
/// come together, from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The call's name, as in the manual's section 2.
    pub name: String,
    /// The file, relative to the directory; `.` is the directory. What differs from run to run is
    /// `*` in it, and a file without a name is `#`.
    pub file: String,
    /// Which of them.
    pub nth: u32,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.name, self.file, self.nth)
    }
}

impl Call {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(' ')?;
        let (file, nth) = rest.rsplit_once(' ')?;
        Some(Self { name: name.into(), file: file.into(), nth: nth.parse().ok()? })
    }

    /// Whether it moves bytes, so that it may move fewer than it was asked to.
    pub fn moves_bytes(&self) -> bool {
        matches!(
            self.name.as_str(),
            "read" | "write" | "readv" | "writev" | "pread64" | "pwrite64" | "preadv" | "pwritev"
        )
    }

    /// Whether it changes what is stored, or makes a change durable.
    pub fn changes(&self) -> bool {
        let name = self.name.as_str();
        self.flushes()
            || ["write", "pwrite", "mkdir", "link", "unlink", "rename", "ftruncate", "fchmod"]
                .iter()
                .any(|start| name.starts_with(start))
    }

    /// Whether it makes earlier changes durable.
    pub fn flushes(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    /// Whether it may find no space left.
    pub fn takes_space(&self) -> bool {
        let name = self.name.as_str();
        ["openat", "write", "pwrite", "mkdir", "link", "rename", "fsync", "fdatasync"]
            .iter()
            .any(|start| name.starts_with(start))
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not made, and answers EIO.
    Eio,
    /// It is not made, and answers ENOSPC.
    Enospc,
    /// It is made, and answers EIO.
    EioAfter,
    /// It moves half of the bytes.
    Short,
    /// The process is killed before it.
    Kill,
    /// The process is killed after it.
    KillAfter,
}

impl Fault {
    /// All of them that make a difference for this call. A process that is killed leaves the files as
    /// its last change has left them, so it is killed before each change.
    pub fn of(call: &Call) -> Vec<Self> {
        let all = [
            (Self::Eio, true),
            (Self::Kill, call.changes()),
            (Self::EioAfter, call.changes()),
            (Self::Enospc, call.takes_space()),
            (Self::Short, call.moves_bytes()),
        ];
        all.into_iter().filter(|(_, applies)| *applies).map(|(fault, _)| fault).collect()
    }

    fn word(self) -> &'static str {
        match self {
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::EioAfter => "eio-after",
            Self::Short => "short",
            Self::Kill => "kill",
            Self::KillAfter => "kill-after",
        }
    }
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A call was about to be made.
    Call(Call),
    /// This call went wrong.
    Hit(Call),
    /// The program said something.
    Said(String),
}

/// One run of a program.
#[derive(Debug, Clone)]
pub struct Run {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// How the program ended: its exit code, or 128 and the signal's number.
    pub code: Option<i32>,
}

impl Run {
    /// The calls that were made.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.events.iter().filter_map(|event| match event {
            Event::Call(call) => Some(call),
            _ => None,
        })
    }

    /// Whether the fault came about.
    pub fn was_hit(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Hit(_)))
    }

    /// What the program said.
    pub fn said(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|event| match event {
            Event::Said(line) => Some(line.as_str()),
            _ => None,
        })
    }
}

/// Runs tests of this binary under `testbed/faults`.
#[derive(Debug, Clone)]
pub struct Tracer {
    program: PathBuf,
    test: &'static str,
}

impl Tracer {
    /// For tests: runs the test `test` of this binary, which calls [`victim`]. `None`, reported as
    /// not run, where there is no Go to build it, or this system cannot be traced.
    ///
    /// # Errors
    /// [`TestbedError`] if it cannot be built.
    pub fn for_test(test: &'static str) -> Result<Option<Self>, TestbedError> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            not_run::report(&"system calls are made to fail on x86-64 Linux only");
            return Ok(None);
        }
        let built = MODULE.build(&crate::progress::Progress::quiet());
        let Some(folder) = unless_go_is_missing(built)? else { return Ok(None) };
        let program = folder.join("stele-faults");
        let traced = Command::new(&program)
            .args(["-dir", "/nothing", "--", "true"])
            .stdin(Stdio::null())
            .output()
            .map_err(TestbedError::io("start stele-faults"))?;
        if !traced.status.success() {
            let why = String::from_utf8_lossy(&traced.stderr).trim().to_owned();
            not_run::report(&format!("no process can be traced here: {why}"));
            return Ok(None);
        }
        Ok(Some(Self { program, test }))
    }

    /// Runs the victim on files below `directory`, which is made if it is not there; with a fault,
    /// or without to learn its calls.
    ///
    /// # Errors
    /// [`TestbedError::Io`] if it cannot be run.
    pub fn run(
        &self,
        directory: &Path,
        fault: Option<(&Call, Fault)>,
    ) -> Result<Run, TestbedError> {
        let failed = || TestbedError::io(format!("run {} in {}", self.test, directory.display()));
        fs::create_dir_all(directory).map_err(failed())?;
        let directory = fs::canonicalize(directory).map_err(failed())?;
        let mut command = Command::new(&self.program);
        command.arg("-dir").arg(&directory);
        for end in ["begin", "end"] {
            command.arg(format!("-{end}")).arg(directory.with_extension(end));
        }
        if let Some((call, fault)) = fault {
            command.args(["-call", &call.to_string(), "-fault", fault.word()]);
        }
        let this = std::env::current_exe().map_err(failed())?;
        let output = command
            .arg("--")
            .arg(this)
            .args(["--exact", self.test, "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY_VARIABLE, &directory)
            .env("RUST_BACKTRACE", "0")
            .env_remove(not_run::FILE_VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .map_err(failed())?;
        let text = String::from_utf8_lossy(&output.stderr);
        let event = |line: &str| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, Call::parse(rest)) {
                ("call", Some(call)) => Event::Call(call),
                ("hit", Some(call)) => Event::Hit(call),
                _ => Event::Said(line.to_owned()),
            }
        };
        Ok(Run { events: text.lines().map(event).collect(), code: output.status.code() })
    }

    /// Makes every one of `calls` go wrong in every way that makes a difference, each in a directory
    /// of its own below `parent`, in which `prepare` puts what is to be there before. `check` looks
    /// at each run in which the fault came about; an error of it is what is found wrong. Gives what
    /// was found, and the calls that were never made again.
    ///
    /// # Errors
    /// [`TestbedError`] if the program cannot be run.
    pub fn sweep(
        &self,
        parent: &Path,
        calls: &BTreeSet<Call>,
        prepare: &Prepare<'_>,
        check: &Check<'_>,
    ) -> Result<Sweep, TestbedError> {
        let all = calls.iter().flat_map(|call| Fault::of(call).into_iter().map(move |f| (call, f)));
        let jobs: Vec<_> = all.collect();
        let next = Mutex::new(jobs.iter().enumerate());
        let outcomes = Mutex::new(Vec::new());
        let work = || {
            loop {
                let job = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((number, &(call, fault))) = job else { return };
                let directory = parent.join(number.to_string()).join("files");
                let outcome = self.one(&directory, call, fault, prepare, check);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.push((call, fault, outcome));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PROCESSES {
                scope.spawn(work);
            }
        });
        let mut sweep = Sweep { runs: jobs.len(), ..Sweep::default() };
        for (call, fault, outcome) in outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
        {
            match outcome? {
                Some(Ok(())) => {}
                Some(Err(what)) => sweep.faults.push(format!("{call}, {fault:?}: {what}")),
                None => {
                    sweep.missed.insert(call.clone());
                }
            }
        }
        Ok(sweep)
    }

    /// One fault; `None` if the call was never made.
    fn one(
        &self,
        directory: &Path,
        call: &Call,
        fault: Fault,
        prepare: &Prepare<'_>,
        check: &Check<'_>,
    ) -> Result<Option<Checked>, TestbedError> {
        for _ in 0..TRIES {
            let failed = || TestbedError::io(format!("renew {}", directory.display()));
            fs::create_dir_all(directory).map_err(failed())?;
            prepare(directory);
            let run = self.run(directory, Some((call, fault)))?;
            let checked = run.was_hit().then(|| check(directory, call, fault, &run));
            fs::remove_dir_all(directory).map_err(failed())?;
            if checked.is_some() {
                return Ok(checked);
            }
        }
        Ok(None)
    }
}

/// What a check says: nothing, or what does not hold.
pub type Checked = Result<(), String>;

/// Puts into a directory what is to be there before a run.
pub type Prepare<'a> = dyn Fn(&Path) + Sync + 'a;

/// Looks at a run in which a call went wrong; an error is what does not hold.
pub type Check<'a> = dyn Fn(&Path, &Call, Fault, &Run) -> Checked + Sync + 'a;

/// What a sweep found.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How many faults were to be made.
    pub runs: usize,
    /// What was found wrong: the call, the fault, and what did not hold.
    pub faults: Vec<String>,
    /// Calls that were not made in any of several tries.
    pub missed: BTreeSet<Call>,
}

/// Inside the test that a [`Tracer`] runs: calls `body` with the directory, between the marks. Does
/// nothing when the test is not run by a tracer.
pub fn victim(body: impl FnOnce(&Path)) {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else { return };
    let directory = PathBuf::from(directory);
    let mark = |end: &str| {
        // The question is what the tracer sees; the answer does not matter.
        let _ = fs::exists(directory.with_extension(end));
    };
    mark("begin");
    body(&directory);
    mark("end");
}
