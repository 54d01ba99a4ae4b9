//! For each parser of bytes from outside, a function that takes any bytes and must neither panic
//! nor break the parser's promises, and inputs that the parser accepts, to start from.
//!
//! What this crate is not: part of the program. `fuzz/` drives the functions with libFuzzer, and
//! the test beside them with a bounded number of mutations on any toolchain.
//!
//! Invariant: where a format has one encoding, what is parsed is written back byte for byte;
//! elsewhere what is parsed is written, parsed and found the same.

// Whoever calls a target wants it to end by panicking when a promise is broken.
#![allow(clippy::unwrap_used, reason = "a broken promise ends the run")]

mod ledger;
mod merkle;
mod record;

/// A parser under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, that of the binary in `fuzz/` too.
    pub name: &'static str,
    /// Parses the bytes, and checks what follows if they are accepted. Says whether they were.
    ///
    /// # Panics
    /// If the parser breaks a promise.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.name)
    }
}

/// All targets.
pub const TARGETS: [Target; 25] = [
    Target { name: "note", run: merkle::note, seeds: merkle::note_seeds },
    Target { name: "signature-line", run: merkle::signature, seeds: merkle::signature_seeds },
    Target { name: "vkey", run: merkle::vkey, seeds: merkle::vkey_seeds },
    Target { name: "checkpoint", run: merkle::checkpoint, seeds: merkle::checkpoint_seeds },
    Target { name: "tile-path", run: merkle::tile_path, seeds: merkle::tile_path_seeds },
    Target { name: "hash-tile", run: merkle::hash_tile, seeds: merkle::hash_tile_seeds },
    Target { name: "entry-bundle", run: merkle::entry_bundle, seeds: merkle::entry_bundle_seeds },
    Target { name: "tlog-proof", run: merkle::tlog_proof, seeds: merkle::tlog_proof_seeds },
    Target { name: "receipt", run: merkle::receipt, seeds: merkle::receipt_seeds },
    Target { name: "policy", run: merkle::policy, seeds: merkle::policy_seeds },
    Target {
        name: "add-checkpoint",
        run: merkle::add_checkpoint,
        seeds: merkle::add_checkpoint_seeds,
    },
    Target {
        name: "witness-answer",
        run: merkle::witness_answer,
        seeds: merkle::witness_answer_seeds,
    },
    Target { name: "rotation", run: merkle::rotation, seeds: merkle::rotation_seeds },
    Target { name: "sign-subtree", run: merkle::sign_subtree, seeds: merkle::sign_subtree_seeds },
    Target { name: "upload", run: merkle::upload, seeds: merkle::upload_seeds },
    Target { name: "mirror-info", run: merkle::mirror_info, seeds: merkle::mirror_info_seeds },
    Target { name: "record-header", run: record::header, seeds: record::header_seeds },
    Target { name: "seal", run: record::seal, seeds: record::seal_seeds },
    Target { name: "submission", run: record::submission, seeds: record::submission_seeds },
    Target { name: "frame", run: record::frame, seeds: record::frame_seeds },
    Target { name: "declaration", run: record::declaration, seeds: record::declaration_seeds },
    Target { name: "gap", run: record::gap, seeds: record::gap_seeds },
    Target { name: "segment", run: ledger::segment, seeds: ledger::segment_seeds },
    Target { name: "evidence", run: ledger::evidence, seeds: ledger::evidence_seeds },
    Target { name: "public-keys", run: ledger::public_keys, seeds: ledger::public_keys_seeds },
];

/// The target of this name.
///
/// # Panics
/// If there is none: the caller was built for another version of this crate.
#[must_use]
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).expect("invariant: a name in TARGETS")
}
