//! Questions over HTTP, on a small recorded cluster.

use reqwest::StatusCode;
use serde_json::Value;
use stele_record::{Gap, GapReason, ObservedTime};

use super::support::{SECOND_NS, TestServer, TestSource};

fn blind(from_ns: i64, to_ns: i64) -> Gap {
    Gap {
        cluster: Some("c1".to_owned()),
        group: Some(String::new()),
        resource: Some("configmaps".to_owned()),
        from_ns: ObservedTime::from_unix_ns(from_ns),
        to_ns: Some(ObservedTime::from_unix_ns(to_ns)),
        from_rv: Some("12".to_owned()),
        to_rv: Some("20".to_owned()),
        reason: GapReason::Expired,
        recovered: false,
        detail: "410".to_owned(),
    }
}

fn names(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item["of"]["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_at_a_point_history_and_diff() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list(10);
    source.event("ADDED", "a", 11);
    let after_a = source.now_ns();
    source.event("ADDED", "b", 12);
    source.event("MODIFIED", "a", 13);
    source.event("DELETED", "b", 14);
    server.delivered(&source.submission()).await;

    let now = server.json("/v1/objects?type=cm").await;
    assert_eq!((names(&now), now["kind"].as_str()), (vec!["a"], Some("ObjectList")));
    assert_eq!(now["items"][0]["object"]["data"]["n"], "13");
    assert_eq!(now["ledger"]["origin"], "log.example/test");
    assert!(now["ledger"]["index"].is_u64() && now["ledger"]["root"].is_string());
    let index = now["ledger"]["index"].as_u64().unwrap();
    let again = server.json(&format!("/v1/objects?type=configmaps&at=%23{index}")).await;
    assert_eq!(again["items"], now["items"], "the same index is the same answer");

    let early = server.json(&format!("/v1/objects?type=cm&at=@{after_a}")).await;
    assert_eq!(names(&early), ["a"]);
    assert_eq!(early["items"][0]["resourceVersion"], "11");
    assert_eq!(early["time"]["basis"], "observed");
    let both = server.json("/v1/objects?type=cm&at=rv:13&namespace=shop").await;
    assert_eq!((names(&both), &both["time"]["resourceVersion"]), (vec!["a", "b"], &"13".into()));
    let selected = server.json("/v1/objects?type=cm&at=rv:13&selector=app%3Db").await;
    assert_eq!(names(&selected), ["b"]);

    let response = server.get("/v1/objects?type=cm&at=rv:13&raw=list").send().await.unwrap();
    assert!(response.headers().contains_key("stele-ledger-index"));
    let list: Value = response.json().await.unwrap();
    assert_eq!(
        (&list["kind"], &list["metadata"]["resourceVersion"]),
        (&"List".into(), &"13".into())
    );
    assert_eq!(list["items"][0]["metadata"]["name"], "a");

    let history = server.json("/v1/history?type=cm&name=b&objects=true").await;
    let changes: Vec<&Value> =
        history["items"].as_array().unwrap().iter().map(|item| &item["change"]).collect();
    assert_eq!(changes, ["added", "deleted"]);
    assert!(history["items"][0]["object"].is_object());
    let diff = server.json("/v1/diff?type=cm&since=rv:12&until=rv:14").await;
    assert_eq!(names(&diff), ["a", "b"]);
    assert_eq!(
        (&diff["items"][0]["change"], &diff["items"][1]["change"]),
        (&"modified".into(), &"deleted".into())
    );
    assert_eq!(diff["items"][0]["before"]["resourceVersion"], "11");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_the_gaps_they_touch() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list(10);
    source.event("ADDED", "a", 12);
    let begin = source.now_ns();
    source.gap(&blind(begin, begin + 3 * SECOND_NS));
    source.event("ADDED", "later", 21);
    source.event("MODIFIED", "later", 22);
    source.event("MODIFIED", "later", 23);
    server.delivered(&source.submission()).await;

    let within = begin + SECOND_NS;
    let path = format!("/v1/objects?type=cm&at=@{within}");
    let answer = server.json(&path).await;
    let gap = &answer["gaps"][0];
    assert_eq!((&gap["reason"], &gap["fromRv"]), (&"expired".into(), &"12".into()), "{answer}");
    let strict = server.get(&format!("{path}&strict=true")).send().await.unwrap();
    assert_eq!(strict.status(), StatusCode::UNPROCESSABLE_ENTITY);

    let coverage = server.json("/v1/coverage").await;
    assert_eq!(coverage["items"][0]["resource"], "configmaps");
    assert!(!coverage["items"][0]["gaps"].as_array().unwrap().is_empty());
    let covered = coverage["items"][0]["covered"].as_f64().unwrap();
    assert!(covered > 0.0 && covered < 1.0, "{covered}");
    let clusters = server.json("/v1/clusters").await;
    assert_eq!(clusters["items"][0]["id"], "c1");
    server.json("/v1/resources?cluster=c1").await;
    let ip = server.json("/v1/ip/10.42.0.17").await;
    assert_eq!(ip["kind"], "AddressAnswer");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_found() {
    let server = TestServer::start().await;
    let mut source = TestSource::new(1);
    source.list(10);
    server.delivered(&source.submission()).await;
    for path in [
        "/v1/objects?type=unicorns",
        "/v1/objects?type=cm&cluster=elsewhere",
        "/v1/objects?type=cm&at=%23999999",
        "/v1/watch?from_index=999999",
    ] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let response = server.get("/v1/ip/not-an-address").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    server.stop().await;
}
