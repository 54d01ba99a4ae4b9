//! Import: what people already hold becomes records of a source that declares itself imported.
//!
//! Taken are the output of `kubectl get --watch --output-watch-events -o json`, recordings of
//! lists and watches, object lists, audit logs and `etcdctl watch -w json`; plain, zstd or gzip.
//!
//! Not here: belief. A record keeps the time that the input claims as its event time, and the time
//! of the import as its observed time. Whether a claim is true shows only against other sources.
//!
//! Invariants: input is read as a stream, no document is larger than its named limit; what can't
//! be read is skipped, counted, reported with its place, and recorded as a gap; the rest is taken.

mod convert;
mod detect;
mod error;
mod input;
mod logs;
mod objects;
mod recording;
mod report;
mod scan;
mod split;
mod types;

use std::io::Read;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stele_record::EventTime;
use stele_source::{Draft, Source};
use tokio::sync::mpsc;

use convert::Converter;
use input::Input;
use split::{Splitter, Unit};

pub use error::ImportError;
pub use report::{Compression, Fault, ImportReport, Progress};

/// Longest line or document that is taken, in bytes of plain text.
pub const DOCUMENT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Longest line of a line format, in bytes: what fits into one record.
pub const LINE_BYTES_MAX: usize = 63 * 1024 * 1024;

/// Most faults that a report lists; more are only counted.
pub const FAULTS_MAX: usize = 100;

/// A claimed time further in the future than this is counted in the report.
pub const FUTURE_TOLERANCE_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// Bytes of records that are handed over at a time.
const BATCH_BYTES: usize = 1024 * 1024;
const BATCH_RECORDS: usize = 512;

/// The forms of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Watch events `{"type", "object"}`, one after the other.
    Watch,
    /// Lines that wrap lists and watch events with their time of receipt.
    Recording,
    /// Objects and lists of objects.
    List,
    /// Lines of audit.k8s.io/v1.
    Audit,
    /// Lines of `etcdctl watch -w json`.
    Etcd,
}

impl Format {
    /// All forms.
    pub const ALL: [Self; 5] = [Self::Watch, Self::Recording, Self::List, Self::Audit, Self::Etcd];

    /// The name used in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Recording => "recording",
            Self::List => "list",
            Self::Audit => "audit",
            Self::Etcd => "etcd",
        }
    }

    /// One document a line.
    const fn is_lines(self) -> bool {
        matches!(self, Self::Recording | Self::Audit | Self::Etcd)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown format {text:?}; known are {known}")
        })
    }
}

/// How to import, as plain data.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The form of the input; `None` recognises it.
    pub format: Option<Format>,
    /// Name of the input in reports: a file name, or `-`.
    pub name: String,
    /// The cluster the input came from: its id if known, else a name.
    pub cluster: String,
    /// When input that carries no times was taken, if that is known.
    pub observed_at: Option<EventTime>,
    /// The input holds all that there was: what a list leaves out did not exist, and where a watch
    /// has no list before it, nothing existed when it began.
    pub complete: bool,
    /// Record values of Secrets as they are. Off unless somebody asks for it.
    pub store_secret_values: bool,
}

/// What the reading side hands to the recording side.
#[derive(Default)]
struct Batch {
    drafts: Vec<Draft>,
    bytes: usize,
}

/// Imports `reader` into `source`, and flushes it. `progress` is called now and then.
///
/// # Errors
/// [`ImportError`] if nothing can be read, the form is not recognised, or the source fails. Faults
/// of single documents are no errors: see [`ImportReport::skipped`].
pub async fn import(
    reader: impl Read + Send + 'static,
    options: ImportOptions,
    source: &Source,
    mut progress: impl FnMut(Progress),
) -> Result<ImportReport, ImportError> {
    let (send, mut receive) = mpsc::channel::<Batch>(2);
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let converter_source = source.clone();
    let reading = tokio::task::spawn_blocking(move || {
        read_all(reader, counter, options, &converter_source, &send)
    });
    let mut records = 0;
    while let Some(batch) = receive.recv().await {
        for draft in batch.drafts {
            source.record(draft, &[]).await?;
            records += 1;
        }
        progress(Progress { bytes: read.load(Ordering::Relaxed), records });
    }
    let mut report = reading.await.map_err(|_| ImportError::Stopped)??;
    source.flush().await?;
    report.records = records;
    Ok(report)
}

fn read_all(
    reader: impl Read + Send + 'static,
    counter: Arc<AtomicU64>,
    options: ImportOptions,
    source: &Source,
    send: &mpsc::Sender<Batch>,
) -> Result<ImportReport, ImportError> {
    let input = Input::open(Box::new(reader), counter)?;
    let format = match options.format {
        Some(format) => format,
        None => detect::detect(input.prefix())
            .ok_or_else(|| ImportError::UnknownFormat { name: options.name.clone() })?,
    };
    let compression = input.compression();
    let mut converter = Converter::new(format, options, source);
    let mut splitter = Splitter::new(input, format.is_lines());
    let mut batch = Batch::default();
    loop {
        let unit = splitter.next_unit();
        let last = matches!(unit, Unit::End);
        match unit {
            Unit::Document(document) => converter.document(&document),
            Unit::Bad { fault } => converter.fault(fault),
            Unit::End => converter.end(),
        }
        for draft in converter.take() {
            batch.bytes += draft.payload.len();
            batch.drafts.push(draft);
        }
        let full = batch.bytes >= BATCH_BYTES || batch.drafts.len() >= BATCH_RECORDS;
        if (full || last) && send.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Err(ImportError::Stopped);
        }
        if last {
            return Ok(converter.report(compression, splitter.bytes()));
        }
    }
}
