//! JSON without losses: a small parser that keeps numbers as they are written, the canonical form
//! of a document, and the paths in which two documents differ.
//!
//! Canonical form: object keys sorted by code point, no white space, UTF-8 without escapes but the
//! required ones, numbers as written. It does not depend on features of another JSON library.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Deepest nesting that is read. Kubernetes itself stops at 10,000 levels; real objects have
/// fewer than 30, CustomResourceDefinitions fewer than 100.
pub const DEPTH_MAX: usize = 256;

/// Why bytes are no JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no JSON at byte {at}: {what}")]
pub struct JsonError {
    /// Where.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// A JSON value. Numbers are kept as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it is written.
    Number(&'a str),
    /// Text.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object, sorted by key; of equal keys the last one counts.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    /// Reads a document.
    ///
    /// # Errors
    /// [`JsonError`] names the place.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.space();
        if parser.at == text.len() { Ok(value) } else { Err(parser.error("something follows")) }
    }

    /// The member `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok().map(|at| &members[at].1)
    }

    /// Leaves out the member `key`, if this is an object.
    pub fn remove(&mut self, key: &str) {
        if let Self::Object(members) = self {
            members.retain(|(k, _)| k != key);
        }
    }

    /// The canonical form.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(text) => out.push_str(text),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                out.push('[');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (number, (key, value)) in members.iter().enumerate() {
                    if number > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// The canonical form of a document.
///
/// # Errors
/// [`JsonError`] if it is none.
pub fn canonical(text: &str) -> Result<String, JsonError> {
    Json::parse(text).map(|json| json.canonical())
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What happened to a path between two documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathChange {
    /// JSON pointer (RFC 6901), for example `/spec/replicas`.
    pub path: String,
    /// Canonical JSON before; `None` if the path was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Canonical JSON after; `None` if the path is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The smallest set of paths in which two documents differ, in their order. Arrays are compared
/// place by place.
///
/// # Errors
/// [`JsonError`] if one of them is no JSON.
pub fn changed_paths(before: &str, after: &str) -> Result<Vec<PathChange>, JsonError> {
    let mut changes = Vec::new();
    differ(&Json::parse(before)?, &Json::parse(after)?, &mut String::new(), &mut changes);
    Ok(changes)
}

fn differ(a: &Json<'_>, b: &Json<'_>, path: &mut String, changes: &mut Vec<PathChange>) {
    match (a, b) {
        (Json::Object(a), Json::Object(b)) => {
            let mut keys: Vec<&Cow<'_, str>> = a.iter().chain(b).map(|(key, _)| key).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let of = |members: &[(Cow<'_, str>, _)]| {
                    members.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()
                };
                let step = key.replace('~', "~0").replace('/', "~1");
                let pair = (of(a).map(|at| &a[at].1), of(b).map(|at| &b[at].1));
                differ_at(pair, &step, path, changes);
            }
        }
        (Json::Array(a), Json::Array(b)) => {
            for place in 0..a.len().max(b.len()) {
                differ_at((a.get(place), b.get(place)), &place.to_string(), path, changes);
            }
        }
        _ if a == b => {}
        _ => changes.push(PathChange {
            path: path.clone(),
            before: Some(a.canonical()),
            after: Some(b.canonical()),
        }),
    }
}

fn differ_at(
    pair: (Option<&Json<'_>>, Option<&Json<'_>>),
    step: &str,
    path: &mut String,
    changes: &mut Vec<PathChange>,
) {
    let len = path.len();
    path.push('/');
    path.push_str(step);
    match pair {
        (Some(a), Some(b)) => differ(a, b, path, changes),
        (a, b) => changes.push(PathChange {
            path: path.clone(),
            before: a.map(Json::canonical),
            after: b.map(Json::canonical),
        }),
    }
    path.truncate(len);
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        if depth > DEPTH_MAX {
            return Err(self.error("nested too deeply"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Json<'a>, JsonError> {
        let rest = &self.text[self.at..];
        for (word, value) in
            [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.error("expected a value"))
    }

    fn number(&mut self) -> Result<Json<'a>, JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        if serde_json::from_str::<serde_json::Number>(text).is_err() {
            return Err(JsonError { at: start, what: "no number" });
        }
        Ok(Json::Number(text))
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(self.error("expected , or ]"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key"));
            }
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.error("expected :"));
            }
            members.push((key, self.value(depth + 1)?));
            if self.take(b'}') {
                break;
            }
            if !self.take(b',') {
                return Err(self.error("expected , or }"));
            }
        }
        // Stable: of equal keys the last one stays last, and is the one to be kept.
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.reverse();
        members.dedup_by(|a, b| a.0 == b.0);
        members.reverse();
        Ok(Json::Object(members))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        let mut escaped = false;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                Some(0..=0x1f) => return Err(JsonError { at: end, what: "control character" }),
                Some(_) => end += 1,
                None => return Err(JsonError { at: start, what: "text without end" }),
            }
        }
        self.at = end + 1;
        if !escaped {
            return Ok(Cow::Borrowed(&self.text[start + 1..end]));
        }
        serde_json::from_str::<String>(&self.text[start..=end])
            .map(Cow::Owned)
            .map_err(|_| JsonError { at: start, what: "bad escape" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form() {
        let text = "{ \"b\": [1, 2.50, 1e3, 12345678901234567890123], \"a\\u0041\":\"\\u003c\\u00e9\
                    \\n\\/\", \"é\": {}, \"A\": null, \"A\": true}";
        let expected =
            "{\"A\":true,\"aA\":\"<é\\n/\",\"b\":[1,2.50,1e3,12345678901234567890123],\"é\":{}}";
        assert_eq!(canonical(text).unwrap(), expected);
        assert_eq!(canonical(expected).unwrap(), expected);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":}",
            "{\"a\" 1}",
            "nul",
            "\"a",
            "01",
            "-",
            "1 2",
            "\"\\x\"",
            "\"\\ud800\"",
            "[1 2]",
            "\"a\\",
            "{\"a\":1,}",
        ] {
            Json::parse(bad).unwrap_err();
        }
        let deep = "[".repeat(100_000);
        Json::parse(&deep).unwrap_err();
    }

    #[test]
    fn paths() {
        let before = r#"{"a":{"b":1,"c/d":[1,2]},"e":"x"}"#;
        let after = r#"{"a":{"b":2,"c/d":[1,3,4]},"f":null}"#;
        let changes = changed_paths(before, after).unwrap();
        let short: Vec<_> = changes
            .iter()
            .map(|c| (c.path.as_str(), c.before.as_deref(), c.after.as_deref()))
            .collect();
        assert_eq!(
            short,
            [
                ("/a/b", Some("1"), Some("2")),
                ("/a/c~1d/1", Some("2"), Some("3")),
                ("/a/c~1d/2", None, Some("4")),
                ("/e", Some("\"x\""), None),
                ("/f", None, Some("null")),
            ]
        );
        assert!(changed_paths(before, before).unwrap().is_empty());
    }
}
