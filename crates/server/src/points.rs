//! Points in time, as parameters name them.

use stele_state::{Point, Time};

use crate::context::Context;
use crate::error::ApiError;

/// Reads a point by the server's clock. A time without a zone is refused: the server can't know
/// the caller's.
pub(crate) fn parse(app: &Context, text: &str) -> Result<Point, ApiError> {
    Point::parse(text, Time(app.now_ns()), None).map_err(|error| {
        let failed = ApiError::invalid(error.message);
        if error.hint.is_empty() { failed } else { failed.hint(error.hint) }
    })
}
