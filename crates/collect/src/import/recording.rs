//! Watch events, bare or in a recording that wraps them, and the streams they form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use stele_record::frame::{FrameContext, ListPage};
use stele_record::kube::Resource;
use stele_record::{EventTime, Gap, GapReason, Kind, ObservedTime};

use super::convert::{Converter, Wrong};

/// A pause between the end of a watch and its resumption that needs no word.
const SHORT_PAUSE_NS: i64 = 5_000_000_000;

/// The streams of the input, by group and plural.
#[derive(Default)]
pub(super) struct Streams(BTreeMap<(String, String), Stream>);

#[derive(Default)]
struct Stream {
    /// Latest moment at which it saw.
    last_ns: i64,
    last_rv: String,
    /// Its watch has ended.
    ended: bool,
    /// A list of several pages that is not whole yet, and its next page.
    open_list: Option<(u64, u32)>,
}

/// A line of a recording, in either of its forms.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    t: Option<&'a RawValue>,
    #[serde(borrow, default)]
    res: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    what: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    frame: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rx: Option<&'a RawValue>,
    #[serde(borrow, default)]
    e: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Option<Meta<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow, default)]
    resource_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "continue")]
    next: Option<Cow<'a, str>>,
}

impl Converter {
    /// A bare `{"type", "object"}`.
    pub(super) fn watch_document(&mut self, text: &str) -> Result<(), Wrong> {
        self.watch_event(None, None, text)
    }

    /// A line of a recording.
    pub(super) fn recorded_line(&mut self, line: &str) -> Result<(), Wrong> {
        let envelope: Envelope<'_> = serde_json::from_str(line).map_err(|e| Wrong::json(&e))?;
        if let (Some(rx), Some(event)) = (envelope.rx, envelope.e) {
            let time = seconds(rx.get()).ok_or_else(|| Wrong::field("rx", "expected seconds"))?;
            return self.watch_event(Some(time), None, event.get());
        }
        let t = envelope.t.ok_or_else(|| Wrong::field("t", "it is missing"))?;
        let time: i64 = t.get().parse().ok().filter(|&ns| ns >= 0).ok_or_else(|| {
            Wrong::field("t", "expected nanoseconds since 1970 as a whole number up to 2^63")
        })?;
        let time = EventTime::from_unix_ns(time);
        let res = envelope.res.ok_or_else(|| Wrong::field("res", "it is missing"))?;
        let named =
            named(&res).ok_or_else(|| Wrong::field("res", "expected [group/]version/resource"))?;
        let frame = || envelope.frame.ok_or_else(|| Wrong::field("frame", "it is missing"));
        match envelope.what.as_deref() {
            Some("list") => self.recorded_list(time, named, frame()?.get()),
            Some("watch") => self.watch_event(Some(time), Some(named), frame()?.get()),
            Some("watch-end") => {
                let key = (named.0.to_owned(), named.2.to_owned());
                let stream = self.streams.0.entry(key).or_default();
                stream.last_ns = stream.last_ns.max(time.unix_ns());
                stream.ended = true;
                Ok(())
            }
            _ => Err(Wrong::field("what", "expected list, watch or watch-end")),
        }
    }

    fn recorded_list(
        &mut self,
        time: EventTime,
        named: (&str, &str, &str),
        raw: &str,
    ) -> Result<(), Wrong> {
        let list: Object<'_> = serde_json::from_str(raw).map_err(|e| in_frame(&e))?;
        let meta = list.metadata.unwrap_or_default();
        let kind = list.kind.unwrap_or_default();
        let Some(kind) = kind.strip_suffix("List") else {
            return Err(Wrong::field("frame.kind", "expected a kind that ends with List"));
        };
        let rv = meta.resource_version.unwrap_or_default();
        let resource = self.types.by_plural(named, kind, None);
        not_a_hidden_secret(&resource, kind)?;
        if resource.resource == "customresourcedefinitions" {
            self.learn_listed(raw);
        }
        let last = meta.next.is_none_or(|token| token.is_empty());
        let id = self.list_id();
        let stream = self.streams.0.entry(key_of(&resource)).or_default();
        let (id, page) = stream.open_list.take().unwrap_or((id, 0));
        stream.open_list = (!last).then_some((id, page + 1));
        let gap = (page == 0).then(|| stream.resumed(time, &rv, false)).flatten();
        self.stream_gap(&resource, gap, time);
        let context = FrameContext {
            list: Some(ListPage { id, page, last }),
            ..self.context(resource.clone())
        };
        let raw = Bytes::copy_from_slice(raw.as_bytes());
        self.emit_frame(Kind::KUBE_LIST, Some(time), &rv, context, raw)?;
        self.streams.saw(&resource, time.unix_ns(), &rv);
        Ok(())
    }

