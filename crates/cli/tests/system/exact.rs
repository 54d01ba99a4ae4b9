//! The server's own word: lists taken live with `resourceVersionMatch=Exact`, and how stele's
//! answers compare.
//!
//! A line of truth is `{"t","res","rv","items": [[namespace, name, uid, resourceVersion, sha256]…]}`,
//! the digest being over the item without `apiVersion` and `kind` as canonical JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use stele_state::json::Json;
use xtask::exact::ExactList;

use crate::harness::Client;

#[derive(Deserialize)]
struct List {
    items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(default)]
    namespace: Option<&'a str>,
    name: &'a str,
    uid: &'a str,
    resource_version: &'a str,
}

/// What stele answered to the same question.
pub(crate) enum Compared {
    Equal,
    /// Not equal, and stele says that it was blind there.
    Gap,
    Different(String),
}

/// Asks stele for the same list and compares it, object for object.
pub(crate) async fn compare(client: &Client, exact: &ExactList) -> Compared {
    let (group_version, resource) = exact.res.rsplit_once('/').unwrap();
    let of_type = match group_version.split_once('/') {
        Some((group, _)) => format!("{resource}.{group}"),
        None => resource.to_owned(),
    };
    let path = format!("/v1/objects?type={of_type}&all=true&at=rv:{}&raw=list", exact.rv);
    let response = client.get(&path).await.unwrap();
    let gaps = response.headers().get("stele-gaps").is_some_and(|gaps| gaps != "0");
    let status = response.status();
    let text = response.text().await.unwrap();
    if !status.is_success() {
        return Compared::Different(format!("{path}: {status} {text}"));
    }
    let list: List = serde_json::from_str(&text).unwrap();
    let secret = exact.res == "v1/secrets";
    let digest = |digest: &str| if secret { String::new() } else { digest.to_owned() };
    let wanted: BTreeMap<_, _> = exact
        .items
        .iter()
        .map(|[ns, name, uid, rv, sha]| {
            ((ns.clone(), name.clone(), uid.clone()), (rv.clone(), digest(sha)))
        })
        .collect();
    let found: BTreeMap<_, _> = list
        .items
        .iter()
        .map(|item| {
            let object: Object<'_> = serde_json::from_str(item.get()).unwrap();
            let m = object.metadata;
            let key = (m.namespace.unwrap_or_default().into(), m.name.into(), m.uid.into());
            (key, (m.resource_version.to_owned(), digest(&sha256_of(item.get()))))
        })
        .collect();
    if found == wanted && list.items.len() == exact.items.len() {
        return Compared::Equal;
    }
    if gaps {
        return Compared::Gap;
    }
    let missing: Vec<_> = wanted.iter().filter(|(k, v)| found.get(*k) != Some(v)).take(3).collect();
    let surplus: Vec<_> = found.iter().filter(|(k, v)| wanted.get(*k) != Some(v)).take(3).collect();
    Compared::Different(format!("{path}: missing {missing:?}, surplus {surplus:?}"))
}

fn sha256_of(item: &str) -> String {
    let mut object = Json::parse(item).unwrap();
    object.remove("apiVersion");
    object.remove("kind");
    hex::encode(Sha256::digest(object.canonical()))
}
