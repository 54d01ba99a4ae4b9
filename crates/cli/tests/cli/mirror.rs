//! Mirrors as a person keeps them: of a server and of a directory, killed and started again, put to
//! use for a repair, and shown a log that was rewritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Home, Running};
use crate::tampering::copy;

fn lines(count: usize, word: &str) -> String {
    (0..count).map(|n| format!("{word} {n}\n")).collect()
}

/// All objects below a ledger's directory, by name.
fn objects(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let root = data.join("log/objects");
    let (mut found, mut left) = (Vec::new(), vec![root.clone()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push((path.strip_prefix(&root).unwrap().into(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_server_is_mirrored_through_kills_and_repaired_from_its_mirror() {
    let home = Home::new();
    let up = home.up(&[]);
    let (data, own) = (home.data(), home.path().join("mirror"));
    let (key, to) = (data.join("keys/log.pub"), own.to_str().unwrap());
    let key = key.to_str().unwrap();
    let token = data.join("keys/admin.token");
    let token = token.to_str().unwrap();
    let args = ["mirror", &up.url, "--to", to, "--key", key, "--token-file", token];
    // Without the right scope there is nothing to be had.
    let secret = format!("stele_{}", "5".repeat(64));
    let wrong = home.file("wrong.token", &secret);
    home.run(&["mirror", &up.url, "--to", to, "--key", key, "--token-file", &wrong, "--once"])
        .expect(1);
    for round in 0..4 {
        home.run_with(&["log", "append"], &lines(50, "event")).expect(0);
        let mut following = home.command(&args);
        let following = following.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 * round));
        // Killed, at whatever it is.
        drop(Running(following));
    }
    let once: Vec<&str> = args.iter().copied().chain(["--once"]).collect();
    let synced = home.run(&once).expect(0);
    assert!(synced.stdout.contains("held and cosigned"), "{synced:#?}");
    assert_eq!(up.stop().0, 0);
    // A directory is a source like a server; what was sealed at the end comes too.
    let path = data.to_str().unwrap();
    home.run(&["mirror", path, "--to", to, "--once"]).expect(0);
    assert_eq!(objects(&data), objects(&own));
    for command in
        [&["fsck", "--data", to, "--key", key][..], &["verify", "--data", to, "--key", key]]
    {
        let checked = home.run(command).expect(0);
        assert!(!checked.stdout.contains("FAIL"), "{checked:#?}");
    }
    let note = fs::read_to_string(own.join("log/hints/checkpoint")).unwrap();
    let public = fs::read_to_string(own.join("keys/mirror.pub")).unwrap();
    let name = public.split('+').next().unwrap();
    assert_eq!(note.matches(&format!("\u{2014} {name} ")).count(), 2, "{note}");

    let intact = objects(&data);
    let names: Vec<PathBuf> =
        intact.iter().map(|(name, _)| data.join("log/objects").join(name)).collect();
    damage(&names[1]);
    fs::remove_file(names.last().unwrap()).unwrap();
    home.run(&["fsck", "--data", path, "--key", key]).expect(5);
    let offered =
        home.run(&["fsck", "--data", path, "--key", key, "--repair-from", to, "-o", "json"]);
    let report = &offered.expect(5).json()["report"];
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{report:#}");
    assert!(problems.iter().all(|p| p["remedy"]["state"] == "available"), "{report:#}");
    assert!(problems.iter().all(|p| !p["sources"].as_array().unwrap().is_empty()), "{report:#}");
    assert!(!data.join("log/quarantine").exists());
    home.run(&["fsck", "--data", path, "--key", key, "--repair-from", to, "--repair"]).expect(0);
    assert_eq!(objects(&data), intact);
    let kept =
        data.join("log/quarantine").join(names[1].strip_prefix(data.join("log/objects")).unwrap());
    assert!(
        kept.with_file_name(format!("{}.0", kept.file_name().unwrap().to_str().unwrap())).exists()
    );
}

#[test]
fn a_ledger_is_repaired_from_a_server_and_not_while_it_runs() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let data = home.data();
    let path = data.to_str().unwrap();
    home.run_with(&["log", "append", "--data", path], &lines(30, "event")).expect(0);
    let other = Home::new();
    copy(&data, &other.data());
    damage(&data.join("log/objects/segments/00000000000000000000"));
    let serving = other.up(&[]);
    let (key, token) = (other.data().join("keys/log.pub"), other.data().join("keys/admin.token"));
    let repair = [
        "fsck",
        "--data",
        path,
        "--key",
        key.to_str().unwrap(),
        "--repair-from",
        &serving.url,
        "--token-file",
        token.to_str().unwrap(),
        "--repair",
    ];
    let lock = fs::File::options().write(true).open(data.join("log/lock")).unwrap();
    lock.lock().unwrap();
    let refused = home.run(&repair).expect(1);
    assert!(refused.stderr.contains("in use"), "{refused:#?}");
    drop(lock);
    home.run(&repair).expect(0);
    home.run(&["fsck", "--data", path, "--key", key.to_str().unwrap()]).expect(0);
}

#[test]
fn a_rewritten_log_is_refused_and_the_evidence_kept() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let (data, old) = (home.data(), home.path().join("old"));
    let (path, other) = (data.to_str().unwrap(), old.to_str().unwrap());
    home.run_with(&["log", "append", "--data", path], "a\n").expect(0);
    copy(&data, &old);
    home.run_with(&["log", "append", "--data", path], "b\nc\n").expect(0);
    let own = home.path().join("mirror");
    let to = own.to_str().unwrap();
    home.run(&["mirror", path, "--to", to, "--once", "--name", "mirror.example.org/test"])
        .expect(0);
    let back = home.run(&["mirror", other, "--to", to, "--once"]).expect(5);
    assert!(back.stderr.contains("rolled back"), "{back:#?}");
    home.run_with(&["log", "append", "--data", other], &lines(40, "other")).expect(0);
    let forked = home.run(&["mirror", other, "--to", to, "--once"]).expect(5);
    assert!(forked.stderr.contains("forked"), "{forked:#?}");
    let evidence: Vec<_> = fs::read_dir(own.join("evidence")).unwrap().collect();
    assert_eq!(evidence.len(), 2);
    for entry in evidence {
        let entry = entry.unwrap().path();
        let held = fs::read_to_string(entry.join("held.checkpoint")).unwrap();
        let seen = fs::read_to_string(entry.join("seen.checkpoint")).unwrap();
        assert!(held.contains("mirror.example.org/test") && held != seen);
    }
    // The true log goes on being mirrored.
    home.run_with(&["log", "append", "--data", path], "d\n").expect(0);
    home.run(&["mirror", path, "--to", to, "--once"]).expect(0);
    home.run(&["mirror", path, "--to", path, "--once"]).expect(2);
}

#[test]
fn an_interrupted_check_says_how_to_go_on() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let state = home.path().join("fsck.state");
    let path = home.data();
    let args = ["fsck", "--data", path.to_str().unwrap(), "--state", state.to_str().unwrap()];
    home.run(&args).expect(0);
    assert!(!state.exists());
    fs::write(&state, "not a state\n").unwrap();
    let refused = home.run(&args).expect(1);
    assert!(refused.stderr.contains("no state of a check of this log"), "{refused:#?}");
}
