//! A long haul: a log of many small records, and what its size costs.
//!
//! A child process appends records until there are as many as wanted and then dies without a word,
//! as in a crash. The parent opens the ledger, makes proofs, and prints: appends per second for
//! each tenth of the way, bytes on disk a record, the time of the start-up, the time of a proof.
//!
//! `cargo xtask bench haul [-- --records N --payload BYTES --dir DIR]`. Mind the disk: 10 million
//! records of 128 bytes take about 4 GB.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_merkle::{LeafIndex, leaf_hash, verify_inclusion};
use stele_store::{Clock, DiskStore, SystemClock};

#[path = "common/mod.rs"]
mod common;

use common::{Fault, Stream, stored_bytes};

const WRITERS: u64 = 4;
const BATCH: usize = 512;
/// Stretches for which the speed is told.
const STRETCHES: u64 = 10;
/// Proofs that are timed, spread over the whole log.
const PROOFS: u64 = 1000;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Fault> {
    let options = Options::parse()?;
    if let Some(dir) = &options.append_in {
        return append(dir, &options);
    }
    let dir = tempfile::tempdir_in(&options.dir)?;
    println!(
        "{} records of {} bytes in {}",
        options.records,
        options.payload,
        options.dir.display()
    );
    let key = LogKey::generate("bench.example/haul")?;
    key.save(&dir.path().join("key"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--records", &options.records.to_string()])
        .args(["--payload", &options.payload.to_string()])
        .arg("--append-in")
        .arg(dir.path())
        .stdin(Stdio::null())
        .spawn()?;
    // It ends itself with a signal once it has appended everything.
    if child.wait()?.success() {
        return Err("the appending process ended without a crash".into());
    }
    examine(dir.path(), &key, options.records)
}

struct Options {
    records: u64,
    payload: usize,
    dir: PathBuf,
    /// Set in the child alone.
    append_in: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, Fault> {
        let mut options =
            Self { records: 10_000_000, payload: 128, dir: std::env::temp_dir(), append_in: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--records" => options.records = value()?.parse()?,
                "--payload" => options.payload = value()?.parse()?,
                "--dir" => options.dir = value()?.into(),
                "--append-in" => options.append_in = Some(value()?.into()),
                // Cargo adds it to every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        if options.records < STRETCHES * WRITERS * BATCH as u64 {
            return Err("too few records for a haul".into());
        }
        Ok(options)
    }
}

fn append(dir: &Path, options: &Options) -> Result<(), Fault> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = Arc::new(DiskStore::open(dir.join("log"))?);
    let key = LogKey::load(&dir.join("key"))?;
    let ledger = Ledger::create(store, &key, Arc::clone(&clock), LedgerOptions::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut streams: Vec<Stream> =
        (0..WRITERS).map(|n| Stream::new(n, options.payload)).collect::<Result<_, _>>()?;
    let stretch = options.records / STRETCHES;
    for number in 1..=STRETCHES {
        let (start, before) = (clock.monotonic(), ledger.checkpoint().size.0);
        streams = runtime.block_on(append_stretch(&ledger, streams, stretch / WRITERS))?;
        let appended = ledger.checkpoint().size.0 - before;
        let per_s = appended as f64 / (clock.monotonic() - start).as_secs_f64();
        println!("{:>3} % {per_s:>10.0} records/s", number * 100 / STRETCHES);
    }
    std::process::abort()
}

async fn append_stretch(
    ledger: &Ledger,
    streams: Vec<Stream>,
    records: u64,
) -> Result<Vec<Stream>, Fault> {
    let writers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for _ in 0..records.div_ceil(BATCH as u64) {
                    let submission = stream.submission(BATCH);
                    let receipt = ledger.append(submission).await.map_err(|e| e.to_string())?;
                    ledger.run_proofs_for(&receipt).map_err(|e| e.to_string())?;
                }
                Ok::<_, String>(stream)
            })
        })
        .collect();
    let mut streams = Vec::new();
    for writer in writers {
        streams.push(writer.await??);
    }
    Ok(streams)
}

fn examine(dir: &Path, key: &LogKey, wanted: u64) -> Result<(), Fault> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let started = clock.monotonic();
    let store = Arc::new(DiskStore::open(dir.join("log"))?);
    let ledger = Ledger::open(store, key, Arc::clone(&clock), LedgerOptions::default())?;
    let opened = clock.monotonic() - started;
    let checkpoint = ledger.checkpoint();
    let size = checkpoint.size;
    if size.0 < wanted {
        return Err(format!("{} records are there, {wanted} were acknowledged", size.0).into());
    }
    println!("start-up after the crash {:.2} s, {} records", opened.as_secs_f64(), size.0);
    let mut took = Vec::new();
    for number in 0..PROOFS {
        let index = LeafIndex(number * 7_919_333 % size.0);
        let started = clock.monotonic();
        let proof = ledger.inclusion_proof(index, size)?;
        took.push(clock.monotonic() - started);
        let leaf = leaf_hash(&ledger.read(index)?.header_bytes);
        verify_inclusion(leaf, index, size, &proof, checkpoint.root)?;
    }
    took.sort_unstable();
    let ms = |share: f64| {
        let at: Duration = took[((took.len() - 1) as f64 * share) as usize];
        at.as_secs_f64() * 1e3
    };
    println!("a proof {:.3} ms in the median, {:.3} ms in 99 of 100", ms(0.5), ms(0.99));
    ledger.close();
    let per_record = stored_bytes(&dir.join("log")) as f64 / size.0 as f64;
    println!("{per_record:.0} bytes on disk a record");
    Ok(())
}
