//! The ledger: takes records in, orders them in a Merkle log, signs tree heads, proves, and stores
//! everything as write-once objects.
//!
//! What this crate is not: it does not know what a record is about, and it never believes what is
//! stored without checking it against hashes.
//!
//! Invariants L1 to L4 are in [`invariant`]. The one that matters most: an append that was
//! acknowledged is durable and in every later checkpoint; one that was not is wholly there or
//! wholly absent, and repeating it settles which.

mod append;
mod batch;
mod cache;
mod cosigner;
pub mod cosigning;
mod error;
pub mod evidence;
mod format;
mod fsck;
mod info;
pub mod invariant;
mod key_file;
mod keys;
pub mod leaf_mirror;
mod ledger;
mod ledger_core;
mod mirror;
mod objects;
mod own;
mod pack;
mod put;
mod reader;
mod recent;
mod recover;
mod repair;
mod rotation;
mod round;
mod settle;
mod streams;
mod subtrees;
mod tables;
mod tail;
mod tree;
mod verify;
pub mod witness;
mod writer;

pub use append::{IndexRun, Receipt};
pub use cosigner::{Cosigner, CosignerKey};
pub use error::{AppendError, CoseReceiptError, LedgerError, ReadError};
pub use fsck::{
    ByteRange, FsckOptions, FsckOutcome, FsckReport, FsckStateError, Problem, Progress,
    RecordRange, Remedy, Replacement, SourceRange, fsck, fsck_with,
};
pub use info::LogInfo;
pub use keys::{LogKey, LogKeyError, parse_public_keys};
pub use ledger::{
    APPEND_WAIT_DEFAULT, CHECKPOINT_RECORD_PAUSE_DEFAULT, FOLLOW_PAUSE_DEFAULT, Ledger,
    LedgerOptions, PACK_RECORDS_DEFAULT, QUEUE_BYTES_DEFAULT, SEGMENT_BYTES_DEFAULT,
    SEGMENT_RECORDS_DEFAULT,
};
pub use ledger_core::{Answer, LedgerCore};
pub use mirror::{Contradiction, Mirror, MirrorError, Synced};
pub use own::ledger_source_id;
pub use pack::Packer;
pub use reader::{Reader, RecordContent, SignedCheckpoint, StoredRecord};
pub use repair::{RepairError, Repaired, repair};
pub use rotation::RecordedRotation;
pub use streams::SourceHead;
pub use subtrees::SubtreeDecision;
pub use writer::Step;

/// A ledger that is open for reading only.
pub type ReadOnlyLedger = Reader;
