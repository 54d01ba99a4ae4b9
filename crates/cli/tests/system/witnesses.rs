//! Witnesses: ours and other people's. An omniwitness and our witness cosign our log, a Tessera log
//! is cosigned by our witness, and Go code verifies what both sign. And what a policy brings where a
//! witness is dead.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use stele_merkle::{LogVerifier, Policy, VerifierKey};
use xtask::go;

use crate::harness::{Home, Up};

/// A running witness or mirror; ended when dropped.
pub(crate) struct Witness {
    child: Child,
    /// Open for as long as an omniwitness shall run.
    _stdin: Option<ChildStdin>,
    pub(crate) url: String,
    pub(crate) keys: Vec<String>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Witness {
    /// `stele witness` for logs with these keys.
    fn ours(home: &Home, name: &str, logs: &[&str]) -> Self {
        Self::start(home, "witness", name, logs, &[])
    }

    /// `stele` with a command that cosigns for logs with these keys.
    pub(crate) fn start(
        home: &Home,
        cosigner: &str,
        name: &str,
        logs: &[&str],
        more: &[&str],
    ) -> Self {
        let mut command = home.command();
        command.args([cosigner, "--listen", "127.0.0.1:0", "--data"]).arg(home.path(name));
        command.args(["--name", &format!("{name}.example")]);
        for log in logs {
            command.args(["--log", log]);
        }
        command.args(more);
        let log = std::fs::File::create(home.path(&format!("{name}.log"))).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut keys = Vec::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the witness has ended").unwrap();
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["policy", "witness", _, key, ..] => keys.push(key.to_owned()),
                ["api", url] => break url.to_owned(),
                _ => {}
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, _stdin: None, url, keys }
    }

    /// An omniwitness for the log with this key.
    fn omniwitness(folder: &Path, log: &str) -> Self {
        let mut child = Command::new(folder.join("stele-witness-check"))
            .args(["witness", "-name", "omniwitness.example", log])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.next().unwrap();
        let keys = lines.by_ref().take(2).collect();
        Self { child, _stdin: stdin, url, keys }
    }

    /// Its lines of a policy, and their names.
    fn lines(&self, name: &str) -> (String, String) {
        let line = |(at, key)| format!("witness {name}{at} {key} {}\n", self.url);
        (self.keys.iter().enumerate().map(line).collect(), format!("{name}0 {name}1"))
    }
}

/// Waits until it is so.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it did not become so in time");
}

/// A log that exists; its keys.
fn new_log(home: &Home) -> Vec<String> {
    home.up(&["--no-record"]).stop();
    let text = std::fs::read_to_string(home.data().join("keys/log.pub")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn up_with(home: &Home, policy: &str) -> Up {
    std::fs::write(home.path("trust.policy"), policy).unwrap();
    let path = home.path("trust.policy");
    let up = home.up(&[
        "--no-record",
        "--witness-pause",
        "1",
        "--witness-policy",
        path.to_str().unwrap(),
    ]);
    // The context, which names the server, is written after the address is said.
    let config = home.path("config/stele/config.toml");
    until(|| std::fs::read_to_string(&config).is_ok_and(|text| text.contains(&up.url)));
    up
}

fn append(home: &Home, events: usize) {
    let text: String = (0..events).map(|i| format!("{{\"n\":{i}}}\n")).collect();
    let file = home.path("events.jsonl");
    std::fs::write(&file, text).unwrap();
    home.run(&["log", "append", "--as", "json", file.to_str().unwrap()]).ok();
}

/// Waits until the log's whole size is cosigned, and gives what `stele log info` says.
fn wait_until_cosigned(home: &Home) -> Value {
    until(|| {
        let info = info(home);
        info["witnessing"]["cosignedSize"] == info["size"]
    });
    info(home)
}

fn info(home: &Home) -> Value {
    serde_json::from_str(&home.run(&["log", "info", "-o", "json"]).ok()).unwrap()
}

pub(crate) fn get(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() })
}

