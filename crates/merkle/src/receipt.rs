//! COSE receipts (RFC 9942) of the structure `RFC9162_SHA256`: a proof that a record is in the log,
//! or that the log continues an earlier state of itself, with the log's signature over the root
//! that the proof leads to. Checked without the log and without a C2SP checkpoint.
//!
//! What is signed beside the root is all that a checkpoint says: log, size and time, so that
//! neither size nor index can be exchanged afterwards; RFC 9942 alone leaves both unsigned.
//!
//! ```text
//! 18([ << {1: alg, 4: kid, 15: {1: origin, 2: "checkpoint/SIZE", 6: time}, 395: 1} >>,
//!      {396: {-1: [<< [size, index, [hash…]] >>]}}     or {-2: [<< [old, size, [hash…]] >>]}
//!      null, signature ])
//! ```
//!
//! Not here: other profiles of RFC 9942; they are refused.
//! Invariants: a receipt has one encoding, deterministic CBOR (RFC 8949, 4.2.1), and only that one
//! is parsed. The log's keys sign a root here only if they signed it in a checkpoint before.

use std::convert::Infallible;

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};

use crate::checkpoint::{Checkpoint, LogSigner, LogVerifier, TIME_MAX, parse_decimal};
use crate::hash::Hash;
use crate::key::{Algorithm, VerifierKey};
use crate::note::NoteError;
use crate::tree::{LeafIndex, TreeSize};
use crate::verify::{PROOF_HASHES_MAX, ProofError, consistency_root, inclusion_root};

/// Longest receipt that is read, in bytes. An ML-DSA-44 signature, 63 hashes and the longest names
/// are shorter.
pub const RECEIPT_BYTES_MAX: usize = 8_192;

/// The first byte of every receipt: CBOR tag 18, `COSE_Sign1`.
pub const RECEIPT_FIRST_BYTE: u8 = 0xd2;

/// RFC 9052, 2: tag of a signed message with one signer.
const COSE_SIGN1: u64 = 18;
/// RFC 9052, 3.1: header parameters `alg` and `kid`.
const ALG: i64 = 1;
const KID: i64 = 4;
/// RFC 9597: header parameter `CWT Claims`, and in it (RFC 8392, 3.1) issuer, subject, issued at.
const CWT_CLAIMS: i64 = 15;
const ISSUER: i64 = 1;
const SUBJECT: i64 = 2;
const ISSUED_AT: i64 = 6;
/// RFC 9942, 2: header parameters `vds` and `vdp`.
const VDS: i64 = 395;
const VDP: i64 = 396;
/// RFC 9942, 4.1 and 4.2: the structure, and the labels of its two kinds of proof.
const RFC9162_SHA256: i64 = 1;
const INCLUSION: i64 = -1;
const CONSISTENCY: i64 = -2;
/// RFC 9053, 2.2, and RFC 9964, 2. RFC 9864 would rather have -19 for Ed25519, which few verifiers
/// know yet; -8 with an Ed25519 key is the same signature.
const EDDSA: i64 = -8;
const ML_DSA_44: i64 = -48;

const SUBJECT_PREFIX: &str = "checkpoint/";

