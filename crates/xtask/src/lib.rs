//! Chores of the repository, as a library, so that tests of other crates can use the test bed.
//!
//! - [`testbed`]: a real Kubernetes control plane on loopback, as a fixture and behind
//!   `cargo xtask testbed`.
//! - [`churn`] and [`exact`]: make a cluster change, and write down what it says it holds.
//! - [`tidy`]: what the compiler does not check about the repository.
//! - [`suite`] and [`not_run`]: `cargo xtask test`.
//! - [`bench`]: the ledger beside other stores.
//! - [`go`]: programs built from the Go modules under `testbed/`.
//! - [`faults`]: system calls made to fail under a test.
//!
//! Nothing here is part of the product, and no crate depends on it outside of its tests.

pub mod bench;
pub mod churn;
pub mod exact;
pub mod faults;
pub mod go;
pub mod kube_http;
pub mod not_run;
pub mod places;
mod processes;
pub mod progress;
pub mod python;
pub mod random;
pub mod recording;
pub mod suite;
pub mod testbed;
pub mod tidy;
