//! Taking in a submission: what is checked before it reaches the writer, and what comes back.

use std::sync::Arc;

use bytes::Bytes;
use stele_merkle::{Hash, LeafIndex, leaf_hash};
use stele_record::{
    Boot, Commitment, Epoch, EpochSecret, Header, PAYLOAD_BYTES_MAX, SUBMISSION_RECORDS_MAX, Salts,
    Seq, SourceId, Submission,
};

use crate::{AppendError, SignedCheckpoint};

/// What a record costs of the byte budget beside its bytes: a hash, frames, table entries.
const RECORD_OVERHEAD_BYTES: usize = 256;

/// Largest number of a boot: boots are times, and there is always a later one.
pub(crate) const BOOT_MAX: Boot = Boot(i64::MAX as u64);

/// Consecutive places in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRun {
    /// The first one.
    pub first: LeafIndex,
    /// How many.
    pub count: u64,
}

/// What an append is acknowledged with: the records are durable, and in the tree that the
/// checkpoint signs.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Where the first record is.
    pub first_index: LeafIndex,
    /// How many records there are.
    pub count: u64,
    /// Where they are. More than one run only where the submission repeats records that had
    /// arrived in several pieces.
    pub runs: Vec<IndexRun>,
    /// A checkpoint that covers them all.
    pub checkpoint: Arc<SignedCheckpoint>,
}

impl Receipt {
    /// The place of each record, in the order of the submission.
    pub fn indices(&self) -> impl Iterator<Item = LeafIndex> + '_ {
        self.runs.iter().flat_map(|run| (run.first.0..run.first.0 + run.count).map(LeafIndex))
    }
}

/// A record that was checked on its own.
#[derive(Debug, Clone)]
pub(crate) struct PreparedRecord {
    pub(crate) header: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) leaf: Hash,
}

/// A submission whose records were checked on their own; their place in the stream was not.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) source: SourceId,
    pub(crate) boot: Boot,
    pub(crate) first_seq: Seq,
    pub(crate) epoch: Epoch,
    pub(crate) secret: EpochSecret,
    pub(crate) records: Arc<Vec<PreparedRecord>>,
    /// Header and payload bytes.
    pub(crate) bytes: usize,
}

/// What a submission costs of the byte budget.
pub(crate) fn cost(submission: &Submission) -> usize {
    let bytes = |r: &stele_record::SubmittedRecord| {
        r.header.len().saturating_add(r.payload.len()).saturating_add(RECORD_OVERHEAD_BYTES)
    };
    submission.records.iter().map(bytes).fold(0, usize::saturating_add)
}

/// Checks everything that can be checked without knowing the log: each header is canonical, each
/// payload is what its header commits to, and the records are of one stream without a hole.
pub(crate) fn prepare(submission: Submission) -> Result<Prepared, AppendError> {
    let Submission { epoch, secret, records } = submission;
    if records.len() > SUBMISSION_RECORDS_MAX {
        return Err(AppendError::TooLarge { limit: SUBMISSION_RECORDS_MAX as u64 });
    }
    let salts = secret.salts();
    let count = records.len();
    let mut prepared: Option<Prepared> = None;
    let mut checked = Vec::with_capacity(count);
    for (number, record) in records.into_iter().enumerate() {
        let invalid = |what: String| AppendError::Invalid { record: number, what };
        let header = Header::decode(&record.header).map_err(|e| invalid(e.to_string()))?;
        check_payload(&header, &record.payload, &salts, number)?;
        if header.epoch != epoch {
            return Err(invalid("its epoch is not the submission's".to_owned()));
        }
        let batch = prepared.get_or_insert_with(|| Prepared {
            source: header.source,
            boot: header.boot,
            first_seq: header.seq,
            epoch,
            secret: secret.clone(),
            records: Arc::default(),
            bytes: 0,
        });
        if (header.source, header.boot) != (batch.source, batch.boot) {
            return Err(invalid("its source or boot is not that of the first record".to_owned()));
        }
        let wanted = batch.first_seq.0.checked_add(number as u64);
        if wanted != Some(header.seq.0) || header.seq.0 == u64::MAX {
            return Err(invalid(format!("sequence number {} is out of order", header.seq)));
        }
        if header.boot > BOOT_MAX {
            return Err(invalid(format!("boot {} is over the limit of {BOOT_MAX}", header.boot)));
        }
        batch.bytes += record.header.len() + record.payload.len();
        let leaf = leaf_hash(&record.header);
        checked.push(PreparedRecord { header: record.header, payload: record.payload, leaf });
    }
    if let Some(prepared) = &mut prepared {
        prepared.records = Arc::new(checked);
    }
    prepared.ok_or(AppendError::Invalid { record: 0, what: "there are no records".to_owned() })
}

fn check_payload(
    header: &Header,
    payload: &Bytes,
    salts: &Salts,
    record: usize,
) -> Result<(), AppendError> {
    let length = payload.len() as u64;
    if length > PAYLOAD_BYTES_MAX {
        return Err(AppendError::TooLarge { limit: PAYLOAD_BYTES_MAX });
    }
    if header.payload_len != length {
        let what =
            format!("the payload has {length} bytes, its header says {}", header.payload_len);
        return Err(AppendError::Invalid { record, what });
    }
    let salt = salts.salt(header.boot, header.seq);
    if Commitment::new(&salt, payload) != header.commitment {
        return Err(AppendError::CommitmentMismatch { record });
    }
    Ok(())
}
