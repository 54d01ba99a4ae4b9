//! COSE receipts and the static export: made by one command, checked by another with no server.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::Home;

fn lines(count: u32) -> String {
    (0..count).map(|n| format!("event {n}\n")).collect()
}

#[test]
fn a_receipt_is_checked_with_no_server() {
    let home = Home::new();
    let up = home.up(&[]);
    home.run_with(&["log", "append"], &lines(5)).expect(0);
    home.run(&["log", "prove", "3", "--format", "cose", "--out", "a.cose"]).expect(0);
    let ml_dsa = ["--format", "cose", "--algorithm", "ml-dsa-44", "--out", "b.cose"];
    home.run(&[&["log", "prove", "3"][..], &ml_dsa].concat()).expect(0);
    home.file("record.json", home.run(&["log", "get", "3", "-o", "json"]).expect(0).stdout);
    home.file("other.json", home.run(&["log", "get", "2", "-o", "json"]).expect(0).stdout);
    home.run(&["log", "export", "--out", "static"]).expect(0);
    home.run_with(&["log", "append"], &lines(3)).expect(0);
    home.run(&["log", "prove", "--since", "static/checkpoint", "--out", "growth.cose"]).expect(0);
    home.run(&["log", "prove", "99", "--format", "cose"]).expect(3);
    assert_eq!(up.stop().0, 0);

    let key = home.data().join("keys/log.pub");
    let key = key.to_str().unwrap();
    for receipt in ["a.cose", "b.cose"] {
        let args = ["verify", receipt, "--record", "record.json", "--key", key];
        let checked = home.run(&args).expect(0);
        assert!(checked.stdout.contains("ok   receipt signature"), "{checked:#?}");
        assert!(checked.stdout.contains("ok   inclusion of the leaf"), "{checked:#?}");
        home.run(&["verify", receipt, "--record", "other.json", "--key", key]).expect(5);
        home.run(&["verify", receipt, "--key", key]).expect(2);
    }
    let args = ["verify", "growth.cose", "--since", "static/checkpoint", "--key", key];
    let checked = home.run(&args).expect(0);
    assert!(checked.stdout.contains("ok   continuation of the older"), "{checked:#?}");
    // Nothing is pinned here, so an older checkpoint must be given.
    home.run(&["verify", "growth.cose", "--key", key]).expect(2);

    let mut bytes = std::fs::read(home.path().join("a.cose")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    home.file("bad.cose", bytes);
    let args = ["verify", "bad.cose", "--record", "record.json", "--key", key];
    let refused = home.run(&args).expect(5);
    assert!(refused.stderr.contains("does not fit"), "{refused:#?}");

    // A directory with its private key issues receipts too.
    let data = home.data();
    let at = ["--data", data.to_str().unwrap(), "--out", "c.cose"];
    home.run(&[&["log", "prove", "3", "--format", "cose"][..], &at].concat()).expect(0);
    home.run(&["verify", "c.cose", "--record", "record.json", "--key", key]).expect(0);
}

/// Every file below a directory, by its name in it.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}

#[test]
fn an_export_is_brought_up_to_date_and_taken_up_again() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let data = home.data();
    let data = data.to_str().unwrap();
    let export = |dir: &str| home.run(&["log", "export", "--data", data, "--out", dir]);
    let append = |count| {
        let args = ["log", "append", "--data", data];
        home.run_with(&args, &lines(count)).expect(0);
    };
    append(700);
    export("grown").expect(0);
    let before = files(&home.path().join("grown"));
    append(400);
    export("grown").expect(0);
    export("fresh").expect(0);
    let (grown, fresh) = (files(&home.path().join("grown")), files(&home.path().join("fresh")));
    for (name, bytes) in &fresh {
        assert_eq!(grown.get(name), Some(bytes), "{name}");
    }
    // What earlier checkpoints need is still there.
    for (name, bytes) in before.iter().filter(|(name, _)| *name != "checkpoint") {
        assert_eq!(grown.get(name), Some(bytes), "{name}");
    }
    let again = export("grown").expect(0);
    assert!(again.stderr.contains("and 0 tiles"), "{again:#?}");

    // Interrupted: some tiles, no checkpoint, a half-written file.
    let fresh_dir = home.path().join("fresh");
    for gone in ["checkpoint", "tile/0/001", "tile/entries/002"] {
        std::fs::remove_file(fresh_dir.join(gone)).unwrap();
    }
    std::fs::write(fresh_dir.join("tile/entries/002.new"), b"half").unwrap();
    let bundle = fresh_dir.join("tile/entries/000");
    std::fs::write(&bundle, &std::fs::read(&bundle).unwrap()[..99]).unwrap();
    export("fresh").expect(0);
    assert_eq!(files(&fresh_dir), fresh);

    // A bundle with a flipped bit is found, and no checkpoint is put over it.
    std::fs::remove_file(fresh_dir.join("checkpoint")).unwrap();
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let refused = export("fresh").expect(5);
    assert!(refused.stderr.contains("do not lead to the signed root"), "{refused:#?}");
    assert!(!fresh_dir.join("checkpoint").exists());
}

#[test]
fn an_export_of_another_log_or_state_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    for home in [&home, &other] {
        assert_eq!(home.up(&[]).stop().0, 0);
        let data = home.data();
        let args = ["log", "append", "--data", data.to_str().unwrap()];
        home.run_with(&args, "one\n").expect(0);
    }
    let (data, out) = (home.data(), home.path().join("static"));
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    home.run(&["log", "export", "--data", data, "--out", out]).expect(0);
    let there = files(Path::new(out));
    let theirs = other.data();
    let args = ["log", "export", "--data", theirs.to_str().unwrap(), "--out", out];
    other.run(&args).expect(5);
    assert_eq!(files(Path::new(out)), there);
    // A directory that is something else is left alone.
    let args = ["log", "export", "--data", data, "--out", home.path().to_str().unwrap()];
    let refused = home.run(&args).expect(2);
    assert!(refused.stderr.contains("holds no exported log"), "{refused:#?}");
    // A tile that was damaged later is found before anything is built on it.
    let tile = Path::new(out).join(there.keys().find(|name| name.starts_with("tile/0")).unwrap());
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let refused = home.run(&["log", "export", "--data", data, "--out", out]).expect(5);
    assert!(refused.stderr.contains("root of its checkpoint"), "{refused:#?}");
}
