//! Every system call of a source's spool goes wrong, one after the other: it fails, it happens but
//! its answer is lost, it does half of its work, or the process is killed at it. Whatever was said to
//! be durable is delivered afterwards, in order, and the cursor is that of the last record.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use stele_record::{Header, Kind, PayloadType, Submission};
use stele_source::{
    Cursor, Deliver, DeliverError, Delivered, Draft, SPOOL_BYTES_MAX_DEFAULT, Source, SourceError,
    SourceOptions,
};
use stele_store::SystemClock;
use tokio::sync::watch;
use xtask::faults::{Call, Event, Fault, Run, Tracer, victim};

const RECORDS: u32 = 3;

fn open(directory: &Path) -> Result<Source, SourceError> {
    let options = SourceOptions {
        name: "test".to_owned(),
        attests: "nothing".to_owned(),
        imported: false,
        heartbeat: Duration::from_secs(60),
        software: "test".to_owned(),
        spool_bytes_max: SPOOL_BYTES_MAX_DEFAULT,
    };
    Source::open(&directory.join("source"), options, Arc::new(SystemClock::new()))
}

fn next(source: &Source) -> u32 {
    source.cursor("at").map_or(0, |at| at.parse::<u32>().unwrap() + 1)
}

/// Records everything and says what is durable. Not a test of its own.
#[test]
#[ignore = "the process in which calls go wrong"]
fn record_all() {
    let say = |line: String| {
        // Written by hand: the harness would capture what the macro prints.
        let _ = std::io::stderr().write_all(line.as_bytes());
    };
    victim(|directory| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result: Result<(), SourceError> = runtime.block_on(async {
            let source = open(directory)?;
            for n in next(&source)..RECORDS {
                let draft = Draft {
                    kind: Kind::EVENT,
                    event_time: None,
                    origin_counter: None,
                    payload_type: PayloadType::TEXT,
                    payload: Bytes::from(n.to_string()),
                };
                let cursor = Cursor { key: "at".to_owned(), value: Some(n.to_string()) };
                source.record(draft, &[cursor]).await?;
                source.flush().await?;
                say(format!("durable {n}\n"));
            }
            Ok(())
        });
        if let Err(error) = result {
            say(format!("refused {error}\n"));
        }
    });
}

/// Takes everything, and keeps the events.
#[derive(Default)]
struct Ledger {
    events: Mutex<Vec<u32>>,
}

impl Deliver for Ledger {
    async fn deliver(&self, submission: Submission) -> Result<Delivered, DeliverError> {
        for record in submission.records {
            if Header::decode(&record.header).unwrap().kind == Kind::EVENT {
                let event = str::from_utf8(&record.payload).unwrap().parse().unwrap();
                self.events.lock().unwrap().push(event);
            }
        }
        Ok(Delivered { first_index: 0 })
    }
}

fn settle(directory: &Path, durable: u32) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let source = open(directory).map_err(|e| format!("it cannot be opened: {e}"))?;
        let ledger = Ledger::default();
        let (stop, stopped) = watch::channel(false);
        let running = source.run(&ledger, stopped, Duration::from_secs(60));
        let draining = async {
            source.drained().await.unwrap();
            stop.send(true).unwrap();
        };
        let (ran, ()) = tokio::join!(running, draining);
        ran.map_err(|e| e.to_string())?;
        let events = ledger.events.lock().unwrap().clone();
        let count = u32::try_from(events.len()).unwrap();
        if count < durable || events != (0..count).collect::<Vec<_>>() || next(&source) != count {
            return Err(format!("{durable} were durable, delivered {events:?}"));
        }
        Ok(())
    })
}

fn check(call: &Call, fault: Fault, run: &Run) -> Result<u32, String> {
    // The standard library panics if a directory cannot be closed, which Linux never says.
    let panicked = run.said().any(|line| line.contains("panicked"));
    if panicked && !run.said().any(|line| line.contains("during closedir")) {
        return Err(format!("it panicked: {:?}", run.said().collect::<Vec<_>>()));
    }
    let number = |line: &str| line.strip_prefix("durable ")?.parse::<u32>().ok();
    let done = run.said().filter_map(number).last().map_or(0, |last| last + 1);
    let hit = run.events.iter().position(|event| matches!(event, Event::Hit(_))).unwrap_or(0);
    let went_on = run.events[hit..]
        .iter()
        .any(|event| matches!(event, Event::Said(line) if line.starts_with("durable")));
    if call.flushes() && fault != Fault::Kill && went_on {
        return Err("it went on after a flush had failed".to_owned());
    }
    if fault == Fault::Short && done < RECORDS {
        return Err("half of the bytes were taken for all".to_owned());
    }
    Ok(done)
}

/// `prepare` leaves records of which some are durable already.
fn sweep(tracer: &Tracer, prepare: &(dyn Fn(&Path) + Sync)) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("plain");
    std::fs::create_dir(&directory).unwrap();
    prepare(&directory);
    let plain = tracer.run(&directory, None).unwrap();
    settle(&directory, RECORDS).unwrap();
    let calls: BTreeSet<Call> = plain.calls().cloned().collect();
    let sweep = tracer
        .sweep(parent.path(), &calls, prepare, &|directory, call, fault, run| {
            settle(directory, check(call, fault, run)?)
        })
        .unwrap();
    eprintln!("{} calls, {} faults", calls.len(), sweep.runs);
    assert!(sweep.faults.is_empty(), "{:#?}", sweep.faults);
    assert!(sweep.missed.is_empty(), "these calls were never hit: {:?}", sweep.missed);
}

#[test]
fn every_call_of_a_new_spool_goes_wrong() {
    let Some(tracer) = Tracer::for_test("record_all").unwrap() else { return };
    sweep(&tracer, &|_| {});
}

#[test]
fn every_call_of_a_spool_after_a_crash_goes_wrong() {
    let Some(tracer) = Tracer::for_test("record_all").unwrap() else { return };
    let crashed = tempfile::tempdir().unwrap();
    let files = crashed.path().join("files");
    let name = "source/00000000000000000000.spool";
    // Killed when the second record was written but not flushed.
    let call = Call { name: "write".into(), file: name.into(), nth: 2 };
    let run = tracer.run(&files, Some((&call, Fault::KillAfter))).unwrap();
    assert!(run.was_hit(), "{run:?}");
    let prepare = |directory: &Path| {
        let to = directory.join("source");
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(files.join("source")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let again = crashed.path().join("again");
    prepare(&again);
    let calls: Vec<Call> = tracer.run(&again, None).unwrap().calls().cloned().collect();
    let flushed = calls.iter().position(|call| call.flushes() && call.file == name);
    let next = calls.iter().position(|call| call.file.ends_with("1.spool"));
    assert!(flushed.is_some() && flushed < next, "what is believed is flushed first: {calls:?}");
    sweep(&tracer, &|directory| {
        prepare(directory);
        let mut torn = std::fs::OpenOptions::new().append(true).open(directory.join(name)).unwrap();
        torn.write_all(&[9, 0, 0, 0, 1, 2]).unwrap();
    });
}
