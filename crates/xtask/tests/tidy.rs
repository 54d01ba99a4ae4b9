//! The repository is tidy. `cargo xtask tidy` checks the same, and the reference pages.

use std::fmt::Write;

#[test]
fn the_repository_is_tidy() {
    let problems = xtask::tidy::check(&xtask::places::repository()).expect("it can be checked");
    let list = problems.iter().fold(String::new(), |mut list, problem| {
        let _ = writeln!(list, "{problem}");
        list
    });
    assert!(problems.is_empty(), "{} problems:\n{list}", problems.len());
}
