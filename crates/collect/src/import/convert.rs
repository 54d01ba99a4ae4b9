//! From documents to records: what all forms share.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stele_record::frame::FrameContext;
use stele_record::kube::{Resource, ResourceList};
use stele_record::{
    EventTime, Gap, GapReason, Kind, ORIGIN_COUNTER_BYTES_MAX, ObservedTime, PayloadType,
};
use stele_source::{Draft, Source};
use stele_store::Clock;

use super::recording::Streams;
use super::report::Fault;
use super::split::Document;
use super::types::Types;
use super::{Compression, FAULTS_MAX, FUTURE_TOLERANCE_NS, Format, ImportOptions, ImportReport};
use crate::redact::Redactor;

/// What is wrong with a document, without its place.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) field: Option<String>,
    pub(super) problem: String,
    pub(super) remedy: &'static str,
}

impl Wrong {
    pub(super) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            problem: problem.into(),
            remedy: "it was skipped; correct the field to import it",
        }
    }

    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self {
            field: None,
            problem: crate::text::describe(error),
            remedy: "it was skipped; is the format the right one (--format)?",
        }
    }

    pub(super) fn redact(error: &crate::redact::RedactError) -> Self {
        Self {
            field: None,
            problem: error.to_string(),
            remedy: "it was skipped, because it may hold values of Secrets",
        }
    }
}

/// Faults that follow each other without anything good between them.
struct FaultRun {
    from: ObservedTime,
    first_line: u64,
    last_line: u64,
    count: u64,
}

pub(super) struct Converter {
    pub(super) options: ImportOptions,
    pub(super) redactor: Redactor,
    pub(super) types: Types,
    pub(super) streams: Streams,
    /// Lists put together from objects, by group and plural: id and next page.
    pub(super) open_lists: BTreeMap<(String, String), (u64, u32)>,
    format: Format,
    clock: Arc<dyn Clock>,
    out: Vec<Draft>,
    run: Option<FaultRun>,
    last_list: u64,
    documents: u64,
    skipped: u64,
    faults: Vec<Fault>,
    future_times: u64,
    first_time: Option<EventTime>,
    last_time: Option<EventTime>,
}

impl Converter {
    pub(super) fn new(format: Format, options: ImportOptions, source: &Source) -> Self {
        Self {
            redactor: Redactor::of_source(source, options.store_secret_values),
            options,
            types: Types::default(),
            streams: Streams::default(),
            open_lists: BTreeMap::new(),
            format,
            clock: Arc::clone(source.clock()),
            out: Vec::new(),
            run: None,
            last_list: 0,
            documents: 0,
            skipped: 0,
            faults: Vec::new(),
            future_times: 0,
            first_time: None,
            last_time: None,
        }
    }

    /// The records made so far and not taken yet.
    pub(super) fn take(&mut self) -> Vec<Draft> {
        std::mem::take(&mut self.out)
    }

    pub(super) fn document(&mut self, document: &Document) {
        let text = document.text.as_str();
        let done = match self.format {
            Format::Watch => self.watch_document(text),
            Format::Recording => self.recorded_line(text),
            Format::List => return self.list_document(document),
            Format::Audit => self.audit_line(text),
            Format::Etcd => self.etcd_line(text),
        };
        match done {
            Ok(()) => self.documents += 1,
            Err(wrong) => self.wrong(document, wrong),
        }
    }

    pub(super) fn count_document(&mut self) {
        self.documents += 1;
    }

