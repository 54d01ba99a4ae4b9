//! Appended events: acknowledged with a proof that holds, and found again as they were sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use stele_record::{Commitment, Header, Salt};

use super::support::TestServer;

async fn append(server: &TestServer, content_type: &str, body: String) -> Value {
    let response =
        server.post("/v1/events").header("content-type", content_type).body(body).send().await;
    let response = response.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Checks an item of an acknowledgement down to the bytes of its payload.
fn check(server: &TestServer, ack: &Value, item: &Value, payload: &str) {
    let leaf = STANDARD.decode(item["leaf"].as_str().unwrap()).unwrap();
    let index = item["index"].as_u64().unwrap();
    server.check_proof(&leaf, index, &item["proof"], ack["checkpoint"].as_str().unwrap());
    let salt = STANDARD.decode(item["salt"].as_str().unwrap()).unwrap();
    let salt = Salt::from_bytes(salt.try_into().unwrap());
    let header = Header::decode(&leaf).unwrap();
    assert_eq!(header.commitment, Commitment::new(&salt, payload.as_bytes()));
    assert_eq!(header.source.to_string(), ack["source"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_is_acknowledged_with_a_proof_and_found_as_it_was_sent() {
    let server = TestServer::start().await;
    let event = r#"{"specversion":"1.0", "id":"e1","source":"/shop","type":"sold",  "time":"2031-01-02T03:04:05.000000006Z","data":{"n":1e2}}"#;
    let ack =
        append(&server, "application/cloudevents+json; charset=utf-8", event.to_owned()).await;
    let item = &ack["items"][0];
    assert_eq!(item["id"], "e1");
    check(&server, &ack, item, event);

    let index = item["index"].as_u64().unwrap();
    let response = server.get(&format!("/v1/log/records/{index}?proof=true")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/cloudevents+json");
    let text = response.text().await.unwrap();
    assert!(text.contains(event), "the payload is given byte for byte: {text}");
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["type"], "stele.event");
    assert_eq!(record["time"], "2031-01-02T03:04:05.000000006Z");
    assert_eq!(record["steleindex"], index.to_string());
    for name in record.as_object().unwrap().keys().filter(|name| *name != "data_base64") {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        assert!(name.chars().all(plain), "{name} is no name of a CloudEvents attribute");
    }
    let proof = stele_merkle::TlogProof::parse(record["steleproof"].as_str().unwrap()).unwrap();
    let leaf = STANDARD.decode(record["steleleaf"].as_str().unwrap()).unwrap();
    proof.verify(stele_merkle::leaf_hash(&leaf), &server.verifier()).unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_lines_keep_their_order() {
    let server = TestServer::start().await;
    let event = |n: u32| json!({"specversion":"1.0","id":n.to_string(),"source":"s","type":"t"});
    let batch = Value::from((0..300).map(event).collect::<Vec<_>>());
    let ack = append(&server, "application/cloudevents-batch+json", batch.to_string()).await;
    let items = ack["items"].as_array().unwrap();
    assert_eq!(items.len(), 300);
    let first = items[0]["index"].as_u64().unwrap();
    for (number, item) in items.iter().enumerate() {
        assert_eq!(item["index"].as_u64().unwrap(), first + number as u64);
        assert_eq!(item["id"], number.to_string());
        check(&server, &ack, item, &event(number as u32).to_string());
    }
    let ack = append(&server, "application/x-ndjson", "{\"a\":1}\n\n[2]\r\n".to_owned()).await;
    for (item, payload) in ack["items"].as_array().unwrap().iter().zip(["{\"a\":1}", "[2]"]) {
        check(&server, &ack, item, payload);
    }
    let ack = append(&server, "text/plain", "grüße\nzwei".to_owned()).await;
    check(&server, &ack, &ack["items"][1], "zwei");
    let index = ack["items"][0]["index"].as_u64().unwrap();
    let record = server.json(&format!("/v1/log/records/{index}")).await;
    assert_eq!(record["data_base64"], STANDARD.encode("grüße"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_all_get_their_own_index() {
    let server = std::sync::Arc::new(TestServer::start().await);
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let server = server.clone();
            tokio::spawn(async move {
                let ack = append(&server, "application/x-ndjson", format!("{{\"n\":{n}}}")).await;
                check(&server, &ack, &ack["items"][0], &format!("{{\"n\":{n}}}"));
                ack["items"][0]["index"].as_u64().unwrap()
            })
        })
        .collect();
    let mut indices = Vec::new();
    for task in tasks {
        indices.push(task.await.unwrap());
    }
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_closes_the_source_in_good_order() {
    let server = TestServer::start().await;
    append(&server, "text/plain", "one".to_owned()).await;
    let ledger = server.ledger.clone();
    server.stop().await;
    let size = ledger.size().0;
    let mut kinds = Vec::new();
    ledger
        .scan(0..size, &mut |record| {
            if record.header.source != ledger.own_source() {
                kinds.push(record.header.kind.to_string());
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(kinds, ["source-open", "event", "seal", "source-close"]);
}
