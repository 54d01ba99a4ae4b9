//! The columns of tables, as people know them from kubectl: what an API server of Kubernetes 1.36
//! prints for its own types, and what a CustomResourceDefinition asks for.
//!
//! Ages are relative to the time that was asked for, never to the time of asking. A type without a
//! table of its own shows its name, and when it was created.
//!
//! Invariant: a cell is made of nothing but the members that [`Columns::mask`] wants.

mod admission;
mod age;
mod cluster;
mod custom;
mod network;
mod path;
mod pods;
mod storage;
mod workloads;

use serde_json::{Value, json};
use stele_record::kube::builtin_kind;
use stele_state::pick::Mask;

pub use age::{age, duration, parse_rfc3339};
use custom::CustomColumn;

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    title: String,
    data_type: &'static str,
    priority: i64,
    show: Show,
}

#[derive(Debug, Clone)]
enum Show {
    BuiltIn(fn(&Object<'_>) -> Value),
    Custom(CustomColumn),
}

impl Column {
    /// The title as an API server gives it; kubectl prints it in capitals.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether it shows only with `-o wide`.
    pub const fn is_wide(&self) -> bool {
        self.priority > 0
    }

    /// The cell for `object`: text, number, truth value, or nothing.
    pub fn cell(&self, object: &Object<'_>) -> Value {
        match &self.show {
            Show::BuiltIn(cell) => cell(object),
            Show::Custom(column) => column.cell(object),
        }
    }

    /// What the column is, in the words of a `Table`.
    pub fn definition(&self) -> Value {
        let format = if self.title == "Name" { "name" } else { "" };
        json!({
            "name": self.title,
            "type": self.data_type,
            "format": format,
            "description": "",
            "priority": self.priority,
        })
    }
}

/// The columns of a type.
#[derive(Debug, Clone)]
pub struct Columns {
    all: Vec<Column>,
    mask: Mask,
}

impl Columns {
    /// The columns of a type of Kubernetes itself, or the usual ones.
    pub fn of(group: &str, kind: &str) -> Self {
        let table = tables().find(|table| table.0 == group && table.1 == kind);
        let (shown, paths) = match table {
            Some(table) => (table.2, table.3),
            None if builtin_kind(group, kind).is_some() => (USUAL, [].as_slice()),
            None => return Self::custom(&[]),
        };
        let all = shown
            .iter()
            .map(|&(title, data_type, priority, cell)| Column {
                title: title.to_owned(),
                data_type,
                priority,
                show: Show::BuiltIn(cell),
            })
            .collect();
        let mut mask = usual_mask();
        for path in paths {
            mask.add(&path.split('.').collect::<Vec<_>>());
        }
        Self { all, mask }
    }

    /// The columns that a version of a CustomResourceDefinition asks for
    /// (`additionalPrinterColumns`); without any, the age.
    pub fn custom(columns: &[Value]) -> Self {
        let age =
            [json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})];
        let columns = if columns.is_empty() { age.as_slice() } else { columns };
        let mut mask = usual_mask();
        let mut all = vec![Column {
            title: "Name".to_owned(),
            data_type: "string",
            priority: 0,
            show: Show::BuiltIn(|o| o.name().into()),
        }];
        for column in columns {
            let shown = CustomColumn::read(column);
            shown.want(&mut mask);
            all.push(Column {
                title: column["name"].as_str().unwrap_or_default().to_owned(),
                data_type: shown.data_type(),
                priority: column["priority"].as_i64().unwrap_or(0),
                show: Show::Custom(shown),
            });
        }
        Self { all, mask }
    }

    /// All columns.
    pub fn iter(&self) -> std::slice::Iter<'_, Column> {
        self.all.iter()
    }

    /// What of an object has to be read for its cells.
    pub const fn mask(&self) -> &Mask {
        &self.mask
    }
}

impl<'a> IntoIterator for &'a Columns {
    type Item = &'a Column;
    type IntoIter = std::slice::Iter<'a, Column>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}

fn usual_mask() -> Mask {
    Mask::of([
        ["metadata", "name"].as_slice(),
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "deletionTimestamp"],
    ])
}

/// An object and the time at which it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    value: &'a Value,
    now_ns: i64,
}

impl<'a> Object<'a> {
    /// `value` as of `now_ns`.
    pub const fn new(value: &'a Value, now_ns: i64) -> Self {
        Self { value, now_ns }
    }

