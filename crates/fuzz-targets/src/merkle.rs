//! The formats of C2SP, and receipts.

use stele_merkle::mirror::{MirrorInfo, Package, UploadHead};
use stele_merkle::note::Signature;
use stele_merkle::tile::{
    TilePath, decode_bundle, decode_hashes, encode_bundle, encode_hashes, width_at,
};
use stele_merkle::witness::{AddCheckpoint, Answer, SignSubtree, encode_cosignatures, encode_size};
use stele_merkle::{
    Algorithm, Checkpoint, CoseReceipt, Hash, KeyRotation, LeafIndex, LogSigner, MemoryTree, Note,
    Policy, ReceiptProof, SigningKey, Subtree, TlogProof, TreeSize, VerifierKey, consistency_proof,
    inclusion_proof, leaf_hash, root,
};

const SIZE: u64 = 13;

pub(crate) fn signer() -> LogSigner {
    LogSigner::from_seed("log.example/fuzz", &[1; 32], &[2; 32]).unwrap()
}

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

fn tree() -> MemoryTree {
    (0..SIZE).map(leaf).collect()
}

fn checkpoint_of(size: u64) -> Checkpoint {
    let root = root(TreeSize(size), &tree()).unwrap();
    Checkpoint { origin: signer().origin().to_owned(), size: TreeSize(size), root }
}

fn signed(size: u64) -> String {
    signer().sign(&checkpoint_of(size), 1_795_000_000).unwrap()
}

fn proof(index: u64) -> Vec<Hash> {
    inclusion_proof(LeafIndex(index), TreeSize(SIZE), &tree()).unwrap()
}

pub(crate) fn note(data: &[u8]) -> bool {
    let Ok(note) = Note::parse(data) else { return false };
    assert_eq!(note.to_string().as_bytes(), data, "a note is written as it was read");
    let believed = signer().verifier().open(data).is_ok();
    // Whoever is believed says what the keys said, and nothing else.
    assert!(!believed || signs(note.text()), "{:?} was never signed", note.text());
    true
}

fn signs(text: &str) -> bool {
    [0, 1, SIZE].iter().any(|size| checkpoint_of(*size).body() == text)
}

pub(crate) fn note_seeds() -> Vec<Vec<u8>> {
    let text = "text\n\nwith an empty line\n\n\u{2014} a AAAAAAA=\n\u{2014} b/c AAAAAAA=\n";
    let mut seeds: Vec<_> = [0, 1, SIZE].map(|size| signed(size).into_bytes()).into();
    seeds.push(text.as_bytes().to_vec());
    seeds
}

pub(crate) fn signature(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let Ok(signature) = Signature::parse(text) else { return false };
    // Lines of notes never have line feeds, which a name or base64 can't hold either.
    assert_eq!(signature.to_string(), text);
    true
}

pub(crate) fn signature_seeds() -> Vec<Vec<u8>> {
    let note = signed(SIZE);
    note.lines().filter(|line| line.starts_with('\u{2014}')).map(|l| l.as_bytes().into()).collect()
}

pub(crate) fn vkey(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let Ok(key) = text.parse::<VerifierKey>() else { return false };
    // The id may be written with capitals.
    assert!(key.to_string().eq_ignore_ascii_case(text));
    assert_eq!(key.to_string().parse(), Ok(key));
    true
}

pub(crate) fn vkey_seeds() -> Vec<Vec<u8>> {
    signer().verifier_keys().iter().map(|key| key.to_string().into_bytes()).collect()
}

pub(crate) fn checkpoint(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let Ok(checkpoint) = Checkpoint::parse(text) else { return false };
    let body = checkpoint.body();
    assert!(text.starts_with(&body), "only extension lines may follow");
    assert_eq!(Checkpoint::parse(&body), Ok(checkpoint));
    true
}

pub(crate) fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = [0, 1, SIZE].map(|size| checkpoint_of(size).body().into()).into();
    seeds.push(format!("{}extension\n", checkpoint_of(2).body()).into());
    seeds
}

pub(crate) fn tile_path(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let Ok(path) = TilePath::parse(text) else { return false };
    assert_eq!(path.to_string(), text);
    assert!((1..=256).contains(&path.width()));
    for size in [0, 1, 256, 70_000, u64::MAX] {
        let within = path.is_within(TreeSize(size));
        assert!(!within || width_at(0, 0, TreeSize(size)) > 0);
    }
    true
}

