//! The chains of the sources, as far as a file holds consecutive records.
//!
//! A chain can be followed from the start of a boot, or from any seal: a seal signs the head of
//! everything before it.

use std::collections::{HashMap, HashSet};

use stele_merkle::Hash;
use stele_record::{
    ChainHead, Declaration, Header, Kind, Seal, SealError, Seq, SourceId, SourcePublicKey,
};

use crate::streams::StreamId;

#[derive(Debug, Default)]
pub(super) struct Chains {
    streams: HashMap<StreamId, Stream>,
    keys: HashMap<SourceId, SourcePublicKey>,
    undeclared: HashSet<SourceId>,
}

#[derive(Debug, Default)]
struct Stream {
    next: Option<Seq>,
    head: Option<ChainHead>,
}

/// What one record showed.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// It follows the record before it of the same source without a hole.
    pub(super) follows: bool,
    /// It is a seal whose signature is the source's.
    pub(super) seal: bool,
    /// It is a seal, and the records before it in the file give the head that it signs.
    pub(super) chain: bool,
    /// It is the first seal of a source that has not declared itself in the file.
    pub(super) unknown_key: bool,
    pub(super) fault: Option<String>,
}

impl Chains {
    pub(super) fn add(&mut self, header: &Header, leaf: &Hash, payload: Option<&[u8]>) -> Shown {
        let mut shown = Shown::default();
        let key = self.keys.get(&header.source).copied();
        let stream = self.streams.entry((header.source, header.boot)).or_default();
        if stream.next.is_some_and(|next| header.seq < next) {
            let what = format!("sequence number {} of its source runs backwards", header.seq);
            shown.fault = Some(what);
            return shown;
        }
        if header.seq == Seq(0) {
            stream.head = Some(ChainHead::start(&header.source, header.boot));
        } else if stream.next == Some(header.seq) {
            shown.follows = true;
        } else {
            *stream = Stream::default();
        }
        match (header.kind, payload) {
            (Kind::SOURCE_OPEN, Some(payload)) => {
                let declared = Declaration::decode(payload).and_then(|d| d.key());
                match declared {
                    Ok(key) if key.source_id() == header.source => {
                        self.keys.insert(header.source, key);
                    }
                    Ok(_) => shown.fault = Some("the declared key is not the source's".to_owned()),
                    Err(error) => shown.fault = Some(error.to_string()),
                }
            }
            (Kind::SEAL, Some(payload)) => match key {
                Some(key) => stream.seal(header, payload, &key, &mut shown),
                None => {
                    shown.fault = stream.unsigned_seal(header, payload);
                    shown.unknown_key = self.undeclared.insert(header.source);
                }
            },
            _ => {}
        }
        stream.next = Some(header.seq.next());
        stream.head = stream.head.map(|head| head.push_leaf_hash(leaf.as_bytes()));
        shown
    }
}

impl Stream {
    /// What is wrong with a seal even if nobody knows whose it is.
    fn unsigned_seal(&self, header: &Header, payload: &[u8]) -> Option<String> {
        match Seal::decode(payload) {
            Err(error) => Some(error.to_string()),
            Ok(seal) if seal.next_seq != header.seq => Some(SealError::Position.to_string()),
            Ok(seal) if self.head.is_some_and(|head| head != seal.head) => {
                Some(SealError::Head.to_string())
            }
            Ok(_) => None,
        }
    }

    fn seal(&mut self, header: &Header, payload: &[u8], key: &SourcePublicKey, shown: &mut Shown) {
        let seal = match Seal::decode(payload) {
            Ok(seal) => seal,
            Err(error) => return shown.fault = Some(error.to_string()),
        };
        let head = self.head.unwrap_or(seal.head);
        match seal.verify(key, &header.source, header.boot, header.seq, &head) {
            Ok(()) => {
                shown.seal = true;
                shown.chain = self.head.is_some();
                self.head = Some(head);
            }
            Err(error) => shown.fault = Some(error.to_string()),
        }
    }
}
