//! The files of the repository, without what is built or belongs to version control.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::testbed::TestbedError;

/// A file with its text, if it is text.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    /// From the root of the repository.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Empty for large or binary files.
    pub(super) text: String,
}

/// Larger files are not looked into.
const TEXT_BYTES_MAX: u64 = 1 << 20;

impl SourceFile {
    pub(super) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether it holds nothing but tests (or helpers of tests, or benchmarks).
    pub(super) fn is_test(&self) -> bool {
        let dir = |name: &str| self.path.components().any(|part| part.as_os_str() == name);
        let tests = self.path.file_stem().is_some_and(|stem| stem == "tests");
        tests || dir("tests") || dir("benches")
    }
}

/// All files that are not ignored, sorted by path.
pub(super) fn files(root: &Path) -> Result<Vec<SourceFile>, TestbedError> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(TestbedError::io("run git"))?;
    if !listed.status.success() {
        return Err(TestbedError::Command {
            command: "git ls-files".into(),
            stderr: String::from_utf8_lossy(&listed.stderr).trim().to_owned(),
        });
    }
    let text = String::from_utf8_lossy(&listed.stdout);
    let mut names: Vec<&str> = text.split('\0').filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().filter_map(|name| file(root, Path::new(name))).collect())
}

/// `None` if it went away meanwhile.
fn file(root: &Path, path: &Path) -> Option<SourceFile> {
    let full = root.join(path);
    let bytes = fs::metadata(&full).ok()?.len();
    let text = if bytes <= TEXT_BYTES_MAX {
        fs::read(&full).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    } else {
        String::new()
    };
    Some(SourceFile { path: path.to_path_buf(), bytes, text })
}
