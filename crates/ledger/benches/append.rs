//! How fast the ledger takes records in, beside the raw limit of the same machine in the same run.
//!
//! The raw limit is what nobody can go below: the same bytes hashed (leaf and commitment), framed,
//! written to one file and synced, in groups as large as the ledger's own segments were. Rounds of
//! both are interleaved and medians are shown, because machines are noisy. A record counts for the
//! ledger when its inclusion proof is in hand.
//!
//! `cargo xtask bench append [-- --rounds N --dir DIR]`; DIR decides which disk is measured.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_record::{
    Boot, Commitment, Epoch, EpochSecret, Header, Kind, ObservedTime, PayloadType, Seq, SourceKey,
    Submission, SubmittedRecord,
};
use stele_store::{Clock, DiskStore, SystemClock};

type Fault = Box<dyn std::error::Error>;

/// How the records reach the ledger.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    writers: usize,
    batch: usize,
    submissions: usize,
}

const LOADS: [Load; 3] = [
    Load { name: "batches of 512, 8 writers", writers: 8, batch: 512, submissions: 40 },
    Load { name: "single records, 256 writers", writers: 256, batch: 1, submissions: 200 },
    Load { name: "single records, 1000 writers", writers: 1000, batch: 1, submissions: 60 },
];

const PAYLOAD_BYTES: [usize; 2] = [256, 1024];

fn main() -> Result<(), Fault> {
    let options = Options::parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!(
        "{} rounds each, medians. Records/s; p50 and p99 from submit to proof in hand.\n",
        options.rounds
    );
    println!(
        "{:<30} {:>7} {:>12} {:>12} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "load", "payload", "raw", "stele", "ratio", "p50", "p99", "half p50", "half p99"
    );
    for load in LOADS {
        for payload in PAYLOAD_BYTES {
            let mut rounds = Vec::new();
            for _ in 0..options.rounds {
                rounds.push(round(&runtime, &options.dir, load, payload)?);
            }
            print_row(load, payload, &rounds);
        }
    }
    Ok(())
}

struct Options {
    rounds: usize,
    dir: PathBuf,
}

impl Options {
    fn parse() -> Result<Self, Fault> {
        let mut options = Self { rounds: 5, dir: std::env::temp_dir() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--dir" => options.dir = value()?.into(),
                // Cargo adds it to every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }
}

struct Round {
    raw_per_s: f64,
    stele_per_s: f64,
    full: Latencies,
    half: Latencies,
}

struct Latencies {
    p50: Duration,
    p99: Duration,
}

fn round(
    runtime: &tokio::runtime::Runtime,
    parent: &Path,
    load: Load,
    payload: usize,
) -> Result<Round, Fault> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let dir = tempfile::tempdir_in(parent)?;
    let work: Vec<Vec<Submission>> = (0..load.writers)
        .map(|writer| submissions(writer, load, payload))
        .collect::<Result<_, _>>()?;
    let records = load.writers * load.submissions * load.batch;

    let store = Arc::new(DiskStore::open(dir.path().join("log"))?);
    let key = LogKey::generate("bench.example/log")?;
    let ledger = Ledger::create(store, &key, Arc::clone(&clock), LedgerOptions::default())?;
    let started = clock.monotonic();
    let full = runtime.block_on(drive(&ledger, &clock, work.clone(), None))?;
    let elapsed = clock.monotonic() - started;
    let stele_per_s = records as f64 / elapsed.as_secs_f64();

    // The same load again as a second boot's worth of sources, at half the speed just reached.
    let pause = elapsed.mul_f64(2.0) / load.submissions as u32;
    let again: Vec<Vec<Submission>> = (0..load.writers)
        .map(|writer| submissions(load.writers + writer, load, payload))
        .collect::<Result<_, _>>()?;
    let half = runtime.block_on(drive(&ledger, &clock, again, Some(pause)))?;
    let groups = ledger.checkpoint().size.0 / segments(dir.path()).max(1);
    ledger.close();

    let raw = raw_limit(&clock, &dir.path().join("raw"), &work, groups.max(1) as usize)?;
    Ok(Round { raw_per_s: records as f64 / raw.as_secs_f64(), stele_per_s, full, half })
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

fn submissions(writer: usize, load: Load, payload: usize) -> Result<Vec<Submission>, Fault> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(writer as u64).to_le_bytes());
    let source = SourceKey::from_seed(seed)?.source_id();
    let secret = EpochSecret::from_bytes(seed);
    let boot = Boot(1);
    let record = |seq: u64| {
        let mut bytes = vec![0_u8; payload];
        bytes[..8].copy_from_slice(&seq.to_le_bytes());
        let header = Header {
            source,
            boot,
            seq: Seq(seq),
            epoch: Epoch(0),
            kind: Kind::EVENT,
            event_time: None,
            observed_time: ObservedTime::from_unix_ns(1_795_460_667_690_613_574),
            origin_counter: None,
            payload_len: payload as u64,
            payload_type: PayloadType::BYTES,
            commitment: Commitment::new(&secret.salt(boot, Seq(seq)), &bytes),
        };
        SubmittedRecord { header: header.encode().into(), payload: bytes.into() }
    };
    let batch = |n: usize| Submission {
        epoch: Epoch(0),
        secret: secret.clone(),
        records: (0..load.batch).map(|i| record((n * load.batch + i) as u64)).collect(),
    };
    Ok((0..load.submissions).map(batch).collect())
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
                    ledger.proofs_for(&receipt).map_err(|e| e.to_string())?;
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
    let records: Vec<(&EpochSecret, &SubmittedRecord)> = work
        .iter()
        .flatten()
        .flat_map(|submission| submission.records.iter().map(|record| (&submission.secret, record)))
        .collect();
    let mut file = OpenOptions::new().create_new(true).append(true).open(path)?;
    let started = clock.monotonic();
    let mut checks = 0_u8;
    for records in records.chunks(group) {
        let mut frame = Vec::new();
        for (secret, record) in records {
            let leaf = Sha256::new().chain_update([0]).chain_update(&record.header).finalize();
            let salt = secret.salt(Boot(1), Seq(0));
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

fn print_row(load: Load, payload: usize, rounds: &[Round]) {
    let median = |value: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ms = |value: f64| format!("{:.2}ms", value * 1e3);
    println!(
        "{:<30} {:>6}B {:>12.0} {:>12.0} {:>5.0}% {:>9} {:>9} {:>9} {:>9}",
        load.name,
        payload,
        median(|r| r.raw_per_s),
        median(|r| r.stele_per_s),
        median(|r| 100.0 * r.stele_per_s / r.raw_per_s),
        ms(median(|r| r.full.p50.as_secs_f64())),
        ms(median(|r| r.full.p99.as_secs_f64())),
        ms(median(|r| r.half.p50.as_secs_f64())),
        ms(median(|r| r.half.p99.as_secs_f64())),
    );
}
