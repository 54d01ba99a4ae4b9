//! The next segment while it is gathered: which records are new, which are repeats, and the
//! tables of its header.

use std::collections::HashMap;
use std::sync::Arc;

use stele_merkle::LeafIndex;
use stele_record::{Boot, ChainHead, Epoch, LedgerTime, Seq, SourceId};

use crate::append::{IndexRun, Prepared};
use crate::format::{
    Built, Compression, Content, Digest, Head, ObjectBuilder, RecordRef, Role, Run, Secret, Stream,
    TimeRun, Writer,
};
use crate::invariant::invariant;
use crate::reader::Reader;
use crate::recent::Taken;
use crate::streams::{StreamId, StreamRun};
use crate::{AppendError, ReadError};

/// What identifies the segment that is gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentId {
    pub(crate) number: u64,
    pub(crate) previous: Digest,
    pub(crate) writer: Writer,
    pub(crate) first: u64,
}

#[derive(Debug)]
pub(crate) struct Batch<'a> {
    reader: &'a Reader,
    id: SegmentId,
    builder: ObjectBuilder,
    count: u64,
    bytes: usize,
    sources: Vec<SourceId>,
    source_numbers: HashMap<SourceId, usize>,
    streams: Vec<Stream>,
    numbers: HashMap<StreamId, usize>,
    runs: Vec<Run>,
    secrets: Vec<Secret>,
    secret_numbers: HashMap<(SourceId, Epoch), usize>,
    taken: Vec<Taken>,
}

