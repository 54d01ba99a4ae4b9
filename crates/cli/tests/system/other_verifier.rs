//! The log read by code that is not ours: a Go program on `golang.org/x/mod/sumdb` verifies
//! checkpoint, inclusion and consistency over HTTP.

use std::process::Command;

use xtask::go;

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
    let keys = std::fs::read_to_string(home.data().join("keys/log.pub")).unwrap();
    // The first key is Ed25519, the only algorithm that sumdb/note knows.
    let key = keys.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap();
    let checked = Command::new(folder.join("stele-sumdb-check"))
        .args(["-url", &up.url, "-vkey", key, "-samples", SAMPLES, "-sizes", SIZES, "-seed", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}\n{}", String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("OK"), "{said}");
    eprintln!("{said}");
}
