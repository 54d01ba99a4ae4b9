//! `cargo xtask bench`: the ledger's own benchmarks, and the ledger beside other stores.
//!
//! The contestants run one after the other, round by round, on the same disk, each in a process and
//! a folder of its own, so that a machine that gets slower meanwhile is slower for all. Each does
//! what its own acknowledgement promises, which is not the same; [`PROMISES`] is printed below the
//! figures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::go;
use crate::places;
use crate::progress::Progress;
use crate::testbed::TestbedError;

/// Payloads that are measured unless others are asked for.
pub const PAYLOADS: [usize; 2] = [256, 1024];

/// Names of the peers, as `testbed/peers` has them.
const PEERS: [&str; 4] = ["sqlite", "immudb", "tessera-sequenced", "tessera-published"];

/// What an acknowledgement says.
const PROMISES: &str = "\
What each promises when it acknowledges:
  raw                hashed, framed, in one file, synced; one thread, groups as large as stele's
  stele              durable, in the tree, signed with Ed25519 and ML-DSA-44, inclusion proof in hand
  sqlite             durable: WAL, synchronous=FULL; nothing can be proven
  immudb             durable, in its tree: embedded store, synced; nothing signed, no proof made
  tessera-sequenced  POSIX driver: has its place, durable; nothing signed covers it yet
  tessera-published  POSIX driver: as above, and under a published, signed checkpoint";

/// How to run [`peers`].
#[derive(Debug, Clone)]
pub struct PeersOptions {
    /// How many rounds; medians are shown.
    pub rounds: u32,
    /// Where to write.
    pub dir: PathBuf,
    /// Bytes of a record's payload.
    pub payloads: Vec<usize>,
    /// Print JSON.
    pub json: bool,
}

/// A load, with its name in the ledger's own benchmark.
struct Load {
    name: &'static str,
    writers: usize,
    batch: usize,
    submissions: usize,
    /// SQLite takes one transaction at a time; waiting for as many as for the others would take
    /// minutes.
    sqlite_submissions: usize,
}

const LOADS: [Load; 3] = [
    Load {
        name: "batches-512-by-8",
        writers: 8,
        batch: 512,
        submissions: 120,
        sqlite_submissions: 120,
    },
    Load {
        name: "single-by-256",
        writers: 256,
        batch: 1,
        submissions: 200,
        sqlite_submissions: 20,
    },
    Load {
        name: "single-by-1000",
        writers: 1000,
        batch: 1,
        submissions: 60,
        sqlite_submissions: 5,
    },
];

/// What one run of the ledger's benchmark prints.
#[derive(Debug, Deserialize)]
struct OwnRow {
    raw_per_s: f64,
    stele_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    stored_bytes_per_record: f64,
}

/// What a peer prints.
#[derive(Debug, Deserialize)]
struct PeerRow {
    records: u64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
    stored_bytes: u64,
}

/// One round of one contestant.
#[derive(Debug, Clone, Copy)]
struct Figures {
    per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    bytes_per_record: f64,
}

/// One round of all contestants.
type Round = Vec<(&'static str, Figures)>;

/// Medians of one contestant.
#[derive(Debug, Serialize)]
struct Row {
    load: &'static str,
    payload_bytes: usize,
    contestant: &'static str,
    per_s: f64,
    /// Share of the raw limit in the same round.
    ratio_percent: f64,
    p50_ms: f64,
    p99_ms: f64,
    stored_bytes_per_record: f64,
}

/// Runs one of a package's benchmarks; says whether it succeeded.
///
/// # Errors
/// [`TestbedError`] if cargo can't be started.
pub fn run(package: &str, name: &str, args: &[String]) -> Result<bool, TestbedError> {
    cargo(&["bench", "--package", package, "--bench", name], args)
}

/// The ledger's own benchmark, which the peers stand beside.
const APPEND: [&str; 5] = ["bench", "--package", "stele-ledger", "--bench", "append"];

/// Runs a program of the workspace through cargo; whether it ended well.
///
/// # Errors
/// [`TestbedError::Io`] if cargo can't be run.
pub fn cargo(command: &[&str], args: &[String]) -> Result<bool, TestbedError> {
    let status = cargo_command(command)
        .arg("--")
        .args(args)
        .status()
        .map_err(TestbedError::io("run cargo"))?;
    Ok(status.success())
}

fn cargo_command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(places::repository()).stdin(Stdio::null());
    command
}

