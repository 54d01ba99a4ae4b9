//! The witness over HTTP: statuses, content types, limits, health and metrics; and a ledger with a
//! policy, as its own API shows it.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};
use stele_ledger::LogKey;
use stele_ledger::cosigning::{Cosigning, Step};
use stele_ledger::witness::{Decision, Witness};
use stele_ledger::{Cosigner, CosignerKey};
use stele_merkle::witness::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint, Answer, SignSubtree};
use stele_merkle::{
    Checkpoint, LogVerifier, MemoryTree, Note, Policy, Subtree, TlogProof, TreeSize, VerifierKey,
    leaf_hash,
};
use stele_server::WitnessServer;
use stele_store::{MemoryStore, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{TestServer, TestSource};

struct TestWitness {
    url: String,
    keys: Vec<VerifierKey>,
    client: Client,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl TestWitness {
    async fn start(logs: Vec<VerifierKey>) -> Self {
        let clock = Arc::new(SystemClock::new());
        let key = CosignerKey::generate(Cosigner::Witness, "witness.example").unwrap();
        let keys = key.verifier_keys();
        let store = Arc::new(MemoryStore::new());
        let witness = Arc::new(Witness::new(store, clock.clone(), key, logs));
        let registry = Registry::default();
        let server = WitnessServer { witness, clock, registry, allow_plaintext: false };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move { server.serve(listener, stopped).await.unwrap() });
        Self { url, keys, client: Client::new(), stop, task }
    }

    async fn add(&self, body: impl Into<reqwest::Body>) -> Response {
        let url = format!("{}/add-checkpoint", self.url);
        self.client.post(url).body(body).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

fn content_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_spoken_as_specified() {
    let log = LogKey::from_seeds("log.example", [1; 32], [2; 32]).unwrap().signer().unwrap();
    let witness = TestWitness::start(log.verifier_keys()).await;
    let tree: MemoryTree = (0..9_u8).map(|i| leaf_hash(&[i])).collect();
    let request = |old: u64, size: u64| {
        let (old, size) = (TreeSize(old), TreeSize(size));
        let root = stele_merkle::root(size, &tree).unwrap();
        let checkpoint = Checkpoint { origin: "log.example".to_owned(), size, root };
        let note = Note::parse(log.sign(&checkpoint, 5).unwrap().as_bytes()).unwrap();
        let proof = stele_merkle::consistency_proof(old.min(size), size, &tree).unwrap();
        AddCheckpoint { old, proof, note }
    };
    let path = format!("/{}/checkpoint", hex::encode(Sha256::digest("log.example")));
    assert_eq!(witness.get(&path).await.status(), StatusCode::NOT_FOUND);

    let first = request(0, 5);
    let response = witness.add(first.encode()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(content_type(&response), "text/plain; charset=utf-8");
    let body = response.bytes().await.unwrap();
    let Answer::Cosigned(lines) = Answer::parse(200, &body).unwrap() else { panic!() };
    let note = Note::new(first.note.text().to_owned(), lines).unwrap();
    assert_eq!(note.verify(&witness.keys).unwrap().len(), 2);

    let response = witness.add(request(0, 6).encode()).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(content_type(&response), "text/x.tlog.size");
    assert_eq!(response.text().await.unwrap(), "5\n");
    let mut wrong = request(5, 6);
    wrong.proof.clear();
    for (body, status) in [
        ("nothing".to_owned(), 400),
        (request(7, 6).encode(), 400),
        (wrong.encode(), 422),
        (request(5, 6).encode().replace("log.example", "other.example"), 404),
        (request(5, 6).encode().replace("\n6\n", "\n7\n"), 403),
        (request(5, 8).encode(), 200),
    ] {
        assert_eq!(witness.add(body.clone()).await.status().as_u16(), status, "{body}");
    }
    assert_eq!(witness.add(vec![b'x'; ADD_CHECKPOINT_BYTES_MAX + 1]).await.status().as_u16(), 413);
    assert_eq!(witness.get("/add-checkpoint").await.status().as_u16(), 405);
    assert_eq!(witness.get("/other").await.status().as_u16(), 404);

    let served = witness.get(&path).await;
    assert_eq!(served.status(), StatusCode::OK);
    let served = served.text().await.unwrap();
    let all = log.verifier_keys().into_iter().chain(witness.keys.clone());
    let opened = LogVerifier::new(all).require_all().open(served.as_bytes()).unwrap();
    assert_eq!(opened.size, TreeSize(8));

    assert_eq!(witness.get("/readyz").await.text().await.unwrap(), "ok\n");
    let metrics = witness.get("/metrics").await.text().await.unwrap();
    for line in [
        "stele_witness_decisions_total{status=\"200\"} 2",
        "stele_witness_decisions_total{status=\"422\"} 1",
        "stele_witness_log_size{origin=\"log.example\"} 8",
        "stele_http_requests_total{route=\"/add-checkpoint\",method=\"Post\",status=\"409\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    witness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subtrees_are_cosigned_of_what_was_cosigned() {
    let log = LogKey::from_seeds("log.example", [1; 32], [2; 32]).unwrap().signer().unwrap();
    let witness = TestWitness::start(log.verifier_keys()).await;
    let tree: MemoryTree = (0..9_u8).map(|i| leaf_hash(&[i])).collect();
    let (size, subtree) = (TreeSize(9), Subtree::new(4, 6).unwrap());
    let root = stele_merkle::root(size, &tree).unwrap();
    let checkpoint = Checkpoint { origin: "log.example".to_owned(), size, root };
    let hash = subtree.root(&tree).unwrap();
    let request = SignSubtree {
        subtree,
        hash,
        cosignatures: Vec::new(),
        proof: subtree.proof(size, &tree).unwrap(),
        checkpoint: checkpoint.body(),
        signatures: Vec::new(),
    };
    let ask = async |body: String| {
        let url = format!("{}/sign-subtree", witness.url);
        witness.client.post(url).body(body).send().await.unwrap()
    };
    // It has cosigned nothing of this log yet.
    assert_eq!(ask(request.encode()).await.status(), StatusCode::FORBIDDEN);
    let note = Note::parse(log.sign(&checkpoint, 5).unwrap().as_bytes()).unwrap();
    let add = AddCheckpoint { old: TreeSize(0), proof: Vec::new(), note };
    assert_eq!(witness.add(add.encode()).await.status(), StatusCode::OK);
    let response = ask(request.encode()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(content_type(&response), "text/plain; charset=utf-8");
    let answer = Answer::parse(200, &response.bytes().await.unwrap()).unwrap();
    let Answer::Cosigned(lines) = answer else { panic!("{answer:?}") };
    assert!(subtree.is_cosigned(&lines[0], &witness.keys[1], "log.example", hash));
    // Of a checkpoint that it does not know it shows one that it does.
    let mut unknown = request.clone();
    unknown.checkpoint = unknown.checkpoint.replacen("\n9\n", "\n7\n", 1);
    unknown.proof = subtree.proof(TreeSize(7), &tree).unwrap();
    let seven = stele_merkle::root(TreeSize(7), &tree).unwrap();
    unknown.checkpoint = unknown.checkpoint.replacen(&root.to_string(), &seven.to_string(), 1);
    let response = ask(unknown.encode()).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert!(response.text().await.unwrap().starts_with(&checkpoint.body()));
    let mut wrong = request.clone();
    wrong.hash = leaf_hash(b"");
    assert_eq!(ask(wrong.encode()).await.status().as_u16(), 422);
    let other = request.encode().replacen("log.example", "other.example", 1);
    assert_eq!(ask(other).await.status().as_u16(), 404);
    assert_eq!(ask("nothing".to_owned()).await.status().as_u16(), 400);
    witness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_with_a_policy_serves_what_meets_it() {
    let server = TestServer::start_with_policy(|ledger| {
        let key = CosignerKey::from_seeds(Cosigner::Witness, "w.example", [5; 32], [6; 32]).unwrap();
        let [ed25519, ml_dsa]: [_; 2] = key.verifier_keys().try_into().unwrap();
        let text = format!(
            "witness a {ed25519} http://a/\nwitness b {ml_dsa} http://b/\ngroup all all a b\nquorum all\n"
        );
        let policy = Policy::parse(text.as_bytes()).unwrap();
        Some(Arc::new(Cosigning::new(ledger, policy).unwrap()))
    })
    .await;
    let cosigning = server.cosigning.clone().unwrap();
    let mut source = TestSource::new(1);
    source.event("ADDED", "a", 1);
    server.delivered(&source.submission()).await;
    let early = server.get("/checkpoint").send().await.unwrap();
    assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    let info = server.json("/v1/log").await;
    assert_eq!(info["witnessing"]["quorum"], "2 of (a, b)");
    assert_eq!(info["witnessing"]["cosignedSize"], serde_json::Value::Null);

    let keys = server.ledger.verifier().keys().to_vec();
    let key = CosignerKey::from_seeds(Cosigner::Witness, "w.example", [5; 32], [6; 32]).unwrap();
    let clock = Arc::new(SystemClock::new());
    let witness = Witness::new(Arc::new(MemoryStore::new()), clock, key, keys);
    let size = cosigning.begin(&server.ledger).unwrap();
    for mut endpoint in cosigning.endpoints() {
        loop {
            let asked = cosigning.request(&endpoint).unwrap().unwrap();
            let decision = witness.add_checkpoint(asked.encode().as_bytes()).unwrap();
            let answer = match decision {
                Decision::Cosigned { lines, .. } => Answer::Cosigned(lines),
                Decision::OtherSize(size) => Answer::OtherSize(size),
                other => panic!("{other:?}"),
            };
            if cosigning.answer(&mut endpoint, &asked, answer) == Step::Cosigned {
                break;
            }
        }
    }
    source.event("ADDED", "b", 2);
    server.delivered(&source.submission()).await;
    let lag = server.ledger.size().0 - size.0;
    let note = server.get("/checkpoint").send().await.unwrap().text().await.unwrap();
    let verdict = cosigning.policy().verdict(&Note::parse(note.as_bytes()).unwrap()).unwrap();
    assert!(verdict.quorum_met);
    let info = server.json("/v1/log").await;
    assert_eq!(info["witnessing"]["cosignedSize"], size.0);
    assert_eq!(info["witnessing"]["checkpoint"], note);
    assert_eq!(info["witnessing"]["witnesses"][1]["cosignedSize"], size.0);
    assert!(info["size"].as_u64().unwrap() > size.0);
    // A record under the cosigned checkpoint is proven with it, a newer one with the log's own.
    for (index, cosigned) in [(0, true), (size.0, false)] {
        let proof = server.get(&format!("/v1/log/proof?index={index}")).send().await.unwrap();
        let proof = TlogProof::parse(&proof.text().await.unwrap()).unwrap();
        assert_eq!(proof.checkpoint_note == note, cosigned);
    }
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(&format!("stele_log_cosigned_size {size}")), "{metrics}");
    assert!(metrics.contains(&format!("stele_witness_cosigned_size{{witness=\"b\"}} {size}")));
    let ready = server.get("/readyz?verbose=true").send().await.unwrap().text().await.unwrap();
    assert!(ready.contains(&format!("[+]witnesses {lag} records not cosigned")), "{ready}");
    server.stop().await;
}
