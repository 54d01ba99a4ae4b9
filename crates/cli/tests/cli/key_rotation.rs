//! The log's key is replaced: everybody who pinned the old one goes on and is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Home;

#[test]
fn who_pinned_the_old_key_follows_to_the_new_one_and_is_told() {
    let home = Home::new();
    let up = home.up(&[]);
    home.run_with(&["log", "append"], "a\n").expect(0);
    let busy = home.run(&["log", "rotate-key"]).expect(1);
    assert!(busy.stderr.contains("stop it"), "{busy:#?}");
    assert_eq!(up.stop().0, 0);
    let data = home.data();
    let path = data.to_str().unwrap();
    home.run(&["verify", "--data", path]).expect(0);
    let old = fs::read_to_string(data.join("keys/log.pub")).unwrap();
    let old_file = home.file("old.pub", &old);

    let rotated = home.run(&["log", "rotate-key"]).expect(0);
    assert!(rotated.stdout.contains("contexts  default"), "{rotated:#?}");
    let new = fs::read_to_string(data.join("keys/log.pub")).unwrap();
    assert_ne!(new, old);
    let kept = fs::metadata(data.join("keys/log.key.1")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    assert!(!data.join("keys/log.key.next").exists());

    let up = home.up(&[]);
    assert!(up.said.iter().any(|line| line.starts_with("context  default")), "{:?}", up.said);
    // As on a machine of somebody who has heard nothing of it.
    let config = home.path().join("config/stele/config.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    for (new, old) in new.lines().zip(old.lines()) {
        assert!(text.contains(new));
        text = text.replace(new, old);
    }
    fs::write(&config, &text).unwrap();
    home.run_with(&["log", "append"], "b\n").expect(0);
    let verified = home.run(&["verify", "--log"]).expect(0);
    assert!(verified.stdout.contains("the log's key was replaced"), "{verified:#?}");
    assert!(verified.stdout.contains("in context default"), "{verified:#?}");
    let text = fs::read_to_string(&config).unwrap();
    assert!(new.lines().all(|key| text.contains(key)));
    let again = home.run(&["verify", "--log"]).expect(0);
    assert!(again.stdout.contains("consistent with checkpoint pinned"), "{again:#?}");
    assert!(!again.stdout.contains("was replaced"), "{again:#?}");

    let evidence = home.path().join("evidence.jsonl");
    let proof = home.path().join("b.tlog-proof");
    let (evidence, proof) = (evidence.to_str().unwrap(), proof.to_str().unwrap());
    home.run(&["export", "--from", "0", "--out", evidence]).expect(0);
    home.run(&["log", "prove", "0", "--out", proof]).expect(0);
    home.run(&["verify", evidence, "--key", &old_file]).expect(0);
    home.run(&["verify", proof, "--key", &old_file]).expect(5);
    home.run(&["verify", proof, "--key", &old_file, "--key-history", evidence]).expect(0);
    let (receipt, leaf) = (home.path().join("b.cose"), home.path().join("b.leaf"));
    let (receipt, leaf) = (receipt.to_str().unwrap(), leaf.to_str().unwrap());
    home.run(&["log", "prove", "0", "--format", "cose", "--out", receipt]).expect(0);
    fs::write(leaf, home.run(&["log", "get", "0", "-o", "json"]).expect(0).stdout).unwrap();
    let about = ["verify", receipt, "--record", leaf, "--key", &old_file];
    let lacking = home.run(&about).expect(5);
    assert!(lacking.stdout.contains("no known key"), "{lacking:#?}");
    home.run(&[&about[..], &["--key-history", evidence]].concat()).expect(0);
    // A policy with the old key goes on too.
    let policy = format!("log {}\nquorum none\n", old.lines().next().unwrap());
    let policy = home.file("policy", &policy);
    home.run(&["verify", evidence, "--policy", &policy]).expect(0);
    home.run(&["verify", "--log", "--policy", &policy]).expect(0);
    home.run(&["verify", "--log", "--policy", &policy, "--key", &old_file]).expect(0);
    assert_eq!(up.stop().0, 0);
    home.run(&["verify", "--data", path, "--key", &old_file]).expect(0);
    home.run(&["verify", "--data", path, "--policy", &policy]).expect(0);
    home.run(&["fsck", "--data", path, "--key", &old_file]).expect(0);
    let other = Home::new();
    assert_eq!(other.up(&[]).stop().0, 0);
    let stranger = other.data().join("keys/log.pub");
    let stranger = stranger.to_str().unwrap();
    home.run(&["verify", evidence, "--key", stranger]).expect(5);
    home.run(&["fsck", "--data", path, "--key", stranger]).expect(5);
}
