//! What may one do here? Clients such as `kubectl auth can-i` and k9s ask the API server before
//! they offer something; the answer is known and nothing is stored for it.

use serde_json::{Value, json};

use super::path::{Objects, Version};

/// Longest body of such a question.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// Whether the path is that of a question about what the caller may do.
pub(super) fn is_review(objects: &Objects) -> bool {
    let Version { group, version } = &objects.of;
    group == "authorization.k8s.io"
        && version == "v1"
        && objects.namespace.is_none()
        && objects.name.is_none()
        && matches!(
            objects.resource.as_str(),
            "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
        )
}

/// The answer.
pub(super) fn answer(objects: &Objects, body: &[u8]) -> Value {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let api_version = objects.of.api_version();
    if objects.resource == "selfsubjectrulesreviews" {
        let rule = json!({"verbs": READING, "apiGroups": ["*"], "resources": ["*"]});
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["*"]});
        return json!({
            "kind": "SelfSubjectRulesReview",
            "apiVersion": api_version,
            "metadata": {"creationTimestamp": null},
            "spec": asked["spec"],
            "status": {"resourceRules": [rule], "nonResourceRules": [paths], "incomplete": false},
        });
    }
    let attributes = &asked["spec"]["resourceAttributes"];
    let verb = attributes["verb"].as_str();
    let verb = verb.or_else(|| asked["spec"]["nonResourceAttributes"]["verb"].as_str());
    let whole = matches!(attributes["subresource"].as_str(), None | Some("" | "status"));
    let allowed = whole && verb.is_some_and(|verb| READING.contains(&verb));
    let reason = if allowed { "" } else { "stele keeps a record: it can be read and watched only" };
    json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": api_version,
        "metadata": {"creationTimestamp": null},
        "spec": asked["spec"],
        "status": {"allowed": allowed, "reason": reason},
    })
}

const READING: [&str; 3] = ["get", "list", "watch"];
