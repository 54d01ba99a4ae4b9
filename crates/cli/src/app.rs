//! What every command needs: the terminal, the clock, the person's directories and configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::tz::TimeZone;
use stele_store::{Clock, SystemClock};

use crate::client::Client;
use crate::config::{Config, Context};
use crate::dirs::Dirs;
use crate::error::CliError;
use crate::keys::LogKeys;
use crate::point;
use crate::ui::{ColorWhen, Ui};

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = GLOBAL)]
    pub(crate) color: ColorWhen,
    /// Leave out what is said beside the answer; warnings and errors stay
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// Time zone of dates and times that name none; without it they are refused
    #[arg(long, global = true, value_name = "ZONE", value_parser = point::time_zone, help_heading = GLOBAL)]
    pub(crate) tz: Option<TimeZone>,
}

const GLOBAL: &str = "Global options";

/// Which ledger to ask.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which ledger")]
pub(crate) struct ConnectArgs {
    /// Context of the configuration file to use
    #[arg(long, env = "STELE_CONTEXT", value_name = "NAME", hide_env_values = true)]
    pub(crate) context: Option<String>,
    /// Base URL of the server
    #[arg(long, env = "STELE_SERVER", value_name = "URL", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// File with the bearer token
    #[arg(long, env = "STELE_TOKEN_FILE", value_name = "FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Public key of the log: a file such as DIR/keys/log.pub, or a verifier key itself
    #[arg(long, env = "STELE_KEY", value_name = "FILE|KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

/// The surroundings of a command.
pub(crate) struct App {
    /// The terminal.
    pub(crate) ui: Ui,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    dirs: Dirs,
    tz: Option<TimeZone>,
}

impl App {
    /// The surroundings as flags and environment make them.
    ///
    /// # Errors
    /// When there is no home directory.
    pub(crate) fn new(global: &GlobalArgs) -> Result<Self, CliError> {
        Ok(Self {
            ui: Ui::new(global.color, global.quiet),
            clock: Arc::new(SystemClock::new()),
            dirs: Dirs::from_environment()?,
            tz: global.tz.clone(),
        })
    }

    /// The person's directories.
    pub(crate) const fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    /// The zone of times that name none, if the person chose one.
    pub(crate) const fn time_zone(&self) -> Option<&TimeZone> {
        self.tz.as_ref()
    }

    /// The present, in nanoseconds since the Unix epoch.
    pub(crate) fn now_ns(&self) -> i64 {
        self.clock.now().0
    }

    /// The merged configuration.
    ///
    /// # Errors
    /// When a file can't be read or has an unknown key.
    pub(crate) fn config(&self) -> Result<Config, CliError> {
        Config::load(&self.dirs)
    }

    /// The ledger that the flags, variables and files name.
    ///
    /// # Errors
    /// When a context is not known, or a file can't be read.
    pub(crate) fn context(&self, args: &ConnectArgs) -> Result<Context, CliError> {
        let mut context = self.config()?.select(args.context.as_deref())?;
        if let Some(server) = &args.server {
            if context.server.as_deref() != Some(server) {
                // Token and key of another server must not be used for this one.
                context = Context::default();
            }
            context.server = Some(server.clone());
        }
        if let Some(file) = &args.token_file {
            context.token_file = Some(file.clone());
        }
        if let Some(key) = &args.key {
            context.key = LogKeys::from_argument(key)?.texts();
        }
        Ok(context)
    }

    /// A client of that ledger.
    ///
    /// # Errors
    /// When no server is known, or its token or key can't be read.
    pub(crate) fn client(&self, args: &ConnectArgs) -> Result<(Client, Context), CliError> {
        let context = self.context(args)?;
        let Some(server) = &context.server else {
            return Err(CliError::usage("no server is known")
                .hint("start one with `stele up`, or look around with `stele demo`")
                .hint("or name one: --server URL, STELE_SERVER, or a context (stele help environment)"));
        };
        let token = context.token_file.as_deref().map(read_token).transpose()?;
        let keys = LogKeys::from_texts(&context.key)?;
        if keys.is_empty() {
            self.ui.note(&format!(
                "unpinned: no key of the log at {server} is known, so its signatures are not checked"
            ));
        }
        Ok((Client::new(server, token, keys)?, context))
    }

    /// Where `stele up` keeps its data.
    ///
    /// # Errors
    /// When a configuration file can't be read.
    pub(crate) fn data_dir(&self, flag: Option<&Path>) -> Result<PathBuf, CliError> {
        if let Some(path) = flag {
            return Ok(path.to_owned());
        }
        Ok(self.config()?.up.data.unwrap_or_else(|| self.dirs.data.clone()))
    }
}

/// The token in a file.
pub(crate) fn read_token(path: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        CliError::denied(format!("cannot read the token in {}: {e}", path.display()))
            .hint("`stele up` writes one to DIR/keys/admin.token")
    })?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CliError::denied(format!("{} holds no token", path.display())));
    }
    Ok(token.to_owned())
}