pub(crate) fn tile_path_seeds() -> Vec<Vec<u8>> {
    let paths = ["tile/0/000", "tile/15/x123/x456/789.p/41", "tile/entries/x001/x234/067.p/255"];
    paths.map(|path| path.as_bytes().to_vec()).into()
}

/// The first byte is the width less one; the rest is the tile.
fn width(data: &[u8]) -> Option<(u16, &[u8])> {
    let (width, tile) = data.split_first()?;
    Some((u16::from(*width) + 1, tile))
}

pub(crate) fn hash_tile(data: &[u8]) -> bool {
    let Some((width, tile)) = width(data) else { return false };
    let Ok(hashes) = decode_hashes(tile, width) else { return false };
    assert_eq!(hashes.len(), usize::from(width));
    assert_eq!(encode_hashes(&hashes), tile);
    true
}

pub(crate) fn hash_tile_seeds() -> Vec<Vec<u8>> {
    let tile = |width: u8| {
        let hashes: Vec<Hash> = (0..=u64::from(width)).map(leaf).collect();
        [vec![width], encode_hashes(&hashes)].concat()
    };
    vec![tile(0), tile(4), tile(255)]
}

pub(crate) fn entry_bundle(data: &[u8]) -> bool {
    let Some((width, bundle)) = width(data) else { return false };
    let Ok(entries) = decode_bundle(bundle, width) else { return false };
    assert_eq!(entries.len(), usize::from(width));
    assert_eq!(encode_bundle(entries).as_deref(), Ok(bundle));
    true
}

pub(crate) fn entry_bundle_seeds() -> Vec<Vec<u8>> {
    let bundle = |width: u8| {
        let entries: Vec<Vec<u8>> = (0..=width).map(|n| vec![n; usize::from(n) % 40]).collect();
        let bundle = encode_bundle(entries.iter().map(Vec::as_slice)).unwrap();
        [vec![width], bundle].concat()
    };
    vec![bundle(0), bundle(4), bundle(255)]
}

pub(crate) fn tlog_proof(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let Ok(proof) = TlogProof::parse(text) else { return false };
    assert_eq!(proof.encode(), text);
    for index in 0..SIZE {
        if let Ok(checkpoint) = proof.verify(leaf(index), &signer().verifier()) {
            assert_eq!((proof.index, checkpoint.size), (LeafIndex(index), TreeSize(SIZE)));
        }
    }
    true
}

pub(crate) fn tlog_proof_seeds() -> Vec<Vec<u8>> {
    let make = |index, extra: Option<&[u8]>| {
        let proof = TlogProof {
            extra: extra.map(<[u8]>::to_vec),
            index: LeafIndex(index),
            hashes: proof(index),
            checkpoint_note: signed(SIZE),
        };
        proof.encode().into_bytes()
    };
    vec![make(0, None), make(5, Some(b"extra")), make(12, Some(b""))]
}

pub(crate) fn receipt(data: &[u8]) -> bool {
    let Ok(receipt) = CoseReceipt::parse(data) else { return false };
    assert_eq!(receipt.encode(), data, "a receipt has one encoding");
    let log = signer().verifier();
    for number in 0..SIZE {
        if let Ok(checkpoint) = receipt.verify_inclusion(leaf(number), &log) {
            let ReceiptProof::Inclusion { index, .. } = receipt.proof() else { unreachable!() };
            assert_eq!((*index, checkpoint), (LeafIndex(number), checkpoint_of(SIZE)));
        }
        let old_root = checkpoint_of(number).root;
        if let Ok(checkpoint) = receipt.verify_consistency(old_root, &log) {
            let ReceiptProof::Consistency { old, .. } = receipt.proof() else { unreachable!() };
            assert_eq!((*old, checkpoint), (TreeSize(number), checkpoint_of(SIZE)));
        }
    }
    true
}

