//! One process of the simulation: a writer and a packer over its own handle of the store, and a
//! clock that is wrong in its own way.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stele_ledger::{Answer, LedgerCore, Packer};
use stele_record::Submission;
use stele_store::{Clock, ManualClock, UnixNanos};

use crate::store::Handle;

/// A submission on its way, and who sent it.
pub(crate) struct Sent {
    pub(crate) client: usize,
    pub(crate) submission: Submission,
    pub(crate) answer: Answer,
}

/// A process that runs. Writer and packer are taken out while they are at work.
pub(crate) struct Running {
    pub(crate) handle: Arc<Handle>,
    pub(crate) core: LedgerCore,
    pub(crate) sent: Vec<Sent>,
    /// It waits until this moment.
    pub(crate) waits_until: Duration,
}

/// The packer of a process that runs.
pub(crate) struct Packing {
    pub(crate) handle: Arc<Handle>,
    pub(crate) packer: Packer,
}

/// What stands for a process.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) writer: Writer,
    pub(crate) packer: Option<Packing>,
}

/// The writer of a process.
#[derive(Default)]
pub(crate) enum Writer {
    /// The process is not running.
    #[default]
    Ended,
    /// It is in a call of the store.
    Busy,
    Waiting(Box<Running>),
}

/// A clock that runs evenly with all others, but shows another time of day.
#[derive(Debug)]
pub(crate) struct SkewedClock {
    pub(crate) even: Arc<ManualClock>,
    pub(crate) skew_ns: AtomicI64,
}

impl Clock for SkewedClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.even.now().0.saturating_add(self.skew_ns.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        self.even.monotonic()
    }
}
