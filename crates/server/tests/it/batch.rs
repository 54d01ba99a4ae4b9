//! Batches of look-ups: lines in, lines out, while both go on.

use bytes::Bytes;
use futures::StreamExt;
use reqwest::{Body, Response, StatusCode};
use serde_json::{Value, json};
use stele_record::frame::{FrameContext, ListPage};
use stele_record::{Kind, PayloadType};

use crate::support::{SECOND_NS, TestServer, TestSource};

const JSON_LINES: &str = "application/x-ndjson";

fn frame(resource: &str, kind: &str, list: Option<ListPage>) -> FrameContext {
    FrameContext {
        cluster: "c1".to_owned(),
        server: String::new(),
        group: String::new(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        namespaced: resource != "nodes",
        redacted: false,
        list,
    }
}

/// A server that has seen two pods run at once.
async fn server_with_pods() -> (TestServer, i64) {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    let empty = r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#;
    for (id, resource, kind) in
        [(1, "pods", "Pod"), (2, "nodes", "Node"), (3, "services", "Service")]
    {
        let page = ListPage { id, page: 0, last: true };
        let payload = frame(resource, kind, Some(page)).join(empty.as_bytes());
        source.push(Kind::KUBE_LIST, PayloadType::FRAME, payload);
    }
    let begin = source.now_ns();
    for number in [7, 8] {
        let raw = format!(
            r#"{{"type":"ADDED","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"namespace":"shop","name":"web-{number}","uid":"uid-{number}","resourceVersion":"{}"}},"spec":{{"nodeName":"n1"}},"status":{{"phase":"Running","podIP":"10.42.0.{number}"}}}}}}"#,
            number + 10
        );
        let payload = frame("pods", "Pod", None).join(raw.as_bytes());
        source.push(Kind::KUBE_WATCH, PayloadType::FRAME, payload);
    }
    for rv in 30..40 {
        source.event("ADDED", &format!("cm-{rv}"), rv);
    }
    server.delivered(&source.submission()).await;
    (server, begin + 3 * SECOND_NS)
}

async fn lines(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn ask(server: &TestServer, path: &str, body: impl Into<Body>) -> Response {
    server.post(path).header("content-type", JSON_LINES).body(body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_answered_in_its_place() {
    let (server, at) = server_with_pods().await;
    let body = [
        json!({"id": {"any": ["thing"]}, "ip": "10.42.0.7", "at": at}).to_string(),
        String::new(),
        json!({"src": "10.42.0.7", "srcPort": 40000, "dst": "::ffff:10.42.0.8", "dstPort": 443,
               "protocol": 6, "since": at, "until": at + SECOND_NS, "id": 2})
        .to_string(),
        "no JSON".to_owned(),
        json!({"ip": "10.42.0.7"}).to_string(),
        json!({"ip": "web", "at": at}).to_string(),
        json!({"ip": "10.42.0.7", "dst": "10.42.0.8", "at": at}).to_string(),
        json!({"ip": "10.42.0.7", "at": "yesterday"}).to_string(),
        json!({"ip": "10.42.0.7", "at": at, "unknown": 1}).to_string(),
        json!({"ip": "10.42.0.9", "at": format!("@{at}")}).to_string(),
    ]
    .join("\r\n");
    let answers = lines(ask(&server, "/v1/ip/batch", body).await).await;
    assert_eq!(
        (&answers[0]["kind"], &answers[0]["apiVersion"]),
        (&json!("AddressBatch"), &json!("stele/v1"))
    );
    assert!(answers[0]["ledger"]["index"].is_u64());
    let holder =
        |answer: &Value| (answer["verdict"].clone(), answer["items"][0]["of"]["name"].clone());
    let certain = |name: &str| (json!("certain"), json!(name));
    assert_eq!(answers[1]["id"], json!({"any": ["thing"]}));
    assert_eq!(holder(&answers[1]["ip"]), certain("web-7"));
    assert_eq!((&answers[2]["id"], &answers[2]["line"]), (&json!(2), &json!(2)));
    assert_eq!(holder(&answers[2]["src"]), certain("web-7"));
    assert_eq!(holder(&answers[2]["dst"]), certain("web-8"));
    for (place, word) in [(3, "line"), (4, "at"), (5, "web"), (6, "ip"), (7, "at:"), (8, "unknown")]
    {
        let error = &answers[place]["error"];
        assert_eq!(error["kind"], "invalid", "{place}: {}", answers[place]);
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert_eq!(answers[9]["ip"]["verdict"], "none");
    assert_eq!(answers[10], json!({"kind": "AddressBatchEnd", "lines": 9, "errors": 6}));
    assert_eq!(answers.len(), 11);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_while_questions_still_go() {
    let (server, at) = server_with_pods().await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = futures::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let question = format!("{}\n", json!({"ip": "10.42.0.7", "at": at}));
    sender.send(Ok(question.clone().into())).await.unwrap();
    let response = ask(&server, "/v1/ip/batch", Body::wrap_stream(body)).await;
    let mut stream = response.bytes_stream();
    let mut text = Vec::new();
    let seen = |text: &mut Vec<u8>, chunk: Bytes| {
        text.extend_from_slice(&chunk);
        text.iter().filter(|byte| **byte == b'\n').count()
    };
    // Head and first answer, though the body has not ended.
    while seen(&mut text, Bytes::new()) < 2 {
        let chunk = stream.next().await.unwrap().unwrap();
        seen(&mut text, chunk);
    }
    let (first, rest) = question.split_at(9);
    sender.send(Ok(first.to_owned().into())).await.unwrap();
    sender.send(Ok(format!("{rest}{}", question.repeat(5_000)).into())).await.unwrap();
    drop(sender);
    while let Some(chunk) = stream.next().await {
        seen(&mut text, chunk.unwrap());
    }
    assert_eq!(seen(&mut text, Bytes::new()), 1 + 5_002 + 1);
    assert!(text.ends_with(b"{\"kind\":\"AddressBatchEnd\",\"lines\":5002,\"errors\":0}\n"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_refused() {
    let (server, at) = server_with_pods().await;
    let question = json!({"ip": "10.42.0.7", "at": at}).to_string();
    let response = server.post("/v1/ip/batch").body(question.clone()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for path in ["/v1/ip/batch?cluster=elsewhere", "/v1/ip/batch?known_at=999999"] {
        let response = ask(&server, path, question.clone()).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let response = ask(&server, "/v1/ip/batch?at=1", question.clone()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    // A long line that ends is one that can't be asked; one that does not end is the end.
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(70_000));
    let answers = lines(ask(&server, "/v1/ip/batch", format!("{long}\n{question}")).await).await;
    assert_eq!(answers[1]["error"]["kind"], "too-large");
    assert_eq!(answers[2]["ip"]["verdict"], "certain");
    let endless = ask(&server, "/v1/ip/batch", "x".repeat(500_000)).await;
    assert_eq!(endless.status(), StatusCode::OK);
    assert!(endless.text().await.is_err(), "an answer that is not whole breaks off");
    server.stop().await;
}
