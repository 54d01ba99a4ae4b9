//! Vectors: what one version wrote, every later version reads. The files under `tests/vectors`
//! are never regenerated for a version that was released.

use bytes::Bytes;
use stele_merkle::{Hash, MemoryTree, TreeSize, leaf_hash, root};
use stele_record::{
    Boot, ChainHead, Commitment, Epoch, EpochSecret, Header, Kind, LedgerTime, ObservedTime,
    PayloadType, Seq, SourceId,
};
use stele_store::ObjectName;

use super::*;
use crate::objects::Object;
use crate::tree::Tile;
use crate::verify::check_block;

const SEGMENT: &[u8] = include_bytes!("../../tests/vectors/segment-v1.bin");
const PACK: &[u8] = include_bytes!("../../tests/vectors/pack-v1.bin");
/// The other one has a block for each 256 records.
const PACK_1024: &[u8] = include_bytes!("../../tests/vectors/pack-v1-1024.bin");
/// As packs are written today: with bare blocks.
const PACK_2: &[u8] = include_bytes!("../../tests/vectors/pack-v2.bin");

/// Sources alternate in runs of three; payload `n` is `n` times 37, mod 400, bytes of `n`.
fn records(count: u64) -> Vec<(Header, Bytes)> {
    let secrets = [1, 2].map(|n| EpochSecret::from_bytes([n; 32]));
    let mut next = [0, 0];
    let record = |n: u64| {
        let source = usize::from(n / 3 % 2 == 1);
        let (boot, seq) = (Boot(7), Seq(next[source]));
        next[source] += 1;
        let payload = Bytes::from(vec![n as u8; usize::try_from(n * 37 % 400).unwrap()]);
        let header = Header {
            source: SourceId::from_bytes([source as u8 + 10; 32]),
            boot,
            seq,
            epoch: Epoch(3),
            kind: Kind::EVENT,
            event_time: None,
            observed_time: ObservedTime::from_unix_ns(1_700_000_000_000_000_000 + n as i64),
            origin_counter: Some(n.to_string()),
            payload_len: payload.len() as u64,
            payload_type: PayloadType::BYTES,
            commitment: Commitment::new(&secrets[source].salt(boot, seq), &payload),
        };
        (header, payload)
    };
    (0..count).map(record).collect()
}

fn build(role: Role, count: u64, compression: Compression) -> Built {
    build_of(role, compression, records(count), |_| 0)
}

fn source(number: usize) -> SourceId {
    SourceId::from_bytes([number as u8 + 10; 32])
}

fn secret(source: usize) -> Secret {
    let secret = EpochSecret::from_bytes([source as u8 + 1; 32]);
    Secret { source, epoch: Epoch(3), data_key: 0, secret }
}

/// A builder that knows the secrets of [`records`].
fn builder(compression: Compression) -> ObjectBuilder {
    let mut builder = ObjectBuilder::new(0, compression);
    (0..2).for_each(|number| builder.add_secret(source(number), &secret(number)));
    builder
}

fn build_of(
    role: Role,
    compression: Compression,
    records: Vec<(Header, Bytes)>,
    data_key: impl Fn(u64) -> u32,
) -> Built {
    let count = records.len() as u64;
    let mut builder = builder(compression);
    let mut tree = MemoryTree::new();
    let sources: Vec<SourceId> = (0..2).map(source).collect();
    let mut streams: Vec<Stream> = (0..2)
        .map(|source| Stream {
            source,
            boot: Boot(7),
            first_seq: Seq(0),
            next_seq: Seq(0),
            head: ChainHead::start(&sources[source], Boot(7)),
        })
        .collect();
    let mut runs: Vec<Run> = Vec::new();
    let mut leaves = Vec::new();
    for (index, (header, payload)) in (0..).zip(records) {
        let bytes = Bytes::from(header.encode());
        let (leaf, data_key) = (leaf_hash(&bytes), data_key(index));
        builder.push(RecordRef { header: &bytes, leaf, data_key, payload: &payload });
        tree.push(leaf);
        leaves.push(leaf);
        let stream = sources.iter().position(|source| *source == header.source).unwrap();
        streams[stream].next_seq = header.seq.next();
        streams[stream].head = streams[stream].head.push(&bytes);
        match runs.last_mut() {
            Some(last) if last.stream == stream => last.count += 1,
            _ => runs.push(Run { stream, first_seq: header.seq, first_index: index, count: 1 }),
        }
    }
    let Content { blocks, parts } = builder.finish();
    let tiles: Vec<Hash> = match role {
        Role::Segment => Vec::new(),
        Role::Pack => leaves.chunks(256).map(|c| Tile::of(c.iter().copied()).1.unwrap()).collect(),
    };
    let head = Head {
        role,
        number: if role == Role::Pack { 4 } else { 0 },
        previous: [9; 32],
        writer: (role == Role::Segment).then_some(Writer { epoch: 5, nonce: [6; 16] }),
        first: 0,
        count,
        times: vec![TimeRun { count, time: LedgerTime::from_unix_ns(1_700_000_001_000_000_000) }],
        root: root(TreeSize(count), &tree).unwrap(),
        sources,
        streams,
        runs,
        secrets: vec![secret(0), secret(1)],
        blocks,
        tiles,
    };
    Built::new(head, parts)
}

