//! No byte of a value survives, and nothing else is touched.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const KEY: [u8; 32] = [7; 32];

fn context(resource: &str, kind: &str) -> FrameContext {
    FrameContext {
        cluster: "c".to_owned(),
        server: String::new(),
        group: String::new(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        namespaced: true,
        redacted: false,
        list: None,
    }
}

fn redact_frame(raw: &[u8]) -> Vec<u8> {
    let mut context = context("secrets", "Secret");
    let out = Redactor::new(KEY).frame(&mut context, Bytes::copy_from_slice(raw)).unwrap();
    assert!(context.redacted);
    out.to_vec()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn other_frames_are_not_touched_even_if_they_are_not_json() {
    for (resource, kind, raw) in
        [("configmaps", "ConfigMap", "{ \"data\": {} }"), ("pods", "Pod", "garbage")]
    {
        let mut context = context(resource, kind);
        let raw = Bytes::from_static(raw.as_bytes());
        assert_eq!(Redactor::new(KEY).frame(&mut context, raw.clone()).unwrap(), raw);
        assert!(!context.redacted);
    }
    let mut context = context("secrets", "Secret");
    let garbage = Bytes::from_static(b"{\"data\":{\"a\":\"b\"");
    Redactor::new(KEY).frame(&mut context, garbage.clone()).unwrap_err();
    assert_eq!(Redactor::keep_values().frame(&mut context, garbage.clone()).unwrap(), garbage);
}

#[test]
fn everything_but_values_stays_byte_for_byte() {
    let raw = br#"{ "type":"MODIFIED" , "object":{"n":1.0e+2,"x":-0,"d\u0061ta":{"k":"c2VjcmV0"},
      "stringData":{"k":"secret","e":"","z":null},"metadata":{"labels":{"data":"kept"},"annotations":{
      "kubectl.kubernetes.io/last-applied-configuration":"{\"data\":\"c2VjcmV0\"}","note":"kept"}}}}"#;
    let out = redact_frame(raw);
    let digest = Redactor::new(KEY).digest(b"secret").unwrap();
    let empty = Redactor::new(KEY).digest(b"").unwrap();
    let applied = Redactor::new(KEY).digest(br#"{"data":"c2VjcmV0"}"#).unwrap();
    let wanted = String::from_utf8(raw.to_vec())
        .unwrap()
        .replace(r#""{\"data\":\"c2VjcmV0\"}""#, &format!("\"{applied}\""))
        .replace("\"c2VjcmV0\"", &format!("\"{digest}\""))
        .replace("\"secret\"", &format!("\"{digest}\""))
        .replace("\"e\":\"\"", &format!("\"e\":\"{empty}\""));
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
}

#[test]
fn deep_nesting_is_refused_without_overflow() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let raw = format!("{{\"a\":{deep}}}");
    let mut context = context("secrets", "Secret");
    let error = Redactor::new(KEY).frame(&mut context, raw.into()).unwrap_err();
    assert!(error.detail.contains("levels"));
}

#[test]
fn audit_bodies_of_other_resources_stay() {
    let raw = Bytes::from(
        json!({"objectRef": {"resource": "configmaps"}, "requestObject": {"kind": "ConfigMap",
               "data": {"a": "b"}}})
        .to_string(),
    );
    assert_eq!(Redactor::new(KEY).audit_event(raw.clone()).unwrap(), raw);
}

#[test]
fn etcd_values_of_secrets_go_whole_and_others_stay() {
    let event = |key: &str| {
        json!({"kv": {"value": STANDARD.encode("k8s\0topsecretvalue"), "key": STANDARD.encode(key)},
               "prev_kv": {"key": STANDARD.encode(key), "value": STANDARD.encode("k8s\0topsecretvalue")}})
    };
    let redactor = Redactor::new(KEY);
    for key in ["/registry/secrets/ns/name", "/kubernetes.io/a/secrets/ns/name"] {
        let raw = json!({"Header": {"revision": 7}, "Events": [event(key)]}).to_string();
        let out = redactor.etcd_response(raw.into()).unwrap();
        assert!(!contains(&out, STANDARD.encode("k8s\0topsecretvalue").as_bytes()));
        let out: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out["Events"][0]["kv"]["key"], STANDARD.encode(key));
    }
    let raw = Bytes::from(json!({"Events": [event("/registry/configmaps/secrets/x")]}).to_string());
    assert_eq!(redactor.etcd_response(raw.clone()).unwrap(), raw);
    redactor
        .etcd_response(Bytes::from_static(br#"{"Events":[{"kv":{"key":"!","value":""}}]}"#))
        .unwrap_err();
}

/// All the places where a value can stand, with the forms it can take there.
fn documents(value: &str) -> Vec<(&'static str, Value)> {
    let b64 = STANDARD.encode(value);
    let applied = json!({"data": {"k": b64}, "stringData": {"k": value}}).to_string();
    let object = json!({"kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "n", "resourceVersion": "5", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": applied}},
        "data": {"k": b64, "nested": {"deep": [b64]}}, "stringData": {"k": value}});
    let secrets = json!({"resource": "secrets", "namespace": "n", "apiVersion": "v1"});
    let patch = json!([
        {"op": "add", "value": b64, "path": "/data/k"},
        {"op": "add", "path": "/stringData", "value": {"k": value}},
        {"op": "replace", "path": "", "value": object},
        {"op": "test", "path": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
         "value": applied},
        {"op": "add", "path": "/metadata/annotations", "value": object["metadata"]["annotations"]},
        {"value": object["metadata"], "path": "/metadata"},
    ]);
    let review =
        json!({"kind": "TokenReview", "spec": {"token": value}, "status": {"token": value}});
    vec![
        ("frame", json!({"type": "ADDED", "object": object})),
        ("frame", json!({"kind": "SecretList", "items": [object, object]})),
        ("audit", json!({"objectRef": secrets, "requestObject": object, "responseObject": object})),
        (
            "audit",
            json!({"objectRef": secrets, "requestObject": patch,
                         "responseObject": {"kind": "SecretList", "items": [object]}}),
        ),
        ("audit", json!({"objectRef": secrets, "requestObject": value})),
        ("audit", json!({"requestObject": {"kind": "Secret", "data": {"k": b64}}})),
        ("audit", json!({"requestURI": "/api/v1/namespaces/n/secrets", "requestObject": patch})),
        (
            "audit",
            json!({"objectRef": secrets, "responseStatus": {"code": 422, "message": value},
                         "responseObject": {"kind": "Status", "message": value,
                                            "details": {"causes": [{"message": value}]}}}),
        ),
        (
            "audit",
            json!({"objectRef": secrets, "annotations":
            {"patch.webhook.admission.k8s.io/round_0_index_0": patch.to_string()}}),
        ),
        (
            "audit",
            json!({"objectRef": {"resource": "tokenreviews", "apiGroup": "authentication.k8s.io"},
                         "requestObject": review, "responseObject": review}),
        ),
        (
            "audit",
            json!({"objectRef": {"resource": "serviceaccounts", "subresource": "token"},
                         "responseObject": {"kind": "TokenRequest", "status": {"token": value}}}),
        ),
        (
            "etcd",
            json!({"Events": [{"kv": {"key": STANDARD.encode("/registry/secrets/n/n"), "value": b64},
                                    "prev_kv": {"value": STANDARD.encode(value)}}]}),
        ),
    ]
}

