//! The program as a person runs it: one test binary, a module for each subject.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod bench;
mod demo;
mod first_steps;
mod joined_history;
mod key_rotation;
mod mirror;
mod receipts;
mod reference;
mod support;
mod tampering;
mod usage;
mod webhook;

/// A file that nobody declares is a test that nobody runs.
#[test]
fn no_test_file_is_forgotten() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli");
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap_or_else(|| panic!("{name} is no module"));
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name} is not declared in main.rs"
        );
    }
}
