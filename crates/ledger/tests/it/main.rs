//! Tests of the ledger through its public face.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod basic;
mod common;
mod cosigning;
mod damage;
mod evidence;
mod faults;
mod kill;
mod load;
mod model;
mod python;
mod syscalls;
mod witness;
mod writers;
