//! The checklist of pod mapping, one test for each item.
//!
//! | item | where |
//! |---|---|
//! | I1 identity is the uid | `i1_…` |
//! | I2 all addresses of a pod | `i2_…` |
//! | I3 forms of an address | `i3_…` |
//! | I4 host network | `i4_…`, with ports in `translation.rs` |
//! | I5 several addresses over time | `i5_…` |
//! | I6 secondary interfaces | `i6_…` |
//! | I7 the same address in several clusters | `i7_…` |
//! | S1, S2 begin | `s1_…`, `s2_…` |
//! | E1, E6 finished pods | `e1_e6_…` |
//! | E2 free before it is seen | `e2_…` |
//! | E3 deletion timestamp | `e3_…` |
//! | E4 force delete | `e4_…` |
//! | E5 node lost | `e5_…` |
//! | O1 order of resource versions | `o1_…`, `rv::tests` |
//! | O2 relist | `fold.rs`, `o2_o3_…` |
//! | O3 born and gone in a gap | `o2_o3_…` |
//! | O4 bookmarks | `o4_…` |
//! | O5 same name, new uid | `o5_…`, `fold.rs` |
//! | O6 servers that disagree | `o6_…`: each version leads to the record of its source; naming the disagreement is done where sources are compared |
//! | O7 restore of etcd | `o7_…` in `silence.rs`: a gap until versions are beyond the old ones; epochs of their own are not done |
//! | O8 order only within a resource | `o8_…` |
//! | C1 tolerance | `c1_…` |
//! | C2 flows are stretches | `c2_…` |
//! | C3 no answer regardless of time | `c3_…` |
//! | C4 the time of the flow, not of the question | `c4_…` |
//! | T1 virtual address → backend | `t1_…` in `translation.rs` |
//! | T2 node and service addresses | `t2_…`, `t2_…` in `translation.rs` |
//! | T3 translated sources | `t3_…` in `translation.rs` |
//! | T4 external addresses | `t4_…` in `translation.rs` |
//! | W1, W2 owners | `w1_w2_…`, `w1_…` and `w2_…` in `translation.rs` |

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{CLUSTER, Log, Pod, S};
use stele_record::{Gap, GapReason, ObservedTime};
use stele_state::query::{Holder, IpAnswer, IpQuery, LeaseEnd, Verdict};
use stele_state::{Point, State, Time};

const PODS: &str = "v1/pods";
const IP: &str = "10.42.0.17";

/// A log that begins with an empty list at second 90.
fn log() -> Log {
    let mut log = Log::new();
    log.open(90 * S);
    // Without somebody who looks at these, none of them can be ruled out as a holder.
    for resource in [PODS, "v1/nodes", "v1/services"] {
        log.list_of(90 * S, resource, "1", &[]);
    }
    log
}

fn at(seconds: i64) -> Point {
    Point::Observed(Time(seconds * S))
}

/// Somebody still looks at this second.
fn until(log: &mut Log, seconds: i64) -> State {
    let mark = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1000"}}"#;
    log.event(seconds * S, PODS, "BOOKMARK", mark);
    log.fold()
}

fn ask(state: &State, ip: &str, seconds: i64) -> IpAnswer {
    state.ip(ip, &at(seconds), &IpQuery::default()).unwrap()
}

fn told(answer: &IpAnswer) -> (Verdict, Vec<&str>) {
    (answer.verdict, answer.candidates.iter().map(|c| c.reference.uid.as_str()).collect())
}

