//! The Kubernetes API of a recorded cluster, without Kubernetes: forms, pages, selectors, watches,
//! gaps, refusals.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stele_record::{Gap, GapReason, ObservedTime};
use stele_state::Time;
use tokio::time::timeout;

use super::support::{SECOND_NS, TestServer, TestSource, certificate};

const NOW: &str = "/clusters/c1/at/now";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn ask(server: &TestServer, path: &str, accept: &str) -> (StatusCode, Vec<String>, Value) {
    let response = server.get(path).header("accept", accept).send().await.unwrap();
    let warnings = response.headers().get_all("warning").iter();
    let warnings = warnings.map(|warning| warning.to_str().unwrap().to_owned()).collect();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, warnings, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn ok(server: &TestServer, path: &str) -> Value {
    let (status, warnings, body) = ask(server, path, "application/json").await;
    assert_eq!((status, warnings.as_slice()), (StatusCode::OK, [].as_slice()), "{path}: {body}");
    body
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// A cluster with some config maps, listed at 10 and followed from there.
async fn with_config_maps(server: &TestServer, source: &mut TestSource, count: u64) {
    source.list(10);
    for n in 0..count {
        source.event("ADDED", &format!("m{n:03}"), 11 + n);
    }
    server.delivered(&source.submission()).await;
}

fn gap(source: &TestSource, from_rv: u64, to_rv: u64) -> Gap {
    Gap {
        cluster: Some("c1".to_owned()),
        group: Some(String::new()),
        resource: Some("configmaps".to_owned()),
        from_ns: ObservedTime::from_unix_ns(source.now_ns()),
        to_ns: Some(ObservedTime::from_unix_ns(source.now_ns() + SECOND_NS / 2)),
        from_rv: Some(from_rv.to_string()),
        to_rv: Some(to_rv.to_string()),
        reason: GapReason::Expired,
        recovered: false,
        detail: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_in_each_form_and_in_pages() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    with_config_maps(&server, &mut source, 7).await;
    let maps = format!("{NOW}/api/v1/namespaces/shop/configmaps");

    let list = ok(&server, &maps).await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert_eq!(list["metadata"], json!({"resourceVersion": "17"}));
    assert_eq!(names(&list).len(), 7);
    let (_, _, table) = ask(&server, &maps, TABLE).await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][1]["name"], "Data");
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..2], [json!("m000"), json!(1)]);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let (_, _, partial) = ask(&server, &maps, metadata).await;
    assert_eq!(partial["items"][0]["metadata"]["name"], "m000");
    assert_eq!(partial["items"][0]["data"], Value::Null);
    let (status, _, refused) = ask(&server, &maps, "application/vnd.kubernetes.protobuf").await;
    assert_eq!((status, &refused["kind"]), (StatusCode::NOT_ACCEPTABLE, &json!("Status")));

    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = ok(&server, &format!("{maps}?limit=3&continue={token}")).await;
        assert_eq!(page["metadata"]["resourceVersion"], "17");
        found.extend(names(&page));
        // What comes meanwhile is not in the later pages.
        source.event("ADDED", &format!("z{}", found.len()), 30 + found.len() as u64);
        server.delivered(&source.submission()).await;
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, names(&list));

    let one = ok(&server, &format!("{maps}/m003")).await;
    assert_eq!((&one["kind"], &one["data"]["n"]), (&json!("ConfigMap"), &json!("14")));
    let selected = ok(&server, &format!("{maps}?labelSelector=app%20in%20(m001,m002)")).await;
    assert_eq!(names(&selected), ["m001", "m002"]);
    let selected = ok(&server, &format!("{maps}?fieldSelector=metadata.name%3Dm005")).await;
    assert_eq!(names(&selected), ["m005"]);
    let exact = format!("{NOW}/api/v1/configmaps?resourceVersion=12&resourceVersionMatch=Exact");
    assert_eq!(names(&ok(&server, &exact).await), ["m000", "m001"]);
    let at_version = ok(&server, "/clusters/c1/at/rv:12/api/v1/configmaps").await;
    assert_eq!(names(&at_version), ["m000", "m001"]);
    assert_eq!(at_version["metadata"]["resourceVersion"], "12");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_is_said_as_kubernetes_says_it() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    with_config_maps(&server, &mut source, 2).await;
    let maps = "/api/v1/namespaces/shop/configmaps";
    for (path, code, reason) in [
        (format!("{NOW}{maps}/nobody"), 404, "NotFound"),
        (format!("{NOW}/api/v1/nonsense"), 404, "NotFound"),
        (format!("{NOW}/api/v2/configmaps"), 404, "NotFound"),
        (format!("{NOW}{maps}/m000/scale"), 404, "NotFound"),
        (format!("/clusters/nowhere/at/now{maps}"), 404, "NotFound"),
        (format!("/clusters/c1/at/someday{maps}"), 400, "BadRequest"),
        (format!("{NOW}{maps}?labelSelector=a%20b"), 400, "BadRequest"),
        (format!("{NOW}{maps}?fieldSelector=data.n%3D1"), 400, "BadRequest"),
        (format!("{NOW}{maps}?continue=x"), 400, "BadRequest"),
        (format!("{NOW}{maps}?resourceVersion=5&resourceVersionMatch=Exact"), 410, "Expired"),
        (format!("{NOW}{maps}?resourceVersion=999"), 504, "Timeout"),
        (format!("{NOW}{maps}?watch=1&resourceVersion=5"), 410, "Expired"),
    ] {
        let (status, _, body) = ask(&server, &path, "application/json").await;
        assert_eq!((status.as_u16(), &body["reason"]), (code, &json!(reason)), "{path}: {body}");
        assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(code)), "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let request = server.request(method, &format!("{NOW}{maps}/m000"));
        let response = request.bearer_auth(server.reader.reveal()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        let body: Value = response.json().await.unwrap();
        assert!(body["message"].as_str().unwrap().contains("not changed"), "{body}");
    }
    let unknown = server.request(Method::GET, &format!("{NOW}{maps}")).send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.json::<Value>().await.unwrap()["reason"], "Unauthorized");
    let agent = server.request(Method::GET, NOW).bearer_auth(server.agent.reveal());
    let denied = agent.send().await.unwrap();
    assert_eq!(denied.status(), StatusCode::FORBIDDEN);
    assert_eq!(denied.json::<Value>().await.unwrap()["reason"], "Forbidden");
    let review = format!("{NOW}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
    for (verb, allowed) in [("list", true), ("delete", false)] {
        let question = json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}});
        let answer = server.post(&review).json(&question).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["status"]["allowed"], allowed);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_names_what_is_recorded() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    with_config_maps(&server, &mut source, 1).await;
    assert_eq!(ok(&server, &format!("{NOW}/api")).await["versions"], json!(["v1"]));
    assert_eq!(ok(&server, &format!("{NOW}/apis")).await["groups"], json!([]));
    let types = ok(&server, &format!("{NOW}/api/v1")).await;
    assert_eq!(types["resources"][0]["name"], "configmaps");
    assert_eq!(types["resources"][0]["shortNames"], json!(["cm"]));
    let wanted =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, _, all) = ask(&server, &format!("{NOW}/api"), wanted).await;
    assert_eq!(all["items"][0]["versions"][0]["resources"][0]["resource"], "configmaps");
    for path in ["/version", "/openapi/v2", "/openapi/v3", "/", ""] {
        ok(&server, &format!("{NOW}{path}")).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_and_the_version_are_those_of_the_time() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list(10);
    let before = Time(source.now_ns());
    source.document("/version", r#"{"gitVersion":"v1.36.1"}"#);
    source.document("/openapi/v3/api/v1", r#"{"openapi":"3.0.0","of":"old"}"#);
    let early = Time(source.now_ns());
    source.document("/openapi/v3/api/v1", r#"{"openapi":"3.0.0","of":"new"}"#);
    source.document("/openapi/v3/apis/apps/v1", "{}");
    server.delivered(&source.submission()).await;
    let at = |time: Time| NOW.replace("now", &time.to_string());
    let index = ok(&server, &format!("{NOW}/openapi/v3")).await;
    let now: Vec<String> = index["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|entry| entry["serverRelativeURL"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(now.len(), 2);
    assert!(now[0].starts_with("/openapi/v3/api/v1?hash="), "{now:?}");
    let early_base = at(early);
    let text = async |base: &str, url: &str| {
        let (status, _, body) = ask(&server, &format!("{base}{url}"), "application/json").await;
        (status, body)
    };
    assert_eq!(text(NOW, &now[0]).await.1["of"], "new");
    assert_eq!(text(&early_base, "/openapi/v3/api/v1").await.1["of"], "old");
    assert_eq!(text(&early_base, "/version").await.1["gitVersion"], "v1.36.1");
    assert_eq!(text(&early_base, "/openapi/v3").await.1["paths"].as_object().unwrap().len(), 1);
    assert_ne!(text(&early_base, "/openapi/v3").await.1, text(NOW, "/openapi/v3").await.1);
    assert_eq!(text(&early_base, "/openapi/v3/apis/apps/v1").await.0, StatusCode::NOT_FOUND);
    let before = at(before);
    assert_eq!(text(&before, "/openapi/v3").await.1, json!({"paths": {}}));
    let unknown = text(&before, "/version").await.1["gitVersion"].as_str().unwrap().to_owned();
    assert!(unknown.contains("stele"), "{unknown}");
    let binary = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    let (status, ..) = ask(&server, &format!("{NOW}/openapi/v3/api/v1"), binary).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_at_a_time_leaves_out_types_that_were_not_defined() {
    const CRDS: (&str, &str, &str) =
        ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition");
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list_of(CRDS, 10, &["widgets.example.org"]);
    source.list_of(("example.org", "widgets", "Widget"), 11, &["w"]);
    source.list_of(("metrics.example.org", "loads", "Load"), 12, &["l"]);
    let early_ns = source.now_ns();
    source.event_of(CRDS, "DELETED", 20, "widgets.example.org");
    source.event_of(CRDS, "ADDED", 21, "gadgets.example.org");
    source.list_of(("example.org", "gadgets", "Gadget"), 22, &["g"]);
    server.delivered(&source.submission()).await;
    let named = async |at: String, group: &str| {
        let path = format!("{}/apis/{group}/v1", NOW.replace("/now", &at));
        let (_, _, answer) = ask(&server, &path, "application/json").await;
        let types = answer["resources"].as_array().cloned().unwrap_or_default();
        types.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let early = || format!("/{}", Time(early_ns));
    assert_eq!(named(early(), "example.org").await, ["widgets"]);
    assert_eq!(named("/now".to_owned(), "example.org").await, ["gadgets"]);
    // Whoever serves these, no definition ever said so.
    assert_eq!(named(early(), "metrics.example.org").await, ["loads"]);
    assert_eq!(named("/now".to_owned(), "metrics.example.org").await, ["loads"]);
    // Before anybody looked at definitions nothing is known to be missing.
    let begin = format!("/{}", Time(early_ns - 60 * SECOND_NS));
    assert_eq!(named(begin, "example.org").await, ["gadgets", "widgets"]);
    server.stop().await;
}

/// Reads events of a watch until there are so many, or it ends.
async fn watch(server: &TestServer, query: &str, wanted: usize) -> (Vec<String>, Vec<Value>) {
    let path = format!("{NOW}/api/v1/configmaps?watch=1&{query}");
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let warnings = response.headers().get_all("warning").iter();
    let warnings = warnings.map(|warning| warning.to_str().unwrap().to_owned()).collect();
    let mut stream = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < wanted {
        let chunk = timeout(Duration::from_secs(20), stream.next()).await.expect("it is silent");
        let Some(chunk) = chunk else { break };
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        while let Some((line, rest)) = text.split_once('\n') {
            events.push(serde_json::from_str(line).unwrap());
            text = rest.to_owned();
        }
    }
    (warnings, events)
}

fn shown(events: &[Value]) -> Vec<String> {
    let show = |event: &Value| {
        let metadata = &event["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&event["type"]);
        format!("{kind} {} {}", text(&metadata["name"]), text(&metadata["resourceVersion"]))
    };
    events.iter().map(show).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_there_is_and_what_comes() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    with_config_maps(&server, &mut source, 2).await;
    let begin = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let following = watch(&server, begin, 5);
    let pushing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        source.event("MODIFIED", "m000", 20);
        server.delivered(&source.submission()).await;
        source.event("DELETED", "m001", 21);
        server.delivered(&source.submission()).await;
    };
    let ((_, events), ()) = tokio::join!(following, pushing);
    let wanted =
        ["ADDED m000 11", "ADDED m001 12", "BOOKMARK  12", "MODIFIED m000 20", "DELETED m001 21"];
    assert_eq!(shown(&events), wanted);
    assert_eq!(events[2]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    for (from, rest) in [("11", 3), ("12", 2), ("15", 2), ("20", 1)] {
        let (_, events) = watch(&server, &format!("resourceVersion={from}"), rest).await;
        assert_eq!(shown(&events), shown_after(&wanted, from), "from {from}");
    }
    let selected = "resourceVersion=10&labelSelector=app%3Dm001&timeoutSeconds=1";
    let (_, events) = watch(&server, selected, 9).await;
    assert_eq!(shown(&events), ["ADDED m001 12", "DELETED m001 21"]);
    server.stop().await;
}

/// Of the events above those with newer versions.
fn shown_after(all: &[&str], from: &str) -> Vec<String> {
    let newer = |line: &&&str| {
        !line.starts_with("BOOKMARK") && line.rsplit(' ').next().is_some_and(|rv| rv > from)
    };
    all.iter().filter(newer).map(|line| (*line).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_gap_is_crossed_in_silence() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    with_config_maps(&server, &mut source, 2).await;
    // The gap is known when the watch begins: it is in the headers, and marked where it is crossed.
    let stated = gap(&source, 12, 20);
    source.gap(&stated);
    source.list(20);
    source.event("ADDED", "after", 21);
    server.delivered(&source.submission()).await;
    let query = "resourceVersion=11&allowWatchBookmarks=true";
    let (warnings, events) = watch(&server, query, 5).await;
    assert!(warnings.iter().any(|w| w.contains("nobody looked at configmaps")), "{warnings:?}");
    let shown_events = shown(&events);
    assert_eq!(shown_events[0], "ADDED m001 12");
    let marks: Vec<&Value> = events.iter().filter(|event| event["type"] == "BOOKMARK").collect();
    let mark = marks[0]["object"]["metadata"]["annotations"]["stele/gap"].as_str().unwrap();
    assert!(mark.contains("versions 12 to 20 (expired)"), "{mark}");
    assert!(shown_events.contains(&"DELETED m000 12".to_owned()), "{shown_events:?}");
    assert_eq!(shown_events.last().unwrap(), "ADDED after 21");

    // One that comes while somebody watches ends the watch: with words, where bookmarks are not
    // taken, and in order where they are.
    for (bookmarks, from) in [(false, 21_u64), (true, 41)] {
        let query = format!("resourceVersion={from}&allowWatchBookmarks={bookmarks}");
        let following = watch(&server, &query, 99);
        let pushing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            source.event("ADDED", &format!("x{from}"), from + 1);
            let stated = gap(&source, from + 1, from + 19);
            source.gap(&stated);
            source.list(from + 19);
            source.event("ADDED", &format!("y{from}"), from + 20);
            server.delivered(&source.submission()).await;
        };
        let ((_, events), ()) = tokio::join!(following, pushing);
        assert_eq!(shown(&events)[0], format!("ADDED x{from} {}", from + 1));
        if bookmarks {
            assert_eq!(events.len(), 1, "{events:?}");
        } else {
            assert_eq!((events.len(), &events[1]["type"]), (2, &json!("ERROR")), "{events:?}");
            assert_eq!(events[1]["object"]["code"], 410);
        }
        let again = format!("resourceVersion={}&allowWatchBookmarks={bookmarks}", from + 1);
        let (warnings, events) = watch(&server, &again, 3).await;
        assert!(!warnings.is_empty());
        assert!(shown(&events).iter().any(|event| event.starts_with("DELETED x")), "{events:?}");
    }
    let inside = Time(source.now_ns() - 2 * SECOND_NS - SECOND_NS / 2);
    let path = format!("/clusters/c1/at/@{}/api/v1/configmaps", inside.0);
    let (status, _, _) = ask(&server, &path, "application/json").await;
    assert_eq!(status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_plain_http_share_a_port() {
    let server = TestServer::start().await;
    let trusted = reqwest::Certificate::from_pem(certificate().0.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
    let url = server.url("/livez");
    for url in [url.clone(), url.replace("http://", "https://")] {
        assert_eq!(client.get(&url).send().await.unwrap().status(), StatusCode::OK, "{url}");
    }
    let stranger = reqwest::Client::new().get(url.replace("http://", "https://")).send().await;
    assert!(stranger.is_err());
    server.stop().await;
}
