//! `stele demo`: the tour works without a cluster, and tampering is caught before one's eyes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, Running};

/// Every command that the demo prints is run as printed.
#[test]
fn every_command_of_the_tour_answers() {
    let home = Home::new();
    let mut command = home.command(&["demo", "--data", "demo"]);
    let mut demo = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut commands = Vec::new();
    let mut config = None;
    for line in BufReader::new(demo.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(path) = line.strip_prefix("  export STELE_CONFIG=") {
            config = Some(path.to_owned());
        }
        if let Some(command) = line.strip_prefix("  stele ") {
            commands.push(command.to_owned());
        }
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    let config = config.unwrap();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in &commands {
        let args: Vec<_> = command.split_whitespace().collect();
        let output = home.command(&args).env("STELE_CONFIG", &config).output().unwrap();
        // An end of the recording is a gap, and may well be touched.
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 6)), "{command}: {output:?}");
        assert!(!output.stdout.is_empty() || command.starts_with("export"), "{command}");
    }
    watch(&home, &config);
    kill_process(Pid::from_child(&demo.0), Signal::TERM).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
}

/// A subscription from the beginning gives what was recorded, and ends on Ctrl-C with the place to
/// go on from.
fn watch(home: &Home, config: &str) {
    let mut watch = home
        .command(&["watch", "-A", "--from-index", "0", "-o", "jsonl"])
        .env("STELE_CONFIG", config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..5 {
        let line: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert!(line["index"].is_u64() && line["object"].is_object(), "{line}");
    }
    // What it still says must be read, or it waits instead of seeing the signal.
    let rest = std::thread::spawn(move || lines.for_each(drop));
    kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
    let output = watch.wait_with_output().unwrap();
    rest.join().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("--from-index"), "{stderr}");
}

#[test]
fn the_demo_answers_and_leaves() {
    let home = Home::new();
    let run = home.run(&["demo", "--exit"]).expect(0);
    assert!(run.stdout.contains("stele get pods"), "{run:#?}");
    assert!(run.stdout.contains("stele ip "), "{run:#?}");
}

#[test]
fn the_demo_of_tampering_is_caught() {
    let home = Home::new();
    let run = home.run(&["demo", "--tamper"]).expect(0);
    assert!(run.stdout.contains("FAIL"), "{run:#?}");
    assert!(run.stdout.contains("exit code 5"), "{run:#?}");
}
