//! The checklist of pod mapping, second part: addresses that are not pods' own, what they lead to,
//! and who stands behind a pod (I4 with ports, T1 to T4, W1, W2).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Log, Pod, S};
use stele_state::query::{
    Candidate, Holder, IpAnswer, IpQuery, LeaseEnd, PlaceKind, Port, Verdict, Via,
};
use stele_state::{Point, State, Time};

const PODS: &str = "v1/pods";
const NODES: &str = "v1/nodes";
const SERVICES: &str = "v1/services";
const SLICES: &str = "discovery.k8s.io/v1/endpointslices";
const IP: &str = "10.42.0.17";

fn log() -> Log {
    let mut log = Log::new();
    log.open(90 * S);
    for resource in [PODS, NODES, SERVICES, SLICES] {
        log.list_of(90 * S, resource, "1", &[]);
    }
    log
}

fn until(log: &mut Log, seconds: i64) -> State {
    let mark = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1000"}}"#;
    log.event(seconds * S, PODS, "BOOKMARK", mark);
    log.fold()
}

fn ask(state: &State, ip: &str, seconds: i64) -> IpAnswer {
    state.ip(ip, &Point::Observed(Time(seconds * S)), &IpQuery::default()).unwrap()
}

fn ask_port(state: &State, ip: &str, seconds: i64, number: u16, protocol: &str) -> IpAnswer {
    let protocol = Some(protocol.to_owned());
    let query = IpQuery { port: Some(Port { number, protocol }), ..IpQuery::default() };
    state.ip(ip, &Point::Observed(Time(seconds * S)), &query).unwrap()
}

fn told(answer: &IpAnswer) -> (Verdict, Vec<&str>) {
    (answer.verdict, answer.candidates.iter().map(|c| c.reference.uid.as_str()).collect())
}

fn begin(log: &mut Log, pod: &Pod, start: i64, ips: &[&'static str]) -> Pod {
    log.event(start * S, PODS, "ADDED", &pod.json());
    let running = pod.runs(pod.rv + 1, ips);
    log.event((start + 1) * S, PODS, "MODIFIED", &running.json());
    running
}

fn node(rv: u32) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"node-1","uid":"N","resourceVersion":"{rv}"}},"spec":{{"podCIDR":"10.42.0.0/24","podCIDRs":["10.42.0.0/24","fd00:42::/64"]}},"status":{{"addresses":[{{"type":"InternalIP","address":"192.168.0.1"}},{{"type":"ExternalIP","address":"203.0.113.1"}},{{"type":"Hostname","address":"node-1"}}]}}}}"#
    )
}

/// A service with two ports, of which the second has a port on the nodes.
fn service(rv: u32, balancer: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"web","namespace":"shop","uid":"V","resourceVersion":"{rv}"}},"spec":{{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10","fd00:96::10"],"externalIPs":["198.51.100.7"],"ports":[{{"name":"http","protocol":"TCP","port":80,"targetPort":8080}},{{"name":"dns","protocol":"UDP","port":53,"nodePort":30053}}]}},"status":{{"loadBalancer":{{"ingress":[{{"ip":"{balancer}"}},{{"hostname":"lb.example"}}]}}}}}}"#
    )
}

/// A slice with endpoints given as (address, uid, conditions).
fn slice(name: &str, rv: u32, port: (&str, u16, &str), endpoints: &[(&str, &str, &str)]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(address, uid, conditions)| {
            format!(
                r#"{{"addresses":["{address}"],"conditions":{conditions},"nodeName":"node-1","targetRef":{{"kind":"Pod","namespace":"shop","name":"p-{uid}","uid":"{uid}"}}}}"#
            )
        })
        .collect();
    let (port_name, number, protocol) = port;
    format!(
        r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"{name}","namespace":"shop","uid":"S-{name}","resourceVersion":"{rv}","labels":{{"kubernetes.io/service-name":"web"}},"ownerReferences":[{{"apiVersion":"v1","kind":"Service","name":"web","uid":"V","controller":true}}]}},"addressType":"IPv4","endpoints":[{}],"ports":[{{"name":"{port_name}","port":{number},"protocol":"{protocol}"}}]}}"#,
        endpoints.join(",")
    )
}

