//! Dependencies: all of them in the workspace's table, none that nobody uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cargo_metadata::Metadata;
use toml::{Table, Value};

use super::Problem;
use super::tree::SourceFile;

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Named for their features alone: `kube` wants somebody to choose the Kubernetes version.
const FEATURES_ONLY: [&str; 1] = ["k8s-openapi"];

pub(super) fn check(root: &Path, metadata: &Metadata, files: &[SourceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for package in &metadata.packages {
        let path = package.manifest_path.as_std_path();
        let shown = path.strip_prefix(root).unwrap_or(path);
        let Some(manifest) = read(path) else { continue };
        let sources = rust_text(shown.parent().unwrap_or(shown), files);
        for (name, value) in SECTIONS.iter().flat_map(|section| entries(&manifest, section)) {
            if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                let what = format!("{name}: take it from [workspace.dependencies]");
                problems.push(Problem::new(shown, None, what));
            }
            let named = sources.contains(&name.replace('-', "_"));
            if !named && !FEATURES_ONLY.contains(&name.as_str()) {
                let what = format!("{name} is not used; remove it");
                problems.push(Problem::new(shown, None, what));
            }
            used.insert(name.clone());
        }
    }
    let workspace = read(&root.join("Cargo.toml")).unwrap_or_default();
    let table = workspace.get("workspace").and_then(Value::as_table).cloned().unwrap_or_default();
    for (name, _) in entries(&table, "dependencies") {
        if !used.contains(name) {
            let what =
                format!("{name} is in [workspace.dependencies] and used by nobody; remove it");
            problems.push(Problem::new(Path::new("Cargo.toml"), None, what));
        }
    }
    problems
}

fn read(path: &Path) -> Option<Table> {
    fs::read_to_string(path).ok()?.parse().ok()
}

fn entries<'a>(table: &'a Table, section: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    table.get(section).and_then(Value::as_table).into_iter().flatten()
}

/// All Rust code of the package in a folder, to look for names in.
fn rust_text(folder: &Path, files: &[SourceFile]) -> String {
    let rust = files.iter().filter(|file| file.is_rust() && file.path.starts_with(folder));
    rust.map(|file| file.text.as_str()).collect()
}
