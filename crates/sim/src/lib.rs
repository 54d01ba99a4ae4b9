//! Simulation of several writers on one store that fails: one seed decides the clock, the store's
//! faults, who does what when, and where a process dies. The same seed gives the same run.
//!
//! Writers and packers of several processes are `stele_ledger`'s own code (`LedgerCore`, `Packer`),
//! driven by hand in one thread. They meet at the calls of the store: during any call of one,
//! others may run, to their ends or until they meet again, and a process may die before or after
//! the call has its effect.
//!
//! What is checked, with a store that fails but does not lie:
//!
//! | id | what |
//! |---|---|
//! | L1 | an acknowledged record is at its index, once, and below every checkpoint signed later |
//! | L2 | every checkpoint of every process is one of the same log |
//! | L3 | every record that was signed for can be read back; `fsck` finds nothing |
//! | L4 | a source's sequence has no hole and no repeat |
//!
//! With a store that lies (see [`Lie`]) the run must end in one of two ways: everything above holds
//! all the same, or somebody noticed: a process stopped or could not open, or `fsck` named it. What
//! is read back is never another record than the acknowledged one. Two checkpoints that contradict
//! each other are excused under three lies alone, because no single process can notice them:
//! creates that overwrite (and so let two creators win), objects that vanish, and creates that
//! store nothing. Against those stand the check of a store before it is used, and witnesses.
//!
//! Not here: `fsync` and system calls (the disk store's own tests), threads (the ledger's tests).

mod check;
mod client;
mod process;
mod store;
mod trace;
mod world;

pub use store::Lie;
pub use world::{Nature, Outcome, simulate};
