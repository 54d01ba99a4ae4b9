//! What records say, found without the tables: so it is read ahead of the writing, on all cores.
//!
//! Not here: what follows from it, which depends on all records before. Invariant: what is read of a
//! record is a function of that record alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use stele_record::Kind;
use stele_record::frame::FrameContext;

use super::{FoldRecord, address, audit, slices};
use crate::query::Verb;
use crate::query::shown::{OwnerReference, controller};
use crate::tables::{AddressRow, uid_key};

/// The field that names an object by its uid.
const UID: &str = "\"uid\"";
/// Longest text that is kept as a uid.
const UID_BYTES_MAX: usize = 128;
/// Longest text that becomes part of a key. Kubernetes takes 253 bytes of a name; of a whole key the
/// engine takes 65,535, and what is longer would end it.
pub(super) const KEY_TEXT_BYTES_MAX: usize = 1_024;
/// Most different context lines that are kept parsed.
pub(super) const CONTEXTS_MAX: usize = 4_096;
/// Bookmark that ends the initial events of a watch which began with a list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Something that was read, or why it could not be.
pub(super) type Read<T> = Result<T, String>;

/// Refuses a text that is too long for a key.
pub(super) fn fits(what: &str, text: &str) -> Read<()> {
    if text.len() <= KEY_TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(format!("{what} has {} bytes, {KEY_TEXT_BYTES_MAX} are taken", text.len()))
}

/// What a record says.
pub(super) enum Reading<'p> {
    Watch(Read<Framed<'p, Read<Line<'p>>>>),
    List(Read<Framed<'p, Read<Page<'p>>>>),
    Audit(Read<Box<audit::Event<'p>>>),
    /// It is rare, or says nothing here: it is read when its turn comes.
    Other,
}

/// What stands in a frame.
pub(super) struct Framed<'p, T> {
    /// The context line as it is.
    pub(super) line: &'p [u8],
    pub(super) frame: Arc<FrameContext>,
    pub(super) said: T,
}

/// A watch line.
pub(super) enum Line<'p> {
    Object(Verb, Read<Box<Item<'p>>>),
    Bookmark(Read<Mark<'p>>),
    Error(Read<Status<'p>>),
}

/// A page of a list.
pub(super) struct Page<'p> {
    pub(super) rv: Cow<'p, str>,
    pub(super) items: Vec<Read<Item<'p>>>,
}

/// What a bookmark says.
pub(super) struct Mark<'p> {
    pub(super) rv: Cow<'p, str>,
    /// It ends the initial events.
    pub(super) initial_end: bool,
}

/// What the server says when it ends a watch.
#[derive(Deserialize)]
pub(super) struct Status<'p> {
    #[serde(borrow, default)]
    pub(super) message: Cow<'p, str>,
    #[serde(default)]
    pub(super) code: i64,
}

/// An object in one version.
pub(super) struct Item<'p> {
    pub(super) name: Cow<'p, str>,
    pub(super) namespace: Cow<'p, str>,
    pub(super) uid: Cow<'p, str>,
    pub(super) rv: Cow<'p, str>,
    pub(super) controller: Option<OwnerReference>,
    /// Its JSON, with the `apiVersion` and `kind` that a list implies.
    pub(super) body: Cow<'p, str>,
    /// `None` if its type says nothing of addresses.
    pub(super) address: Option<AddressRow>,
    /// Keys of the uids that it names and that are not its own.
    pub(super) referred: Vec<Vec<u8>>,
    /// `None` if it is no endpoint slice, or none that can be read.
    pub(super) slice: Option<slices::Named<'p>>,
}

#[derive(Deserialize)]
struct WatchLine<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct ListPage<'a> {
    #[serde(borrow, default)]
    metadata: PageMeta<'a>,
    /// Go writes `null` for an empty list that was never made.
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PageMeta<'a> {
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Bookmark<'a> {
    #[serde(borrow, default)]
    metadata: BookmarkMeta<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta<'a> {
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// What of an object every rule needs.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default, rename = "apiVersion")]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Meta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    /// Whatever it is: an object whose owners can't be read has none.
    #[serde(borrow, default)]
    owner_references: Option<&'a RawValue>,
}

/// Reads records.
#[derive(Default)]
pub(super) struct Reader<'p> {
    /// Context lines that were parsed before.
    frames: HashMap<&'p [u8], Arc<FrameContext>>,
}

