//! Which fields of an object can be selected by, and where they stand: what Kubernetes 1.36 offers
//! for each of its own types.

/// Where to look for a field: places (names of members), of which the first that has a text counts.
pub(super) type Places = &'static [&'static [&'static str]];

type Row = (&'static str, &'static str, &'static [(&'static str, Places)]);

/// The places of a field of a type, by the name that a selector gives it.
pub(super) fn places(group: &str, resource: &str, field: &str) -> Option<Places> {
    let row = TABLE.iter().find(|row| row.0 == group && row.1 == resource)?;
    row.2.iter().find(|known| known.0 == field).map(|known| known.1)
}

/// The fields of a type, for a message.
pub(super) fn known(group: &str, resource: &str) -> Vec<&'static str> {
    let row = TABLE.iter().find(|row| row.0 == group && row.1 == resource);
    row.map(|row| row.2.iter().map(|known| known.0).collect()).unwrap_or_default()
}

const EVENT: &[(&str, Places)] = &[
    ("involvedObject.kind", &[&["involvedObject", "kind"], &["regarding", "kind"]]),
    ("involvedObject.namespace", &[&["involvedObject", "namespace"], &["regarding", "namespace"]]),
    ("involvedObject.name", &[&["involvedObject", "name"], &["regarding", "name"]]),
    ("involvedObject.uid", &[&["involvedObject", "uid"], &["regarding", "uid"]]),
    (
        "involvedObject.apiVersion",
        &[&["involvedObject", "apiVersion"], &["regarding", "apiVersion"]],
    ),
    (
        "involvedObject.resourceVersion",
        &[&["involvedObject", "resourceVersion"], &["regarding", "resourceVersion"]],
    ),
    ("involvedObject.fieldPath", &[&["involvedObject", "fieldPath"], &["regarding", "fieldPath"]]),
    ("reason", &[&["reason"]]),
    ("reportingComponent", &[&["reportingComponent"], &["reportingController"]]),
    (
        "source",
        &[
            &["source", "component"],
            &["deprecatedSource", "component"],
            &["reportingComponent"],
            &["reportingController"],
        ],
    ),
    ("type", &[&["type"]]),
];

const TABLE: &[Row] = &[
    (
        "",
        "pods",
        &[
            ("spec.nodeName", &[&["spec", "nodeName"]]),
            ("spec.restartPolicy", &[&["spec", "restartPolicy"]]),
            ("spec.schedulerName", &[&["spec", "schedulerName"]]),
            ("spec.serviceAccountName", &[&["spec", "serviceAccountName"]]),
            ("spec.hostNetwork", &[&["spec", "hostNetwork"]]),
            ("status.phase", &[&["status", "phase"]]),
            ("status.podIP", &[&["status", "podIP"]]),
            ("status.nominatedNodeName", &[&["status", "nominatedNodeName"]]),
        ],
    ),
    ("", "events", EVENT),
    ("events.k8s.io", "events", EVENT),
    ("", "nodes", &[("spec.unschedulable", &[&["spec", "unschedulable"]])]),
    ("", "namespaces", &[("status.phase", &[&["status", "phase"]])]),
    ("", "secrets", &[("type", &[&["type"]])]),
    (
        "",
        "services",
        &[("spec.clusterIP", &[&["spec", "clusterIP"]]), ("spec.type", &[&["spec", "type"]])],
    ),
    ("", "replicationcontrollers", &[("status.replicas", &[&["status", "replicas"]])]),
    ("apps", "replicasets", &[("status.replicas", &[&["status", "replicas"]])]),
    ("batch", "jobs", &[("status.successful", &[&["status", "succeeded"]])]),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        &[("spec.signerName", &[&["spec", "signerName"]])],
    ),
    (
        "resource.k8s.io",
        "resourceslices",
        &[("spec.nodeName", &[&["spec", "nodeName"]]), ("spec.driver", &[&["spec", "driver"]])],
    ),
];

/// What a field that is not there counts as, where that is not the empty text.
pub(super) fn absent(field: &str) -> &'static str {
    match field {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        "status.replicas" | "status.successful" => "0",
        _ => "",
    }
}
