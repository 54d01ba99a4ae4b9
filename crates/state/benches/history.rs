//! Years of a cluster in a state view: how fast it is folded, what it takes of the disk, and how
//! long questions about random points take, beside databases that do the same work.
//!
//! The records are made from a recording of a real control plane (`shared/recordings/control-plane`,
//! or `STELE_RECORDINGS`): many clusters' worth of it side by side in namespaces of their own
//! (lanes), over and over (rounds), each time with other uids, addresses, resource versions and
//! times. The same seed makes the same records, so they are made anew for each.
//!
//! All are folded one after the other in one process, then asked in turns. An answer that is not
//! the state view's ends the benchmark: whoever answers something else is not doing the same work.
//!
//! `cargo xtask bench history [-- --changes N --lanes N --questions N --rounds N --seed N --dir DIR
//! --peers sqlite,sqlite-zstd,postgres|none]`

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use stele_record::{
    Boot, Commitment, Declaration, Epoch, EventTime, Header, Kind, ObservedTime, PayloadType, Seq,
    SourceId,
};
use stele_state::FoldRecord;
use stele_store::{Clock, SystemClock};

#[path = "history/cluster.rs"]
mod cluster;
#[path = "history/fold.rs"]
mod fold;
#[path = "history/generator.rs"]
mod generator;
#[path = "history/peers.rs"]
mod peers;
#[path = "history/pods.rs"]
mod pods;
#[path = "history/postgres.rs"]
mod postgres_peer;
#[path = "history/questions.rs"]
mod questions;
#[path = "history/report.rs"]
mod report;
#[path = "history/rows.rs"]
mod rows;
#[path = "history/sqlite.rs"]
mod sqlite;

use generator::Generator;
use peers::{Stele, Subject};
use postgres_peer::Postgres;
use questions::Question;
use report::{AskRow, FoldRow};
use sqlite::Sqlite;

type Fault = Box<dyn Error>;

/// Records that are folded in one transaction, as `stele up` does.
const BATCH: usize = 1_024;

const PEERS: [&str; 3] = ["sqlite", "sqlite-zstd", "postgres"];

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Fault> {
    let options = Options::parse()?;
    let Some(recordings) = recordings() else {
        println!("not run: there are no recordings; set STELE_RECORDINGS");
        return Ok(());
    };
    let mut subjects = subjects(&options)?;
    let mut first: Option<(Generator, Folded)> = None;
    for subject in &mut subjects {
        let mut generator = Generator::new(&recordings, options.lanes, options.seed)?;
        let folded = fold(subject.as_mut(), &mut generator, options.changes)?;
        match &first {
            None => {
                println!(
                    "{} changes, {} of them objects' first, {} pods, {} MB of frames",
                    folded.changes,
                    generator.lives(),
                    generator.pods(),
                    folded.bytes / 1_000_000,
                );
                first = Some((generator, folded));
            }
            Some((_, of)) if (of.frames, of.changes) != (folded.frames, folded.changes) => {
                let name = subject.name();
                return Err(format!("{name}: {folded:?}, but the state view {of:?}").into());
            }
            Some(_) => {}
        }
        subject.settle()?;
        report::folded(&FoldRow {
            name: subject.name(),
            folded,
            stored_bytes: subject.stored_bytes()?,
            tables: subject.tables()?,
        });
    }
    let Some((generator, _)) = first else { return Ok(()) };
    ask(&mut subjects, &generator, &options)
}

/// The state view, and the peers that can be had.
fn subjects(options: &Options) -> Result<Vec<Box<dyn Subject>>, Fault> {
    let dir = || tempfile::tempdir_in(&options.dir);
    let mut subjects: Vec<Box<dyn Subject>> = vec![Box::new(Stele::open(dir()?)?)];
    for peer in &options.peers {
        match peer.as_str() {
            "postgres" => match Postgres::start(dir()?) {
                Ok(postgres) => subjects.push(Box::new(postgres)),
                Err(why) => println!("PEER NOT RUN: PostgreSQL: {why}"),
            },
            other => subjects.push(Box::new(Sqlite::open(dir()?, other == "sqlite-zstd")?)),
        }
    }
    Ok(subjects)
}

struct Options {
    changes: u64,
    lanes: usize,
    questions: usize,
    rounds: usize,
    seed: u64,
    dir: PathBuf,
    peers: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self, Fault> {
        let mut options = Self {
            changes: 200_000,
            lanes: 8,
            questions: 100,
            rounds: 3,
            seed: 1,
            dir: std::env::temp_dir(),
            peers: PEERS.map(str::to_owned).to_vec(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--changes" => options.changes = value()?.parse()?,
                "--lanes" => options.lanes = value()?.parse()?,
                "--questions" => options.questions = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--seed" => options.seed = value()?.parse()?,
                "--dir" => options.dir = value()?.into(),
                "--peers" => options.peers = peers(&value()?)?,
                // Cargo adds it to every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(options)
    }
}

fn peers(text: &str) -> Result<Vec<String>, Fault> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let named: Vec<String> = text.split(',').map(str::to_owned).collect();
    match named.iter().find(|name| !PEERS.contains(&name.as_str())) {
        None => Ok(named),
        Some(name) => Err(format!("no peer is called {name:?}; there are {PEERS:?}").into()),
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

#[derive(Debug, Clone, Copy)]
struct Folded {
    frames: u64,
    changes: u64,
    bytes: u64,
    took: Duration,
    cpu_s: f64,
}

/// Folds until there are as many changes as wanted; making the records is not counted.
fn fold(
    subject: &mut dyn Subject,
    generator: &mut Generator,
    wanted: u64,
) -> Result<Folded, Fault> {
    let mut folded = Folded { frames: 0, changes: 0, bytes: 0, took: Duration::ZERO, cpu_s: 0.0 };
    let clock = SystemClock::default();
    let others_cpu_s = subject.others_cpu_s();
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
        folded.changes += subject.fold(&batch)?;
        folded.took += clock.monotonic() - begin;
        folded.cpu_s += cpu_s() - cpu;
        folded.frames += batch.len() as u64;
        records.clear();
    }
    let (begin, cpu) = (clock.monotonic(), cpu_s());
    subject.sync()?;
    folded.took += clock.monotonic() - begin;
    folded.cpu_s += cpu_s() - cpu + subject.others_cpu_s() - others_cpu_s;
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

/// The same questions to all, round by round; the state view is asked first.
fn ask(
    subjects: &mut [Box<dyn Subject>],
    generator: &Generator,
    options: &Options,
) -> Result<(), Fault> {
    let mut rows = Vec::new();
    for round in 0..options.rounds {
        let seed = options.seed + round as u64;
        let chances = questions::chances(generator, options.questions, seed);
        for question in Question::ALL {
            let mut expected = None;
            for subject in subjects.iter_mut() {
                let asked = questions::ask(subject.as_mut(), question, &chances)?;
                let Some((figures, digests)) = asked else { continue };
                let name = subject.name();
                match &expected {
                    None => expected = Some(digests),
                    Some(of) => questions::same(question, &name, of, &digests, &chances)?,
                }
                rows.push(AskRow { name, question, figures });
            }
        }
    }
    report::asked(&rows, options.rounds);
    Ok(())
}

/// Seconds of processor time that this process has taken, in hundredths.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
