//! The Kubernetes API of a recorded cluster, asked by kubectl: what it prints of a time is what it
//! printed live at that time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use xtask::testbed::{Testbed, TestbedOptions};

use crate::harness::{Home, Ran, Up};

/// How often the live output is taken until nothing moves while it is.
const TRIES_MAX: usize = 12;

/// Types that are compared, in groups of what moves together. Leases and Secrets are left out: the
/// first are renewed all the time, of the second the values are not recorded. So are FlowSchemas: the
/// API server sorts the rows of their table by precedence, stele all rows by name.
const GROUPS: &[&str] = &[
    "pods,replicasets,deployments,statefulsets,daemonsets,replicationcontrollers,jobs,cronjobs",
    "services,endpoints,endpointslices,ingresses,ingressclasses,networkpolicies",
    "configmaps,serviceaccounts,namespaces,resourcequotas,limitranges,roles,rolebindings,clusterrolebindings",
    "persistentvolumes,persistentvolumeclaims,storageclasses,csidrivers,priorityclasses,runtimeclasses",
    "horizontalpodautoscalers,poddisruptionbudgets,controllerrevisions,events",
    "widgets.example.org,customresourcedefinitions,apiservices,prioritylevelconfigurations",
    "validatingadmissionpolicies,validatingadmissionpolicybindings,nodes,servicecidrs,ipaddresses",
];

/// One group as it was live.
struct Live {
    types: &'static str,
    /// When, as stele is asked for it.
    at: String,
    outputs: Vec<String>,
}

