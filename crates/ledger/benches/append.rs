//! How fast the ledger takes records in, beside the raw limit of the same machine in the same run.
//!
//! The raw limit is what nobody can go below: the same bytes hashed (leaf and commitment), framed,
//! written to one file and synced, in groups as large as the ledger's own segments were. Rounds of
//! both are interleaved and medians are shown, because machines are noisy. A record counts for the
//! ledger when its inclusion proof is in hand; in batches that is one proof for the whole batch.
//! Payloads are noise, so that packing can save nothing.
//!
//! `cargo xtask bench append [-- --rounds N --dir DIR --load NAME --payload BYTES --json]`; DIR
//! decides which disk is measured. Memory is what the process had at most while the ledger was at
//! work, less what it had before: the records to be appended are made beforehand.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_record::{Commitment, Salts, Seq, Submission, SubmittedRecord};
use stele_store::{Clock, DiskStore, SystemClock};

#[path = "common/mod.rs"]
mod common;

use common::{BOOT, Fault, Stream, stored_bytes};

/// How the records reach the ledger.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    writers: usize,
    batch: usize,
    submissions: usize,
}

const LOADS: [Load; 4] = [
    Load { name: "batches-512-by-8", writers: 8, batch: 512, submissions: 120 },
    Load { name: "batches-100-by-16", writers: 16, batch: 100, submissions: 100 },
    Load { name: "single-by-256", writers: 256, batch: 1, submissions: 200 },
    Load { name: "single-by-1000", writers: 1000, batch: 1, submissions: 60 },
];

const PAYLOAD_BYTES: [usize; 2] = [256, 1024];

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Fault> {
    let options = Options::parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !options.json {
        print_head(options.rounds);
    }
    for load in LOADS.iter().filter(|load| options.wants(load)) {
        for payload in options.payloads() {
            let mut rounds = Vec::new();
            for _ in 0..options.rounds {
                rounds.push(round(&runtime, &options, *load, payload)?);
            }
            let row = Row::of(load, payload, &rounds);
            if options.json {
                println!("{}", serde_json::to_string(&row)?);
            } else {
                row.print();
            }
        }
    }
    Ok(())
}

struct Options {
    rounds: usize,
    dir: PathBuf,
    loads: Vec<String>,
    payload: Option<usize>,
    json: bool,
}

impl Options {
    fn parse() -> Result<Self, Fault> {
        let mut options = Self {
            rounds: 5,
            dir: std::env::temp_dir(),
            loads: Vec::new(),
            payload: None,
            json: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--dir" => options.dir = value()?.into(),
                "--load" => options.loads.push(value()?),
                "--payload" => options.payload = Some(value()?.parse()?),
                "--json" => options.json = true,
                // Cargo adds it to every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        let unknown = options.loads.iter().find(|name| LOADS.iter().all(|l| l.name != **name));
        if let Some(unknown) = unknown {
            let known = LOADS.map(|load| load.name).join(", ");
            return Err(format!("no load is called {unknown:?}; there are {known}").into());
        }
        Ok(options)
    }

    fn wants(&self, load: &Load) -> bool {
        self.loads.is_empty() || self.loads.iter().any(|name| name == load.name)
    }

    fn payloads(&self) -> Vec<usize> {
        self.payload.map_or_else(|| PAYLOAD_BYTES.to_vec(), |payload| vec![payload])
    }
}

#[derive(Clone)]
struct Round {
    raw_per_s: f64,
    stele_per_s: f64,
    full: Latencies,
    half: Latencies,
    raw_cpu_us: f64,
    stele_cpu_us: f64,
    memory_mb: f64,
    bytes_per_record: f64,
}

#[derive(Clone, Copy)]
struct Latencies {
    p50: Duration,
    p99: Duration,
}

fn round(
    runtime: &tokio::runtime::Runtime,
    options: &Options,
    load: Load,
    payload: usize,
) -> Result<Round, Fault> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let dir = tempfile::tempdir_in(&options.dir)?;
    let work = work(load, payload, 0)?;
    let records = (load.writers * load.submissions * load.batch) as f64;

