//! The pages in `docs/formats` against the program: their examples are what it writes, and the
//! Python reader that was written from them alone accepts what it exports and refuses the rest.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use stele_ledger::evidence;
use stele_ledger::{Ledger, LogKey, parse_public_keys};
use stele_merkle::{LeafIndex, leaf_hash};
use stele_record::{
    Boot, ChainHead, Commitment, Epoch, EpochSecret, EventTime, Header, Kind, ObservedTime,
    PayloadType, Seal, Seq, SourceKey, Submission, SubmittedRecord,
};
use stele_store::{MemoryStore, Store};

use crate::common::{Source, create, key};

const RECORD_PAGE: &str = include_str!("../../../../docs/formats/record.md");
const SEGMENT_PAGE: &str = include_str!("../../../../docs/formats/segment.md");
const EVIDENCE_PAGE: &str = include_str!("../../../../docs/formats/evidence.md");
const EXAMPLE: &str = include_str!("../../../../docs/formats/example.jsonl");
const EXAMPLE_KEYS: &str = include_str!("../../../../docs/formats/example.pub");
const SEGMENT: &[u8] = include_bytes!("../vectors/segment-v1.bin");

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats").join(name)
}

/// What the Python reader says about a file: its exit code and its words. `None` without Python.
fn python(file: &Path, keys: &Path) -> Option<(i32, String)> {
    let mut command = Command::new("python3");
    match command.arg("-B").arg(page("verify_evidence.py")).arg(file).arg(keys).output() {
        Ok(output) => {
            let mut words = String::from_utf8(output.stdout).unwrap();
            words += str::from_utf8(&output.stderr).unwrap();
            Some((output.status.code().unwrap(), words))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            not_run("there is no python3");
            None
        }
        Err(error) => panic!("python3: {error}"),
    }
}

/// Says past the test harness, which keeps what a passing test prints to itself, that this test
/// was not run; and leaves its name where `cargo xtask test` looks for it.
fn not_run(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    std::io::stderr().write_all(format!("NOT RUN: {test}: {why}\n").as_bytes()).unwrap();
    if let Some(file) = std::env::var_os("STELE_NOT_RUN") {
        let mut file = fs::File::options().create(true).append(true).open(file).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}

struct Case {
    directory: tempfile::TempDir,
    keys: PathBuf,
}

impl Case {
    fn new(key: &LogKey) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("log.pub");
        fs::write(&keys, key.public_text().unwrap()).unwrap();
        Self { directory, keys }
    }

    fn python(&self, evidence: &str) -> Option<(i32, String)> {
        let file = self.directory.path().join("evidence.jsonl");
        fs::write(&file, evidence).unwrap();
        python(&file, &self.keys)
    }
}

/// Two sources in turns; 15 records, so that the tree is not perfect.
fn ledger() -> Ledger {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, 65_536);
    let mut sources = [Source::new(1, 1), Source::new(2, 7)];
    for source in &mut sources {
        let records = vec![source.open_record()];
        ledger.append_blocking(source.submission(records)).unwrap();
    }
    for round in 0..3 {
        for source in &mut sources {
            let mut submission = source.events(1, 20 * round);
            submission.records.push(source.seal_record());
            ledger.append_blocking(submission).unwrap();
        }
    }
    ledger.append_blocking(sources[1].events(1, 5)).unwrap();
    ledger
}

