//! Years of a cluster in a state view: how fast it is folded, what it takes of the disk, and how
//! long questions about random points take.
//!
//! The records are made from a recording of a real control plane (`shared/recordings/control-plane`,
//! or `STELE_RECORDINGS`): many clusters' worth of it side by side in namespaces of their own
//! (lanes), over and over (rounds), each time with other uids, addresses, resource versions and
//! times. The same seed makes the same records.
//!
//! `cargo xtask bench history [-- --changes N --lanes N --questions N --dir DIR --json]`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stele_record::{
    Boot, Commitment, Declaration, Epoch, EventTime, Header, Kind, ObservedTime, PayloadType, Seq,
    SourceId,
};
use stele_state::query::{Filter, IpQuery, ListQuery};
use stele_state::{FoldRecord, Point, State, Time};
use stele_store::{Clock, SystemClock};

#[path = "history/generator.rs"]
mod generator;

use generator::{Generator, Random};

type Fault = Box<dyn Error>;

/// Records that are folded in one transaction, as `stele up` does.
const BATCH: usize = 1_024;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Fault> {
    let options = Options::parse()?;
    let Some(recordings) = recordings() else {
        println!("not run: there are no recordings; set STELE_RECORDINGS");
        return Ok(());
    };
    let dir = tempfile::tempdir_in(&options.dir)?;
    let mut generator = Generator::new(&recordings, options.lanes, options.seed)?;
    let state = State::open(dir.path())?;
    let folded = fold(&state, &mut generator, options.changes)?;
    let bytes = stored_bytes(dir.path());
    println!(
        "{} changes, {} of them objects' first, {} pods, {} MB of frames",
        folded.changes,
        generator.lives(),
        generator.pods(),
        folded.bytes / 1_000_000,
    );
    println!(
        "fold            {:>10.0} frames/s   {:.1} us of processor time a frame",
        folded.frames as f64 / folded.took.as_secs_f64(),
        folded.cpu_s * 1e6 / folded.frames as f64,
    );
    println!("disk            {:>10.1} B a change", bytes as f64 / folded.changes as f64);
    for (table, rows, stored, overhead) in state.table_sizes()? {
        println!(
            "  {table:<14}{rows:>12} rows {:>8.1} B a change, {:>5.1} B of it overhead",
            (stored + overhead) as f64 / folded.changes as f64,
            overhead as f64 / folded.changes as f64,
        );
    }
    ask(&state, &generator, &options)
}

struct Options {
    changes: u64,
    lanes: usize,
    questions: usize,
    seed: u64,
    dir: PathBuf,
}

