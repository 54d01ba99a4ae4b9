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

/// What is asked: verb, subresource, and the question itself as far as it has to be said again.
struct Asked {
    verb: String,
    subresource: String,
    spec: Value,
}

/// The answer.
pub(super) fn answer(objects: &Objects, body: &[u8]) -> Value {
    let asked = read(body);
    let api_version = objects.of.api_version();
    if objects.resource == "selfsubjectrulesreviews" {
        let rule = json!({"verbs": READING, "apiGroups": ["*"], "resources": ["*"]});
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["*"]});
        return json!({
            "kind": "SelfSubjectRulesReview",
            "apiVersion": api_version,
            "metadata": {"creationTimestamp": null},
            "spec": asked.spec,
            "status": {"resourceRules": [rule], "nonResourceRules": [paths], "incomplete": false},
        });
    }
    let whole = matches!(asked.subresource.as_str(), "" | "status");
    let allowed = whole && READING.contains(&asked.verb.as_str());
    let reason = if allowed { "" } else { "stele keeps a record: it can be read and watched only" };
    json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": api_version,
        "metadata": {"creationTimestamp": null},
        "spec": asked.spec,
        "status": {"allowed": allowed, "reason": reason},
    })
}

const READING: [&str; 3] = ["get", "list", "watch"];

/// Reads a question in JSON, or in the protobuf that client-go prefers.
fn read(body: &[u8]) -> Asked {
    if let Some(message) = body.strip_prefix(PROTOBUF) {
        return read_protobuf(message).unwrap_or_else(|| asked(json!({})));
    }
    let question: Value = serde_json::from_slice(body).unwrap_or_default();
    asked(question["spec"].clone())
}

fn asked(spec: Value) -> Asked {
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let verb = text("/resourceAttributes/verb").or_else(|| text("/nonResourceAttributes/verb"));
    let subresource = text("/resourceAttributes/subresource").unwrap_or_default();
    Asked { verb: verb.unwrap_or_default(), subresource, spec }
}

/// What a Kubernetes object in protobuf begins with.
const PROTOBUF: &[u8] = b"k8s\0";

/// Names of the fields of the attributes, by their numbers from 1 on
/// (`k8s.io/api/authorization/v1/generated.proto`).
const RESOURCE_FIELDS: [&str; 7] =
    ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
const PATH_FIELDS: [&str; 2] = ["path", "verb"];

fn read_protobuf(message: &[u8]) -> Option<Asked> {
    let object = field(message, 2)?;
    let spec = field(object, 2).unwrap_or_default();
    let mut shown = json!({});
    for (number, name, fields) in [
        (1, "resourceAttributes", RESOURCE_FIELDS.as_slice()),
        (2, "nonResourceAttributes", PATH_FIELDS.as_slice()),
    ] {
        let Some(attributes) = field(spec, number) else { continue };
        for (number, field_name) in (1..).zip(fields) {
            let value = field(attributes, number).and_then(|bytes| std::str::from_utf8(bytes).ok());
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                shown[name][*field_name] = value.into();
            }
        }
    }
    Some(asked(shown))
}

/// The bytes of a field of a protobuf message: text, bytes or a message.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => message.split_off(..8)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message.split_off(..length)?
            }
            5 => message.split_off(..4)?,
            _ => return None,
        };
        if key >> 3 == wanted && key & 7 == 2 {
            return Some(value);
        }
    }
    None
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *message.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_in_both_forms() {
        let text = |number: u8, text: &[u8]| {
            [&[number << 3 | 2, u8::try_from(text.len()).unwrap()], text].concat()
        };
        let attributes = [text(2, b"list"), text(5, b"pods")].concat();
        let object = [text(1, b""), text(2, &text(1, &attributes))].concat();
        let message = [PROTOBUF, &text(1, b""), &text(2, &object)].concat();
        let spec = json!({"resourceAttributes": {"verb": "list", "resource": "pods"}});
        let json = json!({"spec": spec}).to_string();
        for body in [message.as_slice(), json.as_bytes()] {
            let asked = read(body);
            assert_eq!((asked.verb.as_str(), &asked.spec), ("list", &spec));
        }
        for cut in 0..message.len() {
            read(&message[..cut]);
        }
    }
}
