//! Chores of the repository, as a library, so that tests of other crates can use the test bed.
//!
//! - [`testbed`]: a real Kubernetes control plane on loopback, as a fixture and behind
//!   `cargo xtask testbed`.
//! - [`churn`] and [`exact`]: make a cluster change, and write down what it says it holds.
//! - [`go`]: programs built from the Go modules under `testbed/`.
//!
//! Nothing here is part of the product, and no crate depends on it outside of its tests.

pub mod churn;
pub mod exact;
pub mod go;
pub mod kube_http;
pub mod places;
pub mod progress;
pub mod random;
pub mod testbed;
