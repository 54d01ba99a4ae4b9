//! What the compiler and clippy do not check: the arrows between crates, sizes, forgotten files,
//! dependencies, links, and reference pages that must equal what the program prints.
//!
//! Everything but the reference pages is checked by `cargo test -p xtask` too.

pub mod reference;

mod arrows;
mod documents;
mod manifests;
mod modules;
mod sources;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::testbed::TestbedError;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, from the root of the repository.
    pub path: PathBuf,
    /// The line in it, if there is one, from 1.
    pub line: Option<usize>,
    /// What is wrong and what to do about it.
    pub what: String,
}

impl Problem {
    fn new(path: &Path, line: Option<usize>, what: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.what)
    }
}

/// Checks everything that needs no build; sorted.
pub fn check(root: &Path) -> Result<Vec<Problem>, TestbedError> {
    let files = tree::files(root)?;
    let metadata = arrows::metadata(root)?;
    let mut problems = arrows::check(&metadata);
    problems.extend(manifests::check(root, &metadata, &files));
    problems.extend(sources::check(&files));
    problems.extend(modules::check(&files, &target_roots(root, &metadata)));
    problems.extend(documents::check(root, &files));
    problems.sort();
    problems.dedup();
    Ok(problems)
}

/// The files at which the compiler starts, from the root of the repository.
fn target_roots(root: &Path, metadata: &cargo_metadata::Metadata) -> Vec<PathBuf> {
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let path = |target: &cargo_metadata::Target| {
        target.src_path.as_std_path().strip_prefix(root).map(Path::to_path_buf).ok()
    };
    targets.filter_map(path).collect()
}
