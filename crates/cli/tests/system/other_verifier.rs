//! The log read by code that is not ours: a Go program on `golang.org/x/mod/sumdb` verifies
//! checkpoint, inclusion and consistency over HTTP, from the server and from an export that a plain
//! file server serves; Tessera's fsck and client read both; the Python package `scitt-cose` and Go's
//! `go-cose` with `filippo.io/mldsa` verify receipts.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use xtask::{go, not_run, python};

use crate::harness::{Home, recordings};

const SAMPLES: &str = "100";
const SIZES: &str = "10";

#[test]
fn go_sumdb_verifies_checkpoint_inclusion_and_consistency() {
    let Some(folder) = go::SUMDB.for_test().unwrap() else { return };
    let Some(recordings) = recordings() else { return };
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    for recording in ["real-node/watch.jsonl.zst", "pod-churn/watch.jsonl.zst"] {
        home.run(&["import", recordings.join(recording).to_str().unwrap()]).ok();
    }
    sumdb_checks(&folder, &up.url, &home);
}

/// The log's Ed25519 key, the only algorithm that sumdb/note and scitt-cose know. It is the first.
fn ed25519_key(home: &Home) -> String {
    let keys = std::fs::read_to_string(home.data().join("keys/log.pub")).unwrap();
    keys.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap().to_owned()
}

fn sumdb_checks(folder: &Path, url: &str, home: &Home) {
    let checked = Command::new(folder.join("stele-sumdb-check"))
        .args(["-url", url, "-vkey", &ed25519_key(home), "-samples", SAMPLES, "-sizes", SIZES])
        .args(["-seed", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}\n{}", String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("OK"), "{said}");
    eprintln!("{said}");
}

/// Appends events, a line each.
pub(crate) fn append(home: &Home, count: u32) {
    let lines: String = (0..count).map(|n| format!("event {n}\n")).collect();
    std::fs::write(home.path("lines"), lines).unwrap();
    home.run(&["log", "append", home.path("lines").to_str().unwrap()]).ok();
}

/// A file server of Python's, ended when dropped.
struct FileServer {
    child: Child,
    url: String,
}

impl FileServer {
    /// Serves a directory; `None`, reported as not run, where there is no Python.
    fn start(directory: &Path) -> Option<Self> {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]);
        let spawned = command.arg(directory).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = spawned else {
            not_run::report(&"there is no python3");
            return None;
        };
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        // Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
        let url = said.split(['(', ')']).nth(1).unwrap_or_else(|| panic!("{said:?}")).to_owned();
        Some(Self { child, url })
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn go_sumdb_verifies_an_export_that_a_plain_file_server_serves() {
    let Some(folder) = go::SUMDB.for_test().unwrap() else { return };
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let out = home.path("static");
    let export = || home.run(&["log", "export", "--out", out.to_str().unwrap()]).ok();
    append(&home, 700);
    export();
    append(&home, 900);
    export();
    up.stop();
    let Some(server) = FileServer::start(&out) else { return };
    sumdb_checks(&folder, &server.url, &home);
}

/// Runs Tessera's code on the log at a URL; whether it holds, and what was said.
pub(crate) fn tessera(
    folder: &Path,
    command: &str,
    url: &str,
    key: &str,
    more: &[&str],
) -> (bool, String) {
    let mut program = Command::new(folder.join("stele-tessera-check"));
    let output = program.args([command, "-url", url, "-vkey", key]).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.contains("OK\n"), "{said}");
    (output.status.success(), said)
}

