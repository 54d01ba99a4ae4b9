//! Bad input: a clear error with the right status, nothing recorded, nothing leaked.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use stele_record::{Kind, PayloadType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{TestServer, TestSource};

const CLOUD_EVENT: &str = "application/cloudevents+json";

async fn expect(response: reqwest::Response, status: StatusCode, kind: &str, part: &str) {
    let url = response.url().clone();
    assert_eq!(response.status(), status, "{url}");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["kind"], kind, "{url}: {body}");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains(part), "{url}: {part:?} is not in {message:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_at_fault() {
    let server = TestServer::start().await;
    let bad = StatusCode::BAD_REQUEST;
    let many = "1\n".repeat(5_000);
    let table: [(&str, &[u8], StatusCode, &str, &str); 10] = [
        (CLOUD_EVENT, b"\x00\xff garbage", bad, "invalid", "not a JSON object"),
        (CLOUD_EVENT, br#"{"specversion":"1.0","id":"1""#, bad, "invalid", "line 1"),
        (CLOUD_EVENT, br#"{"specversion":"1.0","source":"s","type":"t"}"#, bad, "invalid", "id"),
        (CLOUD_EVENT, b"", bad, "invalid", "JSON"),
        ("application/cloudevents-batch+json", b"{}", bad, "invalid", "array"),
        ("application/x-ndjson", b"{}\n{\"a\":\xff}", bad, "invalid", "line 2"),
        (
            "application/x-ndjson",
            many.as_bytes(),
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "4000",
        ),
        ("text/plain", b"ok\n\xc3\x28", bad, "invalid", "line 2: not UTF-8"),
        ("text/plain", b"\n\n", bad, "invalid", "no event"),
        ("text/html", b"x", StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "text/html"),
    ];
    for (content_type, body, status, kind, part) in table {
        let request = server.post("/v1/events").header("content-type", content_type);
        expect(request.body(body.to_vec()).send().await.unwrap(), status, kind, part).await;
    }
    let none = server.post("/v1/events").body("x").send().await.unwrap();
    expect(none, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "no content type").await;
    assert_eq!(server.ledger.size().0, 0, "nothing was recorded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_at_fault() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.push(Kind::EVENT, PayloadType::TEXT, b"x".to_vec());
    let whole = source.submission().encode();
    let send = async |body: Vec<u8>| {
        let request = server.post("/v1/log/submissions");
        request.header("content-type", "application/cbor").body(body).send().await.unwrap()
    };
    for length in (0..whole.len()).step_by(7) {
        let response = send(whole[..length].to_vec()).await;
        expect(response, StatusCode::BAD_REQUEST, "invalid", "submission").await;
    }
    let mut flipped = whole.clone();
    let at = flipped.len() - 1;
    flipped[at] ^= 1;
    expect(send(flipped).await, StatusCode::BAD_REQUEST, "invalid", "record 1").await;
    let mut version = whole.clone();
    version[2] = 9;
    expect(send(version).await, StatusCode::BAD_REQUEST, "invalid", "version 9").await;
    let json = server.post("/v1/log/submissions").header("content-type", "application/json");
    let response = json.body(whole).send().await.unwrap();
    expect(response, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "cbor").await;
    assert_eq!(server.ledger.size().0, 0, "nothing was recorded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mb_is_refused_with_a_reason() {
    let server = TestServer::start().await;
    let body = vec![b'x'; 100 * 1024 * 1024];
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;
    for (path, content_type) in
        [("/v1/events", "text/plain"), ("/v1/log/submissions", "application/cbor")]
    {
        let request = server.post(path).header("content-type", content_type);
        let response = request.body(body.clone()).send().await.unwrap();
        expect(response, too_large, "too-large", "over the limit").await;
    }
    // Without a length up front.
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1024 * 1024]));
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let request = server.post("/v1/events").header("content-type", "text/plain").body(stream);
    expect(request.send().await.unwrap(), too_large, "too-large", "over the limit").await;
    assert_eq!(server.ledger.size().0, 0, "nothing was recorded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let server = TestServer::start().await;
    let (no, known) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
    let reader = server.reader.reveal();
    for (method, path, token, status, kind) in [
        (Method::GET, "/v1/log", None, no, "unauthenticated"),
        (Method::GET, "/v1/log", Some("stele_wrong"), no, "unauthenticated"),
        (Method::GET, "/v1/log/records/0", None, no, "unauthenticated"),
        (Method::GET, "/metrics", None, no, "unauthenticated"),
        (Method::POST, "/v1/events", Some(reader), known, "denied"),
        (Method::POST, "/v1/log/submissions", Some(reader), known, "denied"),
        (Method::GET, "/v1/log", Some(server.agent.reveal()), known, "denied"),
    ] {
        let mut request = server.request(method, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        if status == no {
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
        let text = response.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["error"]["kind"], kind, "{path}");
        assert!(!text.contains("stele_"), "{text}");
    }
    let basic = server.request(Method::GET, "/v1/log").header("authorization", "Basic eDp5");
    assert_eq!(basic.send().await.unwrap().status(), no);
    let response = server.request(Method::GET, "/v1/log").bearer_auth(reader).send().await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parameters_routes_and_methods() {
    let server = TestServer::start().await;
    for (path, part) in [
        ("/v1/log?verbos=1", "verbos"),
        ("/v1/objects?type=pods&namspace=x", "namspace"),
        ("/v1/objects?type=pods&type=nodes", "type"),
        ("/v1/objects?raw=yaml", "yaml"),
        ("/v1/objects?strict=maybe", "maybe"),
        ("/v1/objects?name=x", "needs type"),
        ("/v1/objects?all=true&namespace=x", "namespace"),
        ("/v1/objects?type=pods&at=yesterday", "yesterday"),
        ("/v1/objects?type=pods&at=2026-11-23T03:12", "zone"),
        ("/v1/history?type=pods", "name"),
        ("/v1/diff", "since"),
        ("/v1/ip/10.0.0.1?at=now&since=2h", "at"),
        ("/v1/ip/10.0.0.1?until=2h", "until"),
        ("/v1/ip/10.0.0.1?tolerance_ms=-1", "tolerance_ms"),
        ("/v1/watch?from_index=1&since=2h", "from_index"),
        ("/v1/log/records/x", "index"),
        ("/v1/log/records/-1", "index"),
        ("/v1/log/records/%ff", "UTF-8"),
        ("/v1/ip/%ff%fe", "UTF-8"),
        ("/v1/objects?type=%ff%fe&at=%00", "no"),
        ("/v1/log/proof?index=1&size=2", "size"),
    ] {
        let response = server.get(path).send().await.unwrap();
        expect(response, StatusCode::BAD_REQUEST, "invalid", part).await;
    }
    for path in ["/", "/v2/log", "/v1/log/", "/v1/../etc/passwd"] {
        let response = server.get(path).send().await.unwrap();
        expect(response, StatusCode::NOT_FOUND, "not-found", "no such route").await;
    }
    let response = server.request(Method::DELETE, "/v1/log").send().await.unwrap();
    expect(response, StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "method").await;
    let last_event_id = server.get("/v1/watch").header("last-event-id", "x");
    let response = last_event_id.send().await.unwrap();
    expect(response, StatusCode::BAD_REQUEST, "invalid", "Last-Event-ID").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_wire_hurts_nobody_else() {
    let server = TestServer::start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
        b"GET /v1/log?%ff%fe=%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET /v1/log HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\xfe\r\nconnection: close\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is an answer too.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&answer));
    }
    let response = server.get("/v1/log").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    server.stop().await;
}
