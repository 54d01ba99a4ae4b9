//! Mirrors of leaves: our log and a Tessera log, pushed by our program and by other people's code, are
//! held as they are, and cosigned so that Go code verifies it.

use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};
use xtask::go;

use crate::harness::Home;
use crate::other_verifier::{append, files, tessera};
use crate::witnesses::{Witness, get, go_verifies};

fn keys_of(home: &Home) -> Vec<String> {
    let keys = std::fs::read_to_string(home.data().join("keys/log.pub")).unwrap();
    keys.lines().map(str::to_owned).collect()
}

/// Where the mirror serves the log of this checkpoint.
fn copy_at(mirror: &Witness, checkpoint: &str) -> String {
    let origin = checkpoint.lines().next().unwrap();
    format!("{}/{}", mirror.url, hex::encode(Sha256::digest(origin)))
}

#[test]
fn a_log_is_pushed_in_pieces_and_its_copy_is_the_same() {
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let keys_file = home.data().join("keys/log.pub");
    let start = || Witness::start(&home, "leaf-mirror", "m", &[keys_file.to_str().unwrap()], &[]);
    let mut mirror = start();
    let (mirror_key, out) = (home.path("m/keys/mirror.pub"), home.path("cosigned"));
    let push = |to: &str| {
        let checked = ["--mirror-key", mirror_key.to_str().unwrap()];
        let out = ["--out", out.to_str().unwrap()];
        home.run(&[&["log", "push", to], &checked[..], &out].concat())
    };
    // More than one request, then a little more, then nothing.
    for events in [9_000, 300, 0] {
        if events > 0 {
            append(&home, events);
        }
        let said = push(&mirror.url).ok();
        assert!(said.contains("2 cosignatures verify"), "{said}");
        drop(mirror);
        mirror = start();
    }
    let unchecked = home.run(&["log", "push", &mirror.url]).ok();
    assert!(unchecked.contains("are not checked"), "{unchecked}");
    let stranger = home.run(&["log", "push", &mirror.url, "--mirror-key", &keys_of(&home)[0]]);
    assert_eq!(stranger.status.code(), Some(5), "{}", stranger.stderr);

    let exported = home.path("static");
    home.run(&["log", "export", "--out", exported.to_str().unwrap()]).ok();
    let checkpoint = std::fs::read_to_string(exported.join("checkpoint")).unwrap();
    let copy = copy_at(&mirror, &checkpoint);
    let cosigned = get(&format!("{copy}/checkpoint"));
    assert_eq!(cosigned, std::fs::read_to_string(&out).unwrap());
    assert_eq!(
        cosigned.lines().take(3).collect::<Vec<_>>(),
        checkpoint.lines().take(3).collect::<Vec<_>>()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut compared = 0;
    for file in files(&exported.join("tile")) {
        let path = file.strip_prefix(&exported).unwrap().to_str().unwrap();
        let served = runtime.block_on(async {
            let response = reqwest::get(format!("{copy}/{path}")).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            response.bytes().await.unwrap()
        });
        assert_eq!(served, std::fs::read(&file).unwrap(), "{path}");
        compared += 1;
    }
    assert!(compared > 70, "{compared}");
    up.stop();

    // Another log's leaves are none of its business.
    let other = Home::new();
    let other_up = other.up(&["--no-record"]);
    let refused = other.run(&["log", "push", &mirror.url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("refuses with 404"), "{}", refused.stderr);
    other_up.stop();
}

#[test]
fn other_peoples_code_pushes_to_it_and_reads_the_copy() {
    let Some(folder) = go::TESSERA.for_test().unwrap() else { return };
    let Some(witness) = go::WITNESS.for_test().unwrap() else { return };
    let home = Home::new();
    let up = home.up(&["--no-record"]);
    let keys = keys_of(&home);
    let keys_file = home.data().join("keys/log.pub");
    let tessera_key = tessera_log(&witness, &home, 0);
    let mirror = Witness::start(
        &home,
        "leaf-mirror",
        "m",
        &[keys_file.to_str().unwrap(), tessera_key.trim()],
        &[],
    );
    let mirror_keys = mirror.keys.join(",");
    let more = ["-to", &mirror.url, "-mirror-keys", &mirror_keys];
    let tessera_url = format!("file://{}", home.path("tessera").display());
    let tessera_keys = [tessera_key.trim().to_owned()];
    for entries in [700, 900] {
        append(&home, entries);
        tessera_log(&witness, &home, entries);
        for (url, log) in [(&up.url, &keys[..]), (&tessera_url, &tessera_keys[..])] {
            let (pushed, said) = tessera(&folder, "push", url, &log[0], &more);
            assert!(pushed && said.contains("subtree: 256 to 512 cosigned"), "{said}");
            let checkpoint = match url.strip_prefix("file://") {
                Some(path) => std::fs::read_to_string(Path::new(path).join("checkpoint")).unwrap(),
                None => get(&format!("{url}/checkpoint")),
            };
            let copy = copy_at(&mirror, &checkpoint);
            let note = get(&format!("{copy}/checkpoint"));
            let all = [log, &mirror.keys[..]].concat();
            assert!(go_verifies(&witness, &home, &note, &all), "{note}");
            let (accepted, said) = tessera(&folder, "fsck", &copy, &log[0], &[]);
            assert!(accepted, "{said}");
        }
    }
    up.stop();
}

/// A Tessera log, with more entries; gives its key, or its checkpoint.
fn tessera_log(witness: &Path, home: &Home, entries: u32) -> String {
    let policy = home.path("none.policy");
    std::fs::write(&policy, "quorum none\n").unwrap();
    let (key, dir) = (home.path("tessera.key"), home.path("tessera"));
    let ran = Command::new(witness.join("stele-witness-check"))
        .args(["log", "-entries", &entries.to_string(), "-key"])
        .args([key.as_os_str(), "-dir".as_ref(), dir.as_os_str()])
        .args(["-policy".as_ref(), policy.as_os_str()])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}
