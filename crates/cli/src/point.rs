//! Points in time from the command line: checked here, so that a time without a zone is a usage
//! error with a hint before anything is asked, and sent to the server in a form that can't be
//! misread.

use jiff::tz::TimeZone;
use stele_state::Time;
use stele_state::point::Point;

use crate::app::App;
use crate::error::CliError;

/// The text that names the same point for the server.
///
/// # Errors
/// A usage error that says how to write it.
pub(crate) fn canonical(app: &App, text: &str) -> Result<String, CliError> {
    parse(app, text).map(|point| point.to_string())
}

/// The same, where there may be none.
///
/// # Errors
/// As [`canonical`].
pub(crate) fn optional(app: &App, text: Option<&String>) -> Result<Option<String>, CliError> {
    text.map(|text| canonical(app, text)).transpose()
}

/// Reads a point.
///
/// # Errors
/// As [`canonical`].
pub(crate) fn parse(app: &App, text: &str) -> Result<Point, CliError> {
    Point::parse(text, Time(app.now_ns()), app.time_zone()).map_err(|e| {
        let error = CliError::usage(e.message);
        let error = if e.hint.is_empty() { error } else { error.hint(e.hint) };
        error.hint("`stele help time` lists the forms")
    })
}

/// The zone of `--tz`: an IANA name or an offset.
///
/// # Errors
/// When it is neither.
pub(crate) fn time_zone(text: &str) -> Result<TimeZone, String> {
    if text.eq_ignore_ascii_case("utc") || text == "Z" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(text).map_err(|e| format!("{e}; for example Europe/Berlin or UTC"))
}
