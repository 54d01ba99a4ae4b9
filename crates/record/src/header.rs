//! The record header: the leaf of the log.
//!
//! Deterministic CBOR (RFC 8949, 4.2.1): one map, small integer keys in ascending order, shortest
//! integers, definite lengths.
//!
//! | key | meaning | type |
//! |---|---|---|
//! | 1 | format version, 1 | unsigned |
//! | 2 | source id | 32 bytes |
//! | 3 | boot | unsigned |
//! | 4 | sequence number | unsigned |
//! | 5 | epoch of the salt's secret | unsigned |
//! | 6 | kind | unsigned |
//! | 7 | event time, ns, where the origin claims one | integer |
//! | 8 | observed time, ns | integer |
//! | 9 | the origin's own counter, where it has one | text |
//! | 10 | payload length in bytes | unsigned |
//! | 11 | payload type | unsigned |
//! | 12 | commitment | 32 bytes |
//!
//! Readers of version 1 refuse other keys: a new field is a new version.

use std::fmt;

use minicbor::data::Type;
use minicbor::encode::Write;
use minicbor::{Decoder, Encoder};

use crate::{
    Boot, Commitment, Epoch, EventTime, HEADER_BYTES_MAX, ORIGIN_COUNTER_BYTES_MAX, ObservedTime,
    RecordError, Seq, SourceId,
};

const VERSION: u64 = 1;

/// One leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Who wrote it.
    pub source: SourceId,
    /// In which life of the source.
    pub boot: Boot,
    /// Position in that life.
    pub seq: Seq,
    /// Which secret of the source the salt comes from.
    pub epoch: Epoch,
    /// What the payload is about.
    pub kind: Kind,
    /// When the origin says that it happened, if it says so.
    pub event_time: Option<EventTime>,
    /// When the source saw it.
    pub observed_time: ObservedTime,
    /// The origin's own counter, where it has one: a resourceVersion, an etcd revision.
    pub origin_counter: Option<String>,
    /// Length of the payload in bytes.
    pub payload_len: u64,
    /// Encoding of the payload.
    pub payload_type: PayloadType,
    /// Commitment to the payload.
    pub commitment: Commitment,
}

/// What a payload is about. A number, so that readers pass over kinds they do not know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u16);

/// How a payload is encoded. A number, so that readers pass over types they do not know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadType(pub u16);

