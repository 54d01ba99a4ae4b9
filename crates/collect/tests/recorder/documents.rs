//! Documents of the server: recorded when they are new, others, or gone, and not twice.

use std::time::Duration;

use serde_json::json;
use stele_collect::kube::{RecorderOptions, Timing};
use stele_record::Kind;
use stele_record::frame::DocumentContext;

use super::common::Log;
use super::{Bed, timing};

impl Log {
    /// What was recorded of documents: `path = text`, `path gone`.
    fn documents(&self) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let documents = log.values().filter(|(header, _)| header.kind == Kind::KUBE_DOCUMENT);
        documents
            .map(|(_, payload)| {
                let (context, text) = DocumentContext::split(payload).unwrap();
                assert_eq!(context.cluster, "uid-kube-system");
                assert!(context.server.starts_with("http://127.0.0.1"));
                assert!(!context.gone || text.is_empty());
                let text = str::from_utf8(text).unwrap();
                if context.gone {
                    format!("{} gone", context.path)
                } else {
                    format!("{} = {text}", context.path)
                }
            })
            .collect()
    }

    async fn until_documents(&self, wanted: &[&str]) {
        self.until(&format!("{wanted:?}"), |log| log.documents().len() >= wanted.len()).await;
        assert_eq!(self.documents(), wanted);
    }
}

fn options() -> RecorderOptions {
    let timing = Timing { discover_every: Duration::from_millis(100), ..timing() };
    RecorderOptions { timing, ..RecorderOptions::default() }
}

#[tokio::test]
async fn documents_are_recorded_when_they_change() {
    let bed = Bed::new().await;
    bed.fake.world().version = "v1.36";
    bed.fake.world().schemas.insert("api/v1", "pods");
    bed.fake.world().schemas.insert("apis/example.org/v1", "widgets");
    let running = bed.start_with(options());
    let mut wanted = vec![
        "/version = v1.36",
        "/openapi/v3/api/v1 = pods",
        "/openapi/v3/apis/example.org/v1 = widgets",
    ];
    bed.log.until_documents(&wanted).await;
    bed.fake.world().schemas.insert("apis/example.org/v1", "other widgets");
    wanted.push("/openapi/v3/apis/example.org/v1 = other widgets");
    bed.log.until_documents(&wanted).await;
    bed.fake.world().schemas.remove("apis/example.org/v1");
    wanted.push("/openapi/v3/apis/example.org/v1 gone");
    bed.log.until_documents(&wanted).await;
    running.kill().await;
    // What was recorded before a kill is not recorded again, and what has changed meanwhile is.
    bed.fake.world().version = "v1.37";
    let asked = bed.fake.requests("/openapi/v3/api/v1");
    let running = bed.start_with(options());
    wanted.push("/version = v1.37");
    bed.log.until_documents(&wanted).await;
    assert_eq!(bed.fake.requests("/openapi/v3/api/v1"), asked, "its hash is the same");
    running.stop().await;
    bed.log.until_documents(&wanted).await;
}

#[tokio::test]
async fn a_server_that_gives_none_is_recorded_all_the_same() {
    let bed = Bed::new().await;
    bed.fake.put("v1/pods", "a", json!({}));
    bed.fake.world().version = "v1.36";
    bed.fake.world().schemas.insert("api/v1", "pods");
    bed.fake.answer("/version", 403, "no");
    bed.fake.answer("/openapi/v3", 500, "no");
    let running = bed.start_with(options());
    bed.log.until_story("pods", &["list[a]"]).await;
    // The next look finds them; a look that failed has not said that they are gone.
    bed.log.until_documents(&["/version = v1.36", "/openapi/v3/api/v1 = pods"]).await;
    let before = bed.fake.requests("/openapi/v3");
    bed.fake.answer("/openapi/v3", 500, "no");
    bed.log.until("another look", |_| bed.fake.requests("/openapi/v3") > before + 2).await;
    running.stop().await;
    assert_eq!(bed.log.documents().len(), 2);
    assert_eq!(bed.log.gaps("pods"), []);
}
