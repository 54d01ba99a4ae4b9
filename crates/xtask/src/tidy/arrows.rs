//! Which crate may know which: an arrow goes only to a lower level.

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use super::Problem;
use crate::testbed::TestbedError;

/// The level of each crate; the table in ARCHITECTURE.md. `None`: chores, which may know everything
/// and which only tests may know.
const LEVELS: [(&str, Option<u8>); 12] = [
    ("stele-merkle", Some(0)),
    ("stele-record", Some(0)),
    ("stele-store", Some(0)),
    ("stele-ledger", Some(1)),
    ("stele-source", Some(1)),
    ("stele-state", Some(1)),
    ("stele-collect", Some(2)),
    ("stele-server", Some(3)),
    ("stele-cli", Some(4)),
    ("stele-fuzz-targets", None),
    ("stele-sim", None),
    ("xtask", None),
];

/// What a crate must never know, tests aside.
const STRANGERS: [(&str, &[&str]); 7] = [
    ("stele-merkle", &["tokio", "reqwest", "axum", "kube", "serde_json", "getrandom", "jiff"]),
    ("stele-record", &["tokio", "reqwest", "axum", "kube", "getrandom"]),
    ("stele-store", &["tokio", "reqwest", "axum", "kube", "serde_json"]),
    ("stele-ledger", &["kube", "k8s-openapi", "axum", "reqwest", "clap", "fjall"]),
    ("stele-source", &["kube", "k8s-openapi", "axum", "clap", "fjall"]),
    ("stele-state", &["kube", "k8s-openapi", "axum", "reqwest", "clap"]),
    ("stele-server", &["clap", "kube", "k8s-openapi", "indicatif", "comfy-table"]),
];

/// The workspace, without what it depends on.
pub(super) fn metadata(root: &Path) -> Result<Metadata, TestbedError> {
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .map_err(TestbedError::malformed("cargo metadata"))
}

pub(super) fn check(metadata: &Metadata) -> Vec<Problem> {
    metadata.packages.iter().flat_map(|package| check_package(metadata, package)).collect()
}

fn check_package(metadata: &Metadata, package: &Package) -> Vec<Problem> {
    let root = metadata.workspace_root.as_std_path();
    let manifest = package.manifest_path.as_std_path();
    let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
    let problem = |what: String| Problem::new(manifest, None, what);
    let name = package.name.as_str();
    let Some(level) = level(name) else {
        return vec![problem(format!(
            "{name} has no level; give it one in ARCHITECTURE.md and here"
        ))];
    };
    let mut problems = Vec::new();
    for dependency in &package.dependencies {
        let test_only = dependency.kind == DependencyKind::Development;
        if let Some(lower) = self::level(&dependency.name)
            && !allowed(level, lower, test_only)
        {
            problems.push(problem(format!(
                "{name} may not depend on {}: an arrow goes only to a lower level",
                dependency.name
            )));
        }
        let strangers = STRANGERS.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, s)| s);
        if !test_only && strangers.contains(&dependency.name.as_str()) {
            problems.push(problem(format!("{name} must not know {}", dependency.name)));
        }
    }
    problems
}

/// The level of one of our crates; the inner `None` is a chore.
fn level(name: &str) -> Option<Option<u8>> {
    LEVELS.iter().find(|(of, _)| *of == name).map(|(_, level)| *level)
}

fn allowed(from: Option<u8>, to: Option<u8>, test_only: bool) -> bool {
    match (from, to) {
        (None, _) => true,
        (Some(_), None) => test_only,
        (Some(from), Some(to)) => to < from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_down() {
        assert!(allowed(Some(1), Some(0), false));
        assert!(!allowed(Some(1), Some(1), false), "ledger and state never import each other");
        assert!(!allowed(Some(1), Some(1), true), "not even in a test");
        assert!(!allowed(Some(0), Some(2), false));
        assert!(allowed(Some(4), None, true), "tests use the test bed");
        assert!(!allowed(Some(4), None, false), "the product does not");
        assert!(allowed(None, Some(3), false));
    }
}