impl Options {
    fn parse() -> Result<Self, Fault> {
        let mut options =
            Self { changes: 200_000, lanes: 8, questions: 100, seed: 1, dir: std::env::temp_dir() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--changes" => options.changes = value()?.parse()?,
                "--lanes" => options.lanes = value()?.parse()?,
                "--questions" => options.questions = value()?.parse()?,
                "--seed" => options.seed = value()?.parse()?,
                "--dir" => options.dir = value()?.into(),
                // Cargo adds it to every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }
}

fn recordings() -> Option<PathBuf> {
    let dir = std::env::var_os("STELE_RECORDINGS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"),
        PathBuf::from,
    );
    let path = dir.join("control-plane/watch.jsonl.zst");
    path.exists().then_some(path)
}

struct Folded {
    frames: u64,
    changes: u64,
    bytes: u64,
    took: Duration,
    cpu_s: f64,
}

/// Folds until there are as many changes as wanted; making the records is not counted.
fn fold(state: &State, generator: &mut Generator, wanted: u64) -> Result<Folded, Fault> {
    let mut folded = Folded { frames: 0, changes: 0, bytes: 0, took: Duration::ZERO, cpu_s: 0.0 };
    let clock = SystemClock::default();
    let mut records = Vec::with_capacity(BATCH);
    let mut next = 0;
    let declaration = Declaration {
        name: "bench".to_owned(),
        attests: "a recording, repeated".to_owned(),
        public_key: "00".repeat(32),
        imported: true,
        heartbeat_s: 10,
        software: "bench".to_owned(),
        previous: None,
    };
    records.push(record(next, Kind::SOURCE_OPEN, None, declaration.encode()));
    while folded.changes < wanted {
        while records.len() < BATCH {
            next += 1;
            let frame = generator.frame();
            folded.bytes += frame.payload.len() as u64;
            records.push(record(next, frame.kind, Some(frame.time), frame.payload));
        }
        let first = next + 1 - records.len() as u64;
        let batch: Vec<FoldRecord<'_>> = (first..)
            .zip(&records)
            .map(|(index, (header, payload))| FoldRecord { index, header, payload })
            .collect();
        let (begin, cpu) = (clock.monotonic(), cpu_s());
        let applied = state.apply(&batch)?;
        folded.took += clock.monotonic() - begin;
        folded.cpu_s += cpu_s() - cpu;
        folded.frames += applied.records;
        folded.changes += applied.changes;
        if applied.problems > 0 {
            return Err(format!("{} records could not be used", applied.problems).into());
        }
        records.clear();
    }
    let begin = clock.monotonic();
    state.sync()?;
    folded.took += clock.monotonic() - begin;
    Ok(folded)
}

fn record(index: u64, kind: Kind, time: Option<i64>, payload: Vec<u8>) -> (Header, Vec<u8>) {
    let header = Header {
        source: SourceId::from_bytes([1; 32]),
        boot: Boot(1),
        seq: Seq(index),
        epoch: Epoch(0),
        kind,
        event_time: time.map(EventTime::from_unix_ns),
        observed_time: ObservedTime::from_unix_ns(time.unwrap_or(0)),
        origin_counter: None,
        payload_len: payload.len() as u64,
        payload_type: PayloadType::FRAME,
        commitment: Commitment::from_bytes([0; 32]),
    };
    (header, payload)
}

/// Questions about random points, one after the other.
fn ask(state: &State, generator: &Generator, options: &Options) -> Result<(), Fault> {
    let mut random = Random(options.seed.wrapping_mul(77) | 1);
    let mut point = || {
        let (from, to) = generator.times();
        Point::Observed(Time(random.within(from + (to - from) / 20, to)))
    };
    let list = |filter: Filter, at: Point, bare: bool| -> Result<usize, Fault> {
        let mut query = ListQuery::new(filter, at);
        query.without_bodies = bare;
        Ok(state.list(&query)?.objects.len())
    };
    let of = |resource: &str, namespace: Option<&str>| Filter {
        resource: Some(resource.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..Filter::default()
    };
    let namespaces = generator.namespaces();
    let mut lane = Random(options.seed | 1);
    timed("namespace, whole", options.questions, &mut || {
        let namespace = &namespaces[lane.within(0, namespaces.len() as i64) as usize];
        let filter = Filter { namespace: Some(namespace.clone()), ..Filter::default() };
        list(filter, point(), false)
    })?;
    timed("pods, bare", options.questions.min(50), &mut || list(of("pods", None), point(), true))?;
    timed("pods, whole", options.questions.min(50), &mut || {
        list(of("pods", None), point(), false)
    })?;
    let addresses = generator.addresses();
    timed("pod by address", options.questions * 20, &mut || {
        let address = &addresses[lane.within(0, addresses.len() as i64) as usize];
        let answer = state.ip(address, &point(), &IpQuery::default())?;
        Ok(answer.candidates.len())
    })
}

fn timed(
    name: &str,
    times: usize,
    question: &mut dyn FnMut() -> Result<usize, Fault>,
) -> Result<(), Fault> {
    let clock = SystemClock::default();
    let (mut waits, mut answers) = (Vec::new(), 0);
    for _ in 0..times {
        let begin = clock.monotonic();
        answers += question()?;
        waits.push(clock.monotonic() - begin);
    }
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{name:<20} {:>8.1} answers  p50 {:>9.3} ms  p99 {:>9.3} ms",
        answers as f64 / times as f64,
        at(0.5),
        at(0.99)
    );
    Ok(())
}

/// Seconds of processor time that this process has taken, in hundredths.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn stored_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
