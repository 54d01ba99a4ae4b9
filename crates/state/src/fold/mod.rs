//! The fold: takes records in the order of the log and writes rows.
//!
//! Every row is a function of the records so far. What is cached here is written back before the
//! transaction ends, so that the size of a batch leaves no trace.

mod address;
mod audit;
mod bodies;
mod facts;
mod frames;
mod kept;
mod objects;
mod packing;
mod reading;
mod slices;
mod sources;

pub(crate) use address::{HOST, NODE, POD, RANGE, SERVICE, addresses, ip_key, key_of, masked};
pub(crate) use kept::Kept;
use packing::Packing;
use reading::{CONTEXTS_MAX, Framed, Read, Reader, Reading, fits};
pub(crate) use slices::SERVICE_NAME;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use stele_record::frame::{DocumentContext, FrameContext};
use stele_record::{Header, Kind};

use crate::bodies::Piece;
use crate::chunks::{LOG_RECORDS, LogChunk, TimesChunk};
use crate::spread::{Ahead, cores};
use crate::tables::{ALL, ClusterRow, LogRow, SourceRow, StreamRow, Tables, TypeRow, row, unrow};
use crate::{StateError, TimeBasis};

/// Records of which it is not worth to start a thread.
const ALONE_MAX: usize = 32;
/// Records that are read in one go.
const READ_AT_ONCE: usize = 16;

/// A record as the ledger holds it.
#[derive(Debug, Clone, Copy)]
pub struct FoldRecord<'a> {
    /// Its index in the log.
    pub index: u64,
    /// Its header.
    pub header: &'a Header,
    /// Its payload; empty if it has been erased.
    pub payload: &'a [u8],
}

impl FoldRecord<'_> {
    /// Whether the payload is not what the header speaks of.
    fn is_missing(&self) -> bool {
        self.header.payload_len != self.payload.len() as u64
    }
}

/// What a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records that were new.
    pub records: u64,
    /// Changes they made: versions, ends and gaps.
    pub changes: u64,
    /// Records, or items of them, that could not be used.
    pub problems: u64,
}

/// Why a record was not folded.
enum Fault {
    /// The record is at fault: keep it as a problem and go on.
    Unusable(String),
    /// The engine is at fault: stop.
    State(StateError),
}

impl<E: Into<StateError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::State(error.into())
    }
}

fn unusable(reason: impl std::fmt::Display) -> Fault {
    Fault::Unusable(reason.to_string())
}

/// Where and when the record at hand stands.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    index: u64,
    time: i64,
    basis: TimeBasis,
    source: u32,
    boot: u64,
}

/// A context line, resolved.
struct Context {
    frame: Arc<FrameContext>,
    cluster: u32,
    type_id: u32,
}

/// A batch in the making.
pub(crate) struct Fold<'f> {
    pub(crate) w: Tables,
    next: u64,
    applied: Applied,
    /// Changes and problems of the record at hand so far.
    ordinal: u32,
    problem: u32,
    contexts: HashMap<Box<[u8]>, Rc<Context>>,
    sources: BTreeMap<u32, SourceRow>,
    streams: BTreeMap<(u32, u32), StreamRow>,
    types: BTreeMap<u32, TypeRow>,
    /// Rows of the table of that name that this batch made or changed.
    reached: BTreeMap<(u32, u64), Vec<u8>>,
    kept: &'f mut Kept,
    /// Order key of the newest whole list of a type.
    lists: BTreeMap<u32, Option<Vec<u8>>>,
    /// Chunks of bodies that this batch added to, by type and namespace.
    chunks: BTreeMap<(u32, String), bodies::OpenChunk>,
    /// Pieces of them to be written.
    packing: Arc<Packing>,
    /// The row of the sequence that grows, and its number.
    log: (u64, LogChunk),
    /// The rows of times that grow, by cluster, and their numbers.
    times: BTreeMap<u32, (u64, TimesChunk)>,
}

