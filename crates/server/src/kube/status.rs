//! Failures as Kubernetes says them: `Status` objects.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use stele_state::StateError;

use super::path::Objects;
use crate::error::{ApiError, ErrorKind};

/// A failure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// The question can't be understood.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// There is no such path, or no such type.
    pub(super) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// There is no such object; `beside` says what makes that unsure.
    pub(super) fn no_such_object(of: &Objects, name: &str, beside: &str) -> Self {
        let resource = qualified(of);
        let message = format!("{resource} {name:?} not found{beside}");
        let details = json!({"name": name, "group": of.of.group, "kind": of.resource});
        Self { details, ..Self::new(StatusCode::NOT_FOUND, "NotFound", message) }
    }

    /// What an API server does, and a record of what it said can't.
    pub(super) fn not_recorded(of: &Objects, what: &str) -> Self {
        let message = format!(
            "{what} is not recorded: stele has the objects that the API server showed, and nothing \
             of what runs behind it ({})",
            qualified(of)
        );
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// Somebody tries to change the past.
    pub(super) fn read_only() -> Self {
        let message = "this is the recorded state of the cluster, kept by stele: it can be read and \
                       watched, but not changed; to change the cluster, use its own API server";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// None of the forms asked for is offered.
    pub(super) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// What is asked for is older than the record, or can't be followed from there.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The record has not come to that version yet.
    pub(super) fn too_new(wanted: &str, current: &str) -> Self {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        let cause =
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        let details = json!({"causes": [cause], "retryAfterSeconds": 1});
        Self { details, ..Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message) }
    }

    /// Too many of something at once.
    pub(super) fn too_many(message: impl Into<String>, retry_after_s: u32) -> Self {
        let details = json!({"retryAfterSeconds": retry_after_s});
        Self { details, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message) }
    }

    /// The `Status` object.
    pub(super) fn document(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

/// `pods`, `deployments.apps`.
fn qualified(of: &Objects) -> String {
    match of.of.group.as_str() {
        "" => of.resource.clone(),
        group => format!("{}.{group}", of.resource),
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let reason = match error.kind {
            ErrorKind::Invalid => "BadRequest",
            ErrorKind::NotFound => "NotFound",
            ErrorKind::Unauthenticated => "Unauthorized",
            ErrorKind::Denied => "Forbidden",
            ErrorKind::MethodNotAllowed => "MethodNotAllowed",
            ErrorKind::Unavailable => "ServiceUnavailable",
            _ => "InternalError",
        };
        let message = match &error.hint {
            Some(hint) => format!("{}; {hint}", error.message),
            None => error.message.clone(),
        };
        let details = match error.retry_after_s {
            Some(seconds) => json!({"retryAfterSeconds": seconds}),
            None => Value::Null,
        };
        Self { details, ..Self::new(error.kind.status(), reason, message) }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        crate::views::state_error(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let retry_after = self.details["retryAfterSeconds"].as_u64();
        let mut response = (self.code, axum::Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}
