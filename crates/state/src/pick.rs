//! Reading a few members of a JSON document and passing over the rest, which is most of it.
//!
//! Not here: documents that are read whole ([`crate::json`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Which members of a document are wanted. Arrays are passed through: what is wanted of an array
/// is wanted of each of its items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// Everything below.
    whole: bool,
    members: BTreeMap<String, Self>,
}

impl Mask {
    /// The members at these paths, each with all that is below it. A path is made of the names of
    /// members.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p [&'p str]>) -> Self {
        let mut mask = Self::default();
        for path in paths {
            mask.add(path);
        }
        mask
    }

    /// The whole document.
    pub fn whole() -> Self {
        Self { whole: true, members: BTreeMap::new() }
    }

    /// Wants the member at one more path; the empty path is the whole document.
    pub fn add(&mut self, path: &[&str]) {
        let mut at = self;
        for name in path {
            at = at.members.entry((*name).to_owned()).or_default();
        }
        at.whole = true;
    }

    /// Reads what is wanted of a document; `null` where it is no JSON.
    pub fn read(&self, text: &str) -> Value {
        let mut reader = serde_json::Deserializer::from_str(text);
        self.deserialize(&mut reader).unwrap_or(Value::Null)
    }
}

impl<'de> DeserializeSeed<'de> for &Mask {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        if self.whole {
            return serde::Deserialize::deserialize(input);
        }
        input.deserialize_any(Picker(self))
    }
}

struct Picker<'m>(&'m Mask);

impl<'de> Visitor<'de> for Picker<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(Name(name)) = input.next_key::<Name<'de>>()? {
            match self.0.members.get(name.as_ref()) {
                Some(wanted) => {
                    let value = input.next_value_seed(wanted)?;
                    found.insert(name.into_owned(), value);
                }
                None => {
                    input.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = input.next_element_seed(self.0)? {
            found.push(item);
        }
        Ok(Value::Array(found))
    }

    // A scalar stands where members were wanted: it has none.
    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        input.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_the_rest_passed_over() {
        let text = r#"{"metadata":{"name":"a","managedFields":[{"x":1}],"labels":{"k":"v"}},
            "spec":{"containers":[{"name":"c","image":"i","env":[1]},{"name":"d"}],"nodeName":"n"},
            "status":7}"#;
        let mask = Mask::of([
            ["metadata", "name"].as_slice(),
            &["metadata", "labels"],
            &["spec", "containers", "name"],
            &["status", "phase"],
        ]);
        assert_eq!(
            mask.read(text),
            json!({"metadata": {"name": "a", "labels": {"k": "v"}},
                   "spec": {"containers": [{"name": "c"}, {"name": "d"}]}, "status": null})
        );
        assert_eq!(mask.read("{"), Value::Null);
        assert_eq!(Mask::whole().read("[1]"), json!([1]));
        assert_eq!(Mask::default().read(text), json!({}));
    }
}
