//! Configuration files: contexts (server, key and token of a ledger, together) and the settings
//! of `stele up`.
//!
//! Order: flags, `STELE_*`, the user's file, `/etc/stele/stele.toml`, defaults. A key that is not
//! known is an error, because a misspelt setting that is passed over in silence is a trap.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dirs::Dirs;
use crate::error::CliError;

/// A configuration file, or both of them merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// The context that commands use without `--context`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    /// Ledgers by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) context: BTreeMap<String, Context>,
    /// Settings of `stele up`.
    pub(crate) up: UpSettings,
}

/// One ledger: its server and its public key belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Context {
    /// Base URL of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// Public keys of the log, as signed-note verifier keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) key: Vec<String>,
    /// File with the bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// The server's TLS certificate (PEM), for clients of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_file: Option<PathBuf>,
    /// Namespace that commands use without `-n`; `default` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// Cluster that commands use without `--cluster`; needed only if the ledger holds several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
}

/// Settings of `stele up`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct UpSettings {
    /// Data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<PathBuf>,
    /// Address and port to listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<String>,
    /// Kubeconfig file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Kubeconfig contexts to record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) kube_contexts: Vec<String>,
    /// Trust policy with the witnesses to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) witness_policy: Option<PathBuf>,
    /// Shortest pause between two checkpoints that witnesses are asked about, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) witness_pause: Option<u32>,
}

/// The commented default file, as `stele config default` prints it.
pub(crate) const DEFAULT_FILE: &str = include_str!("config/default.toml");

impl Config {
    /// Both files, the user's before the machine's.
    ///
    /// # Errors
    /// When a file can't be read or has a key that is not known.
    pub(crate) fn load(dirs: &Dirs) -> Result<Self, CliError> {
        let system = Self::read(&dirs.system_config_file)?.unwrap_or_default();
        let user = Self::read(&dirs.config_file)?.unwrap_or_default();
        Ok(user.over(system))
    }

    /// One file; `None` if there is none.
    ///
    /// # Errors
    /// When it can't be read or has a key that is not known.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(CliError::failed(format!("cannot read {}: {e}", path.display()))),
        };
        Self::parse(&text).map(Some).map_err(|e| {
            CliError::usage(format!("{}: {}", path.display(), e.trim_end()))
                .hint("`stele config default` prints a file with every key and its meaning")
        })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    fn over(self, below: Self) -> Self {
        let mut context = below.context;
        context.extend(self.context);
        Self {
            current_context: self.current_context.or(below.current_context),
            context,
            up: UpSettings {
                data: self.up.data.or(below.up.data),
                listen: self.up.listen.or(below.up.listen),
                kubeconfig: self.up.kubeconfig.or(below.up.kubeconfig),
                kube_contexts: if self.up.kube_contexts.is_empty() {
                    below.up.kube_contexts
                } else {
                    self.up.kube_contexts
                },
                witness_policy: self.up.witness_policy.or(below.up.witness_policy),
                witness_pause: self.up.witness_pause.or(below.up.witness_pause),
            },
        }
    }

    /// The context of this name, or the current one.
    ///
    /// # Errors
    /// When a name was given, by flag or file, and there is no such context.
    pub(crate) fn select(&self, name: Option<&str>) -> Result<Context, CliError> {
        let wanted = name.or(self.current_context.as_deref());
        if let Some(found) = self.context.get(wanted.unwrap_or("default")) {
            return Ok(found.clone());
        }
        let Some(wanted) = wanted else { return Ok(Context::default()) };
        let known: Vec<_> = self.context.keys().map(String::as_str).collect();
        let error = CliError::usage(format!("there is no context named {wanted:?}"));
        Err(if known.is_empty() {
            error.hint("`stele up` makes one, or write [context.NAME] by hand: `stele config path`")
        } else {
            error.hint(format!("known contexts: {}", known.join(", ")))
        })
    }
}

/// What became of a context that was to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is in the file now.
    Saved,
    /// It was there already.
    Unchanged,
    /// A context of that name points at another ledger; it was left alone.
    OtherLedger,
}

/// Puts `[context.NAME]` into the user's file and leaves every other line as it is.
///
/// # Errors
/// When the file can't be read or written.
pub(crate) fn save_context(
    path: &Path,
    name: &str,
    context: &Context,
) -> Result<Written, CliError> {
    let present = Config::read(path)?;
    let held = present.as_ref().and_then(|config| config.context.get(name));
    match held {
        Some(held) if held == context => return Ok(Written::Unchanged),
        Some(held) if held.key != context.key => return Ok(Written::OtherLedger),
        _ => {}
    }
    let merged = held.map_or_else(
        || context.clone(),
        |held| Context {
            namespace: held.namespace.clone(),
            cluster: held.cluster.clone(),
            ..context.clone()
        },
    );
    let text = if present.is_some() {
        fs::read_to_string(path).map_err(|e| cannot("read", path, &e))?
    } else {
        String::from("# Configuration of stele; `stele config default` explains every key.\n")
    };
    write(path, &with_section(&text, name, &merged)?)?;
    Ok(Written::Saved)
}

/// Pins the keys `new` in every context of the user's file that pins keys out of `old`; gives their
/// names.
///
/// # Errors
/// When the file can't be read or written.
pub(crate) fn replace_keys(
    path: &Path,
    old: &[String],
    new: &[String],
) -> Result<Vec<String>, CliError> {
    let Some(config) = Config::read(path)? else { return Ok(Vec::new()) };
    let mut text = fs::read_to_string(path).map_err(|e| cannot("read", path, &e))?;
    let mut names = Vec::new();
    for (name, context) in config.context {
        if context.key.is_empty() || !context.key.iter().all(|key| old.contains(key)) {
            continue;
        }
        text = with_section(&text, &name, &Context { key: new.to_vec(), ..context })?;
        names.push(name);
    }
    if !names.is_empty() {
        write(path, &text)?;
    }
    Ok(names)
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| cannot("create", parent, &e))?;
    }
    let staged = path.with_extension("toml.new");
    fs::write(&staged, text).map_err(|e| cannot("write", &staged, &e))?;
    fs::rename(&staged, path).map_err(|e| cannot("write", path, &e))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot {what} {}: {error}", path.display()))
}

/// `text` with the section of context `name` replaced, or added at the end.
fn with_section(text: &str, name: &str, context: &Context) -> Result<String, CliError> {
    let body = toml::to_string(context)
        .map_err(|e| CliError::failed(format!("cannot write the context: {e}")))?;
    let title = format!("[context.{name}]");
    let mut out = String::with_capacity(text.len() + body.len() + title.len());
    let mut skipping = false;
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            skipping = line.trim() == title;
        }
        let comment = line.trim().is_empty() || line.trim_start().starts_with('#');
        if !skipping || comment {
            out.push_str(line);
            out.push('\n');
        }
    }
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
    out.push_str(&title);
    out.push('\n');
    out.push_str(&body);
    match Config::parse(&out) {
        Ok(config) if config.context.get(name) == Some(context) => Ok(out),
        _ => Err(CliError::failed("the configuration file has a form that can't be edited safely")
            .hint(format!("add this by hand:\n{title}\n{body}"))),
    }
}

#[cfg(test)]
mod tests;
