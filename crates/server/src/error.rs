//! What can go wrong, and what it is called on each side: the kind in the JSON body, the HTTP
//! status, and the exit code of the command line.
//!
//! Invariant: the table in [`ErrorKind::row`] is the only place where the three are tied together.
//! An error's message never holds a token, a secret or a path of the server's machine.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kind of a failure: what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is at fault: repair it.
    Invalid,
    /// Nothing of this name, index or time exists.
    NotFound,
    /// No token was given, or one that the server does not know.
    Unauthenticated,
    /// The token is known, but not for this.
    Denied,
    /// The route exists, but not for this method.
    MethodNotAllowed,
    /// The input contradicts what is already recorded.
    Conflict,
    /// The input is over a named limit: send less.
    TooLarge,
    /// The body has a content type that the route does not take.
    UnsupportedType,
    /// The answer would touch a stretch in which the recorder was blind, and the question asked to
    /// fail then.
    Gap,
    /// Overloaded, starting, or behind: try again after a while.
    Unavailable,
    /// Stored bytes are not what was signed: evidence of tampering or decay. Run `stele fsck`.
    Corrupt,
    /// A fault of the program. Report it.
    Internal,
}

impl ErrorKind {
    /// All kinds, for documentation and tests.
    pub const ALL: [Self; 12] = [
        Self::Invalid,
        Self::NotFound,
        Self::Unauthenticated,
        Self::Denied,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedType,
        Self::Gap,
        Self::Unavailable,
        Self::Corrupt,
        Self::Internal,
    ];

    /// Name in JSON, HTTP status, exit code.
    const fn row(self) -> (&'static str, StatusCode, u8) {
        match self {
            Self::Invalid => ("invalid", StatusCode::BAD_REQUEST, 2),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, 3),
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED, 4),
            Self::Denied => ("denied", StatusCode::FORBIDDEN, 4),
            Self::MethodNotAllowed => ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, 1),
            Self::Conflict => ("conflict", StatusCode::CONFLICT, 1),
            Self::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, 1),
            Self::UnsupportedType => ("unsupported-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, 1),
            Self::Gap => ("gap", StatusCode::UNPROCESSABLE_ENTITY, 6),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, 1),
            Self::Corrupt => ("corrupt", StatusCode::INTERNAL_SERVER_ERROR, 5),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, 1),
        }
    }

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// The exit code of `stele`.
    pub const fn exit_code(self) -> u8 {
        self.row().2
    }
}

/// A failure as it is answered: `{"error": {"kind", "message", "hint"}}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct ApiError {
    /// The kind.
    pub kind: ErrorKind,
    /// What is wrong, naming the field, parameter or line.
    pub message: String,
    /// What to try next, if there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// After how many seconds to try again, if that can help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

/// The body of an answer that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The failure.
    pub error: ApiError,
}

impl ApiError {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, retry_after_s: None }
    }

    /// [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::Unavailable`], with the number of seconds to wait.
    pub fn unavailable(message: impl Into<String>, retry_after_s: u32) -> Self {
        let retry_after_s = Some(retry_after_s);
        Self { retry_after_s, ..Self::new(ErrorKind::Unavailable, message) }
    }

    /// A fault of the program: `cause` goes to the server's log, not to the caller.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        let hint = "the server's log has the cause".to_owned();
        Self {
            hint: Some(hint),
            ..Self::new(ErrorKind::Internal, "the server failed to answer this request")
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let retry_after = self.retry_after_s;
        let body = axum::Json(ErrorBody { error: self });
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_json_is_the_name_of_the_table() {
        for kind in ErrorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn only_corruption_has_exit_code_5() {
        for kind in ErrorKind::ALL {
            assert_eq!(kind.exit_code() == 5, kind == ErrorKind::Corrupt, "{kind:?}");
            assert!(!kind.status().is_success());
        }
    }
}
