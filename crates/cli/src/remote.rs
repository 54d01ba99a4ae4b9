//! A copy of a log that is read and not believed: a data or mirror directory, or a server.
//!
//! Invariant: nothing is written through it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, RANGE};
use reqwest::{Method, Response, StatusCode};
use stele_server::api::StoredObjects;
use stele_store::{DiskStore, ObjectName, Put, Store, StoreError};
use tokio::runtime::Handle;

use crate::app::{App, ConnectArgs};
use crate::client::{Client, Query, ask};
use crate::data_dir::DataDir;
use crate::error::CliError;
use crate::log_view::store_error;

/// Opens the copy at a directory or URL; `connect` says how to reach a server.
///
/// # Errors
/// When there is no log in the directory, or the URL or token is wrong.
pub(crate) fn open(
    app: &App,
    place: &str,
    connect: &ConnectArgs,
) -> Result<Arc<dyn Store>, CliError> {
    if place.starts_with("http://") || place.starts_with("https://") {
        let connect = ConnectArgs { server: Some(place.to_owned()), ..connect.clone() };
        let (client, _) = app.client(&connect)?;
        return Ok(Arc::new(Remote { client, runtime: Handle::current() }));
    }
    let dir = DataDir::existing(Path::new(place))?;
    Ok(Arc::new(DiskStore::open_read_only(dir.log()).map_err(store_error)?))
}

/// The objects of a server. Its calls block: use it outside of the runtime's own threads.
struct Remote {
    client: Client,
    runtime: Handle,
}

impl Remote {
    fn get(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        range: Option<&Range<u64>>,
    ) -> Result<(Response, Bytes), StoreError> {
        let what = || format!("asking {} for {path}", self.client.base());
        let failed =
            |error: String| StoreError::Io { what: what(), error: std::io::Error::other(error) };
        let request = self.client.request(method, path, query, None);
        let mut request = request.map_err(|e| failed(e.to_string()))?;
        if let Some(range) = range {
            let last = range.end.saturating_sub(1);
            request = request.header(RANGE, format!("bytes={}-{last}", range.start));
        }
        self.runtime.block_on(async {
            let mut response = ask(request).await.map_err(|e| failed(e.to_string()))?;
            if !response.status().is_success() {
                let not_found = response.status() == StatusCode::NOT_FOUND;
                let name = path.strip_prefix(OBJECTS).and_then(|name| name.strip_prefix('/'));
                let name = name.and_then(|name| ObjectName::parse(name).ok());
                return Err(match name.filter(|_| not_found) {
                    Some(name) => StoreError::NotFound { name },
                    None => failed(self.client.refused(response).await.to_string()),
                });
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| failed(e.to_string()))? {
                bytes.extend_from_slice(&chunk);
            }
            Ok((response, bytes.into()))
        })
    }
}

const OBJECTS: &str = "v1/log/objects";

fn path(name: &ObjectName) -> String {
    format!("{OBJECTS}/{name}")
}

impl Store for Remote {
    fn put_new(&self, _: &ObjectName, _: &[&[u8]]) -> Result<Put, StoreError> {
        Err(StoreError::ReadOnly)
    }

    fn make_durable(&self, _: &ObjectName) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    fn read(&self, name: &ObjectName) -> Result<Bytes, StoreError> {
        Ok(self.get(Method::GET, &path(name), &Query::new(), None)?.1)
    }

    fn read_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let (_, bytes) = self.get(Method::GET, &path(name), &Query::new(), Some(&range))?;
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        Err(StoreError::Io { what: format!("reading {name}"), error })
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let (response, _) = self.get(Method::HEAD, &path(name), &Query::new(), None)?;
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        length.ok_or_else(|| StoreError::Io {
            what: format!("asking for the length of {name}"),
            error: std::io::Error::other("the server does not say it"),
        })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        let mut names: Vec<ObjectName> = Vec::new();
        let mut after = after.cloned();
        loop {
            let mut query: Query = vec![("prefix", prefix.to_owned())];
            query.extend(after.as_ref().map(|after| ("after", after.to_string())));
            let (_, bytes) = self.get(Method::GET, OBJECTS, &query, None)?;
            let page: StoredObjects = serde_json::from_slice(&bytes).map_err(|e| {
                let error = std::io::Error::other(e);
                StoreError::Io { what: format!("listing {prefix:?} of the server"), error }
            })?;
            let page = page.names.into_iter().map(ObjectName::parse);
            let page = page.collect::<Result<Vec<_>, _>>()?;
            let more = page.last().filter(|last| after.as_ref().is_none_or(|a| *last > a)).cloned();
            names.extend(page);
            match more {
                Some(last) => after = Some(last),
                None => return Ok(names),
            }
        }
    }

    fn retire(&self, _: &ObjectName) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    fn put_hint(&self, _: &ObjectName, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    fn read_hint(&self, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        if name.as_str() != "checkpoint" {
            return Ok(None);
        }
        Ok(Some(self.get(Method::GET, "checkpoint", &Query::new(), None)?.1))
    }
}