    let store = Arc::new(DiskStore::open(dir.path().join("log"))?);
    let key = LogKey::generate("bench.example/log")?;
    let ledger = Ledger::create(store, &key, Arc::clone(&clock), LedgerOptions::default())?;
    let (before, cpu) = (Memory::reset(), cpu_s());
    let started = clock.monotonic();
    let full = runtime.block_on(drive(&ledger, &clock, work.clone(), None))?;
    let elapsed = clock.monotonic() - started;
    let memory_mb = before.peak_since_mb();
    let stele_cpu_us = (cpu_s() - cpu) * 1e6 / records;

    // The same load again from other sources, at half the speed just reached.
    let pause = elapsed.mul_f64(2.0) / load.submissions as u32;
    let again = self::work(load, payload, load.writers)?;
    let half = runtime.block_on(drive(&ledger, &clock, again, Some(pause)))?;
    let size = ledger.checkpoint().size.0;
    let groups = size / segments(dir.path()).max(1);
    ledger.close();
    let bytes_per_record = stored_bytes(&dir.path().join("log")) as f64 / size as f64;

    let cpu = cpu_s();
    let raw = raw_limit(&clock, &dir.path().join("raw"), &work, groups.max(1) as usize)?;
    let raw_cpu_us = (cpu_s() - cpu) * 1e6 / records;
    Ok(Round {
        raw_per_s: records / raw.as_secs_f64(),
        stele_per_s: records / elapsed.as_secs_f64(),
        full,
        half,
        raw_cpu_us,
        stele_cpu_us,
        memory_mb,
        bytes_per_record,
    })
}

/// Seconds of processor time that this process has taken, in hundredths; nothing where the system
/// does not tell.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Fields 14 and 15 of proc_pid_stat(5), in ticks of which Linux shows 100 a second.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Memory of this process, where the system tells it.
struct Memory {
    before_kb: Option<u64>,
}

impl Memory {
    /// Forgets the peak so far.
    fn reset() -> Self {
        // Elsewhere than on Linux there is no such file, and no figure.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self { before_kb: Self::kb("VmRSS:") }
    }

    fn peak_since_mb(&self) -> f64 {
        let peak = Self::kb("VmHWM:").zip(self.before_kb);
        peak.map_or(f64::NAN, |(peak, before)| peak.saturating_sub(before) as f64 / 1024.0)
    }

    fn kb(field: &str) -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Segments that the run made, from the name of the last one.
fn segments(dir: &Path) -> u64 {
    let names = std::fs::read_dir(dir.join("log/objects/segments"));
    let last = names.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    });
    last.max().map_or(1, |last| last + 1)
}

/// All submissions of all writers; writers are numbered from `first` on.
fn work(load: Load, payload: usize, first: usize) -> Result<Vec<Vec<Submission>>, Fault> {
    (first..first + load.writers)
        .map(|writer| {
            let mut stream = Stream::new(writer as u64, payload)?;
            Ok((0..load.submissions).map(|_| stream.submission(load.batch)).collect())
        })
        .collect()
}

