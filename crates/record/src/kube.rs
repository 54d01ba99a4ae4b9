//! Kubernetes resource types: what a server offers, and a table of the built-in ones for input
//! that does not say (imports).
//!
//! Not here: a client. The table holds facts of the Kubernetes API (v1.36): plural, kind, short
//! names and scope of each type that can be listed and watched.

use serde::{Deserialize, Serialize};

use crate::RecordError;
use crate::payloads::{from_json, to_json};

/// A resource type of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// API group, `""` for the core group.
    pub group: String,
    /// The version in which stele records it.
    pub version: String,
    /// Plural name, as in URLs.
    pub resource: String,
    /// Kind of its objects.
    pub kind: String,
    /// Singular name; may be empty.
    #[serde(default)]
    pub singular: String,
    /// Short names, for example `po`.
    #[serde(default)]
    pub short_names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

/// Payload of a `KUBE_RESOURCES` record: what discovery found at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceList {
    /// The cluster, as in [`crate::frame::FrameContext::cluster`].
    pub cluster: String,
    /// Name for people: the context of the kubeconfig, or the name given at import.
    #[serde(default)]
    pub cluster_name: String,
    /// The API server that answered.
    #[serde(default)]
    pub server: String,
    /// All types that can be listed and watched.
    pub resources: Vec<Resource>,
}

impl ResourceList {
    /// The payload bytes.
    pub fn encode(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] naming the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        from_json("resource list", bytes)
    }
}

/// The built-in type with this group and plural name.
pub fn builtin(group: &str, resource: &str) -> Option<Resource> {
    let row = BUILTIN.iter().find(|row| row.0 == group && row.2 == resource)?;
    Some(to_resource(row))
}

/// The built-in type whose objects have this group and kind.
pub fn builtin_kind(group: &str, kind: &str) -> Option<Resource> {
    let row = BUILTIN.iter().find(|row| row.0 == group && row.3 == kind)?;
    Some(to_resource(row))
}

/// All built-in types.
pub fn builtins() -> impl Iterator<Item = Resource> {
    BUILTIN.iter().map(to_resource)
}

type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, bool);

fn to_resource(row: &Row) -> Resource {
    let (group, version, resource, kind, short, namespaced) = *row;
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        singular: kind.to_lowercase(),
        short_names: short.split_whitespace().map(str::to_owned).collect(),
        namespaced,
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const NETWORK: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";

/// Group, version, plural, kind, short names, namespaced.
const BUILTIN: &[Row] = &[
    ("", "v1", "configmaps", "ConfigMap", "cm", true),
    ("", "v1", "endpoints", "Endpoints", "ep", true),
    ("", "v1", "events", "Event", "ev", true),
    ("", "v1", "limitranges", "LimitRange", "limits", true),
    ("", "v1", "namespaces", "Namespace", "ns", false),
    ("", "v1", "nodes", "Node", "no", false),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc", true),
    ("", "v1", "persistentvolumes", "PersistentVolume", "pv", false),
    ("", "v1", "pods", "Pod", "po", true),
    ("", "v1", "podtemplates", "PodTemplate", "", true),
    ("", "v1", "replicationcontrollers", "ReplicationController", "rc", true),
    ("", "v1", "resourcequotas", "ResourceQuota", "quota", true),
    ("", "v1", "secrets", "Secret", "", true),
    ("", "v1", "serviceaccounts", "ServiceAccount", "sa", true),
    ("", "v1", "services", "Service", "svc", true),
    (ADMISSION, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", "", false),
    (
        ADMISSION,
        "v1",
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        "",
        false,
    ),
    (ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "", false),
    (ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", "", false),
    (
        ADMISSION,
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        "",
        false,
    ),
    (
        ADMISSION,
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        "",
        false,
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd crds",
        false,
    ),
    ("apiregistration.k8s.io", "v1", "apiservices", "APIService", "", false),
    ("apps", "v1", "controllerrevisions", "ControllerRevision", "", true),
    ("apps", "v1", "daemonsets", "DaemonSet", "ds", true),
    ("apps", "v1", "deployments", "Deployment", "deploy", true),
    ("apps", "v1", "replicasets", "ReplicaSet", "rs", true),
    ("apps", "v1", "statefulsets", "StatefulSet", "sts", true),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", true),
    ("batch", "v1", "cronjobs", "CronJob", "cj", true),
    ("batch", "v1", "jobs", "Job", "", true),
    (
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        "csr",
        false,
    ),
    ("coordination.k8s.io", "v1", "leases", "Lease", "", true),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "", true),
    ("events.k8s.io", "v1", "events", "Event", "ev", true),
    (FLOW, "v1", "flowschemas", "FlowSchema", "", false),
    (FLOW, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", "", false),
    (NETWORK, "v1", "ingressclasses", "IngressClass", "", false),
    (NETWORK, "v1", "ingresses", "Ingress", "ing", true),
    (NETWORK, "v1", "ipaddresses", "IPAddress", "ip", false),
    (NETWORK, "v1", "networkpolicies", "NetworkPolicy", "netpol", true),
    (NETWORK, "v1", "servicecidrs", "ServiceCIDR", "", false),
    ("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", "", false),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", true),
    (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", "", false),
    (RBAC, "v1", "clusterroles", "ClusterRole", "", false),
    (RBAC, "v1", "rolebindings", "RoleBinding", "", true),
    (RBAC, "v1", "roles", "Role", "", true),
    ("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", "", false),
    ("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", "", true),
    ("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", "", true),
    ("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", "", false),
    ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "pc", false),
    (STORAGE, "v1", "csidrivers", "CSIDriver", "", false),
    (STORAGE, "v1", "csinodes", "CSINode", "", false),
    (STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity", "", true),
    (STORAGE, "v1", "storageclasses", "StorageClass", "sc", false),
    (STORAGE, "v1", "volumeattachments", "VolumeAttachment", "", false),
    (STORAGE, "v1", "volumeattributesclasses", "VolumeAttributesClass", "vac", false),
];