/// All files below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn tessera_fsck_and_client_accept_our_log_and_refuse_altered_ones() {
    let Some(folder) = go::TESSERA.for_test().unwrap() else { return };
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let keys = std::fs::read_to_string(home.data().join("keys/log.pub")).unwrap();
    let keys: Vec<&str> = keys.lines().collect();
    let state = home.path("seen");
    let state = ["-state", state.to_str().unwrap()];
    for events in [300, 700] {
        append(&home, events);
        for key in &keys {
            let (accepted, said) = tessera(&folder, "fsck", &up.url, key, &[]);
            assert!(accepted, "{key}: {said}");
        }
        let (accepted, said) = tessera(&folder, "follow", &up.url, keys[0], &state);
        assert!(accepted && said.contains("of them proven"), "{said}");
    }
    let out = home.path("static");
    home.run(&["log", "export", "--out", out.to_str().unwrap()]).ok();
    append(&home, 1);
    let (accepted, said) = tessera(&folder, "follow", &up.url, keys[0], &state);
    assert!(accepted, "{said}");
    up.stop();

    let Some(server) = FileServer::start(&out) else { return };
    let url = format!("file://{}", out.display());
    for at in [&url, &server.url] {
        let (accepted, said) = tessera(&folder, "fsck", at, keys[0], &[]);
        assert!(accepted, "{said}");
        // It has seen more than was exported.
        let (accepted, said) = tessera(&folder, "follow", at, keys[0], &state);
        assert!(!accepted && said.contains("another tree"), "{said}");
    }
    for path in files(&out) {
        let intact = std::fs::read(&path).unwrap();
        let mut altered = intact.clone();
        // Of the checkpoint the root: most of it are signatures by another key.
        let root = || intact.split_inclusive(|byte| *byte == b'\n').take(2).flatten().count();
        let at = if path.ends_with("checkpoint") { root() } else { intact.len() / 2 };
        altered[at] ^= 1;
        std::fs::write(&path, &altered).unwrap();
        for at in [&url, &server.url] {
            let (accepted, said) = tessera(&folder, "fsck", at, keys[0], &[]);
            assert!(!accepted, "{}: {said}", path.display());
        }
        std::fs::write(&path, &intact).unwrap();
    }
    assert!(tessera(&folder, "fsck", &url, keys[1], &[]).0);
}

#[test]
fn tessera_fsck_refuses_a_running_log_whose_store_was_altered() {
    let Some(folder) = go::TESSERA.for_test().unwrap() else { return };
    let home = Home::new();
    home.up(&["--no-record"]).stop();
    let up = home.up(&["--no-record"]);
    append(&home, 300);
    let key = ed25519_key(&home);
    up.stop();
    let up = home.up(&["--no-record"]);
    for segment in files(&home.data().join("log/objects/segments")) {
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 1);
        std::fs::remove_file(&segment).unwrap();
        std::fs::write(&segment, bytes).unwrap();
    }
    let (accepted, said) = tessera(&folder, "fsck", &up.url, &key, &[]);
    assert!(!accepted, "{said}");
    up.stop();
}

