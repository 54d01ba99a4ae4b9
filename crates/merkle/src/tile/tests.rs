//! Paths, widths and framing, with the values that the specification names.

use super::*;
use crate::hash::leaf_hash;

#[test]
fn paths_are_those_of_the_specification() {
    for (path, text) in [
        (TilePath::hashes(0, 0, 256), "tile/0/000"),
        (TilePath::hashes(1, 0, 1), "tile/1/000.p/1"),
        (TilePath::hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (TilePath::hashes(15, 123_456_789, 41), "tile/15/x123/x456/789.p/41"),
        (TilePath::hashes(63, 999, 255), "tile/63/999.p/255"),
        (TilePath::entries(0, 256), "tile/entries/000"),
        (TilePath::entries(1_000, 112), "tile/entries/x001/000.p/112"),
        (TilePath::hashes(0, u64::MAX, 256), "tile/0/x018/x446/x744/x073/x709/x551/615"),
    ] {
        let path = path.unwrap();
        assert_eq!(path.to_string(), text);
        assert_eq!(TilePath::parse(text), Ok(path));
    }
}

#[test]
fn no_other_text_is_a_path() {
    for text in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1234",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001/x234",
        "tile/0/x001",
        "tile/0/x1/234",
        "tile/0/X001/234",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/data/000",
        "tile/Entries/000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/300",
        "tile/0/000.p/65537",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/000/",
        "tile/0/000 ",
        "tile/0/../000",
        "tile/8/0/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/٠٠٠",
    ] {
        assert_eq!(TilePath::parse(text), Err(TileError::Path), "{text}");
    }
}

#[test]
fn shapes_that_no_tile_has_are_refused() {
    for (level, width) in [(64, 1), (0, 0), (0, 257)] {
        assert_eq!(TilePath::hashes(level, 0, width), Err(TileError::Shape { level, width }));
    }
    assert!(TilePath::entries(0, 0).is_err());
}

#[test]
fn widths_are_those_of_the_specification() {
    let size = TreeSize(70_000);
    assert_eq!([0, 1, 2, 3].map(|level| level_width(level, size)), [70_000, 273, 1, 0]);
    assert_eq!([0, 1, 2, 3].map(|level| tile_width(level, size)), [112, 17, 1, 0]);
    assert_eq!([0, 272, 273, 274].map(|index| width_at(0, index, size)), [256, 256, 112, 0]);
    assert_eq!([0, 1, 2].map(|index| width_at(1, index, size)), [256, 17, 0]);
    assert_eq!([0, 1].map(|index| width_at(2, index, size)), [1, 0]);
    assert_eq!([0, 1, 2].map(|level| tile_width(level, TreeSize(256))), [0, 1, 0]);
    assert_eq!(width_at(0, 1, TreeSize(256)), 0);
    for level in [7, 8, 9, 63, 255] {
        let expected = if level == 7 { 255 } else { 0 };
        assert_eq!(level_width(level, TreeSize(u64::MAX)), expected);
    }
    let within = |text: &str| TilePath::parse(text).unwrap().is_within(size);
    assert!(within("tile/0/273.p/112") && within("tile/entries/273.p/5") && within("tile/1/000"));
    assert!(!within("tile/0/273.p/113") && !within("tile/0/273") && !within("tile/3/000.p/1"));
}

#[test]
fn bundles_hold_exactly_their_entries() {
    let longest = vec![7; ENTRY_BYTES_MAX];
    let entries: [&[u8]; 3] = [b"", b"ab", &longest];
    let bytes = encode_bundle(entries).unwrap();
    assert_eq!(bytes[..6], [0, 0, 0, 2, b'a', b'b']);
    assert_eq!(bytes[6..8], [0xff, 0xff]);
    assert_eq!(decode_bundle(&bytes, 3).as_deref(), Ok(&entries[..]));
    assert!(decode_bundle(&bytes, 2).is_err());
    assert!(decode_bundle(&bytes, 4).is_err());
    assert!(decode_bundle(&bytes[..bytes.len() - 1], 3).is_err());
    assert!(decode_bundle(&bytes[..1], 1).is_err());
    let too_long = vec![0; ENTRY_BYTES_MAX + 1];
    let refused = encode_bundle([too_long.as_slice()]);
    assert_eq!(refused, Err(TileError::EntryTooLong { bytes: 65_536 }));
}

#[test]
fn tiles_hold_exactly_their_hashes() {
    let hashes = [leaf_hash(b"a"), leaf_hash(b"b")];
    let bytes = encode_hashes(&hashes);
    assert_eq!(decode_hashes(&bytes, 2).as_deref(), Ok(&hashes[..]));
    assert!(decode_hashes(&bytes, 1).is_err());
    assert!(decode_hashes(&bytes, 3).is_err());
    assert!(decode_hashes(&bytes[..63], 2).is_err());
}

#[test]
fn a_tile_is_pruned_once_all_that_it_could_be_over_is() {
    let first = |path: &str| {
        let path = TilePath::parse(path).unwrap();
        let pruned = |minimum| path.is_pruned(LeafIndex(minimum));
        (0..200_000).find(|minimum| pruned(*minimum)).inspect(|at| assert!(pruned(at + 1)))
    };
    assert_eq!(first("tile/0/000"), Some(256));
    assert_eq!(first("tile/0/000.p/1"), Some(256));
    assert_eq!(first("tile/entries/003"), Some(1_024));
    assert_eq!(first("tile/1/001"), Some(131_072));
    assert_eq!(first("tile/2/000"), None);
    assert_eq!(first("tile/63/000"), None);
}
