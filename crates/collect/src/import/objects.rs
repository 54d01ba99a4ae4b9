//! Objects and lists of objects.
//!
//! What somebody printed may be one namespace, one selection or one object, so that what is absent
//! says nothing: the pages recorded belong to a list that is never closed, unless the options say
//! that lists are complete.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use stele_record::Kind;
use stele_record::frame::{FrameContext, ListPage};

use super::convert::{Converter, Wrong};
use super::split::Document;

/// Bytes of objects in a page that is put together here.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource_version: Option<Cow<'a, str>>,
}

/// Objects of one type, as they stand in the input.
#[derive(Default)]
struct Group<'a> {
    namespaced: bool,
    items: Vec<&'a str>,
}

type Groups<'a> = BTreeMap<(String, String), Group<'a>>;

impl Converter {
    /// Takes a list or an object; faults are noted item by item.
    pub(super) fn list_document(&mut self, document: &Document) {
        let head: Head<'_> = match serde_json::from_str(&document.text) {
            Ok(head) => head,
            Err(error) => return self.wrong(document, Wrong::json(&error)),
        };
        let mut groups = Groups::new();
        let (mut taken, mut rv) = (0, "");
        let is_list = head.kind.as_deref().is_none_or(|kind| kind.ends_with("List"));
        match &head.items {
            Some(items) if is_list => {
                rv = head.metadata.resource_version.as_deref().unwrap_or("");
                // Items of a `PodList` may leave out their type; those of a `List` may not.
                let kind = head.kind.as_deref().and_then(|kind| kind.strip_suffix("List"));
                let kind = kind.filter(|kind| !kind.is_empty());
                let of_items = (head.api_version.as_deref().filter(|_| kind.is_some()), kind);
                for (number, item) in items.iter().enumerate() {
                    match add(&mut groups, item.get(), of_items) {
                        Ok(()) => taken += 1,
                        Err((field, problem)) => {
                            let field = format!("items[{number}].{field}");
                            self.wrong(document, Wrong::field(field, problem));
                        }
                    }
                }
            }
            _ => match add(&mut groups, &document.text, (None, None)) {
                Ok(()) => taken += 1,
                Err((field, problem)) => self.wrong(document, Wrong::field(field, problem)),
            },
        }
        if taken > 0 || head.items.is_some_and(|items| items.is_empty()) {
            self.count_document();
        }
        for ((version, kind), group) in groups {
            if let Err(wrong) = self.pages(&version, &kind, &group, rv) {
                self.wrong(document, wrong);
            }
        }
    }

    /// Records the objects of one type, in as many pages as they need.
    fn pages(
        &mut self,
        version: &str,
        kind: &str,
        group: &Group<'_>,
        rv: &str,
    ) -> Result<(), Wrong> {
        let resource = self.types.by_kind(version, kind, Some(group.namespaced));
        if resource.resource == "customresourcedefinitions" {
            group.items.iter().for_each(|item| self.types.learn(item));
        }
        let mut rest = &group.items[..];
        loop {
            let count = page_size(rest);
            let (page, after) = rest.split_at(count);
            rest = after;
            let place = self.place(&resource.group, &resource.resource, rest.is_empty());
            let raw = page_text(version, kind, rv, page);
            let context = FrameContext { list: Some(place), ..self.context(resource.clone()) };
            self.emit_frame(Kind::KUBE_LIST, None, rv, context, raw)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// The next place in the list of a type. An open list goes on for ever.
    fn place(&mut self, group: &str, resource: &str, end: bool) -> ListPage {
        let last = end && self.options.complete;
        let new = self.list_id();
        let key = (group.to_owned(), resource.to_owned());
        let (id, page) = self.open_lists.remove(&key).unwrap_or((new, 0));
        if !last {
            self.open_lists.insert(key, (id, page.saturating_add(1)));
        }
        ListPage { id, page, last }
    }
}

/// Puts an object to those of its type. Items of a typed list may leave out their own type.
fn add<'a>(
    groups: &mut Groups<'a>,
    object: &'a str,
    (version, kind): (Option<&str>, Option<&str>),
) -> Result<(), (&'static str, String)> {
    let head: Head<'_> =
        serde_json::from_str(object).map_err(|e| ("metadata", crate::text::describe(&e)))?;
    let missing = |field| (field, "it is missing".to_owned());
    let version = head.api_version.as_deref().or(version).ok_or_else(|| missing("apiVersion"))?;
    let kind = head.kind.as_deref().or(kind).ok_or_else(|| missing("kind"))?;
    if head.metadata.name.is_none_or(|name| name.is_empty()) {
        return Err(missing("metadata.name"));
    }
    let group = groups.entry((version.to_owned(), kind.to_owned())).or_default();
    group.namespaced |= head.metadata.namespace.is_some_and(|name| !name.is_empty());
    group.items.push(object);
    Ok(())
}

/// How many of `items` fit into a page; one at the least.
fn page_size(items: &[&str]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&&str| {
        bytes += item.len();
        bytes <= PAGE_BYTES
    };
    items.iter().take_while(fits).count().max(1).min(items.len())
}

fn page_text(version: &str, kind: &str, rv: &str, items: &[&str]) -> Bytes {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{{\"resourceVersion\":{}}},\"items\":[",
        quoted(&format!("{kind}List")),
        quoted(version),
        quoted(rv)
    );
    [head.as_str(), &items.join(","), "]}"].concat().into()
}