#[test]
fn i4_a_host_port_narrows_what_shares_a_nodes_address() {
    let mut log = log();
    log.event(95 * S, NODES, "ADDED", &node(5));
    let host = |name, uid, rv| Pod {
        host_network: true,
        ports: r#"[{"name":"metrics","containerPort":9100}]"#,
        ..Pod::new(name, uid, 100).at_rv(rv)
    };
    begin(&mut log, &host("exporter", "A", 10), 100, &["192.168.0.1"]);
    let plain = Pod { ports: "[]", ..host("proxy", "B", 20) };
    begin(&mut log, &plain, 100, &["192.168.0.1"]);
    // A pod with a network of its own and one port on its node's address.
    let ported = Pod {
        ports: r#"[{"containerPort":8080,"hostPort":80,"protocol":"TCP"}]"#,
        host_ip: "192.168.0.1",
        ..Pod::new("ingress", "C", 100).at_rv(30)
    };
    begin(&mut log, &ported, 100, &[IP]);
    let state = until(&mut log, 200);
    let answer = ask(&state, "192.168.0.1", 150);
    assert_eq!(told(&answer), (Verdict::Node, vec!["A", "B", "C", "N"]));
    assert_eq!(answer.candidates[2].holder, Holder::HostPortPod);
    assert!(answer.candidates.iter().all(|c| c.port.is_none() && c.node.is_some()));
    // Never one of them alone, but the one that declares the port is named.
    let declaring = |answer: &IpAnswer| {
        assert_eq!((answer.verdict, answer.candidates.len()), (Verdict::Node, 4));
        let declares = answer.candidates.iter().filter(|c| c.port.is_some());
        declares.map(|c| c.reference.uid.clone()).collect::<Vec<_>>()
    };
    assert_eq!(declaring(&ask_port(&state, "192.168.0.1", 150, 9100, "tcp")), ["A"]);
    assert_eq!(declaring(&ask_port(&state, "192.168.0.1", 150, 80, "TCP")), ["C"]);
    assert!(declaring(&ask_port(&state, "192.168.0.1", 150, 80, "UDP")).is_empty());
    // Its own address is its own, whatever the port.
    assert_eq!(told(&ask_port(&state, IP, 150, 80, "TCP")), (Verdict::Single, vec!["C"]));
}

fn backends(candidate: &Candidate) -> Vec<(String, bool, bool, bool)> {
    let backends = candidate.backends.as_ref().unwrap();
    assert_eq!(backends.count, backends.shown.len() as u64);
    backends
        .shown
        .iter()
        .map(|b| {
            let c = b.conditions;
            (b.uid.clone(), c.ready, c.serving, c.terminating)
        })
        .collect()
}

