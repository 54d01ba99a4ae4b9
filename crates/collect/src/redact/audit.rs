//! Audit events: bodies of requests about Secrets and tokens.
//!
//! Beside the bodies, an audit event can repeat values in two more places: the patches of
//! admission webhooks (annotations of the event) and the message of a refusal, which quotes the
//! input that was refused.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rewrite::{Rewriter, Values, unquote};
use super::{RedactError, annotations, metadata, repeats_values, secret};

/// Annotations of audit events that repeat the body or parts of it.
const REPEATING_ANNOTATIONS: [&str; 2] =
    ["patch.webhook.admission.k8s.io/", "validation.policy.admission.k8s.io/"];

/// Places of a Secret that a JSON patch can touch and that hold no values.
const HARMLESS_PATHS: [&str; 6] = [
    "/metadata/labels",
    "/metadata/finalizers",
    "/metadata/ownerReferences",
    "/metadata/name",
    "/type",
    "/immutable",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(default, rename = "requestURI")]
    request_uri: Option<String>,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    response_status: Option<ResponseStatus>,
    #[serde(default, borrow)]
    request_object: Option<&'a RawValue>,
    #[serde(default, borrow)]
    response_object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    api_group: Option<String>,
    #[serde(default)]
    subresource: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: Option<i64>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    kind: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Secrets,
    Tokens,
    Neither,
}

pub(super) fn redact(key: &[u8; 32], raw: Bytes) -> Result<Bytes, RedactError> {
    let event: Event<'_> = serde_json::from_slice(&raw).map_err(|e| {
        RedactError::new(e.column(), format!("not an audit event ({:?} error)", e.classify()))
    })?;
    let about = about(&event);
    if about == About::Neither {
        return Ok(raw);
    }
    let code = event.response_status.and_then(|status| status.code);
    let refused = matches!(code, Some(400 | 422));
    let mut rewriter = Rewriter::new(key, &raw)?;
    rewriter.object(&mut |rewriter, member| match (member, about) {
        ("requestObject" | "responseObject", About::Tokens) => tokens(rewriter),
        ("requestObject", _) => body(rewriter),
        ("responseObject", _) if refused => messages(rewriter),
        ("responseObject", _) => body(rewriter),
        ("responseStatus", _) if refused => messages(rewriter),
        ("annotations", _) => event_annotations(rewriter),
        _ => rewriter.skip(),
    })?;
    Ok(rewriter.finish().into())
}

fn about(event: &Event<'_>) -> About {
    let target = event.object_ref.as_ref();
    let resource = target.and_then(|r| r.resource.as_deref()).unwrap_or("");
    let group = target.and_then(|r| r.api_group.as_deref()).unwrap_or("");
    let subresource = target.and_then(|r| r.subresource.as_deref()).unwrap_or("");
    let kinds = [event.request_object, event.response_object].map(kind_of);
    let has_kind = |wanted: &[&str]| kinds.iter().flatten().any(|k| wanted.contains(&k.as_str()));
    let uri = event.request_uri.as_deref().unwrap_or("");
    if (resource == "secrets" && group.is_empty())
        || has_kind(&["Secret", "SecretList"])
        || (target.is_none() && uri.starts_with("/api/v1/") && uri.contains("/secrets"))
    {
        return About::Secrets;
    }
    if (resource == "serviceaccounts" && subresource == "token")
        || resource == "tokenreviews"
        || has_kind(&["TokenRequest", "TokenReview"])
    {
        return About::Tokens;
    }
    About::Neither
}

fn kind_of(body: Option<&RawValue>) -> Option<String> {
    let text = body?.get();
    // Arrays and strings are patches: they name no kind.
    text.starts_with('{').then(|| serde_json::from_str::<Body>(text).ok()?.kind).flatten()
}

fn body(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    match rewriter.peek() {
        b'[' => rewriter.array(&mut patch_operation),
        b'{' => secret(rewriter),
        b'n' => rewriter.skip(),
        _ => rewriter.digest_value(Values::Text),
    }
}

/// One operation of a JSON patch (RFC 6902).
fn patch_operation(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    if rewriter.peek() != b'{' {
        return rewriter.digest_leaves(Values::Text);
    }
    let path = patch_path(rewriter.value()?);
    rewriter.object(&mut |rewriter, member| match member {
        "value" => patch_value(rewriter, &path),
        _ => rewriter.skip(),
    })
}

fn patch_path(operation: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Path<'a> {
        #[serde(borrow)]
        path: &'a RawValue,
    }
    match serde_json::from_slice::<Path<'_>>(operation) {
        Ok(found) => unquote(found.path.get().as_bytes()).into_owned(),
        Err(_) => String::new(),
    }
}

fn patch_value(rewriter: &mut Rewriter<'_>, path: &str) -> Result<(), RedactError> {
    let below =
        |root: &str| path.strip_prefix(root).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    if HARMLESS_PATHS.iter().any(|root| below(root)) {
        return rewriter.skip();
    }
    if let Some(name) = path.strip_prefix("/metadata/annotations/") {
        let name = name.replace("~1", "/").replace("~0", "~");
        return match repeats_values(&name, rewriter.value()?) {
            true => rewriter.digest_leaves(Values::Text),
            false => rewriter.skip(),
        };
    }
    match path {
        "" if rewriter.peek() == b'{' => secret(rewriter),
        "/metadata" => metadata(rewriter),
        "/metadata/annotations" => annotations(rewriter),
        _ if below("/stringData") => rewriter.digest_leaves(Values::Text),
        _ => rewriter.digest_leaves(Values::Base64),
    }
}

fn tokens(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    match rewriter.peek() {
        b'{' => rewriter.object(&mut |rewriter, member| match member {
            "token" => rewriter.digest_leaves(Values::Text),
            _ => tokens(rewriter),
        }),
        b'[' => rewriter.array(&mut tokens),
        _ => rewriter.skip(),
    }
}

/// What the server wrote about input that it refused, and the input where it is repeated.
fn messages(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    match rewriter.peek() {
        b'{' => rewriter.object(&mut |rewriter, member| match member {
            "message" => rewriter.digest_leaves(Values::Text),
            "data" => rewriter.digest_leaves(Values::Base64),
            "stringData" => rewriter.digest_leaves(Values::Text),
            "metadata" => metadata(rewriter),
            _ => messages(rewriter),
        }),
        b'[' => rewriter.array(&mut messages),
        _ => rewriter.skip(),
    }
}

fn event_annotations(rewriter: &mut Rewriter<'_>) -> Result<(), RedactError> {
    if rewriter.peek() != b'{' {
        return rewriter.skip();
    }
    rewriter.object(&mut |rewriter, name| match REPEATING_ANNOTATIONS
        .iter()
        .any(|prefix| name.starts_with(prefix))
    {
        true => rewriter.digest_leaves(Values::Text),
        false => rewriter.skip(),
    })
}