/// Why a receipt proves nothing, or could not be issued. Do not believe what it was to prove.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The bytes are no receipt of this profile.
    #[error("not a COSE receipt of a log: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// RFC 9942 has no form for a proof without hashes: of the only leaf of a tree, or that a tree
    /// continues itself or the empty one. Ask again when the log has grown.
    #[error("a COSE receipt can't hold a proof without hashes; the log must grow first")]
    EmptyProof,
    /// The receipt proves the other of inclusion and consistency.
    #[error("the receipt is one of {found}")]
    OtherProof {
        /// What it is a receipt of.
        found: &'static str,
    },
    /// No known key of the log is the one that the receipt names.
    #[error("signed by {kid} with {algorithm}, which is no known key of the log {origin}")]
    UnknownKey {
        /// The key that it names.
        kid: String,
        /// What that key signs with.
        algorithm: Algorithm,
        /// The log that it names.
        origin: String,
    },
    /// The key that it names had been replaced before there was such a tree: it was stolen, or the
    /// log has a fork.
    #[error(
        "signed by {kid} over checkpoint {size}, but that key was replaced by record {rotated_at}: a fork, or the key was stolen"
    )]
    RetiredKey {
        /// The key that it names.
        kid: String,
        /// Size of the tree that it is about.
        size: TreeSize,
        /// The record that replaced the key.
        rotated_at: LeafIndex,
    },
    /// The signature does not fit the root that the proof leads to: leaf, older root, proof or
    /// receipt were altered.
    #[error("the signature of {kid} does not fit the tree that the proof leads to")]
    WrongSignature {
        /// The key that it names.
        kid: String,
    },
    /// The proof leads to no root.
    #[error("the proof in the receipt does not hold")]
    Proof(#[from] ProofError),
    /// The checkpoint that a receipt was asked for is not one that this log signed.
    #[error("no receipt for a checkpoint that this log did not sign")]
    Checkpoint(#[from] NoteError),
    /// The library failed to sign. Try again.
    #[error("signing with {0} failed")]
    Sign(Algorithm),
}

const fn malformed(what: &'static str) -> ReceiptError {
    ReceiptError::Malformed { what }
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptProof {
    /// That a leaf is in the tree.
    Inclusion {
        /// Position of the leaf.
        index: LeafIndex,
        /// From the leaf's sibling up to a child of the root.
        hashes: Vec<Hash>,
    },
    /// That the tree continues an earlier one.
    Consistency {
        /// Size of the earlier tree.
        old: TreeSize,
        /// The proof of RFC 9162, 2.1.4.1.
        hashes: Vec<Hash>,
    },
}

impl ReceiptProof {
    fn hashes(&self) -> &[Hash] {
        match self {
            Self::Inclusion { hashes, .. } | Self::Consistency { hashes, .. } => hashes,
        }
    }

    /// Label of the kind, and the number that stands beside the tree's size.
    const fn label_and_number(&self) -> (i64, u64) {
        match self {
            Self::Inclusion { index, .. } => (INCLUSION, index.0),
            Self::Consistency { old, .. } => (CONSISTENCY, old.0),
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Inclusion { .. } => "inclusion",
            Self::Consistency { .. } => "consistency",
        }
    }
}

/// The part of the header that is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signed {
    algorithm: Algorithm,
    /// `<name>+<key id>`, as a vkey begins.
    kid: String,
    origin: String,
    size: TreeSize,
    time_s: u64,
}

/// A receipt, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoseReceipt {
    signed: Signed,
    proof: ReceiptProof,
    signature: Vec<u8>,
}

impl CoseReceipt {
    /// The log that it names.
    pub fn origin(&self) -> &str {
        &self.signed.origin
    }

    /// Size of the tree that it is about.
    pub const fn size(&self) -> TreeSize {
        self.signed.size
    }

    /// When the log signed that tree, in seconds since the Unix epoch, by the log's clock.
    pub const fn time_s(&self) -> u64 {
        self.signed.time_s
    }

    /// The key that it says has signed it, as its vkey begins: `<name>+<key id>`.
    pub fn key(&self) -> &str {
        &self.signed.kid
    }

