//! A ledger and its witnesses, without a network between them: what is asked, what is believed, and
//! what is published.

use std::sync::Arc;

use stele_ledger::Ledger;
use stele_ledger::cosigning::{Cosigning, CosigningError, Endpoint, Step};
use stele_ledger::evidence;
use stele_ledger::witness::{Decision, Witness};
use stele_ledger::{Cosigner, CosignerKey};
use stele_merkle::witness::{Answer, encode_cosignatures, encode_size};
use stele_merkle::{LeafIndex, Note, Policy, TreeSize};
use stele_store::{MemoryStore, Store};

use crate::common::{Source, clock, create, key, open};

const PACK: u64 = 512;

fn witness_key(seed: u8) -> CosignerKey {
    CosignerKey::from_seeds(
        Cosigner::Witness,
        &format!("w{seed}.example"),
        [seed; 32],
        [seed + 100; 32],
    )
    .unwrap()
}

fn witness(seed: u8) -> Witness {
    let keys = key().signer().unwrap().verifier_keys();
    Witness::new(Arc::new(MemoryStore::new()), clock(), witness_key(seed), keys)
}

/// Two of three witnesses; the first has both of its keys in the policy, at one URL.
fn policy() -> Policy {
    let key = |seed, at: usize| witness_key(seed).verifier_keys()[at].clone();
    let text = format!(
        "log {}\nwitness a {} http://a\nwitness a-pq {} http://a\nwitness b {} http://b\n\
         witness c {} http://c\ngroup both all a a-pq\ngroup two 2 both b c\nquorum two\n",
        crate::common::key().signer().unwrap().verifier_keys()[0],
        key(1, 0),
        key(1, 1),
        key(2, 0),
        key(3, 1),
    );
    Policy::parse(text.as_bytes()).unwrap()
}

/// The answer of a witness, over the wire's bytes.
fn send(witness: &Witness, body: &str) -> Answer {
    let (status, body) = match witness.add_checkpoint(body.as_bytes()).unwrap() {
        Decision::Cosigned { lines, .. } => (200, encode_cosignatures(&lines)),
        Decision::OtherSize(size) => (409, encode_size(size)),
        Decision::Refused(refusal) => (refusal.status(), refusal.to_string()),
    };
    Answer::parse(status, body.as_bytes()).unwrap()
}

/// Asks until the endpoint has cosigned or failed; how often it took.
fn drive(cosigning: &Cosigning, endpoint: &mut Endpoint, witness: &Witness) -> (usize, Step) {
    for tries in 1..5 {
        let asked = cosigning.request(endpoint).unwrap().unwrap();
        let answer = send(witness, &asked.encode());
        match cosigning.answer(endpoint, &asked, answer) {
            Step::Again => {}
            step => return (tries, step),
        }
    }
    panic!("it never ends");
}

fn append(ledger: &Ledger, source: &mut Source, count: usize) {
    ledger.append_blocking(source.events(count, 50)).unwrap();
}

