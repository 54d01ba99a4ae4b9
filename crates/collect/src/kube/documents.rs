//! Documents that an API server gives about itself: its version, and the schemas of its types (OpenAPI
//! v3, one document for each group and version).
//!
//! Not here: when to look. Invariant: a document is recorded when it is new, another one, or gone; the mark
//! of the last one becomes durable with it, so nothing is recorded twice. To fail to read one is no gap:
//! what a document says is no state of the cluster, and the next look finds it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use stele_record::frame::DocumentContext;
use stele_record::{Kind, PayloadType};
use stele_source::{Cursor, Draft, SourceError};

use super::http::{HttpError, get};
use super::stream::Shared;
use super::{DISCOVERY_BYTES_MAX, DOCUMENT_BYTES_MAX, RecorderMetrics, SCHEMAS_MAX};

const JSON: &str = "application/json";
const VERSION: &str = "/version";
const SCHEMAS: &str = "/openapi/v3";

/// `/openapi/v3`: which schemas there are.
#[derive(Deserialize)]
struct Index {
    paths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// With a hash of the content as its query.
    #[serde(rename = "serverRelativeURL")]
    server_relative_url: String,
}

/// Records what has changed since the last look. A server that does not answer is not asked on.
pub(crate) async fn record(shared: &Shared) -> Result<(), SourceError> {
    if !take(shared, VERSION, VERSION).await? {
        return Ok(());
    }
    let index = match index(shared).await {
        Ok(index) => index,
        Err(error) => {
            // Servers before 1.27 have none, and some may not be asked.
            tracing::debug!(%error, "the schemas of the server cannot be read");
            return Ok(());
        }
    };
    let known = shared.source.cursors();
    let path_of = |name: &str| format!("{SCHEMAS}/{name}");
    if index.paths.len() > SCHEMAS_MAX {
        tracing::warn!(
            schemas = index.paths.len(),
            "the server offers more schemas than are recorded; the first {SCHEMAS_MAX} are taken"
        );
    }
    for (name, entry) in index.paths.iter().take(SCHEMAS_MAX) {
        let (path, url) = (path_of(name), &entry.server_relative_url);
        // The hash of the content stands behind the path.
        let unchanged = url.contains('?') && known.get(&cursor(shared, &path)) == Some(url);
        if !unchanged && url.starts_with('/') && !take(shared, &path, url).await? {
            return Ok(());
        }
    }
    let prefix = cursor(shared, &path_of(""));
    for name in known.keys().filter_map(|key| key.strip_prefix(&prefix)) {
        if !index.paths.contains_key(name) {
            put(shared, &path_of(name), None, None).await?;
        }
    }
    Ok(())
}

async fn index(shared: &Shared) -> Result<Index, HttpError> {
    let body = get(&shared.client, SCHEMAS, JSON, DISCOVERY_BYTES_MAX).await?;
    serde_json::from_slice(&body)
        .map_err(|e| HttpError::Unreachable(format!("{SCHEMAS} cannot be read: {e}")))
}

/// Reads a document, and records it if it is another one than before; whether the server answered.
async fn take(shared: &Shared, path: &str, url: &str) -> Result<bool, SourceError> {
    let body = match get(&shared.client, url, JSON, DOCUMENT_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => {
            tracing::warn!(%error, path, "a document of the server cannot be read");
            return Ok(!matches!(error, HttpError::Unreachable(_)));
        }
    };
    let mark = if url.contains('?') { url.to_owned() } else { hex::encode(Sha256::digest(&body)) };
    if shared.source.cursor(&cursor(shared, path)).as_ref() == Some(&mark) {
        return Ok(true);
    }
    put(shared, path, Some(body), Some(mark)).await?;
    Ok(true)
}

/// Records a document, or that it is gone.
async fn put(
    shared: &Shared,
    path: &str,
    body: Option<Bytes>,
    mark: Option<String>,
) -> Result<(), SourceError> {
    let context = DocumentContext {
        cluster: shared.cluster.clone(),
        server: shared.server.clone(),
        path: path.to_owned(),
        gone: body.is_none(),
    };
    let body = body.unwrap_or_default();
    let draft = Draft {
        kind: Kind::KUBE_DOCUMENT,
        event_time: None,
        origin_counter: None,
        payload_type: PayloadType::FRAME,
        payload: context.join(&body).into(),
    };
    let cursor = Cursor { key: cursor(shared, path), value: mark };
    shared.source.record(draft, &[cursor]).await?;
    RecorderMetrics::count(&shared.metrics.bytes, body.len() as u64);
    Ok(())
}

/// Cursor that holds the mark of the last text of a document.
fn cursor(shared: &Shared, path: &str) -> String {
    format!("kube-document/{}{path}", shared.cluster)
}
