//! One target under libFuzzer: which one is the name of the binary. What it does is in
//! `stele-fuzz-targets`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stele_fuzz_targets::target;

fuzz_target!(|data: &[u8]| {
    (target(env!("CARGO_BIN_NAME")).run)(data);
});
