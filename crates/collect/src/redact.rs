//! Redaction: values of Secrets and tokens are replaced by keyed digests before a record is made,
//! so that no value ever reaches the disk.
//!
//! A value becomes `stele-digest:v1:` and the base64 of the first 16 bytes of HMAC-SHA-256(key,
//! value). Equal values of one source stay equal and a change stays visible; names, versions and
//! everything else of the document stay as they are, byte for byte. Documents that cannot hold
//! values are not touched at all.
//!
//! Not here: values that people put elsewhere than into Secrets (ConfigMaps, environment
//! variables). Those are recorded as they are.
//!
//! Invariant: a document that is about Secrets and cannot be understood is refused, never passed.

mod audit;
mod etcd;
mod rewrite;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stele_record::frame::FrameContext;

use rewrite::{Rewriter, Values};

/// What every digest starts with.
pub const DIGEST_PREFIX: &str = "stele-digest:v1:";

/// Purpose under which a source derives its redaction key.
pub const KEY_PURPOSE: &str = "redaction";

/// Deepest nesting of a document that has to be rewritten.
pub const DEPTH_MAX: usize = 256;

/// Annotations of a Secret that repeat its values.
const APPLIED_ANNOTATIONS: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "objectset.rio.cattle.io/applied",
    "banzaicloud.com/last-applied",
];

/// A document that may hold secret values and can't be rewritten. The caller must not store it;
/// what it stood for becomes a gap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document cannot be redacted: {detail} at byte {at}")]
pub struct RedactError {
    /// Where in the document.
    pub at: usize,
    /// What is wrong there; never a part of the document.
    pub detail: String,
}

impl RedactError {
    fn new(at: usize, detail: impl Into<String>) -> Self {
        Self { at, detail: detail.into() }
    }
}

/// Replaces secret values by keyed digests.
#[derive(Clone)]
pub struct Redactor {
    key: Option<[u8; 32]>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({})", if self.key.is_some() { "digests" } else { "keeps values" })
    }
}

impl Redactor {
    /// Digests under `key`, which must stay the same for values to stay comparable.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key: Some(key) }
    }

    /// Leaves every value as it is: only where somebody asked for that.
    pub const fn keep_values() -> Self {
        Self { key: None }
    }

    /// The redactor of a source, with the key derived from its own.
    pub fn of_source(source: &stele_source::Source, store_secret_values: bool) -> Self {
        match store_secret_values {
            true => Self::keep_values(),
            false => Self::new(source.derive_secret(KEY_PURPOSE)),
        }
    }

    /// The digest that stands for `value`; `None` if values are kept.
    pub fn digest(&self, value: &[u8]) -> Option<String> {
        self.key.as_ref().map(|key| digest(key, value))
    }

    /// Redacts a list page or watch line. Frames of other resources than Secrets come back
    /// unchanged; the context says whether values were replaced.
    ///
    /// # Errors
    /// [`RedactError`] if a frame of Secrets is not JSON.
    pub fn frame(&self, context: &mut FrameContext, raw: Bytes) -> Result<Bytes, RedactError> {
        let about_secrets = (context.group.is_empty() && context.resource == "secrets")
            || matches!(context.kind.as_str(), "Secret" | "SecretList");
        let Some(key) = self.key.as_ref().filter(|_| about_secrets) else { return Ok(raw) };
        let mut rewriter = Rewriter::new(key, &raw)?;
        secret(&mut rewriter)?;
        context.redacted = true;
        Ok(rewriter.finish().into())
    }

    /// Redacts an event of audit.k8s.io/v1.
    ///
    /// # Errors
    /// [`RedactError`] if it is not an event in JSON.
    pub fn audit_event(&self, raw: Bytes) -> Result<Bytes, RedactError> {
        match &self.key {
            Some(key) => audit::redact(key, raw),
            None => Ok(raw),
        }
    }

    /// Redacts a response of an etcd watch, as etcdctl prints it: values under the keys of Secrets
    /// are replaced whole.
    ///
    /// # Errors
    /// [`RedactError`] if it is not such a response.
    pub fn etcd_response(&self, raw: Bytes) -> Result<Bytes, RedactError> {
        match &self.key {
            Some(key) => etcd::redact(key, raw),
            None => Ok(raw),
        }
    }
}

fn digest(key: &[u8; 32], value: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .expect("invariant: HMAC takes a key of any length");
    mac.update(value);
    format!("{DIGEST_PREFIX}{}", STANDARD.encode(&mac.finalize().into_bytes()[..16]))
}

/// The bytes a string of `data` stands for: decoded if it is base64, else the text itself, so
/// that the same value has one digest in `data` and in `stringData`.
fn value_bytes(text: &str, values: Values) -> Cow<'_, [u8]> {
    match values {
        Values::Base64 => match STANDARD.decode(text) {
            Ok(bytes) => Cow::Owned(bytes),
            Err(_) => Cow::Borrowed(text.as_bytes()),
        },
        Values::Text => Cow::Borrowed(text.as_bytes()),
    }
}

/// Rewrites the document at the cursor: a Secret, a list or watch event of Secrets, or a merge
/// patch of one. `data` and `stringData` are replaced at whatever depth they stand, except inside
/// `metadata`, where they are names that people chose.
fn secret(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    match rewriter.peek() {
        b'{' => rewriter.object(&mut |rewriter, member| match member {
            "data" => rewriter.digest_leaves(Values::Base64),
            "stringData" => rewriter.digest_leaves(Values::Text),
            "metadata" => metadata(rewriter),
            _ => secret(rewriter),
        }),
        b'[' => rewriter.array(&mut secret),
        _ => rewriter.skip(),
    }
}

fn metadata(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    if rewriter.peek() != b'{' {
        return rewriter.skip();
    }
    rewriter.object(&mut |rewriter, member| match member {
        "annotations" => annotations(rewriter),
        _ => rewriter.skip(),
    })
}

fn annotations(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    if rewriter.peek() != b'{' {
        return rewriter.skip();
    }
    rewriter.object(&mut |rewriter, name| match repeats_values(name, rewriter.value()?) {
        true => rewriter.digest_leaves(Values::Text),
        false => rewriter.skip(),
    })
}

/// Whether an annotation of a Secret repeats its values: one of those known, or any that holds a
/// whole object, under whatever name a tool keeps it.
fn repeats_values(name: &str, raw: &[u8]) -> bool {
    let holds_object = || {
        let text = rewrite::unquote(raw);
        text.trim_start().starts_with(['{', '['])
            && ["\"data\"", "\"stringData\""].iter().any(|member| text.contains(member))
    };
    APPLIED_ANNOTATIONS.contains(&name) || holds_object()
}

#[cfg(test)]
mod tests;
