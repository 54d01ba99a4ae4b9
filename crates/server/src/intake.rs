//! From the body of `POST /v1/events` to events: CloudEvents 1.0 in structured mode (one or a
//! batch), lines of JSON, lines of text.
//!
//! Invariants: a payload is exactly the bytes that the caller sent for that event; one event at
//! fault refuses the request, named by its position, and nothing of it is recorded.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use stele_record::{EventTime, PAYLOAD_BYTES_MAX, PayloadType};

use crate::append::EventDraft;
use crate::error::{ApiError, ErrorKind};
use crate::limits::EVENTS_PER_REQUEST_MAX;

/// Media type of one CloudEvent.
pub(crate) const CLOUD_EVENT: &str = "application/cloudevents+json";
/// Media type of an array of CloudEvents.
pub(crate) const CLOUD_EVENT_BATCH: &str = "application/cloudevents-batch+json";
/// Media type of one JSON value per line.
pub(crate) const JSON_LINES: &str = "application/x-ndjson";
/// Media type of lines of text.
pub(crate) const TEXT: &str = "text/plain";

/// An event and the `id` that its sender gave it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) draft: EventDraft,
}

/// Reads a whole body.
pub(crate) fn read(media_type: Option<&str>, body: &Bytes) -> Result<Vec<Event>, ApiError> {
    let events = match media_type {
        Some(CLOUD_EVENT) => vec![cloud_event(body.clone()).map_err(|what| invalid("", &what))?],
        Some(CLOUD_EVENT_BATCH) => batch(body)?,
        Some(JSON_LINES) => lines(body, json_line)?,
        Some(TEXT) => lines(body, text_line)?,
        other => return Err(unsupported(other)),
    };
    if events.is_empty() {
        return Err(ApiError::invalid("the body holds no event"));
    }
    if events.len() > EVENTS_PER_REQUEST_MAX {
        return Err(too_many());
    }
    for (number, event) in events.iter().enumerate() {
        if event.draft.payload.len() as u64 > PAYLOAD_BYTES_MAX {
            let message = format!("event {number}: over the limit of {PAYLOAD_BYTES_MAX} bytes");
            return Err(ApiError::new(ErrorKind::TooLarge, message));
        }
    }
    Ok(events)
}

fn unsupported(found: Option<&str>) -> ApiError {
    let message = match found {
        Some(found) => format!("the content type {found:?} is not one that events come in"),
        None => "the request has no content type".to_owned(),
    };
    ApiError::new(ErrorKind::UnsupportedType, message)
        .hint(format!("use one of {CLOUD_EVENT}, {CLOUD_EVENT_BATCH}, {JSON_LINES}, {TEXT}"))
}

fn invalid(place: &str, what: &str) -> ApiError {
    ApiError::invalid(format!("{place}{what}")).hint("nothing of this request was recorded")
}

fn too_many() -> ApiError {
    let message = format!("over the limit of {EVENTS_PER_REQUEST_MAX} events per request");
    ApiError::new(ErrorKind::TooLarge, message).hint("nothing of this request was recorded")
}

/// The elements of an array, up to one more than may be in a request.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of CloudEvents")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() <= EVENTS_PER_REQUEST_MAX {
                        elements.push(element);
                    }
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

fn batch(body: &Bytes) -> Result<Vec<Event>, ApiError> {
    let Elements(items) =
        serde_json::from_slice(body).map_err(|e| invalid("", &format!("not a JSON array: {e}")))?;
    if items.len() > EVENTS_PER_REQUEST_MAX {
        return Err(too_many());
    }
    items
        .iter()
        .enumerate()
        .map(|(number, item)| {
            cloud_event(body.slice_ref(item.get().as_bytes()))
                .map_err(|what| invalid(&format!("event {number}: "), &what))
        })
        .collect()
}

fn lines(body: &Bytes, read: fn(Bytes) -> Result<Event, String>) -> Result<Vec<Event>, ApiError> {
    body.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .take(EVENTS_PER_REQUEST_MAX + 1)
        .map(|(number, line)| {
            read(body.slice_ref(line))
                .map_err(|what| invalid(&format!("line {}: ", number + 1), &what))
        })
        .collect()
}

fn text_line(line: Bytes) -> Result<Event, String> {
    std::str::from_utf8(&line).map_err(|e| format!("not UTF-8: {e}"))?;
    Ok(Event { id: None, draft: draft(None, PayloadType::TEXT, line) })
}

/// A line of JSON: a CloudEvent if it says so, else anybody's own event.
fn json_line(line: Bytes) -> Result<Event, String> {
    let value: Value = serde_json::from_slice(&line).map_err(|e| format!("not JSON: {e}"))?;
    if value.get("specversion").is_some() {
        return cloud_event(line);
    }
    Ok(Event { id: None, draft: draft(None, PayloadType::JSON, line) })
}

fn draft(event_time: Option<EventTime>, payload_type: PayloadType, payload: Bytes) -> EventDraft {
    EventDraft { event_time, payload_type, payload }
}

