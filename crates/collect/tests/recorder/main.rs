//! The list and watch machine against a server that expires, disconnects, refuses and lies, and
//! against kills of the recorder itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod documents;
mod fake;

#[path = "../common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::Log;
use fake::{Fake, Server};
use serde_json::{Value, json};
use stele_collect::kube::{Cluster, Recorder, RecorderOptions, Timing};
use stele_record::frame::FrameContext;
use stele_record::kube::ResourceList;
use stele_record::{Gap, GapReason, Header, Kind};
use stele_source::{Source, SourceOptions};
use stele_store::SystemClock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

impl Log {
    fn frames(&self, resource: &str) -> Vec<(Header, FrameContext, Value)> {
        let log = self.0.lock().unwrap();
        let frames =
            log.values().filter(|(h, _)| matches!(h.kind, Kind::KUBE_LIST | Kind::KUBE_WATCH));
        frames
            .map(|(header, payload)| {
                let (context, raw) = FrameContext::split(payload).unwrap();
                (header.clone(), context, serde_json::from_slice(raw).unwrap_or(Value::Null))
            })
            .filter(|(_, context, _)| context.resource == resource)
            .collect()
    }

    /// What the frames say in short: `+name@rv`, `~name@rv`, `-name@rv`, `list[names]@rv`.
    fn story(&self, resource: &str) -> Vec<String> {
        let frames = self.frames(resource);
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or("").to_owned();
        frames
            .iter()
            .map(|(_, _, frame)| match frame["type"].as_str() {
                None => {
                    let items = frame["items"].as_array().unwrap();
                    format!("list[{}]", items.iter().map(name).collect::<Vec<_>>().join(" "))
                }
                Some("ADDED") => format!("+{}", name(&frame["object"])),
                Some("MODIFIED") => format!("~{}", name(&frame["object"])),
                Some("DELETED") => format!("-{}", name(&frame["object"])),
                Some(other) => other.to_lowercase(),
            })
            .collect()
    }

    fn gaps(&self, resource: &str) -> Vec<Gap> {
        let log = self.0.lock().unwrap();
        let gaps = log.values().filter(|(header, _)| header.kind == Kind::GAP);
        gaps.map(|(_, payload)| Gap::decode(payload).unwrap())
            .filter(|gap| gap.resource.as_deref() == Some(resource))
            .collect()
    }

    fn resources(&self) -> Vec<Vec<String>> {
        let log = self.0.lock().unwrap();
        let lists = log.values().filter(|(header, _)| header.kind == Kind::KUBE_RESOURCES);
        lists
            .map(|(_, payload)| ResourceList::decode(payload).unwrap())
            .map(|list| list.resources.into_iter().map(|r| r.resource).collect())
            .collect()
    }

    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let wait = async {
            while !test(self) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(Duration::from_secs(20), wait).await.is_err() {
            let (pods, gaps) = (self.story("pods"), self.gaps("pods"));
            panic!("never came: {what}\npods: {pods:?}\ngaps: {gaps:#?}\n{:?}", self.resources());
        }
    }

    async fn until_story(&self, resource: &str, wanted: &[&str]) {
        let what = format!("{resource} {wanted:?}");
        self.until(&what, |log| log.story(resource) == wanted).await;
    }
}

fn timing() -> Timing {
    Timing {
        retry_first: Duration::from_millis(10),
        retry_max: Duration::from_millis(100),
        denied_retry: Duration::from_millis(300),
        announce_after: Duration::from_millis(400),
        discover_after: Duration::from_millis(30),
        ..Timing::default()
    }
}

/// A recorder and its source at work.
struct Running {
    stop: watch::Sender<bool>,
    recorder: JoinHandle<()>,
    delivery: JoinHandle<()>,
    source: Source,
}

impl Running {
    fn start(dir: &Path, address: SocketAddr, log: &Log, options: RecorderOptions) -> Self {
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let mut config = config;
        config.default_retry = false;
        let cluster = Cluster {
            name: "test".to_owned(),
            server: format!("http://{address}"),
            client: kube::Client::try_from(config).unwrap(),
        };
        let source = SourceOptions {
            name: "recorder/test".to_owned(),
            attests: "test".to_owned(),
            imported: false,
            heartbeat: Duration::from_millis(100),
            software: "test".to_owned(),
            spool_bytes_max: u64::MAX,
        };
        let source = Source::open(dir, source, Arc::new(SystemClock::new())).unwrap();
        let (stop, stopped) = watch::channel(false);
        let recorder = Recorder::new(cluster, source.clone(), options);
        let recorder_stopped = stopped.clone();
        let recorder = tokio::spawn(async move { recorder.run(recorder_stopped).await.unwrap() });
        let (log, delivering) = (log.clone(), source.clone());
        let delivery = tokio::spawn(async move {
            delivering.run(&log, stopped, Duration::from_secs(5)).await.unwrap();
        });
        Self { stop, recorder, delivery, source }
    }