    /// `metadata.name`.
    pub fn name(&self) -> String {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`, empty for an object of the whole cluster.
    pub fn namespace(&self) -> String {
        self.text("/metadata/namespace")
    }

    /// What is at a path: a JSON pointer (RFC 6901) without escapes, which no column needs and which
    /// would cost a copy of each part.
    fn at(&self, pointer: &str) -> &'a Value {
        let mut parts = pointer.split('/').skip(1);
        let found = parts.try_fold(self.value, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            value => value.get(part),
        });
        found.unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> String {
        scalar(self.at(pointer))
    }

    /// The text, or this if there is none.
    fn text_or(&self, pointer: &str, none: &str) -> Value {
        let text = self.text(pointer);
        if text.is_empty() { none.into() } else { text.into() }
    }

    fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or(0)
    }

    fn flag(&self, pointer: &str) -> bool {
        self.at(pointer) == true
    }

    fn list(&self, pointer: &str) -> &'a [Value] {
        self.at(pointer).as_array().map_or(&[], Vec::as_slice)
    }

    fn keys(&self, pointer: &str) -> usize {
        self.at(pointer).as_object().map_or(0, serde_json::Map::len)
    }

    fn is_being_deleted(&self) -> bool {
        self.at("/metadata/deletionTimestamp").is_string()
    }

    fn age(&self, pointer: &str) -> String {
        match self.at(pointer).as_str().and_then(parse_rfc3339) {
            Some(then) => age(then, self.now_ns),
            None => UNKNOWN.to_owned(),
        }
    }
}

const NONE: &str = "<none>";
const UNSET: &str = "<unset>";
const UNKNOWN: &str = "<unknown>";

/// Title, data type, priority, cell.
type Row = (&'static str, &'static str, i64, fn(&Object<'_>) -> Value);

/// Group, kind, columns, and what of the object they need besides the usual.
type Table = (&'static str, &'static str, &'static [Row], &'static [&'static str]);

const fn text(title: &'static str, cell: fn(&Object<'_>) -> Value) -> Row {
    (title, "string", 0, cell)
}

const fn wide(title: &'static str, cell: fn(&Object<'_>) -> Value) -> Row {
    (title, "string", 1, cell)
}

const fn integer(title: &'static str, cell: fn(&Object<'_>) -> Value) -> Row {
    (title, "integer", 0, cell)
}

const fn boolean(title: &'static str, cell: fn(&Object<'_>) -> Value) -> Row {
    (title, "boolean", 0, cell)
}

const NAME: Row = text("Name", |o| o.name().into());
const AGE: Row = text("Age", |o| o.age("/metadata/creationTimestamp").into());

/// The columns of types of Kubernetes itself that have none of their own.
const USUAL: &[Row] = &[NAME, text("Created At", |o| o.text("/metadata/creationTimestamp").into())];

fn tables() -> impl Iterator<Item = &'static Table> {
    [pods::TABLES, workloads::TABLES, network::TABLES, storage::TABLES, cluster::TABLES]
        .into_iter()
        .chain([admission::TABLES])
        .flatten()
}

/// Text of a JSON scalar; empty for anything else.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// `key=value,…` of a map, sorted.
fn labels(map: &Value) -> Value {
    match map.as_object() {
        Some(map) if !map.is_empty() => {
            let pairs = map.iter().map(|(k, v)| format!("{k}={}", scalar(v)));
            pairs.collect::<Vec<_>>().join(",").into()
        }
        _ => NONE.into(),
    }
}

/// A label selector of `matchLabels` and `matchExpressions`, sorted by key; may be empty.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", scalar(value))));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = scalar(&expression["key"]);
        let mut values: Vec<String> =
            expression["values"].as_array().into_iter().flatten().map(scalar).collect();
        values.sort();
        let values = values.join(",");
        let text = match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("Exists") => key.clone(),
            Some("DoesNotExist") => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key, text));
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// The same, with a word where it selects everything.
fn selector_or_none(object: &Value) -> Value {
    let text = selector(object);
    if text.is_empty() { NONE.into() } else { text.into() }
}

/// The first three, and how many more there are.
fn first_three(all: &[String]) -> String {
    match all.len() {
        0 => UNSET.to_owned(),
        1..=3 => all.join(","),
        more => format!("{} + {} more...", all[..3].join(","), more - 3),
    }
}

/// Texts of a list, joined.
fn joined(list: &[Value], by: &str) -> String {
    list.iter().map(scalar).collect::<Vec<_>>().join(by)
}

#[cfg(test)]
mod tests;
