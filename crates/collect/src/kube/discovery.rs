//! Which types of objects an API server offers.
//!
//! The aggregated form of discovery is asked for; servers before 1.27, which do not know it,
//! answer in the old form, and each group is asked by itself.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use kube::client::{APIGroupDiscovery, APIGroupDiscoveryList, APIResourceDiscovery};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stele_record::kube::Resource;

use super::DISCOVERY_BYTES_MAX;
use super::http::{HttpError, get};

const ACCEPT_AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// A type is known by group and plural name; the served version may change.
pub(crate) type TypeKey = (String, String);

/// What discovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Discovered {
    pub(crate) resources: BTreeMap<TypeKey, Resource>,
    /// Groups whose own server did not answer: what is missing from them is not gone.
    pub(crate) stale: BTreeSet<String>,
}

impl Discovered {
    /// Offers a version of a type; the first that is offered stays.
    fn offer(&mut self, resource: Resource) {
        let key = (resource.group.clone(), resource.resource.clone());
        self.resources.entry(key).or_insert(resource);
    }

    /// Keeps of `known` what this discovery could not see.
    pub(crate) fn keep_stale(&mut self, known: &BTreeMap<TypeKey, Resource>) {
        for ((group, _), resource) in known {
            if self.stale.contains(group) {
                self.offer(resource.clone());
            }
        }
    }

    /// `events.k8s.io` serves the same objects as `v1/events`.
    fn without_repeats(mut self) -> Self {
        if self.resources.contains_key(&(String::new(), "events".to_owned())) {
            self.resources.remove(&("events.k8s.io".to_owned(), "events".to_owned()));
        }
        self
    }
}

/// Asks the server.
pub(crate) async fn discover(client: &Client) -> Result<Discovered, HttpError> {
    let mut found = Discovered::default();
    for root in ["/api", "/apis"] {
        let body = get(client, root, ACCEPT_AGGREGATED, DISCOVERY_BYTES_MAX).await?;
        match parse::<Kind>(&body)?.kind.as_str() {
            "APIGroupDiscoveryList" => {
                let list: APIGroupDiscoveryList = parse(&body)?;
                list.items.iter().for_each(|group| add_group(&mut found, group));
            }
            "APIVersions" => {
                for version in parse::<Versions>(&body)?.versions {
                    add_version(client, &mut found, "", &version).await?;
                }
            }
            _ => {
                for group in parse::<Groups>(&body)?.groups {
                    add_old_group(client, &mut found, group).await?;
                }
            }
        }
    }
    Ok(found.without_repeats())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body)
        .map_err(|e| HttpError::Unreachable(format!("discovery cannot be read: {e}")))
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

fn add_group(found: &mut Discovered, group: &APIGroupDiscovery) {
    let name = group.metadata.as_ref().and_then(|meta| meta.name.as_deref()).unwrap_or("");
    for version in &group.versions {
        if version.freshness.as_deref() == Some("Stale") {
            found.stale.insert(name.to_owned());
        }
        let Some(version_name) = &version.version else { continue };
        for resource in &version.resources {
            if let Some(resource) = from_aggregated(name, version_name, resource) {
                found.offer(resource);
            }
        }
    }
}

fn from_aggregated(group: &str, version: &str, found: &APIResourceDiscovery) -> Option<Resource> {
    if !followable(&found.verbs) {
        return None;
    }
    Some(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: found.resource.clone()?,
        kind: found.response_kind.as_ref()?.kind.clone()?,
        singular: found.singular_resource.clone().unwrap_or_default(),
        short_names: found.short_names.clone(),
        namespaced: found.scope.as_deref() == Some("Namespaced"),
    })
}

fn followable(verbs: &[String]) -> bool {
    ["list", "watch"].iter().all(|wanted| verbs.iter().any(|verb| verb == wanted))
}

#[derive(Deserialize)]
struct Versions {
    versions: Vec<String>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    versions: Vec<GroupVersion>,
    #[serde(default)]
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct GroupVersion {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<OldResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldResource {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default)]
    singular_name: String,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
}

async fn add_old_group(
    client: &Client,
    found: &mut Discovered,
    group: Group,
) -> Result<(), HttpError> {
    let preferred = group.preferred_version;
    let others = group.versions.into_iter().filter(|version| Some(version) != preferred.as_ref());
    let mut versions: Vec<String> = others.map(|version| version.version).collect();
    if let Some(first) = preferred {
        versions.insert(0, first.version);
    }
    for version in versions {
        match add_version(client, found, &group.name, &version).await {
            Ok(()) => {}
            // An aggregated server that is down answers for its group only.
            Err(HttpError::Refused { .. }) => {
                found.stale.insert(group.name.clone());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn add_version(
    client: &Client,
    found: &mut Discovered,
    group: &str,
    version: &str,
) -> Result<(), HttpError> {
    let path = match group {
        "" => format!("/api/{version}"),
        _ => format!("/apis/{group}/{version}"),
    };
    let body = get(client, &path, "application/json", DISCOVERY_BYTES_MAX).await?;
    for old in parse::<ResourceList>(&body)?.resources {
        // A name with a slash is a subresource.
        if followable(&old.verbs) && !old.name.contains('/') {
            found.offer(Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                resource: old.name,
                kind: old.kind,
                singular: old.singular_name,
                short_names: old.short_names,
                namespaced: old.namespaced,
            });
        }
    }
    Ok(())
}