    /// As SIGKILL: nothing is sealed, closed or said.
    async fn kill(self) {
        self.source.flush().await.unwrap();
        self.recorder.abort();
        self.delivery.abort();
        let _ = (self.recorder.await, self.delivery.await);
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.recorder.await.unwrap();
        self.delivery.await.unwrap();
    }
}

struct Bed {
    fake: Fake,
    server: Option<Server>,
    address: SocketAddr,
    log: Log,
    dir: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        let fake = Fake::new();
        let server = fake.serve(None).await;
        let (address, dir) = (server.address, tempfile::tempdir().unwrap());
        Self { fake, server: Some(server), address, log: Log::default(), dir }
    }

    async fn kill_server(&mut self) {
        self.server.take().unwrap().kill().await;
    }

    async fn restart_server(&mut self) {
        self.server = Some(self.fake.serve(Some(self.address)).await);
    }

    fn start(&self) -> Running {
        let options = RecorderOptions { timing: timing(), ..RecorderOptions::default() };
        self.start_with(options)
    }

    fn start_with(&self, options: RecorderOptions) -> Running {
        Running::start(self.dir.path(), self.address, &self.log, options)
    }
}

fn pod(fake: &Fake, name: &str) -> u64 {
    fake.put("v1/pods", name, json!({}))
}

#[tokio::test]
async fn lists_in_pages_then_watches_and_keeps_bookmarks() {
    let bed = Bed::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        pod(&bed.fake, name);
    }
    let options = RecorderOptions { page_limit: 2, timing: timing(), ..RecorderOptions::default() };
    let running = bed.start_with(options);
    bed.log.until_story("pods", &["list[a b]", "list[c d]", "list[e]"]).await;
    pod(&bed.fake, "a");
    bed.fake.delete("v1/pods", "b");
    bed.fake.bookmark("v1/pods");
    let story = ["list[a b]", "list[c d]", "list[e]", "~a", "-b", "bookmark"];
    bed.log.until_story("pods", &story).await;
    let frames = bed.log.frames("pods");
    let pages: Vec<_> = frames.iter().filter_map(|(_, context, _)| context.list).collect();
    assert!(pages.iter().all(|page| page.id == pages[0].id));
    assert_eq!(
        pages.iter().map(|page| (page.page, page.last)).collect::<Vec<_>>(),
        [(0, false), (1, false), (2, true)]
    );
    let (header, context, frame) = &frames[3];
    assert_eq!(
        header.origin_counter.as_deref(),
        frame["object"]["metadata"]["resourceVersion"].as_str()
    );
    assert_eq!((context.cluster.as_str(), context.kind.as_str()), ("uid-kube-system", "Pod"));
    assert!(context.namespaced && context.server.starts_with("http://127.0.0.1"));
    running.stop().await;
    assert_eq!(bed.log.gaps("pods"), []);
    assert_eq!(bed.log.resources().len(), 1);
}

#[tokio::test]
async fn secret_values_are_not_recorded_unless_asked_for() {
    for keep in [false, true] {
        let bed = Bed::new().await;
        bed.fake.put("v1/secrets", "listed", json!({"data": {"k": "c2VjcmV0LXZhbHVl"}}));
        let options = RecorderOptions {
            store_secret_values: keep,
            timing: timing(),
            ..RecorderOptions::default()
        };
        let running = bed.start_with(options);
        bed.log.until_story("secrets", &["list[listed]"]).await;
        bed.fake.put("v1/secrets", "watched", json!({"data": {"k": "c2VjcmV0LXZhbHVl"}}));
        bed.log.until_story("secrets", &["list[listed]", "+watched"]).await;
        running.stop().await;
        let frames = bed.log.frames("secrets");
        let listed = &frames[0].2["items"][0]["data"]["k"];
        assert_eq!(listed, &frames[1].2["object"]["data"]["k"], "equal values stay equal");
        assert_eq!(listed == "c2VjcmV0LXZhbHVl", keep);
        assert_eq!(frames[0].1.redacted, !keep);
    }
}

