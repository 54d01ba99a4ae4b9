//! The C2SP face: equal to a recomputation from the leaves alone.

use reqwest::{Method, StatusCode};
use stele_merkle::tile::decode_bundle;
use stele_merkle::{
    LeafIndex, MemoryTree, Subtrees, TreeSize, leaf_hash, root, verify_consistency,
};
use stele_record::{Kind, PayloadType};
use stele_server::ServerOptions;

use super::support::{TestServer, TestSource};

/// A server with more than one full tile.
async fn filled() -> TestServer {
    fill(TestServer::start().await).await
}

async fn fill(server: TestServer) -> TestServer {
    let mut source = TestSource::new(1);
    for number in 0..600 {
        source.push(Kind::EVENT, PayloadType::TEXT, format!("{number}").into_bytes());
    }
    server.delivered(&source.submission()).await;
    server
}

async fn public(server: &TestServer, path: &str) -> reqwest::Response {
    server.request(Method::GET, path).send().await.unwrap()
}

async fn tile(server: &TestServer, path: &str) -> Vec<u8> {
    let response = public(server, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    response.bytes().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_and_bundles_equal_a_recomputation() {
    let server = filled().await;
    let response = public(&server, "/checkpoint").await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let checkpoint = server.verifier().open(response.text().await.unwrap().as_bytes()).unwrap();
    let size = checkpoint.size.0;
    let partial = size % 256;
    assert!((513..768).contains(&size) && partial > 0);

    let mut entries = Vec::new();
    for (path, width) in [
        ("/tile/entries/000".to_owned(), 256),
        ("/tile/entries/001".to_owned(), 256),
        (format!("/tile/entries/002.p/{partial}"), partial),
    ] {
        let bundle = tile(&server, &path).await;
        let decoded = decode_bundle(&bundle, width as u16).unwrap();
        entries.extend(decoded.into_iter().map(<[u8]>::to_vec));
    }
    let tree: MemoryTree = entries.iter().map(|entry| leaf_hash(entry)).collect();
    assert_eq!(root(TreeSize(size), &tree).unwrap(), checkpoint.root);

    let hashes = |level: u8, range: std::ops::Range<u64>| -> Vec<u8> {
        range.flat_map(|index| tree.subtree(level, index).unwrap().0).collect()
    };
    assert_eq!(tile(&server, "/tile/0/000").await, hashes(0, 0..256));
    assert_eq!(tile(&server, "/tile/0/001").await, hashes(0, 256..512));
    assert_eq!(tile(&server, &format!("/tile/0/002.p/{partial}")).await, hashes(0, 512..size));
    assert_eq!(tile(&server, "/tile/0/000.p/7").await, hashes(0, 0..7));
    assert_eq!(tile(&server, "/tile/1/000.p/2").await, hashes(8, 0..2));
    assert_eq!(tile(&server, "/tile/1/000.p/1").await, hashes(8, 0..1));

    for path in [
        format!("/tile/0/002.p/{}", partial + 1),
        "/tile/0/002".to_owned(),
        "/tile/0/003.p/1".to_owned(),
        "/tile/1/000.p/3".to_owned(),
        "/tile/2/000.p/1".to_owned(),
        "/tile/0/000.p/0".to_owned(),
        "/tile/0/000.p/256".to_owned(),
        "/tile/0/0".to_owned(),
        "/tile/64/000".to_owned(),
        "/tile/00/000".to_owned(),
        "/tile/data/000".to_owned(),
        "/tile/0/x18446744073709551615/000".to_owned(),
        "/tile/0/..%2f..%2fcheckpoint".to_owned(),
    ] {
        assert_eq!(public(&server, &path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_over_http_hold() {
    let server = filled().await;
    let size = server.ledger.size().0;
    for index in [0, 1, 255, 256, 511, size - 1] {
        let text = server.get(&format!("/v1/log/proof?index={index}")).send().await.unwrap();
        let proof = stele_merkle::TlogProof::parse(&text.text().await.unwrap()).unwrap();
        let record = server.ledger.read(LeafIndex(index)).unwrap();
        let checkpoint = proof.verify(record.leaf_hash, &server.verifier()).unwrap();
        for old in [0, 1, index] {
            let path = format!("/v1/log/consistency?old={old}&new={}", checkpoint.size);
            let answer = server.json(&path).await;
            let hashes: Vec<_> = answer["hashes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hash| hash.as_str().unwrap().parse().unwrap())
                .collect();
            let old = TreeSize(old);
            let old_root = server.ledger.root(old).unwrap();
            verify_consistency(old, old_root, checkpoint.size, checkpoint.root, &hashes).unwrap();
        }
    }
    let info = server.json("/v1/log").await;
    assert_eq!(info["origin"], "log.example/test");
    assert_eq!(info["verifierKeys"].as_array().unwrap().len(), 2);
    for (path, status) in [
        (format!("/v1/log/proof?index={size}"), StatusCode::NOT_FOUND),
        (format!("/v1/log/records/{size}"), StatusCode::NOT_FOUND),
        ("/v1/log/consistency?old=5&new=4".to_owned(), StatusCode::BAD_REQUEST),
        (format!("/v1/log/consistency?old=5&new={}", size + 9), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(server.get(&path).send().await.unwrap().status(), status, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_exported_and_verifies() {
    let server = filled().await;
    let response = server.get("/v1/export?from=3&to=9").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.bytes().await.unwrap();
    let report = stele_ledger::evidence::verify(&mut &text[..], &server.verifier()).unwrap();
    assert_eq!((report.records, report.errors), (6, Vec::new()));

    // By time: each record of the source is one second after the one before.
    let since = super::support::BEGIN_NS + 10 * super::support::SECOND_NS;
    let until = since + 4 * super::support::SECOND_NS;
    let response =
        server.get(&format!("/v1/export?since=@{since}&until=@{until}")).send().await.unwrap();
    let text = response.bytes().await.unwrap();
    let report = stele_ledger::evidence::verify(&mut &text[..], &server.verifier()).unwrap();
    assert_eq!((report.records, report.errors), (5, Vec::new()));

    for (path, status) in [
        ("/v1/export?from=1&since=2h", StatusCode::BAD_REQUEST),
        ("/v1/export?since=yesterday", StatusCode::BAD_REQUEST),
        ("/v1/export?from=99999", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(server.get(path).send().await.unwrap().status(), status, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_log_serves_what_ends_after_its_minimum_index() {
    let options = ServerOptions { minimum_index: LeafIndex(512), ..ServerOptions::default() };
    let server = fill(TestServer::start_with(|_| None, options).await).await;
    let size = server.ledger.checkpoint().size.0;
    let partial = size % 256;
    for (path, served) in [
        ("/tile/entries/000".to_owned(), false),
        ("/tile/0/001".to_owned(), false),
        ("/tile/0/001.p/7".to_owned(), false),
        (format!("/tile/0/002.p/{partial}"), true),
        (format!("/tile/entries/002.p/{partial}"), true),
        // Ends after the minimum index, once it is full.
        ("/tile/1/000.p/2".to_owned(), true),
    ] {
        let status = public(&server, &path).await.status();
        let expected = if served { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(status, expected, "{path}");
    }
    // Whoever may read records still can, with proof.
    let proof = server.get("/v1/log/proof?index=0").send().await.unwrap();
    assert_eq!(proof.status(), StatusCode::OK);
    server.stop().await;
}