/// Bound at `start`, running with the address a second later.
fn begin(log: &mut Log, pod: &Pod, start: i64, ips: &[&'static str]) -> Pod {
    log.event(start * S, PODS, "ADDED", &pod.json());
    let running = pod.runs(pod.rv + 1, ips);
    log.event((start + 1) * S, PODS, "MODIFIED", &running.json());
    running
}

#[test]
fn i1_identity_is_the_uid() {
    let mut log = log();
    let first = begin(&mut log, &Pod::new("db-0", "A", 100).at_rv(10), 100, &[IP]);
    log.event(110 * S, PODS, "MODIFIED", &first.ends(20, "Failed").json());
    log.event(111 * S, PODS, "DELETED", &first.ends(21, "Failed").json());
    begin(&mut log, &Pod::new("db-0", "B", 120).at_rv(30), 120, &[IP]);
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, IP, 105)), (Verdict::Single, vec!["A"]));
    assert_eq!(told(&ask(&state, IP, 115)), (Verdict::None, vec![]));
    assert_eq!(told(&ask(&state, IP, 130)), (Verdict::Single, vec!["B"]));
}

#[test]
fn i2_all_addresses_of_a_pod_are_found() {
    let mut log = log();
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP, "fd00::17"]);
    let state = until(&mut log, 200);
    for ip in [IP, "fd00::17"] {
        assert_eq!(told(&ask(&state, ip, 150)), (Verdict::Single, vec!["A"]));
    }
}

#[test]
fn i3_an_address_may_be_written_in_many_ways() {
    let mut log = log();
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP, "FD00:0:0::0017"]);
    let state = until(&mut log, 200);
    for ip in ["::ffff:10.42.0.17", "::ffff:a2a:11", "fd00::17", "fd00:0000::0017", "[fd00::17]"] {
        let answer = ask(&state, ip, 150);
        assert_eq!(told(&answer), (Verdict::Single, vec!["A"]), "{ip}");
        assert!([IP, "fd00::17"].contains(&&*answer.address));
    }
    for bad in ["", "10.42.0", "10.42.0.17.1", "web"] {
        state.ip(bad, &at(150), &IpQuery::default()).unwrap_err();
    }
}

#[test]
fn i4_host_network_pods_share_their_nodes_address() {
    let mut log = log();
    for (name, uid, rv) in [("agent", "A", 10), ("proxy", "B", 20)] {
        let pod = Pod { host_network: true, ..Pod::new(name, uid, 100).at_rv(rv) };
        begin(&mut log, &pod, 100, &["192.168.0.1"]);
    }
    let state = until(&mut log, 200);
    let answer = ask(&state, "192.168.0.1", 150);
    assert_eq!(answer.verdict, Verdict::Node);
    assert_eq!(answer.candidates.len(), 2);
    for candidate in &answer.candidates {
        assert_eq!(candidate.holder, Holder::HostNetworkPod);
        assert_eq!(candidate.node.as_deref(), Some("node-1"));
    }
}

#[test]
fn i5_a_pod_may_have_several_addresses_over_time() {
    let mut log = log();
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    // The node was started again: a new sandbox, a new address, and none in between.
    log.event(120 * S, PODS, "MODIFIED", &pod.runs(20, &[]).json());
    log.event(130 * S, PODS, "MODIFIED", &pod.runs(21, &["10.42.0.99"]).json());
    begin(&mut log, &Pod::new("q", "B", 140).at_rv(30), 140, &[IP]);
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, IP, 110)), (Verdict::Single, vec!["A"]));
    // The old address may have been its own until the new one was seen.
    assert_eq!(told(&ask(&state, IP, 125)), (Verdict::Single, vec!["A"]));
    assert_eq!(ask(&state, IP, 125).candidates[0].end, LeaseEnd::Changed);
    assert_eq!(told(&ask(&state, IP, 135)), (Verdict::None, vec![]));
    assert_eq!(told(&ask(&state, IP, 150)), (Verdict::Single, vec!["B"]));
    assert_eq!(told(&ask(&state, "10.42.0.99", 135)), (Verdict::Single, vec!["A"]));
    assert_eq!(told(&ask(&state, "10.42.0.99", 190)), (Verdict::Single, vec!["A"]));
}

