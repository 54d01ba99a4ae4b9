//! Output formats: what `-o` takes, and how JSON, JSON lines and YAML are printed.

use clap::ValueEnum;
use serde::Serialize;

use crate::error::CliError;
use crate::ui::Ui;

/// Formats for lists of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// TYPE/NAME, one a line.
    Name,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// One YAML document.
    Yaml,
}

/// Formats for everything that has no columns of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Plain {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// One YAML document.
    Yaml,
}

/// Prints a JSON document, indented.
///
/// # Errors
/// When standard output can't be written.
pub(crate) fn json(ui: &Ui, value: &impl Serialize) -> Result<(), CliError> {
    ui.line(&serde_json::to_string_pretty(value).map_err(unprintable)?)
}

/// Prints one JSON object on one line.
///
/// # Errors
/// When standard output can't be written.
pub(crate) fn json_line(ui: &Ui, value: &impl Serialize) -> Result<(), CliError> {
    ui.line(&serde_json::to_string(value).map_err(unprintable)?)
}

/// Prints a YAML document.
///
/// # Errors
/// When standard output can't be written.
pub(crate) fn yaml(ui: &Ui, value: &impl Serialize) -> Result<(), CliError> {
    ui.raw(yaml_text(value)?.as_bytes())
}

/// A YAML document.
///
/// # Errors
/// When the value has no form in YAML.
pub(crate) fn yaml_text(value: &impl Serialize) -> Result<String, CliError> {
    // By way of a JSON value: raw JSON inside a typed answer has no YAML form of its own.
    let value = serde_json::to_value(value).map_err(unprintable)?;
    serde_saphyr::to_string(&value).map_err(unprintable)
}

fn unprintable(error: impl std::fmt::Display) -> CliError {
    CliError::failed(format!("the answer can't be printed in this format: {error}"))
}