#[tokio::test]
async fn a_version_too_old_becomes_a_gap_and_a_new_list() {
    let mut bed = Bed::new().await;
    let before = pod(&bed.fake, "a");
    let running = bed.start();
    bed.log.until_story("pods", &["list[a]"]).await;
    // The watch breaks off; meanwhile `a` vanishes and is forgotten.
    bed.kill_server().await;
    bed.fake.delete("v1/pods", "a");
    let after = pod(&bed.fake, "b");
    bed.fake.compact();
    bed.restart_server().await;
    bed.log.until("relist", |log| log.story("pods").contains(&"list[b]".to_owned())).await;
    bed.log.until("gap", |log| !log.gaps("pods").is_empty()).await;
    let gaps = bed.log.gaps("pods");
    let gap = gaps.last().unwrap();
    assert_eq!((gap.reason, gap.recovered), (GapReason::Expired, false));
    assert_eq!(gap.from_rv, Some(before.to_string()));
    assert_eq!(gap.to_rv, Some(after.to_string()));
    assert!(gap.from_ns <= gap.to_ns.unwrap());
    // The line that said so is evidence and is kept.
    assert!(bed.log.story("pods").contains(&"error".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn a_disconnection_is_resumed_and_a_long_one_is_announced_while_it_lasts() {
    let mut bed = Bed::new().await;
    let running = bed.start();
    bed.log.until_story("pods", &["list[]"]).await;
    bed.kill_server().await;
    pod(&bed.fake, "a");
    bed.log.until("announcement", |log| !log.gaps("pods").is_empty()).await;
    let open = bed.log.gaps("pods").remove(0);
    assert_eq!((open.reason, open.recovered, open.to_ns), (GapReason::Disconnected, false, None));
    bed.restart_server().await;
    bed.log.until_story("pods", &["list[]", "+a"]).await;
    let closed = bed.log.gaps("pods").remove(1);
    assert!(closed.recovered && closed.to_ns.is_some());
    assert_eq!(closed.from_ns, open.from_ns);
    bed.kill_server().await;
    running.stop().await;
    assert_eq!(bed.log.gaps("pods").len(), 2);
}

#[tokio::test]
async fn a_killed_recorder_resumes_its_watches_and_says_when_it_was_away() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.log.until_story("pods", &["list[]"]).await;
    pod(&bed.fake, "a");
    bed.log.until_story("pods", &["list[]", "+a"]).await;
    running.kill().await;
    pod(&bed.fake, "b");
    let running = bed.start();
    bed.log.until_story("pods", &["list[]", "+a", "+b"]).await;
    let gap = bed.log.gaps("pods").remove(0);
    assert_eq!((gap.reason, gap.recovered), (GapReason::RecorderDown, true));
    running.kill().await;
    // The same again, but what came meanwhile is forgotten.
    bed.fake.delete("v1/pods", "b");
    let rv = pod(&bed.fake, "c");
    bed.fake.compact();
    let running = bed.start();
    bed.log.until("relist", |log| log.story("pods").last().unwrap() == "list[a c]").await;
    running.stop().await;
    let gap = bed.log.gaps("pods").pop().unwrap();
    assert_eq!((gap.reason, gap.recovered), (GapReason::Expired, false));
    assert_eq!(gap.to_rv, Some(rv.to_string()));
    assert_eq!(bed.log.gaps("pods").len(), 2);
}

#[tokio::test]
async fn types_come_and_go() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.log.until_story("pods", &["list[]"]).await;
    bed.log.until_story("customresourcedefinitions", &["list[]"]).await;
    bed.fake.add_type("example.org/v1/widgets", "Widget", true);
    bed.fake.put("example.org/v1/widgets", "w", json!({}));
    let crds = "apiextensions.k8s.io/v1/customresourcedefinitions";
    bed.fake.put(crds, "widgets.example.org", json!({}));
    bed.log.until_story("widgets", &["list[w]"]).await;
    bed.fake.delete(crds, "widgets.example.org");
    bed.fake.remove_type("example.org/v1/widgets");
    let gone = |log: &Log| log.gaps("widgets").iter().any(|g| g.reason == GapReason::ResourceGone);
    bed.log.until("gone", gone).await;
    bed.fake.add_type("example.org/v1/widgets", "Widget", true);
    bed.fake.put(crds, "widgets.example.org", json!({}));
    bed.log.until_story("widgets", &["list[w]", "list[]"]).await;
    running.stop().await;
    let gap = bed.log.gaps("widgets").pop().unwrap();
    assert!(!gap.recovered && gap.to_ns.is_some());
    let offered = bed.log.resources();
    assert_eq!(
        offered.iter().map(|r| r.contains(&"widgets".to_owned())).collect::<Vec<_>>(),
        [false, true, false, true]
    );
}

#[tokio::test]
async fn refusals_are_stated_once_and_tried_again() {
    let bed = Bed::new().await;
    for _ in 0..8 {
        bed.fake.answer("/api/v1/pods?limit", 403, r#"{"message":"no rights"}"#);
    }
    bed.fake.answer("/api/v1/secrets", 429, "slow down");
    let running = bed.start();
    bed.log.until_story("secrets", &["list[]"]).await;
    bed.log.until_story("pods", &["list[]"]).await;
    running.stop().await;
    let gaps = bed.log.gaps("pods");
    assert_eq!(
        gaps.iter().map(|gap| (gap.reason, gap.to_ns.is_some())).collect::<Vec<_>>(),
        [(GapReason::Denied, false), (GapReason::Denied, true)]
    );
    assert!(gaps[0].detail.contains("no rights"));
    assert_eq!(bed.log.gaps("secrets"), []);
}

#[tokio::test]
async fn an_expired_continue_token_begins_the_list_again() {
    let bed = Bed::new().await;
    for n in 0..9 {
        pod(&bed.fake, &n.to_string());
    }
    bed.fake.answer("/api/v1/pods?limit=2&continue=4", 410, r#"{"message":"too old"}"#);
    let options = RecorderOptions { page_limit: 2, timing: timing(), ..RecorderOptions::default() };
    let running = bed.start_with(options);
    let whole = ["list[0 1]", "list[2 3]", "list[0 1 2 3 4 5 6 7]", "list[8]"];
    bed.log.until_story("pods", &whole).await;
    running.stop().await;
    let frames = bed.log.frames("pods");
    assert!(frames[2].1.list.unwrap().id > frames[0].1.list.unwrap().id);
    assert_eq!(bed.log.gaps("pods"), []);
}

#[tokio::test]
async fn garbage_in_a_watch_becomes_a_gap_and_is_healed_by_a_list() {
    let garbage: [&[u8]; 4] =
        [b"{\"type\":\"ADDED\",\"object\":{\n", b"\xff\xfe\n", b"{}\n", b"[]\n"];
    for line in garbage {
        let bed = Bed::new().await;
        bed.fake.world().lines.insert("v1/pods", vec![line.into()]);
        pod(&bed.fake, "a");
        let running = bed.start();
        bed.log.until_story("pods", &["list[a]", "list[a]"]).await;
        pod(&bed.fake, "b");
        bed.log.until_story("pods", &["list[a]", "list[a]", "+b"]).await;
        running.stop().await;
        let gaps = bed.log.gaps("pods");
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].reason, gaps[0].recovered), (GapReason::Unreadable, false));
    }
}