#[test]
fn i6_secondary_interfaces_are_found() {
    let mut log = log();
    let networks = r#"[{"name":"cbr0","ips":["10.42.0.17"],"default":true},
                       {"name":"storage/net1","ips":["172.16.0.5"]},{"name":"odd","ips":null}]"#;
    let pod = Pod { networks, ..Pod::new("p", "A", 100).at_rv(10) };
    begin(&mut log, &pod, 100, &[IP]);
    // What a plug-in wrote is free text: it must not stop anything.
    let odd = Pod { networks: "no JSON", ..Pod::new("q", "B", 100).at_rv(20) };
    begin(&mut log, &odd, 102, &["10.42.0.18"]);
    let state = until(&mut log, 200);
    let answer = ask(&state, "172.16.0.5", 150);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert_eq!(answer.candidates[0].network, "storage/net1");
    let answer = ask(&state, IP, 150);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert_eq!(answer.candidates[0].network, "default");
    assert_eq!(told(&ask(&state, "10.42.0.18", 150)), (Verdict::Single, vec!["B"]));
}

#[test]
fn i7_clusters_may_use_the_same_addresses() {
    let mut log = log();
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    let mut other = Log::of_source(2);
    other.list_of(90 * S, PODS, "1", &[]);
    begin(&mut other, &Pod::new("q", "B", 100).at_rv(10), 100, &[IP]);
    let mark = r#"{"metadata":{"resourceVersion":"1000"}}"#;
    other.event(200 * S, PODS, "BOOKMARK", mark);
    for (header, payload) in &mut other.records {
        let text = String::from_utf8(payload.clone()).unwrap();
        *payload = text.replacen("\"cluster\":\"test\"", "\"cluster\":\"two\"", 1).into_bytes();
        header.payload_len = payload.len() as u64;
    }
    log.records.extend(other.records);
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, IP, 150)), (Verdict::Several, vec!["A", "B"]));
    let only = |cluster: &str| IpQuery { cluster: Some(cluster.to_owned()), ..IpQuery::default() };
    assert_eq!(told(&state.ip(IP, &at(150), &only(CLUSTER)).unwrap()).1, ["A"]);
    assert_eq!(told(&state.ip(IP, &at(150), &only("two")).unwrap()).1, ["B"]);
    state.ip(IP, &at(150), &only("three")).unwrap_err();
}

#[test]
fn s1_a_pod_may_send_before_its_address_is_reported() {
    let mut log = log();
    log.event(100 * S, PODS, "ADDED", &Pod::new("p", "A", 100).at_rv(10).json());
    let pod = Pod::new("p", "A", 100).runs(11, &[IP]);
    log.event(110 * S, PODS, "MODIFIED", &pod.json());
    // Ends without ever having reported an address.
    let fast = Pod::new("fast", "F", 120).at_rv(20);
    log.event(120 * S, PODS, "ADDED", &fast.json());
    log.event(125 * S, PODS, "MODIFIED", &fast.ends(21, "Succeeded").json());
    let state = until(&mut log, 200);
    let early = ask(&state, IP, 105);
    assert_eq!(told(&early), (Verdict::Single, vec!["A"]));
    assert!(!early.candidates[0].reported);
    assert!(ask(&state, IP, 150).candidates[0].reported);
    // Until it ended, it may have had any address, and the answer says so.
    let answer = ask(&state, "10.42.0.55", 122);
    assert_eq!((answer.verdict, answer.unaddressed_count), (Verdict::None, 1));
    assert_eq!(answer.unaddressed[0].uid, "F");
    assert_eq!(ask(&state, "10.42.0.55", 130).unaddressed_count, 0);
    // As it was known at the time, the first pod had no address either.
    let known = IpQuery { known_at: Some(4), ..IpQuery::default() };
    let answer = state.ip(IP, &Point::Index(4), &known).unwrap();
    assert_eq!((answer.verdict, answer.unaddressed_count), (Verdict::None, 1));
}

#[test]
fn s2_creation_is_known_to_a_second_only() {
    let mut log = log();
    // Seen 0.4 s after the second it was created in.
    log.event(100 * S + 400_000_000, PODS, "ADDED", &Pod::new("p", "A", 100).at_rv(10).json());
    let pod = Pod::new("p", "A", 100).runs(11, &[IP]);
    log.event(101 * S, PODS, "MODIFIED", &pod.json());
    let state = until(&mut log, 200);
    let from = ask(&state, IP, 150).candidates[0].from;
    assert_eq!(from, Time(99 * S));
    assert_eq!(told(&ask(&state, IP, 98)).0, Verdict::None);
    assert_eq!(told(&ask(&state, IP, 99)), (Verdict::Single, vec!["A"]));
}