fn export(ledger: &Ledger, indices: impl IntoIterator<Item = u64>) -> String {
    let mut out = Vec::new();
    let indices: Vec<LeafIndex> = indices.into_iter().map(LeafIndex).collect();
    evidence::write(ledger, &indices, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn files_of_the_ledger_are_read_from_the_pages_alone() {
    let (ledger, case) = (ledger(), Case::new(&key()));
    for indices in [(0..15).collect(), vec![14], vec![0, 3, 6, 7, 10, 11], vec![1, 2, 5, 8, 9, 13]]
    {
        let file = export(&ledger, indices.iter().copied());
        let report = evidence::verify(&mut file.as_bytes(), ledger.verifier()).unwrap();
        assert!(report.holds(), "{:?}", report.errors);
        let Some((code, words)) = case.python(&file) else { return };
        assert_eq!(code, 0, "{words}");
        assert!(words.contains("SIGNATURES ARE NOT CHECKED"), "{words}");
        let said = format!("{} records in the tree of the checkpoint", indices.len());
        assert!(words.contains(&said), "{words}");
    }
}

/// The lines of a file with one member of one line changed.
fn changed(file: &str, line: usize, member: &str, value: impl Into<Value>) -> String {
    let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
    let mut object: Value = serde_json::from_str(&lines[line]).unwrap();
    object[member] = value.into();
    lines[line] = object.to_string();
    lines.join("\n") + "\n"
}

/// The text of a member, with one of its characters replaced so that it stays base64.
fn other(file: &str, line: usize, member: &str) -> String {
    let object: Value = serde_json::from_str(file.lines().nth(line).unwrap()).unwrap();
    let text = object[member].as_str().unwrap();
    let replacement = if text.as_bytes()[20] == b'A' { "B" } else { "A" };
    format!("{}{replacement}{}", &text[..20], &text[21..])
}

#[test]
fn what_was_tampered_with_is_refused() {
    let (ledger, case) = (ledger(), Case::new(&key()));
    let file = export(&ledger, 0..15);
    let lines: Vec<&str> = file.lines().collect();
    let without = |line: usize| [&lines[..line], &lines[line + 1..]].concat().join("\n");
    let manifest: Value = serde_json::from_str(lines[0]).unwrap();
    let (origin, note) = (&manifest["origin"], manifest["checkpoint"].as_str().unwrap());
    let swapped = [&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat().join("\n");
    let tampered = [
        ("payload", changed(&file, 6, "payload", other(&file, 6, "payload"))),
        ("salt", changed(&file, 6, "salt", other(&file, 6, "salt"))),
        ("record", changed(&file, 6, "record", other(&file, 6, "record"))),
        ("index", changed(&file, 15, "index", 15)),
        ("proof", changed(&file, 6, "proof", Vec::<String>::new())),
        ("payload left out", changed(&file, 6, "payload", Value::Array(Vec::new()))),
        ("count", changed(&file, 0, "count", 14)),
        ("format", changed(&file, 0, "format", "stele-evidence/v2")),
        ("origin", changed(&file, 0, "origin", "example.org/other")),
        ("size", changed(&file, 0, "checkpoint", note.replacen("\n15\n", "\n16\n", 1))),
        ("name", changed(&file, 0, "checkpoint", note.replace(origin.as_str().unwrap(), "x"))),
        ("a line is missing", without(9)),
        ("the end is missing", without(15)),
        ("two lines changed places", swapped),
        ("nothing", String::new()),
    ];
    for (what, file) in tampered {
        let report = evidence::verify(&mut file.as_bytes(), ledger.verifier()).unwrap();
        assert!(!report.holds(), "{what}");
        let Some((code, words)) = case.python(&file) else { return };
        assert_eq!(code, 5, "{what}: {words}");
        assert!(words.contains("DOES NOT HOLD"), "{what}: {words}");
    }
}

#[test]
fn another_logs_keys_and_a_seal_over_other_records_are_refused() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, 65_536);
    let mut source = Source::new(1, 1);
    let mut records = vec![source.open_record(), source.record(Kind::EVENT, "a")];
    let file = {
        // The seal names another head than the records before it have: one of them was replaced.
        let head = source.head;
        source.head = ChainHead::start(&source.id, source.boot).push(b"another record");
        records.push(source.seal_record());
        source.head = head;
        ledger.append_blocking(source.submission(records)).unwrap();
        export(&ledger, 0..3)
    };
    let report = evidence::verify(&mut file.as_bytes(), ledger.verifier()).unwrap();
    assert!(!report.holds());
    let Some((code, words)) = Case::new(&key()).python(&file) else { return };
    assert!(code == 5 && words.contains("over other records"), "{words}");
    let stranger = LogKey::from_seeds(key().origin(), [8; 32], [9; 32]).unwrap();
    let Some((code, words)) = Case::new(&stranger).python(&file) else { return };
    assert!(code == 5 && words.contains("no line of key"), "{words}");
}

#[test]
fn the_example_holds() {
    let verifier = parse_public_keys(EXAMPLE_KEYS).unwrap();
    let report = evidence::verify(&mut EXAMPLE.as_bytes(), &verifier).unwrap();
    assert!(report.holds(), "{:?}", report.errors);
    assert_eq!(report.signed_by.len(), 2);
    let counts: Vec<u64> = report.checks.iter().map(|check| check.count).collect();
    assert_eq!(counts, [2, 7, 7, 6, 1, 1]);
    let (file, keys) = (page("example.jsonl"), page("example.pub"));
    let Some((code, words)) = python(&file, &keys) else { return };
    assert_eq!(code, 0, "{words}");
}

/// The bytes of the block that a page shows as ```` ```hex NAME ````; behind `;` are remarks.
fn block(page: &str, name: &str) -> Vec<u8> {
    let (_, rest) = page.split_once(&format!("```hex {name}\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let digits = block.lines().flat_map(|line| line.split(';').next().unwrap().split_whitespace());
    hex::decode(digits.collect::<String>()).unwrap()
}

#[test]
fn examples_of_records_are_what_the_program_writes() {
    let secret = EpochSecret::from_bytes([7; 32]);
    let (boot, seq) = (Boot(5), Seq(1));
    let salt = secret.salt(boot, seq);
    let source = SourceKey::from_seed([1; 32]).unwrap().source_id();
    let header = Header {
        source,
        boot,
        seq,
        epoch: Epoch(0),
        kind: Kind::EVENT,
        event_time: Some(EventTime::from_unix_ns(-1)),
        observed_time: ObservedTime::from_unix_ns(1_795_460_667_690_613_574),
        origin_counter: Some("203".to_owned()),
        payload_len: 5,
        payload_type: PayloadType::TEXT,
        commitment: Commitment::new(&salt, b"hello"),
    }
    .encode();
    assert_eq!(block(RECORD_PAGE, "header"), header);
    let start = ChainHead::start(&source, boot);
    for value in [
        *leaf_hash(&header).as_bytes(),
        *salt.as_bytes(),
        *start.as_bytes(),
        *start.push(&header).as_bytes(),
    ] {
        assert!(RECORD_PAGE.contains(&hex::encode(value)), "{}", hex::encode(value));
    }
    let record = SubmittedRecord { header: header.into(), payload: Bytes::from_static(b"hello") };
    let submission = Submission { epoch: Epoch(0), secret, records: vec![record] };
    assert_eq!(block(RECORD_PAGE, "submission"), submission.encode());
}

#[test]
fn examples_from_files_are_in_the_files() {
    assert!(SEGMENT.starts_with(&block(SEGMENT_PAGE, "segment")));
    let last = EXAMPLE.lines().last().unwrap();
    assert!(EVIDENCE_PAGE.contains(last));
    let seal = block(RECORD_PAGE, "seal");
    assert_eq!(Seal::decode(&seal).unwrap().encode(), seal);
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &seal);
    assert!(EXAMPLE.lines().nth(6).unwrap().contains(&base64));
    let hashes = block(EVIDENCE_PAGE, "inclusion");
    let (hashes, _) = hashes.as_chunks::<32>();
    let node = |left: &[u8; 32], right: &[u8; 32]| {
        let hash = |bytes: &[u8; 32]| stele_merkle::Hash::from_bytes(*bytes);
        *stele_merkle::node_hash(&hash(left), &hash(right)).as_bytes()
    };
    assert_eq!(hashes[2], node(&hashes[1], &hashes[0]));
    assert_eq!(hashes[4], node(&hashes[3], &hashes[2]));
}
