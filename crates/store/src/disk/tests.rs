//! The disk store and the memory store under the same checks, and what only a disk can do.

use std::sync::Barrier;

use super::*;
use crate::MemoryStore;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn stores(directory: &Path) -> Vec<(&'static str, Box<dyn Store>)> {
    let staged = DiskStore::open(directory.join("staged")).unwrap();
    staged.writer.as_ref().unwrap().creator.without_unnamed_files();
    vec![
        ("disk", Box::new(DiskStore::open(directory.join("disk")).unwrap())),
        ("disk without unnamed files", Box::new(staged)),
        ("memory", Box::new(MemoryStore::new())),
    ]
}

#[test]
fn create_read_and_compare() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, store) in stores(directory.path()) {
        let object = name("segments/1");
        assert!(matches!(store.read(&object), Err(StoreError::NotFound { .. })), "{kind}");
        assert_eq!(store.put_new(&object, &[b"he", b"", b"llo"]).unwrap(), Put::Created);
        assert_eq!(store.put_new(&object, &[b"hello"]).unwrap(), Put::AlreadyThere, "{kind}");
        for other in [&b"hellO"[..], b"hell", b"hello!", b""] {
            let refused = store.put_new(&object, &[other]);
            assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{kind}");
        }
        assert_eq!(&store.read(&object).unwrap()[..], b"hello");
        assert_eq!(&store.read_range(&object, 1..4).unwrap()[..], b"ell");
        assert_eq!(store.size(&object).unwrap(), 5);
        store.read_range(&object, 3..6).unwrap_err();
        assert_eq!(store.put_new(&name("empty"), &[]).unwrap(), Put::Created);
        assert_eq!(store.size(&name("empty")).unwrap(), 0);
        store.retire(&object).unwrap();
        store.retire(&object).unwrap();
        assert!(matches!(store.size(&object), Err(StoreError::NotFound { .. })), "{kind}");
    }
}

#[test]
fn lists_are_sorted_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, store) in stores(directory.path()) {
        for number in [11, 2, 1, 10] {
            store.put_new(&ObjectName::numbered("packs", number).unwrap(), &[b"x"]).unwrap();
        }
        store.put_new(&name("packs-other"), &[b"x"]).unwrap();
        let numbers = |after: Option<&ObjectName>| -> Vec<u64> {
            let names = store.list("packs/", after).unwrap();
            names.iter().map(|name| name.number_in("packs").unwrap()).collect()
        };
        assert_eq!(numbers(None), [1, 2, 10, 11], "{kind}");
        assert_eq!(numbers(Some(&ObjectName::numbered("packs", 2).unwrap())), [10, 11]);
        assert_eq!(store.list("", None).unwrap().len(), 5);
        assert!(store.list("nothing/", None).unwrap().is_empty());
    }
}

#[test]
fn hints_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    for (_, store) in stores(directory.path()) {
        let hint = name("checkpoint");
        assert_eq!(store.read_hint(&hint).unwrap(), None);
        store.put_hint(&hint, b"one").unwrap();
        store.put_hint(&hint, b"two").unwrap();
        assert_eq!(store.read_hint(&hint).unwrap().as_deref(), Some(&b"two"[..]));
        assert!(store.list("", None).unwrap().is_empty());
    }
}

#[test]
fn of_racing_creators_exactly_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, store) in stores(directory.path()) {
        for round in 0..20 {
            let object = ObjectName::numbered("race", round).unwrap();
            let start = Barrier::new(8);
            let created = std::thread::scope(|scope| {
                let racer = |id: u8| {
                    let (start, store, object) = (&start, &store, &object);
                    scope.spawn(move || {
                        start.wait();
                        store.put_new(object, &[&[id; 100]])
                    })
                };
                let racers: Vec<_> = (0..8).map(racer).collect();
                let answers = racers.into_iter().map(|racer| racer.join().unwrap());
                answers.filter(|answer| matches!(answer, Ok(Put::Created))).count()
            });
            assert_eq!(created, 1, "{kind}, round {round}");
            let bytes = store.read(&object).unwrap();
            assert!(bytes.len() == 100 && bytes.iter().all(|byte| *byte == bytes[0]));
        }
    }
}

#[test]
fn several_may_write_and_only_the_first_cleans_up() {
    let directory = tempfile::tempdir().unwrap();
    let first = DiskStore::open(directory.path()).unwrap();
    first.put_new(&name("a"), &[b"1"]).unwrap();
    let staged = directory.path().join("staging/of-the-first");
    fs::write(&staged, b"on its way").unwrap();
    let second = DiskStore::open(directory.path()).unwrap();
    assert!(staged.exists());
    assert!(matches!(second.put_new(&name("a"), &[b"2"]), Err(StoreError::Conflict { .. })));
    assert_eq!(second.put_new(&name("b"), &[b"2"]).unwrap(), Put::Created);
    let reader = DiskStore::open_read_only(directory.path()).unwrap();
    assert_eq!(&reader.read(&name("a")).unwrap()[..], b"1");
    assert!(matches!(reader.put_new(&name("b"), &[]), Err(StoreError::ReadOnly)));
    assert!(matches!(reader.put_hint(&name("b"), b""), Err(StoreError::ReadOnly)));
    drop((first, second));
    DiskStore::open(directory.path()).unwrap();
    assert!(!staged.exists());
}

