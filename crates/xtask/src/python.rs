//! Python programs by others that check ours, installed into the cache.
//!
//! An environment is kept under the digest of its requirements, so it is made once, and appears
//! under its name only when it is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::testbed::TestbedError;
use crate::{not_run, places};

/// A folder under `testbed/` with a `requirements.txt`.
#[derive(Debug, Clone, Copy)]
pub struct PythonEnvironment {
    /// Name of the folder.
    pub name: &'static str,
}

/// A verifier of COSE receipts.
pub const SCITT_COSE: PythonEnvironment = PythonEnvironment { name: "scitt-cose" };

impl PythonEnvironment {
    /// The folder under `testbed/`.
    pub fn folder(&self) -> PathBuf {
        places::repository().join("testbed").join(self.name)
    }

    /// For tests: the Python of the environment, or `None`, reported as not run, where there is no
    /// Python or nothing can be installed.
    ///
    /// # Errors
    /// When the cache can't be written.
    pub fn for_test(&self) -> Result<Option<PathBuf>, TestbedError> {
        match self.python() {
            Err(why @ TestbedError::Command { .. }) if !not_run::testbed_is_required() => {
                not_run::report(&why);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The Python of the environment, which is made if it is not there.
    fn python(&self) -> Result<PathBuf, TestbedError> {
        let requirements = self.folder().join("requirements.txt");
        let context = || format!("read {}", requirements.display());
        let text = fs::read(&requirements).map_err(TestbedError::io(context()))?;
        let digest = hex::encode(&Sha256::digest(&text)[..8]);
        let parent = places::cache().join("testbed").join("python");
        let whole = parent.join(format!("{}-{digest}", self.name));
        if !whole.is_dir() {
            let context = || format!("make {}", parent.display());
            fs::create_dir_all(&parent).map_err(TestbedError::io(context()))?;
            let partial = parent.join(format!("{}-{digest}-{}", self.name, std::process::id()));
            let made = install(&partial, &requirements)
                .and_then(|()| settle(&partial, &whole).map_err(TestbedError::io(context())));
            if partial.is_dir() {
                // Not made, or made by another process meanwhile.
                let _ = fs::remove_dir_all(&partial);
            }
            made?;
        }
        Ok(whole.join("bin").join("python3"))
    }
}

/// Gives a finished environment its name, unless another process has made the same one first.
fn settle(partial: &Path, whole: &Path) -> std::io::Result<()> {
    match fs::rename(partial, whole) {
        Err(_) if whole.is_dir() => Ok(()),
        other => other,
    }
}

fn install(environment: &Path, requirements: &Path) -> Result<(), TestbedError> {
    run(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    let python = environment.join("bin").join("python3");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let wheels = ["--only-binary", ":all:", "--requirement"];
    run(Command::new(python).args(pip).args(wheels).arg(requirements))
}

fn run(command: &mut Command) -> Result<(), TestbedError> {
    let output = command.stdin(Stdio::null()).output();
    let stderr = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(TestbedError::Command { command: format!("{command:?}"), stderr })
}
