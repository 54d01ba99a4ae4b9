//! Each source's sequence, chain and seals, followed record by record.

use std::collections::HashMap;

use stele_merkle::Hash;
use stele_record::{ChainHead, Declaration, Header, Kind, Seal, Seq, SourcePublicKey};

use crate::streams::StreamId;

#[derive(Debug, Default)]
pub(crate) struct StreamChecks {
    streams: HashMap<StreamId, Stream>,
    /// How often records were lost of which it is not known whose they were.
    losses: u64,
}

#[derive(Debug)]
struct Stream {
    next_seq: Seq,
    /// `None` where records before are lost.
    head: Option<ChainHead>,
    key: Option<SourcePublicKey>,
    losses: u64,
}

/// What one record showed.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Seals that hold.
    pub(crate) seals: u64,
    /// Seals over a chain that is not known, or by a key that is not: only the signature was
    /// checked, or nothing.
    pub(crate) seals_unchecked: u64,
    pub(crate) faults: Vec<String>,
}

impl StreamChecks {
    /// Notes that records are lost: holes in sequences are explained from here on.
    pub(crate) fn lost(&mut self) {
        self.losses += 1;
    }

    /// Follows one record; `payload` is `None` if it is not known.
    pub(crate) fn add(&mut self, header: &Header, leaf: &Hash, payload: Option<&[u8]>) -> Shown {
        let mut shown = Shown::default();
        let losses = self.losses;
        let start = ChainHead::start(&header.source, header.boot);
        let stream = self.streams.entry((header.source, header.boot)).or_insert(Stream {
            next_seq: Seq(0),
            head: Some(start),
            key: None,
            losses: 0,
        });
        if header.seq != stream.next_seq {
            if stream.losses == losses {
                shown.faults.push(format!(
                    "sequence number {} of source {} follows {}",
                    header.seq, header.source, stream.next_seq
                ));
            }
            stream.head = None;
        }
        stream.losses = losses;
        match (header.kind, payload) {
            (Kind::SOURCE_OPEN, Some(payload)) => stream.declare(header, payload, &mut shown),
            (Kind::SEAL, Some(payload)) => stream.seal(header, payload, &mut shown),
            (Kind::SEAL, None) => shown.seals_unchecked += 1,
            _ => {}
        }
        stream.next_seq = header.seq.next();
        stream.head = stream.head.map(|head| head.push_leaf_hash(leaf.as_bytes()));
        shown
    }

    /// Whether it is known that the stream does not stand there.
    pub(crate) fn contradicts(&self, id: &StreamId, next_seq: Seq, head: &ChainHead) -> bool {
        let Some(stream) = self.streams.get(id) else { return false };
        stream.losses == self.losses
            && stream.head.is_some_and(|known| known != *head || stream.next_seq != next_seq)
    }
}

impl Stream {
    fn declare(&mut self, header: &Header, payload: &[u8], shown: &mut Shown) {
        match Declaration::decode(payload).and_then(|declaration| declaration.key()) {
            Ok(key) if key.source_id() == header.source => self.key = Some(key),
            Ok(_) => shown.faults.push("the declared key is not the source's".to_owned()),
            Err(error) => shown.faults.push(error.to_string()),
        }
    }

    fn seal(&mut self, header: &Header, payload: &[u8], shown: &mut Shown) {
        let seal = match Seal::decode(payload) {
            Ok(seal) => seal,
            Err(error) => return shown.faults.push(error.to_string()),
        };
        let Some(key) = &self.key else {
            shown.seals_unchecked += 1;
            return;
        };
        // Without the records before, the seal itself says where the chain stands, if it is signed.
        let head = self.head.unwrap_or(seal.head);
        match seal.verify(key, &header.source, header.boot, header.seq, &head) {
            Ok(()) if self.head.is_some() => shown.seals += 1,
            Ok(()) => {
                shown.seals_unchecked += 1;
                self.head = Some(seal.head);
            }
            Err(error) => shown.faults.push(error.to_string()),
        }
    }
}
