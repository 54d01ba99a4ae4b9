//! One segment in flight: the requests that are to go into it, and what became of each.
//!
//! Invariant: nobody is answered before the segment is durable and signed for, not even those that
//! are refused: what refuses them may be a record of the same segment, and that may lose its number
//! to another process's.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::append::{IndexRun, Prepared};
use crate::batch::{Batch, Gathered};
use crate::{AppendError, Receipt, SignedCheckpoint};

pub(crate) type Reply = oneshot::Sender<Result<Receipt, AppendError>>;

/// A submission on its way to the writer. The permit is given back when it is answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prepared: Prepared,
    pub(crate) reply: Reply,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Entry {
    request: Request,
    outcome: Result<Vec<IndexRun>, AppendError>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Round {
    entries: Vec<Entry>,
    /// Writes of unknown outcome since the log last went on.
    pub(crate) attempts: usize,
}

impl Round {
    /// Adds a request to the round and its records to the batch; `before` is what is still being
    /// written before it.
    pub(crate) fn add(&mut self, batch: &mut Batch, request: Request, before: Option<&Gathered>) {
        let outcome = batch.add(&request.prepared, before);
        self.entries.push(Entry { request, outcome });
    }

    /// Adds the records of all requests to a new batch: the log has gone on, so that some may be
    /// repeats by now, or contradict what is there.
    pub(crate) fn add_again(&mut self, batch: &mut Batch) {
        for Entry { request, outcome } in &mut self.entries {
            *outcome = batch.add(&request.prepared, None);
        }
    }

    /// Takes in what was gathered behind it; [`Round::add_again`] evaluates all of it anew.
    pub(crate) fn join(&mut self, behind: Self) {
        self.entries.extend(behind.entries);
    }

    /// Whether somebody is refused for want of records that another process may have written.
    pub(crate) fn lacks_records(&self) -> bool {
        let mut outcomes = self.entries.iter().map(|entry| &entry.outcome);
        outcomes.any(|outcome| matches!(outcome, Err(AppendError::SequenceHole { .. })))
    }

    /// Whether nobody is refused.
    pub(crate) fn is_known(&self) -> bool {
        self.entries.iter().all(|entry| entry.outcome.is_ok())
    }

    /// Answers everybody; `checkpoint` covers their records.
    pub(crate) fn answer(self, checkpoint: &Arc<SignedCheckpoint>) {
        self.answer_each(|outcome| {
            outcome.map(|runs| Receipt {
                first_index: runs[0].first,
                count: runs.iter().map(|run| run.count).sum(),
                runs,
                checkpoint: Arc::clone(checkpoint),
            })
        });
    }

    /// Tells everybody that the ledger has stopped.
    pub(crate) fn stop(self, why: &str) {
        self.answer_each(|_| Err(AppendError::Stopped(why.to_owned())));
    }

    /// Gives back what the requests hold, then answers: whoever has the answer finds the room.
    fn answer_each(
        mut self,
        answer: impl Fn(Result<Vec<IndexRun>, AppendError>) -> Result<Receipt, AppendError>,
    ) {
        let permits = self.entries.iter_mut().filter_map(|entry| entry.request.permit.take());
        // At once: each would take the lock that new appends take.
        drop(permits.reduce(|mut all, permit| {
            all.merge(permit);
            all
        }));
        for Entry { request, outcome } in self.entries {
            // Nobody may be waiting any more; what the answer says holds all the same.
            let _ = request.reply.send(answer(outcome));
        }
    }
}
