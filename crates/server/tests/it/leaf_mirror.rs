//! A mirror of leaves over HTTP: statuses, content types, encodings, uploads that break off, health and
//! metrics.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::registry::Registry;
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};
use stele_ledger::leaf_mirror::LeafMirror;
use stele_ledger::{Cosigner, CosignerKey};
use stele_merkle::mirror::{MirrorInfo, Package, UploadHead};
use stele_merkle::witness::{AddCheckpoint, Answer};
use stele_merkle::{
    Checkpoint, LogSigner, LogVerifier, MemoryTree, Note, TreeSize, VerifierKey, leaf_hash, root,
};
use stele_server::LeafMirrorServer;
use stele_store::{MemoryStore, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LOG: &str = "log.example/pushed";
const SIZE: u64 = 600;

struct TestMirror {
    url: String,
    keys: Vec<VerifierKey>,
    client: Client,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn signer() -> LogSigner {
    LogSigner::from_seed(LOG, &[1; 32], &[2; 32]).unwrap()
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn tree() -> MemoryTree {
    (0..SIZE).map(|index| leaf_hash(&entry(index))).collect()
}

/// The signed checkpoint. ML-DSA-44 signs otherwise each time.
fn note() -> &'static Note {
    static NOTE: OnceLock<Note> = OnceLock::new();
    NOTE.get_or_init(|| {
        let root = root(TreeSize(SIZE), &tree()).unwrap();
        let checkpoint = Checkpoint { origin: LOG.to_owned(), size: TreeSize(SIZE), root };
        Note::parse(signer().sign(&checkpoint, 7).unwrap().as_bytes()).unwrap()
    })
}

/// An upload from `start`, and where its packages end.
fn upload(start: u64) -> (Vec<u8>, Vec<usize>) {
    let head =
        UploadHead { origin: LOG.to_owned(), start, end: TreeSize(SIZE), ticket: Vec::new() };
    let mut bytes = head.encode().unwrap();
    let mut ends = vec![bytes.len()];
    for range in head.packages() {
        let entries: Vec<Vec<u8>> = (range.start()..range.end()).map(entry).collect();
        let entries = entries.iter().map(Vec::as_slice).collect();
        let proof = range.subtree().proof(TreeSize(SIZE), &tree()).unwrap();
        assert!(Package { entries, proof }.encode(&mut bytes));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

impl TestMirror {
    async fn start() -> Self {
        let clock = Arc::new(SystemClock::new());
        let key = CosignerKey::generate(Cosigner::Mirror, "mirror.example").unwrap();
        let keys = key.verifier_keys();
        let store = Arc::new(MemoryStore::new());
        let mirror = LeafMirror::open(store, clock.clone(), key, signer().verifier_keys(), []);
        let (mirror, registry) = (Arc::new(mirror.unwrap()), Registry::default());
        let server = LeafMirrorServer { mirror, clock, registry, allow_plaintext: false };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move { server.serve(listener, stopped).await.unwrap() });
        Self { url, keys, client: Client::new(), stop, task }
    }

    async fn announce(&self) {
        let request = AddCheckpoint { old: TreeSize(0), proof: Vec::new(), note: note().clone() };
        let url = format!("{}/add-checkpoint", self.url);
        let response = self.client.post(url).body(request.encode()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.text().await.unwrap(), "");
    }

    async fn add(&self, encoding: &str, content_type: &str, body: Vec<u8>) -> Response {
        let request = self.client.post(format!("{}/add-entries", self.url));
        let request = request.header("content-type", content_type);
        request.header("content-encoding", encoding).body(body).send().await.unwrap()
    }

    async fn add_plain(&self, body: &[u8]) -> Response {
        self.add("identity", "application/octet-stream", body.to_vec()).await
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

async fn info(response: Response, status: StatusCode) -> MirrorInfo {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "text/x.tlog.mirror-info");
    assert_eq!(response.headers()["accept-encoding"], "gzip");
    MirrorInfo::parse(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_break_off_anywhere_and_goes_on_where_it_did() {
    let mirror = TestMirror::start().await;
    mirror.announce().await;
    let (bytes, ends) = upload(0);
    // Cut within the head and the first package: nothing was taken in.
    for cut in [0, 1, 10, ends[0], ends[0] + 1, ends[1] - 1] {
        let status = mirror.add_plain(&bytes[..cut]).await.status();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{cut} bytes");
    }
    let first = info(mirror.add_plain(&bytes[..ends[2] - 1]).await, StatusCode::ACCEPTED).await;
    assert_eq!((first.size.0, first.next), (SIZE, 256));
    // The same with gzip, which breaks off too.
    let (bytes, ends) = upload(256);
    let whole = packed(&bytes[..ends[1]]);
    let cut = whole[..whole.len() - 9].to_vec();
    let response = mirror.add("gzip", "application/octet-stream", cut).await;
    assert!(matches!(response.status().as_u16(), 202 | 400), "{}", response.status());
    let response = mirror.add("gzip", "application/octet-stream", packed(&bytes)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answer = Answer::parse(200, &response.bytes().await.unwrap()).unwrap();
    let Answer::Cosigned(lines) = answer else { panic!("{answer:?}") };
    let all = [note().signatures(), &lines].concat();
    let cosigned = Note::new(note().text().to_owned(), all).unwrap().to_string();
    let keys = signer().verifier_keys().into_iter().chain(mirror.keys.clone());
    LogVerifier::new(keys).require_all().open(cosigned.as_bytes()).unwrap();

    let copy = format!("/{}", hex::encode(Sha256::digest(LOG)));
    let served = mirror.get(&format!("{copy}/checkpoint")).await;
    assert_eq!(served.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(served.text().await.unwrap(), cosigned);
    let tile = mirror.get(&format!("{copy}/tile/entries/000")).await;
    assert_eq!(tile.headers()["content-type"], "application/octet-stream");
    assert!(tile.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let entries = tile.bytes().await.unwrap();
    assert_eq!(entries[2..9], *b"entry 0");
    for absent in ["/tile/entries/009", "/tile/x/000", "/tile/0/002.p/89"] {
        let response = mirror.get(&format!("{copy}{absent}")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{absent}");
    }
    let metrics = mirror.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("stele_leaf_mirror_log_size{origin=\"log.example/pushed\"} 600"));
    assert_eq!(mirror.get("/readyz").await.status(), StatusCode::OK);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_uploads_get_the_status_that_the_protocol_has_for_them() {
    let mirror = TestMirror::start().await;
    let none = info(mirror.add_plain(&upload(0).0).await, StatusCode::CONFLICT).await;
    assert_eq!((none.size.0, none.next), (0, 0));
    mirror.announce().await;
    let (bytes, ends) = upload(0);
    let late = info(mirror.add_plain(&upload(5).0).await, StatusCode::CONFLICT).await;
    assert_eq!((late.size.0, late.next), (SIZE, 0));
    let status = |response: Response| response.status().as_u16();
    let mut other = bytes.clone();
    other[2] = b'L';
    assert_eq!(status(mirror.add_plain(&other).await), 404);
    let mut wrong = bytes.clone();
    wrong[ends[0] + 5] ^= 1;
    assert_eq!(status(mirror.add_plain(&wrong).await), 422);
    let mut wrong = bytes.clone();
    wrong[ends[1] - 1] ^= 1;
    assert_eq!(status(mirror.add_plain(&wrong).await), 422);
    let text = mirror.add("identity", "text/plain", bytes.clone()).await;
    assert_eq!(status(text), 415);
    let brotli = mirror.add("br", "application/octet-stream", bytes.clone()).await;
    assert_eq!(status(brotli), 415);
    let garbage = mirror.add("gzip", "application/octet-stream", bytes.clone()).await;
    assert_eq!(status(garbage), 400);
    // What unpacks to far more than a package is read no further than that.
    let zeros = packed(&vec![0xff; 64 * 1024 * 1024]);
    let bomb = mirror.add("gzip", "application/octet-stream", zeros).await;
    assert_eq!(status(bomb), 400);
    let untouched = info(mirror.add_plain(&upload(7).0).await, StatusCode::CONFLICT).await;
    assert_eq!(untouched.next, 0);
    assert_eq!(status(mirror.get("/nothing").await), 404);
    mirror.stop().await;
}
