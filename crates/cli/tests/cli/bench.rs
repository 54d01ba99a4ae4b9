//! `stele bench`: what it finds, and where it does not write.

use crate::support::Home;

const SMALL: [&str; 6] = ["--seconds", "1", "--writers", "3", "--batch", "20"];

#[test]
fn a_scratch_ledger_is_loaded_checked_and_clean_afterwards() {
    let home = Home::new();
    let dir = home.path().join("scratch");
    let dir = dir.to_str().unwrap();
    let run = |more: &[&str]| {
        home.run(&[&["bench", "--data", dir, "-o", "json"], &SMALL[..], more].concat())
    };
    let report = run(&[]).expect(0).json();
    let step = &report["steps"][0];
    assert_eq!(step["errors"], 0, "{report:#}");
    let records = step["records"].as_u64().unwrap();
    assert!(records >= 60 && records % 20 == 0, "{report:#}");
    let verified = &report["verified"];
    // Each writer's first submission, and its last, are none of the load.
    assert_eq!(verified["acknowledgements"].as_u64().unwrap(), records / 20 + 6, "{report:#}");
    assert!(verified["recordsReadBack"].as_u64().unwrap() > 0, "{report:#}");

    // It holds records now, and those stay.
    let refused = run(&[]).expect(2);
    assert!(refused.stderr.contains("holds") && refused.stderr.contains("--yes-write-here"));
    let paced = run(&["--rate", "200", "--yes-write-here"]).expect(0).json();
    assert_eq!(paced["steps"][0]["wantedRate"], 200.0);
    let checked = home.run(&["fsck", "--data", dir]).expect(0);
    assert!(checked.stdout.contains("ok   seals of sources"), "{checked:#?}");
}

#[test]
fn a_search_ends_with_a_rate_or_says_that_there_is_none() {
    let home = Home::new();
    let dir = home.path().join("scratch");
    let args = ["bench", "--data", dir.to_str().unwrap(), "-o", "json", "--p99"];
    let found = home.run(&[&args[..], &["60s"], &SMALL[..]].concat()).expect(0).json();
    assert!(found["best"]["rate"].as_f64().unwrap() > 0.0, "{found:#}");
    let other = home.path().join("other");
    let args = ["bench", "--data", other.to_str().unwrap(), "-o", "json", "--p99"];
    let none = home.run(&[&args[..], &["0.001ms"], &SMALL[..]].concat()).expect(3).json();
    assert!(none.get("best").is_none(), "{none:#}");
}
