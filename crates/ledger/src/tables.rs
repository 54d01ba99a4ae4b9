//! The tables of a pack's header, gathered from its records.

use std::collections::{HashMap, HashSet};

use stele_merkle::Hash;
use stele_record::{Boot, ChainHead, Epoch, Seq, SourceId};

use crate::ReadError;
use crate::format::{Run, Secret, Stream};
use crate::objects::Object;
use crate::streams::StreamId;

/// Where a record stands: in the log and in its source's stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) index: u64,
    pub(crate) leaf: Hash,
    pub(crate) source: SourceId,
    pub(crate) boot: Boot,
    pub(crate) seq: Seq,
    pub(crate) epoch: Epoch,
}

#[derive(Debug)]
pub(crate) struct Tables {
    before: HashMap<StreamId, (Seq, ChainHead)>,
    numbers: HashMap<StreamId, usize>,
    source_numbers: HashMap<SourceId, usize>,
    /// Sources and epochs whose secret is entered.
    opened: HashSet<(usize, Epoch)>,
    pub(crate) sources: Vec<SourceId>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) runs: Vec<Run>,
    pub(crate) secrets: Vec<Secret>,
}

impl Tables {
    /// Empty tables; `before` is where each stream stands before the first record.
    pub(crate) fn new(before: HashMap<StreamId, (Seq, ChainHead)>) -> Self {
        Self {
            before,
            numbers: HashMap::new(),
            source_numbers: HashMap::new(),
            opened: HashSet::new(),
            sources: Vec::new(),
            streams: Vec::new(),
            runs: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Enters the next record; `object` is where it is now, and where its secret comes from. Gives the
    /// secret if it is a new one.
    pub(crate) fn add(
        &mut self,
        object: &Object,
        record: &Position,
    ) -> Result<Option<&Secret>, ReadError> {
        let corrupt = |what: &str| ReadError::corrupt(&object.name, Some(record.index), what);
        let number = self.stream(record);
        let stream = &mut self.streams[number];
        if stream.next_seq != record.seq {
            return Err(corrupt("its sequence number does not follow the source's last one"));
        }
        stream.next_seq = record.seq.next();
        stream.head = stream.head.push_leaf_hash(record.leaf.as_bytes());
        let source = stream.source;
        match self.runs.last_mut() {
            Some(last) if last.stream == number => last.count += 1,
            _ => self.runs.push(Run {
                stream: number,
                first_seq: record.seq,
                first_index: record.index,
                count: 1,
            }),
        }
        if !self.opened.insert((source, record.epoch)) {
            return Ok(None);
        }
        let head = &object.head;
        let secret = head.secrets.iter().find(|secret| {
            head.sources[secret.source] == record.source && secret.epoch == record.epoch
        });
        let secret = secret.ok_or_else(|| corrupt("the secret of its epoch is missing"))?;
        self.secrets.push(Secret { source, ..secret.clone() });
        Ok(self.secrets.last())
    }

    fn stream(&mut self, record: &Position) -> usize {
        let id = (record.source, record.boot);
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        let source = *self.source_numbers.entry(record.source).or_insert_with(|| {
            self.sources.push(record.source);
            self.sources.len() - 1
        });
        let start = || (Seq(0), ChainHead::start(&record.source, record.boot));
        let (first_seq, head) = self.before.get(&id).copied().unwrap_or_else(start);
        let stream = Stream { source, boot: record.boot, first_seq, next_seq: first_seq, head };
        self.streams.push(stream);
        self.numbers.insert(id, self.streams.len() - 1);
        self.streams.len() - 1
    }
}
