//! A submission: the unit in which a source hands records to a ledger, and its CBOR form on the
//! wire.
//!
//! CBOR map: 1 format version, 2 epoch, 3 the epoch's secret (32 bytes), 4 an array of
//! `[header bytes, payload bytes]`. Source, boot and sequence numbers stand in the headers; all
//! records of a submission are of one source, boot and epoch and follow each other without a hole
//! (the ledger checks that). The secret goes with it because the ledger checks each commitment.

use bytes::Bytes;
use minicbor::{Decoder, Encoder};

use crate::{Epoch, EpochSecret, RecordError};

const VERSION: u64 = 1;
const WHAT: &str = "submission";

/// Most records in one submission.
pub const SUBMISSION_RECORDS_MAX: usize = 4_096;

/// Most payload bytes that a source puts into one submission, unless a single payload is larger.
pub const SUBMISSION_BYTES_TARGET: usize = 8 * 1024 * 1024;

/// A run of records of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The epoch that all headers name.
    pub epoch: Epoch,
    /// The secret of that epoch.
    pub secret: EpochSecret,
    /// The records in order of their sequence numbers.
    pub records: Vec<SubmittedRecord>,
}

/// An encoded header and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedRecord {
    /// Bytes of a [`crate::Header`].
    pub header: Bytes,
    /// The payload that the header commits to.
    pub payload: Bytes,
}

impl Submission {
    /// The bytes for the wire.
    pub fn encode(&self) -> Vec<u8> {
        let size: usize = self.records.iter().map(|r| r.header.len() + r.payload.len() + 16).sum();
        let mut out = Vec::with_capacity(size + 64);
        self.write(&mut Encoder::new(&mut out))
            .expect("invariant: writing to a vector does not fail");
        out
    }

    fn write(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        e.map(4)?;
        e.u8(1)?.u64(VERSION)?;
        e.u8(2)?.u32(self.epoch.0)?;
        e.u8(3)?.bytes(self.secret.as_bytes())?;
        e.u8(4)?.array(self.records.len() as u64)?;
        for record in &self.records {
            e.array(2)?.bytes(&record.header)?.bytes(&record.payload)?;
        }
        Ok(())
    }

    /// Reads what [`Submission::encode`] wrote; headers and payloads share `bytes`.
    ///
    /// # Errors
    /// A [`RecordError`] that names the field: the sender is at fault.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let mut d = Decoder::new(bytes);
        if at(d.map(), "the map")? != Some(4) {
            return Err(RecordError::malformed(WHAT, "expected a map of 4 fields"));
        }
        key(&mut d, 1)?;
        let version = at(d.u64(), "version")?;
        if version != VERSION {
            return Err(RecordError::UnknownVersion { what: WHAT, found: version, known: VERSION });
        }
        key(&mut d, 2)?;
        let epoch = Epoch(at(d.u32(), "epoch")?);
        key(&mut d, 3)?;
        let secret: [u8; 32] = at(d.bytes(), "secret")?
            .try_into()
            .map_err(|_| RecordError::malformed(WHAT, "secret: expected 32 bytes"))?;
        key(&mut d, 4)?;
        let count = at(d.array(), "records")?
            .ok_or_else(|| RecordError::malformed(WHAT, "records: expected a definite length"))?;
        if count > SUBMISSION_RECORDS_MAX as u64 {
            return Err(RecordError::TooLong {
                field: "records",
                found: count,
                limit: SUBMISSION_RECORDS_MAX as u64,
            });
        }
        let records = (0..count)
            .map(|number| Self::read_record(bytes, &mut d, number))
            .collect::<Result<_, _>>()?;
        if d.position() != bytes.len() {
            return Err(RecordError::malformed(WHAT, "bytes follow after the last record"));
        }
        Ok(Self { epoch, secret: EpochSecret::from_bytes(secret), records })
    }

    fn read_record(
        bytes: &Bytes,
        d: &mut Decoder<'_>,
        number: u64,
    ) -> Result<SubmittedRecord, RecordError> {
        let fault = |e: minicbor::decode::Error| {
            RecordError::malformed(WHAT, format!("record {number}: {e}"))
        };
        if d.array().map_err(fault)? != Some(2) {
            return Err(RecordError::malformed(
                WHAT,
                format!("record {number}: expected an array of header and payload"),
            ));
        }
        let header = bytes.slice_ref(d.bytes().map_err(fault)?);
        let payload = bytes.slice_ref(d.bytes().map_err(fault)?);
        Ok(SubmittedRecord { header, payload })
    }
}

fn at<T>(read: Result<T, minicbor::decode::Error>, name: &str) -> Result<T, RecordError> {
    read.map_err(|e| RecordError::malformed(WHAT, format!("{name}: {e}")))
}

fn key(d: &mut Decoder<'_>, wanted: u8) -> Result<(), RecordError> {
    let found = at(d.u8(), "key")?;
    if found == wanted {
        return Ok(());
    }
    Err(RecordError::malformed(WHAT, format!("expected key {wanted}, found {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation_refused() {
        let record = |n: u8| SubmittedRecord {
            header: Bytes::from(vec![n; 3]),
            payload: Bytes::from(vec![n; usize::from(n)]),
        };
        let submission = Submission {
            epoch: Epoch(2),
            secret: EpochSecret::from_bytes([4; 32]),
            records: (0..30).map(record).collect(),
        };
        let bytes = Bytes::from(submission.encode());
        assert_eq!(Submission::decode(&bytes).unwrap(), submission);
        for len in 0..bytes.len() {
            Submission::decode(&bytes.slice(..len)).unwrap_err();
        }
    }
}
