//! Health, metrics, the OpenAPI document, and the limits of where the server listens.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use reqwest::{Method, StatusCode};
use stele_ledger::{Ledger, LedgerOptions, LogKey};
use stele_server::{ServeError, Server, ServerOptions, ServerParts, Token, Tokens};
use stele_state::State;
use stele_store::{MemoryStore, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::support::{TestServer, TestSource};

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics() {
    let server = TestServer::start().await;
    server.delivered(&TestSource::new(1).submission()).await;
    let open = async |path: &str| {
        let response = server.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    };
    assert_eq!(open("/livez").await, "ok\n");
    assert_eq!(open("/readyz").await, "ok\n");
    let verbose = open("/readyz?verbose").await;
    for check in ["[+]log ok", "[+]checkpoint ", "[+]state ", "[+]invariants 0"] {
        assert!(verbose.contains(check), "{verbose}");
    }
    server.json("/v1/clusters").await;
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "stele_log_tree_size ",
        "stele_log_checkpoint_age_seconds ",
        "stele_log_append_duration_seconds_count 1",
        "stele_state_index_lag_records 0",
        "stele_query_duration_seconds_count{query=\"clusters\"} 1",
        "stele_invariant_violations_total{id=\"L1\"} 0",
        "stele_build_info{version=",
        "stele_log_queue_free_bytes ",
        "stele_store_request_duration_seconds_count{op=\"put_new\",backend=\"memory\",outcome=\"ok\"}",
        "stele_http_requests_total{route=\"/v1/clusters\",method=\"Get\",status=\"200\"} 1",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in\n{metrics}");
    }
    let document: serde_json::Value = serde_json::from_str(&open("/openapi.json").await).unwrap();
    assert_eq!(document["paths"]["/v1/log"]["get"]["security"][0]["token"], serde_json::json!([]));
    server.stop().await;
}

#[test]
fn the_openapi_document_has_every_route_and_no_dangling_reference() {
    let document = serde_json::to_value(stele_server::openapi()).unwrap();
    let paths: Vec<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in [
        "/checkpoint",
        "/livez",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/tile/{path}",
        "/v1/clusters",
        "/v1/coverage",
        "/v1/diff",
        "/v1/events",
        "/v1/export",
        "/v1/history",
        "/v1/ip/{address}",
        "/v1/log",
        "/v1/log/consistency",
        "/v1/log/proof",
        "/v1/log/records/{index}",
        "/v1/log/submissions",
        "/v1/objects",
        "/v1/resources",
        "/v1/watch",
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is referred to and not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_beyond_loopback_needs_consent() {
    let clock = Arc::new(SystemClock::new());
    let key = LogKey::generate("log.example/test").unwrap();
    let store = Arc::new(MemoryStore::new());
    let ledger = Ledger::create(store, &key, clock.clone(), LedgerOptions::default()).unwrap();
    let parts = ServerParts {
        ledger,
        state: State::temporary().unwrap(),
        clock,
        cosigning: None,
        tokens: Tokens::admin(&Token::generate()),
        append_key: None,
        registry: Registry::default(),
        tls: None,
        options: ServerOptions::default(),
    };
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let refused = Server::new(parts).serve(listener, stopped).await;
    assert!(matches!(refused, Err(ServeError::Plaintext { .. })));
}
