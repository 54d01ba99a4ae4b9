//! How long look-ups take in a large state. `STELE_LEASES` is the number of leases; without it there
//! are 3,000, which shows that it works; figures come from 100,000 and more in a release build:
//! `STELE_LEASES=100000 cargo test --release -p stele-state --test speed -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod common;

use std::time::{Duration, Instant};

use common::{Log, Random, S};
use stele_state::query::{IpQuery, Verdict};
use stele_state::{Point, State, Time};

/// Processor time of this thread, where the system tells it (Linux), or else the time that passed
/// since the beginning: on a busy machine the former says more.
struct Watch(Instant);

impl Watch {
    fn now(&self) -> Duration {
        // The system brings its account up to date when the thread gives way.
        std::thread::yield_now();
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let ns = told.and_then(|text| text.split(' ').next()?.parse().ok());
        ns.map_or_else(|| self.0.elapsed(), Duration::from_nanos)
    }
}

/// Addresses of the pool; each is used again and again.
const ADDRESSES: u64 = 4_000;

/// Pods of a deployment that run at once.
const REPLICAS: u64 = 10;

/// A pod's life and the next one's beginning, apart.
const PACE: i64 = S / 4;

struct Pods {
    leases: u64,
}

/// What follows from the number of a pod.
impl Pods {
    fn ip(number: u64) -> String {
        let place = number % ADDRESSES;
        format!("10.{}.{}.{}", 42 + place / 62_500, place / 250 % 250, place % 250 + 1)
    }

    fn app(number: u64) -> u64 {
        number % (ADDRESSES / REPLICAS)
    }

    fn born(number: u64) -> i64 {
        1_000 * S + i64::try_from(number).unwrap() * PACE
    }

    /// It ends before its address is given out again.
    fn dies(number: u64) -> i64 {
        Self::born(number + ADDRESSES) - 10 * S
    }

    /// It is seen finished a little before it is deleted.
    fn done(number: u64) -> i64 {
        Self::dies(number) - S / 10
    }

    fn json(number: u64, rv: u64, phase: &str, ip: &str) -> String {
        let app = Self::app(number);
        let created = Time(Self::born(number) / S * S);
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"app-{app}-{number}","namespace":"team-{}","uid":"pod-{number}","resourceVersion":"{rv}","creationTimestamp":"{created}","labels":{{"app":"app-{app}","pod-template-hash":"h{app}","tier":"backend","team":"team-{}"}},"annotations":{{"note":"{:0>600}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"app-{app}","uid":"set-{app}","controller":true}}]}},"spec":{{"nodeName":"node-{}","serviceAccountName":"app-{app}","containers":[{{"name":"main","image":"registry.example/app-{app}:1.0"}}]}},"status":{{"phase":"{phase}","podIP":"{ip}","podIPs":[{{"ip":"{ip}"}}],"hostIP":"192.168.0.1"}}}}"#,
            app % 20,
            app % 20,
            number,
            number % ADDRESSES / 100,
        )
    }

    fn slice(number: u64, rv: u64, endpoints: &[u64]) -> String {
        let app = Self::app(number);
        let endpoints: Vec<String> = endpoints
            .iter()
            .map(|pod| {
                format!(
                    r#"{{"addresses":["{}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"targetRef":{{"kind":"Pod","namespace":"team-{}","name":"app-{app}-{pod}","uid":"pod-{pod}"}}}}"#,
                    Self::ip(*pod),
                    app % 20
                )
            })
            .collect();
        format!(
            r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"app-{app}-x","namespace":"team-{}","uid":"slice-{app}","resourceVersion":"{rv}","labels":{{"kubernetes.io/service-name":"app-{app}"}}}},"addressType":"IPv4","endpoints":[{}],"ports":[{{"name":"http","port":8080,"protocol":"TCP"}}]}}"#,
            app % 20,
            endpoints.join(",")
        )
    }
}

/// Folds it in parts, so that the log is never in memory as a whole.
struct Folding {
    state: State,
    log: Log,
    done: u64,
    spent: Duration,
}

impl Folding {
    fn flush(&mut self) {
        let records = std::mem::take(&mut self.log.records);
        let batch: Vec<_> = records
            .iter()
            .zip(self.done..)
            .map(|((header, payload), index)| stele_state::FoldRecord { index, header, payload })
            .collect();
        let begin = Instant::now();
        self.state.apply(&batch).unwrap();
        self.spent += begin.elapsed();
        self.done += records.len() as u64;
    }
}

