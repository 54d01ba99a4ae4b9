//! `stele log prove`: a proof in a file, checked here before it is written.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use stele_merkle::{Algorithm, Checkpoint, LogVerifier, leaf_hash};

use super::WhereArgs;
use super::read::index;
use crate::app::App;
use crate::error::{CliError, Exit, Outcome};
use crate::files;
use crate::keys::LogKeys;
use crate::log_view::{LogView, ReceiptOf};

/// Arguments of `stele log prove`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele log prove 812345 --out record.tlog-proof
  stele verify record.tlog-proof --key log.pub
  stele log prove 812345 --format cose --out record.cose
  stele log prove --since old.checkpoint --out growth.cose

A .tlog-proof file carries the leaf, so that `stele verify` needs nothing else; any other C2SP
tlog-proof verifier takes it with the leaf from `stele log get INDEX -o leaf`. A COSE receipt
(RFC 9942) does not: it is verified with --record. Directories (--data) issue receipts only to
somebody who may read the log's private key.")]
pub(super) struct ProveArgs {
    /// Index of the record
    #[arg(value_name = "INDEX", value_parser = index, required_unless_present = "since")]
    index: Option<u64>,
    /// Prove that the log continues this older checkpoint of it, as a COSE receipt
    #[arg(long, value_name = "FILE", conflicts_with = "index")]
    since: Option<PathBuf>,
    /// Form of the proof; default is `cose` with --since, else `tlog-proof`
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Form>,
    /// Key of the log that signs a COSE receipt
    #[arg(long, value_enum, default_value_t, value_name = "ALGORITHM")]
    algorithm: Key,
    /// File to write; default is standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// C2SP tlog-proof: text, with the checkpoint of all keys and witnesses.
    TlogProof,
    /// COSE receipt (RFC 9942): CBOR, with one signature of the log.
    Cose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Key {
    /// Ed25519.
    #[default]
    Ed25519,
    /// ML-DSA-44, which also a quantum computer can't forge.
    #[value(name = "ml-dsa-44")]
    MlDsa44,
}

impl From<Key> for Algorithm {
    fn from(key: Key) -> Self {
        match key {
            Key::Ed25519 => Self::Ed25519,
            Key::MlDsa44 => Self::MlDsa44,
        }
    }
}

pub(super) async fn run(app: &App, args: &ProveArgs) -> Outcome {
    let view = args.place.view(app)?;
    let form =
        args.format.unwrap_or(if args.since.is_some() { Form::Cose } else { Form::TlogProof });
    match (args.index, &args.since, form) {
        (Some(index), _, Form::TlogProof) => {
            tlog_proof(app, &view, index, args.out.as_deref()).await
        }
        (Some(index), _, Form::Cose) => inclusion(app, &view, index, args).await,
        (None, Some(since), Form::Cose) => consistency(app, &view, since, args).await,
        (None, ..) => Err(CliError::usage("--since gives a COSE receipt only: --format cose")),
    }
}

async fn tlog_proof(app: &App, view: &LogView, index: u64, out: Option<&Path>) -> Outcome {
    let leaf = view.record(index).await?.leaf()?;
    let mut proof = view.proof(index).await?;
    let opened = view.open_checkpoint(&proof.checkpoint_note).await?;
    proof.verify(leaf_hash(&leaf), &opened.verifier).map_err(|e| {
        CliError::tampered(format!("the proof of record {index} does not hold: {e}"))
    })?;
    proof.extra = Some(leaf);
    write(app, out, proof.encode().as_bytes())?;
    said(app, &format!("Record {index} is in"), &opened.signed.checkpoint, opened.pinned);
    hint(app, out, "");
    Ok(Exit::Done)
}

async fn inclusion(app: &App, view: &LogView, index: u64, args: &ProveArgs) -> Outcome {
    let leaf = view.record(index).await?.leaf()?;
    let receipt = view.receipt(ReceiptOf::Record(index), args.algorithm.into()).await?;
    let (keys, pinned) = view.keys().await?;
    let log = newest_verifier(view, &keys).await?;
    let checkpoint = receipt.verify_inclusion(leaf_hash(&leaf), &log);
    let checkpoint = checkpoint.map_err(|e| {
        CliError::tampered(format!("the receipt of record {index} does not hold: {e}"))
    })?;
    write(app, args.out.as_deref(), &receipt.encode())?;
    said(app, &format!("Record {index} is in"), &checkpoint, pinned);
    hint(app, args.out.as_deref(), " --record LEAF");
    Ok(Exit::Done)
}

async fn consistency(app: &App, view: &LogView, since: &Path, args: &ProveArgs) -> Outcome {
    let (keys, pinned) = view.keys().await?;
    let note = files::note(since)?;
    let old = files::opened(since, &note, &view.verifier_for(&keys, &note).await?)?;
    let receipt = view.receipt(ReceiptOf::Growth(old.size.0), args.algorithm.into()).await?;
    let log = newest_verifier(view, &keys).await?;
    let checkpoint = receipt.verify_consistency(old.root, &log).map_err(|e| {
        CliError::tampered(format!("the log does not continue checkpoint {}: {e}", old.size))
    })?;
    write(app, args.out.as_deref(), &receipt.encode())?;
    said(app, &format!("Checkpoint {} is continued by", old.size), &checkpoint, pinned);
    hint(app, args.out.as_deref(), &format!(" --since {}", since.display()));
    Ok(Exit::Done)
}

/// What checks the log's newest checkpoint, which a receipt is about.
async fn newest_verifier(view: &LogView, keys: &LogKeys) -> Result<LogVerifier, CliError> {
    let (note, _) = view.newest().await?;
    view.verifier_for(keys, &note).await
}

fn write(app: &App, out: Option<&Path>, bytes: &[u8]) -> Result<(), CliError> {
    match out {
        None => app.ui.raw(bytes),
        Some(path) => files::write_new(path, bytes),
    }
}

fn said(app: &App, what: &str, checkpoint: &Checkpoint, pinned: bool) {
    let pinned = if pinned { "" } else { " (key not pinned)" };
    app.ui
        .note(&format!("{what} checkpoint {} of {}{pinned}.", checkpoint.size, checkpoint.origin));
}

fn hint(app: &App, out: Option<&Path>, more: &str) {
    if let Some(path) = out {
        let path = path.display();
        app.ui.note(&format!("Check it anywhere: stele verify {path} --key KEY{more}"));
    }
}
