//! Random flipped bits in a larger ledger on a disk: none missed, none invented, all repaired.
//!
//! `STELE_FSCK_RECORDS` and `STELE_FSCK_FLIPS` make it larger: 10,000,000 records take about 6 GB.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use stele_ledger::{
    FsckOptions, Ledger, LedgerOptions, Problem, Reader, RecordRange, fsck_with, repair,
};
use stele_merkle::{LeafIndex, LogVerifier};
use stele_store::{Clock, DiskStore, ObjectName, Store, SystemClock, random_bytes};

use crate::common::{Source, clock, key, options};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A ledger of so many records of 128 bytes, on disk.
fn generate(root: &Path, records: u64) -> LogVerifier {
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(root).unwrap());
    let pack_records = if records > 1_000_000 { 65_536 } else { 8192 };
    let options = LedgerOptions { append_wait: std::time::Duration::MAX, ..options(pack_records) };
    let ledger = Ledger::create(Arc::clone(&store), &key(), clock(), options).unwrap();
    let mut sources: Vec<Source> = (1..5).map(|seed| Source::new(seed, 1)).collect();
    let mut left = records;
    while left > 0 {
        for source in &mut sources {
            let count = left.min(1000);
            let mut records = Vec::new();
            if source.seq.0 == 0 {
                records.push(source.open_record());
            }
            let events = count as usize - records.len() - 1;
            records.extend(source.events(events, 128).records);
            records.push(source.seal_record());
            ledger.append_blocking(source.submission(records)).unwrap();
            left -= count;
        }
    }
    let verifier = ledger.verifier().clone();
    while (store.list("packs/", None).unwrap().len() as u64) < records / pack_records {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    ledger.close();
    verifier
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Flips random bits, every byte of the objects as likely as every other.
fn flip(store: &DiskStore, count: u64, random: &mut Random) -> Vec<(ObjectName, u64)> {
    let names = store.list("", None).unwrap();
    let sizes: Vec<u64> = names.iter().map(|name| store.size(name).unwrap()).collect();
    let total: u64 = sizes.iter().sum();
    let mut flips = Vec::new();
    for _ in 0..count {
        let mut at = random.below(total);
        let mut object = 0;
        while at >= sizes[object] {
            at -= sizes[object];
            object += 1;
        }
        let path = store.object_path(&names[object]);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, at).unwrap();
        byte[0] ^= 1 << random.below(8);
        std::os::unix::fs::FileExt::write_all_at(&file, &byte, at).unwrap();
        flips.push((names[object].clone(), at));
    }
    flips
}

/// Whether a problem is about this byte. A header that cannot be read hides all that is behind it.
fn covers(problem: &Problem, (name, at): &(ObjectName, u64)) -> bool {
    problem.object == name.as_str()
        && problem.bytes.is_none_or(|bytes| {
            (bytes.first..=bytes.last).contains(at) || bytes.first == 0 && bytes.last < *at
        })
}

/// Whether a problem names the record whose payload holds this byte. A payload is not compared with
/// a header that is not the one that was written: the record is told once.
fn names_record_at(
    problem: &Problem,
    (name, at): &(ObjectName, u64),
    intact: &DiskStore,
    reader: &Reader,
) -> bool {
    let Some(RecordRange { first, last: Some(last) }) = problem.records else { return false };
    if problem.object != name.as_str() || first != last {
        return false;
    }
    let Some(payload) = reader.read(LeafIndex(first)).unwrap().payload else { return false };
    let object = intact.read(name).unwrap();
    let at = usize::try_from(*at).unwrap();
    let around = at.saturating_sub(payload.len())..object.len().min(at + payload.len());
    let mut windows = (around.start..).zip(object[around].windows(payload.len()));
    windows.any(|(start, bytes)| bytes == payload && start <= at && at < start + payload.len())
}

#[test]
fn random_flips_are_all_found_and_repaired() {
    let (records, count) = (number("STELE_FSCK_RECORDS", 100_000), number("STELE_FSCK_FLIPS", 100));
    let seed = number("STELE_FSCK_SEED", u64::from_be_bytes(random_bytes()) | 1);
    println!("STELE_FSCK_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let (own, mirror) = (directory.path().join("own"), directory.path().join("mirror"));
    let clock = SystemClock::new();
    let verifier = generate(&own, records);
    println!("{records} records were written after {:.1?}", clock.monotonic());
    copy(&own, &mirror);
    let store = DiskStore::open(&own).unwrap();
    let mirror = Arc::new(DiskStore::open_read_only(&mirror).unwrap());
    let check = |options: &FsckOptions<'_>| {
        let begin = clock.monotonic();
        let outcome = fsck_with(&store, &verifier, options, &mut |_| {}).unwrap();
        let took = clock.monotonic() - begin;
        let rate = outcome.report.leaves as f64 / took.as_secs_f64();
        println!("checked in {took:.1?}, {rate:.0} records/s, {} bytes", outcome.report.bytes);
        outcome
    };
    let clean = check(&FsckOptions::default()).report;
    assert_eq!((clean.problems, clean.records, clean.seals_unchecked), (vec![], records, 0));
    let flips = flip(&store, count, &mut Random(seed));
    let found = check(&FsckOptions::default()).report.problems;
    let reader = Ledger::open_read_only(Arc::clone(&mirror) as Arc<dyn Store>, &verifier).unwrap();
    for flip in &flips {
        let of_object = found.iter().filter(|p| p.object == flip.0.as_str()).collect::<Vec<_>>();
        let told = of_object.iter().any(|problem| {
            covers(problem, flip) || names_record_at(problem, flip, &mirror, &reader)
        });
        let all = flips.iter().filter(|other| other.0 == flip.0).map(|(_, at)| at);
        let all = all.collect::<Vec<_>>();
        assert!(told, "missed: {flip:?} of {all:?}, found {of_object:?}");
    }
    for problem in &found {
        assert!(flips.iter().any(|flip| covers(problem, flip)), "invented: {problem:?}");
        assert!(problem.records.is_some() || problem.object == "ledger/log-info", "{problem:?}");
    }
    println!("{count} flips gave {} findings", found.len());
    let options = FsckOptions { mirror: Some(&*mirror), ..FsckOptions::default() };
    let mut outcome = check(&options);
    let done = repair(&store, &*mirror, &mut outcome).unwrap();
    println!("{} objects were replaced", done.len());
    assert_eq!(check(&FsckOptions::default()).report.problems, []);
    for name in mirror.list("", None).unwrap() {
        assert!(store.read(&name).unwrap() == mirror.read(&name).unwrap(), "{name}");
    }
}
