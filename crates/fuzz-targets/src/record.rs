//! The bytes of records and what sources hand over.

use bytes::Bytes;
use stele_record::frame::{FrameContext, ListPage};
use stele_record::{
    Boot, ChainHead, Commitment, Declaration, Epoch, EpochSecret, EventTime, Gap, GapReason,
    Header, Kind, ObservedTime, PayloadType, Seal, Seq, SourceKey, Submission, SubmittedRecord,
};

const TIME: ObservedTime = ObservedTime::from_unix_ns(1_795_000_000_000_000_000);

fn key() -> SourceKey {
    SourceKey::from_seed([7; 32]).unwrap()
}

fn secret() -> EpochSecret {
    EpochSecret::from_bytes([9; 32])
}

/// A header that commits to `payload`, with or without the fields that may be missing.
pub(crate) fn header_of(seq: u64, kind: Kind, payload: &[u8], optional: bool) -> Header {
    let (boot, seq) = (Boot(3), Seq(seq));
    Header {
        source: key().source_id(),
        boot,
        seq,
        epoch: Epoch(1),
        kind,
        event_time: optional.then(|| EventTime::from_unix_ns(-1)),
        observed_time: TIME,
        origin_counter: optional.then(|| "12345".to_owned()),
        payload_len: payload.len() as u64,
        payload_type: PayloadType::JSON,
        commitment: Commitment::new(&secret().salt(boot, seq), payload),
    }
}

pub(crate) fn header(data: &[u8]) -> bool {
    let Ok(header) = Header::decode(data) else { return false };
    assert_eq!(header.encode(), data, "a header has one encoding");
    true
}

pub(crate) fn header_seeds() -> Vec<Vec<u8>> {
    let make = |optional| header_of(0, Kind::EVENT, b"{}", optional).encode();
    vec![make(false), make(true)]
}

pub(crate) fn seal(data: &[u8]) -> bool {
    let Ok(seal) = Seal::decode(data) else { return false };
    assert_eq!(Seal::decode(&seal.encode()), Ok(seal));
    true
}

pub(crate) fn seal_seeds() -> Vec<Vec<u8>> {
    let head = ChainHead::start(&key().source_id(), Boot(3)).push(b"record");
    vec![Seal::sign(&key(), Boot(3), Seq(1), head, TIME).encode()]
}

pub(crate) fn submission(data: &[u8]) -> bool {
    let Ok(submission) = Submission::decode(&Bytes::copy_from_slice(data)) else { return false };
    assert_eq!(Submission::decode(&submission.encode().into()), Ok(submission));
    true
}

/// Records that a ledger takes.
pub(crate) fn submission_of(count: u64) -> Submission {
    let record = |seq: u64| {
        let payload = format!("{{\"n\":{seq}}}").into_bytes();
        let header = header_of(seq, Kind::EVENT, &payload, seq.is_multiple_of(2)).encode();
        SubmittedRecord { header: header.into(), payload: payload.into() }
    };
    Submission { epoch: Epoch(1), secret: secret(), records: (0..count).map(record).collect() }
}

pub(crate) fn submission_seeds() -> Vec<Vec<u8>> {
    [0, 1, 5].map(|count| submission_of(count).encode()).into()
}

pub(crate) fn frame(data: &[u8]) -> bool {
    let Ok((context, raw)) = FrameContext::split(data) else { return false };
    let joined = context.join(raw);
    assert_eq!(FrameContext::split(&joined), Ok((context, raw)));
    true
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let mut context = FrameContext {
        cluster: "c".into(),
        server: String::new(),
        group: String::new(),
        version: "v1".into(),
        resource: "pods".into(),
        kind: "Pod".into(),
        namespaced: true,
        redacted: false,
        list: None,
    };
    let watch = context.join(b"{\"type\":\"ADDED\"}");
    context.list = Some(ListPage { id: 1, page: 0, last: true });
    context.redacted = true;
    vec![watch, context.join(b"{}\n{}")]
}

pub(crate) fn declaration(data: &[u8]) -> bool {
    let Ok(declaration) = Declaration::decode(data) else { return false };
    assert_eq!(Declaration::decode(&declaration.encode()), Ok(declaration));
    true
}

pub(crate) fn declaration_seeds() -> Vec<Vec<u8>> {
    let declaration = Declaration {
        name: "n".into(),
        attests: "what a test says".into(),
        public_key: "00".repeat(32),
        imported: true,
        heartbeat_s: 10,
        software: "fuzz".into(),
        previous: None,
    };
    vec![declaration.encode()]
}

pub(crate) fn gap(data: &[u8]) -> bool {
    let Ok(gap) = Gap::decode(data) else { return false };
    assert_eq!(Gap::decode(&gap.encode()), Ok(gap));
    true
}

pub(crate) fn gap_seeds() -> Vec<Vec<u8>> {
    let gap = |recovered: bool| Gap {
        cluster: Some("c".into()),
        group: Some(String::new()),
        resource: Some("pods".into()),
        from_ns: TIME,
        to_ns: recovered.then_some(TIME),
        from_rv: Some("1".into()),
        to_rv: None,
        reason: GapReason::Unreadable,
        recovered,
        detail: "why".into(),
    };
    vec![gap(false).encode(), gap(true).encode()]
}
