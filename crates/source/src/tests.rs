//! A source is killed, refused, starved and torn here; what the ledger then holds must be the
//! whole sequence, once.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use stele_record::{ChainHead, Submission, SubmittedRecord};
use stele_store::SystemClock;

use super::*;

/// A ledger's rules for submissions, and nothing else of it.
#[derive(Default)]
struct NaiveLedger {
    down: AtomicBool,
    /// Take the submission but lose the answer.
    lose_answer: AtomicBool,
    taken: Mutex<BTreeMap<(Boot, Seq), SubmittedRecord>>,
}

impl NaiveLedger {
    fn records(&self) -> Vec<(Header, Bytes)> {
        let taken = self.taken.lock().unwrap();
        taken.values().map(|r| (Header::decode(&r.header).unwrap(), r.payload.clone())).collect()
    }
}

impl Deliver for NaiveLedger {
    async fn deliver(&self, submission: Submission) -> Result<Delivered, DeliverError> {
        let unavailable = || DeliverError::Unavailable { reason: "test".to_owned() };
        if self.down.load(Ordering::Relaxed) {
            return Err(unavailable());
        }
        let mut taken = self.taken.lock().unwrap();
        for record in submission.records {
            let header = Header::decode(&record.header).unwrap();
            assert_eq!(header.epoch, submission.epoch);
            let salt = submission.secret.salt(header.boot, header.seq);
            assert_eq!(header.commitment, Commitment::new(&salt, &record.payload));
            let hole =
                header.seq.0 > 0 && !taken.contains_key(&(header.boot, Seq(header.seq.0 - 1)));
            assert!(!hole, "a hole before {:?}", header.seq);
            let before = taken.insert((header.boot, header.seq), record.clone());
            assert!(before.is_none_or(|before| before == record), "two records at one place");
        }
        if self.lose_answer.swap(false, Ordering::Relaxed) {
            return Err(unavailable());
        }
        Ok(Delivered { first_index: 0 })
    }
}

fn options() -> SourceOptions {
    SourceOptions {
        name: "test".to_owned(),
        attests: "nothing".to_owned(),
        imported: false,
        heartbeat: Duration::from_millis(20),
        software: "test".to_owned(),
        spool_bytes_max: SPOOL_BYTES_MAX_DEFAULT,
    }
}

fn open(dir: &Path, options: SourceOptions) -> Source {
    Source::open(dir, options, Arc::new(SystemClock::default())).unwrap()
}

fn draft(n: u32) -> Draft {
    Draft {
        kind: Kind::EVENT,
        event_time: None,
        origin_counter: None,
        payload_type: PayloadType::TEXT,
        payload: Bytes::from(n.to_string()),
    }
}

fn cursor(n: u32) -> Cursor {
    Cursor { key: "at".to_owned(), value: Some(n.to_string()) }
}

fn events(ledger: &NaiveLedger) -> Vec<u32> {
    let records = ledger.records();
    let events = records.iter().filter(|(header, _)| header.kind == Kind::EVENT);
    events.map(|(_, payload)| str::from_utf8(payload).unwrap().parse().unwrap()).collect()
}

/// Every chain starts with a declaration, every seal verifies.
fn check_chains(ledger: &NaiveLedger) -> usize {
    let mut seals = 0;
    let mut chain: Option<(Declaration, ChainHead)> = None;
    let taken = ledger.taken.lock().unwrap();
    for record in taken.values() {
        let header = Header::decode(&record.header).unwrap();
        if header.seq == Seq(0) {
            assert_eq!(header.kind, Kind::SOURCE_OPEN);
            let declaration = Declaration::decode(&record.payload).unwrap();
            chain = Some((declaration, ChainHead::start(&header.source, header.boot)));
        }
        let (declaration, head) = chain.as_mut().unwrap();
        if header.kind == Kind::SEAL {
            let seal = Seal::decode(&record.payload).unwrap();
            let key = declaration.key().unwrap();
            seal.verify(&key, &header.source, header.boot, header.seq, head).unwrap();
            seals += 1;
        }
        *head = head.push(&record.header);
    }
    seals
}

async fn run_until_drained(source: &Source, ledger: &NaiveLedger) {
    let (stop, stopped) = watch::channel(false);
    let stop_when_drained = async {
        source.drained().await.unwrap();
        stop.send_replace(true);
    };
    let (ran, ()) =
        tokio::join!(source.run(ledger, stopped, Duration::from_secs(10)), stop_when_drained);
    ran.unwrap();
}

#[tokio::test]
async fn delivers_once_in_order_and_seals() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = NaiveLedger::default();
    ledger.lose_answer.store(true, Ordering::Relaxed);
    let source = open(dir.path(), options());
    for n in 0..10_000 {
        source.record(draft(n), &[cursor(n)]).await.unwrap();
    }
    run_until_drained(&source, &ledger).await;
    assert_eq!(events(&ledger), (0..10_000).collect::<Vec<_>>());
    assert!(check_chains(&ledger) >= 1);
    assert_eq!(ledger.records().last().unwrap().0.kind, Kind::SOURCE_CLOSE);
    assert_eq!(source.status().spool_bytes, 0);
}