    /// What that key signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.signed.algorithm
    }

    /// What it proves.
    pub const fn proof(&self) -> &ReceiptProof {
        &self.proof
    }

    /// The bytes of the receipt: a tagged `COSE_Sign1` with detached payload.
    pub fn encode(&self) -> Vec<u8> {
        encoded(|e| {
            let (label, _) = self.proof.label_and_number();
            e.tag(Tag::new(COSE_SIGN1))?.array(4)?.bytes(&self.signed.encode())?;
            e.map(1)?.i64(VDP)?.map(1)?.i64(label)?.array(1)?.bytes(&self.encode_proof())?;
            e.null()?.bytes(&self.signature)?;
            Ok(())
        })
    }

    fn encode_proof(&self) -> Vec<u8> {
        encoded(|e| {
            e.array(3)?;
            match &self.proof {
                ReceiptProof::Inclusion { index, .. } => e.u64(self.size().0)?.u64(index.0)?,
                ReceiptProof::Consistency { old, .. } => e.u64(old.0)?.u64(self.size().0)?,
            };
            e.array(self.proof.hashes().len() as u64)?;
            self.proof.hashes().iter().try_for_each(|hash| e.bytes(&hash.0).map(|_| ()))
        })
    }

    /// Parses the bytes of a receipt. Only the encoding that [`CoseReceipt::encode`] writes is
    /// taken.
    ///
    /// # Errors
    /// [`ReceiptError::Malformed`] or [`ReceiptError::EmptyProof`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let receipt = Self::read(&mut Decoder::new(bytes))?;
        if receipt.proof.hashes().is_empty() {
            return Err(ReceiptError::EmptyProof);
        }
        if receipt.encode() == bytes {
            Ok(receipt)
        } else {
            Err(malformed("it is not encoded deterministically, or has more than belongs to it"))
        }
    }

    /// Reads the values; that they are encoded as they must be is the caller's to check.
    fn read(d: &mut Decoder<'_>) -> Result<Self, ReceiptError> {
        let wrong = |_| malformed("it is no COSE_Sign1 with the parts of a receipt");
        if d.tag().map_err(wrong)? != Tag::new(COSE_SIGN1) {
            return Err(malformed("it is not tagged as COSE_Sign1"));
        }
        d.array().map_err(wrong)?;
        let signed = Signed::read(&mut Decoder::new(d.bytes().map_err(wrong)?))?;
        d.map().map_err(wrong)?;
        label(d, VDP, "its unprotected header is not the proof alone")?;
        d.map().map_err(wrong)?;
        let kind = d.i64().map_err(wrong)?;
        d.array().map_err(wrong)?;
        let proof = d.bytes().map_err(wrong)?;
        let proof = read_proof(&mut Decoder::new(proof), kind, signed.size)?;
        d.null().map_err(|_| malformed("its payload is not detached"))?;
        let signature = d.bytes().map_err(wrong)?.to_vec();
        Ok(Self { signed, proof, signature })
    }

    /// Checks that the log signed a tree with the leaf of this hash at the receipt's index, and
    /// gives that tree's checkpoint.
    ///
    /// # Errors
    /// [`ReceiptError`]: why that is not shown.
    pub fn verify_inclusion(
        &self,
        leaf: Hash,
        log: &LogVerifier,
    ) -> Result<Checkpoint, ReceiptError> {
        let ReceiptProof::Inclusion { index, hashes } = &self.proof else {
            return Err(ReceiptError::OtherProof { found: self.proof.name() });
        };
        self.verify_root(inclusion_root(leaf, *index, self.size(), hashes)?, log)
    }

    /// Checks that the log signed a tree that continues the one of the receipt's older size with
    /// the root `old_root`, and gives that tree's checkpoint. The older root must come from
    /// elsewhere: an older checkpoint, or a pin.
    ///
    /// # Errors
    /// [`ReceiptError`]: why that is not shown.
    pub fn verify_consistency(
        &self,
        old_root: Hash,
        log: &LogVerifier,
    ) -> Result<Checkpoint, ReceiptError> {
        let ReceiptProof::Consistency { old, hashes } = &self.proof else {
            return Err(ReceiptError::OtherProof { found: self.proof.name() });
        };
        self.verify_root(consistency_root(*old, old_root, self.size(), hashes)?, log)
    }

    fn verify_root(&self, root: Hash, log: &LogVerifier) -> Result<Checkpoint, ReceiptError> {
        let Signed { algorithm, kid, origin, size, .. } = &self.signed;
        let is_named = |key: &&VerifierKey| {
            key.algorithm() == *algorithm && key.name() == origin && key_reference(key) == *kid
        };
        let key = log.keys_at(*size).iter().find(is_named).ok_or_else(|| {
            match log.rotated_at(|key| is_named(&key), *size) {
                Some(rotated_at) => {
                    ReceiptError::RetiredKey { kid: kid.clone(), size: *size, rotated_at }
                }
                None => ReceiptError::UnknownKey {
                    kid: kid.clone(),
                    algorithm: *algorithm,
                    origin: origin.clone(),
                },
            }
        })?;
        if !key.verifies(&self.signed.message(root), &self.signature) {
            return Err(ReceiptError::WrongSignature { kid: kid.clone() });
        }
        Ok(Checkpoint { origin: origin.clone(), size: *size, root })
    }
}

