//! Audit events and responses of an etcd watch: one record a line.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use stele_record::{EventTime, Kind, PayloadType};

use super::convert::{Converter, Wrong};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Audit<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "auditID")]
    audit_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stage_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    request_received_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Etcd {
    #[serde(alias = "header")]
    #[serde(rename = "Header")]
    header: EtcdHeader,
}

#[derive(Deserialize)]
struct EtcdHeader {
    revision: u64,
}

impl Converter {
    /// An event, or an EventList as the webhook backend sends it.
    pub(super) fn audit_line(&mut self, line: &str) -> Result<(), Wrong> {
        let head: Audit<'_> = serde_json::from_str(line).map_err(|e| Wrong::json(&e))?;
        let version = head.api_version.as_deref().unwrap_or("");
        if !version.starts_with("audit.k8s.io/") {
            return Err(Wrong::field("apiVersion", "expected audit.k8s.io/v1"));
        }
        match (head.kind.as_deref(), &head.items) {
            (Some("EventList"), Some(items)) => {
                for (number, item) in items.iter().enumerate() {
                    let event: Audit<'_> =
                        serde_json::from_str(item.get()).map_err(|e| Wrong::json(&e))?;
                    self.audit_event(&event, item.get()).map_err(|wrong| Wrong {
                        field: Some(format!("items[{number}].{}", wrong.field.unwrap_or_default())),
                        ..wrong
                    })?;
                }
                Ok(())
            }
            (Some("Event"), _) => self.audit_event(&head, line),
            _ => Err(Wrong::field("kind", "expected Event or EventList")),
        }
    }

    fn audit_event(&mut self, event: &Audit<'_>, raw: &str) -> Result<(), Wrong> {
        if event.audit_id.as_deref().unwrap_or("").is_empty() {
            return Err(Wrong::field("auditID", "it is missing"));
        }
        let stamp = match (&event.stage_timestamp, &event.request_received_timestamp) {
            (Some(stamp), _) => Some(("stageTimestamp", stamp)),
            (None, Some(stamp)) => Some(("requestReceivedTimestamp", stamp)),
            (None, None) => None,
        };
        let time = stamp.map(|(field, text)| timestamp(field, text)).transpose()?;
        let raw = Bytes::copy_from_slice(raw.trim().as_bytes());
        let raw = self.redactor.audit_event(raw).map_err(|e| Wrong::redact(&e))?;
        self.emit(Kind::KUBE_AUDIT, time, None, PayloadType::JSON, raw);
        Ok(())
    }

    pub(super) fn etcd_line(&mut self, line: &str) -> Result<(), Wrong> {
        let head: Etcd = serde_json::from_str(line).map_err(|e| Wrong::json(&e))?;
        let raw = Bytes::copy_from_slice(line.trim().as_bytes());
        let raw = self.redactor.etcd_response(raw).map_err(|e| Wrong::redact(&e))?;
        let revision = head.header.revision.to_string();
        self.emit(Kind::ETCD_WATCH, None, Some(&revision), PayloadType::JSON, raw);
        Ok(())
    }
}

fn timestamp(field: &str, text: &str) -> Result<EventTime, Wrong> {
    let wrong = || Wrong::field(field, "expected an RFC 3339 time before the year 2262");
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    let ns = i64::try_from(time.as_nanosecond()).map_err(|_| wrong())?;
    Ok(EventTime::from_unix_ns(ns))
}
