//! Go programs, built from the modules under `testbed/` into the cache.
//!
//! A build is kept under the digest of the module's files, so it is made once. Builds are locked
//! against each other, and a program appears under its name only when it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::places;
use crate::progress::Progress;
use crate::testbed::{TestbedError, unless_go_is_missing};

/// The oldest Go that the modules accept.
const GO_OLDEST: (u32, u32) = (1, 26);

/// Raised when the way of building changes, so that old builds are not taken for new ones.
const RECIPE: &str = "recipe 1";

/// How often a running build says that it is still running.
const STILL_BUILDING_EVERY: Duration = Duration::from_secs(20);

/// A Go module of this repository and the programs to build from it.
#[derive(Debug, Clone)]
pub struct GoModule {
    /// Name of its folder under `testbed/`.
    pub name: &'static str,
    /// Program name and package path of each program.
    pub programs: &'static [(&'static str, &'static str)],
}

/// etcd and its client.
pub const ETCD: GoModule = GoModule {
    name: "etcd",
    programs: &[("etcd", "go.etcd.io/etcd/server/v3"), ("etcdctl", "go.etcd.io/etcd/etcdctl/v3")],
};

/// The control plane of Kubernetes and its client.
pub const KUBE: GoModule = GoModule {
    name: "kube",
    programs: &[
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ],
};

