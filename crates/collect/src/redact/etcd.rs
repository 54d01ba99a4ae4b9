//! Responses of an etcd watch: values under the keys of Secrets, replaced whole.
//!
//! A key is that of a Secret if its third component from the end is `secrets`, which holds
//! whatever prefix the API server keeps its objects under (`/registry/secrets/<namespace>/<name>`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::RedactError;
use super::rewrite::{Rewriter, Values};

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    kv: Option<KeyValue>,
    #[serde(default)]
    prev_kv: Option<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    #[serde(default)]
    key: Option<String>,
}

pub(super) fn redact(key: &[u8; 32], raw: Bytes) -> Result<Bytes, RedactError> {
    let mut rewriter = Rewriter::new(key, &raw)?;
    let mut touched = false;
    if rewriter.peek() != b'{' {
        return Err(RedactError::new(0, "not an etcd watch response"));
    }
    rewriter.object(&mut |rewriter, member| match (member, rewriter.peek()) {
        ("Events" | "events", b'[') => {
            rewriter.array(&mut |rewriter| event(rewriter, &mut touched))
        }
        _ => rewriter.skip(),
    })?;
    if !touched {
        return Ok(raw);
    }
    Ok(rewriter.finish().into())
}

fn event(rewriter: &mut Rewriter<'_>, touched: &mut bool) -> Result<(), RedactError> {
    if !is_of_secret(rewriter.value()?)? {
        return rewriter.skip();
    }
    *touched = true;
    rewriter.object(&mut |rewriter, member| match (member, rewriter.peek()) {
        ("kv" | "prev_kv", b'{') => rewriter.object(&mut |rewriter, field| match field {
            "value" => rewriter.digest_leaves(Values::Base64),
            _ => rewriter.skip(),
        }),
        _ => rewriter.skip(),
    })
}

fn is_of_secret(event: &[u8]) -> Result<bool, RedactError> {
    let fault = || RedactError::new(0, "an event whose key cannot be read");
    let event: Event = serde_json::from_slice(event).map_err(|_| fault())?;
    let keys = [event.kv, event.prev_kv].into_iter().flatten().filter_map(|kv| kv.key);
    let mut secret = false;
    for key in keys {
        let bytes = STANDARD.decode(key).map_err(|_| fault())?;
        secret |= bytes.rsplit(|&byte| byte == b'/').nth(2) == Some(b"secrets");
    }
    Ok(secret)
}
