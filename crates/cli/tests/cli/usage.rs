//! Wrong input: a clear message, the right exit code, and nothing lost or leaked.

use crate::support::Home;

#[test]
fn wrong_command_lines_end_with_2_and_say_what_is_wrong() {
    let home = Home::new();
    let garbage = home.file("garbage", b"\x00\x01\xffgarbage");
    let bad_config = home.file("bad.toml", "[context.a]\nservr = 'x'\n");
    for (args, part) in [
        (&[][..], "Usage"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["get"], "TYPE"),
        (&["get", "pods", "--unknown"], "--unknown"),
        (&["get", "pods", "--at", "2026-11-23T03:12"], "Z"),
        (&["get", "pods", "--at", "yesterday"], "yesterday"),
        (&["get", "pods", "svc/a"], "svc/a"),
        (&["get", "pods", "-o", "xml"], "xml"),
        (&["get", "pods", "-n", "a", "-A"], "cannot be used with"),
        (&["get", "pods"], "no server is known"),
        (&["get", "pods", "--context", "nowhere"], "nowhere"),
        (&["get", "pods", "--server", "ftp://x"], "http"),
        (&["ip", "10.0.0"], "10.0.0"),
        (&["ip", "10.0.0.1", "--until", "1h"], "--since"),
        (&["diff"], "--since"),
        (&["history", "deploy"], "TYPE/NAME"),
        (&["log", "get", "x"], "whole number"),
        (&["verify"], "FILE"),
        (&["verify", &garbage], "key"),
        (&["verify", &garbage, "--key", "log+x"], "key"),
        (&["export", "--out", "x"], "--since"),
        (&["fsck", "--data", "/nonexistent"], "no ledger"),
        (&["state", "rebuild", "--data", "/nonexistent"], "no ledger"),
        (&["up", "--listen", "localhost"], "--listen"),
        (&["help", "nothing"], "nothing"),
        (&["completion", "cobol"], "cobol"),
    ] {
        let run = home.run(args).expect(2);
        assert!(run.stderr.contains(part), "{args:?}: {run:#?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
    let run = home.command(&["config", "view"]).env("STELE_CONFIG", &bad_config).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert!(stderr.contains("servr") && stderr.contains("config default"), "{stderr}");
    assert!(!home.data().exists(), "a wrong command line must not make anything");
}

#[test]
fn a_server_that_is_not_there_ends_with_1() {
    let home = Home::new();
    let run = home.run(&["get", "pods", "--server", "http://127.0.0.1:1"]).expect(1);
    assert!(run.stderr.contains("cannot reach") && run.stderr.contains("hint:"), "{run:#?}");
}

#[test]
fn a_wrong_token_ends_with_4_and_is_not_shown() {
    let home = Home::new();
    let up = home.up(&[]);
    let token = home.file("token", "stele_not-the-right-token-0123456789\n");
    for args in [
        &["get", "pods"][..],
        &["ip", "10.0.0.1"],
        &["log", "append"],
        &["export", "--from", "0", "--out", "x"],
        &["coverage"],
        &["watch"],
    ] {
        let mut all = args.to_vec();
        all.extend(["--server", &up.url, "--token-file", &token]);
        let run = home.run_with(&all, "secret event\n").expect(4);
        assert!(!run.stderr.contains("not-the-right"), "{run:#?}");
    }
    home.run(&["get", "pods", "--token-file", "/nonexistent"]).expect(4);
    let nobody = Home::new();
    let run = nobody.run(&["get", "pods", "--server", &up.url]).expect(4);
    assert!(run.stderr.contains("--token-file"), "{run:#?}");
}

#[test]
fn wrong_input_to_append_is_named_and_not_recorded() {
    let home = Home::new();
    let _up = home.up(&[]);
    let before = home.run(&["log", "info", "-o", "json"]).expect(0).json()["size"].clone();
    let run = home.run_with(&["log", "append", "--as", "json"], "{}\n{\"a\":").expect(2);
    assert!(run.stderr.contains("line 2"), "{run:#?}");
    let after = home.run(&["log", "info", "-o", "json"]).expect(0).json()["size"].clone();
    assert_eq!(before, after);
    home.run_with(&["log", "append"], "").expect(0);
}

#[test]
fn a_time_without_a_zone_is_taken_with_one() {
    let home = Home::new();
    let _up = home.up(&[]);
    let args = ["export", "--out", "e.jsonl", "--since", "2026-11-23T03:12"];
    home.run(&args).expect(2);
    let mut args = args.to_vec();
    args.extend(["--tz", "Europe/Berlin"]);
    let run = home.run(&args).expect(3);
    assert!(run.stderr.contains("since 2026-11-23T02:12:00Z"), "{run:#?}");
    home.run(&["get", "pods", "--tz", "Mars/Olympus"]).expect(2);
}

#[test]
fn nothing_found_ends_with_3() {
    let home = Home::new();
    let _up = home.up(&[]);
    home.run(&["log", "get", "999999"]).expect(3);
    home.run(&["log", "prove", "999999"]).expect(3);
}

#[test]
fn garbage_is_not_imported() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let data = home.data();
    let garbage = home.file("garbage", b"\x00\x01\xffgarbage");
    let truncated =
        home.file("truncated.json", "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"items\":[{");
    for file in [&garbage, &truncated] {
        let run = home.run(&["import", file, "--data", data.to_str().unwrap()]);
        assert!(matches!(run.code, 1 | 2), "{run:#?}");
        assert!(run.stderr.contains("error:"), "{run:#?}");
    }
}

#[test]
fn help_topics_and_completions_are_answers() {
    let home = Home::new();
    for (args, part) in [
        (&["help", "time"][..], "rv:48213"),
        (&["help", "output"], "jsonl"),
        (&["help", "exit-codes"], "evidence of tampering"),
        (&["help", "environment"], "STELE_TOKEN_FILE"),
        (&["help", "log", "prove"], ".tlog-proof"),
        (&["help"], "stele demo"),
        (&["--help"], "Help topics"),
        (&["get", "--help"], "--at"),
        (&["--version"], "stele "),
        (&["completion", "bash"], "complete"),
        (&["config", "default"], "[up]"),
        (&["config", "path"], "config.toml"),
        (&["config", "view"], "[up]"),
    ] {
        let run = home.run(args).expect(0);
        assert!(run.stdout.contains(part), "{args:?}: {run:#?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let home = Home::new();
    let mut child = home
        .command(&["completion", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