#[test]
fn a_process_that_keeps_the_directory_for_itself_is_respected() {
    let directory = tempfile::tempdir().unwrap();
    drop(DiskStore::open(directory.path()).unwrap());
    let lock = File::options().write(true).open(directory.path().join("lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(DiskStore::open(directory.path()), Err(StoreError::Locked { .. })));
}

#[test]
fn what_a_crash_leaves_in_staging_is_never_an_object() {
    let directory = tempfile::tempdir().unwrap();
    drop(DiskStore::open(directory.path()).unwrap());
    let torn = directory.path().join("staging/0011");
    fs::write(&torn, b"half an obj").unwrap();
    let store = DiskStore::open(directory.path()).unwrap();
    assert!(!torn.exists());
    assert!(store.list("", None).unwrap().is_empty());
}

#[test]
fn objects_are_read_only_files() {
    let directory = tempfile::tempdir().unwrap();
    for staged in [false, true] {
        let store = DiskStore::open(directory.path()).unwrap();
        if staged {
            store.writer.as_ref().unwrap().creator.without_unnamed_files();
        }
        let object = ObjectName::numbered("mode", u64::from(staged)).unwrap();
        store.put_new(&object, &[b"x"]).unwrap();
        let mode = fs::metadata(store.object_path(&object)).unwrap().permissions().mode();
        assert_eq!(mode & 0o222, 0);
    }
    assert_eq!(fs::read_dir(directory.path().join("staging")).unwrap().count(), 0);
}

#[test]
fn more_parts_than_one_system_call_takes() {
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path()).unwrap();
    let bytes: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
    let parts: Vec<&[u8]> = bytes.chunks(1).collect();
    store.put_new(&name("many"), &parts).unwrap();
    assert_eq!(store.read(&name("many")).unwrap(), bytes);
}

#[test]
fn a_directory_that_is_no_store_is_not_opened_for_reading() {
    let directory = tempfile::tempdir().unwrap();
    DiskStore::open_read_only(directory.path()).unwrap_err();
    DiskStore::open_read_only(directory.path().join("none")).unwrap_err();
}

#[test]
fn what_is_put_aside_is_kept_and_its_name_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path()).unwrap();
    let object = ObjectName::numbered("segments", 7).unwrap();
    assert_eq!(store.quarantine(&object).unwrap(), None);
    let mut kept = Vec::new();
    for bytes in [&b"first"[..], b"second"] {
        store.put_new(&object, &[bytes]).unwrap();
        kept.push((store.quarantine(&object).unwrap().unwrap(), bytes));
        assert!(matches!(store.read(&object), Err(StoreError::NotFound { .. })));
    }
    for (path, bytes) in kept {
        assert_eq!(fs::read(path).unwrap(), bytes);
    }
    assert!(store.list("", None).unwrap().is_empty());
    let reader = DiskStore::open_read_only(directory.path()).unwrap();
    assert!(matches!(reader.quarantine(&object), Err(StoreError::ReadOnly)));
}

/// Each flush of a call made to fail, one after the other.
#[test]
fn a_failed_flush_ends_all_writing() {
    use super::create::faults;
    type Call = fn(&DiskStore) -> Result<(), StoreError>;
    let calls: [(&str, Call); 2] = [
        ("put_new", |store| store.put_new(&name("deep/er/object"), &[b"x"]).map(drop)),
        ("quarantine", |store| store.quarantine(&name("there")).map(drop)),
    ];
    for (what, call) in calls {
        for staged in [false, true] {
            let mut failures = 0;
            loop {
                let directory = tempfile::tempdir().unwrap();
                let store = DiskStore::open(directory.path()).unwrap();
                if staged {
                    store.writer.as_ref().unwrap().creator.without_unnamed_files();
                }
                store.put_new(&name("there"), &[b"1"]).unwrap();
                faults::fail_after(failures);
                let answer = call(&store);
                if !faults::is_over() {
                    answer.unwrap();
                    break;
                }
                assert!(matches!(answer, Err(StoreError::Fatal { .. })), "{what} {failures}");
                let fatal = |answer| matches!(answer, Err(StoreError::Fatal { .. }));
                assert!(fatal(store.put_new(&name("later"), &[b"2"]).map(drop)));
                assert!(fatal(store.put_hint(&name("later"), b"2")));
                assert!(fatal(store.retire(&name("there"))));
                assert!(fatal(store.quarantine(&name("there")).map(drop)));
                assert!(matches!(store.read(&name("later")), Err(StoreError::NotFound { .. })));
                failures += 1;
            }
            // Two new directories, the file and its directory; the copy's directory, two names.
            assert!(failures >= 3, "{what}: {failures}");
        }
    }
}