#[test]
fn the_newest_checkpoint_is_published_as_soon_as_the_quorum_is_met() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, PACK);
    let mut source = Source::new(1, 1);
    append(&ledger, &mut source, 10);
    let cosigning = Cosigning::new(&ledger, policy()).unwrap();
    let mut published = cosigning.subscribe();
    let witnesses = [witness(1), witness(2), witness(3)];
    let mut endpoints = cosigning.endpoints();
    assert_eq!(
        endpoints.iter().map(|e| &e.url[..]).collect::<Vec<_>>(),
        ["http://a", "http://b", "http://c"]
    );
    assert_eq!(cosigning.request(&endpoints[0]).unwrap(), None);

    assert_eq!(cosigning.begin(&ledger).unwrap(), TreeSize(10));
    assert_eq!(drive(&cosigning, &mut endpoints[0], &witnesses[0]), (1, Step::Cosigned));
    assert_eq!(cosigning.checkpoint(), None);
    assert_eq!(drive(&cosigning, &mut endpoints[1], &witnesses[1]), (1, Step::Cosigned));
    let first = cosigning.checkpoint().unwrap();
    assert!(published.has_changed().unwrap());
    assert_eq!(*published.borrow_and_update(), TreeSize(10));
    let note = Note::parse(first.note.as_bytes()).unwrap();
    assert_eq!(note.signatures().len(), 5);
    assert!(policy().verdict(&note).unwrap().quorum_met);
    assert_eq!(ledger.verifier().open(first.note.as_bytes()).unwrap().size, TreeSize(10));

    // The third is late: it answers for the older checkpoint, and both are published in turn.
    append(&ledger, &mut source, 5);
    let late = cosigning.request(&endpoints[2]).unwrap().unwrap();
    assert_eq!(cosigning.begin(&ledger).unwrap(), TreeSize(15));
    let answer = send(&witnesses[2], &late.encode());
    assert_eq!(cosigning.answer(&mut endpoints[2], &late, answer), Step::Cosigned);
    let again = cosigning.checkpoint().unwrap();
    assert_eq!(again.size, TreeSize(10));
    assert_eq!(Note::parse(again.note.as_bytes()).unwrap().signatures().len(), 6);
    for at in [1, 2] {
        assert_eq!(drive(&cosigning, &mut endpoints[at], &witnesses[at]), (1, Step::Cosigned));
    }
    assert_eq!(cosigning.checkpoint().unwrap().size, TreeSize(15));
    let sizes: Vec<_> = cosigning.statuses().iter().map(|s| s.cosigned_size).collect();
    assert_eq!(sizes, [10, 10, 15, 15]);

    // Somebody who has forgotten everything learns from the witness where it stands.
    append(&ledger, &mut source, 7);
    let cosigning = Cosigning::new(&ledger, policy()).unwrap();
    assert_eq!(cosigning.checkpoint().unwrap().size, TreeSize(15), "published before");
    cosigning.begin(&ledger).unwrap();
    let mut endpoints = cosigning.endpoints();
    assert_eq!(drive(&cosigning, &mut endpoints[0], &witnesses[0]), (2, Step::Cosigned));
    assert_eq!(drive(&cosigning, &mut endpoints[2], &witnesses[2]), (2, Step::Cosigned));
    assert_eq!(cosigning.checkpoint().unwrap().size, TreeSize(22));
    // And refreshes the time.
    assert_eq!(drive(&cosigning, &mut endpoints[0], &witnesses[0]), (1, Step::Cosigned));
}

#[test]
fn evidence_carries_the_cosignatures_where_they_cover_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, PACK);
    let mut source = Source::new(1, 1);
    append(&ledger, &mut source, 4);
    let cosigning = Cosigning::new(&ledger, policy()).unwrap();
    cosigning.begin(&ledger).unwrap();
    let mut endpoints = cosigning.endpoints();
    drive(&cosigning, &mut endpoints[1], &witness(2));
    drive(&cosigning, &mut endpoints[2], &witness(3));
    append(&ledger, &mut source, 1);
    ledger.close();
    let verifier = ledger.verifier().clone();
    let reader = Ledger::open_read_only(Arc::clone(&store), &verifier).unwrap();
    assert_eq!(reader.checkpoint_over(LeafIndex(3)).unwrap().size, TreeSize(5));
    reader.take_stored_cosigned(&verifier);
    for (index, size, met) in [(3, 4, true), (4, 5, false)] {
        let mut file = Vec::new();
        evidence::write(&reader, &[LeafIndex(index)], &mut file).unwrap();
        let report = evidence::verify(&mut &file[..], &verifier).unwrap();
        assert!(report.holds(), "{:?}", report.errors);
        assert_eq!(report.size, size);
        let note = Note::parse(report.checkpoint.as_bytes()).unwrap();
        assert_eq!(policy().verdict(&note).unwrap().quorum_met, met);
    }
    assert_eq!(reader.checkpoint_over(LeafIndex(5)), None);
}

