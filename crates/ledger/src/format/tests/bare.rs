//! Blocks whose headers lack their commitments: when they are written, that every header comes back,
//! and that nothing altered in them passes or hides anything else.

use super::*;

const LEVEL: Compression = Compression::Zstd(3);

fn pack(count: u64) -> Built {
    build(Role::Pack, count, LEVEL)
}

fn is_bare(built: &Built) -> Vec<bool> {
    built.head.blocks.iter().map(|block| block.bare).collect()
}

/// Records whose payloads `payload` gives.
fn records_with(count: u64, payload: impl Fn(u64) -> Vec<u8>) -> Vec<(Header, Bytes)> {
    let with_payload = |(number, (mut header, _)): (u64, (Header, Bytes))| {
        let payload = Bytes::from(payload(number));
        let source = usize::from(header.source == source(1));
        let salt = secret(source).secret.salt(header.boot, header.seq);
        header.payload_len = payload.len() as u64;
        header.commitment = Commitment::new(&salt, &payload);
        (header, payload)
    };
    (0..).zip(records(count)).map(with_payload).collect()
}

fn noise(number: u64, bytes: usize) -> Vec<u8> {
    let part = |n: u64| digest_of(&[&number.to_be_bytes(), &n.to_be_bytes()]);
    (0..).flat_map(part).take(bytes).collect()
}

#[test]
fn blocks_are_bare_where_all_of_it_comes_back_and_it_pays() {
    assert_eq!(is_bare(&pack(1280)), [true, true]);
    assert_eq!(is_bare(&build(Role::Segment, 20, Compression::None)), [false]);
    let of = |records, data_key: &dyn Fn(u64) -> u32| {
        let built = build_of(Role::Pack, LEVEL, records, data_key);
        assert_eq!(Head::decode(&built.slices().concat()).unwrap().0, built.head);
        is_bare(&built)
    };
    let clear = &|_| 0;
    // A payload in the second block is under a data key.
    assert_eq!(of(records(1280), &|number| u32::from(number == 1100)), [true, false]);
    assert_eq!(of(records_with(256, |number| noise(number, 100)), clear), [false]);
    assert_eq!(of(records_with(256, |_| Vec::new()), clear), [false]);
    assert_eq!(of(records_with(256, |_| vec![7; 4096]), clear), [true]);
    let larger = |number| vec![7; if number == 9 { 4097 } else { 4096 }];
    assert_eq!(of(records_with(256, larger), clear), [false]);
    // One payload is not what its header commits to; one header is none.
    let mut wrong = records(256);
    wrong[200].1 = vec![1; wrong[200].1.len()].into();
    assert_eq!(of(wrong, clear), [false]);
    let mut unknown = records(256);
    unknown[77].0.epoch = Epoch(4);
    assert_eq!(of(unknown, clear), [false]);
    let mut builder = builder(LEVEL);
    let (header, payload) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; 100]));
    for _ in 0..256 {
        let leaf = leaf_hash(&header);
        builder.push(RecordRef { header: &header, leaf, data_key: 0, payload: &payload });
    }
    assert!(builder.finish().blocks.iter().all(|block| !block.bare));
}

#[test]
fn what_needs_no_bare_block_is_written_as_version_1() {
    let version = |built: &Built| built.slices().concat()[11];
    assert_eq!(version(&pack(1280)), 2);
    assert_eq!(version(&build_of(Role::Pack, LEVEL, records(1280), |_| 1)), 1);
    assert_eq!(version(&build(Role::Segment, 20, Compression::None)), 1);
}

/// The raw parts of a block.
fn raw_parts(object: &Object, block: usize, bytes: &Bytes) -> (Bytes, Bytes) {
    let entry = &object.head.blocks[block];
    let (headers, payloads) = object.parts_of(block, bytes);
    (raw_bare_headers(entry, &headers).unwrap(), decode_payloads(entry, &payloads).unwrap())
}

