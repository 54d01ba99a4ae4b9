//! Tests of the server over real HTTP, on a loopback listener, with a real ledger and real views.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod batch;
mod events;
mod health;
mod kube;
mod leaf_mirror;
mod questions;
mod submissions;
mod support;
mod tiles;
mod watch;
mod witness;