/// Each writer waits for the proof of its last submission before the next, and for `pause` from
/// start to start where one is given.
async fn drive(
    ledger: &Ledger,
    clock: &Arc<dyn Clock>,
    work: Vec<Vec<Submission>>,
    pause: Option<Duration>,
) -> Result<Latencies, Fault> {
    let writers: Vec<_> = work
        .into_iter()
        .enumerate()
        .map(|(number, submissions)| {
            let (ledger, clock) = (ledger.clone(), Arc::clone(clock));
            tokio::spawn(async move {
                let mut waits = Vec::with_capacity(submissions.len());
                if let Some(pause) = pause {
                    // Spread the writers over one pause instead of starting all at once.
                    tokio::time::sleep(pause.mul_f64(number as f64 % 97.0 / 97.0)).await;
                }
                for submission in submissions {
                    let started = clock.monotonic();
                    let receipt = ledger.append(submission).await.map_err(|e| e.to_string())?;
                    let proofs = ledger.run_proofs_for(&receipt).map_err(|e| e.to_string())?;
                    std::hint::black_box(proofs);
                    let waited = clock.monotonic() - started;
                    waits.push(waited);
                    if let Some(pause) = pause {
                        tokio::time::sleep(pause.saturating_sub(waited)).await;
                    }
                }
                Ok::<_, String>(waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for writer in writers {
        waits.extend(writer.await??);
    }
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    Ok(Latencies { p50: at(0.5), p99: at(0.99) })
}

fn raw_limit(
    clock: &Arc<dyn Clock>,
    path: &Path,
    work: &[Vec<Submission>],
    group: usize,
) -> Result<Duration, Fault> {
    let salts: Vec<Salts> = work.iter().map(|writer| writer[0].secret.salts()).collect();
    let records: Vec<(&Salts, &SubmittedRecord)> = work
        .iter()
        .zip(&salts)
        .flat_map(|(writer, salts)| writer.iter().map(move |submission| (salts, submission)))
        .flat_map(|(salts, submission)| submission.records.iter().map(move |r| (salts, r)))
        .collect();
    let mut file = OpenOptions::new().create_new(true).append(true).open(path)?;
    let started = clock.monotonic();
    let mut checks = 0_u8;
    let mut frame = Vec::new();
    for records in records.chunks(group) {
        frame.clear();
        for (salts, record) in records {
            let leaf = Sha256::new().chain_update([0]).chain_update(&record.header).finalize();
            let salt = salts.salt(BOOT, Seq(0));
            let commitment = Commitment::new(&salt, &record.payload);
            checks ^= leaf[0] ^ commitment.as_bytes()[0];
            put(&mut frame, &record.header);
            put(&mut frame, &record.payload);
        }
        file.write_all(&frame)?;
        file.sync_data()?;
    }
    let elapsed = clock.monotonic() - started;
    std::hint::black_box(checks);
    Ok(elapsed)
}

fn put(frame: &mut Vec<u8>, bytes: &Bytes) {
    frame.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    frame.extend_from_slice(bytes);
}

/// Medians of all rounds of one load.
#[derive(Serialize)]
struct Row {
    load: &'static str,
    payload_bytes: usize,
    rounds: usize,
    raw_per_s: f64,
    stele_per_s: f64,
    ratio_percent: f64,
    p50_ms: f64,
    p99_ms: f64,
    half_load_p50_ms: f64,
    half_load_p99_ms: f64,
    raw_cpu_us_per_record: f64,
    stele_cpu_us_per_record: f64,
    memory_mb: f64,
    stored_bytes_per_record: f64,
}

impl Row {
    fn of(load: &Load, payload_bytes: usize, rounds: &[Round]) -> Self {
        let median = |value: fn(&Round) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            load: load.name,
            payload_bytes,
            rounds: rounds.len(),
            raw_per_s: median(|r| r.raw_per_s),
            stele_per_s: median(|r| r.stele_per_s),
            ratio_percent: median(|r| 100.0 * r.stele_per_s / r.raw_per_s),
            p50_ms: median(|r| ms(r.full.p50)),
            p99_ms: median(|r| ms(r.full.p99)),
            half_load_p50_ms: median(|r| ms(r.half.p50)),
            half_load_p99_ms: median(|r| ms(r.half.p99)),
            raw_cpu_us_per_record: median(|r| r.raw_cpu_us),
            stele_cpu_us_per_record: median(|r| r.stele_cpu_us),
            memory_mb: median(|r| r.memory_mb),
            stored_bytes_per_record: median(|r| r.bytes_per_record),
        }
    }

    fn print(&self) {
        println!(
            "{:<18} {:>6}B {:>10.0} {:>10.0} {:>5.0}% {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>7.2} {:>7.2} {:>6.0} {:>6.0}",
            self.load,
            self.payload_bytes,
            self.raw_per_s,
            self.stele_per_s,
            self.ratio_percent,
            self.p50_ms,
            self.p99_ms,
            self.half_load_p50_ms,
            self.half_load_p99_ms,
            self.raw_cpu_us_per_record,
            self.stele_cpu_us_per_record,
            self.memory_mb,
            self.stored_bytes_per_record,
        );
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn print_head(rounds: usize) {
    println!(
        "{rounds} rounds each, medians. Records/s; milliseconds from submit to proof in hand, at \
         full and at half load;\nmicroseconds of processor time a record; MB of memory at most beyond the records themselves; bytes on \
         disk for a record.\n"
    );
    println!(
        "{:<18} {:>7} {:>10} {:>10} {:>6} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "load",
        "payload",
        "raw",
        "stele",
        "ratio",
        "p50",
        "p99",
        "half p50",
        "half p99",
        "MB",
        "bytes"
    );
}