#[test]
fn e1_e6_a_finished_pod_no_longer_has_its_address() {
    for phase in ["Succeeded", "Failed"] {
        let mut log = log();
        let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
        // The object and its podIP stay for days.
        log.event(110 * S, PODS, "MODIFIED", &pod.ends(20, phase).json());
        let state = until(&mut log, 200);
        assert_eq!(told(&ask(&state, IP, 109)), (Verdict::Single, vec!["A"]));
        let after = ask(&state, IP, 150);
        assert_eq!(told(&after), (Verdict::None, vec![]));
    }
}

#[test]
fn e2_an_address_is_free_before_the_end_is_seen() {
    let mut log = log();
    let old = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    // The address went to B at 120, the end of A was seen at 125.
    begin(&mut log, &Pod::new("q", "B", 119).at_rv(20), 119, &[IP]);
    log.event(125 * S, PODS, "MODIFIED", &old.ends(30, "Succeeded").json());
    let state = until(&mut log, 200);
    let answer = ask(&state, IP, 122);
    assert_eq!(told(&answer), (Verdict::Several, vec!["B", "A"]));
    assert!((answer.candidates[0].share - 0.5).abs() < 1e-9);
    assert_eq!(told(&ask(&state, IP, 130)), (Verdict::Single, vec!["B"]));
}

#[test]
fn e3_the_deletion_timestamp_is_no_end() {
    let mut log = log();
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    let asked = Pod { created_s: 100 - 1_000 + 110, ..pod.deleting(20, 30) };
    // Due at second 110, but nothing says that it has ended.
    log.event(105 * S, PODS, "MODIFIED", &asked.json());
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, IP, 150)), (Verdict::Single, vec!["A"]));
}

#[test]
fn e4_the_end_of_a_pod_deleted_by_force_is_unknown() {
    let mut log = log();
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    log.event(110 * S, PODS, "MODIFIED", &pod.deleting(20, 0).json());
    log.event(110 * S, PODS, "DELETED", &pod.deleting(21, 0).json());
    let state = until(&mut log, 200);
    let answer = ask(&state, IP, 150);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert!(!answer.candidates[0].reported);
    assert_eq!((answer.candidates[0].end, answer.candidates[0].to), (LeaseEnd::Unknown, None));
    // Until another pod is seen with it.
    begin(&mut log, &Pod::new("q", "B", 210).at_rv(2_000), 210, &[IP]);
    let state = until(&mut log, 300);
    assert_eq!(told(&ask(&state, IP, 210)), (Verdict::Several, vec!["B", "A"]));
    assert_eq!(told(&ask(&state, IP, 220)), (Verdict::Single, vec!["B"]));
    assert_eq!(ask(&state, IP, 150).candidates[0].end, LeaseEnd::Superseded);
}

#[test]
fn e4_a_stuck_pod_deleted_by_force_may_run_on() {
    let removed = |grace_given: bool, running: bool, seconds: i64| {
        let mut log = log();
        let pod = begin(&mut log, &Pod::new("p", "A", -890).at_rv(10), 100, &[IP]);
        // Its deletion is due at second 110.
        if grace_given {
            log.event(105 * S, PODS, "MODIFIED", &pod.deleting(20, 5).json());
        }
        let last = Pod { running, ..pod.deleting(30, 0) };
        log.event(seconds * S, PODS, "DELETED", &last.json());
        ask(&until(&mut log, 500), IP, 107).candidates[0].clone()
    };
    let orderly = removed(true, false, 109);
    assert_eq!((orderly.end, orderly.to), (LeaseEnd::Deleted, Some(Time(109 * S))));
    let late = removed(true, false, 400);
    assert_eq!((late.end, late.to), (LeaseEnd::Deleted, Some(Time(400 * S))));
    let hasty = removed(true, true, 107 + 1);
    assert_eq!((hasty.end, hasty.to), (LeaseEnd::Deleted, Some(Time(111 * S))));
    let stuck = removed(true, true, 400);
    assert_eq!((stuck.end, stuck.to), (LeaseEnd::Unknown, None));
    let forced = removed(false, true, 109);
    assert_eq!((forced.end, forced.to), (LeaseEnd::Unknown, None));
}

