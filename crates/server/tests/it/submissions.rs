//! Deliveries: idempotent, bound to their source, refused with a reason.

use reqwest::StatusCode;
use serde_json::Value;
use stele_merkle::{Hash, LeafIndex, leaf_hash, verify_range};
use stele_record::{Kind, PayloadType};
use stele_server::api::DeliveryAck;

use super::support::{AGENT_SEED, SERVER_SEED, TestServer, TestSource};

fn source_with(seed: u8, events: usize) -> TestSource {
    let mut source = TestSource::new(seed);
    for number in 0..events {
        source.push(Kind::EVENT, PayloadType::TEXT, format!("event {number}").into_bytes());
    }
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_same_places_and_proofs_that_hold() {
    let server = TestServer::start().await;
    let mut source = source_with(1, 9);
    let submission = source.submission();
    let first = server.delivered(&submission).await;
    assert_eq!(first["count"], 10);
    let again = server.delivered(&submission).await;
    assert_eq!(first["firstIndex"], again["firstIndex"]);
    assert_eq!(server.ledger.source_head(&source.id()).unwrap().next_seq.0, 10);
    for ack in [first, again] {
        let checkpoint = ack["checkpoint"].as_str().unwrap();
        let index = ack["firstIndex"].as_u64().unwrap();
        assert_eq!(ack["proofs"].as_array().unwrap().len(), 10);
        for (number, record) in submission.records.iter().enumerate() {
            let proof = &ack["proofs"][number];
            server.check_proof(&record.header, index + number as u64, proof, checkpoint);
        }
    }
    let response = server.deliver(&submission).await;
    assert_eq!(response.status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proof_for_each_run_holds_for_all_of_its_records() {
    let server = TestServer::start().await;
    let mut source = source_with(1, 9);
    let first = source.submission();
    server.delivered(&first).await;
    // Others come between, so that a repeat of everything is in two runs.
    server.delivered(&source_with(2, 3).submission()).await;
    source.push(Kind::EVENT, PayloadType::TEXT, b"one more".to_vec());
    let mut all = source.submission();
    server.delivered(&all).await;
    all.records.splice(..0, first.records);
    let response = server
        .request(reqwest::Method::POST, "/v1/log/submissions?proofs=runs")
        .bearer_auth(server.admin.reveal())
        .header("content-type", "application/cbor")
        .body(all.encode())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let ack: DeliveryAck = response.json().await.unwrap();
    assert!(ack.proofs.is_empty());
    assert_eq!((ack.runs.len(), ack.run_proofs.len()), (2, 2));
    let checkpoint = server.ledger.verifier().open(ack.checkpoint.as_bytes()).unwrap();
    let mut leaves = all.records.iter().map(|record| leaf_hash(&record.header));
    for (run, proof) in ack.runs.iter().zip(&ack.run_proofs) {
        let leaves: Vec<Hash> = leaves.by_ref().take(run.count as usize).collect();
        let proof: Vec<Hash> = proof.iter().map(|hash| hash.parse().unwrap()).collect();
        let first = LeafIndex(run.first);
        verify_range(&leaves, first, checkpoint.size, &proof, checkpoint.root).unwrap();
    }
    assert_eq!(leaves.next(), None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_follow_is_a_conflict_and_is_not_recorded() {
    let server = TestServer::start().await;
    let mut source = source_with(1, 3);
    let whole = source.submission();
    let mut later = whole.clone();
    later.records.drain(..2);
    let response = server.deliver(&later).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    server.delivered(&whole).await;

    let size = server.ledger.size();
    let mut other = TestSource::new(1);
    other.push(Kind::EVENT, PayloadType::TEXT, b"something else".to_vec());
    let response = server.deliver(&other.submission()).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["kind"], "conflict");

    let mut forged = whole.clone();
    forged.records[1].payload = bytes::Bytes::from_static(b"event X");
    let response = server.deliver(&forged).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(server.ledger.size(), size);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_writes_only_as_its_source() {
    let server = TestServer::start().await;
    let deliver = async |seed: u8| {
        let submission = source_with(seed, 1).submission();
        let request = server
            .request(reqwest::Method::POST, "/v1/log/submissions?proofs=false")
            .bearer_auth(server.agent.reveal())
            .header("content-type", "application/cbor")
            .body(submission.encode());
        request.send().await.unwrap()
    };
    let response = deliver(AGENT_SEED).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = response.json().await.unwrap();
    assert!(body.get("proofs").is_none());
    let response = deliver(8).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["kind"], "denied");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_as_the_server() {
    let server = TestServer::start().await;
    let response = server.deliver(&source_with(SERVER_SEED, 1).submission()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["kind"], "denied");
    server.stop().await;
}
