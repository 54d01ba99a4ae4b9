//! The fold: what becomes of lists, watches, gaps, repeats and faults; that batches leave no trace.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{CLUSTER, Log, Pod, Random, S, fold_into, import, recordings};
use stele_record::frame::ListPage;
use stele_record::kube::{Resource, ResourceList};
use stele_record::{Gap, GapReason, Kind, ObservedTime};
use stele_state::query::{
    ChangeBody, ChangeFilter, Cursor, Filter, LabelSelector, ListQuery, Listing, Verb,
};
use stele_state::{FoldRecord, Point, State, StateError, Time};

const PODS: &str = "v1/pods";

fn pods() -> Filter {
    Filter { resource: Some("po".to_owned()), ..Filter::default() }
}

fn list(state: &State, at: Point) -> Listing {
    state.list(&ListQuery::new(pods(), at)).unwrap()
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.objects.iter().map(|o| o.reference.uid.as_str()).collect()
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

#[test]
fn batches_leave_no_trace() {
    let records = match recordings() {
        Some(dir) => import(dir.join("real-node/watch.jsonl.zst")).records,
        None => relisted().records,
    };
    let digest = |sizes: &mut dyn FnMut() -> usize| {
        let state = State::temporary().unwrap();
        let all: Vec<FoldRecord<'_>> = records
            .iter()
            .enumerate()
            .map(|(index, (header, payload))| FoldRecord { index: index as u64, header, payload })
            .collect();
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(sizes().clamp(1, rest.len()));
            state.apply(batch).unwrap();
            rest = later;
        }
        state.digest().unwrap()
    };
    let whole = digest(&mut || records.len());
    assert_eq!(digest(&mut || 7), whole);
    let mut random = Random(42);
    assert_eq!(digest(&mut || usize::try_from(random.next() % 90).unwrap()), whole);
}

/// Enough of them that they are compressed against a base, and that chunks become whole.
#[test]
fn bodies_come_back_to_the_letter_however_they_are_stored() {
    let mut log = Log::new();
    log.open(100 * S);
    log.list_of(101 * S, PODS, "10", &[]);
    let mut random = Random(7);
    let mut written = Vec::new();
    for number in 0..600_u64 {
        let filler: String = (0..100).map(|_| format!("{:x} ü ", random.next())).collect();
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"a","namespace":"n{}","uid":"u{}","resourceVersion":"{}","annotations":{{"note":"{filler}"}}}}}}"#,
            number % 3,
            number % 3,
            11 + number,
        );
        let index = log.event(102 * S + i64::try_from(number).unwrap(), PODS, "MODIFIED", &body);
        written.push((index, format!("n{}", number % 3), body));
    }
    for batch in [1, 50, 1_000] {
        let state = State::temporary().unwrap();
        fold_into(&state, &log.records, batch);
        for (index, namespace, body) in &written {
            let filter = Filter { namespace: Some(namespace.clone()), ..pods() };
            let found = state.list(&ListQuery::new(filter, Point::Index(*index))).unwrap();
            let [object] = &found.objects[..] else { panic!("{index}: {}", found.objects.len()) };
            let shown = object.version.object.as_ref().map(|object| object.get());
            assert_eq!(shown, Some(body.as_str()), "{index} in batches of {batch}");
        }
    }
}

#[test]
fn every_kind_of_record_folds_alike_one_by_one() {
    let log = relisted();
    let one_by_one = State::temporary().unwrap();
    fold_into(&one_by_one, &log.records, 1);
    assert_eq!(one_by_one.digest().unwrap(), log.fold().digest().unwrap());
}

#[test]
fn a_batch_may_be_repeated_but_not_left_out() {
    let log = relisted();
    let state = log.fold();
    let digest = state.digest().unwrap();
    fold_into(&state, &log.records, 3);
    assert_eq!(state.digest().unwrap(), digest);
    let (header, payload) = &log.records[0];
    let hole = [FoldRecord { index: state.next_index() + 1, header, payload }];
    assert!(matches!(state.apply(&hole), Err(StateError::Hole { .. })));
    assert_eq!(state.digest().unwrap(), digest);
}