#[test]
fn e4_a_pod_that_vanished_unseen_may_have_been_removed_by_force() {
    let vanished = |last: &dyn Fn(&Pod) -> Pod| {
        let mut log = log();
        let pod = begin(&mut log, &Pod::new("p", "A", -890).at_rv(10), 100, &[IP]);
        log.event(105 * S, PODS, "MODIFIED", &last(&pod).json());
        log.list_of(112 * S, PODS, "50", &[]);
        begin(&mut log, &Pod::new("q", "B", 300).at_rv(60), 300, &[IP]);
        until(&mut log, 500)
    };
    // It was running when last seen: it may have had the address until another pod was seen with it.
    let state = vanished(&|pod| pod.at_rv(12));
    let lease = ask(&state, IP, 107).candidates[0].clone();
    assert_eq!((lease.end, lease.to), (LeaseEnd::Superseded, Some(Time(301 * S))));
    assert_eq!(told(&ask(&state, IP, 200)), (Verdict::Single, vec!["A"]));
    // It was being ended, which was due at second 110.
    let state = vanished(&|pod| pod.deleting(12, 5));
    let lease = ask(&state, IP, 107).candidates[0].clone();
    assert_eq!((lease.end, lease.to), (LeaseEnd::Vanished, Some(Time(112 * S))));
    // It had ended.
    let state = vanished(&|pod| pod.ends(12, "Succeeded"));
    let lease = ask(&state, IP, 102).candidates[0].clone();
    assert_eq!((lease.end, lease.to), (LeaseEnd::Terminal, Some(Time(105 * S))));
}

#[test]
fn e5_a_pod_on_a_lost_node_still_has_its_address() {
    let mut log = log();
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    // Evicted by the controller; its kubelet does not answer any more.
    log.event(110 * S, PODS, "MODIFIED", &pod.deleting(20, 30).json());
    begin(&mut log, &Pod::new("q", "B", 400).at_rv(30), 400, &[IP]);
    let state = until(&mut log, 900);
    assert_eq!(told(&ask(&state, IP, 300)), (Verdict::Single, vec!["A"]));
    assert_eq!(told(&ask(&state, IP, 500)), (Verdict::Several, vec!["B", "A"]));
}

#[test]
fn e6_an_evicted_pod_keeps_its_address_in_the_api_only() {
    let mut log = log();
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    // Evicted for want of memory: the object stays, `Failed`, with its podIP, and is written again.
    log.event(110 * S, PODS, "MODIFIED", &pod.ends(20, "Failed").json());
    log.event(150 * S, PODS, "MODIFIED", &pod.ends(21, "Failed").json());
    begin(&mut log, &Pod::new("q", "B", 120).at_rv(30), 120, &[IP]);
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, IP, 115)), (Verdict::None, vec![]));
    assert_eq!(told(&ask(&state, IP, 160)), (Verdict::Single, vec!["B"]));
    let answer = ask(&state, IP, 105);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert_eq!(answer.candidates[0].end, LeaseEnd::Terminal);
    assert_eq!(answer.candidates[0].phase.as_deref(), Some("Running"));
}

#[test]
fn o1_versions_are_ordered_by_length_then_digits() {
    let mut log = log();
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(98), 100, &[IP]);
    // Written before the version with the address, but seen after it: 9 is before 98.
    log.event(103 * S, PODS, "MODIFIED", &Pod::new("p", "A", 100).at_rv(9).json());
    // 100 is after 99: the pod has ended.
    log.event(110 * S, PODS, "MODIFIED", &pod.ends(100, "Succeeded").json());
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, IP, 105)), (Verdict::Single, vec!["A"]));
    assert_eq!(told(&ask(&state, IP, 150)), (Verdict::None, vec![]));
}