pub(crate) fn go_verifies(folder: &Path, home: &Home, note: &str, keys: &[String]) -> bool {
    let file = home.path("go.note");
    std::fs::write(&file, note).unwrap();
    let checked = Command::new(folder.join("stele-witness-check"))
        .args(["verify", "-note"])
        .arg(file)
        .args(keys)
        .output()
        .unwrap();
    checked.status.success() && String::from_utf8_lossy(&checked.stdout).ends_with("OK\n")
}

#[test]
fn an_omniwitness_and_ours_cosign_our_log_and_go_verifies_all_of_it() {
    let Some(folder) = go::WITNESS.for_test().unwrap() else { return };
    let home = Home::new();
    let log = new_log(&home);
    // Its checkpoints are known to it by the Ed25519 key, ours to our witness by both.
    let omni = Witness::omniwitness(&folder, &log[0]);
    let keys_file = home.data().join("keys/log.pub");
    let ours = Witness::ours(&home, "ours", &[keys_file.to_str().unwrap()]);
    let (omni_lines, omni_names) = omni.lines("omni");
    let (our_lines, our_names) = ours.lines("ours");
    let policy = format!(
        "log {}\n{omni_lines}{our_lines}group all all {omni_names} {our_names}\nquorum all\n",
        log[0]
    );
    let up = up_with(&home, &policy);
    for events in [3, 300] {
        append(&home, events);
        let info = wait_until_cosigned(&home);
        for witness in info["witnessing"]["witnesses"].as_array().unwrap() {
            assert_eq!(witness["fault"], Value::Null, "{info}");
        }
    }
    let note = get(&format!("{}/checkpoint", up.url));
    let mut all = [log, omni.keys.clone(), ours.keys.clone()].concat();
    assert_eq!(all.len(), 6);
    assert!(go_verifies(&folder, &home, &note, &all));
    let shorter = note.replacen("\n3", "\n2", 1);
    assert_ne!(shorter, note);
    assert!(!go_verifies(&folder, &home, &shorter, &all));
    // Of the witness's own store too: its note has the log's and its own lines.
    let origin = hex::encode(Sha256::digest(note.lines().next().unwrap()));
    let own = get(&format!("{}/{origin}/checkpoint", ours.url));
    all.retain(|key| !omni.keys.contains(key));
    assert!(go_verifies(&folder, &home, &own, &all));
    up.stop();
}

