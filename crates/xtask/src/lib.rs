//! Chores of the repository, as a library, so that tests of other crates can use the test bed.
//!
//! - [`testbed`]: a real Kubernetes control plane on loopback, as a fixture and behind
//!   `cargo xtask testbed`.
//! - [`go`]: programs built from the Go modules under `testbed/`.
//!
//! Nothing here is part of the product, and no crate depends on it outside of its tests.

pub mod go;
pub mod places;
pub mod progress;
pub mod testbed;
