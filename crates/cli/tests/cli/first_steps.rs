//! The first five minutes: `up` with no configuration, events in, proof out.

use crate::support::Home;

#[test]
fn up_needs_no_configuration_and_other_commands_find_it() {
    let home = Home::new();
    let up = home.up(&[]);
    assert!(up.said[0].starts_with("stele "), "{:?}", up.said);
    assert!(up.said.iter().any(|line| line.starts_with("context  default")), "{:?}", up.said);
    assert!(up.said.last().unwrap().contains("nothing"), "{:?}", up.said);

    let appended = home.run_with(&["log", "append"], "one\ntwo\n").expect(0);
    assert_eq!(appended.stdout.lines().count(), 2, "{appended:#?}");
    assert!(appended.stderr.contains("proofs verified"), "{appended:#?}");
    let index = appended.stdout.lines().next().unwrap().trim_start_matches('#');

    let record = home.run(&["log", "get", index, "-o", "payload"]).expect(0);
    assert_eq!(record.stdout, "one");
    let record = home.run(&["log", "get", &format!("#{index}")]).expect(0);
    assert!(record.stdout.contains("Kind:         event"), "{record:#?}");

    let info = home.run(&["log", "info", "-o", "json"]).expect(0).json();
    assert_eq!(info["verified"], true);
    assert_eq!(info["verifierKeys"].as_array().unwrap().len(), 2);

    let (code, stderr) = up.stop();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("Stopped"), "{stderr}");
    let key = home.data().join("keys/log.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_proof_and_evidence_are_checked_with_no_server() {
    let home = Home::new();
    let up = home.up(&[]);
    home.run_with(&["log", "append", "--as", "json"], "{\"a\":1}\n{\"b\":2}\n").expect(0);
    home.run(&["log", "prove", "1", "--out", "r.tlog-proof"]).expect(0);
    let record = home.run(&["log", "get", "1", "-o", "json"]).expect(0);
    home.file("record.json", &record.stdout);
    home.run(&["export", "--from", "0", "--to", "3", "--out", "e.jsonl"]).expect(0);
    home.run(&["export", "--from", "0", "--out", "e.jsonl"]).expect(1);
    assert_eq!(up.stop().0, 0);

    let key = home.data().join("keys/log.pub");
    let key = key.to_str().unwrap();
    let checked = home.run(&["verify", "r.tlog-proof", "--key", key]).expect(0);
    assert!(checked.stdout.contains("ok   inclusion of the leaf"), "{checked:#?}");
    let args = ["verify", "r.tlog-proof", "--record", "record.json", "--key", key, "-o", "json"];
    assert_eq!(home.run(&args).expect(0).json()["verified"], true);
    let checked = home.run(&["verify", "e.jsonl", "--key", key]).expect(0);
    assert!(checked.stdout.starts_with("Verification of e.jsonl (3 records)"), "{checked:#?}");

    // The record of another proof, and the key of another log.
    home.file("record.json", record.stdout.replace("\\\"a\\\"", "x").replace("\"a\"", "\"x\""));
    home.run(&["verify", "r.tlog-proof", "--record", "record.json", "--key", key]).expect(5);
    let other = Home::new();
    assert_eq!(other.up(&[]).stop().0, 0);
    let other_key = other.data().join("keys/log.pub");
    home.run(&["verify", "e.jsonl", "--key", other_key.to_str().unwrap()]).expect(5);
}

#[test]
fn a_directory_is_read_with_no_server() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let data = home.data();
    let data = data.to_str().unwrap();
    home.run_with(&["log", "append", "--data", data], "alone\n").expect(0);
    let info = home.run(&["log", "info", "--data", data]).expect(0);
    assert!(info.stdout.contains("not pinned"), "{info:#?}");
    home.run(&["log", "prove", "1", "--data", data]).expect(0);
    home.run(&["log", "export", "--data", data, "--out", "static"]).expect(0);
    assert!(home.path().join("static/checkpoint").is_file());
    let checked = home.run(&["fsck", "--data", data]).expect(0);
    assert!(checked.stdout.contains("ok   seals of sources"), "{checked:#?}");
    let checked = home.run(&["verify", "--data", data]).expect(0);
    assert!(checked.stdout.contains("for the first time"), "{checked:#?}");
    let rebuilt = home.run(&["state", "rebuild", "--data", data]).expect(0);
    assert!(rebuilt.stdout.contains("state digest at #"), "{rebuilt:#?}");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let home = Home::new();
    let _up = home.up(&[]);
    let second = home.run(&["up", "--no-record", "--listen", "127.0.0.1:0"]).expect(1);
    assert!(second.stderr.contains("in use") || second.stderr.contains("open"), "{second:#?}");
}