macro_rules! named_numbers {
    ($type:ident { $($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)* }) => {
        impl $type {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// The name used in answers; `None` for a number this program does not know.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "unknown-{}", self.0),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }
    };
}

named_numbers! { Kind {
    /// First record of a boot; payload [`crate::Declaration`].
    SOURCE_OPEN = 1, "source-open";
    /// A [`crate::Seal`] over the chain so far.
    SEAL = 2, "seal";
    /// A [`crate::Gap`]: a stretch in which the source was blind.
    GAP = 3, "gap";
    /// Last record of an orderly ended boot; empty payload.
    SOURCE_CLOSE = 4, "source-close";
    /// The ledger's own: a signed checkpoint of the records before it.
    CHECKPOINT = 16, "checkpoint";
    /// The ledger's own: the keys of the log are replaced.
    KEY_ROTATION = 17, "key-rotation";
    /// A page of a Kubernetes list, as received; payload type [`PayloadType::FRAME`].
    KUBE_LIST = 32, "kube-list";
    /// A line of a Kubernetes watch, as received; payload type [`PayloadType::FRAME`].
    KUBE_WATCH = 33, "kube-watch";
    /// The resource types a Kubernetes server offers; payload [`crate::kube::ResourceList`].
    KUBE_RESOURCES = 34, "kube-resources";
    /// A document that a Kubernetes server gives about itself, as received: a schema, its version;
    /// payload type [`PayloadType::FRAME`] with a [`crate::frame::DocumentContext`].
    KUBE_DOCUMENT = 35, "kube-document";
    /// An audit.k8s.io event.
    KUBE_AUDIT = 40, "kube-audit";
    /// A response of an etcd watch.
    ETCD_WATCH = 41, "etcd-watch";
    /// Anybody's own event.
    EVENT = 64, "event";
} }

named_numbers! { PayloadType {
    /// Bytes of no stated form.
    BYTES = 0, "application/octet-stream";
    /// JSON.
    JSON = 1, "application/json";
    /// CBOR.
    CBOR = 2, "application/cbor";
    /// UTF-8 text.
    TEXT = 3, "text/plain";
    /// A context line and the raw bytes after it, see [`crate::frame`].
    FRAME = 4, "application/vnd.stele.frame";
    /// A CloudEvents 1.0 event in JSON.
    CLOUD_EVENT = 5, "application/cloudevents+json";
} }

impl Header {
    /// The canonical bytes: the leaf of the log.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        self.write(&mut Encoder::new(&mut out))
            .expect("invariant: writing to a vector does not fail");
        out
    }

    fn write<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), minicbor::encode::Error<W::Error>> {
        let fields =
            10 + u64::from(self.event_time.is_some()) + u64::from(self.origin_counter.is_some());
        e.map(fields)?;
        e.u8(1)?.u64(VERSION)?;
        e.u8(2)?.bytes(self.source.as_bytes())?;
        e.u8(3)?.u64(self.boot.0)?;
        e.u8(4)?.u64(self.seq.0)?;
        e.u8(5)?.u32(self.epoch.0)?;
        e.u8(6)?.u16(self.kind.0)?;
        if let Some(time) = self.event_time {
            e.u8(7)?.i64(time.unix_ns())?;
        }
        e.u8(8)?.i64(self.observed_time.unix_ns())?;
        if let Some(counter) = &self.origin_counter {
            e.u8(9)?.str(counter)?;
        }
        e.u8(10)?.u64(self.payload_len)?;
        e.u8(11)?.u16(self.payload_type.0)?;
        e.u8(12)?.bytes(self.commitment.as_bytes())?;
        Ok(())
    }

    /// Reads a header and refuses every encoding but the canonical one.
    ///
    /// # Errors
    /// [`RecordError::Malformed`], [`RecordError::UnknownVersion`] or [`RecordError::TooLong`]:
    /// the bytes are no header of this format; refuse them.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(RecordError::TooLong {
                field: "record header",
                found: bytes.len() as u64,
                limit: HEADER_BYTES_MAX as u64,
            });
        }
        let mut d = Decoder::new(bytes);
        let header = Self::read(&mut d)?;
        let mut rest = Expected(bytes);
        if header.write(&mut Encoder::new(&mut rest)).is_err() || !rest.0.is_empty() {
            return Err(RecordError::malformed(WHAT, "the encoding is not canonical"));
        }
        if let Some(counter) = &header.origin_counter
            && counter.len() > ORIGIN_COUNTER_BYTES_MAX
        {
            return Err(RecordError::TooLong {
                field: "origin counter",
                found: counter.len() as u64,
                limit: ORIGIN_COUNTER_BYTES_MAX as u64,
            });
        }
        Ok(header)
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, RecordError> {
        field(d.map(), "the map")?;
        key(d, 1, "version")?;
        let version = field(d.u64(), "version")?;
        if version != VERSION {
            return Err(RecordError::UnknownVersion { what: WHAT, found: version, known: VERSION });
        }
        key(d, 2, "source")?;
        let source = SourceId::from_bytes(bytes32(d, "source")?);
        key(d, 3, "boot")?;
        let boot = Boot(field(d.u64(), "boot")?);
        key(d, 4, "seq")?;
        let seq = Seq(field(d.u64(), "seq")?);
        key(d, 5, "epoch")?;
        let epoch = Epoch(field(d.u32(), "epoch")?);
        key(d, 6, "kind")?;
        let kind = Kind(field(d.u16(), "kind")?);
        let mut next = field(d.u8(), "key")?;
        let mut event_time = None;
        if next == 7 {
            event_time = Some(EventTime::from_unix_ns(field(d.i64(), "event time")?));
            next = field(d.u8(), "key")?;
        }
        expect(next, 8, "observed time")?;
        let observed_time = ObservedTime::from_unix_ns(field(d.i64(), "observed time")?);
        let mut next = field(d.u8(), "key")?;
        let mut origin_counter = None;
        if next == 9 {
            if field(d.datatype(), "origin counter")? != Type::String {
                return Err(RecordError::malformed(WHAT, "origin counter: expected text"));
            }
            origin_counter = Some(field(d.str(), "origin counter")?.to_owned());
            next = field(d.u8(), "key")?;
        }
        expect(next, 10, "payload length")?;
        let payload_len = field(d.u64(), "payload length")?;
        key(d, 11, "payload type")?;
        let payload_type = PayloadType(field(d.u16(), "payload type")?);
        key(d, 12, "commitment")?;
        let commitment = Commitment::from_bytes(bytes32(d, "commitment")?);
        Ok(Self {
            source,
            boot,
            seq,
            epoch,
            kind,
            event_time,
            observed_time,
            origin_counter,
            payload_len,
            payload_type,
            commitment,
        })
    }
}

/// Takes an encoding only as long as it is these bytes: a comparison without a copy.
struct Expected<'a>(&'a [u8]);

/// Other bytes were written than expected.
struct Unexpected;

impl Write for Expected<'_> {
    type Error = Unexpected;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Unexpected> {
        self.0 = self.0.strip_prefix(bytes).ok_or(Unexpected)?;
        Ok(())
    }
}

const WHAT: &str = "record header";

fn field<T>(
    read: Result<T, minicbor::decode::Error>,
    name: &'static str,
) -> Result<T, RecordError> {
    read.map_err(|e| RecordError::malformed(WHAT, format!("{name}: {e}")))
}

fn expect(found: u8, wanted: u8, name: &'static str) -> Result<(), RecordError> {
    if found == wanted {
        return Ok(());
    }
    Err(RecordError::malformed(WHAT, format!("{name}: expected key {wanted}, found {found}")))
}

fn key(d: &mut Decoder<'_>, wanted: u8, name: &'static str) -> Result<(), RecordError> {
    expect(field(d.u8(), name)?, wanted, name)
}

fn bytes32(d: &mut Decoder<'_>, name: &'static str) -> Result<[u8; 32], RecordError> {
    field(d.bytes(), name)?
        .try_into()
        .map_err(|_| RecordError::malformed(WHAT, format!("{name}: expected 32 bytes")))
}

#[cfg(test)]
mod tests;