/// KWOK, which plays the nodes.
pub const KWOK: GoModule =
    GoModule { name: "kwok", programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")] };

/// A verifier of the log on top of Go's own checksum database code.
pub const SUMDB: GoModule = GoModule { name: "sumdb", programs: &[("stele-sumdb-check", ".")] };

/// A verifier of notes, a witness and a log, all of other people's code.
pub const WITNESS: GoModule =
    GoModule { name: "witness", programs: &[("stele-witness-check", ".")] };

/// Tessera's own check of a log, and its client.
pub const TESSERA: GoModule =
    GoModule { name: "tessera", programs: &[("stele-tessera-check", ".")] };

/// A verifier of receipts, of both algorithms.
pub const RECEIPT: GoModule =
    GoModule { name: "receipt", programs: &[("stele-receipt-check", ".")] };

/// Informers of client-go, as controllers use them.
pub const INFORMER: GoModule = GoModule { name: "informer", programs: &[("stele-informer", ".")] };

/// Other stores under the load of the benchmark.
pub const PEERS: GoModule = GoModule { name: "peers", programs: &[("stele-peers", ".")] };

impl GoModule {
    /// For tests: the folder with the programs, or `None` where there is no Go to build them, as
    /// [`crate::testbed::Testbed::for_test`] has it.
    pub fn for_test(&self) -> Result<Option<PathBuf>, TestbedError> {
        unless_go_is_missing(self.build(&Progress::quiet()))
    }

    /// Builds what is not built yet; gives the folder with the programs.
    pub fn build(&self, progress: &Progress) -> Result<PathBuf, TestbedError> {
        let module = places::repository().join("testbed").join(self.name);
        let bin = self.bin(&module)?;
        if self.is_built(&bin) {
            return Ok(bin);
        }
        go_is_new_enough()?;
        fs::create_dir_all(&bin).map_err(TestbedError::io(format!("create {}", bin.display())))?;
        let _lock = lock(&bin, progress)?;
        for (program, package) in self.programs {
            if !bin.join(program).is_file() {
                build_program(&module, program, package, &bin, progress)?;
            }
        }
        Ok(bin)
    }

    /// Whether a call of `build` would have nothing to do.
    pub fn is_ready(&self) -> bool {
        let module = places::repository().join("testbed").join(self.name);
        self.bin(&module).is_ok_and(|bin| self.is_built(&bin))
    }

    fn is_built(&self, bin: &Path) -> bool {
        self.programs.iter().all(|(program, _)| bin.join(program).is_file())
    }

    fn bin(&self, module: &Path) -> Result<PathBuf, TestbedError> {
        let digest = module_digest(module)?;
        Ok(places::cache().join("testbed").join("bin").join(format!("{}-{digest}", self.name)))
    }
}

/// Whether Go is there and new enough; the error says what to install.
pub fn go_is_new_enough() -> Result<(), TestbedError> {
    let needed = format!("{}.{}", GO_OLDEST.0, GO_OLDEST.1);
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        return Err(TestbedError::GoMissing {
            needed,
            found: "there is no `go` on the PATH".into(),
        });
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if version_of(&version).is_some_and(|found| found >= GO_OLDEST) {
        return Ok(());
    }
    Err(TestbedError::GoMissing { needed, found: format!("`go env GOVERSION` says {version:?}") })
}

/// `go1.26.8` is (1, 26).
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split(['.', 'r', 'b', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A short digest of all files of the module that decide what is built.
fn module_digest(module: &Path) -> Result<String, TestbedError> {
    let context = format!("read {}", module.display());
    let mut files: Vec<PathBuf> = fs::read_dir(module)
        .map_err(TestbedError::io(context.clone()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension().is_some_and(|e| ["mod", "sum", "go"].iter().any(|x| e == *x))
        })
        .collect();
    files.sort();
    let mut hash = Sha256::new();
    hash.update(RECIPE);
    for file in files {
        let bytes = fs::read(&file).map_err(TestbedError::io(context.clone()))?;
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

/// Keeps other processes from building the same module at the same time.
fn lock(bin: &Path, progress: &Progress) -> Result<File, TestbedError> {
    let path = bin.join("lock");
    let context = || format!("lock {}", path.display());
    let file = File::create(&path).map_err(TestbedError::io(context()))?;
    if file.try_lock().is_err() {
        progress.important("waiting for another process that builds the same programs");
        file.lock().map_err(TestbedError::io(context()))?;
    }
    Ok(file)
}

fn build_program(
    module: &Path,
    program: &str,
    package: &str,
    bin: &Path,
    progress: &Progress,
) -> Result<(), TestbedError> {
    let log = bin.join(format!("{program}.log"));
    let partial = bin.join(format!("{program}.partial"));
    progress.important(&format!("building {program} (log: {})", log.display()));
    let output =
        File::create(&log).map_err(TestbedError::io(format!("create {}", log.display())))?;
    let errors = output.try_clone().map_err(TestbedError::io("share the log"))?;
    let mut child = Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags"])
        .arg(linker_flags(module)?)
        .arg("-o")
        .arg(&partial)
        .arg(package)
        .current_dir(module)
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", if has_c(module)? { "1" } else { "0" })
        .env_remove("GOWORK")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(TestbedError::io("start go"))?;
    let start = progress.elapsed();
    let mut next_word = STILL_BUILDING_EVERY;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(TestbedError::io("wait for go"))? {
            break status;
        }
        let taken = progress.elapsed().saturating_sub(start);
        if taken >= next_word {
            progress.important(&format!("building {program}: {} s so far", taken.as_secs()));
            next_word = taken + STILL_BUILDING_EVERY;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        return Err(TestbedError::Build { program: program.into(), tail: tail(&log, 30), log });
    }
    fs::rename(&partial, bin.join(program)).map_err(TestbedError::io("name the built program"))
}

/// Whether the module's go.mod says that parts of it are in C, which takes a C compiler.
fn has_c(module: &Path) -> Result<bool, TestbedError> {
    let path = module.join("go.mod");
    let text =
        fs::read_to_string(&path).map_err(TestbedError::io(format!("read {}", path.display())))?;
    Ok(text.lines().any(|line| line.trim() == "// cgo"))
}

/// Strips symbols, and stamps the version into Kubernetes programs, whose build expects it.
fn linker_flags(module: &Path) -> Result<String, TestbedError> {
    let path = module.join("go.mod");
    let text =
        fs::read_to_string(&path).map_err(TestbedError::io(format!("read {}", path.display())))?;
    let mut flags = "-s -w".to_owned();
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    if let Some(line) = lines.next() {
        let version = line.split_whitespace().next().unwrap_or_default();
        let mut parts = version.split('.');
        let stamp = "-X k8s.io/component-base/version";
        flags += &format!(" {stamp}.gitVersion=v{version}");
        flags += &format!(" {stamp}.gitMajor={}", parts.next().unwrap_or_default());
        flags += &format!(" {stamp}.gitMinor={}", parts.next().unwrap_or_default());
    }
    Ok(flags)
}

/// The last lines of a text file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_as_numbers() {
        assert_eq!(version_of("go1.26.8"), Some((1, 26)));
        assert_eq!(version_of("go1.9"), Some((1, 9)));
        assert_eq!(version_of("go1.27rc1"), Some((1, 27)));
        assert_eq!(version_of("devel"), None);
    }

    #[test]
    fn kubernetes_programs_carry_their_version() {
        let flags = linker_flags(&places::repository().join("testbed/kube")).unwrap();
        assert!(flags.contains(".gitVersion=v1."), "{flags}");
    }

    #[test]
    fn a_changed_module_is_another_build() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("go.mod"), "module a").unwrap();
        let first = module_digest(dir.path()).unwrap();
        fs::write(dir.path().join("README"), "not part of it").unwrap();
        assert_eq!(module_digest(dir.path()).unwrap(), first);
        fs::write(dir.path().join("main.go"), "package main").unwrap();
        assert_ne!(module_digest(dir.path()).unwrap(), first);
    }
}