fn check(vector: &'static [u8], built: &Built) {
    let name = ObjectName::parse("vector").unwrap();
    let bytes = Bytes::from_static(vector);
    let object = Object::decode(&name, &bytes, bytes.len() as u64).unwrap();
    let blocks = object.head.blocks.clone();
    assert_eq!(object.head, Head { blocks, ..built.head.clone() });
    let expected = records(built.head.count);
    let blocks = (0..object.head.blocks.len()).map(|block| check_block(&object, block, &bytes));
    let found: Vec<_> = blocks.flat_map(|block| block.records).map(Option::unwrap).collect();
    assert_eq!(found.len(), expected.len());
    for (record, (header, payload)) in found.iter().zip(&expected) {
        assert_eq!(record.header, *header);
        assert_eq!(record.payload.as_ref(), Some(payload));
    }
}

#[test]
fn segment_vector_is_written_and_read() {
    let built = build(Role::Segment, 20, Compression::None);
    assert_eq!(built.slices().concat(), SEGMENT);
    check(SEGMENT, &built);
}

/// How well zstd compresses may change; that what it wrote is read must not.
#[test]
fn pack_vectors_are_read() {
    for (vector, records, bare) in
        [(PACK, 512, false), (PACK_1024, 1280, false), (PACK_2, 1280, true)]
    {
        check(vector, &build(Role::Pack, records, Compression::Zstd(3)));
        let name = ObjectName::parse("vector").unwrap();
        let object = Object::decode(&name, vector, vector.len() as u64).unwrap();
        assert_eq!(object.head.blocks.len(), 2);
        assert!(object.head.blocks.iter().all(|block| block.payloads.codec == Codec::Zstd));
        assert!(object.head.blocks.iter().all(|block| block.bare == bare));
        assert_eq!(vector[8..12], (u32::from(bare) + 1).to_be_bytes());
    }
}

/// Makes the files anew; only ever needed for a new format version.
#[test]
#[ignore = "writes the vectors"]
fn write_vectors() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let pack = build(Role::Pack, 1280, Compression::Zstd(3)).slices().concat();
    std::fs::write(format!("{directory}/pack-v2.bin"), pack).unwrap();
}

#[test]
fn no_prefix_of_an_object_and_no_other_version_is_read() {
    for length in 0..SEGMENT.len() {
        let name = ObjectName::parse("vector").unwrap();
        let bytes = &SEGMENT[..length];
        Object::decode(&name, bytes, length as u64).unwrap_err();
    }
    for version in [0, 3, u32::MAX] {
        let mut newer = SEGMENT.to_vec();
        newer[8..12].copy_from_slice(&version.to_be_bytes());
        let error = Head::decode(&newer).unwrap_err();
        let wanted = format!("format version {version}, this program reads up to 2");
        assert_eq!(error.what, wanted);
    }
}

#[test]
fn blocks_end_at_multiples_and_at_their_payload_limit() {
    let mut builder = ObjectBuilder::new(1018, Compression::None);
    let header = Bytes::from_static(b"header");
    let large = Bytes::from(vec![1; BLOCK_PAYLOAD_BYTES]);
    for number in 0..10 {
        let payload = if number == 7 { &large } else { &header };
        let leaf = leaf_hash(&header);
        builder.push(RecordRef { header: &header, leaf, data_key: 0, payload });
    }
    let content = builder.finish();
    let counts: Vec<u64> = content.blocks.iter().map(|block| block.count).collect();
    assert_eq!(counts, [6, 2, 2]);
}

fn faults(built: &Built) -> Vec<(Option<u64>, String)> {
    faults_in(&object(built), &Bytes::from(built.slices().concat()))
}

