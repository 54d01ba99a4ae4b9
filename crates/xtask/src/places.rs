//! Where things are: the repository, and the cache outside of it.

use std::path::{Path, PathBuf};

/// The root of the repository this program was built from.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The folder for what is built once and kept: `$STELE_CACHE`, else `$XDG_CACHE_HOME/stele`, else
/// `~/.cache/stele`, else a folder under the system's temporary folder.
pub fn cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("STELE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("stele")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/stele")))
        .unwrap_or_else(|| std::env::temp_dir().join("stele-cache"))
}

/// The folder of running test beds.
pub fn runs() -> PathBuf {
    cache().join("testbed").join("run")
}