#[test]
fn a_tessera_log_is_cosigned_by_our_witness() {
    let Some(folder) = go::WITNESS.for_test().unwrap() else { return };
    let home = Home::new();
    let (key, policy) = (home.path("tessera.key"), home.path("tessera.policy"));
    let run = |entries: &str| {
        let ran = Command::new(folder.join("stele-witness-check"))
            .args(["log", "-entries", entries, "-key"])
            .arg(&key)
            .arg("-dir")
            .arg(home.path("tessera"))
            .arg("-policy")
            .arg(&policy)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let log_key = run("0").trim().to_owned();
    let ours = Witness::ours(&home, "ours", &[&log_key]);
    // Tessera knows Ed25519 witnesses only.
    let lines = format!("witness w {} {}\nquorum w\n", ours.keys[0], ours.url);
    std::fs::write(&policy, &lines).unwrap();
    let verifier = |keys: &[&String]| {
        LogVerifier::new(keys.iter().map(|key| key.parse::<VerifierKey>().unwrap())).require_all()
    };
    let origin = hex::encode(Sha256::digest("tessera.example/log"));
    let mut size = 0;
    for entries in ["7", "300"] {
        let published = run(entries);
        let opened = verifier(&[&log_key, &ours.keys[0]]).open(published.as_bytes()).unwrap();
        size += entries.parse::<u64>().unwrap();
        assert_eq!(opened.size.0, size);
        let own = get(&format!("{}/{origin}/checkpoint", ours.url));
        let all = verifier(&[&log_key, &ours.keys[0], &ours.keys[1]]);
        assert_eq!(all.open(own.as_bytes()).unwrap(), opened);
        assert!(go_verifies(
            &folder,
            &home,
            &own,
            &[vec![log_key.clone()], ours.keys.clone()].concat()
        ));
    }
}

#[test]
fn a_dead_witness_does_not_keep_a_quorum_from_being_met() {
    let home = Home::new();
    let log = new_log(&home);
    let keys_file = home.data().join("keys/log.pub");
    let witnesses =
        ["a", "b"].map(|name| Witness::ours(&home, name, &[keys_file.to_str().unwrap()]));
    let dead_key =
        stele_ledger::CosignerKey::generate(stele_ledger::Cosigner::Witness, "dead.example")
            .unwrap();
    // One refuses to be connected to, another takes the request and never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!(
        "witness dead {} http://127.0.0.1:9\nwitness mute {} http://{}\n",
        dead_key.verifier_keys()[0],
        dead_key.verifier_keys()[1],
        mute.local_addr().unwrap()
    );
    let one = |at: usize, name: &str| {
        format!("witness {name} {} {}\n", witnesses[at].keys[at], witnesses[at].url)
    };
    let head = format!("log {}\n{}{}{dead}", log[0], one(0, "a"), one(1, "b"));
    let policy = format!("{head}group two 2 a b dead mute\nquorum two\n");
    let up = up_with(&home, &policy);
    let events = home.path("events.txt");
    std::fs::write(&events, "one\ntwo\nthree\n").unwrap();
    home.run(&["log", "append", "--cosigned", events.to_str().unwrap()]).ok();
    wait_until_cosigned(&home);
    let dead = || info(&home)["witnessing"]["witnesses"][2].clone();
    until(|| dead()["fault"].is_string());
    assert_eq!(dead()["cosignedSize"], 0);
    assert!(dead()["failures"].as_u64().unwrap() > 0);
    let table = home.run(&["log", "info"]).ok();
    assert!(
        table.contains("by quorum 2 of (a, b, dead, mute)") && table.contains("failing ("),
        "{table}"
    );
    let note = get(&format!("{}/checkpoint", up.url));
    let met = Policy::parse(policy.as_bytes()).unwrap();
    assert!(met.verdict(&stele_merkle::Note::parse(note.as_bytes()).unwrap()).unwrap().quorum_met);

    // What carries the cosignatures holds for the policy; a stricter policy is not met.
    let trust = home.path("trust.policy");
    let trust = trust.to_str().unwrap();
    std::fs::write(
        home.path("strict.policy"),
        format!("{head}group all all a b dead mute\nquorum all\n"),
    )
    .unwrap();
    let strict = home.path("strict.policy");
    let strict = strict.to_str().unwrap();
    let (proof, file) = (home.path("r.tlog-proof"), home.path("case.jsonl"));
    let (proof, file) = (proof.to_str().unwrap(), file.to_str().unwrap());
    home.run(&["log", "prove", "1", "--out", proof]).ok();
    home.run(&["export", "--from", "0", "--to", "3", "--out", file]).ok();
    for what in [vec![proof], vec![file], vec!["--log"]] {
        let verify = |policy: &str| {
            home.run(&[&["verify", "--no-pin", "--policy", policy][..], &what[..]].concat())
        };
        let good = verify(trust).ok();
        assert!(good.contains("witness cosignatures") && good.contains("2 of 4"), "{good}");
        let bad = verify(strict);
        assert_eq!(bad.status.code(), Some(5), "{what:?}: {}{}", bad.stdout, bad.stderr);
    }
    up.stop();
    let data = home.data();
    let directory = ["verify", "--no-pin", "--data", data.to_str().unwrap(), "--policy"];
    home.run(&[&directory[..], &[trust]].concat()).ok();
    assert_eq!(home.run(&[&directory[..], &[strict]].concat()).status.code(), Some(5));
}

