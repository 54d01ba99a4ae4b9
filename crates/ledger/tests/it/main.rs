//! Tests of the ledger through its public face.

mod basic;
mod common;
