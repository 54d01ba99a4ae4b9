//! Public keys of a log, as people hand them over: a verifier key, or a file with some.
//!
//! Invariant: of several keys every one must have signed. Somebody who pins both keys of a log is
//! not satisfied by one of them. Only a trust policy says otherwise.

use std::path::Path;

use stele_merkle::{LogVerifier, Policy, VerifierKey};

use crate::error::CliError;

/// The beginning of a key, which may be thousands of characters long.
fn short(text: &str) -> String {
    let mut chars = text.chars();
    let begin: String = chars.by_ref().take(60).collect();
    if chars.next().is_some() { format!("{begin}...") } else { begin }
}

/// Public keys of one log; none means that nothing is pinned.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogKeys {
    keys: Vec<VerifierKey>,
    /// One of them is enough: so it is with the keys that a trust policy lists.
    any: bool,
}

impl LogKeys {
    /// These keys.
    pub(crate) fn new(keys: Vec<VerifierKey>) -> Self {
        Self { keys, any: false }
    }

    /// The keys of the one log that a trust policy lists; any of them is enough.
    ///
    /// # Errors
    /// When it lists none, or several logs.
    pub(crate) fn from_policy(policy: &Policy) -> Result<Self, CliError> {
        let keys: Vec<_> = policy.logs().iter().map(|log| log.key.clone()).collect();
        let one = keys.first().is_some_and(|first| keys.iter().all(|k| k.name() == first.name()));
        if one {
            return Ok(Self { keys, any: true });
        }
        let what = if keys.is_empty() { "no log" } else { "several logs" };
        Err(CliError::usage(format!("the policy lists {what}, so it does not say which is meant"))
            .hint("name its public key: --key FILE, for example DIR/keys/log.pub of `stele up`"))
    }

    /// What `--key` was given: a verifier key, or the name of a file.
    ///
    /// # Errors
    /// When it is neither.
    pub(crate) fn from_argument(argument: &str) -> Result<Self, CliError> {
        if let Ok(key) = argument.parse() {
            return Ok(Self::new(vec![key]));
        }
        match std::fs::read_to_string(argument) {
            Ok(text) => Self::from_file(Path::new(argument), &text),
            Err(e) => Err(CliError::usage(format!("cannot read the key file {argument}: {e}"))
                .hint("--key takes a file such as DIR/keys/log.pub, or NAME+HASH+KEY itself")),
        }
    }

    fn from_file(path: &Path, text: &str) -> Result<Self, CliError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let texts: Vec<_> = lines.map(str::to_owned).collect();
        if texts.is_empty() {
            return Err(CliError::usage(format!("{} holds no key", path.display())));
        }
        Self::from_texts(&texts).map_err(|e| CliError::usage(format!("{}: {e}", path.display())))
    }

    /// Keys as a configuration file holds them.
    ///
    /// # Errors
    /// When one is not a verifier key.
    pub(crate) fn from_texts(texts: &[String]) -> Result<Self, CliError> {
        let parse = |text: &String| {
            text.parse().map_err(|e| {
                CliError::usage(format!("{:?} is not the public key of a log: {e}", short(text)))
                    .hint("the form is that of C2SP signed-note: NAME+HASH+KEY")
            })
        };
        Ok(Self::new(texts.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// The keys as text, one each.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.keys.iter().map(ToString::to_string).collect()
    }

    /// Whether nothing is pinned.
    pub(crate) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A verifier that wants all of them, unless one is enough.
    pub(crate) fn verifier(&self) -> LogVerifier {
        let verifier = LogVerifier::new(self.keys.iter().cloned());
        if self.any { verifier } else { verifier.require_all() }
    }

    /// The keys.
    pub(crate) fn into_keys(self) -> Vec<VerifierKey> {
        self.keys
    }

    /// What identifies the log among others: the first key's name and id, as in a signature line.
    pub(crate) fn label(&self) -> String {
        self.keys.first().map(|key| format!("{}+{}", key.name(), key.id())).unwrap_or_default()
    }
}
