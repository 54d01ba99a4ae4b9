//! Pages and data: links that lead somewhere, and no large file that no README explains.

use std::path::Path;

use super::Problem;
use super::tree::SourceFile;

/// Files above this need a line in the README of their folder.
const FILE_BYTES_MAX: u64 = 1_000_000;

pub(super) fn check(root: &Path, files: &[SourceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        if file.bytes > FILE_BYTES_MAX && !is_explained(file, files) {
            let what = format!("{} bytes; name it in the README.md of its folder", file.bytes);
            problems.push(Problem::new(&file.path, None, what));
        }
        if file.path.extension().is_some_and(|extension| extension == "md") {
            problems.extend(dead_links(root, file));
        }
    }
    problems
}

fn is_explained(file: &SourceFile, files: &[SourceFile]) -> bool {
    let readme = file.path.with_file_name("README.md");
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    files.iter().any(|other| other.path == readme && other.text.contains(name.as_ref()))
}

/// Links to files of the repository that are not there.
fn dead_links(root: &Path, file: &SourceFile) -> Vec<Problem> {
    let folder = root.join(&file.path);
    let folder = folder.parent().unwrap_or(root);
    let mut problems = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for target in link_targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !folder.join(path).exists() {
                let what = format!("the link to {path} leads nowhere");
                problems.push(Problem::new(&file.path, Some(number + 1), what));
            }
        }
    }
    problems
}

/// What stands in the parentheses of `[text](target)`.
fn link_targets(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1);
    after.filter_map(|rest| rest.split([')', ' ']).next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed() {
        assert_eq!(
            link_targets("see [a](b.md#c), [d](https://e.f) and x](y"),
            ["b.md#c", "https://e.f", "y"]
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.md"), "").unwrap();
        let text = "[a](b.md#c) [d](https://e.f) [g](#h)\n[i](gone.md)".to_owned();
        let file = SourceFile { path: "README.md".into(), bytes: 0, text };
        let problems = check(dir.path(), &[file]);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, Some(2));
    }

    #[test]
    fn large_files_are_explained() {
        let large = SourceFile { path: "d/x.bin".into(), bytes: 1_000_001, text: String::new() };
        let readme =
            |text: &str| SourceFile { path: "d/README.md".into(), bytes: 0, text: text.into() };
        assert_eq!(check(Path::new("."), &[large.clone(), readme("")]).len(), 1);
        assert_eq!(check(Path::new("."), &[large, readme("`x.bin`: input")]).len(), 0);
    }
}
