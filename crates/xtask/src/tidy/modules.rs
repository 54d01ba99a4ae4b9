//! Forgotten files: a Rust file that no module names is never compiled, and a test in it never runs.

use std::path::{Component, Path, PathBuf};

use super::Problem;
use super::tree::SourceFile;

/// `roots` are the files at which the compiler starts.
pub(super) fn check(files: &[SourceFile], roots: &[PathBuf]) -> Vec<Problem> {
    let rust: Vec<&SourceFile> =
        files.iter().filter(|file| file.is_rust() && file.path.starts_with("crates")).collect();
    let forgotten =
        |file: &&&SourceFile| !roots.contains(&file.path) && !is_named(file, &rust, roots);
    let what = "no `mod` names this file, so it is not compiled; name it or remove it";
    rust.iter().filter(forgotten).map(|file| Problem::new(&file.path, None, what)).collect()
}

fn is_named(file: &SourceFile, all: &[&SourceFile], roots: &[PathBuf]) -> bool {
    let Some(mut folder) = file.path.parent() else { return false };
    let mut stem = stem(&file.path);
    if stem == "mod" {
        stem = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folder = folder.parent().unwrap_or(folder);
    }
    // The parent of a/b/c.rs is a/b.rs or a/b/mod.rs, or the root of a target in a/b.
    let beside = folder.with_extension("rs");
    let inside = folder.join("mod.rs");
    let is_parent = |path: &Path| {
        path == beside
            || path == inside
            || (path.parent() == Some(folder) && roots.iter().any(|root| root == path))
    };
    let named = |text: &str| {
        text.lines().any(|line| {
            let line = line.trim().trim_start_matches("pub ");
            let line = line.rsplit_once(") ").map_or(line, |(_, rest)| rest);
            line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) == Some(&stem)
        })
    };
    let by_path = |other: &SourceFile| {
        let from = relative(other.path.parent().unwrap_or(folder), &file.path);
        let from = from.to_string_lossy();
        other.text.contains(&format!("path = \"{from}\""))
            || other.text.contains(&format!("include!(\"{from}\")"))
    };
    all.iter().any(|other| (is_parent(&other.path) && named(&other.text)) || by_path(other))
}

/// How a file in `folder` writes the path `to`; both are relative to the repository.
fn relative(folder: &Path, to: &Path) -> PathBuf {
    let common = folder.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_names_is_found() {
        let file =
            |path: &str, text: &str| SourceFile { path: path.into(), bytes: 0, text: text.into() };
        let files = [
            file("crates/a/src/lib.rs", "pub mod b;\npub(crate) mod c;\n"),
            file("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
            file("crates/a/src/b/tests.rs", ""),
            file("crates/a/src/c/mod.rs", ""),
            file("crates/a/src/lost.rs", ""),
            file("crates/a/src/b/lost.rs", ""),
            file(
                "crates/a/tests/it/main.rs",
                "mod one;\n#[path = \"../common/mod.rs\"]\nmod common;\n",
            ),
            file("crates/a/tests/common/mod.rs", ""),
            file("crates/a/tests/common/lost.rs", ""),
            file("crates/a/tests/it/one.rs", ""),
            file("crates/a/tests/it/two.rs", ""),
        ];
        let roots = ["crates/a/src/lib.rs", "crates/a/tests/it/main.rs"].map(PathBuf::from);
        let found: Vec<PathBuf> = check(&files, &roots).into_iter().map(|p| p.path).collect();
        let lost = [
            "crates/a/src/lost.rs",
            "crates/a/src/b/lost.rs",
            "crates/a/tests/common/lost.rs",
            "crates/a/tests/it/two.rs",
        ];
        assert_eq!(found, lost.map(PathBuf::from));
    }
}
