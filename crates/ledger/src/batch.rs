//! The next segment while it is gathered: which records are new, which are repeats, and the
//! tables of its header.
//!
//! It may be gathered while the one before it is still being written: then what that one holds
//! counts as known. Whether it does is decided by the store; until then nobody is answered.

use std::sync::Arc;

use stele_merkle::LeafIndex;
use stele_record::{Boot, ChainHead, Epoch, EpochSecret, LedgerTime, Seq, SourceId};

use crate::append::{IndexRun, Prepared};
use crate::format::{
    Built, Compression, Content, Digest, Head, ObjectBuilder, RecordRef, Role, Run, Secret, Stream,
    TimeRun, Writer,
};
use crate::invariant::invariant;
use crate::reader::Reader;
use crate::recent::Taken;
use crate::streams::{Map, StreamId, StreamRun};
use crate::{AppendError, ReadError};

/// What identifies the segment that is gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentId {
    pub(crate) number: u64,
    pub(crate) previous: Digest,
    pub(crate) writer: Writer,
    pub(crate) first: u64,
}

/// The numbers that sources, streams and secrets have in a header.
#[derive(Debug, Default)]
struct Numbers {
    sources: Map<SourceId, usize>,
    streams: Map<StreamId, usize>,
    secrets: Map<(SourceId, Epoch), usize>,
}

/// What a segment holds that is not part of the log yet.
#[derive(Debug, Clone, Copy)]
struct Held<'a> {
    numbers: &'a Numbers,
    sources: &'a [SourceId],
    streams: &'a [Stream],
    runs: &'a [Run],
    secrets: &'a [Secret],
}

impl<'a> Held<'a> {
    fn secret(self, source: SourceId, epoch: Epoch) -> Option<&'a EpochSecret> {
        let number = self.numbers.secrets.get(&(source, epoch))?;
        Some(&self.secrets[*number].secret)
    }

    fn position(self, stream: &StreamId) -> Option<(Seq, ChainHead)> {
        let stream = &self.streams[*self.numbers.streams.get(stream)?];
        Some((stream.next_seq, stream.head))
    }

    fn latest_boot(self, source: &SourceId) -> Option<Boot> {
        let number = self.numbers.sources.get(source)?;
        debug_assert_eq!(self.sources[*number], *source);
        self.streams.iter().filter(|s| s.source == *number).map(|s| s.boot).max()
    }

    fn index_of(self, stream: &StreamId, seq: Seq) -> Option<u64> {
        let number = self.numbers.streams.get(stream)?;
        self.runs.iter().filter(|run| run.stream == *number).find_map(|run| {
            let Run { first_seq, first_index, count, .. } = *run;
            StreamRun { first_seq, first_index, count }.index_of(seq)
        })
    }
}

#[derive(Debug)]
pub(crate) struct Batch {
    reader: Reader,
    id: SegmentId,
    builder: ObjectBuilder,
    count: u64,
    bytes: usize,
    numbers: Numbers,
    sources: Vec<SourceId>,
    streams: Vec<Stream>,
    runs: Vec<Run>,
    secrets: Vec<Secret>,
    taken: Vec<Taken>,
}

/// A segment, and its records as they came.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) built: Built,
    pub(crate) taken: Vec<Taken>,
    /// Header and payload bytes of the records.
    pub(crate) bytes: usize,
    numbers: Numbers,
}

impl Gathered {
    fn held(&self) -> Held<'_> {
        let Head { sources, streams, runs, secrets, .. } = &self.built.head;
        Held { numbers: &self.numbers, sources, streams, runs, secrets }
    }
}