fn cloud_event(bytes: Bytes) -> Result<Event, String> {
    let value: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|e| format!("not a JSON object: {e}"))?;
    for (name, value) in &value {
        attribute(name, value)?;
    }
    let id = required(&value, "id")?;
    required(&value, "source")?;
    required(&value, "type")?;
    if required(&value, "specversion")? != "1.0" {
        return Err("specversion: only \"1.0\" is known".to_owned());
    }
    if present(&value, "data").is_some() && present(&value, "data_base64").is_some() {
        return Err("data_base64: there is data already".to_owned());
    }
    let event_time = match present(&value, "time") {
        Some(time) => Some(event_time(time)?),
        None => None,
    };
    let id = Some(id.to_owned());
    Ok(Event { id, draft: draft(event_time, PayloadType::CLOUD_EVENT, bytes) })
}

/// JSON `null` is the same as absence (CloudEvents JSON format, 2.2).
fn present<'a>(event: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    event.get(name).filter(|value| !value.is_null())
}

fn required<'a>(event: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match present(event, name) {
        None => Err(format!("{name}: missing")),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(format!("{name}: expected a text that is not empty")),
    }
}

fn event_time(value: &Value) -> Result<EventTime, String> {
    let text = value.as_str().ok_or("time: expected a text")?;
    let time: jiff::Timestamp =
        text.parse().map_err(|_| format!("time: {text:?} is not RFC 3339"))?;
    let ns = i64::try_from(time.as_nanosecond())
        .map_err(|_| format!("time: {text:?} is after the year 2262 or before 1677"))?;
    Ok(EventTime::from_unix_ns(ns))
}

/// Checks one member against the rules of CloudEvents 1.0 for names and types.
fn attribute(name: &str, value: &Value) -> Result<(), String> {
    match name {
        "data" => return Ok(()),
        "data_base64" => {
            let text = value.as_str().or(value.is_null().then_some(""));
            let valid = text.is_some_and(|text| STANDARD.decode(text).is_ok());
            return if valid { Ok(()) } else { Err("data_base64: not base64".to_owned()) };
        }
        _ => {}
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(format!("{name:?}: a name has lower-case letters and digits only"));
    }
    match name {
        "subject" | "dataschema" | "datacontenttype" if !value.is_null() => match value.as_str() {
            Some(text) if !text.is_empty() => Ok(()),
            _ => Err(format!("{name}: expected a text that is not empty")),
        },
        _ if value.is_object() || value.is_array() => {
            Err(format!("{name}: expected a text, a number or a boolean"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"2199-01-01T00:00:00Z"}"#;

    fn read_text(media_type: &str, body: &str) -> Result<Vec<Event>, ApiError> {
        read(Some(media_type), &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn payloads_are_the_bytes_that_were_sent() {
        let spaced = GOOD.replace(',', " ,  ");
        let events = read_text(CLOUD_EVENT_BATCH, &format!("[ {GOOD} , {spaced}\n]")).unwrap();
        assert_eq!(events[0].draft.payload, GOOD);
        assert_eq!(events[1].draft.payload, spaced);
        assert!(events[0].draft.event_time.is_some(), "a future time is a claim, and taken");
        let lines = read_text(JSON_LINES, &format!("{{\"a\":1}}\r\n\n{GOOD}\n7")).unwrap();
        let types: Vec<_> = lines.iter().map(|e| e.draft.payload_type).collect();
        assert_eq!(types, [PayloadType::JSON, PayloadType::CLOUD_EVENT, PayloadType::JSON]);
    }

    #[test]
    fn faults_are_named_by_line_and_field() {
        let event = |from: &str, to: &str| GOOD.replace(from, to);
        for (media_type, body, part) in [
            (CLOUD_EVENT, event(r#""id":"1","#, ""), "id: missing"),
            (CLOUD_EVENT, event("1.0", "0.3"), "specversion"),
            (CLOUD_EVENT, event("2199", "21999"), "time"),
            (CLOUD_EVENT, event("\"t\"", "{}"), "type"),
            (CLOUD_EVENT, event("\"time\"", "\"Time\""), "\"Time\""),
            (CLOUD_EVENT, event("\"time\":", "\"data_base64\":\"%\",\"time\":"), "data_base64"),
            (CLOUD_EVENT, event("\"time\":", "\"my\":{},\"time\":"), "my"),
            (CLOUD_EVENT, GOOD[..20].to_owned(), "not a JSON object"),
            (CLOUD_EVENT_BATCH, format!("[{GOOD},{{}}]"), "event 1: id"),
            (CLOUD_EVENT_BATCH, "[]".to_owned(), "no event"),
            (JSON_LINES, "{}\n{\"a\":".to_owned(), "line 2: not JSON"),
            (TEXT, "\n\n".to_owned(), "no event"),
        ] {
            let error = read_text(media_type, &body).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{body}");
            assert!(error.message.contains(part), "{part:?} is not in {:?}", error.message);
        }
        let error = read(Some(TEXT), &Bytes::from_static(b"a\n\xff")).unwrap_err();
        assert!(error.message.contains("line 2: not UTF-8"));
        assert_eq!(read_text("text/html", "a").unwrap_err().kind, ErrorKind::UnsupportedType);
    }
}
