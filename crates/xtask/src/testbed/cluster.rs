//! What a test does to the cluster: kubectl, etcdctl, nodes, compaction.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Testbed, TestbedError};

/// How long nodes may take to be ready.
const NODES_SECONDS_MAX: u64 = 60;

impl Testbed {
    /// Runs kubectl as administrator; gives what it prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, TestbedError> {
        self.kubectl_with_input(args, "")
    }

    /// Runs kubectl with `input` on its standard input, for `apply -f -`.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String, TestbedError> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        let all: Vec<&str> =
            [kubeconfig.as_str()].into_iter().chain(args.iter().copied()).collect();
        run(&self.state.kubectl, &all, input)
    }

    /// Runs etcdctl against the test bed's etcd.
    pub fn etcdctl(&self, args: &[&str]) -> Result<String, TestbedError> {
        let endpoint = format!("--endpoints={}", self.state.etcd);
        let all: Vec<&str> = [endpoint.as_str()].into_iter().chain(args.iter().copied()).collect();
        run(&self.state.etcdctl, &all, "")
    }

    /// Compacts etcd up to its present revision and gives that revision.
    ///
    /// etcd then refuses older revisions, but the API server may still answer out of its watch
    /// cache, lists at an exact revision included. After [`expire_watches`](Self::expire_watches)
    /// it does not.
    pub fn compact_etcd(&self) -> Result<u64, TestbedError> {
        let text = self.etcdctl(&["endpoint", "status", "-w", "json"])?;
        let context = "read the status of etcd";
        let status: Value =
            serde_json::from_str(&text).map_err(TestbedError::malformed(context))?;
        let revision = status[0]["Status"]["header"]["revision"].as_u64().ok_or_else(|| {
            TestbedError::Malformed { context: context.into(), what: "no revision in it".into() }
        })?;
        self.etcdctl(&["compact", &revision.to_string()])?;
        Ok(revision)
    }

    /// Makes every watch, and every list at an exact revision, from before answer 410: compacts, and empties the watch cache by restarting
    /// the API server. Gives the revision that was compacted to.
    pub fn expire_watches(&mut self) -> Result<u64, TestbedError> {
        self.stop_apiserver()?;
        let revision = self.compact_etcd()?;
        self.start_apiserver()?;
        Ok(revision)
    }

    pub(super) fn make_nodes(&mut self, count: u16) -> Result<(), TestbedError> {
        if count == 0 {
            return Ok(());
        }
        self.progress.step(&format!("making {count} nodes"));
        let mut nodes = String::new();
        for number in 0..count {
            let _ = writeln!(
                nodes,
                "{{apiVersion: v1, kind: Node, metadata: {{name: node-{number}, \
                 labels: {{kubernetes.io/hostname: node-{number}, type: kwok}}}}}}\n---"
            );
        }
        self.kubectl_with_input(&["create", "-f", "-"], &nodes).map(drop)
    }

    pub(super) fn wait_for_nodes(&mut self, count: u16) -> Result<(), TestbedError> {
        let ready = "{range .items[*]}{.spec.podCIDR}{' '}\
                     {range .status.conditions[?(@.type=='Ready')]}{.status}{end}{'\\n'}{end}";
        self.wait("all nodes to be ready", NODES_SECONDS_MAX, |bed| {
            let path = format!("-o=jsonpath={ready}");
            let nodes = bed.kubectl(&["get", "nodes", &path]).map_err(|e| e.to_string())?;
            let good = |line: &&str| line.starts_with("10.42.") && line.ends_with(" True");
            let found = nodes.lines().filter(good).count();
            if found < usize::from(count) {
                return Err(format!("{found} of {count} nodes"));
            }
            // Pods are refused in a namespace until its default account is there.
            let account = ["get", "serviceaccount", "default", "-n", "default", "-o", "name"];
            bed.kubectl(&account).map(drop).map_err(|e| e.to_string())
        })
    }
}

/// Runs a program to its end and gives its standard output.
pub(crate) fn run(program: &Path, args: &[&str], input: &str) -> Result<String, TestbedError> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let context = || format!("run {name}");
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(TestbedError::io(context()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end without reading everything; then its status says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(TestbedError::io(context()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(TestbedError::Command {
        command: format!("{name} {}", args.join(" ")),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
