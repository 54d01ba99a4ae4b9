//! What must be noticed: a log that was rolled back, another log under the same address, bytes
//! that were changed on disk. Each ends with exit code 5.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::Home;

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn largest(dir: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                files.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    files.into_iter().max().unwrap().1
}

#[test]
fn a_rolled_back_log_and_a_forked_one_are_refused() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let (data, old) = (home.data(), home.path().join("old"));
    let path = data.to_str().unwrap();
    home.run_with(&["log", "append", "--data", path], "a\n").expect(0);
    copy(&data, &old);
    home.run_with(&["log", "append", "--data", path], "b\nc\n").expect(0);
    home.run(&["verify", "--data", path]).expect(0);
    let again = home.run(&["verify", "--data", path]).expect(0);
    assert!(again.stdout.contains("consistent with checkpoint pinned"), "{again:#?}");

    let rolled_back = home.run(&["verify", "--data", old.to_str().unwrap()]).expect(5);
    assert!(rolled_back.stdout.contains("rolled back"), "{rolled_back:#?}");
    let many: String = (0..50).map(|n| format!("other {n}\n")).collect();
    home.run_with(&["log", "append", "--data", old.to_str().unwrap()], &many).expect(0);
    let forked = home.run(&["verify", "--data", old.to_str().unwrap()]).expect(5);
    assert!(forked.stdout.contains("fork"), "{forked:#?}");
}

#[test]
fn a_server_with_another_key_is_refused() {
    let home = Home::new();
    let first = home.up(&[]);
    home.run(&["verify", "--log"]).expect(0);
    let other = Home::new();
    let second = other.up(&[]);
    let key = home.data().join("keys/log.pub");
    let token = other.data().join("keys/admin.token");
    let refused = home
        .run(&[
            "verify",
            "--log",
            &second.url,
            "--key",
            key.to_str().unwrap(),
            "--token-file",
            token.to_str().unwrap(),
        ])
        .expect(5);
    assert!(refused.stdout.contains("FAIL checkpoint signature"), "{refused:#?}");
    drop((first, second));
}

#[test]
fn a_flipped_byte_is_named() {
    let home = Home::new();
    assert_eq!(home.up(&[]).stop().0, 0);
    let data = home.data();
    let path = data.to_str().unwrap();
    let lines: String = (0..200).map(|n| format!("event {n} {}\n", n * n)).collect();
    home.run_with(&["log", "append", "--data", path], &lines).expect(0);
    home.run(&["fsck", "--data", path]).expect(0);
    let file = largest(&data.join("log/objects"));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, bytes).unwrap();
    let checked = home.run(&["fsck", "--data", path]).expect(5);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(checked.stdout.contains("FAIL") && checked.stdout.contains(name), "{checked:#?}");
    home.run(&["verify", "--data", path]).expect(5);
}
