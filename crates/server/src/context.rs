//! What every route works with.

use std::sync::Arc;

use stele_ledger::Ledger;
use stele_ledger::cosigning::Cosigning;
use stele_merkle::LeafIndex;
use stele_store::Clock;
use tokio::sync::{Semaphore, watch};

use crate::api::LedgerPosition;
use crate::append::Appender;
use crate::auth::Tokens;
use crate::body::BodyRoom;
use crate::limits::{
    BATCHES_AT_ONCE_MAX, EXPORTS_AT_ONCE_MAX, KUBE_LISTS_AT_ONCE_MAX, WATCHERS_MAX,
};
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::views::Views;

/// Shared by all requests.
pub(crate) struct Context {
    pub(crate) ledger: Ledger,
    pub(crate) views: Views,
    /// The newest changes, for subscriptions.
    pub(crate) recent: Recent,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cosigning: Option<Arc<Cosigning>>,
    pub(crate) tokens: Tokens,
    pub(crate) appender: Option<Appender>,
    pub(crate) public_tiles: bool,
    pub(crate) minimum_index: LeafIndex,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bodies: BodyRoom,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) batches: Arc<Semaphore>,
    /// Lists of the Kubernetes API, each of which reads on a thread while it is sent.
    pub(crate) lists: Arc<Semaphore>,
    /// Becomes true when the server is told to stop; streams end then.
    pub(crate) stop: watch::Receiver<bool>,
}

/// A handle to the context, as routes get it.
pub(crate) type App = Arc<Context>;

/// Room for exports, subscriptions, batches of look-ups, and lists.
pub(crate) fn semaphores() -> [Arc<Semaphore>; 4] {
    [EXPORTS_AT_ONCE_MAX, WATCHERS_MAX, BATCHES_AT_ONCE_MAX, KUBE_LISTS_AT_ONCE_MAX]
        .map(|most| Arc::new(Semaphore::new(most)))
}

impl Context {
    /// Where in the log an answer stands whose newest record is `index`.
    pub(crate) fn position(&self, index: Option<u64>) -> LedgerPosition {
        let checkpoint = self.ledger.checkpoint();
        LedgerPosition {
            origin: self.ledger.origin().to_owned(),
            index,
            checkpoint: checkpoint.size.0,
            root: checkpoint.root.to_string(),
        }
    }

    /// The time by the server's clock, in nanoseconds since the Unix epoch.
    pub(crate) fn now_ns(&self) -> i64 {
        self.clock.now().0
    }
}