#[test]
fn t1_a_services_address_leads_to_its_endpoints_as_of_the_time() {
    let mut log = log();
    log.event(95 * S, SERVICES, "ADDED", &service(5, "203.0.113.7"));
    let http = ("http", 8080, "TCP");
    let first = slice(
        "web-1",
        10,
        http,
        &[("10.42.0.17", "A", "{}"), ("10.42.0.18", "B", r#"{"ready":false}"#)],
    );
    log.event(100 * S, SLICES, "ADDED", &first);
    log.event(
        100 * S,
        SLICES,
        "ADDED",
        &slice("web-2", 11, ("dns", 5353, "UDP"), &[("10.42.0.17", "A", "{}")]),
    );
    // The pod A ends; a pod with its address takes its place.
    let ending = r#"{"ready":false,"serving":true,"terminating":true}"#;
    log.event(
        110 * S,
        SLICES,
        "MODIFIED",
        &slice("web-1", 20, http, &[("10.42.0.17", "A", ending)]),
    );
    log.event(
        120 * S,
        SLICES,
        "MODIFIED",
        &slice("web-1", 30, http, &[("10.42.0.17", "C", r#"{"ready":true}"#)]),
    );
    log.event(130 * S, SLICES, "DELETED", &slice("web-1", 40, http, &[("10.42.0.17", "C", "{}")]));
    let state = until(&mut log, 200);
    let at = |seconds| {
        let answer = ask_port(&state, "10.96.0.10", seconds, 80, "TCP");
        assert_eq!(told(&answer), (Verdict::Service, vec!["V"]));
        assert_eq!(answer.candidates[0].via, Some(Via::ClusterIp));
        assert_eq!(answer.candidates[0].port.as_ref().unwrap().name, "http");
        answer.candidates[0].clone()
    };
    let of = |uid: &str, ready, serving, terminating| (uid.to_owned(), ready, serving, terminating);
    // What is not said is true, true and false; serving follows ready.
    let early = at(105);
    assert_eq!(backends(&early), [of("A", true, true, false), of("B", false, false, false)]);
    let port = &early.backends.as_ref().unwrap().shown[0].ports[0];
    assert_eq!((port.port, &*port.name), (Some(8080), "http"));
    assert_eq!(backends(&at(115)), [of("A", false, true, true)]);
    assert_eq!(backends(&at(125)), [of("C", true, true, false)]);
    assert_eq!(backends(&at(150)), []);
    assert_eq!(backends(&at(97)), []);
    // Without a port all ports count, with one that the service does not have none do.
    let all = ask(&state, "10.96.0.10", 105);
    assert_eq!(backends(&all.candidates[0]).len(), 3);
    let other = ask_port(&state, "10.96.0.10", 105, 443, "TCP");
    assert_eq!(backends(&other.candidates[0]).len(), 0);
    assert_eq!(other.candidates[0].port, None);
}

#[test]
fn t1_the_services_that_a_pod_stood_in_are_found_by_uid() {
    let mut log = log();
    let http = ("http", 8080, "TCP");
    let pod = begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP, "fd00::17"]);
    log.event(102 * S, SLICES, "ADDED", &slice("web-1", 20, http, &[(IP, "A", "{}")]));
    log.event(102 * S, SLICES, "ADDED", &slice("web-6", 21, http, &[("fd00::17", "A", "{}")]));
    // The address goes to another pod, which the service never selects.
    log.event(110 * S, PODS, "MODIFIED", &pod.ends(30, "Succeeded").json());
    log.event(111 * S, SLICES, "MODIFIED", &slice("web-1", 31, http, &[]));
    begin(&mut log, &Pod::new("q", "B", 120).at_rv(40), 120, &[IP]);
    let state = until(&mut log, 200);
    let services = |ip: &str, seconds: i64| {
        let answer = ask(&state, ip, seconds);
        assert_eq!(answer.verdict, Verdict::Single);
        answer.candidates[0].services.clone().unwrap()
    };
    let found = services(IP, 105);
    assert_eq!(found.len(), 1, "one service, though it has slices for both families");
    assert_eq!(
        (&*found[0].namespace, &*found[0].service, &*found[0].slice),
        ("shop", "web", "web-1")
    );
    assert_eq!(found[0].uid.as_deref(), Some("V"));
    assert_eq!(found[0].ports[0].port, Some(8080));
    assert!(found[0].conditions.ready && !found[0].conditions.terminating);
    assert_eq!(services("fd00::17", 105)[0].slice, "web-6");
    assert!(services(IP, 101).is_empty());
    assert!(services(IP, 150).is_empty());
}

#[test]
fn t1_where_slices_are_not_recorded_nothing_is_said_of_services() {
    let mut log = Log::new();
    log.open(90 * S);
    log.list_of(90 * S, PODS, "1", &[]);
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    let answer = ask(&until(&mut log, 200), IP, 150);
    assert_eq!(told(&answer), (Verdict::Single, vec!["A"]));
    assert_eq!((answer.candidates[0].services.as_ref(), answer.gaps.len()), (None, 0));
    // Nor where they are not asked for.
    let mut log = self::log();
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    let state = until(&mut log, 200);
    let without = IpQuery { without_services: true, ..IpQuery::default() };
    let answer = state.ip(IP, &Point::Observed(Time(150 * S)), &without).unwrap();
    assert_eq!(answer.candidates[0].services, None);
    assert_eq!(ask(&state, IP, 150).candidates[0].services, Some(Vec::new()));
}

#[test]
fn t2_every_address_of_a_service_and_of_a_node_is_known() {
    let mut log = log();
    log.event(95 * S, NODES, "ADDED", &node(5));
    log.event(96 * S, SERVICES, "ADDED", &service(6, "203.0.113.7"));
    let headless = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"db","namespace":"shop","uid":"H","resourceVersion":"7"},"spec":{"clusterIP":"None","clusterIPs":["None"]}}"#;
    log.event(97 * S, SERVICES, "ADDED", headless);
    let outside = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"out","namespace":"shop","uid":"X","resourceVersion":"8"},"spec":{"type":"ExternalName","externalName":"db.example"}}"#;
    log.event(98 * S, SERVICES, "ADDED", outside);
    log.event(
        100 * S,
        SLICES,
        "ADDED",
        &slice("web-2", 11, ("dns", 5353, "UDP"), &[(IP, "A", "{}")]),
    );
    // The load balancer gets another address, and later the first one again.
    log.event(120 * S, SERVICES, "MODIFIED", &service(20, "203.0.113.8"));
    log.event(140 * S, SERVICES, "MODIFIED", &service(30, "203.0.113.7"));
    let state = until(&mut log, 200);
    let cases = [
        ("10.96.0.10", Via::ClusterIp),
        ("fd00:96::10", Via::ClusterIp),
        ("198.51.100.7", Via::ExternalIp),
        ("203.0.113.7", Via::LoadBalancer),
    ];
    for (ip, via) in cases {
        let answer = ask(&state, ip, 150);
        assert_eq!(told(&answer), (Verdict::Service, vec!["V"]), "{ip}");
        assert_eq!(answer.candidates[0].via, Some(via), "{ip}");
        assert_eq!(answer.candidates[0].backends.as_ref().unwrap().count, 1);
    }
    assert_eq!(ask(&state, "203.0.113.7", 130).verdict, Verdict::None);
    assert_eq!(ask(&state, "203.0.113.8", 130).candidates[0].end, LeaseEnd::Changed);
    for ip in ["192.168.0.1", "203.0.113.1"] {
        assert_eq!(told(&ask(&state, ip, 150)), (Verdict::Node, vec!["N"]));
        // A port of all nodes leads to the service and on to its endpoints.
        let answer = ask_port(&state, ip, 150, 30053, "UDP");
        assert_eq!(told(&answer), (Verdict::Node, vec!["N", "V"]));
        assert_eq!(answer.candidates[1].via, Some(Via::NodePort));
        assert_eq!(backends(&answer.candidates[1]), [("A".to_owned(), true, true, false)]);
        assert_eq!(told(&ask_port(&state, ip, 150, 30053, "TCP")).1, ["N"]);
    }
    // Ports of nodes lead nowhere from other addresses.
    assert_eq!(ask_port(&state, "192.168.0.99", 150, 30053, "UDP").verdict, Verdict::None);
}