fn build(pods: &Pods, dir: &std::path::Path) -> (State, i64) {
    let state = State::open(dir).unwrap();
    let mut folding = Folding { state, log: Log::new(), done: 0, spent: Duration::ZERO };
    let slices = "discovery.k8s.io/v1/endpointslices";
    for resource in ["v1/pods", "v1/nodes", "v1/services", slices] {
        folding.log.list_of(999 * S, resource, "1", &[]);
    }
    for app in 0..ADDRESSES / REPLICAS {
        let named = |kind: &str, uid: &str, owner: &str| {
            format!(
                r#"{{"kind":"{kind}","metadata":{{"name":"app-{app}","namespace":"team-{}","uid":"{uid}-{app}","resourceVersion":"2","labels":{{"app":"app-{app}"}}{owner}}}}}"#,
                app % 20
            )
        };
        let owner = format!(
            r#","ownerReferences":[{{"apiVersion":"apps/v1","kind":"Deployment","name":"app-{app}","uid":"deployment-{app}","controller":true}}]"#
        );
        let (set, deployment) =
            (named("ReplicaSet", "set", &owner), named("Deployment", "deployment", ""));
        folding.log.event(999 * S, "apps/v1/replicasets", "ADDED", &set);
        folding.log.event(999 * S, "apps/v1/deployments", "ADDED", &deployment);
    }
    // What happens, in the order of time: (time, pod, whether it begins).
    let mut happens: Vec<(i64, u64, bool)> = (0..pods.leases)
        .flat_map(|pod| [(Pods::born(pod), pod, true), (Pods::dies(pod), pod, false)])
        .collect();
    happens.sort_unstable();
    let mut endpoints: Vec<Vec<u64>> = vec![Vec::new(); 400];
    let mut rv = 10;
    let mut last = 0;
    for (at, pod, begins) in happens {
        let ip = Pods::ip(pod);
        let members = &mut endpoints[usize::try_from(Pods::app(pod)).unwrap()];
        let mut event = |at, verb, phase: &str, ip: &str| {
            rv += 1;
            folding.log.event(at, "v1/pods", verb, &Pods::json(pod, rv, phase, ip));
        };
        if begins {
            event(at, "ADDED", "Pending", "");
            event(at + S / 2, "MODIFIED", "Running", &ip);
            members.push(pod);
        } else {
            event(Pods::done(pod), "MODIFIED", "Succeeded", &ip);
            event(at, "DELETED", "Succeeded", &ip);
            members.retain(|member| *member != pod);
        }
        rv += 1;
        folding.log.event(
            at + S,
            slices,
            if rv < 20 { "ADDED" } else { "MODIFIED" },
            &Pods::slice(pod, rv, members),
        );
        last = at + S;
        if folding.log.records.len() >= 4_096 {
            folding.flush();
        }
    }
    let mark = r#"{"metadata":{"resourceVersion":"99999999"}}"#;
    folding.log.event(last + S, "v1/pods", "BOOKMARK", mark);
    folding.log.event(last + S, slices, "BOOKMARK", mark);
    folding.flush();
    folding.state.sync().unwrap();
    println!(
        "{} leases of {ADDRESSES} addresses, {} frames folded at {:.0}/s, {} MB on disk",
        pods.leases,
        folding.done,
        folding.done as f64 / folding.spent.as_secs_f64(),
        folding.state.stored_bytes().unwrap() / 1_000_000
    );
    (folding.state, last)
}

#[test]
fn look_ups_in_a_large_state() {
    let leases = std::env::var("STELE_LEASES").map_or(3_000, |n| n.parse().unwrap());
    let pods = Pods { leases };
    let dir = tempfile::tempdir().unwrap();
    let (state, last) = build(&pods, dir.path());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let watch = Watch(Instant::now());
    let number_of_single = 20_000.min(leases);
    let (mut took, mut passed) = (Vec::new(), Vec::new());
    for _ in 0..number_of_single {
        let pod = random.next() % pods.leases;
        let at = random.within(Pods::born(pod) + S, Pods::done(pod)).min(last);
        let point = Point::Observed(Time(at));
        let (begin, spent) = (Instant::now(), watch.now());
        let answer = state.ip(&Pods::ip(pod), &point, &IpQuery::default()).unwrap();
        took.push(watch.now().saturating_sub(spent));
        passed.push(begin.elapsed());
        check(&answer, pod);
    }
    report("processor time", took);
    report("time passed", passed);
    let orders = [("in any order", false), ("in the order of time", true)];
    for ((name, sorted), without_services) in
        orders.into_iter().flat_map(|order| [(order, true), (order, false)])
    {
        let mut asked: Vec<(i64, u64)> = (0..leases.min(200_000) * 2)
            .map(|_| {
                let pod = random.next() % pods.leases;
                (random.within(Pods::born(pod) + S, Pods::done(pod)).min(last), pod)
            })
            .collect();
        if sorted {
            asked.sort_unstable();
        }
        let (begin, spent) = (Instant::now(), watch.now());
        let query = IpQuery { without_services, ..IpQuery::default() };
        let mut lookup = state.lookup(&query).unwrap();
        for (at, pod) in &asked {
            let answer = lookup.at(&Pods::ip(*pod), None, Time(*at)).unwrap();
            check(&answer, *pod);
        }
        let rate = |time: Duration| asked.len() as f64 / time.as_secs_f64();
        println!(
            "{} in a batch {name}, {} services: {:.0} a second of processor time, {:.0} a second passed",
            asked.len(),
            if without_services { "without" } else { "with" },
            rate(watch.now().saturating_sub(spent)),
            rate(begin.elapsed())
        );
    }
}

fn report(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let quantile = |q: f64| took[((took.len() - 1) as f64 * q) as usize];
    println!(
        "one by one, {name}: p50 {:?}, p90 {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0)
    );
}

fn check(answer: &stele_state::query::IpAnswer, pod: u64) {
    assert_eq!(answer.verdict, Verdict::Single, "{pod} {answer:?}");
    let candidate = &answer.candidates[0];
    assert_eq!(candidate.reference.uid, format!("pod-{pod}"));
    assert_eq!(candidate.owners.len(), 2);
}
