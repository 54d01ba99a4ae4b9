//! Subscriptions: the exact sequence, taken up again after a break at any place.

use std::time::Duration;

use futures::StreamExt;
use reqwest::StatusCode;
use stele_server::api::WatchItem;
use tokio::time::timeout;

use super::support::{TestServer, TestSource};

/// An event as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    event: String,
    id: String,
    data: String,
}

/// Reads until `wanted` events came, and breaks the connection.
async fn read(
    server: &TestServer,
    query: &str,
    last: Option<&str>,
    wanted: usize,
) -> Vec<Received> {
    let mut request = server.get(&format!("/v1/watch?{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    let mut found = Vec::new();
    while found.len() < wanted {
        let chunk = timeout(Duration::from_secs(20), stream.next()).await;
        let chunk = chunk.expect("the stream is quiet").expect("the stream has ended");
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            found.push(parse(event));
            text = rest.to_owned();
        }
    }
    found.truncate(wanted);
    found
}

fn parse(text: &str) -> Received {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim_start_matches([':', ' ']).to_owned()
    };
    Received { event: field("event"), id: field("id"), data: field("data") }
}

fn changes(received: &[Received]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for one in received {
        if let Some(WatchItem::Change(item)) = WatchItem::read(&one.event, &one.data).unwrap() {
            found.push((item.of.name, item.resource_version));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_subscription_goes_on_and_loses_and_doubles_nothing() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list(10);
    for rv in 11..61 {
        source.event(if rv == 11 { "ADDED" } else { "MODIFIED" }, "a", rv);
    }
    server.delivered(&source.submission()).await;

    let whole = read(&server, "from_index=0&type=cm", None, 50).await;
    let wanted: Vec<_> = (11..61).map(|rv| ("a".to_owned(), rv.to_string())).collect();
    assert_eq!(changes(&whole), wanted);

    for step in [1, 7, 49] {
        let mut pieces: Vec<Received> = Vec::new();
        while pieces.len() < 50 {
            let last = pieces.last().map(|one| one.id.clone());
            let count = step.min(50 - pieces.len());
            let query = if last.is_some() { "type=cm" } else { "from_index=0&type=cm" };
            pieces.extend(read(&server, query, last.as_deref(), count).await);
        }
        assert_eq!(pieces, whole, "in pieces of {step}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_pushed_as_they_come_and_filtered() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list(10);
    source.event("ADDED", "old", 11);
    server.delivered(&source.submission()).await;
    server.json("/v1/objects?type=cm").await;

    let size = server.ledger.size().0;
    let query = format!("from_index={size}&type=cm&selector=app%3Dwanted&objects=true");
    let following = read(&server, &query, None, 2);
    let pushing = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for (verb, name, rv) in
            [("ADDED", "other", 12), ("ADDED", "wanted", 13), ("DELETED", "wanted", 14)]
        {
            source.event(verb, name, rv);
            server.delivered(&source.submission()).await;
        }
    };
    let (received, ()) = tokio::join!(following, pushing);
    let wanted = ["13", "14"].map(|rv| ("wanted".to_owned(), rv.to_owned()));
    assert_eq!(changes(&received), wanted);
    assert!(received[0].data.contains("\"object\":{"));

    let since = read(&server, "since=%230&type=cm&name=old&namespace=shop", None, 1).await;
    assert_eq!(changes(&since), [("old".to_owned(), "11".to_owned())]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_owner_owns_is_pushed_and_taken_up_again() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list(10);
    for (rv, name) in (11..).zip(["a", "b", "a", "b", "a"]) {
        source.owned_event("MODIFIED", name, rv, if name == "a" { "u-a" } else { "u-b" });
    }
    server.delivered(&source.submission()).await;
    let query = "from_index=0&owner=u-a";
    let whole = read(&server, query, None, 3).await;
    let wanted = [11, 13, 15].map(|rv: u64| ("a".to_owned(), rv.to_string()));
    assert_eq!(changes(&whole), wanted);
    let rest = read(&server, query, Some(&whole[0].id), 2).await;
    assert_eq!(changes(&rest), wanted[1..]);
    source.owned_event("MODIFIED", "a", 16, "u-a");
    server.delivered(&source.submission()).await;
    let pushed = read(&server, query, Some(&whole[2].id), 1).await;
    assert_eq!(changes(&pushed), [("a".to_owned(), "16".to_owned())]);
    for (query, named) in [("ip=10.0.0", "ip: "), ("owner=a/b/c", "owner: ")] {
        let answer = server.get(&format!("/v1/watch?{query}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let answer = answer.text().await.unwrap();
        assert!(answer.contains(named) && answer.contains("write "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_says_where_to_go_on() {
    let server = TestServer::start().await;
    server.delivered(&TestSource::new(1).submission()).await;
    server.json("/v1/clusters").await;
    let response = server.get("/v1/watch").send().await.unwrap();
    let size = server.ledger.size().0;
    let (text, ()) = tokio::join!(response.text(), server.stop());
    let last = parse(text.unwrap().trim_end());
    assert_eq!(last.event, "end");
    let Ok(Some(WatchItem::End(cursor))) = WatchItem::read(&last.event, &last.data) else {
        panic!("{last:?}");
    };
    assert!(cursor.next_index <= size);
}
