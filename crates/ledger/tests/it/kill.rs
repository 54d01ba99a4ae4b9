//! A process that appends is killed at random moments. Every record that it had acknowledged is
//! there afterwards, `fsck` is clean, and a repeat of the last batch settles what became of it.
//!
//! The process is this test binary, run again with one test and a directory in its environment.
//! `STELE_KILL_ROUNDS` sets the number of rounds.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use stele_ledger::fsck;
use stele_merkle::LeafIndex;
use stele_store::{DiskStore, Store, random_bytes};

use crate::common::{Source, key, open};

const DIRECTORY: &str = "STELE_KILL_DIRECTORY";
const PACK: u64 = 512;

/// Appends batch after batch and says so after each acknowledgement. Not a test of its own.
#[test]
#[ignore = "the process that is killed"]
fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(Path::new(&directory)).unwrap());
    let ledger = if store.list("ledger/", None).unwrap().is_empty() {
        crate::common::create(&store, PACK)
    } else {
        open(&store, PACK)
    };
    // The source's history is a function of its length: resume where the log stands.
    let mut source = Source::new(1, 1);
    let done = ledger.source_head(&source.id).map_or(0, |head| head.next_seq.0);
    source.events(usize::try_from(done).unwrap(), 300);
    loop {
        let receipt = ledger.append_blocking(source.events(37, 300)).unwrap();
        let last = receipt.indices().last().unwrap().0;
        // Written by hand: the harness would capture what the macro prints.
        writeln!(std::io::stderr(), "acknowledged {last} {}", receipt.checkpoint.size).unwrap();
    }
}

fn round(directory: &Path, slower: u32, acknowledged: &mut u64) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        let last = lines.filter_map(|line| {
            let mut words = line.strip_prefix("acknowledged ")?.split(' ');
            words.next()?.parse::<u64>().ok()
        });
        last.last()
    });
    let [a, b] = random_bytes::<2>();
    let delay = Duration::from_micros(20_000 + u64::from(a) * 256 + u64::from(b));
    std::thread::sleep(delay * slower);
    victim.kill().unwrap();
    victim.wait().unwrap();
    *acknowledged = reading.join().unwrap().map_or(*acknowledged, |last| last + 1);
}

#[test]
fn no_acknowledged_record_is_lost_to_a_kill() {
    let rounds = std::env::var("STELE_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let directory = tempfile::tempdir().unwrap();
    drop(crate::common::create(
        &(Arc::new(DiskStore::open(directory.path()).unwrap()) as Arc<dyn Store>),
        PACK,
    ));
    let (mut acknowledged, mut slower) = (0, 1);
    for _ in 0..rounds {
        round(directory.path(), slower, &mut acknowledged);
        // On a busy machine it may be killed each time before its first record.
        slower = if acknowledged == 0 { (slower * 2).min(64) } else { slower };
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory.path()).unwrap());
        let verifier = key().signer().unwrap().verifier();
        let report = fsck(&*store, &verifier, &mut |_| {});
        assert_eq!(report.problems, []);
        assert!(report.records >= acknowledged, "{} of {acknowledged}", report.records);
        let ledger = open(&store, PACK);
        let size = ledger.size().0;
        let mut source = Source::new(1, 1);
        source.events(usize::try_from(size).unwrap(), 300);
        if size > 0 {
            let head = ledger.source_head(&source.id).unwrap();
            assert_eq!((head.next_seq, head.chain_head), (source.seq, source.head));
            // A repeat of the last batch gets its places.
            let mut again = Source::new(1, 1);
            again.events(usize::try_from(size - 37).unwrap(), 300);
            let receipt = ledger.append_blocking(again.events(37, 300)).unwrap();
            assert_eq!(receipt.first_index, LeafIndex(size - 37));
            assert_eq!(ledger.size().0, size);
        }
    }
    assert!(acknowledged > 0);
}
