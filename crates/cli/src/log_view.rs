//! The log as `stele log` and `stele verify` read it: through a server, or from a directory that
//! no server has open.
//!
//! Invariant: what comes from either is checked the same way. Without a pinned key the log's own
//! keys are used, and whoever prints the result says so.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use stele_ledger::{CoseReceiptError, Ledger, LedgerError, LogInfo, ReadError, Reader};
use stele_merkle::tile::{TileKind, TilePath};
use stele_merkle::{
    Algorithm, CoseReceipt, Hash, LeafIndex, LogVerifier, OpenedCheckpoint, ReceiptError,
    TlogProof, TreeSize,
};
use stele_server::api::{self, ConsistencyProof, RecordEvent, Witnessing};
use stele_store::{DiskStore, StoreError};

use crate::app::{App, ConnectArgs};
use crate::client::{Client, Query};
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit};
use crate::keys::LogKeys;
use crate::receipts;

/// Where the log is read from.
pub(crate) enum LogView {
    /// A server.
    Server(Client),
    /// A directory.
    Directory(Directory),
}

/// A directory with a ledger, open for reading.
pub(crate) struct Directory {
    dir: DataDir,
    reader: Reader,
    /// Keys that the person gave; the directory's own are worth less.
    pinned: LogKeys,
    own: LogKeys,
}

/// What a COSE receipt is to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceiptOf {
    /// That the record of this index is in the log.
    Record(u64),
    /// That the log continues itself as it was at this size.
    Growth(u64),
}

/// A record as the API gives it.
pub(crate) struct RecordView {
    /// The record.
    pub(crate) event: RecordEvent,
}

/// A checkpoint with what was checked about it.
pub(crate) struct Opened {
    /// The checkpoint and who signed it.
    pub(crate) signed: OpenedCheckpoint,
    /// The keys it was checked from.
    pub(crate) keys: LogKeys,
    /// What it was checked with: these keys, and those that replaced them.
    pub(crate) verifier: LogVerifier,
    /// The keys were pinned, and not taken from the log itself.
    pub(crate) pinned: bool,
}

impl Opened {
    /// The keys that sign now, if they are others than the ones it was checked from.
    pub(crate) fn replaced_by(&self) -> Option<LogKeys> {
        let current = self.verifier.current_keys();
        let same = self.verifier.keys().iter().all(|key| current.contains(key));
        (!same).then(|| LogKeys::new(current.to_vec()))
    }
}

impl LogView {
    /// The log in `data` if it is given, else behind the server that the flags name.
    ///
    /// # Errors
    /// When there is no such log.
    pub(crate) fn open(
        app: &App,
        data: Option<&Path>,
        connect: &ConnectArgs,
    ) -> Result<Self, CliError> {
        match data {
            None => Ok(Self::Server(app.client(connect)?.0)),
            Some(data) => {
                let key = connect.key.as_deref().map(LogKeys::from_argument).transpose()?;
                let dir = DataDir::existing(data)?;
                Directory::open(&dir, key.unwrap_or_default()).map(Self::Directory)
            }
        }
    }