/// Any run of records is had alone, of no more payloads than its own.
#[test]
fn a_run_of_headers_needs_no_other_payloads() {
    let built = pack(1280);
    let (object, bytes) = (object(&built), Bytes::from(built.slices().concat()));
    let (raw, payloads) = raw_parts(&object, 0, &bytes);
    let records = records(1024);
    let mut ends = vec![0];
    records.iter().for_each(|(_, payload)| ends.push(ends[ends.len() - 1] + payload.len()));
    for run in [0..1024, 0..256, 256..512, 768..1024, 5..6, 300..300, 1023..1024] {
        let mut own = vec![0; ends[run.end]];
        let range = ends[run.start]..ends[run.end];
        own[range.clone()].copy_from_slice(&payloads[range]);
        let own = Bytes::from(own);
        let opener = Opener { payloads: &own, salts: object.salts() };
        let found = decode_bare(0, &raw, run.clone(), opener).unwrap();
        assert_eq!(found.first, run.start as u64);
        let headers = found.entries.iter().map(|entry| entry.header.to_vec());
        assert!(headers.eq(records[run.clone()].iter().map(|(header, _)| header.encode())));
        let payload = |entry: &Entry| (entry.payload.start as usize, entry.payload.end as usize);
        let wanted = run.clone().map(|at| (ends[at], ends[at + 1]));
        assert!(found.entries.iter().map(payload).eq(wanted), "{run:?}");
    }
    let opener = Opener { payloads: &payloads, salts: object.salts() };
    decode_bare(0, &raw, 0..1025, opener).unwrap_err();
    let other = payloads.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into();
    let opener = Opener { payloads: &other, salts: object.salts() };
    let error = decode_bare(0, &raw, 3..10, opener).unwrap_err();
    assert_eq!(error.entry, Some(3), "{error}");
}

/// Checks the blocks of an object whose stored bytes were altered at these places.
fn check_altered(object: &Object, bytes: &[u8], altered: &[usize]) {
    let mut bytes = bytes.to_vec();
    altered.iter().for_each(|at| bytes[*at] ^= 1 << (at % 8));
    let bytes = Bytes::from(bytes);
    let expected = records(object.head.count);
    let mut faults = Vec::new();
    for block in 0..object.head.blocks.len() {
        let checked = check_block(object, block, &bytes);
        let first = usize::try_from(object.place(block).0).unwrap();
        for (number, (entry, record)) in (first..).zip(checked.entries.iter().zip(&checked.records))
        {
            let (header, payload) = &expected[number];
            if let Some(entry) = entry {
                assert_eq!(entry.header, header.encode(), "{altered:?}");
            }
            if let Some(record) = record {
                assert_eq!(record.payload.as_ref(), Some(payload), "{altered:?}");
            }
            let told = |fault: &crate::verify::Fault| fault.records.contains(&(number as u64));
            assert!(record.is_some() || checked.faults.iter().any(told), "{altered:?} {number}");
        }
        faults.extend(checked.faults);
    }
    for at in altered.iter().map(|at| *at as u64) {
        let here = faults.iter().filter(|fault| fault.bytes.contains(&at)).count();
        assert_eq!(here, 1, "{altered:?}: {faults:?}");
    }
    let placed =
        |fault: &crate::verify::Fault| altered.iter().any(|at| fault.bytes.contains(&(*at as u64)));
    assert!(faults.iter().all(placed), "{altered:?}: {faults:?}");
}

#[test]
fn every_altered_byte_is_told_once_and_nothing_else_is() {
    let built = build(Role::Pack, 256, LEVEL);
    let (object, bytes) = (object(&built), built.slices().concat());
    assert_eq!(is_bare(&built), [true]);
    let start = usize::try_from(object.place(0).1).unwrap();
    check_altered(&object, &bytes, &[]);
    (start..bytes.len()).for_each(|at| check_altered(&object, &bytes, &[at]));
    let middle = start + usize::try_from(object.head.blocks[0].headers.stored_len).unwrap();
    for (step, at) in (start..middle).step_by(41).enumerate() {
        let other = middle + step * 97 % (bytes.len() - middle);
        check_altered(&object, &bytes, &[at, other]);
    }
}