impl<'f> Fold<'f> {
    pub(crate) fn begin(w: Tables, kept: &'f mut Kept) -> Result<Self, StateError> {
        let next = w.meta.get("next_index")?.map_or(0, |n| n.value());
        let packing = Arc::new(Packing::with(std::mem::take(&mut kept.packers)));
        Ok(Self {
            w,
            next,
            applied: Applied::default(),
            ordinal: 0,
            problem: 0,
            contexts: HashMap::new(),
            sources: BTreeMap::new(),
            streams: BTreeMap::new(),
            types: BTreeMap::new(),
            reached: BTreeMap::new(),
            kept,
            lists: BTreeMap::new(),
            chunks: BTreeMap::new(),
            packing,
            log: (0, LogChunk::default()),
            times: BTreeMap::new(),
        })
    }

    /// Takes consecutive records. Those that were folded before are passed over. Other threads read ahead
    /// and pack bodies, if there are enough records.
    pub(crate) fn records(&mut self, batch: &[FoldRecord<'_>]) -> Result<(), StateError> {
        let new = &batch[batch.partition_point(|record| record.index < self.next)..];
        let helpers = if new.len() > ALONE_MAX { cores() - 1 } else { 0 };
        let (ahead, packing) = (Ahead::of(new, READ_AT_ONCE), Arc::clone(&self.packing));
        let then = || packing.work();
        std::thread::scope(|scope| {
            let closing = packing.closing();
            ahead.run(scope, helpers, &Reader::read, &then, |of, read| self.record(of, read))?;
            self.give_pieces()?;
            drop(closing);
            packing.work();
            Ok::<_, StateError>(())
        })?;
        self.put_packed()
    }

    fn record(&mut self, record: &FoldRecord<'_>, read: Reading<'_>) -> Result<(), StateError> {
        if record.index != self.next {
            return Err(StateError::Hole { expected: self.next, got: record.index });
        }
        self.ordinal = 0;
        self.problem = 0;
        match self.dispatch(record, read) {
            Ok(()) => {}
            Err(Fault::Unusable(reason)) => self.note(record.index, &reason)?,
            Err(Fault::State(error)) => return Err(error),
        }
        self.next += 1;
        self.applied.records += 1;
        Ok(())
    }

    fn dispatch(&mut self, record: &FoldRecord<'_>, read: Reading<'_>) -> Result<(), Fault> {
        let header = record.header;
        let stamp = self.enter(record)?;
        if record.is_missing() {
            return match header.kind {
                Kind::KUBE_LIST
                | Kind::KUBE_WATCH
                | Kind::KUBE_RESOURCES
                | Kind::KUBE_DOCUMENT
                | Kind::KUBE_AUDIT
                | Kind::GAP => Err(unusable("the payload is not available")),
                _ => Ok(()),
            };
        }
        match read {
            Reading::Watch(line) => return self.watch_line(stamp, line),
            Reading::List(page) => return self.list_page(stamp, page),
            Reading::Audit(event) => {
                self.audit(stamp, header, *event.map_err(Fault::Unusable)?);
                return Ok(());
            }
            Reading::Other => {}
        }
        match header.kind {
            Kind::SOURCE_CLOSE => self.source_close(stamp),
            Kind::GAP => self.gap(stamp, record.payload),
            Kind::KUBE_RESOURCES => self.resources(stamp, record.payload),
            Kind::KUBE_DOCUMENT => self.document(stamp, record.payload),
            _ => Ok(()),
        }
    }

    /// Writes back what was cached.
    pub(crate) fn finish(mut self) -> Result<(Applied, u64, Tables), StateError> {
        self.put_lives();
        for (number, source) in &self.sources {
            self.w.source_rows.insert(number, row(source).as_slice());
        }
        self.put_log()?;
        for (cluster, (number, chunk)) in &self.times {
            self.w.times.insert((*cluster, *number), chunk.pack().as_slice());
        }
        for (key, stream) in &self.streams {
            self.w.streams.insert(key, row(stream).as_slice());
        }
        for (number, type_row) in &self.types {
            self.w.type_rows.insert(number, row(type_row).as_slice());
        }
        for (key, order) in &self.reached {
            self.w.reached.insert(key, order.as_slice());
        }
        self.w.meta.insert("next_index", self.next);
        self.count("problems", self.applied.problems)?;
        Ok((self.applied, self.next, self.w))
    }

    /// Adds to a counter and gives its value before. Counters are not written before they are
    /// used, so that batches without any leave no trace.
    fn count(&mut self, name: &'static str, by: u64) -> Result<u64, StateError> {
        count(&mut self.w, name, by)
    }

    /// Keeps a problem of the record at hand.
    fn note(&mut self, index: u64, reason: &str) -> Result<(), StateError> {
        tracing::debug!(index, reason, "a record can't be used");
        self.w.problems.insert((index, self.problem), reason);
        self.problem += 1;
        self.applied.problems += 1;
        Ok(())
    }

    /// Puts a change into the sequence and gives its place within the record.
    fn log(&mut self, index: u64, change: LogRow) -> Result<u32, StateError> {
        let (ordinal, number) = (self.ordinal, index / LOG_RECORDS);
        if self.log.0 != number || self.log.1.0.is_empty() {
            self.put_log()?;
            let stored = self.w.log.get(number)?;
            let stored =
                stored.map(|stored| LogChunk::unpack(number, stored.value())).transpose()?;
            self.log = (number, stored.unwrap_or_default());
        }
        self.log.1.0.push((index, ordinal, change));
        self.ordinal += 1;
        self.applied.changes += 1;
        Ok(ordinal)
    }

    fn put_log(&mut self) -> Result<(), StateError> {
        let (number, chunk) = &self.log;
        if !chunk.0.is_empty() {
            self.w.log.insert(*number, chunk.pack()?.as_slice());
        }
        Ok(())
    }

    /// Number of a cluster; a new one for a new id.
    fn cluster(&mut self, id: &str) -> Result<u32, Fault> {
        fits("id of a cluster", id).map_err(Fault::Unusable)?;
        if let Some(number) = self.w.clusters.get(id)? {
            return Ok(number.value());
        }
        let number = as_u32(self.count("clusters", 1)?)?;
        self.w.clusters.insert(id, number);
        let cluster = ClusterRow { id: id.to_owned(), name: id.to_owned() };
        self.w.cluster_rows.insert(number, row(&cluster).as_slice());
        Ok(number)
    }

    /// Number of a type; a new one, known from the built-in table as far as it goes, for a new
    /// type.
    fn resource_type(&mut self, cluster: u32, group: &str, resource: &str) -> Result<u32, Fault> {
        fits("group of a type", group).map_err(Fault::Unusable)?;
        fits("name of a type", resource).map_err(Fault::Unusable)?;
        if let Some(number) = self.w.types.get((cluster, group, resource))? {
            return Ok(number.value());
        }
        let number = as_u32(self.count("types", 1)?)?;
        self.w.types.insert((cluster, group, resource), number);
        let mut type_row = TypeRow {
            cluster,
            group: group.to_owned(),
            resource: resource.to_owned(),
            ..TypeRow::default()
        };
        if let Some(known) = stele_record::kube::builtin(group, resource) {
            type_row.version = known.version;
            type_row.kind = known.kind;
            type_row.singular = known.singular;
            type_row.short_names = known.short_names;
            type_row.namespaced = known.namespaced;
        }
        self.types.insert(number, type_row);
        Ok(number)
    }

    fn type_row(&mut self, number: u32) -> Result<&mut TypeRow, StateError> {
        match self.types.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let found = self.w.type_rows.get(number)?;
                let found = found.ok_or_else(|| StateError::Damaged("no such type".to_owned()))?;
                let type_row = unrow(found.value())?;
                Ok(entry.insert(type_row))
            }
        }
    }

    /// Notes that a frame speaks of its cluster; gives what is known of that and of the type, and what the
    /// frame says.
    fn enter_frame<T>(
        &mut self,
        stamp: Stamp,
        framed: Read<Framed<'_, T>>,
    ) -> Result<(Rc<Context>, T), Fault> {
        let framed = framed.map_err(Fault::Unusable)?;
        let context = self.context(&framed)?;
        self.seen(stamp, context.cluster)?;
        Ok((context, framed.said))
    }

    /// What is known of the cluster and the type of a frame.
    fn context<T>(&mut self, framed: &Framed<'_, T>) -> Result<Rc<Context>, Fault> {
        if let Some(context) = self.contexts.get(framed.line) {
            let context = Rc::clone(context);
            self.name_type(&context.frame, context.type_id)?;
            return Ok(context);
        }
        let frame = Arc::clone(&framed.frame);
        let cluster = self.cluster(&frame.cluster)?;
        let type_id = self.resource_type(cluster, &frame.group, &frame.resource)?;
        self.name_type(&frame, type_id)?;
        let context = Rc::new(Context { frame, cluster, type_id });
        if self.contexts.len() >= CONTEXTS_MAX {
            self.contexts.clear();
        }
        self.contexts.insert(framed.line.into(), Rc::clone(&context));
        Ok(context)
    }

    /// The newest frame says under which names its type goes.
    fn name_type(&mut self, frame: &FrameContext, type_id: u32) -> Result<(), StateError> {
        let type_row = self.type_row(type_id)?;
        type_row.recorded = true;
        if type_row.version != frame.version || type_row.kind != frame.kind {
            type_row.version.clone_from(&frame.version);
            type_row.kind.clone_from(&frame.kind);
        }
        type_row.namespaced = frame.namespaced;
        Ok(())
    }

    /// What discovery found.
    fn resources(&mut self, stamp: Stamp, payload: &[u8]) -> Result<(), Fault> {
        let list = stele_record::kube::ResourceList::decode(payload).map_err(unusable)?;
        let cluster = self.cluster(&list.cluster)?;
        self.seen(stamp, cluster)?;
        if !list.cluster_name.is_empty() {
            let named = ClusterRow { id: list.cluster, name: list.cluster_name };
            self.w.cluster_rows.insert(cluster, row(&named).as_slice());
        }
        for found in list.resources {
            let number = self.resource_type(cluster, &found.group, &found.resource)?;
            let type_row = self.type_row(number)?;
            type_row.version = found.version;
            type_row.kind = found.kind;
            type_row.singular = found.singular;
            type_row.short_names = found.short_names;
            type_row.namespaced = found.namespaced;
        }
        Ok(())
    }

    /// Keeps a document that a server gave about itself.
    fn document(&mut self, stamp: Stamp, payload: &[u8]) -> Result<(), Fault> {
        let (context, raw) = DocumentContext::split(payload).map_err(unusable)?;
        fits("path of a document", &context.path).map_err(Fault::Unusable)?;
        let cluster = self.cluster(&context.cluster)?;
        self.seen(stamp, cluster)?;
        let key = (cluster, context.path.as_str(), stamp.index);
        self.w.documents.insert(key, (stamp.time, context.gone));
        if !context.gone {
            self.w.document_texts.insert(stamp.index, Piece::pack_text(raw)?.as_slice());
        }
        Ok(())
    }

    /// Notes that the record speaks of the cluster.
    fn seen(&mut self, stamp: Stamp, cluster: u32) -> Result<(), StateError> {
        if cluster == ALL {
            return Ok(());
        }
        self.looked(cluster, stamp.index, stamp.time, stamp.basis)?;
        let source = self.source_row(stamp.source)?;
        if !source.clusters.contains(&cluster) {
            source.clusters.push(cluster);
        }
        Ok(())
    }
}

/// See [`Fold::count`].
fn count(w: &mut Tables, name: &'static str, by: u64) -> Result<u64, StateError> {
    if by == 0 {
        return Ok(0);
    }
    let before = w.meta.get(name)?.map_or(0, |n| n.value());
    w.meta.insert(name, before + by);
    Ok(before)
}

fn as_u32(number: u64) -> Result<u32, StateError> {
    u32::try_from(number)
        .ok()
        .filter(|&number| number != ALL)
        .ok_or_else(|| StateError::Engine("more than 2³² clusters, types or sources".to_owned()))
}