    fn learn_listed(&mut self, raw: &str) {
        #[derive(Deserialize)]
        struct Items<'a> {
            #[serde(borrow)]
            items: Vec<&'a RawValue>,
        }
        if let Ok(list) = serde_json::from_str::<Items<'_>>(raw) {
            list.items.iter().for_each(|item| self.types.learn(item.get()));
        }
    }

    /// A watch event; `named` where the input says of which type the stream is.
    fn watch_event(
        &mut self,
        claimed: Option<EventTime>,
        named: Option<(&str, &str, &str)>,
        raw: &str,
    ) -> Result<(), Wrong> {
        let event: Event<'_> = serde_json::from_str(raw).map_err(|e| in_frame(&e))?;
        if !matches!(event.kind.as_ref(), "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR") {
            return Err(Wrong::field(
                "type",
                "expected ADDED, MODIFIED, DELETED, BOOKMARK or ERROR",
            ));
        }
        let object: Object<'_> =
            serde_json::from_str(event.object.get()).map_err(|e| in_frame(&e))?;
        let meta = object.metadata.unwrap_or_default();
        let namespaced = Some(meta.namespace.is_some_and(|name| !name.is_empty()));
        let (api_version, kind) = (object.api_version, object.kind.unwrap_or_default());
        let failed = event.kind == "ERROR";
        let resource = match (named, api_version) {
            (Some(named), _) if failed => self.types.by_plural(named, "", None),
            (Some(named), _) => self.types.by_plural(named, &kind, namespaced),
            (None, _) if failed => {
                return Err(Wrong::field(
                    "object",
                    "an ERROR does not say of which type the watch was",
                ));
            }
            (None, Some(version)) if !kind.is_empty() => {
                self.types.by_kind(&version, &kind, namespaced)
            }
            _ => return Err(Wrong::field("object", "apiVersion or kind is missing")),
        };
        not_a_hidden_secret(&resource, &kind)?;
        if resource.resource == "customresourcedefinitions" {
            self.types.learn(event.object.get());
        }
        let rv = meta.resource_version.unwrap_or_default();
        let time = claimed.or(self.options.observed_at);
        let time = time.unwrap_or_else(|| EventTime::from_unix_ns(self.now()));
        if self.options.complete && !self.streams.0.contains_key(&key_of(&resource)) {
            self.began_with_nothing(claimed, &resource, &rv)?;
        }
        let stream = self.streams.0.entry(key_of(&resource)).or_default();
        let gap = stream.resumed(time, &rv, true);
        self.stream_gap(&resource, gap, time);
        let context = self.context(resource.clone());
        let raw = Bytes::copy_from_slice(raw.as_bytes());
        self.emit_frame(Kind::KUBE_WATCH, claimed, &rv, context, raw)?;
        self.streams.saw(&resource, time.unix_ns(), &rv);
        Ok(())
    }

    /// States what whoever imports asserts: that nothing existed just before a watch's first frame.
    fn began_with_nothing(
        &mut self,
        claimed: Option<EventTime>,
        resource: &Resource,
        first_rv: &str,
    ) -> Result<(), Wrong> {
        let Some(rv) = first_rv.parse::<u64>().ok().and_then(|rv| rv.checked_sub(1)) else {
            return Ok(());
        };
        let (kind, rv) = (&resource.kind, rv.to_string());
        let raw = serde_json::json!({
            "kind": format!("{kind}List"), "apiVersion": self.context(resource.clone()).api_version(),
            "metadata": {"resourceVersion": rv}, "items": [],
        });
        let list = Some(ListPage { id: self.list_id(), page: 0, last: true });
        let context = FrameContext { list, ..self.context(resource.clone()) };
        self.emit_frame(Kind::KUBE_LIST, claimed, &rv, context, raw.to_string().into())
    }

    fn stream_gap(&mut self, resource: &Resource, gap: Option<Gap>, time: EventTime) {
        if let Some(gap) = gap {
            let gap = self.about(resource.group.clone(), resource.resource.clone(), gap);
            self.gap(&gap, Some(time));
        }
    }

    fn about(&self, group: String, resource: String, gap: Gap) -> Gap {
        let cluster = Some(self.options.cluster.clone());
        Gap { cluster, group: Some(group), resource: Some(resource), ..gap }
    }

    /// The input has ended: what follows is not covered.
    pub(super) fn end_streams(&mut self) {
        for ((group, resource), stream) in std::mem::take(&mut self.streams.0) {
            let gap = Gap {
                detail: format!("{} ends here", self.options.name),
                ..stream.gap(GapReason::RecordingEnded)
            };
            let gap = self.about(group, resource, gap);
            self.gap(&gap, Some(EventTime::from_unix_ns(stream.last_ns)));
        }
    }
}

