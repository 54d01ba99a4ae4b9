//! Pauses between tries: doubled each time, with jitter so that many streams do not come back at
//! the same moment.

use std::time::Duration;

use stele_store::random_bytes;

/// The pauses of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins at `first` and grows to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// The pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let pause = jitter(self.next);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    /// The last try succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Between half of `duration` and all of it.
pub(crate) fn jitter(duration: Duration) -> Duration {
    let share = f64::from(u16::from_le_bytes(random_bytes())) / f64::from(u16::MAX);
    duration.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_limit_and_starts_again() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, max);
        assert!(backoff.pause() <= first);
        for _ in 0..20 {
            assert!(backoff.pause() <= max);
        }
        assert!(backoff.pause() >= max / 2);
        backoff.reset();
        assert!(backoff.pause() <= first);
    }
}