#[test]
fn o6_each_version_leads_to_the_record_of_its_source() {
    let mut log = log();
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    // Another server has fallen behind, and shows an old pod with the address as new.
    let mut behind = Log::of_source(2);
    for resource in [PODS, "v1/nodes", "v1/services"] {
        behind.list_of(90 * S, resource, "1", &[]);
    }
    behind.event(130 * S, PODS, "ADDED", &Pod::new("p", "A", 100).at_rv(10).json());
    let mark = r#"{"metadata":{"resourceVersion":"1000"}}"#;
    behind.event(200 * S, PODS, "BOOKMARK", mark);
    log.records.extend(behind.records);
    let state = until(&mut log, 200);
    let answer = ask(&state, IP, 150);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    let first = usize::try_from(answer.candidates[0].index).unwrap();
    assert_eq!(log.records[first].0.source.as_bytes(), &[1; 32]);
    assert_eq!(answer.candidates[0].reported_from, Time(101 * S));
}

#[test]
fn o8_versions_of_different_resources_are_not_compared() {
    let mut log = log();
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(500), 100, &[IP]);
    // Events may live in an etcd of their own, with other numbers.
    let event = |rv: u32| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Event","metadata":{{"name":"e","namespace":"shop","uid":"E","resourceVersion":"{rv}"}}}}"#
        )
    };
    log.list_of(110 * S, "v1/events", "3", &[]);
    log.event(111 * S, "v1/events", "ADDED", &event(4));
    log.event(112 * S, "v1/events", "MODIFIED", &event(900_000));
    let state = until(&mut log, 200);
    let answer = ask(&state, IP, 150);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert_eq!(answer.gaps, []);
}

