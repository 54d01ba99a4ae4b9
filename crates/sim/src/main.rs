//! `cargo xtask sim`: runs seeds and prints those that end as they must not, with their traces.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Parser;
use stele_sim::{Nature, Outcome, simulate};
use stele_store::{Clock, SystemClock};

/// Seeds that a thread takes at once.
const CHUNK: u64 = 10;
/// Lines of a trace that are printed.
const TRACE_LINES_MAX: usize = 5000;

/// Simulate several writers on one faulty store.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// A store that lies, and does not only fail.
    #[arg(long)]
    lying: bool,
    /// How many seeds run at once.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print the trace of the first seed, whatever its end.
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Default)]
struct Totals {
    records: u64,
    acknowledged: u64,
    checkpoints: u64,
    lies: BTreeMap<String, [u64; 3]>,
    failed: Vec<(u64, Vec<String>)>,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.records += outcome.records;
        self.acknowledged += outcome.acknowledged as u64;
        self.checkpoints += outcome.checkpoints as u64;
        if let Some(lie) = outcome.lie {
            let [told, noticed, forked] = self.lies.entry(format!("{lie:?}")).or_default();
            *told += 1;
            *noticed += u64::from(!outcome.noticed.is_empty());
            *forked += u64::from(outcome.forked);
        }
        if !outcome.violations.is_empty() {
            self.failed.push((seed, outcome.violations));
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let nature = if args.lying { Nature::Lying } else { Nature::Honest };
    if args.trace {
        print_trace(&simulate(args.from, nature, true));
    }
    let clock = SystemClock::new();
    let totals = Mutex::new(Totals::default());
    let (next, failing) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let begin = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if begin >= args.seeds || failing.load(Ordering::Relaxed) {
                        return;
                    }
                    for seed in begin..(begin + CHUNK).min(args.seeds) {
                        let seed = args.from.saturating_add(seed);
                        let outcome = simulate(seed, nature, false);
                        failing.fetch_or(!outcome.violations.is_empty(), Ordering::Relaxed);
                        if let Ok(mut totals) = totals.lock() {
                            totals.add(seed, outcome);
                        }
                    }
                    if begin.is_multiple_of(CHUNK * 20) {
                        let seconds = clock.monotonic().as_secs_f64();
                        eprintln!("[{seconds:7.1}s] {begin} of {} seeds", args.seeds);
                    }
                }
            });
        }
    });
    let seconds = clock.monotonic().as_secs_f64();
    let Ok(mut totals) = totals.into_inner() else { return ExitCode::FAILURE };
    totals.failed.sort();
    report(&args, &totals, seconds);
    if let Some((seed, _)) = totals.failed.first() {
        print_trace(&simulate(*seed, nature, true));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn report(args: &Args, totals: &Totals, seconds: f64) {
    println!(
        "{} seeds from {} in {seconds:.1} s: {} records, {} acknowledgements, {} checkpoints",
        args.seeds, args.from, totals.records, totals.acknowledged, totals.checkpoints
    );
    for (lie, [told, noticed, forked]) in &totals.lies {
        println!("{lie:14} told in {told} runs, noticed in {noticed}, forked in {forked}");
    }
    for (seed, violations) in &totals.failed {
        println!("seed {seed} ended wrongly:");
        violations.iter().take(5).for_each(|what| println!("  {what}"));
    }
    println!("{} seeds ended wrongly", totals.failed.len());
}

fn print_trace(outcome: &Outcome) {
    let skip = outcome.trace.len().saturating_sub(TRACE_LINES_MAX);
    if skip > 0 {
        println!("({skip} lines before)");
    }
    outcome.trace[skip..].iter().for_each(|line| println!("{line}"));
    outcome.violations.iter().chain(&outcome.noticed).for_each(|what| println!("{what}"));
}
