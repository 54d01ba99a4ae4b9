//! `stele demo`: the tour works without a cluster, and tampering is caught before one's eyes.

use crate::support::Home;

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
