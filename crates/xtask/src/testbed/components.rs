//! The programs of a control plane and the flags they are started with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pki::{Pki, kubeconfig_path};
use super::process::Component;
use crate::places;

/// Pods get addresses out of this range, each node out of its own part of it.
const POD_RANGE: &str = "10.42.0.0/16";

/// 62 addresses a node for at most 20 running pods: KWOK hands out returned addresses first, so they
/// are reused at once, and finished pods, which keep theirs, never exhaust them.
const NODE_MASK_BITS: &str = "26";

const SERVICE_RANGE: &str = "10.43.0.0/16";

/// Names of the components, in the order in which they are started.
pub(super) const ETCD: &str = "etcd";
pub(super) const API_SERVER: &str = "kube-apiserver";
pub(super) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
pub(super) const SCHEDULER: &str = "kube-scheduler";
pub(super) const KWOK: &str = "kwok";

/// What the flags are made of.
pub(super) struct Plan<'a> {
    pub(super) dir: &'a Path,
    pub(super) tools: &'a Tools,
    pub(super) ports: Ports,
    pub(super) pki: &'a Pki,
    pub(super) etcd_compaction_interval: Option<Duration>,
    pub(super) audit_webhook: bool,
    pub(super) api_server_flags: &'a [String],
}

/// Folders with the built programs.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub(super) etcd: PathBuf,
    pub(super) kube: PathBuf,
    pub(super) kwok: PathBuf,
}

/// A port for everything that listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) api_server: u16,
    pub(super) controller_manager: u16,
    pub(super) scheduler: u16,
}

impl Plan<'_> {
    /// All components in the order in which they are started.
    pub(super) fn components(&self) -> Vec<Component> {
        vec![
            self.etcd(),
            self.api_server(),
            self.controller_manager(),
            self.scheduler(),
            self.kwok(),
        ]
    }

    fn component(&self, name: &str, bin: &Path, flags: Vec<String>) -> Component {
        Component {
            name: name.into(),
            program: bin.join(name),
            args: flags,
            log: self.dir.join("logs").join(format!("{name}.log")),
        }
    }

    fn etcd(&self) -> Component {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        let flags = vec![
            format!("--data-dir={}", self.dir.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".into(),
        ];
        self.component(ETCD, &self.tools.etcd, flags)
    }

    fn api_server(&self) -> Component {
        let testbed = places::repository().join("testbed");
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            "--etcd-prefix=/registry".into(),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.api_server),
            format!("--cert-dir={}", self.dir.join("pki").display()),
            format!("--tls-cert-file={}", self.pki.server_certificate.display()),
            format!("--tls-private-key-file={}", self.pki.server_key.display()),
            format!("--client-ca-file={}", self.pki.ca.display()),
            format!("--service-account-key-file={}", self.pki.accounts_public.display()),
            format!("--service-account-signing-key-file={}", self.pki.accounts_key.display()),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            "--authorization-mode=Node,RBAC".into(),
            format!("--audit-policy-file={}", testbed.join("audit-policy.yaml").display()),
            format!("--audit-log-path={}", self.dir.join("logs/audit.jsonl").display()),
            // One file, never rotated: a test bed lives for minutes.
            "--audit-log-maxsize=16384".into(),
        ];
        if self.audit_webhook {
            let config = self.dir.join("audit-webhook.kubeconfig");
            flags.push(format!("--audit-webhook-config-file={}", config.display()));
            flags.push("--audit-webhook-mode=batch".into());
            flags.push("--audit-webhook-batch-max-wait=1s".into());
        }
        if let Some(interval) = self.etcd_compaction_interval {
            flags.push(format!("--etcd-compaction-interval={}s", interval.as_secs()));
        }
        flags.extend(self.api_server_flags.iter().cloned());
        self.component(API_SERVER, &self.tools.kube, flags)
    }

    fn controller_manager(&self) -> Component {
        let flags = vec![
            format!("--kubeconfig={}", kubeconfig_path(self.dir, "controller-manager").display()),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.controller_manager),
            format!("--cert-dir={}", self.dir.join("pki").display()),
            format!("--root-ca-file={}", self.pki.ca.display()),
            format!("--service-account-private-key-file={}", self.pki.accounts_key.display()),
            "--use-service-account-credentials=true".into(),
            "--leader-elect=false".into(),
            "--allocate-node-cidrs=true".into(),
            format!("--cluster-cidr={POD_RANGE}"),
            format!("--node-cidr-mask-size={NODE_MASK_BITS}"),
        ];
        self.component(CONTROLLER_MANAGER, &self.tools.kube, flags)
    }

    fn scheduler(&self) -> Component {
        let flags = vec![
            format!("--kubeconfig={}", kubeconfig_path(self.dir, "scheduler").display()),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.scheduler),
            format!("--cert-dir={}", self.dir.join("pki").display()),
            "--leader-elect=false".into(),
        ];
        self.component(SCHEDULER, &self.tools.kube, flags)
    }

    fn kwok(&self) -> Component {
        let stages = places::repository().join("testbed/stages");
        let flags = vec![
            format!("--kubeconfig={}", kubeconfig_path(self.dir, "kwok").display()),
            "--manage-all-nodes=true".into(),
            "--node-ip=127.0.0.1".into(),
            "--node-lease-duration-seconds=40".into(),
            format!("--config={}", stages.join("node.yaml").display()),
            format!("--config={}", stages.join("pod.yaml").display()),
        ];
        self.component(KWOK, &self.tools.kwok, flags)
    }
}

/// The kubeconfig that tells the API server where to send audit batches.
pub(super) fn audit_webhook_config(url: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: sink
clusters:
  - {{name: sink, cluster: {{server: \"{url}\"}}}}
contexts:
  - {{name: sink, context: {{cluster: sink, user: none}}}}
users:
  - {{name: none, user: {{}}}}
"
    )
}
