//! Tests of the ledger through its public face.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod basic;
mod common;
mod cosigning;
mod damage;
mod every_byte;
mod evidence;
mod faults;
mod image;
mod kill;
mod leaf_mirror;
mod load;
mod mirror;
mod model;
mod python;
mod random_flips;
mod resume;
mod rotation;
mod syscalls;
mod witness;
mod writers;