#[test]
fn o2_o3_in_a_gap_the_answer_is_unknown() {
    let mut log = log();
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    let gap = |recovered| Gap {
        cluster: Some(CLUSTER.to_owned()),
        group: Some(String::new()),
        resource: Some("pods".to_owned()),
        from_ns: ObservedTime::from_unix_ns(110 * S),
        to_ns: Some(ObservedTime::from_unix_ns(120 * S)),
        from_rv: Some("11".to_owned()),
        to_rv: Some("50".to_owned()),
        reason: GapReason::Expired,
        recovered,
        detail: String::new(),
    };
    log.gap(120 * S, &gap(false));
    log.list_of(121 * S, PODS, "50", &[pod.at_rv(11).json()]);
    let state = until(&mut log, 200);
    let answer = ask(&state, IP, 115);
    assert_eq!(told(&answer), (Verdict::Unknown, vec!["A"]));
    assert_eq!(answer.gaps.len(), 1);
    // A pod may have been born and gone in it, with any address.
    assert_eq!(told(&ask(&state, "10.42.0.99", 115)), (Verdict::Unknown, vec![]));
    assert_eq!(told(&ask(&state, IP, 130)), (Verdict::Single, vec!["A"]));
    assert_eq!(told(&ask(&state, IP, 50)), (Verdict::Unknown, vec![]));
    assert_eq!(told(&ask(&state, IP, 5_000)), (Verdict::Unknown, vec!["A"]));
    // Nothing was missed, it was only seen late: no reason to doubt.
    let mut late = self::log();
    begin(&mut late, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    late.gap(120 * S, &gap(true));
    let answer = ask(&until(&mut late, 200), IP, 115);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert!(answer.gaps[0].recovered);
}

#[test]
fn o4_bookmarks_advance_the_version() {
    let mut log = log();
    let state = until(&mut log, 200);
    let filter = stele_state::query::Filter {
        resource: Some("pods".to_owned()),
        ..stele_state::query::Filter::default()
    };
    let coverage = state.coverage(&filter, &at(90), &Point::Now).unwrap();
    assert_eq!(coverage.types[0].resource_version.as_deref(), Some("1000"));
    assert_eq!(coverage.types[0].to, Some(Time(200 * S)));
    assert_eq!(coverage.types[0].gaps, []);
}

#[test]
fn o5_a_new_uid_under_a_name_ends_the_old_lease() {
    let mut log = log();
    begin(&mut log, &Pod::new("db-0", "A", 100).at_rv(10), 100, &[IP]);
    let new = Pod::new("db-0", "B", 120).runs(30, &["10.42.0.18"]);
    log.event(122 * S, PODS, "MODIFIED", &new.json());
    let state = until(&mut log, 200);
    // The object is gone; nobody saw how, so its containers may run on (E4).
    let answer = ask(&state, IP, 121);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert_eq!(answer.candidates[0].end, LeaseEnd::Unknown);
    let answer = ask(&state, IP, 150);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert!(!answer.candidates[0].reported);
    assert_eq!(told(&ask(&state, "10.42.0.18", 150)), (Verdict::Single, vec!["B"]));
}

#[test]
fn c1_the_clock_of_the_flow_may_be_off() {
    let mut log = log();
    let old = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    log.event(120 * S, PODS, "MODIFIED", &old.ends(20, "Succeeded").json());
    begin(&mut log, &Pod::new("q", "B", 124).at_rv(30), 124, &[IP]);
    let state = until(&mut log, 200);
    let off = IpQuery { tolerance_ms: 5_000, ..IpQuery::default() };
    assert_eq!(told(&ask(&state, IP, 122)), (Verdict::None, vec![]));
    let answer = state.ip(IP, &at(122), &off).unwrap();
    assert_eq!(told(&answer), (Verdict::Several, vec!["B", "A"]));
    assert_eq!(answer.tolerance_ms, 5_000);
    assert_eq!(told(&state.ip(IP, &at(110), &off).unwrap()), (Verdict::Single, vec!["A"]));
}

#[test]
fn c2_a_flow_is_a_stretch_and_holders_have_shares() {
    let mut log = log();
    let old = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    log.event(120 * S, PODS, "MODIFIED", &old.ends(20, "Succeeded").json());
    begin(&mut log, &Pod::new("q", "B", 131).at_rv(30), 131, &[IP]);
    let state = until(&mut log, 200);
    let range =
        |from: i64, to: i64| state.ip_range(IP, &at(from), &at(to), &IpQuery::default()).unwrap();
    let answer = range(110, 150);
    assert_eq!(told(&answer), (Verdict::Several, vec!["B", "A"]));
    assert_eq!(answer.candidates.iter().map(|c| c.share).collect::<Vec<_>>(), [0.5, 0.25]);
    assert_eq!(told(&range(105, 115)), (Verdict::Single, vec!["A"]));
    assert_eq!(told(&range(121, 129)), (Verdict::None, vec![]));
    assert_eq!(told(&range(80, 129)).0, Verdict::Unknown);
    assert!(state.ip_range(IP, &at(150), &at(110), &IpQuery::default()).is_err());
}

#[test]
fn c3_the_only_known_pod_is_no_answer_for_another_time() {
    let mut log = log();
    begin(&mut log, &Pod::new("p", "A", 150).at_rv(10), 150, &[IP]);
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, IP, 120)), (Verdict::None, vec![]));
}

#[test]
fn c4_the_time_of_the_flow_counts_and_answers_can_be_repeated() {
    let mut log = log();
    let old = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    let state = until(&mut log, 110);
    let before = ask(&state, IP, 105);
    let known = before.as_of.index;
    log.event(120 * S, PODS, "MODIFIED", &old.ends(2_000, "Succeeded").json());
    begin(&mut log, &Pod::new("q", "B", 131).at_rv(2_001), 131, &[IP]);
    let state = until(&mut log, 500);
    assert_eq!(told(&ask(&state, IP, 105)), (Verdict::Single, vec!["A"]));
    let again = IpQuery { known_at: known, ..IpQuery::default() };
    assert_eq!(state.ip(IP, &at(105), &again).unwrap(), before);
    let index = Point::Index(known.unwrap());
    assert_eq!(told(&state.ip(IP, &index, &again).unwrap()), (Verdict::Single, vec!["A"]));
}

