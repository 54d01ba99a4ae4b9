//! How little a log of real documents takes of the disk, with each of them still to be had alone.
//!
//! Appends a recording of a control plane again and again, waits until all of it is in packs, and
//! prints: bytes on disk a record, beside what `zstd -19` makes of the whole recording, in which
//! nobody can look anything up; then reads and proves records at random.
//!
//! `cargo xtask bench density [-- --records N --dir DIR]`. Not measured: the state view.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stele_ledger::{Ledger, LedgerOptions, LogKey, PACK_RECORDS_DEFAULT};
use stele_merkle::{LeafIndex, leaf_hash, verify_inclusion};
use stele_store::{Clock, DiskStore, SystemClock};

#[path = "common/mod.rs"]
mod common;

use common::{Fault, Stream, stored_bytes};

const BATCH: usize = 256;
/// Records that are read and proven, spread over the whole log.
const READS: u64 = 1000;
/// How long the last records may take into their pack.
const PACKING_MAX: Duration = Duration::from_secs(120);
/// Segments behind the last pack: the ledger writes records of its own.
const LEFT_OVER_MAX: usize = 8;
const PACKING_PAUSE: Duration = Duration::from_millis(100);

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Fault> {
    let (mut records, mut dir) = (1_000_000_u64, std::env::temp_dir());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--records" => records = value()?.parse()?,
            "--dir" => dir = value()?.into(),
            // Cargo adds it to every benchmark.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let recording = recordings().join("control-plane/watch.jsonl.zst");
    if !recording.exists() {
        println!("not run: there are no recordings; set STELE_RECORDINGS");
        return Ok(());
    }
    let documents = documents(&recording)?;
    // Whole packs, so that all of it ends up in them.
    let records = records.div_ceil(PACK_RECORDS_DEFAULT) * PACK_RECORDS_DEFAULT;
    let total: usize = documents.iter().map(Bytes::len).sum();
    let whole = zstd::bulk::compress(&documents.concat(), 19)?.len();
    let count = documents.len();
    println!("{records} records out of {count} documents of {} bytes", total / count);
    let dir = tempfile::tempdir_in(dir)?;
    measure(dir.path(), &documents, records)?;
    println!("zstd -19 of the whole recording: {} bytes a document", whole / count);
    Ok(())
}

fn recordings() -> PathBuf {
    std::env::var_os("STELE_RECORDINGS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"),
        PathBuf::from,
    )
}

fn documents(recording: &Path) -> Result<Vec<Bytes>, Fault> {
    let file = std::io::BufReader::new(zstd::Decoder::new(std::fs::File::open(recording)?)?);
    let lines: Result<Vec<Bytes>, _> = file.lines().map(|line| line.map(Bytes::from)).collect();
    Ok(lines?)
}

fn measure(dir: &Path, documents: &[Bytes], records: u64) -> Result<(), Fault> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = Arc::new(DiskStore::open(dir.join("log"))?);
    let key = LogKey::generate("bench.example/density")?;
    let ledger = Ledger::create(store, &key, Arc::clone(&clock), LedgerOptions::default())?;
    let mut stream = Stream::new(0, 0)?;
    let mut next = documents.iter().cycle();
    let started = clock.monotonic();
    // The ledger's own source writes as well.
    while let Some(left) = records.checked_sub(ledger.checkpoint().size.0).filter(|left| *left > 0)
    {
        let count = BATCH.min(usize::try_from(left)?);
        let payloads = next.by_ref().take(count).cloned().collect();
        ledger.append_blocking(stream.submission_of(payloads))?;
    }
    let appended = clock.monotonic() - started;
    while std::fs::read_dir(dir.join("log/objects/segments"))?.count() > LEFT_OVER_MAX {
        if clock.monotonic() - started > appended + PACKING_MAX {
            return Err("the last records are not packed".into());
        }
        std::thread::sleep(PACKING_PAUSE);
    }
    let packed = clock.monotonic() - started;
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    println!("{:.0} records/s appended, {:.0} with the last pack", rate(appended), rate(packed));
    let per_record = |dir: &Path| stored_bytes(dir) as f64 / records as f64;
    println!("{:.1} bytes on disk a record", per_record(&dir.join("log")));
    read(&ledger, &*clock)?;
    ledger.close();
    Ok(())
}

fn read(ledger: &Ledger, clock: &dyn Clock) -> Result<(), Fault> {
    let checkpoint = ledger.checkpoint();
    let size = checkpoint.size;
    let mut took = Vec::new();
    for number in 0..READS {
        let index = LeafIndex(number * 7_919_333 % size.0);
        let started = clock.monotonic();
        let record = ledger.read(index)?;
        let proof = ledger.inclusion_proof(index, size)?;
        took.push(clock.monotonic() - started);
        let leaf = leaf_hash(&record.header_bytes);
        verify_inclusion(leaf, index, size, &proof, checkpoint.root)?;
    }
    took.sort_unstable();
    let ms = |share: f64| {
        let at: Duration = took[((took.len() - 1) as f64 * share) as usize];
        at.as_secs_f64() * 1e3
    };
    println!(
        "a record at random with its proof: {:.2} ms in the median, {:.2} ms in 99 of 100",
        ms(0.5),
        ms(0.99)
    );
    Ok(())
}
