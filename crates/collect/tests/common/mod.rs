//! A ledger for tests that keeps everything that was delivered, in order of boot and sequence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use stele_record::{Boot, Header, Seq, Submission};
use stele_source::{Deliver, DeliverError, Delivered};

#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<BTreeMap<(Boot, Seq), Record>>>);

pub(crate) type Record = (Header, Vec<u8>);

impl Deliver for Log {
    async fn deliver(&self, submission: Submission) -> Result<Delivered, DeliverError> {
        let mut log = self.0.lock().unwrap();
        for record in submission.records {
            let header = Header::decode(&record.header).unwrap();
            log.insert((header.boot, header.seq), (header, record.payload.to_vec()));
        }
        Ok(Delivered { first_index: 0 })
    }
}