    /// The log's own newest checkpoint, and how it stands with its witnesses. A log with a witness
    /// policy publishes only what its witnesses have cosigned, which may be older.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) async fn newest(&self) -> Result<(String, Option<Witnessing>), CliError> {
        match self {
            Self::Server(client) => {
                match client.json::<api::LogInfo>("v1/log", &Query::new()).await {
                    Ok(info) => Ok((info.checkpoint, info.witnessing)),
                    // Without a token there is only what is public.
                    Err(error) if error.exit() == Exit::Denied => {
                        Ok((self.published().await?, None))
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Directory(dir) => Ok((dir.checkpoint_note()?, None)),
        }
    }

    /// The published checkpoint, a signed note: with the cosignatures of witnesses, if there are any.
    ///
    /// # Errors
    /// When it can't be read, or none is published yet.
    pub(crate) async fn published(&self) -> Result<String, CliError> {
        match self {
            Self::Server(client) => {
                let bytes = client.bytes("checkpoint", &Query::new()).await?;
                String::from_utf8(bytes.to_vec())
                    .map_err(|_| CliError::failed("the server's checkpoint is not UTF-8"))
            }
            Self::Directory(dir) => match dir.reader.cosigned_checkpoint() {
                Some(checkpoint) => Ok(checkpoint.note.clone()),
                None => dir.checkpoint_note(),
            },
        }
    }

    /// Checks a checkpoint.
    ///
    /// # Errors
    /// A tampering error if its signatures do not hold.
    pub(crate) async fn open_checkpoint(&self, note: &str) -> Result<Opened, CliError> {
        let (keys, pinned) = self.keys().await?;
        let verifier = self.verifier_for(&keys, note).await?;
        let signed = verifier
            .open_signed(note.as_bytes())
            .map_err(|e| CliError::tampered(format!("the checkpoint does not verify: {e}")))?;
        Ok(Opened { signed, keys, verifier, pinned })
    }

    /// What checks the signed note `note` from `keys`: following them through the log's history.
    ///
    /// # Errors
    /// A tampering error if the history does not hold.
    pub(crate) async fn verifier_for(
        &self,
        keys: &LogKeys,
        note: &str,
    ) -> Result<LogVerifier, CliError> {
        match self {
            Self::Server(client) => client.follow(keys, note).await,
            Self::Directory(_) => self.history(keys).await,
        }
    }

    /// What knows all keys that the log had, from `keys` on.
    ///
    /// # Errors
    /// A tampering error if the history of keys does not hold.
    pub(crate) async fn history(&self, keys: &LogKeys) -> Result<LogVerifier, CliError> {
        match self {
            Self::Server(client) => client.history(keys).await,
            Self::Directory(dir) => dir.reader.following(&keys.verifier()).map_err(ledger_error),
        }
    }

    /// The keys that the log is checked with, and whether they are pinned.
    ///
    /// # Errors
    /// When none are pinned, and the log's own can't be read.
    pub(crate) async fn keys(&self) -> Result<(LogKeys, bool), CliError> {
        Ok(match self {
            Self::Server(client) if client.keys().is_empty() => {
                let info: api::LogInfo = client.json("v1/log", &Query::new()).await?;
                (LogKeys::from_texts(&info.verifier_keys)?, false)
            }
            Self::Server(client) => (client.keys().clone(), true),
            Self::Directory(dir) if dir.pinned.is_empty() => (dir.own.clone(), false),
            Self::Directory(dir) => (dir.pinned.clone(), true),
        })
    }

    /// A record.
    ///
    /// # Errors
    /// When there is none, or what is stored is not what was signed.
    pub(crate) async fn record(&self, index: u64) -> Result<RecordView, CliError> {
        let event = match self {
            Self::Server(client) => {
                client.json(&format!("v1/log/records/{index}"), &Query::new()).await?
            }
            Self::Directory(dir) => {
                let stored = dir.reader.read(LeafIndex(index)).map_err(read_error)?;
                stele_server::record_event(&stored, false)
            }
        };
        Ok(RecordView { event })
    }

    /// The inclusion proof of a record in the newest checkpoint.
    ///
    /// # Errors
    /// When the record is not under it.
    pub(crate) async fn proof(&self, index: u64) -> Result<TlogProof, CliError> {
        match self {
            Self::Server(client) => {
                let query: Query = vec![("index", index.to_string())];
                let bytes = client.bytes("v1/log/proof", &query).await?;
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| CliError::failed("the server's proof is not UTF-8"))?;
                TlogProof::parse(text)
                    .map_err(|e| CliError::tampered(format!("the server's proof: {e}")))
            }
            Self::Directory(dir) => dir.proof(index),
        }
    }

    /// A COSE receipt for the newest checkpoint.
    ///
    /// # Errors
    /// When there is nothing of that kind under it, or the directory's private key can't be read.
    pub(crate) async fn receipt(
        &self,
        of: ReceiptOf,
        algorithm: Algorithm,
    ) -> Result<CoseReceipt, CliError> {
        match self {
            Self::Server(client) => {
                let of = match of {
                    ReceiptOf::Record(index) => ("index", index.to_string()),
                    ReceiptOf::Growth(old) => ("old", old.to_string()),
                };
                let algorithm = ("algorithm", algorithm.to_string().to_ascii_lowercase());
                let bytes = client.bytes("v1/log/receipt", &vec![of, algorithm]).await?;
                CoseReceipt::parse(&bytes)
                    .map_err(|e| CliError::tampered(format!("the server's receipt: {e}")))
            }
            Self::Directory(dir) => dir.receipt(of, algorithm),
        }
    }

    /// The proof that the tree of `old` is a prefix of that of `new`.
    ///
    /// # Errors
    /// When the log is not that large.
    pub(crate) async fn consistency(
        &self,
        old: TreeSize,
        new: TreeSize,
    ) -> Result<Vec<Hash>, CliError> {
        match self {
            Self::Server(client) => {
                let query: Query = vec![("old", old.to_string()), ("new", new.to_string())];
                let proof: ConsistencyProof = client.json("v1/log/consistency", &query).await?;
                receipts::hashes(&proof.hashes)
            }
            Self::Directory(dir) => dir.reader.consistency_proof(old, new).map_err(read_error),
        }
    }

    /// A tile or an entry bundle.
    ///
    /// # Errors
    /// When the log has none such.
    pub(crate) async fn tile(&self, path: TilePath) -> Result<Bytes, CliError> {
        match self {
            Self::Server(client) => client.bytes(&path.to_string(), &Query::new()).await,
            Self::Directory(dir) => {
                let (index, width) = (path.index(), path.width());
                let bytes = match path.kind() {
                    TileKind::Hashes(level) => dir.reader.hash_tile(level, index, width),
                    TileKind::Entries => dir.reader.entry_bundle(index, width),
                };
                bytes.map(Bytes::from).map_err(read_error)
            }
        }
    }
}

impl Directory {
    /// Opens the ledger in `dir` for reading.
    ///
    /// # Errors
    /// When there is none, or what is stored contradicts what was signed.
    pub(crate) fn open(dir: &DataDir, pinned: LogKeys) -> Result<Self, CliError> {
        let store = DiskStore::open_read_only(dir.log()).map_err(store_error)?;
        let store = Arc::new(store);
        let info = LogInfo::load(&*store).map_err(ledger_error)?;
        let own = LogKeys::from_texts(&info.keys)?;
        let keys = if pinned.is_empty() { &own } else { &pinned };
        let reader = Ledger::open_read_only(store, &keys.verifier()).map_err(ledger_error)?;
        let following = reader.following(&keys.verifier()).map_err(ledger_error)?;
        reader.take_stored_cosigned(&following);
        Ok(Self { dir: dir.clone(), reader, pinned, own })
    }