impl<'p> Reader<'p> {
    /// What a record says.
    pub(super) fn read(&mut self, record: &FoldRecord<'p>) -> Reading<'p> {
        if record.is_missing() {
            return Reading::Other;
        }
        match record.header.kind {
            Kind::KUBE_WATCH => Reading::Watch(self.framed(record.payload, line)),
            Kind::KUBE_LIST => Reading::List(self.framed(record.payload, page)),
            Kind::KUBE_AUDIT => Reading::Audit(audit::read(record.payload).map(Box::new)),
            _ => Reading::Other,
        }
    }

    fn framed<T>(
        &mut self,
        payload: &'p [u8],
        read: impl FnOnce(&FrameContext, &'p [u8]) -> T,
    ) -> Read<Framed<'p, T>> {
        let line = payload.split(|&byte| byte == b'\n').next().unwrap_or_default();
        // What is not longer has no line feed, which splitting it says.
        let known = self.frames.get(line).filter(|_| line.len() < payload.len()).cloned();
        let frame = match known {
            Some(frame) => frame,
            None => {
                let split = FrameContext::split(payload);
                let frame = Arc::new(split.map_err(|error| error.to_string())?.0);
                if self.frames.len() >= CONTEXTS_MAX {
                    self.frames.clear();
                }
                self.frames.insert(line, Arc::clone(&frame));
                frame
            }
        };
        let said = read(&frame, &payload[line.len() + 1..]);
        Ok(Framed { line, frame, said })
    }
}

fn line<'p>(frame: &FrameContext, raw: &'p [u8]) -> Read<Line<'p>> {
    let line: WatchLine<'_> =
        serde_json::from_slice(raw).map_err(|e| format!("watch line: {e}"))?;
    let verb = match line.kind.as_ref() {
        "ADDED" => Verb::Added,
        "MODIFIED" => Verb::Modified,
        "DELETED" => Verb::Deleted,
        "BOOKMARK" => return Ok(Line::Bookmark(mark(line.object))),
        "ERROR" => {
            let status = serde_json::from_str(line.object.get());
            let status = status.map_err(|e| format!("status of an ERROR line: {e}"));
            return Ok(Line::Error(status));
        }
        other => return Err(format!("watch line of unknown type {other:?}")),
    };
    Ok(Line::Object(verb, item(frame, line.object).map(Box::new)))
}

fn mark(raw: &RawValue) -> Read<Mark<'_>> {
    let mark: Bookmark<'_> =
        serde_json::from_str(raw.get()).map_err(|e| format!("bookmark: {e}"))?;
    fits("resourceVersion of a bookmark", &mark.metadata.resource_version)?;
    let initial_end = mark.metadata.annotations.is_some_and(|annotations| {
        annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true")
    });
    Ok(Mark { rv: mark.metadata.resource_version, initial_end })
}

fn page<'p>(frame: &FrameContext, raw: &'p [u8]) -> Read<Page<'p>> {
    let page: ListPage<'_> = serde_json::from_slice(raw).map_err(|e| format!("list page: {e}"))?;
    fits("resourceVersion of a list", &page.metadata.resource_version)?;
    let items = page.items.unwrap_or_default();
    let items = items.into_iter().map(|raw| item(frame, raw)).collect();
    Ok(Page { rv: page.metadata.resource_version, items })
}

fn item<'p>(frame: &FrameContext, raw: &'p RawValue) -> Read<Item<'p>> {
    let raw = raw.get();
    let head: Head<'_> = serde_json::from_str(raw).map_err(|e| format!("object: {e}"))?;
    if head.metadata.name.is_empty() {
        return Err("an object has no name".to_owned());
    }
    let meta = &head.metadata;
    for (what, text) in [
        ("name of an object", &meta.name),
        ("namespace of an object", &meta.namespace),
        ("uid of an object", &meta.uid),
        ("resourceVersion of an object", &meta.resource_version),
    ] {
        fits(what, text)?;
    }
    let address = address::addresses(&frame.group, &frame.resource, raw)
        .map_err(|e| format!("addresses of an object: {e}"))?;
    let body = with_type(raw, &head, frame);
    let meta = head.metadata;
    Ok(Item {
        controller: meta.owner_references.and_then(controlled_by),
        body,
        address,
        referred: referred(raw, &meta.uid),
        slice: slices::read(frame, raw),
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        rv: meta.resource_version,
    })
}

fn controlled_by(owners: &RawValue) -> Option<OwnerReference> {
    let owners: Option<Vec<OwnerReference>> = serde_json::from_str(owners.get()).ok();
    controller(owners?)
}

/// Which other objects an object names by their uids: its owners, what an event is about, what an
/// address leads to.
fn referred(raw: &str, own: &str) -> Vec<Vec<u8>> {
    let (mut keys, mut rest) = (Vec::new(), raw);
    while let Some(at) = rest.find(UID) {
        rest = &rest[at + UID.len()..];
        let value = rest.trim_start().strip_prefix(':').map(str::trim_start);
        // A uid with an escape in it is none.
        let uid = value.and_then(|value| Some(value.strip_prefix('"')?.split_once('"')?.0));
        let fits = |uid: &&str| *uid != own && (1..=UID_BYTES_MAX).contains(&uid.len());
        keys.extend(uid.filter(fits).map(uid_key));
    }
    keys
}

/// The object's JSON with the `apiVersion` and `kind` that a list implies.
fn with_type<'a>(raw: &'a str, head: &Head<'_>, frame: &FrameContext) -> Cow<'a, str> {
    let mut missing = String::new();
    if head.api_version.is_none() {
        missing.push_str("\"apiVersion\":");
        missing.push_str(&text(&frame.api_version()));
        missing.push(',');
    }
    if head.kind.is_none() {
        missing.push_str("\"kind\":");
        missing.push_str(&text(&frame.kind));
        missing.push(',');
    }
    if missing.is_empty() {
        return Cow::Borrowed(raw);
    }
    // The object has at least `metadata`, so a comma before the rest is right.
    let rest = raw.trim_start().strip_prefix('{').unwrap_or(raw);
    Cow::Owned(format!("{{{missing}{rest}"))
}

fn text(value: &str) -> String {
    crate::json::Json::Text(Cow::Borrowed(value)).canonical()
}