#[test]
fn t3_a_nodes_address_may_stand_for_translated_traffic() {
    let mut log = log();
    log.event(95 * S, NODES, "ADDED", &node(5));
    let answer = ask(&until(&mut log, 200), "192.168.0.1", 150);
    assert_eq!(told(&answer), (Verdict::Node, vec!["N"]));
    assert!(answer.reason.contains("translated"), "{}", answer.reason);
}

#[test]
fn t4_an_address_that_nobody_had_is_placed_and_never_a_pods() {
    let mut log = log();
    log.event(95 * S, NODES, "ADDED", &node(5));
    let range = r#"{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{"name":"kubernetes","uid":"R","resourceVersion":"6"},"spec":{"cidrs":["10.96.0.0/12","fd00:96::/112"]}}"#;
    log.event(96 * S, "networking.k8s.io/v1/servicecidrs", "ADDED", range);
    begin(&mut log, &Pod::new("p", "A", 100).at_rv(10), 100, &[IP]);
    log.event(160 * S, NODES, "DELETED", &node(50));
    let state = until(&mut log, 200);
    let place = |ip: &str, seconds: i64| {
        let answer = ask(&state, ip, seconds);
        assert_eq!(told(&answer), (Verdict::None, vec![]), "{ip}");
        answer
            .place
            .map(|place| (place.kind, place.range.unwrap_or_default(), place.of.map(|of| of.uid)))
    };
    let node = || Some("N".to_owned());
    assert_eq!(
        place("10.42.0.1", 150),
        Some((PlaceKind::PodRange, "10.42.0.0/24".to_owned(), node()))
    );
    assert_eq!(
        place("fd00:42::5", 150),
        Some((PlaceKind::PodRange, "fd00:42::/64".to_owned(), node()))
    );
    let range = |text: &str| Some((PlaceKind::ServiceRange, text.to_owned(), Some("R".to_owned())));
    assert_eq!(place("10.97.1.1", 150), range("10.96.0.0/12"));
    assert_eq!(place("fd00:96::5", 150), range("fd00:96::/112"));
    let external = Some((PlaceKind::External, String::new(), None));
    assert_eq!(place("8.8.8.8", 150), external);
    assert_eq!(place("2001:db8::1", 150), external);
    // The range goes with its node.
    assert_eq!(place("10.42.0.1", 170), external);
    let local = Some((PlaceKind::Local, String::new(), None));
    for ip in ["127.0.0.1", "169.254.169.254", "fe80::1", "::1", "224.0.0.1", "0.0.0.0"] {
        assert_eq!(place(ip, 150), local, "{ip}");
    }
    // Who has an address has no need of a place.
    assert_eq!(ask(&state, IP, 150).place, None);
}

