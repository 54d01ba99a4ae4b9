//! What churn is made of: the kinds, how an object of each looks, and how it changes.
//!
//! Every value is made up; the Secrets hold random bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::random::Random;

/// API group of the custom resources.
pub(super) const CUSTOM_GROUP: &str = "churn.example.org";

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Namespaced,
    Cluster,
    /// It is a namespace itself: what is in it goes with it.
    Namespace,
    /// It defines a custom resource: its objects go with it.
    Definition,
    /// An object of some custom resource, in a namespace.
    Custom,
}

/// A kind of object and how churn treats it.
#[derive(Debug)]
pub(super) struct Kind {
    /// Prefix of its API.
    pub(super) api: &'static str,
    pub(super) plural: &'static str,
    /// Beginning of the names.
    pub(super) prefix: &'static str,
    pub(super) scope: Scope,
    /// How often it is chosen, compared to others.
    pub(super) weight: u64,
    /// Never more of them than this.
    pub(super) live_max: usize,
    /// An object for its name, whose metadata is completed by the caller.
    pub(super) make: fn(&mut Random, &str) -> Value,
    /// A merge patch.
    pub(super) change: fn(&mut Random) -> Value,
}

/// All kinds. Pods come to at most about 70: three nodes of four have room for 60, and pods that wait for
/// room are part of the picture.
pub(super) static KINDS: [Kind; 14] = [
    kind("/apis/apps/v1", "deployments", "app", 24, 6, deployment, change_deployment),
    kind("/apis/batch/v1", "jobs", "job", 12, 8, job, annotate),
    kind("/apis/apps/v1", "statefulsets", "db", 6, 2, stateful_set, scale),
    kind("/api/v1", "pods", "bare", 6, 5, bare_pod, annotate),
    kind("/api/v1", "services", "svc", 5, 5, service, annotate),
    kind("/api/v1", "configmaps", "conf", 12, 20, config_map, change_config_map),
    kind("/api/v1", "secrets", "secret", 8, 12, secret, change_secret),
    kind("/api/v1", "serviceaccounts", "account", 3, 6, service_account, annotate),
    kind("/apis/networking.k8s.io/v1", "networkpolicies", "net", 4, 6, network_policy, annotate),
    Kind {
        scope: Scope::Cluster,
        ..kind(RBAC, "clusterroles", "churn-role", 2, 4, cluster_role, annotate)
    },
    kind(RBAC, "roles", "role", 3, 6, role, annotate),
    Kind {
        scope: Scope::Namespace,
        ..kind("/api/v1", "namespaces", "churn-temp", 4, 3, namespace, annotate)
    },
    Kind { scope: Scope::Definition, ..kind(EXTENSIONS, CRDS, "crd", 3, 3, definition, annotate) },
    Kind {
        scope: Scope::Custom,
        ..kind("/apis/churn.example.org/v1", "gadgets", "gadget", 10, 20, gadget, change_gadget)
    },
];

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const EXTENSIONS: &str = "/apis/apiextensions.k8s.io/v1";
const CRDS: &str = "customresourcedefinitions";

const fn kind(
    api: &'static str,
    plural: &'static str,
    prefix: &'static str,
    weight: u64,
    live_max: usize,
    make: fn(&mut Random, &str) -> Value,
    change: fn(&mut Random) -> Value,
) -> Kind {
    Kind { api, plural, prefix, scope: Scope::Namespaced, weight, live_max, make, change }
}

fn annotate(random: &mut Random) -> Value {
    json!({"metadata": {"annotations": {"churn.example.org/touched": random.next_u64().to_string()}}})
}

fn image(random: &mut Random) -> String {
    format!("registry.example.org/app:1.{}", random.below(1000))
}

fn template(random: &mut Random, app: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app, "tier": "churn"}},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [{
                "name": "main",
                "image": image(random),
                "ports": [{"containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }],
        },
    })
}

fn deployment(random: &mut Random, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"labels": {"app": name, "team": format!("team-{}", random.below(4))}},
        "spec": {
            "replicas": 1 + random.below(8),
            "selector": {"matchLabels": {"app": name}},
            "template": template(random, name),
        },
    })
}

/// A new image, more often than a new size.
fn change_deployment(random: &mut Random) -> Value {
    if random.one_in(3) {
        return scale(random);
    }
    let version = random.next_u64().to_string();
    json!({"spec": {"template": {"metadata": {"annotations": {"churn.example.org/version": version}}}}})
}

