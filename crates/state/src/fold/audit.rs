//! Audit events: which request made a version of an object.
//!
//! An event whose response shows the object names the version that it made, by uid and resource
//! version. Bindings and deletions are answered without it (`facts`: a quarter of all pod versions),
//! so they are kept by the object's name. What an event says is not kept here, only where it stands
//! in the log. Audit events name no cluster; uids are enough for the first kind.

use std::borrow::Cow;

use serde::Deserialize;
use stele_record::Header;

use super::reading::{Read, fits};
use super::{Fold, Stamp};
use crate::tables::uid_key;
use crate::time::Time;

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    stage: Cow<'a, str>,
    #[serde(borrow, default)]
    verb: Cow<'a, str>,
    #[serde(borrow, default)]
    object_ref: Option<Reference<'a>>,
    #[serde(default)]
    response_status: Option<Status>,
    #[serde(borrow, default)]
    response_object: Option<Response<'a>>,
    #[serde(borrow, default)]
    request_received_timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference<'a> {
    #[serde(borrow, default)]
    api_group: Cow<'a, str>,
    #[serde(borrow, default)]
    resource: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    metadata: Option<ResponseMeta<'a>>,
    /// Of the answer to a deletion that was done at once.
    #[serde(borrow, default)]
    details: Option<ResponseMeta<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseMeta<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

/// Reads an audit event.
pub(super) fn read(payload: &[u8]) -> Read<Event<'_>> {
    let event: Event<'_> =
        serde_json::from_slice(payload).map_err(|e| format!("audit event: {e}"))?;
    if let Some(of) = &event.object_ref {
        for text in [&of.api_group, &of.resource, &of.namespace, &of.name, &of.uid] {
            fits("audit event: objectRef", text)?;
        }
    }
    if let Some(response) = &event.response_object {
        for meta in [&response.metadata, &response.details].into_iter().flatten() {
            fits("audit event: uid", &meta.uid)?;
            fits("audit event: resourceVersion", &meta.resource_version)?;
        }
    }
    Ok(event)
}

impl Fold<'_> {
    /// Notes what an audit event made. Requests that were refused or only read make nothing.
    pub(super) fn audit(&mut self, stamp: Stamp, header: &Header, event: Event<'_>) {
        let done = event.response_status.is_none_or(|status| status.code < 400);
        if event.stage != "ResponseComplete" || !done || !WRITES.contains(&&*event.verb) {
            return;
        }
        let received = event.request_received_timestamp.and_then(|text| Time::parse(&text).ok());
        let claimed = header.event_time.map(|time| time.unix_ns());
        let time = received.map(|time| time.0).or(claimed).unwrap_or(stamp.time);
        let deletes = event.verb.starts_with("delete");
        let (answer, details) =
            event.response_object.map_or((None, None), |object| (object.metadata, object.details));
        let made = answer.filter(|meta| !meta.uid.is_empty() && !meta.resource_version.is_empty());
        if let Some(meta) = &made {
            let uid = uid_key(&meta.uid);
            self.w.made.insert((uid.as_slice(), &*meta.resource_version, stamp.index), time);
        }
        if let Some(named) = event.object_ref.filter(|_| deletes || made.is_none()) {
            let (group, resource) = (&*named.api_group, &*named.resource);
            let key = (group, resource, &*named.namespace, &*named.name, stamp.index);
            let uids =
                [Some(&named.uid), made.as_ref().map(|m| &m.uid), details.as_ref().map(|d| &d.uid)];
            let uid = uids.into_iter().flatten().find(|uid| !uid.is_empty());
            self.w.requests.insert(key, (time, deletes, uid.map_or("", |uid| uid)));
        }
    }
}