/// Measures raw limit, ledger and peers, and prints a table.
///
/// # Errors
/// [`TestbedError`] if something can't be built or run.
#[allow(clippy::print_stdout, reason = "the table is what this is for")]
pub fn peers(options: &PeersOptions) -> Result<(), TestbedError> {
    let progress = Progress::loud();
    let peers = go::PEERS.build(&progress)?.join("stele-peers");
    let built = cargo_command(&APPEND).arg("--no-run").status();
    if !built.map_err(TestbedError::io("build the benchmark"))?.success() {
        return Err(failed("build the benchmark", "cargo bench --no-run failed"));
    }
    if !options.json {
        println!(
            "{} rounds, medians. Records/s; milliseconds from submit to acknowledgement; bytes on \
             disk a record.\n",
            options.rounds
        );
        println!(
            "{:<17} {:>7} {:<18} {:>10} {:>6} {:>8} {:>8} {:>6}",
            "load", "payload", "", "records/s", "of raw", "p50", "p99", "bytes"
        );
    }
    for load in &LOADS {
        for payload in &options.payloads {
            progress.step(&format!("{}, {payload} bytes", load.name));
            let mut rounds = Vec::new();
            for _ in 0..options.rounds {
                rounds.push(round(&options.dir, &peers, load, *payload)?);
            }
            for row in rows(load, *payload, &rounds) {
                if options.json {
                    println!("{}", serde_json::to_string(&row).map_err(no_json)?);
                } else {
                    row.print();
                }
            }
        }
    }
    if !options.json {
        println!("\n{PROMISES}");
    }
    Ok(())
}

/// Raw, stele and the peers, in this order.
fn round(dir: &Path, peers: &Path, load: &Load, payload: usize) -> Result<Round, TestbedError> {
    let payload_text = payload.to_string();
    let mut own = cargo_command(&APPEND);
    own.args(["--quiet", "--", "--json", "--rounds", "1", "--load", load.name])
        .args(["--payload", &payload_text, "--dir"])
        .arg(dir);
    let own: OwnRow = output(own, "the ledger")?;
    let nothing = f64::NAN;
    let raw = Figures {
        per_s: own.raw_per_s,
        p50_ms: nothing,
        p99_ms: nothing,
        bytes_per_record: nothing,
    };
    let stele = Figures {
        per_s: own.stele_per_s,
        p50_ms: own.p50_ms,
        p99_ms: own.p99_ms,
        bytes_per_record: own.stored_bytes_per_record,
    };
    let mut figures = vec![("raw", raw), ("stele", stele)];
    for peer in PEERS {
        let scratch = dir.join(format!("stele-peers-{}", std::process::id()));
        std::fs::create_dir(&scratch)
            .map_err(TestbedError::io(format!("create {}", scratch.display())))?;
        let submissions = if peer == "sqlite" { load.sqlite_submissions } else { load.submissions };
        let mut command = Command::new(peers);
        command.args(["-peer", peer, "-payload", &payload_text, "-dir"]).arg(&scratch);
        command.args(["-writers", &load.writers.to_string(), "-batch", &load.batch.to_string()]);
        command.args(["-submissions", &submissions.to_string()]);
        let row = output::<PeerRow>(command, peer);
        std::fs::remove_dir_all(&scratch)
            .map_err(TestbedError::io(format!("remove {}", scratch.display())))?;
        let row = row?;
        figures.push((
            peer,
            Figures {
                per_s: row.records as f64 / row.seconds,
                p50_ms: row.p50_ms,
                p99_ms: row.p99_ms,
                bytes_per_record: row.stored_bytes as f64 / row.records as f64,
            },
        ));
    }
    Ok(figures)
}

/// The JSON that a program prints.
fn output<T: for<'de> Deserialize<'de>>(
    mut command: Command,
    what: &str,
) -> Result<T, TestbedError> {
    let output =
        command.stdin(Stdio::null()).output().map_err(TestbedError::io(format!("run {what}")))?;
    if !output.status.success() {
        return Err(failed(what, &String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(no_json)
}

fn failed(what: &str, why: &str) -> TestbedError {
    TestbedError::io(format!("measure {what}"))(std::io::Error::other(why.trim().to_owned()))
}

fn no_json(error: serde_json::Error) -> TestbedError {
    failed("what was printed", &error.to_string())
}

fn rows(load: &Load, payload_bytes: usize, rounds: &[Round]) -> Vec<Row> {
    let contestants = rounds.first().map_or(0, Vec::len);
    let row = |number: usize| {
        let median = |value: &dyn Fn(&Round) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Row {
            load: load.name,
            payload_bytes,
            contestant: rounds[0][number].0,
            per_s: median(&|round| round[number].1.per_s),
            ratio_percent: median(&|round| 100.0 * round[number].1.per_s / round[0].1.per_s),
            p50_ms: median(&|round| round[number].1.p50_ms),
            p99_ms: median(&|round| round[number].1.p99_ms),
            stored_bytes_per_record: median(&|round| round[number].1.bytes_per_record),
        }
    };
    (0..contestants).map(row).collect()
}

impl Row {
    #[allow(clippy::print_stdout, reason = "a row of the table")]
    fn print(&self) {
        let figure = |value: f64, digits: usize| {
            if value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
        };
        println!(
            "{:<17} {:>6}B {:<18} {:>10.0} {:>5.0}% {:>8} {:>8} {:>6}",
            self.load,
            self.payload_bytes,
            self.contestant,
            self.per_s,
            self.ratio_percent,
            figure(self.p50_ms, 1),
            figure(self.p99_ms, 1),
            figure(self.stored_bytes_per_record, 0),
        );
    }
}
