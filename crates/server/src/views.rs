//! The views follow the ledger: a task folds what comes in, and questions are asked of what is
//! folded.
//!
//! Invariant: a question is answered only from a state that holds everything that was under a
//! checkpoint when it was asked, or everything up to the index it names.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stele_ledger::{Ledger, ReadError};
use stele_state::{FoldRecord, Point, State, StateError};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::blocking::blocking;
use crate::error::ApiError;
use crate::limits::{
    FOLD_BATCH_BYTES_TARGET, FOLD_BATCH_RECORDS_MAX, FOLD_RETRY_PAUSE, FOLD_TOLD_EVERY,
    FOLD_WAIT_MAX, QUERIES_AT_ONCE_MAX,
};
use crate::signal::stopped;

/// A handle on the views.
pub(crate) struct Views {
    state: State,
    following: Arc<AtomicBool>,
    queries: Arc<Semaphore>,
}

/// Why the views can't go on for now.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("the log can't be read: {0}")]
    Ledger(#[from] ReadError),
    #[error("the views can't be advanced: {0}")]
    State(#[from] StateError),
    #[error("the views hold {views} records, the log only {log}: they are of another log")]
    Ahead { views: u64, log: u64 },
    #[error("the fold has panicked")]
    Panicked,
}

impl Views {
    /// Starts to follow the ledger, until `stop` becomes true.
    pub(crate) fn start(
        ledger: Ledger,
        state: State,
        stop: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let following = Arc::new(AtomicBool::new(true));
        let follower = Follower { ledger, state: state.clone(), following: following.clone() };
        let queries = Arc::new(Semaphore::new(QUERIES_AT_ONCE_MAX));
        (Self { state, following, queries }, tokio::spawn(follower.run(stop)))
    }

    /// Number of records that the views have taken in.
    pub(crate) fn next_index(&self) -> u64 {
        self.state.next_index()
    }

    /// Whether the views follow the log.
    pub(crate) fn is_following(&self) -> bool {
        self.following.load(Ordering::Relaxed)
    }

    /// Tells of each new [`Views::next_index`].
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.state.subscribe()
    }

    /// Waits, for a short while, until all is taken in that a question about these points needs.
    pub(crate) async fn ready_for(&self, points: &[&Point], size: u64) -> Result<(), ApiError> {
        let mut needed = 0;
        for point in points {
            needed = needed.max(match point {
                Point::Index(index) if *index >= size => {
                    let message = format!("record {index} is not in the log, which has {size}");
                    return Err(ApiError::not_found(message));
                }
                Point::Index(index) => index + 1,
                _ => size,
            });
        }
        let mut next = self.state.subscribe();
        let reached = next.wait_for(|next| *next >= needed);
        if matches!(timeout(FOLD_WAIT_MAX, reached).await, Ok(Ok(_))) {
            return Ok(());
        }
        let behind = needed.saturating_sub(self.next_index());
        let message = format!("the views are {behind} records behind what the question needs");
        Err(ApiError::unavailable(message, 2))
    }

    /// The state itself, for questions that are answered while it is read.
    pub(crate) fn state(&self) -> State {
        self.state.clone()
    }

    /// Asks a question on a blocking thread.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = timeout(FOLD_WAIT_MAX, self.queries.clone().acquire_owned())
            .await
            .map_err(|_| ApiError::unavailable("too many questions at once", 1))?
            .map_err(ApiError::internal)?;
        let state = self.state.clone();
        let answer = blocking(move || {
            let _permit = permit;
            question(&state)
        });
        answer.await?.map_err(state_error)
    }
}

/// A failure of the state to a caller over HTTP.
pub(crate) fn state_error(error: StateError) -> ApiError {
    let hint = error.hint().to_owned();
    let answer = match &error {
        StateError::NotFound { .. } => ApiError::not_found(error.to_string()),
        StateError::Invalid { .. } => ApiError::invalid(error.to_string()),
        StateError::NotYet { .. } => ApiError::unavailable(error.to_string(), 1),
        _ => return ApiError::internal(error),
    };
    if hint.is_empty() { answer } else { answer.hint(hint) }
}

struct Follower {
    ledger: Ledger,
    state: State,
    following: Arc<AtomicBool>,
}

impl Follower {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = stopped(&mut stop) => {}
            () = self.follow() => {}
        }
        let state = self.state;
        // A batch that is being folded holds the engine; this waits for it.
        if let Ok(Err(error)) = blocking(move || state.sync()).await {
            tracing::warn!(%error, "the views were not made durable; some will be folded again");
        }
    }

    async fn follow(&self) {
        let mut sizes = self.ledger.subscribe();
        loop {
            let size = sizes.borrow_and_update().0;
            match self.catch_up(size).await {
                Ok(()) => {
                    self.following.store(true, Ordering::Relaxed);
                    if sizes.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    self.following.store(false, Ordering::Relaxed);
                    tracing::error!(%error, "the views do not follow the log");
                    sleep(FOLD_RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn catch_up(&self, size: u64) -> Result<(), FollowError> {
        let views = self.state.next_index();
        if views > size {
            return Err(FollowError::Ahead { views, log: size });
        }
        let mut told = Instant::now();
        while self.state.next_index() < size {
            if told.elapsed() >= FOLD_TOLD_EVERY {
                told = Instant::now();
                tracing::info!(taken_in = self.state.next_index(), size, "the views catch up");
            }
            let (ledger, state) = (self.ledger.clone(), self.state.clone());
            blocking(move || fold(&ledger, &state, size))
                .await
                .map_err(|_| FollowError::Panicked)??;
        }
        Ok(())
    }
}

/// Folds one batch.
fn fold(ledger: &Ledger, state: &State, size: u64) -> Result<(), FollowError> {
    let first = state.next_index();
    let end = size.min(first + FOLD_BATCH_RECORDS_MAX);
    let mut records = Vec::with_capacity(usize::try_from(end - first).unwrap_or_default());
    let mut bytes = 0;
    ledger.contents(first..end, &mut |record| {
        bytes += record.payload.as_ref().map_or(0, bytes::Bytes::len);
        records.push(record);
        if bytes < FOLD_BATCH_BYTES_TARGET {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    let batch: Vec<FoldRecord<'_>> = records
        .iter()
        .map(|record| FoldRecord {
            index: record.index.0,
            header: &record.header,
            payload: record.payload.as_deref().unwrap_or_default(),
        })
        .collect();
    state.apply(&batch)?;
    Ok(())
}
