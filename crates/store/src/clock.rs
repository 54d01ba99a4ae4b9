//! The clock. Every other crate takes the time from here, so that a test can say what time it is.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, UTC, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// The same instant moved by `duration` into the future; stops at the last one there is.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Whole seconds since the epoch, 0 for instants before it.
    pub fn unix_seconds(self) -> u64 {
        u64::try_from(self.0.div_euclid(1_000_000_000)).unwrap_or(0)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time of day. It may jump in either direction.
    fn now(&self) -> UnixNanos;

    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The system's clock; its monotonic time counts from here.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    fn now(&self) -> UnixNanos {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => UnixNanos(nanos(since)),
            Err(before) => UnixNanos(-nanos(before.duration())),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is told otherwise.
pub struct ManualClock {
    state: Mutex<(UnixNanos, Duration)>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: UnixNanos) -> Self {
        Self { state: Mutex::new((now, Duration::ZERO)) }
    }

    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.lock();
        state.0 = state.0.after(duration);
        state.1 = state.1.saturating_add(duration);
    }

    /// Sets the time of day; the monotonic time stays.
    pub fn set(&self, now: UnixNanos) {
        self.lock().0 = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (UnixNanos, Duration)> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = *self.lock();
        f.debug_struct("ManualClock").field("now", &state.0).field("monotonic", &state.1).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixNanos {
        self.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(UnixNanos(5));
        clock.advance(Duration::from_nanos(7));
        assert_eq!((clock.now(), clock.monotonic()), (UnixNanos(12), Duration::from_nanos(7)));
        clock.set(UnixNanos(-1));
        assert_eq!((clock.now(), clock.monotonic()), (UnixNanos(-1), Duration::from_nanos(7)));
        assert_eq!(clock.now().unix_seconds(), 0);
    }

    #[test]
    fn system_clock_is_past_2020_and_does_not_go_back() {
        let clock = SystemClock::new();
        assert!(clock.now().unix_seconds() > 1_577_836_800);
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
    }
}
