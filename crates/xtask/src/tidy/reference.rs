//! Reference pages that are what the program prints: `docs/reference/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Problem;
use crate::testbed::TestbedError;

/// Each page, and what `stele reference` is asked for.
const PAGES: [(&str, &str); 2] =
    [("docs/reference/cli.md", "cli"), ("docs/reference/openapi.json", "openapi")];

/// Pages that are not what the program prints. With `write` they are replaced and none is left.
pub fn check(root: &Path, write: bool) -> Result<Vec<Problem>, TestbedError> {
    let program = build(root)?;
    let mut problems = Vec::new();
    for (page, subject) in PAGES {
        let printed = print(&program, subject)?;
        let path = root.join(page);
        if fs::read(&path).is_ok_and(|text| text == printed) {
            continue;
        }
        if write {
            save(&path, &printed)?;
        } else {
            let what = "differs from what the program prints; run `cargo xtask tidy --write`";
            problems.push(Problem::new(Path::new(page), None, what));
        }
    }
    Ok(problems)
}

/// Builds the program with the features that the tests build it with, and says where it is.
fn build(root: &Path) -> Result<PathBuf, TestbedError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--bin", "stele"])
        .current_dir(root)
        .stdin(Stdio::null())
        .status()
        .map_err(TestbedError::io("run cargo build"))?;
    if !status.success() {
        let stderr = "see above".into();
        return Err(TestbedError::Command { command: "cargo build --bin stele".into(), stderr });
    }
    let metadata = super::arrows::metadata(root)?;
    Ok(metadata.target_directory.into_std_path_buf().join("debug").join("stele"))
}

fn print(program: &Path, subject: &str) -> Result<Vec<u8>, TestbedError> {
    let output = Command::new(program)
        .args(["reference", subject])
        // Nothing of the person who runs this may be on the page.
        .env_remove("COLUMNS")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(TestbedError::io(format!("run {}", program.display())))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(TestbedError::Command {
        command: format!("stele reference {subject}"),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn save(path: &Path, text: &[u8]) -> Result<(), TestbedError> {
    let context = format!("write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(TestbedError::io(context.clone()))?;
    }
    fs::write(path, text).map_err(TestbedError::io(context))
}
