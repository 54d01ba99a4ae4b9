//! Blindness of one stream: since when, why, and which gap records it takes.
//!
//! A short interruption that is resumed without loss needs no record. A longer one is announced
//! while it lasts (a gap without end), so that answers given meanwhile are not mistaken for
//! knowledge; the record that ends it repeats the start (`fromNs`) and replaces the first.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stele_record::{Gap, GapReason, Kind, ObservedTime, PayloadType};
use stele_source::Draft;

/// A stream does not see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blind {
    /// Last moment at which the stream surely saw.
    pub(crate) since: ObservedTime,
    /// Last version seen.
    pub(crate) from_rv: Option<String>,
    pub(crate) reason: GapReason,
    pub(crate) detail: String,
    /// A record says so already.
    #[serde(skip, default = "yes")]
    pub(crate) announced: bool,
    /// Its end must be recorded even if nothing was missed and it was short.
    #[serde(skip, default = "yes")]
    pub(crate) stated: bool,
}

const fn yes() -> bool {
    true
}

/// The type of objects a gap is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) resource: String,
}

impl Subject {
    /// Cursor that holds the version to resume at.
    pub(crate) fn cursor(&self) -> String {
        format!("{}{}/{}", cursors_of(&self.cluster), self.group, self.resource)
    }

    /// Cursor that holds an announced [`Blind`].
    pub(crate) fn blind_cursor(&self) -> String {
        format!("kube-blind/{}/{}/{}", self.cluster, self.group, self.resource)
    }

    /// Group and resource in the name of a cursor of this cluster.
    pub(crate) fn from_cursor(cluster: &str, cursor: &str) -> Option<Self> {
        let (group, resource) = cursor.strip_prefix(&cursors_of(cluster))?.split_once('/')?;
        Some(Self {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
        })
    }
}

fn cursors_of(cluster: &str) -> String {
    format!("kube-rv/{cluster}/")
}

impl Blind {
    /// The gap as it stands, without an end.
    pub(crate) fn open(&self, subject: &Subject) -> Gap {
        Gap {
            cluster: Some(subject.cluster.clone()),
            group: Some(subject.group.clone()),
            resource: Some(subject.resource.clone()),
            from_ns: self.since,
            to_ns: None,
            from_rv: self.from_rv.clone(),
            to_rv: None,
            reason: self.reason,
            recovered: false,
            detail: self.detail.clone(),
        }
    }

    /// The gap with its end.
    pub(crate) fn closed(
        &self,
        subject: &Subject,
        now: ObservedTime,
        to_rv: Option<String>,
        recovered: bool,
    ) -> Gap {
        Gap { to_ns: Some(now.max(self.since)), to_rv, recovered, ..self.open(subject) }
    }
}

/// The record of a gap.
pub(crate) fn draft(gap: &Gap) -> Draft {
    Draft {
        kind: Kind::GAP,
        event_time: None,
        origin_counter: None,
        payload_type: PayloadType::JSON,
        payload: Bytes::from(gap.encode()),
    }
}