pub(crate) fn receipt_seeds() -> Vec<Vec<u8>> {
    let issue =
        |algorithm, proof| signer().receipt(&signed(SIZE), algorithm, proof).unwrap().encode();
    let growth = |old| ReceiptProof::Consistency {
        old: TreeSize(old),
        hashes: consistency_proof(TreeSize(old), TreeSize(SIZE), &tree()).unwrap(),
    };
    let inclusion =
        |index| ReceiptProof::Inclusion { index: LeafIndex(index), hashes: proof(index) };
    vec![
        issue(Algorithm::Ed25519, inclusion(5)),
        issue(Algorithm::MlDsa44, inclusion(12)),
        issue(Algorithm::Ed25519, growth(7)),
        issue(Algorithm::Ed25519, growth(8)),
    ]
}

pub(crate) fn policy(data: &[u8]) -> bool {
    let Ok(policy) = Policy::parse(data) else { return false };
    let note = Note::parse(signed(SIZE).as_bytes()).unwrap();
    let Ok(verdict) = policy.verdict(&note) else { return true };
    // The log alone has signed: only a policy that asks for no witness is met.
    assert!(verdict.cosigned.is_empty());
    assert_eq!(verdict.quorum_met, policy.quorum_text() == "none", "{}", policy.quorum_text());
    true
}

pub(crate) fn policy_seeds() -> Vec<Vec<u8>> {
    let key =
        |algorithm, seed| SigningKey::from_seed("witness.example/w", algorithm, &seed).unwrap();
    let first = key(Algorithm::Ed25519Cosignature, [3; 32]).verifier_key().to_string();
    let second = key(Algorithm::MlDsa44, [4; 32]).verifier_key().to_string();
    let log = signer().verifier_keys()[0].to_string();
    let head = format!("# known\nlog {log} https://log.example/\n");
    vec![
        format!("{head}quorum none\n").into(),
        format!("{head}witness a {first} https://w.example/\nquorum a\n").into(),
        format!(
            "{head}witness a {first}\nwitness b {second}\ngroup one any a b\n\
             group all all one\nquorum all\n"
        )
        .into(),
    ]
}

pub(crate) fn add_checkpoint(data: &[u8]) -> bool {
    let Ok(request) = AddCheckpoint::parse(data) else { return false };
    assert_eq!(request.encode().as_bytes(), data, "a request has one form");
    true
}

pub(crate) fn add_checkpoint_seeds() -> Vec<Vec<u8>> {
    let request = |old, proof| {
        let note = Note::parse(signed(SIZE).as_bytes()).unwrap();
        AddCheckpoint { old: TreeSize(old), proof, note }.encode().into_bytes()
    };
    let growth = consistency_proof(TreeSize(7), TreeSize(SIZE), &tree()).unwrap();
    vec![request(0, Vec::new()), request(7, growth), request(SIZE, Vec::new())]
}

/// The first byte says which status the answer came with.
pub(crate) fn witness_answer(data: &[u8]) -> bool {
    let Some((status, body)) = data.split_first() else { return false };
    let status = [200, 409, 404, 500][usize::from(status % 4)];
    match Answer::parse(status, body) {
        Ok(Answer::Cosigned(lines)) => {
            assert_eq!(encode_cosignatures(&lines).as_bytes(), body);
            status == 200
        }
        Ok(Answer::OtherSize(size)) => {
            assert_eq!(encode_size(size).as_bytes(), body);
            status == 409
        }
        Ok(Answer::Refused { reason, .. }) => {
            assert!(!reason.chars().any(char::is_control), "{reason:?}");
            status != 200
        }
        _ => false,
    }
}

pub(crate) fn witness_answer_seeds() -> Vec<Vec<u8>> {
    let lines: String = signature_seeds()
        .iter()
        .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
        .collect();
    vec![
        [&[0], lines.as_bytes()].concat(),
        [&[1], encode_size(TreeSize(SIZE)).as_bytes()].concat(),
        b"\x02not known\r\n".to_vec(),
    ]
}

pub(crate) fn rotation(data: &[u8]) -> bool {
    let Ok(rotation) = KeyRotation::parse(data) else { return false };
    // Both sides have signed: nobody but the two keys of the seed can have.
    assert_eq!(rotation, rotated());
    true
}

fn next_signer() -> LogSigner {
    LogSigner::from_seed("log.example/fuzz", &[5; 32], &[6; 32]).unwrap()
}