    pub(super) fn wrong(&mut self, document: &Document, wrong: Wrong) {
        let Wrong { field, problem, remedy } = wrong;
        let (line, byte) = (document.line, document.byte);
        self.fault(Fault { line, byte, field, problem, remedy });
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.skipped += 1;
        let from = self.last_known();
        let run = self.run.get_or_insert(FaultRun {
            from,
            first_line: fault.line,
            last_line: fault.line,
            count: 0,
        });
        run.last_line = fault.line;
        run.count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// What remains to be said when the input has ended.
    pub(super) fn end(&mut self) {
        if let Some(run) = self.run.take() {
            let to = self.last_known();
            self.fault_gap(&run, to);
        }
        self.end_streams();
        let resources: Vec<Resource> = self.types.used();
        if !resources.is_empty() {
            let list = ResourceList {
                cluster: self.options.cluster.clone(),
                cluster_name: String::new(),
                server: String::new(),
                resources,
            };
            let payload = list.encode().into();
            self.push(Kind::KUBE_RESOURCES, self.last_time, None, PayloadType::JSON, payload);
        }
    }

    pub(super) fn report(self, compression: Compression, bytes: u64) -> ImportReport {
        ImportReport {
            format: self.format,
            compression,
            bytes,
            documents: self.documents,
            records: 0,
            skipped: self.skipped,
            faults: self.faults,
            guesses: self.types.guesses(),
            future_times: self.future_times,
            first_time: self.first_time,
            last_time: self.last_time,
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// Latest moment that the input has spoken of; the time of the import if it names none.
    fn last_known(&self) -> ObservedTime {
        let claimed = self.last_time.or(self.options.observed_at);
        ObservedTime::from_unix_ns(claimed.map_or_else(|| self.now(), EventTime::unix_ns))
    }

    /// A number for a list, larger than all before.
    pub(super) fn list_id(&mut self) -> u64 {
        self.last_list = self.now().unsigned_abs().max(self.last_list + 1);
        self.last_list
    }

    /// Takes a record in. Before the first after a run of faults comes the gap they left.
    pub(super) fn emit(
        &mut self,
        kind: Kind,
        claimed: Option<EventTime>,
        counter: Option<&str>,
        payload_type: PayloadType,
        payload: Bytes,
    ) {
        let time = claimed.or(self.options.observed_at);
        if let Some(time) = time {
            let late = time.unix_ns().saturating_sub(self.now()) > FUTURE_TOLERANCE_NS;
            self.future_times += u64::from(late);
            self.first_time = Some(self.first_time.map_or(time, |first| first.min(time)));
            self.last_time = Some(self.last_time.map_or(time, |last| last.max(time)));
        }
        if let Some(run) = self.run.take() {
            let to = self.last_known();
            self.fault_gap(&run, to);
        }
        self.push(kind, time, counter, payload_type, payload);
    }

    fn push(
        &mut self,
        kind: Kind,
        event_time: Option<EventTime>,
        counter: Option<&str>,
        payload_type: PayloadType,
        payload: Bytes,
    ) {
        let origin_counter = counter
            .filter(|text| !text.is_empty() && text.len() <= ORIGIN_COUNTER_BYTES_MAX)
            .map(str::to_owned);
        self.out.push(Draft { kind, event_time, origin_counter, payload_type, payload });
    }

    /// Takes a frame in, redacted.
    pub(super) fn emit_frame(
        &mut self,
        kind: Kind,
        claimed: Option<EventTime>,
        rv: &str,
        mut context: FrameContext,
        raw: Bytes,
    ) -> Result<(), Wrong> {
        let raw = self.redactor.frame(&mut context, raw).map_err(|e| Wrong::redact(&e))?;
        let payload = context.join(&raw).into();
        self.emit(kind, claimed, Some(rv), PayloadType::FRAME, payload);
        Ok(())
    }

    pub(super) fn context(&self, resource: Resource) -> FrameContext {
        FrameContext {
            cluster: self.options.cluster.clone(),
            server: String::new(),
            group: resource.group,
            version: resource.version,
            resource: resource.resource,
            kind: resource.kind,
            namespaced: resource.namespaced,
            redacted: false,
            list: None,
        }
    }

    pub(super) fn gap(&mut self, gap: &Gap, time: Option<EventTime>) {
        self.push(Kind::GAP, time, None, PayloadType::JSON, gap.encode().into());
    }

    fn fault_gap(&mut self, run: &FaultRun, to: ObservedTime) {
        let FaultRun { from, first_line, last_line, count } = run;
        let gap = Gap {
            cluster: Some(self.options.cluster.clone()),
            group: None,
            resource: None,
            from_ns: *from,
            to_ns: Some(to.max(*from)),
            from_rv: None,
            to_rv: None,
            reason: GapReason::Unreadable,
            recovered: false,
            detail: format!(
                "{}: {count} unreadable documents between line {first_line} and line {last_line}",
                self.options.name
            ),
        };
        self.gap(&gap, Some(EventTime::from_unix_ns(to.unix_ns())));
    }
}
