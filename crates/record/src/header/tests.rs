//! The header's bytes are fixed by vectors: they fail when the format changes without a version.

use super::*;
use crate::{ChainHead, EpochSecret, Salt, Seal, SealError, SourceKey};

fn sample() -> Header {
    let secret = EpochSecret::from_bytes([7; 32]);
    let salt = secret.salt(Boot(5), Seq(1));
    Header {
        source: SourceKey::from_seed([1; 32]).unwrap().source_id(),
        boot: Boot(5),
        seq: Seq(1),
        epoch: Epoch(0),
        kind: Kind::EVENT,
        event_time: Some(EventTime::from_unix_ns(-1)),
        observed_time: ObservedTime::from_unix_ns(1_795_460_667_690_613_574),
        origin_counter: Some("203".to_owned()),
        payload_len: 5,
        payload_type: PayloadType::TEXT,
        commitment: Commitment::new(&salt, b"hello"),
    }
}

#[test]
fn golden_bytes() {
    let with_all = hex::encode(sample().encode());
    let bare = Header { event_time: None, origin_counter: None, ..sample() };
    assert_eq!(with_all, GOLDEN_ALL);
    assert_eq!(hex::encode(bare.encode()), GOLDEN_BARE);
    assert_eq!(Header::decode(&bare.encode()).unwrap(), bare);
    assert_eq!(Header::decode(&sample().encode()).unwrap(), sample());
}

#[test]
fn every_bit_flip_is_refused_or_another_header() {
    let bytes = sample().encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(header) = Header::decode(&flipped) {
            assert_ne!(header, sample());
            assert_eq!(header.encode(), flipped);
        }
    }
}

#[test]
fn truncated_extended_and_not_canonical_are_refused() {
    let bytes = sample().encode();
    for len in 0..bytes.len() {
        Header::decode(&bytes[..len]).unwrap_err();
    }
    let mut longer = bytes.clone();
    longer.push(0);
    Header::decode(&longer).unwrap_err();
    // The version 1 written with one byte more than needed (0x18 0x01).
    let mut wide = vec![bytes[0], bytes[1], 0x18, 0x01];
    wide.extend_from_slice(&bytes[3..]);
    Header::decode(&wide).unwrap_err();
    Header::decode(&[0xff; HEADER_BYTES_MAX + 1]).unwrap_err();
}

#[test]
fn a_future_version_says_so() {
    let mut bytes = sample().encode();
    bytes[2] = 2;
    let error = Header::decode(&bytes).unwrap_err();
    assert_eq!(error, RecordError::UnknownVersion { what: WHAT, found: 2, known: 1 });
}

#[test]
fn commitment_binds_salt_and_payload() {
    // RFC 4231, test case 2, fits the construction: HMAC-SHA-256 with an arbitrary key.
    let mut key = [0; 32];
    key[..4].copy_from_slice(b"Jefe");
    let commitment = Commitment::new(&Salt::from_bytes(key), b"what do ya want for nothing?");
    assert_eq!(
        hex::encode(commitment.as_bytes()),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    let secret = EpochSecret::from_bytes([7; 32]);
    let salts: std::collections::HashSet<[u8; 32]> = (0..4)
        .flat_map(|boot| (0..4).map(move |seq| (Boot(boot), Seq(seq))))
        .map(|(boot, seq)| *secret.salt(boot, seq).as_bytes())
        .collect();
    assert_eq!(salts.len(), 16);
}

#[test]
fn seals_hold_for_their_chain_only() {
    let key = SourceKey::from_seed([9; 32]).unwrap();
    let (source, boot) = (key.source_id(), Boot(3));
    let head = ChainHead::start(&source, boot).push(b"a").push(b"b");
    let seal = Seal::sign(&key, boot, Seq(2), head, ObservedTime::from_unix_ns(1));
    assert_eq!(Seal::decode(&seal.encode()).unwrap(), seal);
    let check = |seal: &Seal, seq, head: &ChainHead| {
        seal.verify(&key.public(), &source, boot, Seq(seq), head)
    };
    assert_eq!(check(&seal, 2, &head), Ok(()));
    assert_eq!(check(&seal, 3, &head), Err(SealError::Position));
    let other = ChainHead::start(&source, boot).push(b"b").push(b"a");
    assert_eq!(check(&seal, 2, &other), Err(SealError::Head));
    let forged = Seal { head: other, ..seal.clone() };
    assert_eq!(check(&forged, 2, &other), Err(SealError::Signature));
    assert_eq!(
        seal.verify(&key.public(), &source, Boot(4), Seq(2), &head),
        Err(SealError::Signature)
    );
}

const GOLDEN_ALL: &str = concat!(
    "ac010102582034750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e",
    "0305040105000618400720081b18eac1f6e9e27b4609633230330a050b030c5820a1c7f63fe7",
    "b9e4bc18aa015e2ccc84fada18e245d53f97cefeeba2dc30f74e55",
);
const GOLDEN_BARE: &str = concat!(
    "aa010102582034750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e",
    "030504010500061840081b18eac1f6e9e27b460a050b030c5820a1c7f63fe7b9e4bc18aa015e",
    "2ccc84fada18e245d53f97cefeeba2dc30f74e55",
);
