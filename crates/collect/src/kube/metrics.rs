//! Counters of a recorder, plain numbers for whoever publishes them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// What a recorder has done and how it fares. All counters start at 0 with the process.
#[derive(Debug, Default)]
pub struct RecorderMetrics {
    /// List pages and watch lines recorded.
    pub frames: AtomicU64,
    /// Their bytes as the server sent them.
    pub bytes: AtomicU64,
    /// Lists completed.
    pub lists: AtomicU64,
    /// Watches opened.
    pub watches: AtomicU64,
    /// Requests that failed.
    pub failures: AtomicU64,
    /// Gap records written.
    pub gaps: AtomicU64,
    /// Resource types followed now.
    pub streams: AtomicU64,
    /// Resource types followed, but blind at the moment.
    pub streams_blind: AtomicU64,
    /// Whether the API server answered the last request.
    pub connected: AtomicBool,
    /// When the last frame came, in nanoseconds since the Unix epoch; 0 before the first. The age
    /// of this is the recorder's lag: a server with bookmarks sends something about every minute.
    pub last_frame_ns: AtomicI64,
}

impl RecorderMetrics {
    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
