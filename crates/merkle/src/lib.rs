//! The Merkle log of C2SP: hashes, proofs, tiles, signed notes, checkpoints, cosignatures, trust
//! policies, the messages of witnesses, `.tlog-proof` files and COSE receipts. Together with the
//! crate `record` this is all that an auditor must believe.
//!
//! What this crate is not: it knows no clock, no file, no network, and not what a record means.
//! Where hashes are kept is the caller's matter, behind [`Subtrees`].
//!
//! Invariant: whatever is parsed here and accepted says one thing only, and a proof verifies for
//! one leaf, one index, one size and one root.

pub mod checkpoint;
mod frontier;
mod hash;
mod key;
mod memory;
pub mod mirror;
pub mod note;
pub mod policy;
pub mod proof_file;
mod range;
pub mod receipt;
pub mod rotation;
pub mod subtree;
pub mod tile;
mod tree;
mod verify;
pub mod witness;

pub use checkpoint::{
    Checkpoint, CheckpointError, LogSigner, LogVerifier, OpenedCheckpoint, SignError,
};
pub use frontier::{Frontier, FrontierError};
pub use hash::{EMPTY_ROOT, HASH_BYTES, Hash, HashError, leaf_hash, node_hash};
pub use key::{Algorithm, KEY_NAME_BYTES_MAX, KeyError, KeyId, SigningKey, VerifierKey};
pub use memory::{MemoryTree, NoSuchNode};
pub use note::{Note, NoteError, Signature, Verified};
pub use policy::{Policy, PolicyError, Verdict};
pub use proof_file::{ProofFileError, TlogProof};
pub use range::{range_proof, verify_range};
pub use receipt::{CoseReceipt, ReceiptError, ReceiptProof};
pub use rotation::{KeyRotation, RotationError};
pub use subtree::Subtree;
pub use tree::{
    LeafIndex, ProveError, Subtrees, TreeSize, consistency_proof, inclusion_proof, root,
};
pub use verify::{PROOF_HASHES_MAX, ProofError, verify_consistency, verify_inclusion};