#[test]
fn t2_addresses_of_nodes_and_services() {
    let mut log = log();
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-1","uid":"N","resourceVersion":"5"},"status":{"addresses":[{"type":"InternalIP","address":"192.168.0.1"},{"type":"Hostname","address":"node-1"}]}}"#;
    log.event(95 * S, "v1/nodes", "ADDED", node);
    let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","uid":"V","resourceVersion":"6"},"spec":{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"]},"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.7"}]}}}"#;
    log.event(96 * S, "v1/services", "ADDED", service);
    let headless = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"db","namespace":"shop","uid":"H","resourceVersion":"7"},"spec":{"clusterIP":"None","clusterIPs":["None"]}}"#;
    log.event(97 * S, "v1/services", "ADDED", headless);
    let agent = Pod { host_network: true, ..Pod::new("agent", "A", 100).at_rv(10) };
    begin(&mut log, &agent, 100, &["192.168.0.1"]);
    let state = until(&mut log, 200);
    assert_eq!(told(&ask(&state, "192.168.0.1", 150)), (Verdict::Node, vec!["A", "N"]));
    for ip in ["10.96.0.10", "203.0.113.7"] {
        assert_eq!(told(&ask(&state, ip, 150)), (Verdict::Service, vec!["V"]));
    }
}

#[test]
fn w1_w2_owners_are_followed_by_uid_as_of_the_time() {
    let mut log = log();
    let rs = |rv: u32, controller: bool| {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{{"name":"web-7c","namespace":"shop","uid":"RS","resourceVersion":"{rv}","ownerReferences":[{{"apiVersion":"example.org/v1","kind":"Note","name":"x","uid":"X","controller":false}},{{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","name":"shop-front","uid":"RO","controller":{controller}}}]}}}}"#
        )
    };
    log.event(95 * S, "apps/v1/replicasets", "ADDED", &rs(5, true));
    let owner = Some(("ReplicaSet", "web-7c", "RS", true));
    let pod = Pod { owner, ..Pod::new("web-7c-abcde", "A", 100).at_rv(10) };
    begin(&mut log, &pod, 100, &[IP]);
    // For a while the owner has no controller itself.
    log.event(114 * S, "apps/v1/replicasets", "MODIFIED", &rs(20, false));
    log.event(117 * S, "apps/v1/replicasets", "MODIFIED", &rs(21, true));
    // The owner is deleted before the pod.
    log.event(120 * S, "apps/v1/replicasets", "DELETED", &rs(30, true));
    let loose = Pod { owner: Some(("Job", "j", "J", false)), ..Pod::new("q", "B", 100).at_rv(40) };
    begin(&mut log, &loose, 130, &["10.42.0.18"]);
    let state = until(&mut log, 200);
    for seconds in [110, 150] {
        let answer = ask(&state, IP, seconds);
        let owners = &answer.candidates[0].owners;
        let chain: Vec<_> = owners.iter().map(|o| (&*o.kind, &*o.name, o.recorded)).collect();
        assert_eq!(chain, [("ReplicaSet", "web-7c", true), ("Rollout", "shop-front", false)]);
    }
    let orphaned = &ask(&state, IP, 115).candidates[0].owners;
    assert_eq!(orphaned.iter().map(|o| &*o.name).collect::<Vec<_>>(), ["web-7c"]);
    let candidate = &ask(&state, IP, 150).candidates[0];
    assert_eq!(candidate.labels["app"], "web");
    assert_eq!(candidate.service_account.as_deref(), Some("runner"));
    assert_eq!(candidate.images, ["registry.example/web:1"]);
    assert_eq!(candidate.phase.as_deref(), Some("Running"));
    assert!(ask(&state, "10.42.0.18", 150).candidates[0].owners.is_empty());
}
