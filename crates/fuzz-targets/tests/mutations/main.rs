//! Each target on inputs that it accepts, and on a bounded number of mutations of them: what
//! `fuzz/` does for hours, for a second, on any toolchain.
//!
//! `STELE_FUZZ_SEED` and `STELE_FUZZ_ITERATIONS` choose other mutations, and more.

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use stele_fuzz_targets::{TARGETS, Target, target};

use crate::mutate::Mutator;

/// Mutations of each target.
const ITERATIONS: u64 = 2_000;
/// A mutated input is mutated further until it has this many times been refused.
const REFUSED_MAX: u32 = 8;

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}

/// Runs a target on mutations; gives the number of those that it accepted.
fn fuzz(target: Target, seed: u64, iterations: u64) -> u64 {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{target:?} has no inputs to start from");
    for (number, input) in seeds.iter().enumerate() {
        assert!((target.run)(input), "{target:?} refuses input {number}");
    }
    let mut mutator = Mutator::new(seed);
    let (mut accepted, mut input, mut refused) = (0, seeds[0].clone(), 0);
    for iteration in 0..iterations {
        if refused >= REFUSED_MAX || input.len() > 1 << 16 {
            (input, refused) = (seeds[mutator.below(seeds.len())].clone(), 0);
        }
        let other = &seeds[mutator.below(seeds.len())];
        let mutated = mutator.mutate(&input, other);
        let run = catch_unwind(AssertUnwindSafe(|| (target.run)(&mutated)));
        match run {
            Ok(true) => (accepted, refused) = (accepted + 1, 0),
            Ok(false) => refused += 1,
            Err(_) => panic!(
                "{target:?}, STELE_FUZZ_SEED={seed}, iteration {iteration}, on {}",
                mutated.escape_ascii()
            ),
        }
        if refused == 0 || mutator.below(4) == 0 {
            input = mutated;
        }
    }
    accepted
}

#[test]
fn no_target_fails_on_mutations() {
    let (seed, iterations) =
        (number("STELE_FUZZ_SEED", 1), number("STELE_FUZZ_ITERATIONS", ITERATIONS));
    for target in TARGETS {
        let accepted = fuzz(target, seed, iterations);
        println!("{}: {accepted} of {iterations} accepted", target.name);
    }
}

#[test]
fn no_target_fails_on_nothing_and_on_every_byte() {
    for target in TARGETS {
        (target.run)(&[]);
        for byte in 0..=u8::MAX {
            (target.run)(&[byte]);
            (target.run)(&[byte; 64]);
        }
    }
}

#[test]
fn every_target_has_its_binary_and_its_name_once() {
    let manifest = include_str!("../../../../fuzz/Cargo.toml");
    for (number, one) in TARGETS.iter().enumerate() {
        assert!(manifest.contains(&format!("name = \"{}\"\n", one.name)), "{one:?}");
        assert!(TARGETS[..number].iter().all(|other| other.name != one.name), "{one:?}");
        assert_eq!(target(one.name).name, one.name);
    }
}
