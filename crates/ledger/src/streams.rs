//! What the log holds of each source: where its sequence stands, and where each record is.
//!
//! Only records outside packs are listed one run at a time; for older ones the pack's header is
//! asked (`reader`).

use std::collections::HashMap;

use stele_record::{Boot, ChainHead, Epoch, EpochSecret, Seq, SourceId};

use crate::format::Head;

/// By keys that are digests, or contain one. The hasher is seeded anew in each process: nobody who
/// chooses such keys can foresee which of them meet.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// One boot of one source.
pub(crate) type StreamId = (SourceId, Boot);

/// Where a source stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceHead {
    /// The source's latest boot.
    pub boot: Boot,
    /// The sequence number that comes next.
    pub next_seq: Seq,
    /// Head of the source's chain after the last record.
    pub chain_head: ChainHead,
}

/// Consecutive records at consecutive indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamRun {
    pub(crate) first_seq: Seq,
    pub(crate) first_index: u64,
    pub(crate) count: u64,
}

impl StreamRun {
    pub(crate) fn index_of(&self, seq: Seq) -> Option<u64> {
        let offset = seq.0.checked_sub(self.first_seq.0)?;
        (offset < self.count).then(|| self.first_index + offset)
    }
}

#[derive(Debug)]
struct State {
    next_seq: Seq,
    head: ChainHead,
    runs: Vec<StreamRun>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    states: Map<StreamId, State>,
    latest: Map<SourceId, Boot>,
    /// One secret for each epoch: a second one would leave records that cannot be opened.
    secrets: Map<(SourceId, Epoch), EpochSecret>,
}

impl Streams {
    /// The stream's next sequence number and chain head.
    pub(crate) fn position(&self, stream: &StreamId) -> Option<(Seq, ChainHead)> {
        self.states.get(stream).map(|state| (state.next_seq, state.head))
    }

    /// The secret that the log holds for an epoch of a source.
    pub(crate) fn secret(&self, source: &SourceId, epoch: Epoch) -> Option<&EpochSecret> {
        self.secrets.get(&(*source, epoch))
    }

    /// Takes note of the secrets of a segment or pack.
    pub(crate) fn add_secrets(&mut self, head: &Head) {
        for secret in &head.secrets {
            let id = (head.sources[secret.source], secret.epoch);
            self.secrets.entry(id).or_insert_with(|| secret.secret.clone());
        }
    }

    pub(crate) fn latest_boot(&self, source: &SourceId) -> Option<Boot> {
        self.latest.get(source).copied()
    }

    pub(crate) fn head(&self, source: &SourceId) -> Option<SourceHead> {
        let boot = self.latest_boot(source)?;
        let (next_seq, chain_head) = self.position(&(*source, boot))?;
        Some(SourceHead { boot, next_seq, chain_head })
    }

    pub(crate) fn sources(&self) -> Vec<(SourceId, SourceHead)> {
        let heads = self.latest.keys().filter_map(|source| Some((*source, self.head(source)?)));
        let mut heads: Vec<_> = heads.collect();
        heads.sort_unstable_by_key(|(source, _)| *source);
        heads
    }

    /// Sets where a stream stands.
    pub(crate) fn advance(&mut self, stream: StreamId, next_seq: Seq, head: ChainHead) {
        let (source, boot) = stream;
        let latest = self.latest.entry(source).or_insert(boot);
        *latest = boot.max(*latest);
        let state = State { next_seq, head, runs: Vec::new() };
        let state = self.states.entry(stream).or_insert(state);
        (state.next_seq, state.head) = (next_seq, head);
    }

    /// Adds where records of a known stream are.
    pub(crate) fn add_run(&mut self, stream: &StreamId, run: StreamRun) {
        let Some(state) = self.states.get_mut(stream) else { return };
        if let Some(last) = state.runs.last_mut()
            && last.first_seq.0 + last.count == run.first_seq.0
            && last.first_index + last.count == run.first_index
        {
            last.count += run.count;
            return;
        }
        state.runs.push(run);
    }

    /// The index of a record that is in no pack.
    pub(crate) fn index_of(&self, stream: &StreamId, seq: Seq) -> Option<u64> {
        let runs = &self.states.get(stream)?.runs;
        let after = runs.partition_point(|run| run.first_seq <= seq);
        runs.get(after.checked_sub(1)?)?.index_of(seq)
    }

    /// Forgets runs that lie wholly before `index`.
    pub(crate) fn forget_before(&mut self, index: u64) {
        for state in self.states.values_mut() {
            state.runs.retain(|run| run.first_index + run.count > index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_are_found_and_forgotten() {
        let source = SourceId::from_bytes([1; 32]);
        let stream = (source, Boot(3));
        let head = ChainHead::start(&source, Boot(3));
        let mut streams = Streams::default();
        streams.advance(stream, Seq(9), head);
        for (first_seq, first_index, count) in [(0, 10, 2), (2, 12, 3), (5, 40, 4)] {
            let run = StreamRun { first_seq: Seq(first_seq), first_index, count };
            streams.add_run(&stream, run);
        }
        assert_eq!(streams.states[&stream].runs.len(), 2);
        let found: Vec<_> = (0..10).map(|seq| streams.index_of(&stream, Seq(seq))).collect();
        let wanted = [10, 11, 12, 13, 14, 40, 41, 42, 43].map(Some);
        assert_eq!(found[..9], wanted);
        assert_eq!(found[9], None);
        streams.forget_before(15);
        assert_eq!(streams.index_of(&stream, Seq(4)), None);
        assert_eq!(streams.index_of(&stream, Seq(5)), Some(40));
        assert_eq!(streams.head(&source).unwrap().next_seq, Seq(9));
        streams.advance((source, Boot(1)), Seq(1), head);
        assert_eq!(streams.head(&source).unwrap().boot, Boot(3));
    }
}
