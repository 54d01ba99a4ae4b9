//! The whole program from outside: real processes, real files, real clusters, other people's
//! verifiers. Slow by nature; what a single crate can show is tested there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent;
mod control_plane;
mod exact;
mod harness;
mod informer;
mod kill;
mod kube_api;
mod leaf_mirrors;
mod live;
mod other_verifier;
mod pod_mapping;
mod witnesses;
