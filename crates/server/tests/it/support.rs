//! A running server, and sources that deliver to it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use stele_ledger::cosigning::Cosigning;
use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_merkle::{LogVerifier, TlogProof, leaf_hash};
use stele_record::frame::{DocumentContext, FrameContext, ListPage};
use stele_record::{
    Boot, Commitment, Declaration, Epoch, EpochSecret, Gap, Header, Kind, ObservedTime,
    PayloadType, Seq, SourceId, SourceKey, Submission, SubmittedRecord,
};
use stele_server::{
    MeteredStore, Scope, Server, ServerOptions, ServerParts, TlsIdentity, Token, TokenEntry,
    TokenFile, Tokens,
};
use stele_state::State;
use stele_store::{Clock, MemoryStore, Store, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) ledger: Ledger,
    pub(crate) cosigning: Option<Arc<Cosigning>>,
    pub(crate) admin: Token,
    pub(crate) reader: Token,
    pub(crate) agent: Token,
    client: Client,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The source that the token `agent` may write as.
pub(crate) const AGENT_SEED: u8 = 7;
/// Seed of the key of the server's own source.
pub(crate) const SERVER_SEED: u8 = 99;

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with_policy(|_| None).await
    }

    /// The same, with what `cosigning` makes of its ledger.
    pub(crate) async fn start_with_policy(
        cosigning: impl FnOnce(&Ledger) -> Option<Arc<Cosigning>>,
    ) -> Self {
        Self::start_with(cosigning, ServerOptions::default()).await
    }

    /// The same, with options.
    pub(crate) async fn start_with(
        cosigning: impl FnOnce(&Ledger) -> Option<Arc<Cosigning>>,
        options: ServerOptions,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut registry = Registry::default();
        let store = Arc::new(MemoryStore::new());
        let store = MeteredStore::new(store, "memory", clock.clone(), &mut registry);
        let store: Arc<dyn Store> = Arc::new(store);
        let key = LogKey::generate("log.example/test").unwrap();
        let ledger = Ledger::create(store, &key, clock.clone(), LedgerOptions::default()).unwrap();
        let (admin, reader, agent) = (Token::generate(), Token::generate(), Token::generate());
        let entry = |name: &str, token: &Token, scope, sources| TokenEntry {
            name: name.to_owned(),
            sha256: token.sha256(),
            scopes: BTreeSet::from([scope]),
            sources,
        };
        let agent_source = source_key(AGENT_SEED).source_id().to_string();
        let file = TokenFile {
            token: vec![
                entry("reader", &reader, Scope::Read, Vec::new()),
                entry("agent", &agent, Scope::Deliver, vec![agent_source]),
            ],
        };
        let cosigning = cosigning(&ledger);
        let parts = ServerParts {
            ledger: ledger.clone(),
            state: State::temporary().unwrap(),
            clock,
            cosigning: cosigning.clone(),
            tokens: Tokens::admin(&admin).and(Tokens::new(&file).unwrap()),
            append_key: Some(source_key(SERVER_SEED)),
            registry,
            tls: Some(tls_identity()),
            options: ServerOptions { append_name: "append".to_owned(), ..options },
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            Server::new(parts).serve(listener, stopped).await.unwrap();
        });
        Self { address, ledger, cosigning, admin, reader, agent, client: Client::new(), stop, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request with no token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path).bearer_auth(self.admin.reveal())
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path).bearer_auth(self.admin.reveal())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn deliver(&self, submission: &Submission) -> Response {
        self.post("/v1/log/submissions")
            .header("content-type", "application/cbor")
            .body(submission.encode())
            .send()
            .await
            .unwrap()
    }

    /// Delivers, and gives the acknowledgement.
    pub(crate) async fn delivered(&self, submission: &Submission) -> Value {
        let response = self.deliver(submission).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn verifier(&self) -> LogVerifier {
        LogVerifier::new(self.ledger.verifier().keys().to_vec())
    }

    /// Checks an acknowledged record against its proof, with nothing but the log's keys.
    pub(crate) fn check_proof(&self, leaf: &[u8], index: u64, proof: &Value, checkpoint: &str) {
        let proof = TlogProof {
            extra: None,
            index: stele_merkle::LeafIndex(index),
            hashes: proof
                .as_array()
                .unwrap()
                .iter()
                .map(|hash| hash.as_str().unwrap().parse().unwrap())
                .collect(),
            checkpoint_note: checkpoint.to_owned(),
        };
        proof.verify(leaf_hash(leaf), &self.verifier()).unwrap();
    }

    /// Tells the server to stop, and waits until it did.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

/// A certificate for the loopback, PEM, and its key.
pub(crate) fn certificate() -> &'static (String, String) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

fn tls_identity() -> TlsIdentity {
    let (certificate, key) = certificate();
    TlsIdentity::from_pem(certificate, key).unwrap()
}

pub(crate) fn source_key(seed: u8) -> SourceKey {
    SourceKey::from_seed([seed; 32]).unwrap()
}

/// A source that makes submissions.
pub(crate) struct TestSource {
    key: SourceKey,
    boot: Boot,
    next_seq: Seq,
    now_ns: i64,
    records: Vec<SubmittedRecord>,
}

/// A moment in 2026, where the test sources begin.
pub(crate) const BEGIN_NS: i64 = 1_795_000_000_000_000_000;
pub(crate) const SECOND_NS: i64 = 1_000_000_000;

impl TestSource {
    pub(crate) fn new(seed: u8) -> Self {
        let key = source_key(seed);
        let declaration = Declaration {
            name: "test".to_owned(),
            attests: "nothing".to_owned(),
            public_key: hex::encode(key.public().as_bytes()),
            imported: false,
            heartbeat_s: 10,
            software: "test".to_owned(),
            previous: None,
        };
        let mut source =
            Self { key, boot: Boot(1), next_seq: Seq(0), now_ns: BEGIN_NS, records: Vec::new() };
        source.push(Kind::SOURCE_OPEN, PayloadType::JSON, declaration.encode());
        source
    }

    pub(crate) fn id(&self) -> SourceId {
        self.key.source_id()
    }

    fn secret(&self) -> EpochSecret {
        EpochSecret::from_bytes(self.key.derive("epoch/0"))
    }

    /// Adds a record one second after the one before.
    pub(crate) fn push(&mut self, kind: Kind, payload_type: PayloadType, payload: Vec<u8>) {
        self.now_ns += SECOND_NS;
        let salt = self.secret().salt(self.boot, self.next_seq);
        let header = Header {
            source: self.id(),
            boot: self.boot,
            seq: self.next_seq,
            epoch: Epoch(0),
            kind,
            event_time: None,
            observed_time: ObservedTime::from_unix_ns(self.now_ns),
            origin_counter: None,
            payload_len: payload.len() as u64,
            payload_type,
            commitment: Commitment::new(&salt, &payload),
        };
        self.next_seq = self.next_seq.next();
        let header = Bytes::from(header.encode());
        self.records.push(SubmittedRecord { header, payload: payload.into() });
    }

    fn frame(list: Option<ListPage>) -> FrameContext {
        FrameContext {
            cluster: "c1".to_owned(),
            server: String::new(),
            group: String::new(),
            version: "v1".to_owned(),
            resource: "configmaps".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespaced: true,
            redacted: false,
            list,
        }
    }

    /// A list of objects of a type that has no namespaces.
    pub(crate) fn list_of(&mut self, of: (&str, &str, &str), rv: u64, names: &[&str]) {
        let page = ListPage { id: rv, page: 0, last: true };
        let items: Vec<String> = names.iter().map(|name| Self::bare(name, rv)).collect();
        let raw = format!(
            r#"{{"kind":"{}List","apiVersion":"{}/v1","metadata":{{"resourceVersion":"{rv}"}},"items":[{}]}}"#,
            of.2,
            of.0,
            items.join(",")
        );
        let payload = Self::frame_of(of, Some(page)).join(raw.as_bytes());
        self.push(Kind::KUBE_LIST, PayloadType::FRAME, payload);
    }

    /// A line of a watch on such a type.
    pub(crate) fn event_of(&mut self, of: (&str, &str, &str), verb: &str, rv: u64, name: &str) {
        let raw = format!(r#"{{"type":"{verb}","object":{}}}"#, Self::bare(name, rv));
        let payload = Self::frame_of(of, None).join(raw.as_bytes());
        self.push(Kind::KUBE_WATCH, PayloadType::FRAME, payload);
    }

    fn frame_of(of: (&str, &str, &str), list: Option<ListPage>) -> FrameContext {
        let (group, resource, kind) = of;
        FrameContext {
            group: group.to_owned(),
            resource: resource.to_owned(),
            kind: kind.to_owned(),
            namespaced: false,
            ..Self::frame(list)
        }
    }

    fn bare(name: &str, rv: u64) -> String {
        format!(
            r#"{{"metadata":{{"name":"{name}","uid":"uid-{name}","resourceVersion":"{rv}"}},"spec":{{}}}}"#
        )
    }

    /// A document of the server.
    pub(crate) fn document(&mut self, path: &str, text: &str) {
        let context = DocumentContext {
            cluster: "c1".to_owned(),
            server: String::new(),
            path: path.to_owned(),
            gone: false,
        };
        self.push(Kind::KUBE_DOCUMENT, PayloadType::FRAME, context.join(text.as_bytes()));
    }

    /// An empty list of config maps at a version.
    pub(crate) fn list(&mut self, rv: u64) {
        let page = ListPage { id: rv, page: 0, last: true };
        let raw = format!(
            r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{rv}"}},"items":[]}}"#
        );
        let payload = Self::frame(Some(page)).join(raw.as_bytes());
        self.push(Kind::KUBE_LIST, PayloadType::FRAME, payload);
    }

    /// A line of a watch on config maps.
    pub(crate) fn event(&mut self, verb: &str, name: &str, rv: u64) {
        self.event_with(verb, name, rv, "");
    }

    /// An event of an object that is owned.
    pub(crate) fn owned_event(&mut self, verb: &str, name: &str, rv: u64, owner_uid: &str) {
        let owner = format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","name":"o","uid":"{owner_uid}"}}"#
        );
        self.event_with(verb, name, rv, &format!(r#","ownerReferences":[{owner}]"#));
    }

    fn event_with(&mut self, verb: &str, name: &str, rv: u64, metadata: &str) {
        let raw = format!(
            r#"{{"type":"{verb}","object":{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"namespace":"shop","name":"{name}","uid":"uid-{name}","resourceVersion":"{rv}","labels":{{"app":"{name}"}}{metadata}}},"data":{{"n":"{rv}"}}}}}}"#
        );
        self.push(Kind::KUBE_WATCH, PayloadType::FRAME, Self::frame(None).join(raw.as_bytes()));
    }

    pub(crate) fn gap(&mut self, gap: &Gap) {
        self.push(Kind::GAP, PayloadType::JSON, gap.encode());
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// Everything since the last submission.
    pub(crate) fn submission(&mut self) -> Submission {
        let records = std::mem::take(&mut self.records);
        Submission { epoch: Epoch(0), secret: self.secret(), records }
    }
}