#[test]
fn answers_that_prove_nothing_are_told_and_not_believed() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, PACK);
    let mut source = Source::new(1, 1);
    append(&ledger, &mut source, 4);
    let cosigning = Cosigning::new(&ledger, policy()).unwrap();
    cosigning.begin(&ledger).unwrap();
    let mut endpoint = cosigning.endpoints().remove(0);
    let asked = cosigning.request(&endpoint).unwrap().unwrap();
    let Answer::Cosigned(good) = send(&witness(1), &asked.encode()) else { panic!() };
    let other = send(&witness(2), &asked.encode());
    append(&ledger, &mut source, 4);
    cosigning.begin(&ledger).unwrap();
    let newer = cosigning.request(&endpoint).unwrap().unwrap();
    let wrong = send(&witness(1), &newer.encode());
    let refused = |status| Answer::Refused { status, reason: "because".to_owned() };
    for (answer, why) in [
        (other, "without a signature of a"),
        (Answer::Cosigned(good[..1].to_vec()), "without a signature of a-pq"),
        (wrong, "its answer is wrong"),
        (Answer::OtherSize(TreeSize(9)), "was rolled back"),
        (Answer::OtherSize(TreeSize(0)), "another one than this log's"),
        (Answer::OtherSize(TreeSize(8)), "has cosigned 8 records already"),
        (refused(403), "403: it does not trust the keys of this log (because)"),
        (refused(404), "does not know this log"),
        (refused(409), "it answers 409 (because)"),
        (refused(422), "does not continue"),
        (refused(500), "it answers 500 (because)"),
    ] {
        match cosigning.answer(&mut endpoint, &asked, answer) {
            Step::Failed(fault) => assert!(fault.contains(why), "{fault}"),
            step => panic!("{why}: {step:?}"),
        }
    }
    assert_eq!(cosigning.checkpoint(), None);
    let status = &cosigning.statuses()[1];
    assert_eq!((status.failures, status.cosigned_size), (11, 0));
    assert!(status.fault.is_some());
    assert_eq!(cosigning.answer(&mut endpoint, &asked, Answer::Cosigned(good)), Step::Cosigned);
    assert_eq!(cosigning.statuses()[1].fault, None);
    assert_eq!(cosigning.statuses()[2], Default::default());
}

#[test]
fn a_policy_that_cannot_be_followed_is_refused() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = create(&store, PACK);
    let follow = |text: String| {
        Cosigning::new(&ledger, Policy::parse(text.as_bytes()).unwrap()).map(|_| ()).unwrap_err()
    };
    let vkey = |seed| witness_key(seed).verifier_keys()[0].clone();
    let other = stele_ledger::LogKey::from_seeds("other.example", [7; 32], [8; 32]).unwrap();
    let other = other.signer().unwrap().verifier_keys()[0].clone();
    assert!(matches!(
        follow(format!("log {other}\nquorum none\n")),
        CosigningError::OtherLog { .. }
    ));
    let no_url = format!("witness a {}\nquorum a\n", vkey(1));
    assert!(matches!(follow(no_url), CosigningError::NoUrl { .. }));
    let many: String = (0..51).map(|i| format!("witness w{i} {} http://w\n", vkey(i))).collect();
    assert!(matches!(follow(format!("{many}quorum none\n")), CosigningError::TooMany));

    // Without witnesses every checkpoint is good enough.
    let none = Cosigning::new(&ledger, Policy::parse(b"quorum none\n").unwrap()).unwrap();
    none.begin(&ledger).unwrap();
    assert_eq!(none.checkpoint().unwrap().size, TreeSize(0));
    drop(ledger);
    // What was published for another policy is not taken up.
    let ledger = open(&store, PACK);
    assert_eq!(Cosigning::new(&ledger, policy()).unwrap().checkpoint(), None);
}