#[test]
fn a_view_on_disk_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let log = relisted();
    let state = State::open(dir.path()).unwrap();
    fold_into(&state, &log.records[..4], 2);
    state.sync().unwrap();
    assert!(matches!(State::open(dir.path()), Err(StateError::InUse)));
    drop(state);
    let state = State::open(dir.path()).unwrap();
    assert_eq!(state.next_index(), 4);
    fold_into(&state, &log.records, 5);
    assert_eq!(state.digest().unwrap(), log.fold().digest().unwrap());
}

/// Two pods, a disconnection without a word, and a list in which one of them is missing.
fn relisted() -> Log {
    let mut log = Log::new();
    log.open(100 * S);
    log.list_of(101 * S, PODS, "10", &[pod("a", "A", 5).json(), pod("b", "B", 6).json()]);
    log.event(102 * S, PODS, "MODIFIED", &pod("a", "A", 11).json());
    log.event(103 * S, PODS, "ADDED", &pod("c", "C", 12).json());
    log.list_of(110 * S, PODS, "20", &[pod("a", "A", 15).json(), pod("c", "C2", 16).json()]);
    log.event(111 * S, PODS, "DELETED", &pod("a", "A", 21).json());
    log
}

#[test]
fn what_a_list_misses_has_vanished_within_two_versions() {
    let state = relisted().fold();
    let history = |name: &str| {
        let filter = Filter { name: Some(name.to_owned()), ..pods() };
        state.history(&ListQuery::new(filter, Point::Now).into()).unwrap()
    };
    let b = history("b");
    let end = b.lives[0].versions.last().unwrap();
    assert_eq!(end.verb, Verb::Vanished);
    assert_eq!((end.after_rv.as_deref(), end.resource_version.as_str()), (Some("12"), "20"));
    assert!(!b.lives[0].exists);
    // The name came back with another uid (O5).
    let c = history("c");
    assert_eq!(c.lives.len(), 2);
    assert_eq!(c.lives[0].versions.last().unwrap().verb, Verb::Replaced);
    assert!(c.lives[1].exists);
    let a = history("a");
    let verbs: Vec<Verb> = a.lives[0].versions.iter().map(|v| v.verb).collect();
    assert_eq!(verbs, [Verb::Listed, Verb::Modified, Verb::Listed, Verb::Deleted]);
}

#[test]
fn o2_a_second_list_without_a_word_is_a_gap() {
    let state = relisted().fold();
    let inside = list(&state, at(105));
    assert_eq!(names(&inside), ["A", "B", "C"]);
    assert_eq!(reasons(&inside), ["relisted"]);
    assert_eq!(reasons(&list(&state, at(103))), [""; 0]);
    assert_eq!(reasons(&list(&state, at(111))), [""; 0]);
    assert_eq!(reasons(&list(&state, at(50))), ["not-covered-yet"]);
    assert_eq!(reasons(&list(&state, at(500))), ["no-later-record"]);
    let rv = |rv: &str| list(&state, Point::ResourceVersion(rv.to_owned()));
    assert_eq!(reasons(&rv("15")), ["relisted"]);
    assert_eq!(reasons(&rv("12")), [""; 0]);
    assert_eq!(reasons(&rv("20")), [""; 0]);
    assert_eq!(reasons(&rv("9")), ["not-covered-yet"]);
    assert_eq!(names(&rv("20")), ["A", "C2"]);
}

#[test]
fn a_stated_gap_counts_more_than_a_concluded_one() {
    let mut log = relisted();
    log.gap(112 * S, &gap(103, Some(110), false));
    let state = log.fold();
    assert_eq!(reasons(&list(&state, at(105))), ["expired"]);
    // As it was known before the word came:
    assert_eq!(
        state
            .list(&ListQuery { known_at: Some(5), ..ListQuery::new(pods(), at(105)) })
            .unwrap()
            .gaps[0]
            .reason,
        "relisted"
    );
}

fn gap(from: i64, to: Option<i64>, recovered: bool) -> Gap {
    Gap {
        cluster: Some(CLUSTER.to_owned()),
        group: Some(String::new()),
        resource: Some("pods".to_owned()),
        from_ns: ObservedTime::from_unix_ns(from * S),
        to_ns: to.map(|to| ObservedTime::from_unix_ns(to * S)),
        from_rv: Some("12".to_owned()),
        to_rv: to.map(|_| "20".to_owned()),
        reason: GapReason::Expired,
        recovered,
        detail: String::new(),
    }
}

