//! An object in the form that was asked for.

use serde_json::Value;
use stele_state::query::{Held, Seen};

use super::accept::Form;
use super::params::Include;
use super::splice;
use crate::columns::{Columns, Object};

/// How objects are shown.
pub(super) struct Show {
    pub(super) form: Form,
    pub(super) include: Include,
    pub(super) columns: Columns,
    /// The time that ages count from, in nanoseconds since the Unix epoch.
    pub(super) now_ns: i64,
}

/// A recorded object, from wherever it comes.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) body: &'a str,
    /// Values were replaced by digests.
    pub(super) redacted: bool,
}

impl<'a> From<&'a Seen> for Item<'a> {
    fn from(seen: &'a Seen) -> Self {
        Self { body: &seen.body, redacted: seen.redacted }
    }
}

impl<'a> From<&'a Held> for Item<'a> {
    fn from(held: &'a Held) -> Self {
        Self { body: &held.body, redacted: held.redacted }
    }
}

impl Show {
    /// Writes an object, or its row of a table.
    pub(super) fn write(&self, item: Item<'_>, out: &mut Vec<u8>) {
        match self.form {
            Form::Whole => write_whole(item, out),
            Form::Metadata => write_metadata(item.body, out),
            Form::Table => self.write_row(item, out),
        }
    }

    fn write_row(&self, item: Item<'_>, out: &mut Vec<u8>) {
        let value = self.columns.mask().read(item.body);
        let object = Object::new(&value, self.now_ns);
        let cells: Vec<Value> = self.columns.iter().map(|column| column.cell(&object)).collect();
        out.extend_from_slice(b"{\"cells\":");
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(&mut *out, &cells);
        match self.include {
            Include::None => {}
            Include::Metadata => {
                out.extend_from_slice(b",\"object\":");
                write_metadata(item.body, out);
            }
            Include::Object => {
                out.extend_from_slice(b",\"object\":");
                write_whole(item, out);
            }
        }
        out.push(b'}');
    }

    /// What stands before the rows of a table.
    pub(super) fn definitions(&self) -> String {
        Value::Array(self.columns.iter().map(|column| column.definition()).collect()).to_string()
    }
}

fn write_whole(item: Item<'_>, out: &mut Vec<u8>) {
    if item.redacted {
        out.extend_from_slice(splice::digests_as_base64(item.body).as_bytes());
    } else {
        out.extend_from_slice(item.body.as_bytes());
    }
}

fn write_metadata(body: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
    );
    out.extend_from_slice(splice::metadata(body).as_bytes());
    out.push(b'}');
}
