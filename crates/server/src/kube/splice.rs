//! Taking parts out of the JSON of an object, and putting others in, without reading the rest.
//!
//! Invariant: every byte that is not replaced is passed on as it was recorded.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The value of a member of an object, as it is written; what stands behind it is not looked at.
pub(super) fn member<'d>(object: &'d str, name: &str) -> Option<&'d str> {
    let found = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_str(object);
    // The visitor breaks off where it has what it wants.
    let _ = reader.deserialize_map(Finder { name, found: &found });
    found.get()
}

struct Finder<'n, 'd> {
    name: &'n str,
    found: &'n Cell<Option<&'d str>>,
}

impl<'d> Visitor<'d> for Finder<'_, 'd> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'d, str>>()? {
            if name == self.name {
                let value: &'d RawValue = members.next_value()?;
                self.found.set(Some(value.get()));
                return Err(serde::de::Error::custom("found"));
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// An object's metadata; empty where it has none.
pub(super) fn metadata(body: &str) -> &str {
    member(body, "metadata").unwrap_or("{}")
}

/// The object with another resource version.
pub(super) fn with_version<'b>(body: &'b str, resource_version: &str) -> Cow<'b, str> {
    let held = member(body, "metadata").and_then(|metadata| member(metadata, "resourceVersion"));
    let Some(held) = held else { return Cow::Borrowed(body) };
    let wanted = text(resource_version);
    if held == wanted {
        return Cow::Borrowed(body);
    }
    Cow::Owned(replaced(body, held, &wanted))
}

/// `part`, which lies within `whole`, replaced.
fn replaced(whole: &str, part: &str, by: &str) -> String {
    let begin = part.as_ptr() as usize - whole.as_ptr() as usize;
    let mut out = String::with_capacity(whole.len() - part.len() + by.len());
    out.push_str(&whole[..begin]);
    out.push_str(by);
    out.push_str(&whole[begin + part.len()..]);
    out
}

/// A Secret whose values were replaced by digests before it was recorded: the digests are put in as
/// the base64 that clients expect there.
pub(super) fn digests_as_base64(body: &str) -> Cow<'_, str> {
    let Some(data) = member(body, "data") else { return Cow::Borrowed(body) };
    let Ok(serde_json::Value::Object(mut values)) = serde_json::from_str(data) else {
        return Cow::Borrowed(body);
    };
    for value in values.values_mut() {
        if let serde_json::Value::String(digest) = value {
            *digest = STANDARD.encode(&digest);
        }
    }
    Cow::Owned(replaced(body, data, &serde_json::Value::Object(values).to_string()))
}

/// A JSON text.
pub(super) fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_and_replaced_and_the_rest_stays() {
        let body =
            r#"{ "kind":"Pod", "metadata" : {"name":"a","resourceVersion" : "7" }, "x":[1.50]}"#;
        assert_eq!(metadata(body), r#"{"name":"a","resourceVersion" : "7" }"#);
        assert_eq!(member(body, "x"), Some("[1.50]"));
        assert_eq!(member(body, "y"), None);
        assert_eq!(with_version(body, "7"), body);
        assert_eq!(with_version(body, "12"), body.replace("\"7\"", "\"12\""));
        assert_eq!(with_version("{}", "12"), "{}");
        let secret = r#"{"kind":"Secret","data":{"a":"stele-digest:v1:x"},"type":"Opaque"}"#;
        let shown = digests_as_base64(secret);
        assert_eq!(
            shown,
            r#"{"kind":"Secret","data":{"a":"c3RlbGUtZGlnZXN0OnYxOng="},"type":"Opaque"}"#
        );
    }
}