#[test]
fn scitt_cose_accepts_receipts_and_refuses_altered_ones() {
    let Some(program) = python::SCITT_COSE.for_test().unwrap() else { return };
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let at = |name: &str| home.path(name).to_str().unwrap().to_owned();
    append(&home, 300);
    home.run(&["log", "export", "--out", &at("static")]).ok();
    std::fs::copy(home.path("static/checkpoint"), home.path("older")).unwrap();
    append(&home, 20);
    home.run(&["log", "export", "--out", &at("static")]).ok();
    home.run(&["log", "prove", "--since", &at("older"), "--out", &at("growth.cose")]).ok();
    let verify = |receipt: &str, about: &[&str]| {
        let script = python::SCITT_COSE.folder().join("verify_receipt.py");
        let mut command = Command::new(&program);
        command.arg("-B").arg(script).args([&at(receipt), &ed25519_key(&home)]);
        let output = command.args(about.iter().map(|name| at(name))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    };
    let (accepted, said) = verify("growth.cose", &["older", "static/checkpoint"]);
    assert!(accepted && said.contains("is continued by"), "{said}");
    let (accepted, said) = verify("growth.cose", &["older", "older"]);
    assert!(!accepted, "{said}");
    for (index, part) in [("0", 0), ("256", 1), ("310", 2)] {
        let receipt = format!("{index}.cose");
        let cose = ["--format", "cose", "--out", &at(&receipt)];
        home.run(&[&["log", "prove", index][..], &cose].concat()).ok();
        let leaf = home.command().args(["log", "get", index, "-o", "leaf"]).output().unwrap();
        std::fs::write(home.path("leaf"), &leaf.stdout).unwrap();
        let (accepted, said) = verify(&receipt, &["leaf"]);
        assert!(accepted && said.contains(&format!("index {index} of stele/")), "{said}");
        let mut bytes = std::fs::read(home.path(&receipt)).unwrap();
        // In the protected header, in the proof, in the signature.
        let altered = [40, bytes.len() / 2, bytes.len() - 1][part];
        bytes[altered] ^= 1;
        std::fs::write(home.path("altered.cose"), &bytes).unwrap();
        let (accepted, said) = verify("altered.cose", &["leaf"]);
        assert!(!accepted, "byte {altered}: {said}");
        std::fs::write(home.path("leaf"), [&leaf.stdout[..], b"x"].concat()).unwrap();
        let (accepted, said) = verify(&receipt, &["leaf"]);
        assert!(!accepted, "{said}");
    }
    up.stop();
}

#[test]
fn go_cose_and_mldsa_accept_receipts_of_both_keys_and_refuse_altered_ones() {
    let Some(folder) = go::RECEIPT.for_test().unwrap() else { return };
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let at = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let checkpoint = |name: &str| {
        home.run(&["log", "export", "--out", &at("static")]).ok();
        std::fs::copy(home.path("static/checkpoint"), home.path(name)).unwrap();
    };
    append(&home, 300);
    checkpoint("older");
    append(&home, 20);
    checkpoint("newer");
    let leaf = home.command().args(["log", "get", "256", "-o", "leaf"]).output().unwrap();
    std::fs::write(home.path("leaf"), &leaf.stdout).unwrap();
    std::fs::write(home.path("other"), [&leaf.stdout[..], b"x"].concat()).unwrap();
    let keys = std::fs::read_to_string(home.data().join("keys/log.pub")).unwrap();
    let keys: Vec<&str> = keys.lines().collect();
    let verify = |receipt: &str, key: usize, about: &[(&str, &str)]| {
        let mut command = Command::new(folder.join("stele-receipt-check"));
        command.args(["-receipt", &at(receipt), "-vkey", keys[key]]);
        for (flag, file) in about {
            command.args([flag, &at(file)[..]]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    };
    let growth = [("-old", "older"), ("-new", "newer")];
    for (key, algorithm) in ["ed25519", "ml-dsa-44"].into_iter().enumerate() {
        let cose = ["--format", "cose", "--algorithm", algorithm, "--out"];
        let [grown, included] = ["growth", "256"].map(|name| format!("{name}-{algorithm}.cose"));
        home.run(&[&["log", "prove", "--since", &at("older")], &cose[..], &[&at(&grown)]].concat())
            .ok();
        home.run(&[&["log", "prove", "256"], &cose[..], &[&at(&included)]].concat()).ok();
        for (receipt, about, wrong) in [
            (&grown, &growth[..], [("-old", "older"), ("-new", "older")].as_slice()),
            (&included, &[("-leaf", "leaf")], &[("-leaf", "other")]),
        ] {
            let (accepted, said) = verify(receipt, key, about);
            assert!(accepted, "{receipt}: {said}");
            assert!(!verify(receipt, 1 - key, about).0, "{receipt} by the other key");
            assert!(!verify(receipt, key, wrong).0, "{receipt} about something else");
            let bytes = std::fs::read(home.path(receipt)).unwrap();
            // In the protected header, in the proof, in the signature.
            for place in [40, 160, bytes.len() - 1] {
                let mut altered = bytes.clone();
                altered[place] ^= 1;
                std::fs::write(home.path("altered.cose"), &altered).unwrap();
                let (accepted, said) = verify("altered.cose", key, about);
                assert!(!accepted, "{receipt}, byte {place}: {said}");
            }
        }
    }
    up.stop();
}
