//! Invariants of the ledger, each with an id and one place where it is counted.
//!
//! | id | what holds |
//! |---|---|
//! | L1 | an acknowledged record is in every later checkpoint |
//! | L2 | no two checkpoints of one log contradict each other |
//! | L3 | what was signed can be read back |
//! | L4 | a source's sequence has no hole |
//!
//! A violated invariant panics in development builds. In release builds it is counted and logged;
//! the caller decides whether to go on. The counters are never reset.

use std::sync::atomic::{AtomicU64, Ordering};

/// An invariant's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invariant {
    /// An acknowledged record is in every later checkpoint.
    L1,
    /// No two checkpoints of one log contradict each other.
    L2,
    /// What was signed can be read back.
    L3,
    /// A source's sequence has no hole.
    L4,
}

static VIOLATIONS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

impl Invariant {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::L1, Self::L2, Self::L3, Self::L4];

    /// The id as text.
    pub const fn id(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::L4 => "L4",
        }
    }

    /// How often it was found violated since the process started.
    pub fn violations(self) -> u64 {
        VIOLATIONS[self as usize].load(Ordering::Relaxed)
    }

    /// Counts and logs a violation.
    pub(crate) fn violated(self, what: &str) {
        VIOLATIONS[self as usize].fetch_add(1, Ordering::Relaxed);
        tracing::error!(invariant = self.id(), what, "an invariant does not hold");
        debug_assert!(false, "invariant {} does not hold: {what}", self.id());
    }
}

/// Checks an invariant; evaluates to whether it holds.
macro_rules! invariant {
    ($id:ident, $holds:expr, $($what:tt)+) => {{
        let holds: bool = $holds;
        if !holds {
            $crate::invariant::Invariant::$id.violated(&format!($($what)+));
        }
        holds
    }};
}
pub(crate) use invariant;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "invariant L4")]
    fn a_violation_is_counted_and_stops_a_test() {
        let before = Invariant::L4.violations();
        assert!(invariant!(L4, before == before, "never"));
        invariant!(L4, false, "seq {}", 3);
    }
}