fn rotated() -> KeyRotation {
    KeyRotation {
        origin: signer().origin().to_owned(),
        size: TreeSize(SIZE),
        root: checkpoint_of(SIZE).root,
        time_s: 1_795_000_000,
        source: [7; 32],
        next_source: [8; 32],
        old: signer().verifier_keys(),
        new: next_signer().verifier_keys(),
    }
}

pub(crate) fn rotation_seeds() -> Vec<Vec<u8>> {
    vec![rotated().sign(&signer(), &next_signer()).unwrap().into_bytes()]
}

pub(crate) fn sign_subtree(data: &[u8]) -> bool {
    let Ok(request) = SignSubtree::parse(data) else { return false };
    assert_eq!(request.encode().as_bytes(), data, "a request has one form");
    // The proof is what it is only if the subtree is of the tree of the seeds.
    let (subtree, hash) = (request.subtree, request.hash);
    let whole = checkpoint_of(SIZE).root;
    if subtree.verify(hash, TreeSize(SIZE), whole, &request.proof).is_ok() {
        assert_eq!(subtree.root(&tree()), Ok(hash), "{request:?}");
    }
    true
}

pub(crate) fn sign_subtree_seeds() -> Vec<Vec<u8>> {
    let note = Note::parse(signed(SIZE).as_bytes()).unwrap();
    let lines = note.signatures().to_vec();
    let request = |start, end, signatures: &[Signature]| {
        let subtree = Subtree::new(start, end).unwrap();
        let request = SignSubtree {
            subtree,
            hash: subtree.root(&tree()).unwrap(),
            cosignatures: signatures.iter().take(1).cloned().collect(),
            proof: subtree.proof(TreeSize(SIZE), &tree()).unwrap(),
            checkpoint: note.text().to_owned(),
            signatures: signatures.to_vec(),
        };
        request.encode().into_bytes()
    };
    vec![request(8, 13, &lines), request(0, 7, &[]), request(4, 6, &lines[..1])]
}

/// Packages at most that a target reads: a head may promise any number.
const PACKAGES_MAX: usize = 4;

pub(crate) fn upload(data: &[u8]) -> bool {
    let Ok(Some((head, mut rest))) = UploadHead::parse(data) else { return false };
    let mut written = head.encode().unwrap();
    assert_eq!(written, data[..data.len() - rest.len()]);
    let (mut next, mut read) = (head.start, 0);
    for range in head.packages().take(PACKAGES_MAX) {
        assert_eq!(range.start(), next, "packages follow each other");
        next = range.end();
        assert!(next % 256 == 0 || next == head.end.0, "{range:?}");
        let Ok(Some((package, after))) = Package::parse(rest, range) else { break };
        assert_eq!(package.entries.len() as u64, range.end() - range.start());
        let begin = written.len();
        assert!(package.encode(&mut written));
        assert_eq!(written[begin..], rest[..rest.len() - after.len()]);
        (rest, read) = (after, read + 1);
    }
    read > 0 || head.start == head.end.0
}

pub(crate) fn upload_seeds() -> Vec<Vec<u8>> {
    let upload = |start, end| {
        let (origin, ticket) = (signer().origin().to_owned(), b"ticket".to_vec());
        let head = UploadHead { origin, start, end: TreeSize(end), ticket };
        let mut bytes = head.encode().unwrap();
        let hashes: MemoryTree = (0..end).map(leaf).collect();
        for range in head.packages() {
            let entries: Vec<[u8; 8]> =
                (range.start()..range.end()).map(u64::to_be_bytes).collect();
            let proof = range.subtree().proof(TreeSize(end), &hashes).unwrap();
            let entries = entries.iter().map(<[u8; 8]>::as_slice).collect();
            assert!(Package { entries, proof }.encode(&mut bytes));
        }
        bytes
    };
    vec![upload(0, 0), upload(0, SIZE), upload(250, 520)]
}

pub(crate) fn mirror_info(data: &[u8]) -> bool {
    let Ok(info) = MirrorInfo::parse(data) else { return false };
    assert_eq!(info.encode().as_bytes(), data, "an answer has one form");
    true
}

pub(crate) fn mirror_info_seeds() -> Vec<Vec<u8>> {
    let info = |next, ticket: &[u8]| {
        MirrorInfo { size: TreeSize(SIZE), next, ticket: ticket.to_vec() }.encode().into_bytes()
    };
    vec![info(0, b""), info(7, b"opaque")]
}
