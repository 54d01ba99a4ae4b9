//! `cargo xtask`: chores of the repository. What it does is in the library; this is the command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use xtask::bench;
use xtask::churn::ChurnOptions;
use xtask::exact::{Sampler, SamplerOptions};
use xtask::progress::Progress;
use xtask::recording::{self, RecordingOptions};
use xtask::suite::{self, SuiteOptions, Verdict};
use xtask::testbed::{Testbed, TestbedError, TestbedOptions, run_audit_sink};
use xtask::{churn as churning, go, places};

/// Chores of the repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// A real Kubernetes control plane on loopback.
    #[command(subcommand)]
    Testbed(TestbedChore),
    /// Make a cluster change: many kinds of objects created, changed and deleted.
    Churn(ChurnChore),
    /// Everything that must hold: format, clippy, dependencies, tidy, all tests, test bed included.
    ///
    /// Exit code 0: everything was run and holds. 1: something does not hold. 3: what was run holds,
    /// but something was not run.
    Test {
        /// Fail where the test bed cannot be built.
        #[arg(long)]
        testbed_required: bool,
    },
    /// Measure.
    #[command(subcommand)]
    Bench(Bench),
    /// Simulate several writers on one faulty store, seed by seed.
    Sim {
        /// For the simulation: --seeds N --from S, --lying, --trace.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Make the recording that `stele demo` plays, from a test bed under churn.
    RecordDemo {
        /// Where to write it [default: that of the repository].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// For how long the cluster is changed.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Check what the compiler does not: arrows, sizes, forgotten files, reference pages.
    Tidy {
        /// Write the reference pages anew.
        #[arg(long)]
        write: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Appends to a ledger, beside the raw limit of this machine.
    Append {
        /// For the benchmark: --rounds N, --dir DIR, --load NAME, --payload BYTES, --json.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// The same beside other stores, round by round on the same disk.
    Peers {
        /// How many rounds; medians are shown.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Where to write [default: the system's folder for temporary files].
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Bytes of a record's payload; may be given several times [default: 256 and 1024].
        #[arg(long, value_name = "BYTES")]
        payload: Vec<usize>,
        /// One JSON object for each row.
        #[arg(long)]
        json: bool,
    },
    /// Years of a cluster in a state view: the fold, the disk, and questions about random points.
    History {
        /// For the benchmark: --changes N, --lanes N, --questions N, --seed N, --dir DIR.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Many subscriptions at once: how long a change takes from its append to its arrival.
    Subscribers {
        /// For the benchmark: --subscribers N, --rate N, --seconds N, --dir DIR.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// A recording again and again: what a record takes of the disk, and what reading one costs.
    Density {
        /// For the benchmark: --records N, --dir DIR.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Very many small records, a crash, and what it takes to go on.
    Haul {
        /// For the benchmark: --records N, --payload BYTES, --dir DIR.
        #[arg(last = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ChurnChore {
    /// The cluster [default: that of `cargo xtask testbed up`].
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// For how long.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// The same seed tries the same changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many changes a second.
    #[arg(long, default_value_t = 3.0)]
    rate: f64,
    /// Meanwhile take lists at exact revisions and write them to this file.
    #[arg(long, value_name = "FILE")]
    exact: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum TestbedChore {
    /// Build what is missing, start it, and wait until the nodes are ready.
    Up(Up),
    /// Stop exactly the processes that `up` started.
    Down(Place),
    /// Say what runs.
    Status(Place),
    /// Build the programs and start nothing.
    Build,
    /// Receive audit batches (`up` starts this).
    #[command(hide = true)]
    AuditSink {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Folder of the test bed [default: run/default in the cache].
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Up {
    #[command(flatten)]
    place: Place,
    /// How many nodes to play.
    #[arg(long, default_value_t = 4)]
    nodes: u16,
    /// How often the API server compacts etcd, in seconds [default: its own, 300].
    #[arg(long, value_name = "SECONDS")]
    etcd_compaction_interval: Option<u64>,
    /// Send the audit webhook here, and not to a sink that writes logs/audit-webhook.jsonl.
    #[arg(long, value_name = "URL")]
    audit_webhook: Option<String>,
    /// One more flag for kube-apiserver; may be given several times.
    #[arg(long = "apiserver-flag", value_name = "FLAG", allow_hyphen_values = true)]
    apiserver_flags: Vec<String>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Chore::Testbed(chore) => testbed(chore),
        Chore::Churn(chore) => churn(chore),
        Chore::RecordDemo { out, seconds } => record_demo(out, seconds),
        Chore::Tidy { write } => tidy(write),
        Chore::Test { testbed_required } => test(SuiteOptions { testbed_required }),
        Chore::Bench(chore) => bench(chore),
        Chore::Sim { args } => sim(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn record_demo(out: Option<PathBuf>, seconds: u64) -> Result<ExitCode, TestbedError> {
    let own = || places::repository().join("crates/cli/demo/recording.jsonl.zst");
    let options = RecordingOptions { length: Duration::from_secs(seconds), rate: 3.0, seed: 1 };
    recording::make(&options, &out.unwrap_or_else(own))?;
    Ok(ExitCode::SUCCESS)
}

fn testbed(chore: TestbedChore) -> Result<ExitCode, TestbedError> {
    match chore {
        TestbedChore::Up(up) => testbed_up(up),
        TestbedChore::Down(place) => {
            Testbed::attach(&place.folder())?.stop()?;
            Ok(ExitCode::SUCCESS)
        }
        TestbedChore::Status(place) => testbed_status(&place),
        TestbedChore::Build => {
            xtask::testbed::build(&Progress::loud())?;
            Ok(ExitCode::SUCCESS)
        }
        TestbedChore::AuditSink { port, file } => {
            run_audit_sink(port, &file)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn testbed_up(up: Up) -> Result<ExitCode, TestbedError> {
    let mut options = TestbedOptions {
        dir: Some(up.place.folder()),
        nodes: up.nodes,
        etcd_compaction_interval: up.etcd_compaction_interval.map(Duration::from_secs),
        api_server_flags: up.apiserver_flags,
        progress: true,
        ..TestbedOptions::default()
    };
    if let Some(url) = up.audit_webhook {
        options.audit_webhook = xtask::testbed::AuditWebhook::Url(url);
    }
    let bed = Testbed::start_detached(&options)?;
    println!("API server: {}", bed.endpoint());
    println!("etcd:       {}", bed.etcd_endpoint());
    println!("kubectl:    {}", bed.kubectl_program().display());
    println!("logs:       {}", bed.dir().join("logs").display());
    println!("\nexport KUBECONFIG={}", bed.kubeconfig().display());
    Ok(ExitCode::SUCCESS)
}

/// Succeeds if everything runs.
fn testbed_status(place: &Place) -> Result<ExitCode, TestbedError> {
    let mut bed = Testbed::attach(&place.folder())?;
    let components = bed.status();
    println!("API server: {}", bed.endpoint());
    println!("kubeconfig: {}", bed.kubeconfig().display());
    for component in &components {
        let pid = component.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        let state = if component.alive { "running" } else { "ended" };
        println!("{:24} {pid:>8}  {state:8} {}", component.name, component.log.display());
    }
    let all = components.iter().all(|component| component.alive);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn churn(chore: ChurnChore) -> Result<ExitCode, TestbedError> {
    let kubectl = go::KUBE.build(&Progress::loud())?.join("kubectl");
    let kubeconfig =
        chore.kubeconfig.unwrap_or_else(|| places::runs().join("default").join("admin.kubeconfig"));
    let sampler = match chore.exact {
        Some(file) => Some(Sampler::start(&SamplerOptions {
            kubeconfig: kubeconfig.clone(),
            kubectl: kubectl.clone(),
            file,
            seed: chore.seed,
            lists_per_second: 4.0,
        })?),
        None => None,
    };
    let options =
        ChurnOptions { kubeconfig, kubectl, seed: chore.seed, operations_per_second: chore.rate };
    let report = churning::run_for(&options, Duration::from_secs(chore.seconds))?;
    for (what, count) in &report.done {
        println!("{count:6} {what}");
    }
    println!("{:6} refused\n{:6} not answered", report.refused, report.unanswered);
    if let Some(sampler) = sampler {
        let taken = sampler.stop()?;
        println!("{:6} exact lists ({} refused)", taken.lists, taken.refused);
    }
    Ok(ExitCode::SUCCESS)
}

fn tidy(write: bool) -> Result<ExitCode, TestbedError> {
    let root = places::repository();
    let mut problems = xtask::tidy::check(&root)?;
    problems.extend(xtask::tidy::reference::check(&root, write)?);
    for problem in &problems {
        println!("{problem}");
    }
    let tidy = problems.is_empty();
    println!("{}", if tidy { "tidy".into() } else { format!("{} problems", problems.len()) });
    Ok(if tidy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test(options: SuiteOptions) -> Result<ExitCode, TestbedError> {
    Ok(match suite::run(options)? {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Incomplete => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    })
}

fn bench(chore: Bench) -> Result<ExitCode, TestbedError> {
    match chore {
        Bench::Append { args } => bench::run("stele-ledger", "append", &args).map(exit_code),
        Bench::Density { args } => bench::run("stele-ledger", "density", &args).map(exit_code),
        Bench::Haul { args } => bench::run("stele-ledger", "haul", &args).map(exit_code),
        Bench::Subscribers { args } => {
            bench::run("stele-server", "subscribers", &args).map(exit_code)
        }
        Bench::History { args } => bench::run("stele-state", "history", &args).map(exit_code),
        Bench::Peers { rounds, dir, payload, json } => {
            let dir = dir.unwrap_or_else(std::env::temp_dir);
            let payloads = if payload.is_empty() { bench::PAYLOADS.to_vec() } else { payload };
            bench::peers(&bench::PeersOptions { rounds, dir, payloads, json })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn sim(args: &[String]) -> Result<ExitCode, TestbedError> {
    bench::cargo(&["run", "--release", "--package", "stele-sim"], args).map(exit_code)
}

const fn exit_code(ok: bool) -> ExitCode {
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Place {
    fn folder(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| places::runs().join("default"))
    }
}
