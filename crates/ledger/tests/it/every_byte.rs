//! Every byte of every object of a small ledger, flipped one after the other: exactly one finding,
//! at exactly that place; and a mirror gives back every byte.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use stele_ledger::{
    FsckOptions, Ledger, Problem, RecordRange, Remedy, SourceRange, StoredRecord, fsck_with, repair,
};
use stele_store::{MemoryStore, ObjectName, Store};

use crate::image::Image;

/// What is known of the records without the code under test of `fsck`.
struct Known {
    records: Vec<StoredRecord>,
    /// Where each object's records begin and end.
    objects: BTreeMap<ObjectName, Range<u64>>,
}

impl Known {
    fn of(image: &Image) -> Self {
        let reader =
            Ledger::open_read_only(image.intact() as Arc<dyn Store>, &image.verifier).unwrap();
        let mut records = Vec::new();
        let all = &mut |record| {
            records.push(record);
            std::ops::ControlFlow::Continue(())
        };
        reader.scan(0..u64::MAX, all).unwrap();
        let mut objects = BTreeMap::new();
        for (name, bytes) in &image.objects {
            let within = |record: &&StoredRecord| {
                find(bytes, &record.header_bytes).is_some()
                    || name.as_str().starts_with("packs/") && record.index.0 < 256
            };
            let mut indices = records.iter().filter(within).map(|record| record.index.0);
            if let Some(first) = indices.next() {
                objects.insert(name.clone(), first..indices.next_back().unwrap_or(first) + 1);
            }
        }
        Self { records, objects }
    }

    /// The records that a byte of an object belongs to; all, where it belongs to none alone.
    fn at(&self, name: &ObjectName, bytes: &Bytes, at: usize) -> Option<Range<u64>> {
        let all = self.objects.get(name)?.clone();
        if name.as_str().starts_with("packs/") {
            return Some(all);
        }
        let records = &self.records[all.start as usize..all.end as usize];
        // A block ends at each multiple of 1024: its headers, then its payloads.
        for block in records.chunk_by(|a, b| a.index.0 / 1024 == b.index.0 / 1024) {
            let mut payload = 0;
            for record in block {
                // Each entry: its length before the header, three numbers after it.
                let header = find(bytes, &record.header_bytes).unwrap();
                let entry = header - 2..header + record.header_bytes.len() + 12;
                if entry.contains(&at) {
                    return Some(record.index.0..record.index.0 + 1);
                }
                payload = payload.max(entry.end);
            }
            for record in block {
                let end = payload + record.payload.as_ref().unwrap().len();
                if (payload..end).contains(&at) {
                    return Some(record.index.0..record.index.0 + 1);
                }
                payload = end;
            }
        }
        // A segment that is lost as a whole: what packs hold of it is not lost.
        let packs = self.objects.iter().filter(|(name, _)| name.as_str().starts_with("packs/"));
        Some(all.start.max(packs.map(|(_, range)| range.end).max().unwrap_or(0))..all.end)
    }

    fn sources(&self, records: &Range<u64>) -> Vec<SourceRange> {
        let mut found: Vec<SourceRange> = Vec::new();
        for record in &self.records[records.start as usize..records.end as usize] {
            let (source, seq) = (record.header.source.to_string(), record.header.seq.0);
            match found.iter_mut().find(|range| range.source == source) {
                Some(range) => range.last_seq = seq,
                None => {
                    let boot = record.header.boot.0;
                    found.push(SourceRange { source, boot, first_seq: seq, last_seq: seq });
                }
            }
        }
        found
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Checks the one finding for a flipped byte. A pack's parts are compressed: the finding may be
/// narrower than the pack, never wider.
fn check(known: &Known, image: &Image, name: &ObjectName, at: usize, problem: &Problem) {
    let place = format!("{name} byte {at}: {problem:?}");
    assert_eq!(problem.object, name.as_str(), "{place}");
    let Some(wanted) = known.at(name, &image.objects[name], at) else {
        return assert_eq!(name.as_str(), "ledger/log-info", "{place}");
    };
    let bytes = problem.bytes.unwrap();
    assert!((bytes.first..=bytes.last).contains(&(at as u64)), "{place}");
    let RecordRange { first, last: Some(last) } = problem.records.unwrap() else {
        panic!("{place}")
    };
    if name.as_str().starts_with("packs/") {
        assert!(wanted.contains(&first) && wanted.contains(&last), "{place}");
        return;
    }
    assert_eq!(first..last + 1, wanted, "{place}");
    if wanted.end - wanted.start == 1 {
        assert_eq!(problem.sources, known.sources(&wanted), "{place}");
    }
}

/// Calls `each` for every byte of every object, on two threads.
fn every_byte(image: &Image, each: impl Fn(&ObjectName, usize) + Sync) {
    let all: Vec<(&ObjectName, usize)> = image
        .objects
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len()).map(move |at| (name, at)))
        .collect();
    let (all, each) = (&all, &each);
    thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                all.iter().skip(lane).step_by(2).for_each(|(name, at)| each(name, *at));
            });
        }
    });
}

fn options(mirror: Option<&dyn Store>) -> FsckOptions<'_> {
    FsckOptions { threads: 1, mirror, ..FsckOptions::default() }
}

