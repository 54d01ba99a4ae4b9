//! Where files of a person live: the XDG base directories, read once.

use std::path::PathBuf;

use etcetera::BaseStrategy;

use crate::error::CliError;

/// The directories of the person who runs the program.
#[derive(Debug, Clone)]
pub(crate) struct Dirs {
    /// `$XDG_CONFIG_HOME/stele/config.toml`, or what `STELE_CONFIG` names.
    pub(crate) config_file: PathBuf,
    /// The configuration of the machine.
    pub(crate) system_config_file: PathBuf,
    /// `$XDG_DATA_HOME/stele`: the default data directory of `stele up`.
    pub(crate) data: PathBuf,
    /// `$XDG_STATE_HOME/stele`: pinned checkpoints.
    pub(crate) state: PathBuf,
}

impl Dirs {
    /// The directories by the environment.
    ///
    /// # Errors
    /// When there is no home directory.
    pub(crate) fn from_environment() -> Result<Self, CliError> {
        let base = etcetera::base_strategy::Xdg::new().map_err(|e| {
            CliError::failed(format!("cannot find the home directory: {e}"))
                .hint("set HOME, or XDG_CONFIG_HOME, XDG_DATA_HOME and XDG_STATE_HOME")
        })?;
        let config_file = std::env::var_os("STELE_CONFIG")
            .filter(|path| !path.is_empty())
            .map_or_else(|| base.config_dir().join("stele/config.toml"), PathBuf::from);
        let state = base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state"));
        Ok(Self {
            config_file,
            system_config_file: PathBuf::from("/etc/stele/stele.toml"),
            data: base.data_dir().join("stele"),
            state: state.join("stele"),
        })
    }
}