#[test]
fn a_damaged_payloads_part_says_that_headers_are_gone_with_it() {
    let built = build(Role::Pack, 256, LEVEL);
    let (object, bytes) = (object(&built), built.slices().concat());
    let mut cut = bytes.clone();
    let end = cut.len();
    // Not even the frame's magic number is left.
    let payloads = end - usize::try_from(object.head.blocks[0].payloads.stored_len).unwrap();
    cut[payloads..payloads + 4].fill(0);
    let checked = check_block(&object, 0, &cut.into());
    let [fault] = &checked.faults[..] else { panic!("{:?}", checked.faults) };
    assert_eq!((fault.records.clone(), fault.bytes.clone()), (0..256, payloads as u64..end as u64));
    assert!(fault.what.contains("no headers either"), "{}", fault.what);
    assert!(checked.entries.iter().all(Option::is_none) && checked.records.len() == 256);
}

/// Somebody who owns the storage writes other raw parts, with digests that fit.
fn forge(built: &Built, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Built {
    let (object, bytes) = (object(built), Bytes::from(built.slices().concat()));
    let (headers, payloads) = raw_parts(&object, 0, &bytes);
    let (mut headers, mut payloads) = (headers.to_vec(), payloads.to_vec());
    change(&mut headers, &mut payloads);
    let part = |raw: &[u8]| {
        let stored = zstd::bulk::compress(raw, 3).unwrap();
        let (stored_len, raw_len) = (stored.len() as u64, raw.len() as u64);
        let digest = Some(digest_of(&[&stored]));
        (head::Part { codec: Codec::Zstd, stored_len, raw_len, digest }, Bytes::from(stored))
    };
    let ((headers, a), (payloads, b)) = (part(&headers), part(&payloads));
    let block = BlockEntry { headers, payloads, ..built.head.blocks[0] };
    Built::new(Head { blocks: vec![block], ..built.head.clone() }, vec![a, b])
}

#[test]
fn what_is_forged_is_named_by_its_check() {
    let honest = build(Role::Pack, 256, LEVEL);
    assert_eq!(faults(&forge(&honest, |_, _| {})), []);
    let start: usize = records(100).iter().map(|(_, payload)| payload.len()).sum();
    let found = faults(&forge(&honest, |_, payloads| payloads[start] ^= 1));
    assert_eq!(found.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [Some(100)]);
    // The first entry's data key: 4 of its last 8 bytes.
    let length = records(1)[0].0.encode().len() - 32;
    for data_key in [1, 0x0100_0000] {
        let found = faults(&forge(&honest, |headers, _| {
            let check = u32::from_be_bytes(headers[length + 2..length + 6].try_into().unwrap());
            let check = check ^ u32::rotate_left(data_key, 16);
            headers[length + 2..length + 6].copy_from_slice(&check.to_be_bytes());
            headers[length + 6..length + 10].copy_from_slice(&data_key.to_be_bytes());
        }));
        assert_eq!(found.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [Some(0)]);
    }
    let mut other = honest.head.clone();
    other.secrets[1].secret = EpochSecret::from_bytes([77; 32]);
    let found = faults(&Built::new(other, honest.parts[1..].to_vec()));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn bare_blocks_are_refused_where_they_must_not_be() {
    let honest = || pack(256);
    let refused = |head: Head| {
        let bytes = Built::new(head, Vec::new()).slices().concat();
        Head::decode(&bytes).unwrap_err().what
    };
    let mut raw = honest().head;
    let part = &mut raw.blocks[0].payloads;
    (part.codec, part.raw_len) = (Codec::Raw, part.stored_len);
    assert!(refused(raw).contains("commitments"));
    let head = honest().head;
    let writer = Some(Writer { epoch: 1, nonce: [1; 16] });
    let segment = Head { role: Role::Segment, writer, tiles: Vec::new(), ..head };
    assert!(refused(segment).contains("commitments"));
    for (built, version) in [(honest(), 1), (build(Role::Segment, 20, Compression::None), 2)] {
        let mut bytes = built.slices().concat();
        bytes[11] = version;
        let end = bytes.len() - built.parts[1..].iter().map(Bytes::len).sum::<usize>() - 32;
        let digest = digest_of(&[&bytes[..end]]);
        bytes[end..end + 32].copy_from_slice(&digest);
        let error = Head::decode(&bytes).unwrap_err();
        assert!(error.what.contains(&format!("format version {version}, what")), "{error}");
    }
}