/// Repairs from the intact image, and compares every byte.
fn repaired(known: &Known, image: &Image, damaged: &MemoryStore, name: &ObjectName, at: usize) {
    let mirror = image.intact();
    let place = format!("{name} byte {at}");
    let options = options(Some(&*mirror));
    let mut outcome = fsck_with(damaged, &image.verifier, &options, &mut |_| {}).unwrap();
    let [problem] = &outcome.report.problems[..] else { panic!("{place}: {outcome:?}") };
    assert_eq!(problem.remedy, Some(Remedy::Available), "{place}");
    check(known, image, name, at, problem);
    if let Some(records) = known.at(name, &image.objects[name], at)
        && !name.as_str().starts_with("packs/")
    {
        assert_eq!(problem.sources, known.sources(&records), "{place}");
    }
    let was = damaged.read(name).unwrap();
    assert_eq!(outcome.report.records, image.size, "{place}");
    let done = repair(damaged, &*mirror, &mut outcome).unwrap();
    assert_eq!(done.len(), 1, "{place}");
    assert!(done[0].kept.is_some());
    assert_ne!(was, damaged.read(name).unwrap());
    for (name, bytes) in &image.objects {
        assert_eq!(damaged.read(name).unwrap(), bytes, "{place}");
    }
    assert_eq!(damaged.list("", None).unwrap().len(), image.objects.len());
}

#[test]
fn every_byte_of_a_ledger_of_segments() {
    let image = Image::small(false);
    let known = Known::of(&image);
    assert_eq!(known.objects.len(), 4);
    every_byte(&image, |name, at| {
        let store = image.flipped(name, at, 1 << (at % 8));
        let outcome = fsck_with(&*store, &image.verifier, &options(None), &mut |_| {}).unwrap();
        let [problem] = &outcome.report.problems[..] else { panic!("{name} {at}: {outcome:?}") };
        check(&known, &image, name, at, problem);
        assert!(outcome.replacements.is_empty() && problem.remedy.is_none());
        repaired(&known, &image, &store, name, at);
    });
}

#[test]
fn every_byte_of_a_ledger_with_a_pack() {
    let image = Image::small(true);
    let known = Known::of(&image);
    every_byte(&image, |name, at| {
        let store = image.flipped(name, at, 1 << (at % 8));
        let outcome = fsck_with(&*store, &image.verifier, &options(None), &mut |_| {}).unwrap();
        let [problem] = &outcome.report.problems[..] else { panic!("{name} {at}: {outcome:?}") };
        check(&known, &image, name, at, problem);
        if at % 31 == 0 {
            repaired(&known, &image, &store, name, at);
        }
    });
}

/// What becomes of each object.
type Damage<'a> = dyn Fn(&ObjectName, &Bytes) -> Option<Bytes> + 'a;

#[test]
fn what_is_missing_torn_or_exchanged_comes_back_too() {
    let image = Image::make();
    let mirror = image.intact();
    let names: Vec<&ObjectName> = image.objects.keys().collect();
    for (number, name) in names.iter().enumerate() {
        let other = names[(number + 1) % names.len()];
        let damages: [(&str, &Damage<'_>, usize); 4] = [
            ("missing", &|n, bytes| (n != *name).then(|| bytes.clone()), 1),
            ("torn", &|n, bytes| Some(bytes.slice(..bytes.len() - usize::from(n == *name))), 1),
            (
                "longer",
                &|n, bytes| {
                    let more: &[u8] = if n == *name { b"more" } else { b"" };
                    Some([bytes, more].concat().into())
                },
                1,
            ),
            (
                "exchanged",
                &|n, bytes| {
                    let from = match n {
                        n if n == *name => other,
                        n if n == other => *name,
                        _ => return Some(bytes.clone()),
                    };
                    Some(image.objects[from].clone())
                },
                2,
            ),
        ];
        for (what, damage, problems) in damages {
            let store = image.store(damage);
            let report = image.fsck(&*store);
            let named = report.problems.iter().filter(|p| p.object == name.as_str()).count();
            let place = format!("{name} {what}: {:?}", report.problems);
            assert!(named == 1 && report.problems.len() == problems, "{place}");
            let options = options(Some(&*mirror));
            let mut outcome = fsck_with(&*store, &image.verifier, &options, &mut |_| {}).unwrap();
            assert_eq!(outcome.report.problems.len(), problems, "{name} {what}: {outcome:?}");
            repair(&*store, &*mirror, &mut outcome).unwrap();
            for (name, bytes) in &image.objects {
                assert_eq!(store.read(name).unwrap(), bytes, "{place}");
            }
            assert_eq!(image.fsck(&*store).problems, []);
        }
    }
}

/// A mirror that lies gives nothing: its objects are sound by themselves, but of another log.
#[test]
fn a_mirror_is_not_believed() {
    let image = Image::make();
    for (name, bytes) in &image.objects {
        let missing = image.store(|n, bytes| (n != name).then(|| bytes.clone()));
        let flipped = image.flipped(name, bytes.len() / 2, 1);
        for at in (0..bytes.len()).step_by(bytes.len() / 7 + 1) {
            let lying = image.flipped(name, at, 4);
            for store in [&missing, &flipped] {
                let options = options(Some(&*lying));
                let outcome = fsck_with(&**store, &image.verifier, &options, &mut |_| {}).unwrap();
                let [problem] = &outcome.report.problems[..] else { panic!("{name}: {outcome:?}") };
                assert_eq!(problem.object, name.as_str());
                assert!(matches!(problem.remedy, Some(Remedy::None(_))), "{name}: {problem:?}");
                assert!(outcome.replacements.is_empty());
            }
        }
    }
}