/// A segment, and its records as they came.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) built: Built,
    pub(crate) taken: Vec<Taken>,
    /// Header and payload bytes of the records.
    pub(crate) bytes: usize,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(reader: &'a Reader, id: SegmentId) -> Self {
        Self {
            reader,
            id,
            builder: ObjectBuilder::new(id.first, Compression::None),
            count: 0,
            bytes: 0,
            sources: Vec::new(),
            source_numbers: HashMap::new(),
            streams: Vec::new(),
            numbers: HashMap::new(),
            runs: Vec::new(),
            secrets: Vec::new(),
            secret_numbers: HashMap::new(),
            taken: Vec::new(),
        }
    }

    /// Index of its first record.
    pub(crate) fn first(&self) -> u64 {
        self.id.first
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what is new of a submission and says where all of its records are.
    pub(crate) fn add(&mut self, prepared: &Prepared) -> Result<Vec<IndexRun>, AppendError> {
        self.check_secret(prepared)?;
        let stream = (prepared.source, prepared.boot);
        let (next, head) = self.position(&stream)?;
        let known = match next.0.checked_sub(prepared.first_seq.0) {
            Some(known) => known.min(prepared.records.len() as u64),
            None => {
                return Err(AppendError::SequenceHole { expected: next, got: prepared.first_seq });
            }
        };
        let mut runs = Vec::new();
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        for (position, record) in prepared.records[..known].iter().enumerate() {
            let seq = Seq(prepared.first_seq.0 + position as u64);
            let index = self.index_of(&stream, seq)?;
            if self.reader.node(0, index.0)? != record.leaf {
                return Err(AppendError::Contradiction { record: position, seq, index });
            }
            extend(&mut runs, index.0, 1);
        }
        let new = (prepared.records.len() - known) as u64;
        if new > 0 {
            extend(&mut runs, self.id.first + self.count, new);
            self.add_new(prepared, known, next, head);
        }
        Ok(runs)
    }

    /// Whether the secret is the one that earlier records of the same epoch came with. Objects hold
    /// one secret for each epoch, so records under a second one could never be opened again.
    fn check_secret(&self, prepared: &Prepared) -> Result<(), AppendError> {
        let streams = self.reader.streams();
        let number = self.secret_numbers.get(&(prepared.source, prepared.epoch));
        let known = number.map(|number| &self.secrets[*number].secret);
        let known = known.or_else(|| streams.secret(&prepared.source, prepared.epoch));
        if known.is_none_or(|known| *known == prepared.secret) {
            return Ok(());
        }
        let what = format!("epoch {} of its source has another secret", prepared.epoch.0);
        Err(AppendError::Invalid { record: 0, what })
    }

    /// The next sequence number of a stream and the head of its chain. A boot that the log knows
    /// may go on although a later one has begun, as late deliveries do; one that it does not know
    /// must be the latest.
    fn position(&self, stream: &StreamId) -> Result<(Seq, ChainHead), AppendError> {
        if let Some(number) = self.numbers.get(stream) {
            let stream = &self.streams[*number];
            return Ok((stream.next_seq, stream.head));
        }
        let streams = self.reader.streams();
        if let Some(position) = streams.position(stream) {
            return Ok(position);
        }
        let in_batch = self.streams.iter().filter(|s| self.sources[s.source] == stream.0);
        let latest = in_batch.map(|s| s.boot).chain(streams.latest_boot(&stream.0)).max();
        if let Some(latest) = latest.filter(|latest| *latest > stream.1) {
            let what = format!("boot {} is older than boot {latest} of the same source", stream.1);
            return Err(AppendError::Invalid { record: 0, what });
        }
        Ok((Seq(0), ChainHead::start(&stream.0, stream.1)))
    }

    /// Where an earlier record is.
    fn index_of(&self, stream: &StreamId, seq: Seq) -> Result<LeafIndex, AppendError> {
        let (source, boot) = stream;
        if let Some(number) = self.numbers.get(stream) {
            let run = self.runs.iter().filter(|run| run.stream == *number).find_map(|run| {
                let Run { first_seq, first_index, count, .. } = *run;
                StreamRun { first_seq, first_index, count }.index_of(seq)
            });
            if let Some(index) = run {
                return Ok(LeafIndex(index));
            }
        }
        self.reader.find(source, *boot, seq)?.ok_or_else(|| {
            let what = format!("record {seq} of boot {boot} of source {source} is not found");
            ReadError::Corrupt { object: "ledger".into(), record: None, what }.into()
        })
    }

    fn add_new(&mut self, prepared: &Prepared, skip: usize, next: Seq, head: ChainHead) {
        let first_seq = Seq(prepared.first_seq.0 + skip as u64);
        invariant!(L4, first_seq == next, "seq {first_seq} follows {next}");
        let records = &prepared.records[skip..];
        let number = self.stream_number(prepared, first_seq, head);
        let mut tree = self.reader.tree_mut();
        for record in records {
            let head = &mut self.streams[number].head;
            *head = head.push_leaf_hash(record.leaf.as_bytes());
            self.bytes += record.header.len() + record.payload.len();
            tree.push(record.leaf);
            self.builder.push(RecordRef {
                header: &record.header,
                leaf: record.leaf,
                data_key: 0,
                payload: &record.payload,
            });
        }
        drop(tree);
        self.taken.push(Taken {
            source: prepared.source,
            boot: prepared.boot,
            epoch: prepared.epoch,
            first_seq,
            records: Arc::clone(&prepared.records),
            known: skip,
        });
        let count = records.len() as u64;
        self.streams[number].next_seq = Seq(first_seq.0 + count);
        let first_index = self.id.first + self.count;
        match self.runs.last_mut() {
            Some(last) if last.stream == number => last.count += count,
            _ => self.runs.push(Run { stream: number, first_seq, first_index, count }),
        }
        self.count += count;
    }

    /// The stream's number in this segment; enters stream, source and secret where they are new.
    fn stream_number(&mut self, prepared: &Prepared, first_seq: Seq, head: ChainHead) -> usize {
        let source = *self.source_numbers.entry(prepared.source).or_insert_with(|| {
            self.sources.push(prepared.source);
            self.sources.len() - 1
        });
        self.secret_numbers.entry((prepared.source, prepared.epoch)).or_insert_with(|| {
            let (epoch, secret) = (prepared.epoch, prepared.secret.clone());
            self.secrets.push(Secret { source, epoch, data_key: 0, secret });
            self.secrets.len() - 1
        });
        *self.numbers.entry((prepared.source, prepared.boot)).or_insert_with(|| {
            let boot: Boot = prepared.boot;
            self.streams.push(Stream { source, boot, first_seq, next_seq: first_seq, head });
            self.streams.len() - 1
        })
    }

    /// The segment; the tree holds its records already.
    pub(crate) fn finish(self, time: LedgerTime) -> Result<Gathered, ReadError> {
        let Content { blocks, parts } = self.builder.finish();
        let end = self.id.first + self.count;
        let root = stele_merkle::root(stele_merkle::TreeSize(end), self.reader)?;
        let head = Head {
            role: Role::Segment,
            number: self.id.number,
            previous: self.id.previous,
            writer: Some(self.id.writer),
            first: self.id.first,
            count: self.count,
            times: vec![TimeRun { count: self.count, time }],
            root,
            sources: self.sources,
            streams: self.streams,
            runs: self.runs,
            secrets: self.secrets,
            blocks,
            tiles: Vec::new(),
        };
        let built = Built::new(head, parts);
        Ok(Gathered { built, taken: self.taken, bytes: self.bytes })
    }
}

fn extend(runs: &mut Vec<IndexRun>, index: u64, count: u64) {
    match runs.last_mut() {
        Some(last) if last.first.0 + last.count == index => last.count += count,
        _ => runs.push(IndexRun { first: LeafIndex(index), count }),
    }
}