proptest! {
    #[test]
    fn no_byte_of_a_value_survives(value in "\\PC{12,40}", pretty: bool) {
        let redactor = Redactor::new(KEY);
        let escaped = json!(value).to_string();
        let escaped = escaped[1..escaped.len() - 1].to_owned();
        let forms = [value.clone(), STANDARD.encode(&value), escaped];
        for (form, document) in documents(&value) {
            let raw = match pretty {
                true => serde_json::to_string_pretty(&document).unwrap(),
                false => document.to_string(),
            };
            let out = match form {
                "frame" => Bytes::from(redact_frame(raw.as_bytes())),
                "audit" => redactor.audit_event(raw.into()).unwrap(),
                _ => redactor.etcd_response(raw.into()).unwrap(),
            };
            for needle in &forms {
                prop_assert!(!contains(&out, needle.as_bytes()), "{form}: {document}");
            }
            let parsed: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(shape(&parsed), shape(&document));
        }
    }

    #[test]
    fn any_input_is_refused_or_rewritten_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let redactor = Redactor::new(KEY);
        let raw = Bytes::from(bytes);
        let mut context = context("secrets", "Secret");
        let _ = redactor.frame(&mut context, raw.clone());
        let _ = redactor.audit_event(raw.clone());
        let _ = redactor.etcd_response(raw);
    }
}

/// The document with every string taken out: redaction must not change it.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::Null,
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), shape(v))).collect(),
        other => other.clone(),
    }
}

#[test]
fn annotations_in_which_any_tool_keeps_the_object_are_redacted() {
    let kept = r#"{"kind":"Secret","data":{"k":"aHVudGVyMg=="}}"#;
    let object = json!({"kind": "Secret", "metadata": {"name": "n", "annotations": {
        "kapp.k14s.io/original": kept, "note": "{\"owner\":\"data team\"}"}}});
    let mut context = context("secrets", "Secret");
    let raw = json!({"type": "ADDED", "object": object}).to_string();
    let out = Redactor::new(KEY).frame(&mut context, raw.into()).unwrap();
    let out = String::from_utf8(out.to_vec()).unwrap();
    assert!(!out.contains("aHVudGVyMg"), "{out}");
    assert!(out.contains("data team"), "{out}");
}
