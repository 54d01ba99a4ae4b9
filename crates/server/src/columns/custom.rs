//! A column that a CustomResourceDefinition asks for.

use serde_json::Value;
use stele_state::pick::Mask;

use super::path::Path;
use super::{Object, age, parse_rfc3339, scalar};

/// A path, and what is to be made of what it finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CustomColumn {
    path: Option<Path>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Date,
}

impl CustomColumn {
    /// Reads an entry of `additionalPrinterColumns`.
    pub(super) fn read(column: &Value) -> Self {
        let kind = match column["type"].as_str() {
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            Some("date") => Kind::Date,
            _ => Kind::Text,
        };
        let path = column["jsonPath"].as_str().or_else(|| column["JSONPath"].as_str());
        Self { path: path.and_then(Path::parse), kind }
    }

    /// Its type, in the words of a `Table`.
    pub(super) const fn data_type(&self) -> &'static str {
        match self.kind {
            Kind::Text => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Date => "date",
        }
    }

    /// Says what of an object it needs.
    pub(super) fn want(&self, mask: &mut Mask) {
        if let Some(path) = &self.path {
            mask.add(&path.members());
        }
    }

    /// The cell: nothing where the path finds nothing, or something of another type.
    pub(super) fn cell(&self, object: &Object<'_>) -> Value {
        let found = self.path.as_ref().map(|path| path.find(object.value)).unwrap_or_default();
        let Some(&first) = found.first() else { return Value::Null };
        match self.kind {
            Kind::Text => text(first),
            Kind::Integer => match first {
                Value::Number(number) => whole(number),
                _ => Value::Null,
            },
            Kind::Number | Kind::Boolean => match (self.kind, first) {
                (Kind::Number, Value::Number(_)) | (Kind::Boolean, Value::Bool(_)) => first.clone(),
                _ => Value::Null,
            },
            Kind::Date => match first.as_str() {
                Some(time) => parse_rfc3339(time)
                    .map_or_else(|| "<invalid>".to_owned(), |then| age(then, object.now_ns))
                    .into(),
                None => Value::Null,
            },
        }
    }
}

fn text(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Array(_) | Value::Object(_) => value.to_string().into(),
        _ => scalar(value).into(),
    }
}

fn whole(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(number), _) => number.into(),
        (None, Some(number)) => (number as i64).into(),
        (None, None) => Value::Null,
    }
}
