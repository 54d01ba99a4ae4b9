//! What long-running commands log: text on a terminal, JSON elsewhere, always on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// What is logged unless `STELE_LOG` says otherwise.
const DEFAULT: &str = "warn";

/// Starts logging. A second call changes nothing.
pub(crate) fn start() {
    let wanted = std::env::var("STELE_LOG").ok().filter(|text| !text.is_empty());
    let filter = EnvFilter::builder().parse_lossy(wanted.as_deref().unwrap_or(DEFAULT));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error means that logging was started already.
    let _ = if io::stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().try_init()
    };
}