    /// What reads the records.
    pub(crate) const fn reader(&self) -> &Reader {
        &self.reader
    }

    fn checkpoint_note(&self) -> Result<String, CliError> {
        match self.reader.signed_checkpoint() {
            Some(checkpoint) => Ok(checkpoint.note.clone()),
            None => Err(CliError::failed("no signed checkpoint lies beside the records")
                .hint("start `stele up` on this directory once; it signs one")),
        }
    }

    fn receipt(&self, of: ReceiptOf, algorithm: Algorithm) -> Result<CoseReceipt, CliError> {
        let signer = self.dir.log_key()?.signer().map_err(CliError::failed)?;
        let receipt = match of {
            ReceiptOf::Record(index) => {
                self.reader.inclusion_receipt(&signer, algorithm, LeafIndex(index))
            }
            ReceiptOf::Growth(old) => {
                self.reader.consistency_receipt(&signer, algorithm, TreeSize(old))
            }
        };
        receipt.map_err(|e| match e {
            CoseReceiptError::Read(error) => read_error(error),
            CoseReceiptError::Receipt(error @ ReceiptError::EmptyProof) => {
                CliError::not_found(error)
            }
            other => CliError::failed(other),
        })
    }

    fn proof(&self, index: u64) -> Result<TlogProof, CliError> {
        let checkpoint = self.reader.checkpoint_over(LeafIndex(index)).ok_or_else(|| {
            CliError::not_found(format!("record {index} is not under a signed checkpoint"))
        })?;
        let hashes =
            self.reader.inclusion_proof(LeafIndex(index), checkpoint.size).map_err(read_error)?;
        Ok(TlogProof {
            extra: None,
            index: LeafIndex(index),
            hashes,
            checkpoint_note: checkpoint.note.clone(),
        })
    }
}

impl RecordView {
    /// The leaf's bytes.
    ///
    /// # Errors
    /// When the answer does not hold them.
    pub(crate) fn leaf(&self) -> Result<Vec<u8>, CliError> {
        receipts::bytes(&self.event.steleleaf, "the leaf")
    }

    /// The payload's bytes; `None` if it was erased.
    ///
    /// # Errors
    /// When the answer does not hold them.
    pub(crate) fn payload(&self) -> Result<Option<Vec<u8>>, CliError> {
        match (&self.event.data, &self.event.data_base64) {
            (Some(json), _) => Ok(Some(json.get().as_bytes().to_vec())),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map(Some)
                .map_err(|e| CliError::failed(format!("the payload is not base64: {e}"))),
            (None, None) => Ok(None),
        }
    }
}

/// What went wrong when stored bytes were read.
pub(crate) fn read_error(error: ReadError) -> CliError {
    match error {
        ReadError::Corrupt { .. } => {
            CliError::tampered(error).hint("`stele fsck --data DIR` checks every byte")
        }
        ReadError::OutOfRange { .. } => CliError::not_found(error),
        other => CliError::failed(other),
    }
}

/// What went wrong when a ledger was opened.
pub(crate) fn ledger_error(error: LedgerError) -> CliError {
    match error {
        LedgerError::Corrupt { .. } => {
            CliError::tampered(error).hint("`stele fsck --data DIR` checks every byte")
        }
        LedgerError::Store(error) => store_error(error),
        LedgerError::RetiredKey { .. } => CliError::failed(error)
            .hint("`stele log rotate-key --data DIR` finishes what was begun"),
        other => CliError::failed(other),
    }
}

/// What went wrong with the store.
pub(crate) fn store_error(error: StoreError) -> CliError {
    let locked = matches!(error, StoreError::Locked { .. });
    let error = CliError::failed(error);
    if locked {
        return error.hint("a `stele` of an older version has it open: end that one first");
    }
    error
}
