//! Frames: raw bytes of a Kubernetes list page, watch line or document, with the context they came in.
//!
//! A frame's payload is one line of JSON (the [`FrameContext`] or [`DocumentContext`]), a line feed, and
//! then the exact bytes that the server sent. Both are under the record's commitment.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::RecordError;
use crate::payloads::{from_json, to_json};

/// Where a frame came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameContext {
    /// The cluster: uid of its namespace `kube-system`, or a name given at import.
    pub cluster: String,
    /// The API server that answered, as it was addressed; empty if not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// API group, `""` for the core group.
    pub group: String,
    /// API version within the group.
    pub version: String,
    /// Plural name of the resource type.
    pub resource: String,
    /// Kind of the objects, for example `Pod`.
    pub kind: String,
    /// Whether objects of this type live in namespaces.
    pub namespaced: bool,
    /// Values were replaced by keyed digests before the frame was recorded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub redacted: bool,
    /// For a page of a list: which list and where in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListPage>,
}

/// Position of a page in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPage {
    /// Ties the pages of one list together; equal for all of them and larger for later lists of
    /// the same source.
    pub id: u64,
    /// Number of this page, from 0.
    pub page: u32,
    /// No page follows: what was not listed by now does not exist at the list's version.
    pub last: bool,
}

impl FrameContext {
    /// `group/version` as objects write it: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The payload of a frame with this context.
    pub fn join(&self, raw: &[u8]) -> Vec<u8> {
        join(self, raw)
    }

    /// Splits a frame's payload into its context and the raw bytes.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if there is no context line or it can't be read.
    pub fn split(payload: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        split("frame", "frame context", payload)
    }
}

/// Where a document came from that a Kubernetes server gives about itself: a schema, its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentContext {
    /// The cluster, as in [`FrameContext::cluster`].
    pub cluster: String,
    /// The API server that answered, as it was addressed; empty if not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Path under which the server gives it, without a query: `/version`, `/openapi/v3/apis/apps/v1`.
    pub path: String,
    /// The server does not give it any more; there are no bytes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gone: bool,
}

impl DocumentContext {
    /// The payload of a document with this context.
    pub fn join(&self, raw: &[u8]) -> Vec<u8> {
        join(self, raw)
    }

    /// Splits a document's payload into its context and the raw bytes.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if there is no context line or it can't be read.
    pub fn split(payload: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        split("document", "document context", payload)
    }
}

fn join(context: &impl Serialize, raw: &[u8]) -> Vec<u8> {
    let mut payload = to_json(context);
    payload.reserve_exact(raw.len() + 1);
    payload.push(b'\n');
    payload.extend_from_slice(raw);
    payload
}

fn split<'p, T: DeserializeOwned>(
    what: &'static str,
    context: &'static str,
    payload: &'p [u8],
) -> Result<(T, &'p [u8]), RecordError> {
    let end = payload
        .iter()
        .position(|&byte| byte == b'\n')
        .ok_or_else(|| RecordError::malformed(what, "the context line has no end"))?;
    Ok((from_json(context, &payload[..end])?, &payload[end + 1..]))
}

fn is_false(value: &bool) -> bool {
    !*value
}
