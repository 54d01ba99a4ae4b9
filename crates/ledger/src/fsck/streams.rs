//! Each source's sequence, chain and seals, followed record by record.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use stele_merkle::Hash;
use stele_record::{
    Boot, ChainHead, Declaration, Header, Kind, Seal, Seq, SourceId, SourcePublicKey,
};

use crate::streams::StreamId;

/// What is followed of one record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: SourceId,
    pub(crate) boot: Boot,
    pub(crate) seq: Seq,
    pub(crate) kind: Kind,
}

impl Place {
    pub(crate) const fn of(header: &Header) -> Self {
        Self { source: header.source, boot: header.boot, seq: header.seq, kind: header.kind }
    }
}

#[derive(Debug, Default, Clone)]
pub(crate) struct StreamChecks {
    streams: HashMap<StreamId, Stream>,
    /// How often records were lost of which it is not known whose they were.
    losses: u64,
}

/// Where one boot of one source stands.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) next_seq: Seq,
    /// `None` where records before are lost.
    pub(crate) head: Option<ChainHead>,
    pub(crate) key: Option<SourcePublicKey>,
    /// Losses before its last record.
    pub(crate) losses: u64,
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
    /// Records of its stream that are missing before it: their sequence numbers, and the losses
    /// among which they are.
    pub(crate) lost: Option<(Range<u64>, Range<u64>)>,
}

impl StreamChecks {
    /// Notes that records are lost: holes in sequences are explained from here on.
    pub(crate) fn lost(&mut self) {
        self.losses += 1;
    }

    /// Follows one record; `payload` is `None` if it is not known.
    pub(crate) fn add(&mut self, place: &Place, leaf: &Hash, payload: Option<&Bytes>) -> Shown {
        let mut shown = Shown::default();
        let losses = self.losses;
        let stream = self.streams.entry((place.source, place.boot)).or_insert_with(|| Stream {
            next_seq: Seq(0),
            head: Some(ChainHead::start(&place.source, place.boot)),
            key: None,
            losses: 0,
        });
        if place.seq != stream.next_seq {
            if place.seq > stream.next_seq && stream.losses < losses {
                shown.lost = Some((stream.next_seq.0..place.seq.0, stream.losses..losses));
            } else {
                shown.faults.push(format!(
                    "sequence number {} of source {} follows {}",
                    place.seq, place.source, stream.next_seq
                ));
            }
            stream.head = None;
        }
        stream.losses = losses;
        match (place.kind, payload) {
            (Kind::SOURCE_OPEN, Some(payload)) => stream.declare(place, payload, &mut shown),
            (Kind::SEAL, Some(payload)) => stream.seal(place, payload, &mut shown),
            (Kind::SEAL, None) => shown.seals_unchecked += 1,
            _ => {}
        }
        stream.next_seq = place.seq.next();
        stream.head = stream.head.map(|head| head.push_leaf_hash(leaf.as_bytes()));
        shown
    }

    /// Whether the stream stands there; `None` if that is not known.
    pub(crate) fn agrees(&self, id: &StreamId, next_seq: Seq, head: &ChainHead) -> Option<bool> {
        let stream = self.streams.get(id)?;
        let known = stream.head.filter(|_| stream.losses == self.losses)?;
        Some(known == *head && stream.next_seq == next_seq)
    }

    /// Where a stream stands.
    pub(crate) fn stream(&self, id: &StreamId) -> Option<&Stream> {
        self.streams.get(id)
    }

    /// Takes over where a stream stands, as it was found before.
    pub(crate) fn set(&mut self, id: StreamId, stream: Stream) {
        self.streams.insert(id, stream);
    }

    /// Takes over the key that a source has declared.
    pub(crate) fn set_key(&mut self, id: &StreamId, key: SourcePublicKey) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.key.get_or_insert(key);
        }
    }

    /// Takes over how often records were lost.
    pub(crate) fn set_losses(&mut self, losses: u64) {
        self.losses = losses;
    }
}

impl Stream {
    fn declare(&mut self, place: &Place, payload: &[u8], shown: &mut Shown) {
        match Declaration::decode(payload).and_then(|declaration| declaration.key()) {
            Ok(key) if key.source_id() == place.source => self.key = Some(key),
            Ok(_) => shown.faults.push("the declared key is not the source's".to_owned()),
            Err(error) => shown.faults.push(error.to_string()),
        }
    }

    fn seal(&mut self, place: &Place, payload: &[u8], shown: &mut Shown) {
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
        match seal.verify(key, &place.source, place.boot, place.seq, &head) {
            Ok(()) if self.head.is_some() => shown.seals += 1,
            Ok(()) => {
                shown.seals_unchecked += 1;
                self.head = Some(seal.head);
            }
            Err(error) => shown.faults.push(error.to_string()),
        }
    }
}