impl Batch {
    pub(crate) fn new(reader: Reader, id: SegmentId) -> Self {
        Self {
            reader,
            id,
            builder: ObjectBuilder::new(id.first, Compression::None),
            count: 0,
            bytes: 0,
            numbers: Numbers::default(),
            sources: Vec::new(),
            streams: Vec::new(),
            runs: Vec::new(),
            secrets: Vec::new(),
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

    /// Adds what is new of a submission and says where all of its records are. `before` is the
    /// segment before this one while that is not part of the log.
    pub(crate) fn add(
        &mut self,
        prepared: &Prepared,
        before: Option<&Gathered>,
    ) -> Result<Vec<IndexRun>, AppendError> {
        let before = before.map(Gathered::held);
        let stream = (prepared.source, prepared.boot);
        let (next, head) = self.position(prepared, &stream, before)?;
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
            let index = self.index_of(&stream, seq, before)?;
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

    fn held(&self) -> Held<'_> {
        let Self { numbers, sources, streams, runs, secrets, .. } = self;
        Held { numbers, sources, streams, runs, secrets }
    }

    /// The next sequence number of a stream and the head of its chain. A boot that the log knows
    /// may go on although a later one has begun, as late deliveries do; one that it does not know
    /// must be the latest.
    ///
    /// Objects hold one secret for each epoch, so records under a second one could never be opened
    /// again: it must be the one that earlier records came with.
    fn position(
        &self,
        prepared: &Prepared,
        stream: &StreamId,
        before: Option<Held<'_>>,
    ) -> Result<(Seq, ChainHead), AppendError> {
        let Prepared { source, epoch, secret, .. } = prepared;
        let invalid = |what| Err(AppendError::Invalid { record: 0, what });
        let held = || std::iter::once(self.held()).chain(before);
        let streams = self.reader.streams();
        let known = held().find_map(|held| held.secret(*source, *epoch));
        if known.or_else(|| streams.secret(source, *epoch)).is_some_and(|known| known != secret) {
            return invalid(format!("epoch {} of its source has another secret", epoch.0));
        }
        let position = held().find_map(|held| held.position(stream));
        if let Some(position) = position.or_else(|| streams.position(stream)) {
            return Ok(position);
        }
        let latest = held().filter_map(|held| held.latest_boot(source)).max();
        let latest = latest.max(streams.latest_boot(source));
        if let Some(latest) = latest.filter(|latest| *latest > stream.1) {
            let boot = stream.1;
            return invalid(format!("boot {boot} is older than boot {latest} of the same source"));
        }
        Ok((Seq(0), ChainHead::start(source, stream.1)))
    }

    /// Where an earlier record is.
    fn index_of(
        &self,
        stream: &StreamId,
        seq: Seq,
        before: Option<Held<'_>>,
    ) -> Result<LeafIndex, AppendError> {
        let mut held = std::iter::once(self.held()).chain(before);
        if let Some(index) = held.find_map(|held| held.index_of(stream, seq)) {
            return Ok(LeafIndex(index));
        }
        let (source, boot) = stream;
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
        let source = *self.numbers.sources.entry(prepared.source).or_insert_with(|| {
            self.sources.push(prepared.source);
            self.sources.len() - 1
        });
        self.numbers.secrets.entry((prepared.source, prepared.epoch)).or_insert_with(|| {
            let (epoch, secret) = (prepared.epoch, prepared.secret.clone());
            self.secrets.push(Secret { source, epoch, data_key: 0, secret });
            self.secrets.len() - 1
        });
        *self.numbers.streams.entry((prepared.source, prepared.boot)).or_insert_with(|| {
            let boot: Boot = prepared.boot;
            self.streams.push(Stream { source, boot, first_seq, next_seq: first_seq, head });
            self.streams.len() - 1
        })
    }

    /// The segment; the tree holds its records already.
    pub(crate) fn finish(self, time: LedgerTime) -> Result<Gathered, ReadError> {
        let Content { blocks, parts } = self.builder.finish();
        let end = self.id.first + self.count;
        let root = stele_merkle::root(stele_merkle::TreeSize(end), &self.reader)?;
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
        Ok(Gathered { built, taken: self.taken, bytes: self.bytes, numbers: self.numbers })
    }
}

fn extend(runs: &mut Vec<IndexRun>, index: u64, count: u64) {
    match runs.last_mut() {
        Some(last) if last.first.0 + last.count == index => last.count += count,
        _ => runs.push(IndexRun { first: LeafIndex(index), count }),
    }
}