impl Signed {
    /// The protected header.
    fn encode(&self) -> Vec<u8> {
        encoded(|e| {
            e.map(4)?;
            e.i64(ALG)?.i64(cose_algorithm(self.algorithm))?;
            e.i64(KID)?.bytes(self.kid.as_bytes())?;
            e.i64(CWT_CLAIMS)?.map(3)?;
            e.i64(ISSUER)?.str(&self.origin)?;
            e.i64(SUBJECT)?.str(&format!("{SUBJECT_PREFIX}{}", self.size))?;
            e.i64(ISSUED_AT)?.u64(self.time_s)?;
            e.i64(VDS)?.i64(RFC9162_SHA256)?;
            Ok(())
        })
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ReceiptError> {
        const WHAT: &str = "its protected header is not alg, kid, claims and vds";
        let wrong = |_| malformed(WHAT);
        d.map().map_err(wrong)?;
        label(d, ALG, WHAT)?;
        let algorithm = match d.i64().map_err(wrong)? {
            EDDSA => Algorithm::Ed25519,
            ML_DSA_44 => Algorithm::MlDsa44,
            _ => return Err(malformed("its algorithm is neither EdDSA (-8) nor ML-DSA-44 (-48)")),
        };
        label(d, KID, WHAT)?;
        let kid = d.bytes().map_err(wrong)?.to_vec();
        let kid = String::from_utf8(kid).map_err(|_| malformed("its key id is not UTF-8"))?;
        label(d, CWT_CLAIMS, WHAT)?;
        d.map().map_err(wrong)?;
        label(d, ISSUER, WHAT)?;
        let origin = d.str().map_err(wrong)?.to_owned();
        label(d, SUBJECT, WHAT)?;
        let size = d.str().map_err(wrong)?.strip_prefix(SUBJECT_PREFIX).and_then(parse_decimal);
        let size = size.ok_or(malformed("its subject is not `checkpoint/SIZE`"))?;
        label(d, ISSUED_AT, WHAT)?;
        let time_s = d.u64().map_err(wrong)?;
        if time_s > TIME_MAX {
            return Err(malformed("its time is later than any checkpoint's"));
        }
        label(d, VDS, "it is not about a structure RFC9162_SHA256")?;
        if d.i64().map_err(wrong)? != RFC9162_SHA256 {
            return Err(malformed("it is not about a structure RFC9162_SHA256"));
        }
        if d.position() != d.input().len() {
            return Err(malformed("its protected header goes on after its end"));
        }
        Ok(Self { algorithm, kid, origin, size: TreeSize(size), time_s })
    }

    /// What is signed (RFC 9052, 4.4). It begins with the bytes `84 6a`, so that it is neither
    /// UTF-8 text nor a label of C2SP: no signature of a log's keys over a note or a cosignature
    /// is one over a receipt, or the other way round.
    fn message(&self, root: Hash) -> Vec<u8> {
        encoded(|e| {
            e.array(4)?.str("Signature1")?.bytes(&self.encode())?.bytes(&[])?.bytes(&root.0)?;
            Ok(())
        })
    }
}

impl LogSigner {
    /// The receipt of a proof for the tree of a checkpoint that these keys signed.
    ///
    /// # Errors
    /// [`ReceiptError::Checkpoint`] if the note is no checkpoint that both keys signed,
    /// [`ReceiptError::EmptyProof`], [`ReceiptError::Proof`] if the proof can't be for its tree,
    /// [`ReceiptError::Sign`].
    pub fn receipt(
        &self,
        note: &str,
        algorithm: Algorithm,
        proof: ReceiptProof,
    ) -> Result<CoseReceipt, ReceiptError> {
        let opened = self.verifier().open_signed(note.as_bytes())?;
        let time_s = opened.time().ok_or(NoteError::NoKnownKey)?;
        let Checkpoint { origin, size, root } = opened.checkpoint;
        check_shape(&proof, size)?;
        let key = self.key(algorithm).ok_or(ReceiptError::Sign(algorithm))?;
        let kid = key_reference(key.verifier_key());
        let signed = Signed { algorithm, kid, origin, size, time_s };
        let signature = key.sign_bytes(&signed.message(root));
        let signature = signature.ok_or(ReceiptError::Sign(algorithm))?;
        Ok(CoseReceipt { signed, proof, signature })
    }
}

/// Refuses a proof that no tree of this size has, whatever its hashes.
fn check_shape(proof: &ReceiptProof, size: TreeSize) -> Result<(), ReceiptError> {
    match *proof {
        ReceiptProof::Inclusion { index, .. } if !size.contains(index) => {
            Err(ProofError::NoSuchLeaf { index, size }.into())
        }
        ReceiptProof::Consistency { old, .. } if old > size => {
            Err(ProofError::SizesReversed { old, new: size }.into())
        }
        _ if proof.hashes().is_empty() => Err(ReceiptError::EmptyProof),
        _ => Ok(()),
    }
}

/// How a receipt names a key: as its vkey begins.
fn key_reference(key: &VerifierKey) -> String {
    format!("{}+{}", key.name(), key.id())
}

const fn cose_algorithm(algorithm: Algorithm) -> i64 {
    match algorithm {
        Algorithm::Ed25519 | Algorithm::Ed25519Cosignature => EDDSA,
        Algorithm::MlDsa44 => ML_DSA_44,
    }
}

fn label(d: &mut Decoder<'_>, wanted: i64, what: &'static str) -> Result<(), ReceiptError> {
    if d.i64().is_ok_and(|found| found == wanted) { Ok(()) } else { Err(malformed(what)) }
}

fn read_proof(
    d: &mut Decoder<'_>,
    kind: i64,
    size: TreeSize,
) -> Result<ReceiptProof, ReceiptError> {
    let wrong = |_| malformed("its proof is not two numbers and hashes of 32 bytes");
    d.array().map_err(wrong)?;
    let (first, second) = (d.u64().map_err(wrong)?, d.u64().map_err(wrong)?);
    let count = d.array().map_err(wrong)?.unwrap_or(u64::MAX);
    if count > PROOF_HASHES_MAX as u64 {
        return Err(malformed("its proof has more than 63 hashes"));
    }
    let mut hashes = Vec::new();
    for _ in 0..count {
        let hash = Hash::from_slice(d.bytes().map_err(wrong)?);
        hashes.push(hash.map_err(|_| malformed("its proof has a hash of another length"))?);
    }
    if d.position() != d.input().len() {
        return Err(malformed("its proof goes on after its end"));
    }
    let (proof, stated) = match kind {
        INCLUSION => (ReceiptProof::Inclusion { index: LeafIndex(second), hashes }, first),
        CONSISTENCY => (ReceiptProof::Consistency { old: TreeSize(first), hashes }, second),
        _ => return Err(malformed("its proof is neither one of inclusion nor of consistency")),
    };
    if stated != size.0 {
        return Err(malformed("its proof is for another size than the signed one"));
    }
    Ok(proof)
}

fn encoded(
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<Infallible>>,
) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Encoder::new(&mut out)).expect("invariant: writing to a vector does not fail");
    out
}

#[cfg(test)]
mod tests;
