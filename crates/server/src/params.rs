//! Parameters in the query, and parts of the path: typed, and refused where unknown.
//!
//! Invariant: a parameter that the route does not know is an error that names it, never ignored;
//! a misspelt filter would otherwise give a confident wrong answer.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The query parameters of a route. `T` must deny unknown fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Params<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let text = rejection.body_text();
                let cause = text.split_once(": ").map_or(text.as_str(), |(_, cause)| cause);
                Err(ApiError::invalid(format!("query parameters: {cause}")))
            }
        }
    }
}

/// A part of the path, decoded.
#[derive(Debug, Clone)]
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(_) => Err(ApiError::invalid("the path is not UTF-8")),
        }
    }
}

/// For routes that take no parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// A flag as people write it in a URL: `true`, `false`, `1`, `0`, or nothing after the name.
pub(crate) fn flag<'de, D: serde::Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    match String::deserialize(input)?.as_str() {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(serde::de::Error::custom(format!("expected true or false, found {other:?}"))),
    }
}