#[test]
fn t4_where_services_are_not_recorded_an_address_may_be_one_of_theirs() {
    let mut log = Log::new();
    log.open(90 * S);
    log.list_of(90 * S, PODS, "1", &[]);
    log.list_of(90 * S, NODES, "1", &[]);
    let answer = ask(&until(&mut log, 200), "10.96.0.10", 150);
    assert_eq!(told(&answer), (Verdict::Unknown, vec![]));
    assert!(answer.reason.contains("services"), "{}", answer.reason);
}

/// An object with a controller, and another owner that is none.
fn owned(kind: &str, name: &str, rv: u32, owner: Option<(&str, &str, &str)>) -> String {
    let owners = owner.map_or(String::new(), |(api_version, kind, name)| {
        format!(
            r#","ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"uid-x"}},{{"apiVersion":"{api_version}","kind":"{kind}","name":"{name}","uid":"uid-{name}","controller":true}}]"#
        )
    });
    format!(
        r#"{{"kind":"{kind}","metadata":{{"name":"{name}","namespace":"shop","uid":"uid-{name}","resourceVersion":"{rv}"{owners}}}}}"#
    )
}

fn chain(answer: &IpAnswer) -> Vec<(String, String, bool)> {
    let owners = answer.candidates[0].owners.iter();
    owners.map(|o| (o.kind.clone(), o.name.clone(), o.recorded)).collect()
}