#[tokio::test]
async fn outlives_kills_and_an_unreachable_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = NaiveLedger::default();
    let mut n = 0;
    for round in 0..20 {
        // Dropped without close: a kill between two system calls.
        let source = open(dir.path(), options());
        let resumed = source.cursor("at").map_or(0, |at| at.parse::<u32>().unwrap() + 1);
        assert_eq!(resumed, n, "the cursor is that of the last durable record");
        assert_eq!(source.previous().is_some(), round > 0);
        for _ in 0..50 {
            source.record(draft(n), &[cursor(n)]).await.unwrap();
            n += 1;
        }
        source.flush().await.unwrap();
        // Taken but never flushed: gone with the kill.
        source.record(draft(u32::MAX), &[cursor(u32::MAX)]).await.unwrap();
    }
    let source = open(dir.path(), options());
    ledger.down.store(true, Ordering::Relaxed);
    let up_again = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(events(&ledger), Vec::<u32>::new());
        ledger.down.store(false, Ordering::Relaxed);
    };
    tokio::join!(run_until_drained(&source, &ledger), up_again);
    assert_eq!(events(&ledger), (0..n).collect::<Vec<_>>());
    check_chains(&ledger);
    let declarations = ledger.records().iter().filter(|(h, _)| h.seq == Seq(0)).count();
    assert_eq!(declarations, 21);
}

#[tokio::test]
async fn a_torn_end_is_cut_at_every_byte_and_damage_elsewhere_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path(), options());
    for n in 0..3 {
        source.record(draft(n), &[cursor(n)]).await.unwrap();
    }
    source.flush().await.unwrap();
    drop(source);
    let file = dir.path().join(format!("{:020}.spool", 0));
    let whole = fs::read(&file).unwrap();
    for len in (0..whole.len()).rev() {
        fs::write(&file, &whole[..len]).unwrap();
        let last = spool::recover(dir.path()).unwrap();
        let seen = last.map_or(0, |state| state.next_seq);
        assert!(seen <= 4);
        assert!(fs::metadata(&file).unwrap().len() <= len as u64);
    }
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    fs::write(&file, &damaged).unwrap();
    fs::write(dir.path().join(format!("{:020}.spool", 1)), &whole).unwrap();
    let error = spool::recover(dir.path()).unwrap_err();
    assert!(matches!(error, SourceError::Corrupt { offset: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_full_spool_holds_the_recorder_back() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = NaiveLedger::default();
    let source = open(dir.path(), SourceOptions { spool_bytes_max: 2_000, ..options() });
    let recording = async {
        for n in 0..200 {
            source.record(draft(n), &[]).await.unwrap();
            assert!(source.status().spool_bytes < 3_000);
        }
    };
    let (stop, stopped) = watch::channel(false);
    tokio::select! {
        () = recording => {}
        ran = source.run(&ledger, stopped, Duration::ZERO) => panic!("{ran:?}"),
    }
    drop(stop);
    run_until_drained(&source, &ledger).await;
    assert_eq!(events(&ledger), (0..200).collect::<Vec<_>>());
}

#[test]
fn one_process_at_a_time_and_one_identity_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path(), options());
    let again = Source::open(dir.path(), options(), Arc::new(SystemClock::default()));
    assert!(matches!(again, Err(SourceError::InUse { .. })));
    let (id, boot) = (source.id(), source.boot());
    drop(source);
    let source = open(dir.path(), options());
    assert_eq!(source.id(), id);
    assert!(source.boot() > boot);
    drop(source);
    fs::write(dir.path().join("source.key"), "garbage").unwrap();
    let broken = Source::open(dir.path(), options(), Arc::new(SystemClock::default()));
    assert!(matches!(broken, Err(SourceError::Corrupt { .. })));
}

#[tokio::test]
async fn what_the_spool_could_not_give_back_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = NaiveLedger::default();
    let source = open(dir.path(), options());
    let long = Draft { origin_counter: Some("9".repeat(129)), ..draft(0) };
    let error = source.record(long, &[]).await.unwrap_err();
    assert!(matches!(error, SourceError::FieldTooLong { field: "origin counter", .. }), "{error}");
    let far = Cursor { key: "k".to_owned(), value: Some("\u{1}".repeat(CURSOR_BYTES_MAX)) };
    let error = source.record(draft(0), &[far]).await.unwrap_err();
    assert!(matches!(error, SourceError::FieldTooLong { field: "cursors", .. }), "{error}");
    // The most that is taken comes back, also after a restart.
    let near = Cursor { key: "k".to_owned(), value: Some("\u{1}".repeat(CURSOR_BYTES_MAX - 1)) };
    let most = Draft { origin_counter: Some("9".repeat(128)), ..draft(0) };
    source.record(most, std::slice::from_ref(&near)).await.unwrap();
    source.record(draft(1), &[]).await.unwrap();
    source.flush().await.unwrap();
    drop(source);
    let source = open(dir.path(), options());
    assert_eq!(source.cursor("k"), near.value);
    run_until_drained(&source, &ledger).await;
    assert_eq!(events(&ledger), [0, 1]);
}

#[tokio::test]
async fn after_a_failed_flush_nothing_counts_as_durable() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path(), options());
    source.record(draft(0), &[]).await.unwrap();
    let durable = source.writer().end_of_durable();
    let (_, end) = source.writer().begin_flush().unwrap();
    source.writer().end_flush(end, Err(std::io::Error::other("injected"))).unwrap_err();
    // The system would report success now, for pages that it has dropped.
    source.flush().await.unwrap_err();
    source.record(draft(1), &[]).await.unwrap_err();
    assert_eq!(source.writer().end_of_durable(), durable);
}

#[test]
fn the_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("sources/one");
    drop(open(&dir, options()));
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}