fn object(built: &Built) -> Object {
    let name = ObjectName::parse("vector").unwrap();
    let bytes = built.slices().concat();
    Object::decode(&name, &bytes, bytes.len() as u64).unwrap()
}

fn faults_in(object: &Object, bytes: &Bytes) -> Vec<(Option<u64>, String)> {
    let blocks = 0..object.head.blocks.len();
    let faults = blocks.flat_map(|block| check_block(object, block, bytes).faults);
    faults.map(|fault| (fault.record(), fault.what)).collect()
}

/// Whatever is altered in one record hides nothing of another one.
#[test]
fn several_altered_records_of_a_block_are_all_named() {
    let built = build(Role::Segment, 20, Compression::None);
    let (object, bytes) = (object(&built), built.slices().concat());
    let mut entry = usize::try_from(object.place(0).1).unwrap();
    let payloads = entry + usize::try_from(object.head.blocks[0].headers.stored_len).unwrap();
    let (mut entries, mut payload) = (Vec::new(), payloads);
    for (header, stored) in records(20) {
        entries.push((entry, payload));
        entry += header.encode().len() + 14;
        payload += stored.len();
    }
    // Of an entry: its header's length, the header, and at its end the payload's length.
    let parts = |n: usize| [entries[n].0 + 1, entries[n].0 + 20, entries[n + 1].0 - 1];
    for altered in parts(4).into_iter().flat_map(|a| parts(9).map(|b| [a, b, entries[15].1])) {
        let mut bytes = bytes.clone();
        altered.iter().for_each(|at| bytes[*at] ^= 1);
        let mut named: Vec<_> =
            faults_in(&object, &bytes.into()).into_iter().map(|(record, _)| record).collect();
        named.sort_unstable();
        assert_eq!(named, [Some(4), Some(9), Some(15)], "{altered:?}");
    }
}

/// Somebody who owns the storage can make every digest of an object fit again.
#[test]
fn a_payload_cannot_be_taken_away_by_calling_it_erased() {
    let honest = build(Role::Segment, 20, Compression::None);
    assert_eq!(faults(&honest), []);
    let mut builder = ObjectBuilder::new(0, Compression::None);
    for (number, (header, payload)) in (0..).zip(records(20)) {
        let bytes = Bytes::from(header.encode());
        let erased = number == 5;
        let payload = if erased { Bytes::from_static(b"other") } else { payload };
        let (leaf, data_key) = (leaf_hash(&bytes), u32::from(erased));
        builder.push(RecordRef { header: &bytes, leaf, data_key, payload: &payload });
    }
    let Content { blocks, parts } = builder.finish();
    let forged = Built::new(Head { blocks, ..honest.head }, parts);
    let found = faults(&forged);
    assert!(matches!(&found[..], [(Some(5), what)] if what.contains("data key 1")), "{found:?}");
}

#[test]
fn the_header_cannot_say_that_records_are_others() {
    let honest = || build(Role::Segment, 20, Compression::None);
    let forge = |change: &dyn Fn(&mut Head)| {
        let Built { mut head, parts, .. } = honest();
        change(&mut head);
        Built::new(head, parts[1..].to_vec())
    };
    assert_eq!(faults(&forge(&|_| {})), []);
    // Two runs change places: 3 records each, of the two sources.
    let swapped = forge(&|head| {
        let stream = head.runs[0].stream;
        head.runs[0].stream = head.runs[1].stream;
        head.runs[1].stream = stream;
    });
    assert_eq!(faults(&swapped).len(), 6);
    for change in [
        (&|head: &mut Head| head.streams[0].next_seq = Seq(100)) as &dyn Fn(&mut Head),
        &|head| head.runs.insert(0, Run { count: 0, ..head.runs[0] }),
        &|head| head.runs[2].first_seq = Seq(4),
        &|head| head.blocks.push(BlockEntry { count: 0, ..head.blocks[0] }),
        &|head| {
            let time = LedgerTime::from_unix_ns;
            let [first, second] = [(1, time(9)), (19, time(8))];
            head.times = [first, second].map(|(count, time)| TimeRun { count, time }).to_vec();
        },
        &|head| {
            head.first = u64::MAX - 20;
            head.runs.iter_mut().for_each(|run| run.first_index += u64::MAX - 20);
            head.blocks = vec![BlockEntry { count: 21, ..head.blocks[0] }, head.blocks[0]];
        },
    ] {
        let bytes = forge(change).slices().concat();
        Head::decode(&bytes).unwrap_err();
    }
}

mod bare;
