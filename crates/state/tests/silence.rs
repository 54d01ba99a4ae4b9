//! Silence of a source is no knowledge: what answers say where a source has fallen silent, has not
//! come back yet, or has been set back.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Log, Pod, S};
use stele_record::Kind;
use stele_state::query::{Filter, IpQuery, ListQuery, Listing, Verdict};
use stele_state::{Point, State, Time};

const PODS: &str = "v1/pods";
const NODES: &str = "v1/nodes";

fn ask(state: &State, resource: &str, at: Point) -> Listing {
    let filter = Filter { resource: Some(resource.to_owned()), ..Filter::default() };
    state.list(&ListQuery::new(filter, at)).unwrap()
}

fn reasons(listing: &Listing) -> Vec<&str> {
    listing.gaps.iter().map(|gap| gap.reason.as_str()).collect()
}

fn at(seconds: i64) -> Point {
    Point::Observed(Time(seconds * S))
}

fn pod(name: &'static str, uid: &'static str, rv: u64) -> Pod {
    Pod::new(name, uid, 100).at_rv(rv)
}

fn bookmark(log: &mut Log, seconds: i64, resource: &str, rv: u64) {
    let mark = format!(r#"{{"metadata":{{"resourceVersion":"{rv}"}}}}"#);
    log.event(seconds * S, resource, "BOOKMARK", &mark);
}

fn one_after_the_other(logs: impl IntoIterator<Item = Log>) -> Log {
    let mut all = Log::new();
    logs.into_iter().for_each(|log| all.records.extend(log.records));
    all
}

fn recorder(source: u8, from: i64, rv: u64, until: i64) -> Log {
    let mut log = Log::of_source(source);
    log.open(from * S);
    let alive = pod("a", "A", 5).runs(5, &["10.0.0.7"]);
    log.list_of(from * S, PODS, &rv.to_string(), &[alive.json()]);
    bookmark(&mut log, until, PODS, rv + 1);
    log
}

#[test]
fn nobody_looked_between_two_recorders_of_one_cluster() {
    for closed in [false, true] {
        let mut first = recorder(1, 100, 10, 110);
        if closed {
            first.push(Kind::SOURCE_CLOSE, 111 * S, Vec::new());
        }
        let state = one_after_the_other([first, recorder(2, 200, 50, 210)]).fold();
        assert_eq!(reasons(&ask(&state, "pods", at(105))), [""; 0]);
        assert_eq!(reasons(&ask(&state, "pods", at(150))), ["no-later-record"]);
        let gap = &ask(&state, "pods", at(150)).gaps[0];
        assert_eq!(gap.to, Some(Time(200 * S)), "the second recorder ends the silence");
        assert_eq!(reasons(&ask(&state, "pods", at(205))), [""; 0]);
        assert_eq!(reasons(&ask(&state, "pods", Point::Now)), [""; 0]);
        let ip = state.ip("10.0.0.7", &at(150), &IpQuery::default()).unwrap();
        assert_eq!(ip.verdict, Verdict::Unknown);
        let filter = Filter { resource: Some("pods".to_owned()), ..Filter::default() };
        assert_eq!(state.diff(&filter, &at(105), &at(205)).unwrap().gaps.len(), 1);
    }
    // Two that overlap leave no hole.
    let state = one_after_the_other([recorder(1, 100, 10, 220), recorder(2, 200, 50, 300)]).fold();
    for seconds in [150, 210, 250] {
        assert_eq!(reasons(&ask(&state, "pods", at(seconds))), [""; 0], "{seconds}");
    }
}

#[test]
fn a_source_of_other_types_does_not_speak_for_one_that_is_silent() {
    let mut nodes = Log::of_source(2);
    nodes.open(100 * S);
    nodes.list_of(100 * S, NODES, "10", &[]);
    bookmark(&mut nodes, 500, NODES, 90);
    let state = one_after_the_other([recorder(1, 100, 10, 110), nodes]).fold();
    assert_eq!(reasons(&ask(&state, "nodes", Point::Now)), [""; 0]);
    assert_eq!(reasons(&ask(&state, "pods", Point::Now)), ["no-later-record"]);
    let ip = state.ip("10.0.0.7", &Point::Now, &IpQuery::default()).unwrap();
    assert_eq!(ip.verdict, Verdict::Unknown);
}

#[test]
fn a_recorder_that_is_back_sees_a_type_only_with_its_first_word_about_it() {
    let mut log = recorder(1, 100, 10, 110);
    log.boot = 2;
    log.open(200 * S);
    log.list_of(201 * S, NODES, "60", &[]);
    bookmark(&mut log, 300, NODES, 90);
    let state = log.fold();
    // Pods were not seen again yet: their server may be down, or their list may still run.
    assert_eq!(reasons(&ask(&state, "pods", at(250))), ["no-close"]);
    assert_eq!(reasons(&ask(&state, "pods", Point::Now)), ["no-close"]);
    bookmark(&mut log, 301, PODS, 91);
    let state = log.fold();
    assert_eq!(reasons(&ask(&state, "pods", at(250))), ["no-close"]);
    assert_eq!(reasons(&ask(&state, "pods", Point::Now)), [""; 0]);
}

#[test]
fn types_that_discovery_found_and_nobody_may_see_are_not_passed_over() {
    let mut log = recorder(1, 100, 10, 110);
    let found = stele_record::kube::ResourceList {
        cluster: common::CLUSTER.to_owned(),
        cluster_name: String::new(),
        server: String::new(),
        resources: vec![stele_record::kube::builtin("", "secrets").unwrap()],
    };
    log.push(Kind::KUBE_RESOURCES, 110 * S, found.encode());
    let state = log.fold();
    let gaps = state.diff(&Filter::default(), &at(101), &Point::Now).unwrap().gaps;
    let of: Vec<_> = gaps.iter().map(|g| (g.resource.as_deref(), g.reason.as_str())).collect();
    assert_eq!(of, [(Some("secrets"), "never-listed")]);
}

#[test]
fn o7_a_server_that_was_set_back_is_not_believed_to_be_as_before() {
    let mut log = recorder(1, 100, 50, 110);
    log.event(111 * S, PODS, "ADDED", &pod("b", "B", 60).json());
    // etcd was restored from a backup: B was never made, and A is of an earlier version.
    log.list_of(200 * S, PODS, "40", &[pod("a", "A", 5).json()]);
    bookmark(&mut log, 210, PODS, 41);
    let state = log.fold();
    let now = ask(&state, "pods", Point::Now);
    assert_eq!(reasons(&now), ["versions-went-back"], "{:?}", now.gaps);
    assert_eq!(reasons(&ask(&state, "pods", at(105))), [""; 0]);
    // A whole list beyond the old versions puts everything right.
    log.list_of(300 * S, PODS, "70", &[pod("a", "A", 5).json()]);
    let state = log.fold();
    let now = ask(&state, "pods", Point::Now);
    assert_eq!((reasons(&now), now.objects.len()), (vec![], 1));
    assert!(reasons(&ask(&state, "pods", at(250))).contains(&"versions-went-back"));
}

#[test]
fn an_object_that_cannot_be_read_leaves_its_type_unknown_until_the_next_whole_list() {
    let mut log = recorder(1, 100, 10, 110);
    let odd = pod("a", "A", 20).json().replace("\"phase\":\"Pending\"", "\"phase\":7");
    log.event(120 * S, PODS, "MODIFIED", &odd);
    bookmark(&mut log, 130, PODS, 21);
    assert_eq!(reasons(&ask(&log.fold(), "pods", Point::Now)), ["unreadable"]);
    // A list with the same object is not whole.
    log.list_of(140 * S, PODS, "30", &[odd]);
    bookmark(&mut log, 150, PODS, 31);
    assert!(reasons(&ask(&log.fold(), "pods", Point::Now)).contains(&"unreadable"));
    log.list_of(160 * S, PODS, "40", &[pod("a", "A", 32).json()]);
    let state = log.fold();
    assert_eq!(reasons(&ask(&state, "pods", Point::Now)), [""; 0]);
    assert!(reasons(&ask(&state, "pods", at(125))).contains(&"unreadable"));
}

#[test]
fn an_object_that_cannot_be_read_at_first_does_not_stop_the_fold() {
    let mut log = recorder(1, 100, 10, 110);
    let whole = pod("new", "N", 20).runs(20, &["10.0.0.9"]).json();
    let odd = whole.replace("\"phase\":\"Running\"", "\"phase\":7");
    assert_ne!(odd, whole);
    log.event(120 * S, PODS, "ADDED", &odd);
    log.event(121 * S, PODS, "ADDED", &odd);
    log.list_of(140 * S, PODS, "30", &[pod("a", "A", 5).json(), odd]);
    log.event(150 * S, PODS, "MODIFIED", &pod("new", "N", 35).runs(35, &["10.0.0.9"]).json());
    let state = log.fold();
    let listing = ask(&state, "pods", Point::Now);
    assert_eq!(listing.objects.len(), 2, "{listing:?}");
    assert_eq!(reasons(&listing), ["unreadable"]);
}

#[test]
fn a_frame_that_ends_with_its_context_line_is_a_problem_of_its_own() {
    let mut log = recorder(1, 100, 10, 110);
    log.push(Kind::KUBE_WATCH, 120 * S, common::context(PODS).join(b""));
    let mut line = common::context(PODS).join(b"");
    assert_eq!(line.pop(), Some(b'\n'));
    log.push(Kind::KUBE_WATCH, 121 * S, line);
    log.event(122 * S, PODS, "MODIFIED", &pod("a", "A", 12).json());
    let state = State::temporary().unwrap();
    common::fold_into(&state, &log.records, 1_000);
    assert_eq!(state.next_index(), log.records.len() as u64);
    assert_eq!(ask(&state, "pods", Point::Now).objects.len(), 1);
}