fn scale(random: &mut Random) -> Value {
    json!({"spec": {"replicas": random.below(9)}})
}

fn job(random: &mut Random, name: &str) -> Value {
    let mut template = template(random, name);
    template["spec"]["restartPolicy"] = "Never".into();
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {},
        "spec": {
            "parallelism": 1 + random.below(3),
            "completions": 1 + random.below(5),
            "ttlSecondsAfterFinished": random.below(6),
            "template": template,
        },
    })
}

fn stateful_set(random: &mut Random, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {},
        "spec": {
            "serviceName": name,
            "replicas": 1 + random.below(4),
            "podManagementPolicy": if random.one_in(2) { "Parallel" } else { "OrderedReady" },
            "selector": {"matchLabels": {"app": name}},
            "template": template(random, name),
        },
    })
}

fn bare_pod(random: &mut Random, name: &str) -> Value {
    let mut pod = template(random, name);
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["spec"]["hostNetwork"] = random.one_in(3).into();
    if pod["spec"]["hostNetwork"] == true {
        pod["spec"]["containers"][0]["ports"] = json!([]);
    }
    pod
}

fn service(random: &mut Random, _: &str) -> Value {
    // It selects a deployment that may exist or not.
    let app = format!("app-{}", random.below(60));
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// Text of up to `length` bytes: mostly plain, with what makes JSON interesting here and there.
fn text(random: &mut Random, length: u64) -> String {
    let pieces = [
        "plain text ",
        "two\nlines ",
        "\u{e9}\u{4e2d}\u{1f600} ",
        "\"quoted\" ",
        "<&> \\ \u{2028}",
    ];
    let mut text = String::new();
    let wanted = usize::try_from(random.below(length)).unwrap_or(0);
    while text.len() < wanted {
        text += random.choose(&pieces).copied().unwrap_or_default();
    }
    text
}

fn config_map(random: &mut Random, _: &str) -> Value {
    let length = if random.one_in(8) { 20_000 } else { 300 };
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"labels": {"from": "churn"}},
        "data": {"text": text(random, length), "number": random.next_u64().to_string()},
    })
}

fn change_config_map(random: &mut Random) -> Value {
    let key = format!("key-{}", random.below(5));
    json!({"data": {key: text(random, 500)}})
}

fn secret_value(random: &mut Random) -> String {
    STANDARD.encode(random.next_u64().to_be_bytes())
}

fn secret(random: &mut Random, _: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {},
        "type": "Opaque",
        "data": {"password": secret_value(random), "fixed": "Zml4ZWQ="},
    })
}

fn change_secret(random: &mut Random) -> Value {
    json!({"data": {"password": secret_value(random)}})
}

fn network_policy(random: &mut Random, _: &str) -> Value {
    let port = 1000 + random.below(9000);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {},
        "spec": {
            "podSelector": {"matchLabels": {"tier": "churn"}},
            "ingress": [{"ports": [{"protocol": "TCP", "port": port}]}],
        },
    })
}

fn role(random: &mut Random, _: &str) -> Value {
    let verbs = if random.one_in(2) { json!(["get", "list"]) } else { json!(["get"]) };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {},
        "rules": [{"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": verbs}],
    })
}

fn cluster_role(random: &mut Random, name: &str) -> Value {
    let mut role = role(random, name);
    role["kind"] = "ClusterRole".into();
    role
}

fn service_account(_: &mut Random, _: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {}})
}

fn namespace(random: &mut Random, _: &str) -> Value {
    let team = format!("team-{}", random.below(4));
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"labels": {"team": team}}})
}

/// The kind of the custom resource with this plural.
pub(super) fn custom_kind(plural: &str) -> String {
    plural.replace("gadgets", "Gadget")
}

fn definition(_: &mut Random, name: &str) -> Value {
    let plural = name.split('.').next().unwrap_or_default();
    let kind = custom_kind(plural);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {},
        "spec": {
            "group": CUSTOM_GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}

fn gadget(random: &mut Random, _: &str) -> Value {
    json!({
        "apiVersion": "churn.example.org/v1",
        "metadata": {},
        "spec": {"size": random.below(100), "ratio": 0.5, "note": text(random, 100)},
    })
}

fn change_gadget(random: &mut Random) -> Value {
    json!({"spec": {"size": random.below(100), "nested": {"list": [1, {"two": null}, "3"]}}})
}
