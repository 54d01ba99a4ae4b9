//! Documents that a server gave about itself: which one there was at a point, and what it said.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{CLUSTER, Log, S};
use stele_record::Kind;
use stele_record::frame::DocumentContext;
use stele_state::query::{DocumentSeen, Filter};
use stele_state::{Point, State, StateError, Time};

fn document(log: &mut Log, seconds: i64, path: &str, text: Option<&str>) -> u64 {
    let context = DocumentContext {
        cluster: CLUSTER.to_owned(),
        server: String::new(),
        path: path.to_owned(),
        gone: text.is_none(),
    };
    let payload = context.join(text.unwrap_or_default().as_bytes());
    log.push(Kind::KUBE_DOCUMENT, seconds * S, payload)
}

fn at(seconds: i64) -> Point {
    Point::Observed(Time(seconds * S))
}

fn text(state: &State, path: &str, at: &Point) -> Option<String> {
    let found = state.document(CLUSTER, path, at).unwrap();
    found.map(|text| String::from_utf8(text).unwrap())
}

fn seen(path: &str, index: u64, seconds: i64) -> DocumentSeen {
    DocumentSeen { path: path.to_owned(), index, time: Time(seconds * S) }
}

fn log() -> Log {
    let mut log = Log::new();
    log.open(90 * S);
    document(&mut log, 100, "/version", Some("old"));
    document(&mut log, 101, "/openapi/v3/api/v1", Some("pods"));
    document(&mut log, 102, "/openapi/v3/apis/example.org/v1", Some("widgets"));
    document(&mut log, 200, "/version", Some("new"));
    document(&mut log, 201, "/openapi/v3/apis/example.org/v1", None);
    document(&mut log, 300, "/openapi/v3/apis/example.org/v1", Some("gadgets"));
    document(&mut log, 301, "/openapi/v3/api/v1alpha1", Some(&"long ".repeat(100_000)));
    log
}

#[test]
fn there_is_what_there_was() {
    let (state, path) = (log().fold(), "/openapi/v3/apis/example.org/v1");
    let schemas = |at: &Point| state.documents(CLUSTER, "/openapi/v3/", at).unwrap();
    assert_eq!(schemas(&at(99)), []);
    assert_eq!(schemas(&at(150)), [seen("/openapi/v3/api/v1", 2, 101), seen(path, 3, 102)]);
    assert_eq!(schemas(&at(250)), [seen("/openapi/v3/api/v1", 2, 101)]);
    assert_eq!(schemas(&Point::Index(3)), schemas(&at(150)));
    assert_eq!(schemas(&Point::Index(5)), schemas(&at(250)));
    assert_eq!(schemas(&Point::Now)[2], seen(path, 6, 300));
    assert_eq!(schemas(&Point::ResourceVersion("5".to_owned())), schemas(&Point::Now));
    for (at, wanted) in [(at(99), None), (at(199), Some("old")), (at(200), Some("new"))] {
        assert_eq!(text(&state, "/version", &at).as_deref(), wanted);
    }
    for (at, wanted) in [(at(199), Some("widgets")), (at(299), None), (at(300), Some("gadgets"))] {
        assert_eq!(text(&state, path, &at).as_deref(), wanted);
    }
    // One path is the beginning of another one.
    assert_eq!(text(&state, "/openapi/v3/api/v1", &Point::Now).as_deref(), Some("pods"));
    assert_eq!(text(&state, "/openapi/v3/api/v1alpha1", &Point::Now).unwrap().len(), 500_000);
    assert_eq!(text(&state, "/openapi/v3/api/v", &Point::Now), None);
    let unknown = state.document("nobody", "/version", &Point::Now);
    assert!(matches!(unknown, Err(StateError::NotFound { .. })), "{unknown:?}");
}

#[test]
fn a_document_that_comes_late_stands_at_its_time() {
    let mut log = Log::new();
    log.imported = true;
    log.open(90 * S);
    document(&mut log, 200, "/version", Some("second"));
    document(&mut log, 100, "/version", Some("first"));
    let state = log.fold();
    assert_eq!(text(&state, "/version", &at(150)).as_deref(), Some("first"));
    assert_eq!(text(&state, "/version", &at(250)).as_deref(), Some("second"));
    assert_eq!(text(&state, "/version", &Point::Now).as_deref(), Some("second"));
}

#[test]
fn batches_leave_no_trace() {
    let log = log();
    let whole = log.fold().digest().unwrap();
    let state = State::temporary().unwrap();
    common::fold_into(&state, &log.records, 1);
    assert_eq!(state.digest().unwrap(), whole);
}

#[test]
fn what_cannot_be_read_is_a_problem_and_nothing_else() {
    let mut log = log();
    log.push(Kind::KUBE_DOCUMENT, 400 * S, b"no context".to_vec());
    document(&mut log, 401, &format!("/{}", "p".repeat(70_000)), Some("x"));
    let state = log.fold();
    assert_eq!(state.next_index(), log.records.len() as u64);
    assert_eq!(state.coverage(&Filter::default(), &at(0), &Point::Now).unwrap().problem_count, 2);
}