#[tokio::test]
async fn a_server_that_refuses_every_watch_is_not_hammered() {
    let bed = Bed::new().await;
    for _ in 0..10_000 {
        bed.fake.answer("/api/v1/pods?watch", 410, r#"{"message":"too old"}"#);
    }
    let running = bed.start();
    sleep(Duration::from_secs(1)).await;
    running.stop().await;
    let lists = bed.fake.requests("/api/v1/pods?limit");
    assert!((5..40).contains(&lists), "{lists} lists in a second");
}

#[tokio::test]
async fn a_server_that_expires_late_has_not_resumed() {
    let mut bed = Bed::new().await;
    let before = pod(&bed.fake, "a");
    let running = bed.start();
    bed.log.until_story("pods", &["list[a]"]).await;
    bed.kill_server().await;
    bed.log.until("announcement", |log| !log.gaps("pods").is_empty()).await;
    let open = bed.log.gaps("pods").remove(0);
    bed.fake.delete("v1/pods", "a");
    bed.fake.compact();
    bed.fake.world().late_errors = Duration::from_millis(2_500);
    bed.restart_server().await;
    bed.log.until("relist", |log| log.story("pods").contains(&"list[]".to_owned())).await;
    running.stop().await;
    // What was lost reaches back to the disconnection, whatever the silence looked like.
    let gap = bed.log.gaps("pods").pop().unwrap();
    assert_eq!((gap.reason, gap.recovered), (GapReason::Expired, false));
    assert_eq!((gap.from_ns, gap.from_rv), (open.from_ns, Some(before.to_string())));
}

#[tokio::test]
async fn a_server_that_was_set_back_is_listed_anew() {
    let mut bed = Bed::new().await;
    for name in ["a", "b", "c"] {
        pod(&bed.fake, name);
    }
    let running = bed.start();
    bed.log.until_story("pods", &["list[a b c]"]).await;
    bed.kill_server().await;
    bed.fake.set_back(2);
    bed.restart_server().await;
    bed.log.until_story("pods", &["list[a b c]", "list[]"]).await;
    pod(&bed.fake, "d");
    bed.log.until_story("pods", &["list[a b c]", "list[]", "+d"]).await;
    running.stop().await;
    let gap = bed.log.gaps("pods").pop().unwrap();
    assert!(!gap.recovered, "{gap:?}");
    assert_eq!(gap.to_rv.as_deref(), Some("2"));
}