impl Streams {
    fn saw(&mut self, resource: &Resource, ns: i64, rv: &str) {
        let stream = self.0.entry(key_of(resource)).or_default();
        stream.last_ns = stream.last_ns.max(ns);
        if !rv.is_empty() {
            rv.clone_into(&mut stream.last_rv);
        }
    }
}

impl Stream {
    fn gap(&self, reason: GapReason) -> Gap {
        Gap {
            cluster: None,
            group: None,
            resource: None,
            from_ns: ObservedTime::from_unix_ns(self.last_ns),
            to_ns: None,
            from_rv: (!self.last_rv.is_empty()).then(|| self.last_rv.clone()),
            to_rv: None,
            reason,
            recovered: false,
            detail: String::new(),
        }
    }

    /// The gap between the end of a watch and the frame that came after it. A watch goes on at the
    /// version where the one before ended, so nothing was missed; a list says nothing about what
    /// came between.
    fn resumed(&mut self, time: EventTime, rv: &str, recovered: bool) -> Option<Gap> {
        if !std::mem::take(&mut self.ended) {
            return None;
        }
        let short = time.unix_ns().saturating_sub(self.last_ns) < SHORT_PAUSE_NS;
        if (recovered && short) || (!recovered && rv == self.last_rv) {
            return None;
        }
        let gap = self.gap(GapReason::Disconnected);
        let to = ObservedTime::from_unix_ns(time.unix_ns()).max(gap.from_ns);
        let to_rv = (!recovered && !rv.is_empty()).then(|| rv.to_owned());
        Some(Gap { to_ns: Some(to), to_rv, recovered, ..gap })
    }
}

fn key_of(resource: &Resource) -> (String, String) {
    (resource.group.clone(), resource.resource.clone())
}

fn in_frame(error: &serde_json::Error) -> Wrong {
    Wrong { field: Some("frame".to_owned()), ..Wrong::json(error) }
}

/// Redaction goes by the type that the input names; a Secret under another name is not taken.
fn not_a_hidden_secret(resource: &Resource, kind: &str) -> Result<(), Wrong> {
    if kind == "Secret" && resource.resource != "secrets" {
        return Err(Wrong::field(
            "res",
            "the frame holds a Secret, but says that it is another type",
        ));
    }
    Ok(())
}

/// `v1/pods`, `apps/v1/deployments` as group, version, plural.
fn named(res: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = res.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    match parts[..] {
        [version, plural] => Some(("", version, plural)),
        [group, version, plural] => Some((group, version, plural)),
        _ => None,
    }
}

/// Seconds with a fraction, exactly, as JSON writes them.
fn seconds(text: &str) -> Option<EventTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}")[..9].parse().ok()?;
    let ns = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    Some(EventTime::from_unix_ns(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_exactly_and_nonsense_is_refused() {
        let read = |text| seconds(text).map(EventTime::unix_ns);
        assert_eq!(read("1795413824.2046556"), Some(1_795_413_824_204_655_600));
        assert_eq!(read("7"), Some(7_000_000_000));
        assert_eq!(read("0.1234567891"), Some(123_456_789));
        for text in ["", "-1", "1e9", "\"1\"", "99999999999999999999", "1.x", "null"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
