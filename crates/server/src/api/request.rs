//! Requests to a cluster's API, as audit events tell of them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Instant;

/// How a request is known to have made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RequestBasis {
    /// The audit event shows the object with its uid and this resourceVersion.
    ResourceVersion,
    /// The audit event names the object, and came between this version and the one before it. It may
    /// have been another request.
    Name,
}

/// The request that made a version of an object. What it says is the API server's word.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestSeen {
    /// Index of the record that holds the audit event.
    pub index: u64,
    /// When the server received the request, by its own clock.
    pub received: Instant,
    /// How it is known to be this request.
    pub basis: RequestBasis,
    /// Id of the audit event; this and what follows is missing if the event was erased.
    #[serde(default, rename = "auditID", skip_serializing_if = "String::is_empty")]
    pub audit_id: String,
    /// Who asked, as the server authenticated them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// As whom they asked, if not as themselves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub impersonated_user: String,
    /// The verb: `create`, `update`, `patch`, `delete`, `deletecollection`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub verb: String,
    /// The subresource: `status`, `scale`, `binding`; empty for the object itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// HTTP status of the answer; 0 if the event has none.
    #[serde(default)]
    pub code: u16,
    /// What the client called itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// Where the request came from, as the server was told.
    #[serde(default, rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
}

/// A path in which two versions differ.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangedPath {
    /// JSON pointer (RFC 6901), for example `/spec/replicas`.
    pub path: String,
    /// What was there before; missing if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<Box<RawValue>>,
    /// What is there after it; missing if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<Box<RawValue>>,
}