/// What is asked of each group.
fn questions(types: &'static str) -> [Vec<&'static str>; 3] {
    [
        vec!["get", types, "-A", "-o", "wide"],
        vec!["get", types, "-A", "-o", "yaml"],
        vec!["describe", types, "-A"],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_prints_what_it_printed_then() {
    let options = TestbedOptions { progress: true, ..TestbedOptions::default() };
    let Some(bed) = Testbed::for_test(&options).unwrap() else { return };
    let kubectl = Kubectl::of(&bed);
    let live = kubectl.with(&bed.kubeconfig());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system");
    live.ok(&["apply", "-f", sources.join("every_kind.yaml").to_str().unwrap()]);
    live.ok(&["wait", "--for=condition=Established", "crd/widgets.example.org"]);
    live.ok(&["apply", "-f", sources.join("widgets.yaml").to_str().unwrap()]);
    let home = Home::new();
    let up = home.up(&["--kubeconfig", bed.kubeconfig().to_str().unwrap()]);
    let now = kubeconfig(&home, &up, "now");
    let recorded = kubectl.with(&now);
    for rollout in ["deploy/web", "sts/db", "ds/agent"] {
        live.ok(&["-n", "shop", "rollout", "status", rollout, "--timeout=120s"]);
    }
    wait_until(|| recorded.output(&["get", "widgets", "-A"]).contains("two"));

    let taken: Vec<Live> = GROUPS.iter().map(|types| take(&live, types)).collect();
    live.ok(&["create", "configmap", "later", "-n", "shop"]);
    wait_until(|| recorded.output(&["get", "cm", "-n", "shop"]).contains("later"));
    // From here on nothing is as it was.
    live.ok(&["delete", "deploy,sts,ds,job,svc,cm,wd", "--all", "-n", "shop", "--wait=false"]);
    live.ok(&["label", "nodes", "--all", "later=true"]);

    explained(&live, &recorded, &kubectl.with(&kubeconfig(&home, &up, &taken[0].at)));
    let mut different = Vec::new();
    for one in &taken {
        let then = kubectl.with(&kubeconfig(&home, &up, &one.at));
        for (question, wanted) in questions(one.types).iter().zip(&one.outputs) {
            let found = normal(&then.output(question));
            if found != *wanted {
                different.push(format!("{question:?}\n{}", difference(wanted, &found)));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    questions_beside(&kubectl, &home, &up, &now);
    up.stop();
}

/// What kubectl says of the fields of objects and of the version of the server, once the schema of the
/// definition has come.
fn explained(live: &Kubectl, recorded: &Kubectl, then: &Kubectl) {
    let widget = ["explain", "widgets.spec", "--recursive"];
    wait_until(|| recorded.run(&widget).stdout.contains("color"));
    for question in [&widget[..], &["explain", "pods.spec.containers"], &["explain", "deploy"]] {
        assert_eq!(recorded.ok(question), live.ok(question), "{question:?}");
    }
    let pods = ["explain", "pods", "--recursive"];
    assert_eq!(then.ok(&pods), live.ok(&pods));
    let version = |kubectl: &Kubectl| {
        let text = kubectl.ok(&["version"]);
        text.lines().find(|line| line.starts_with("Server Version")).unwrap().to_owned()
    };
    assert_eq!(version(then), version(live));
}

/// Selectors, single objects, following, and what is refused.
fn questions_beside(kubectl: &Kubectl, home: &Home, up: &Up, now: &Path) {
    let now = kubectl.with(now);
    let nodes = now.output(&["get", "nodes", "-o", "name"]);
    let node = nodes.lines().next().unwrap().trim_start_matches("node/");
    let on_node = format!("spec.nodeName={node}");
    let pods = now.output(&["get", "pods", "-A", "--field-selector", &on_node, "-o", "wide"]);
    assert!(pods.lines().skip(1).all(|line| line.contains(node)), "{pods}");
    let all = now.output(&["get", "all", "-n", "kube-system"]);
    assert!(!all.contains("Warning"), "{all}");
    for (write, words) in [
        (["delete", "ns", "shop"].as_slice(), "can be read and watched, but not changed"),
        (&["create", "cm", "x"], "can be read and watched, but not changed"),
        (&["label", "ns", "shop", "a=b"], "can be read and watched, but not changed"),
        (&["get", "pod", "nobody"], "pods \"nobody\" not found"),
        (&["logs", "-n", "shop", "db-0"], "not"),
        (&["get", "pods", "--field-selector", "spec.nonsense=1"], "is not supported"),
    ] {
        let refused = now.run(write);
        assert!(!refused.status.success(), "{write:?}: {}", refused.stdout);
        assert!(refused.stderr.contains(words), "{write:?}: {}", refused.stderr);
    }
    assert_eq!(now.run(&["auth", "can-i", "list", "pods"]).stdout.trim(), "yes");
    assert!(now.run(&["auth", "can-i", "delete", "pods"]).stdout.starts_with("no - "));
    let before = kubectl.with(&kubeconfig(home, up, "2020-01-01T00:00:00Z"));
    let early = before.run(&["get", "nodes"]);
    assert!(early.stderr.contains("nobody looked at nodes"), "{}", early.stderr);
}

/// Takes the live output of a group, with a while before and after in which nothing of it changed.
fn take(live: &Kubectl, types: &'static str) -> Live {
    for _ in 0..TRIES_MAX {
        let outputs =
            || questions(types).iter().map(|q| normal(&live.output(q))).collect::<Vec<_>>();
        let before = outputs();
        std::thread::sleep(Duration::from_secs(1));
        let at = jiff_now();
        if outputs() == before {
            return Live { types, at, outputs: before };
        }
    }
    panic!("{types} never stand still");
}

fn jiff_now() -> String {
    use stele_store::Clock;
    format!("@{}", stele_store::SystemClock::new().now().0)
}

/// A kubeconfig for the cluster at a point.
pub(crate) fn kubeconfig(home: &Home, up: &Up, at: &str) -> PathBuf {
    let name: String = at.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = home.path(&format!("{name}.kubeconfig"));
    let (token, certificate) =
        (home.data().join("keys/admin.token"), home.data().join("keys/tls.crt"));
    let arguments = [
        "kubeconfig",
        "--at",
        at,
        "--server",
        &up.url,
        "--token-file",
        token.to_str().unwrap(),
        "--certificate",
        certificate.to_str().unwrap(),
        "--out",
        path.to_str().unwrap(),
    ];
    // There may be no cluster yet: the recorder has just begun.
    wait_until(|| home.run(&arguments).status.success());
    path
}

/// Waits for what the recorder has yet to see.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..240 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    panic!("it did not come to be within a minute");
}

/// kubectl with a kubeconfig.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    pub(crate) fn of(bed: &Testbed) -> Self {
        Self {
            program: bed.kubectl_program().to_owned(),
            kubeconfig: bed.kubeconfig(),
            home: bed.dir().join("kubectl-home"),
        }
    }

    pub(crate) fn with(&self, kubeconfig: &Path) -> Self {
        Self {
            program: self.program.clone(),
            kubeconfig: kubeconfig.to_owned(),
            home: self.home.clone(),
        }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(&self.program)
            .env_clear()
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments)
            .output()
            .unwrap();
        Ran {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).ok()
    }

    /// What it says on both ends, whatever its exit code.
    pub(crate) fn output(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        // Clients are throttled on a busy machine and say so; that a type is old is said by an API
        // server, and is no part of the record.
        let beside = |line: &&str| line.contains("throttling") || line.contains("is deprecated");
        let spoken = ran.stderr.lines().filter(|line| !beside(line));
        spoken.chain(ran.stdout.lines()).map(|line| format!("{line}\n")).collect()
    }
}

/// The text without what depends on when it was printed: ages, and the width of their columns.
fn normal(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        for word in line.split_whitespace() {
            let bare = word.trim_matches(['(', ')', ',']);
            out.push_str(if is_age(bare) { "AGE" } else { word });
            out.push(' ');
        }
        out.push('\n');
    }
    out
}

/// `5m`, `3h12m`, `2d3h`.
fn is_age(word: &str) -> bool {
    let mut digits = 0;
    let mut units = 0;
    for c in word.chars() {
        match c {
            '0'..='9' => digits += 1,
            's' | 'm' | 'h' | 'd' | 'y' if digits > 0 => {
                digits = 0;
                units += 1;
            }
            _ => return false,
        }
    }
    units > 0 && digits == 0
}

fn difference(wanted: &str, found: &str) -> String {
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.lines().collect(), found.lines().collect());
    let missing = wanted.iter().filter(|line| !found.contains(line)).take(8);
    let surplus = found.iter().filter(|line| !wanted.contains(line)).take(8);
    let lines =
        missing.map(|line| format!("- {line}")).chain(surplus.map(|line| format!("+ {line}")));
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        return lines.join("\n");
    }
    let moved = wanted.iter().zip(&found).filter(|(wanted, found)| wanted != found).take(8);
    let moved = moved.map(|(wanted, found)| format!("- {wanted}\n+ {found}"));
    format!("in another order:\n{}", moved.collect::<Vec<_>>().join("\n"))
}
