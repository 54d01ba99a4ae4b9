//! Bearer tokens: who may read, append and deliver.
//!
//! The server knows SHA-256 of each token, never a token. A token file is TOML:
//!
//! ```toml
//! [[token]]
//! name = "agent-prod-eu"
//! sha256 = "…64 hexadecimal digits…"
//! scopes = ["deliver"]
//! sources = ["…source id…"]     # a deliver token writes as these sources only
//! ```
//!
//! Invariants: a presented token is compared with all known ones in the same time whether it
//! matches or not; a token that may deliver, and is not an admin's, names its sources.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stele_record::SourceId;

use crate::error::{ApiError, ErrorKind};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scope {
    /// Ask questions, read records and payloads, export, subscribe, read metrics.
    Read,
    /// Append events through the server's own source.
    Append,
    /// Deliver records of a source of one's own.
    Deliver,
    /// Read the stored objects as they are: every payload, and the secrets of every epoch.
    Mirror,
    /// Everything, as every source.
    Admin,
}

impl Scope {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Append => "append",
            Self::Deliver => "deliver",
            Self::Mirror => "mirror",
            Self::Admin => "admin",
        }
    }
}

/// A token, in clear. Never printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new token: 256 random bits behind a prefix by which secret scanners know it.
    pub fn generate() -> Self {
        Self(format!("stele_{}", hex::encode(stele_store::random_bytes::<32>())))
    }

    /// A token that was kept in a file.
    pub fn from_text(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text, to be kept in a file that only its owner can read, or sent in a header.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the token in hexadecimal: what a token file holds.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// One entry of a token file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Name for people; it appears in the request log.
    pub name: String,
    /// SHA-256 of the token, hexadecimal.
    pub sha256: String,
    /// What the token is good for.
    pub scopes: BTreeSet<Scope>,
    /// The sources that a `deliver` token may write as, hexadecimal ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// A token file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// The tokens.
    #[serde(default)]
    pub token: Vec<TokenEntry>,
}

impl TokenFile {
    /// Reads the TOML form.
    ///
    /// # Errors
    /// [`AuthError::Syntax`]: the file must be repaired.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        toml::from_str(text).map_err(|e| AuthError::Syntax(e.to_string()))
    }

    /// Writes the TOML form.
    ///
    /// # Errors
    /// [`AuthError::Syntax`] if a value can't be written as TOML.
    pub fn render(&self) -> Result<String, AuthError> {
        toml::to_string(self).map_err(|e| AuthError::Syntax(e.to_string()))
    }
}

/// Why a token file can't be used. The server must not start with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The text is not a token file.
    #[error("the token file can't be read: {0}")]
    Syntax(String),
    /// An entry can't be used.
    #[error("token {name:?}: {what}")]
    Entry {
        /// The entry's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// All tokens a server knows.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    digest: [u8; 32],
    access: Access,
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    name: String,
    scopes: BTreeSet<Scope>,
    sources: BTreeSet<SourceId>,
}

impl Tokens {
    /// Takes the entries of a token file.
    ///
    /// # Errors
    /// [`AuthError::Entry`] naming the entry at fault; the file must be repaired.
    pub fn new(file: &TokenFile) -> Result<Self, AuthError> {
        let known = file.token.iter().map(known).collect::<Result<_, _>>()?;
        Ok(Self { known })
    }

    /// A single token that may do everything: what `stele up` makes for its own user.
    pub fn admin(token: &Token) -> Self {
        let access = Access {
            name: "admin".to_owned(),
            scopes: BTreeSet::from([Scope::Admin]),
            sources: BTreeSet::new(),
        };
        Self { known: vec![Known { digest: Sha256::digest(&token.0).into(), access }] }
    }

    /// These tokens and those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.known.extend(other.known);
        self
    }

    /// Whose token this is. Looks at every known digest, to the last byte.
    pub(crate) fn find(&self, token: &str) -> Option<&Access> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for known in &self.known {
            let differences = known.digest.iter().zip(&digest).fold(0, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(differences) == 0 {
                found = Some(&known.access);
            }
        }
        found
    }
}

fn known(entry: &TokenEntry) -> Result<Known, AuthError> {
    let fault = |what: &str| AuthError::Entry { name: entry.name.clone(), what: what.to_owned() };
    let mut digest = [0; 32];
    hex::decode_to_slice(&entry.sha256, &mut digest)
        .map_err(|_| fault("sha256: expected 64 hexadecimal digits"))?;
    let sources = entry
        .sources
        .iter()
        .map(|id| SourceId::from_str(id))
        .collect::<Result<BTreeSet<_>, _>>()
        .map_err(|_| fault("sources: expected ids of 64 hexadecimal digits"))?;
    if entry.scopes.is_empty() {
        return Err(fault("scopes: at least one is needed"));
    }
    let bound = entry.scopes.contains(&Scope::Deliver) && !entry.scopes.contains(&Scope::Admin);
    if bound && sources.is_empty() {
        return Err(fault("sources: a token that may deliver names the sources it may write as"));
    }
    let access = Access { name: entry.name.clone(), scopes: entry.scopes.clone(), sources };
    Ok(Known { digest, access })
}

impl Access {
    /// The token's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Checks that the token is good for `scope`.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin) {
            return Ok(());
        }
        let message = format!("this token may not do that: it lacks the scope {}", scope.name());
        Err(ApiError::new(ErrorKind::Denied, message))
    }

    /// Checks that the token may write as `source`.
    pub(crate) fn require_source(&self, source: &SourceId) -> Result<(), ApiError> {
        if self.scopes.contains(&Scope::Admin) || self.sources.contains(source) {
            return Ok(());
        }
        Err(ApiError::new(ErrorKind::Denied, "this token may not write as this source"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_round_trips_and_tells_its_tokens_apart() {
        let (reader, agent) = (Token::generate(), Token::generate());
        let source = SourceId::from_bytes([7; 32]);
        let entry = |token: &Token, scope, sources: Vec<String>| TokenEntry {
            name: "x".to_owned(),
            sha256: token.sha256(),
            scopes: BTreeSet::from([scope]),
            sources,
        };
        let file = TokenFile {
            token: vec![
                entry(&reader, Scope::Read, Vec::new()),
                entry(&agent, Scope::Deliver, vec![source.to_string()]),
            ],
        };
        assert_eq!(TokenFile::parse(&file.render().unwrap()).unwrap(), file);
        let tokens = Tokens::new(&file).unwrap();
        assert!(tokens.find("stele_nobody").is_none());
        tokens.find(reader.reveal()).unwrap().require(Scope::Read).unwrap();
        tokens.find(reader.reveal()).unwrap().require(Scope::Append).unwrap_err();
        let agent = tokens.find(agent.reveal()).unwrap();
        agent.require_source(&source).unwrap();
        agent.require_source(&SourceId::from_bytes([8; 32])).unwrap_err();
    }

    #[test]
    fn entries_that_would_open_more_than_they_say_are_refused() {
        let hash = "0".repeat(64);
        for (text, part) in [
            (format!("sha256='{hash}'\nscopes=['deliver']"), "sources"),
            (format!("sha256='{hash}'\nscopes=[]"), "scopes"),
            ("sha256='12'\nscopes=['read']".to_owned(), "sha256"),
        ] {
            let file = TokenFile::parse(&format!("[[token]]\nname='a'\n{text}")).unwrap();
            let error = Tokens::new(&file).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        TokenFile::parse("[[token]]\nname='a'\ntypo=1").unwrap_err();
    }
}
