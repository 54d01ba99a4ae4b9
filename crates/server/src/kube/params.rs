//! The parameters of lists and watches, and the token with which a list goes on.
//!
//! As with an API server, parameters that are not known are passed over: clients send some that
//! mean nothing here (`timeout`, `pretty`).

use axum::extract::Query;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use stele_state::query::ListPlace;
use stele_state::{Point, Time};

use super::status::Failure;

/// Parameters of a list, a watch or a single object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) labels: String,
    pub(super) fields: String,
    pub(super) limit: Option<usize>,
    pub(super) token: Option<Token>,
    pub(super) watch: bool,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
    pub(super) resource_version: String,
    pub(super) matching: Matching,
    pub(super) timeout_s: Option<u64>,
    pub(super) include: Include,
}

/// How a resource version of a list is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Matching {
    /// It was not said.
    #[default]
    Unsaid,
    Exact,
    NotOlderThan,
}

/// What of an object stands in a row of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Include {
    #[default]
    Metadata,
    None,
    Object,
}

impl Parameters {
    /// Reads a query string.
    pub(super) fn read(query: &str) -> Result<Self, Failure> {
        let mut found = Self::default();
        for (name, value) in pairs(query)? {
            let number = |text: &str| {
                text.parse::<u64>()
                    .map_err(|_| Failure::bad_request(format!("{name}: {text:?} is no number")))
            };
            match name.as_str() {
                "labelSelector" => found.labels = value,
                "fieldSelector" => found.fields = value,
                "limit" => {
                    let limit = usize::try_from(number(&value)?).unwrap_or(usize::MAX);
                    found.limit = (limit > 0).then_some(limit);
                }
                "continue" if !value.is_empty() => found.token = Some(Token::read(&value)?),
                "watch" => found.watch = flag(&value),
                "allowWatchBookmarks" => found.bookmarks = flag(&value),
                "sendInitialEvents" => found.initial_events = flag(&value),
                "resourceVersion" => found.resource_version = value,
                "resourceVersionMatch" => {
                    found.matching = match value.as_str() {
                        "" => Matching::Unsaid,
                        "Exact" => Matching::Exact,
                        "NotOlderThan" => Matching::NotOlderThan,
                        _ => {
                            let message =
                                format!("resourceVersionMatch: {value:?} is not supported");
                            return Err(Failure::bad_request(message));
                        }
                    }
                }
                "timeoutSeconds" => found.timeout_s = Some(number(&value)?),
                "includeObject" => {
                    found.include = match value.as_str() {
                        "" | "Metadata" => Include::Metadata,
                        "None" => Include::None,
                        "Object" => Include::Object,
                        _ => {
                            let message = format!("unrecognized includeObject value: {value:?}");
                            return Err(Failure::bad_request(message));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The resource version asked for, if it is one: `""` and `"0"` mean any.
    pub(super) fn version(&self) -> Option<&str> {
        Some(self.resource_version.as_str()).filter(|rv| !matches!(*rv, "" | "0"))
    }
}

/// As API servers read them: what is not false is true.
fn flag(text: &str) -> bool {
    !matches!(text.to_ascii_lowercase().as_str(), "0" | "f" | "false")
}

/// Names and values of a query string, decoded.
fn pairs(query: &str) -> Result<Vec<(String, String)>, Failure> {
    let bad = || Failure::bad_request("the query string can't be read");
    let uri = format!("/?{query}").parse().map_err(|_| bad())?;
    let Query(pairs) = Query::try_from_uri(&uri).map_err(|_| bad())?;
    Ok(pairs)
}

/// Where a list goes on: its point, its version, and the last object that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    /// Newest record that the list knows.
    #[serde(rename = "k")]
    pub(super) known: Option<u64>,
    /// The point, as [`Point`] writes it; times in nanoseconds.
    #[serde(rename = "p")]
    point: String,
    /// The version that all pieces carry.
    #[serde(rename = "v")]
    pub(super) resource_version: String,
    #[serde(rename = "n")]
    namespace: String,
    #[serde(rename = "o")]
    name: String,
}

impl Token {
    /// The token that goes on behind `last`.
    pub(super) fn behind(
        last: &ListPlace,
        point: &Point,
        known: Option<u64>,
        resource_version: &str,
    ) -> Self {
        let point = match point {
            Point::Observed(time) => format!("@{}", time.0),
            other => other.to_string(),
        };
        Self {
            known,
            point,
            resource_version: resource_version.to_owned(),
            namespace: last.namespace.clone(),
            name: last.name.clone(),
        }
    }

    /// The text that a client sends back.
    pub(super) fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Result<Self, Failure> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| Failure::bad_request("continue: not a token of this server"))
    }

    /// The point of the list.
    pub(super) fn point(&self) -> Result<Point, Failure> {
        let bad = || Failure::bad_request("continue: not a token of this server");
        match self.point.strip_prefix('@') {
            Some(ns) => ns.parse().map(|ns| Point::Observed(Time(ns))).map_err(|_| bad()),
            None => Point::parse(&self.point, Time(0), None).map_err(|_| bad()),
        }
    }

    /// The last object that was sent.
    pub(super) fn last(&self) -> ListPlace {
        ListPlace { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_an_api_server_reads_them() {
        let read = |query| Parameters::read(query).unwrap();
        let found = read(
            "labelSelector=app%3Dweb&limit=500&watch=1&resourceVersion=0&pretty=x&timeoutSeconds=30&allowWatchBookmarks=true",
        );
        assert_eq!((found.labels.as_str(), found.limit, found.watch), ("app=web", Some(500), true));
        assert_eq!((found.version(), found.timeout_s, found.bookmarks), (None, Some(30), true));
        assert!(!read("watch=false").watch);
        assert_eq!(read("resourceVersion=7&resourceVersionMatch=Exact").matching, Matching::Exact);
        for bad in ["limit=x", "continue=x", "resourceVersionMatch=x", "includeObject=x"] {
            Parameters::read(bad).unwrap_err();
        }
    }

    #[test]
    fn tokens_come_back_as_they_went() {
        let place = ListPlace { namespace: "a".to_owned(), name: "b".to_owned() };
        for point in [
            Point::Now,
            Point::Observed(Time(1_795_403_529_123_456_789)),
            Point::Observed(Time(5)),
            Point::Index(7),
            Point::ResourceVersion("12".to_owned()),
        ] {
            let token = Token::behind(&place, &point, Some(9), "12");
            let again = Token::read(&token.write()).unwrap();
            assert_eq!(again, token);
            assert_eq!(again.point().unwrap(), point);
            assert_eq!(again.last(), place);
        }
    }
}