#[test]
fn w1_chains_of_every_kind_are_followed_by_uid() {
    let apps = "apps/v1";
    // (resource, kind, name, its controller); the pod is controlled by the first.
    type Link = (
        &'static str,
        &'static str,
        &'static str,
        Option<(&'static str, &'static str, &'static str)>,
    );
    let chains: [&[Link]; 6] = [
        &[
            ("apps/v1/replicasets", "ReplicaSet", "web-7c", Some((apps, "Deployment", "web"))),
            ("apps/v1/deployments", "Deployment", "web", None),
        ],
        &[
            ("batch/v1/jobs", "Job", "night-1", Some(("batch/v1", "CronJob", "night"))),
            ("batch/v1/cronjobs", "CronJob", "night", None),
        ],
        &[("apps/v1/statefulsets", "StatefulSet", "db", None)],
        &[("apps/v1/daemonsets", "DaemonSet", "agent", None)],
        &[("v1/nodes", "Node", "node-1", None)],
        &[
            (
                "apps/v1/replicasets",
                "ReplicaSet",
                "front-1",
                Some(("argoproj.io/v1alpha1", "Rollout", "front")),
            ),
            (
                "argoproj.io/v1alpha1/rollouts",
                "Rollout",
                "front",
                Some(("example.org/v1", "App", "shop")),
            ),
            ("example.org/v1/apps", "App", "shop", None),
        ],
    ];
    for links in chains {
        let mut log = log();
        for (rv, (resource, kind, name, owner)) in (5..).zip(links) {
            log.event(95 * S, resource, "ADDED", &owned(kind, name, rv, *owner));
        }
        let (_, kind, name, _) = links[0];
        let uid: &'static str = String::leak(format!("uid-{name}"));
        let pod = Pod { owner: Some((kind, name, uid, true)), ..Pod::new("p", "A", 100).at_rv(20) };
        begin(&mut log, &pod, 100, &[IP]);
        // All owners go before the pod does.
        for (rv, (resource, kind, name, owner)) in (40..).zip(links) {
            log.event(120 * S, resource, "DELETED", &owned(kind, name, rv, *owner));
        }
        let state = until(&mut log, 200);
        let expected: Vec<_> = links
            .iter()
            .map(|(_, kind, name, _)| ((*kind).to_owned(), (*name).to_owned(), true))
            .collect();
        assert_eq!(chain(&ask(&state, IP, 110)), expected);
        assert_eq!(chain(&ask(&state, IP, 150)), expected);
    }
}

#[test]
fn w1_the_chain_is_that_of_the_time() {
    let mut log = log();
    let set = |rv, owner| owned("ReplicaSet", "web-7c", rv, owner);
    log.event(
        95 * S,
        "apps/v1/replicasets",
        "ADDED",
        &set(5, Some(("apps/v1", "Deployment", "web"))),
    );
    let pod = Pod {
        owner: Some(("ReplicaSet", "web-7c", "uid-web-7c", true)),
        ..Pod::new("web-7c-x", "A", 100).at_rv(20)
    };
    begin(&mut log, &pod, 100, &[IP]);
    // The set is let go, and adopted by something else.
    log.event(120 * S, "apps/v1/replicasets", "MODIFIED", &set(30, None));
    let rollout = Some(("argoproj.io/v1alpha1", "Rollout", "web"));
    log.event(140 * S, "apps/v1/replicasets", "MODIFIED", &set(40, rollout));
    let state = until(&mut log, 200);
    let kinds = |seconds| {
        let chain = chain(&ask(&state, IP, seconds));
        chain.into_iter().map(|(kind, ..)| kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(110), ["ReplicaSet", "Deployment"]);
    assert_eq!(kinds(130), ["ReplicaSet"]);
    assert_eq!(kinds(150), ["ReplicaSet", "Rollout"]);
}

#[test]
fn w2_names_are_never_taken_apart() {
    let mut log = log();
    // A set whose name looks like a deployment's and a hash, but nothing owns it; and one that is
    // not recorded at all.
    log.event(
        95 * S,
        "apps/v1/replicasets",
        "ADDED",
        &owned("ReplicaSet", "web-5d4f8c7b9", 5, None),
    );
    let lone = Pod {
        owner: Some(("ReplicaSet", "web-5d4f8c7b9", "uid-web-5d4f8c7b9", true)),
        ..Pod::new("web-5d4f8c7b9-abcde", "A", 100).at_rv(20)
    };
    begin(&mut log, &lone, 100, &[IP]);
    let unseen = Pod {
        owner: Some(("Job", "night-28000000", "uid-unseen", true)),
        ..Pod::new("night-28000000-x", "B", 100).at_rv(30)
    };
    begin(&mut log, &unseen, 100, &["10.42.0.18"]);
    let state = until(&mut log, 200);
    let one = |kind: &str, name: &str, recorded| vec![(kind.to_owned(), name.to_owned(), recorded)];
    assert_eq!(chain(&ask(&state, IP, 150)), one("ReplicaSet", "web-5d4f8c7b9", true));
    assert_eq!(chain(&ask(&state, "10.42.0.18", 150)), one("Job", "night-28000000", false));
}