#[test]
fn a_witness_keeps_its_name_its_key_and_its_states_together() {
    let home = Home::new();
    let log = new_log(&home);
    let witness = Witness::ours(&home, "w", &[&log[0]]);
    let data = home.path("w");
    let start_at = |listen: &str, more: &[&str]| {
        let arguments = ["witness", "--listen", listen, "--data", data.to_str().unwrap()];
        home.run(&[&arguments[..], more].concat())
    };
    let start = |more: &[&str]| start_at("127.0.0.1:0", more);
    let first = witness.keys.clone();
    drop(witness);
    let again = Witness::ours(&home, "w", &[&log[0]]);
    assert_eq!(again.keys, first);
    drop(again);
    for (arguments, code, why) in [
        (vec!["--log", log[0].as_str(), "--name", "other"], 2, "a name can't change"),
        (vec!["--log", "no such file"], 2, "cannot read the key file"),
        (vec![], 2, "--log"),
    ] {
        let refused = start(&arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(why), "{arguments:?}: {}", refused.stderr);
    }
    let open = start_at("0.0.0.0:0", &["--log", &log[0]]);
    assert_eq!(open.status.code(), Some(1), "{}", open.stderr);
    assert!(open.stderr.contains("not a loopback address"), "{}", open.stderr);
    std::fs::rename(data.join("states"), data.join("elsewhere")).unwrap();
    let lost = start(&["--log", &log[0]]);
    assert_eq!(lost.status.code(), Some(1));
    assert!(lost.stderr.contains("its states are missing"), "{}", lost.stderr);
}

#[test]
fn a_witness_follows_a_log_to_its_new_keys_on_proof() {
    let home = Home::new();
    let old = new_log(&home);
    let old_file = home.path("old.pub");
    std::fs::write(&old_file, old.join("\n")).unwrap();
    let old_file = old_file.to_str().unwrap();
    let witness = Witness::ours(&home, "w", &[old_file]);
    let keys = witness.keys.clone();
    let policy = |witness: &Witness, log: &str| {
        let (lines, names) = witness.lines("w");
        format!("log {log}\n{lines}group all all {names}\nquorum all\n")
    };
    let up = up_with(&home, &policy(&witness, &old[0]));
    append(&home, 3);
    wait_until_cosigned(&home);
    up.stop();
    home.run(&["log", "rotate-key", "--data", home.data().to_str().unwrap()]).ok();
    let new = std::fs::read_to_string(home.data().join("keys/log.pub")).unwrap();
    let new: Vec<&str> = new.lines().collect();

    let up = up_with(&home, &policy(&witness, new[0]));
    append(&home, 3);
    // The hand-over is signed by both; what comes after it is not.
    until(|| info(&home)["witnessing"]["witnesses"][0]["fault"].is_string());
    let case = home.path("case.jsonl");
    let case = case.to_str().unwrap();
    let cosigned = info(&home)["witnessing"]["cosignedSize"].as_u64().unwrap();
    let export = |from: u64, out: &str| {
        let (from, to) = (from.to_string(), (from + 1).to_string());
        home.run(&["export", "--from", &from, "--to", &to, "--out", out]).ok();
    };
    // Under the checkpoint that was cosigned nothing had been replaced yet.
    let early = home.path("early.jsonl");
    export(0, early.to_str().unwrap());
    export(cosigned, case);
    up.stop();
    drop(witness);
    let stranger = Home::new();
    let other = new_log(&stranger);
    let data = home.path("w");
    let start = ["witness", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    for (log, history, code) in
        [(other[0].as_str(), case, 5), (old_file, early.to_str().unwrap(), 2)]
    {
        let about = ["--log", log, "--key-history", history];
        let refused = home.run(&[&start[..], &about].concat());
        assert_eq!(refused.status.code(), Some(code), "{}", refused.stderr);
    }
    let witness = Witness::start(&home, "witness", "w", &[old_file], &["--key-history", case]);
    assert_eq!(witness.keys, keys);
    let up = up_with(&home, &policy(&witness, new[0]));
    append(&home, 3);
    wait_until_cosigned(&home);
    let note = get(&format!("{}/checkpoint", up.url));
    let all = [new.iter().copied().map(str::to_owned).collect(), keys].concat();
    let keys = all.iter().map(|key: &String| key.parse::<VerifierKey>().unwrap());
    LogVerifier::new(keys).require_all().open(note.as_bytes()).unwrap();
    up.stop();
}