#[test]
fn the_recorder_was_down() {
    let mut log = relisted();
    log.boot = 2;
    log.open(200 * S);
    log.event(201 * S, PODS, "ADDED", &pod("d", "D", 30).json());
    let state = log.fold();
    assert_eq!(reasons(&list(&state, at(150))), ["no-close"]);
    log.gap(202 * S, &gap(111, Some(200), true));
    let state = log.fold();
    let listing = list(&state, at(150));
    assert_eq!(reasons(&listing), ["expired"]);
    assert!(listing.gaps[0].recovered);
    // Another recorder looked all along.
    let mut other = Log::of_source(2);
    other.open(100 * S);
    other.list_of(101 * S, PODS, "10", &[]);
    other.event(250 * S, PODS, "BOOKMARK", r#"{"metadata":{"resourceVersion":"40"}}"#);
    let mut both = other;
    both.records.splice(0..0, relisted().records);
    both.records.extend(log.records.split_off(relisted().records.len()));
    assert_eq!(reasons(&list(&both.fold(), at(150))), [""; 0]);
}

#[test]
fn an_announced_gap_is_replaced_by_the_record_that_ends_it() {
    let mut log = Log::new();
    log.list_of(101 * S, PODS, "10", &[]);
    log.gap(105 * S, &gap(102, None, false));
    let denied = Gap { reason: GapReason::Denied, ..gap(102, None, false) };
    log.gap(107 * S, &denied);
    assert_eq!(reasons(&list(&log.fold(), Point::Now)), ["denied"]);
    log.event(110 * S, PODS, "ADDED", &pod("a", "A", 11).json());
    assert_eq!(reasons(&list(&log.fold(), Point::Now)), [""; 0]);
    log.gap(111 * S, &Gap { recovered: true, ..gap(102, Some(110), false) });
    let state = log.fold();
    assert_eq!(reasons(&list(&state, Point::Now)), [""; 0]);
    let inside = list(&state, at(105));
    assert_eq!((reasons(&inside), inside.gaps[0].recovered), (vec!["expired"], true));
    // As it was known while it lasted:
    assert_eq!(reasons(&list(&state, Point::Index(1))), ["expired"]);
    assert_eq!(reasons(&list(&state, Point::Index(2))), ["denied"]);
    let told = state.changes(Cursor::default(), &pods().into(), 100).unwrap().changes;
    let gaps = told.iter().filter(|change| matches!(change.body, ChangeBody::Gap(_)));
    assert_eq!(gaps.count(), 3);
}

#[test]
fn recordings_of_one_cluster_that_were_imported_in_any_order() {
    let recording = |source: u8, from: i64, rv: u64| {
        let mut log = Log { imported: true, ..Log::of_source(source) };
        log.open(0);
        log.list_of(from * S, PODS, &rv.to_string(), &[pod("a", "A", 5).json()]);
        log.event((from + 50) * S, PODS, "MODIFIED", &pod("a", "A", rv + 1).json());
        let end = Gap { reason: GapReason::RecordingEnded, ..gap(from + 60, None, false) };
        log.gap((from + 60) * S, &end);
        log
    };
    let (first, second) = (recording(1, 100, 10), recording(2, 1_000, 100));
    for mut logs in [vec![first, second], vec![recording(2, 1_000, 100), recording(1, 100, 10)]] {
        let last = logs.pop().unwrap();
        let mut log = logs.pop().unwrap();
        log.records.extend(last.records);
        let state = log.fold();
        let newest = list(&state, Point::Now);
        assert_eq!(newest.as_of.time, Some(Time(1_060 * S)));
        assert_eq!(reasons(&newest), [""; 0]);
        assert_eq!(reasons(&list(&state, at(150))), [""; 0]);
        assert_eq!(reasons(&list(&state, at(500))), ["recording-ended"]);
        assert_eq!(reasons(&list(&state, at(1_050))), [""; 0]);
        let late = list(&state, at(2_000));
        assert!(reasons(&late).contains(&"no-later-record"));
        assert_eq!(list(&state, at(155)).objects[0].version.resource_version, "11");
        assert_eq!(list(&state, at(1_055)).objects[0].version.resource_version, "101");
    }
}

#[test]
fn an_error_line_blinds_until_the_next_frame() {
    let mut log = Log::new();
    log.list_of(101 * S, PODS, "10", &[]);
    let status = r#"{"kind":"Status","code":410,"message":"too old resource version: 5 (9)"}"#;
    log.event(102 * S, PODS, "ERROR", status);
    assert_eq!(reasons(&list(&log.fold(), Point::Now)), ["expired"]);
    log.list_of(110 * S, PODS, "20", &[]);
    let state = log.fold();
    assert_eq!(reasons(&list(&state, at(105))), ["expired"]);
    assert_eq!(reasons(&list(&state, Point::Now)), [""; 0]);
    assert_eq!(reasons(&list(&state, Point::Index(1))), ["expired"]);
}

#[test]
fn pages_of_a_list_belong_together() {
    let mut log = Log::new();
    let page = |id, page, last| ListPage { id, page, last };
    let raw =
        |pod: Pod| format!(r#"{{"metadata":{{"resourceVersion":"10"}},"items":[{}]}}"#, pod.json());
    log.list_page(100 * S, PODS, page(1, 0, false), &raw(pod("a", "A", 5)));
    log.list_page(101 * S, PODS, page(1, 1, true), &raw(pod("b", "B", 6)));
    assert_eq!(names(&list(&log.fold(), Point::Now)), ["A", "B"]);
    // A list of which a page is missing tells what exists, never what does not.
    log.list_page(102 * S, PODS, page(2, 0, false), &raw(pod("a", "A", 5)));
    log.list_page(103 * S, PODS, page(2, 2, true), &raw(pod("c", "C", 8)));
    let state = log.fold();
    assert_eq!(names(&list(&state, Point::Now)), ["A", "B", "C"]);
    assert_eq!(state.coverage(&Filter::default(), &at(0), &Point::Now).unwrap().problem_count, 1);
}

#[test]
fn a_version_counts_once_and_out_of_order_versions_find_their_place() {
    let mut log = Log::new();
    log.list_of(100 * S, PODS, "10", &[pod("a", "A", 5).json()]);
    log.event(101 * S, PODS, "MODIFIED", &pod("a", "A", 12).json());
    log.event(102 * S, PODS, "MODIFIED", &pod("a", "A", 12).json());
    // Another source is late.
    let mut other = Log::of_source(2);
    other.event(103 * S, PODS, "MODIFIED", &pod("a", "A", 11).json());
    other.event(104 * S, PODS, "MODIFIED", &pod("a", "A", 12).json());
    log.records.extend(other.records);
    let state = log.fold();
    let filter = Filter { name: Some("a".to_owned()), ..pods() };
    let history = state.history(&ListQuery::new(filter, Point::Now).into()).unwrap();
    let rvs: Vec<_> =
        history.lives[0].versions.iter().map(|v| (&*v.resource_version, v.index)).collect();
    assert_eq!(rvs, [("5", 0), ("11", 3), ("12", 1)]);
    assert_eq!(list(&state, at(104)).objects[0].version.resource_version, "12");
    assert_eq!(list(&state, Point::Index(0)).objects[0].version.resource_version, "5");
}

#[test]
fn versions_without_an_order_stand_in_that_of_the_log() {
    let mut log = Log::new();
    let odd = |rv: &str| {
        format!(
            r#"{{"metadata":{{"name":"w","namespace":"x","uid":"W","resourceVersion":"{rv}"}}}}"#
        )
    };
    log.list_of(100 * S, "example.org/v1/widgets", "zz", &[odd("b")]);
    log.event(101 * S, "example.org/v1/widgets", "MODIFIED", &odd("a"));
    log.event(102 * S, "example.org/v1/widgets", "MODIFIED", &odd("a"));
    let state = log.fold();
    let filter = Filter { resource: Some("widgets".to_owned()), ..Filter::default() };
    let listing = state.list(&ListQuery::new(filter, Point::Now)).unwrap();
    assert_eq!(listing.objects[0].version.resource_version, "a");
    // What a list implies stands in front.
    assert!(listing.objects[0].json().starts_with("{\"apiVersion\":\"example.org/v1\",\"kind\""));
}

#[test]
fn what_cannot_be_read_stops_nothing() {
    let mut log = Log::new();
    log.list_of(100 * S, PODS, "10", &[pod("a", "A", 5).json()]);
    log.watch(101 * S, PODS, "{\"type\":\"ADDED\"");
    log.watch(102 * S, PODS, r#"{"type":"TORN","object":{}}"#);
    log.push(Kind::KUBE_WATCH, 103 * S, b"no context".to_vec());
    log.push(Kind::GAP, 104 * S, b"[]".to_vec());
    log.push(Kind::SOURCE_OPEN, 105 * S, b"{}".to_vec());
    log.push(Kind(999), 106 * S, vec![0xff; 10]);
    log.list_of(107 * S, PODS, "10", &["{\"metadata\":{}}".to_owned()]);
    // Erased: the header says that there was a payload.
    let erased = log.event(108 * S, PODS, "ADDED", &pod("x", "X", 20).json());
    log.records[usize::try_from(erased).unwrap()].1.clear();
    let state = log.fold();
    let coverage = state.coverage(&Filter::default(), &at(0), &Point::Now).unwrap();
    assert_eq!(coverage.problem_count, 7);
    assert_eq!(coverage.problems[0].index, erased);
    assert_eq!(names(&list(&state, Point::Now)), ["A"]);
}

#[test]
fn the_sequence_of_changes_can_be_resumed_anywhere() {
    let mut log = relisted();
    log.gap(112 * S, &gap(103, Some(110), false));
    let state = log.fold();
    let all = state.changes(Cursor::default(), &ChangeFilter::default(), 100).unwrap();
    assert!(all.complete);
    assert_eq!(all.next, Cursor { index: state.next_index(), ordinal: 0 });
    let told: Vec<String> = all
        .changes
        .iter()
        .map(|change| match &change.body {
            ChangeBody::Object(o) => format!("{:?} {}", o.version.verb, o.reference.uid),
            ChangeBody::Gap(gap) => gap.reason.clone(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "Listed A",
            "Listed B",
            "Modified A",
            "Added C",
            "relisted",
            "Listed A",
            "Replaced C",
            "Listed C2",
            "Vanished B",
            "Deleted A",
            "expired"
        ]
    );
    for start in 0..all.changes.len() {
        let mut cursor = all.changes[start].at;
        let mut seen = Vec::new();
        loop {
            let part = state.changes(cursor, &ChangeFilter::default(), 2).unwrap();
            seen.extend(part.changes.iter().map(|change| change.at));
            cursor = part.next;
            if part.complete {
                break;
            }
        }
        let wanted: Vec<Cursor> = all.changes[start..].iter().map(|change| change.at).collect();
        assert_eq!(seen, wanted);
    }
    let filter = Filter { name: Some("b".to_owned()), ..pods() };
    assert_eq!(state.changes(Cursor::default(), &filter.into(), 100).unwrap().changes.len(), 4);
}

#[test]
fn subscribers_are_told() {
    let state = State::temporary().unwrap();
    let mut told = state.subscribe();
    fold_into(&state, &relisted().records, 4);
    assert!(told.has_changed().unwrap());
    assert_eq!(*told.borrow_and_update(), 6);
}

#[test]
fn differences_and_their_paths() {
    let state = relisted().fold();
    let diff = state.diff(&pods(), &at(103), &at(111)).unwrap();
    let told: Vec<_> = diff
        .differences
        .iter()
        .map(|d| (&*d.reference.uid, d.before.is_some(), d.after.is_some()))
        .collect();
    assert_eq!(
        told,
        [("A", true, false), ("B", true, false), ("C", true, false), ("C2", false, true)]
    );
    assert_eq!(diff.gaps.len(), 1);
    let diff = state.diff(&pods(), &at(101), &at(102)).unwrap();
    let paths = diff.differences[0].paths().unwrap();
    assert_eq!(paths.len(), 1);
    assert_eq!(paths[0].path, "/metadata/resourceVersion");
}

#[test]
fn selectors_and_names() {
    let state = relisted().fold();
    let count =
        |filter: Filter| state.list(&ListQuery::new(filter, at(103))).unwrap().objects.len();
    let labels = |text: &str| text.parse::<LabelSelector>().unwrap();
    assert_eq!(count(pods()), 3);
    assert_eq!(count(Filter { labels: labels("app=web"), ..pods() }), 3);
    assert_eq!(count(Filter { labels: labels("app!=web"), ..pods() }), 0);
    assert_eq!(count(Filter { namespace: Some("shop".to_owned()), ..pods() }), 3);
    assert_eq!(count(Filter { namespace: Some("sho".to_owned()), ..pods() }), 0);
    assert_eq!(count(Filter { fields: "metadata.name!=a".parse().unwrap(), ..pods() }), 2);
    let one = Filter { name: Some("b".to_owned()), ..pods() };
    assert_eq!(count(one.clone()), 1);
    assert_eq!(count(Filter { namespace: Some("shop".to_owned()), ..one }), 1);
    assert_eq!(count(Filter { resource: Some("secrets".to_owned()), ..Filter::default() }), 0);
}

#[test]
fn types_go_by_many_names() {
    let mut log = relisted();
    let widget = |group: &str| Resource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: "widgets".to_owned(),
        kind: "Widget".to_owned(),
        singular: "widget".to_owned(),
        short_names: vec!["wd".to_owned()],
        namespaced: true,
    };
    let found = ResourceList {
        cluster: CLUSTER.to_owned(),
        cluster_name: "prod".to_owned(),
        server: String::new(),
        resources: vec![widget("example.org"), widget("example.com")],
    };
    log.push(Kind::KUBE_RESOURCES, 120 * S, found.encode());
    let state = log.fold();
    for (text, group, resource) in [
        ("po", "", "pods"),
        ("Pod", "", "pods"),
        ("pods.v1", "", "pods"),
        ("deploy", "apps", "deployments"),
        ("deployments.apps", "apps", "deployments"),
        ("deployments.v1.apps", "apps", "deployments"),
        ("Deployment", "apps", "deployments"),
        ("events", "", "events"),
        ("ev.events.k8s.io", "events.k8s.io", "events"),
        ("wd.example.org", "example.org", "widgets"),
    ] {
        let found = state.resolve_type(Some("prod"), text).unwrap();
        assert_eq!((&*found.group, &*found.resource), (group, resource), "{text}");
    }
    let ambiguous = state.resolve_type(None, "widgets").unwrap_err();
    assert!(ambiguous.hint().contains("widgets.example.com"), "{ambiguous:?}");
    assert!(matches!(state.resolve_type(None, "pod.apps"), Err(StateError::NotFound { .. })));
    let clusters = state.clusters().unwrap();
    assert_eq!((&*clusters[0].id, &*clusters[0].name, clusters[0].objects), (CLUSTER, "prod", 1));
    assert_eq!(state.resources(None).unwrap().len(), 3);
    assert!(state.resources(Some("other")).is_err());
}

#[test]
fn a_record_from_the_future_is_said_so() {
    let state = relisted().fold();
    let error = state.list(&ListQuery::new(pods(), Point::Index(6))).unwrap_err();
    assert!(matches!(error, StateError::NotYet { index: 6, next: 6 }));
    let empty = State::temporary().unwrap();
    assert!(matches!(
        empty.list(&ListQuery::new(pods(), Point::Now)),
        Err(StateError::NotFound { .. })
    ));
    assert!(empty.changes(Cursor::default(), &ChangeFilter::default(), 1).unwrap().complete);
}

/// A recorder that is followed live brings a record at a time.
#[test]
fn small_batches_do_not_let_the_view_grow() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path()).unwrap();
    let mut log = Log::new();
    log.open(0);
    for rv in 1..3_000 {
        log.event(rv, "v1/pods", "MODIFIED", &Pod::new("a", "u", 1).at_rv(rv as u64).json());
    }
    fold_into(&state, &log.records, 1);
    let size = state.stored_bytes().unwrap();
    assert!(size < 128 << 20, "{size} bytes");
}
