//! Which groups, versions and types there are, in the documents that clients ask for first.
//!
//! Types are those that are recorded or were found by discovery up to now, less those whose
//! CustomResourceDefinition is recorded and was not there at the time asked for (`types`). When
//! another type came and went is not recorded: one that was not there yet has no objects, and the
//! answer says that nobody had listed it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stele_state::query::ResourceType;

use super::path::Version;
use super::status::Failure;

/// What may be done with objects here.
const VERBS: [&str; 3] = ["get", "list", "watch"];

/// Categories by group and plural name.
pub(super) type Categories = BTreeMap<(String, String), Vec<String>>;

/// The types of a cluster.
pub(super) struct Types {
    all: Vec<ResourceType>,
    categories: Categories,
}

impl Types {
    pub(super) fn new(mut all: Vec<ResourceType>, categories: Categories) -> Self {
        // Types that only a gap names are known by nothing but their name.
        all.retain(|known| !known.kind.is_empty() && !known.version.is_empty());
        Self { all, categories }
    }

    /// The versions of a group, the preferred one first.
    fn versions(&self, group: &str) -> Vec<String> {
        let all = self.all.iter().filter(|known| known.group == group);
        let all: BTreeSet<&str> = all.map(|known| known.version.as_str()).collect();
        let mut all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        all.sort_by_cached_key(|version| Reverse(rank(version)));
        all
    }

    fn groups(&self) -> BTreeSet<&str> {
        let all = self.all.iter().map(|known| known.group.as_str());
        all.filter(|group| !group.is_empty()).collect()
    }

    /// `/api`
    pub(super) fn core_versions(&self) -> Value {
        json!({
            "kind": "APIVersions",
            "versions": self.versions(""),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
        })
    }

    /// `/apis`
    pub(super) fn group_list(&self) -> Value {
        let groups: Vec<Value> = self.groups().iter().filter_map(|name| self.entry(name)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// `/apis/GROUP`
    pub(super) fn group(&self, name: &str) -> Result<Value, Failure> {
        let mut group = self.entry(name).ok_or_else(Failure::no_such_path)?;
        group["kind"] = "APIGroup".into();
        group["apiVersion"] = "v1".into();
        Ok(group)
    }

    fn entry(&self, name: &str) -> Option<Value> {
        let versions = self.versions(name);
        let shown = |version: &String| {
            let of = Version { group: name.to_owned(), version: version.clone() };
            json!({"groupVersion": of.api_version(), "version": version})
        };
        let preferred = versions.first().map(shown)?;
        let versions: Vec<Value> = versions.iter().map(shown).collect();
        Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
    }

    /// `/api/VERSION`, `/apis/GROUP/VERSION`
    pub(super) fn resources(&self, of: &Version) -> Result<Value, Failure> {
        let found: Vec<&ResourceType> = self.within(of).collect();
        if found.is_empty() {
            return Err(Failure::no_such_path());
        }
        let resources: Vec<Value> = found.into_iter().map(|known| self.resource(known)).collect();
        Ok(json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": of.api_version(),
            "resources": resources,
        }))
    }

    fn within<'a>(&'a self, of: &'a Version) -> impl Iterator<Item = &'a ResourceType> {
        self.all.iter().filter(|known| known.group == of.group && known.version == of.version)
    }

    fn categories(&self, of: &ResourceType) -> &[String] {
        let key = (of.group.clone(), of.resource.clone());
        self.categories.get(&key).map_or(&[], Vec::as_slice)
    }

    fn resource(&self, of: &ResourceType) -> Value {
        let mut resource = json!({
            "name": of.resource,
            "singularName": of.singular,
            "namespaced": of.namespaced,
            "kind": of.kind,
            "verbs": VERBS,
        });
        if !of.short_names.is_empty() {
            resource["shortNames"] = json!(of.short_names);
        }
        if !self.categories(of).is_empty() {
            resource["categories"] = json!(self.categories(of));
        }
        resource
    }

    /// `/api` or `/apis` in the form that has everything in one document.
    pub(super) fn aggregated(&self, core: bool, discovery_version: &str) -> Value {
        let names = if core { BTreeSet::from([""]) } else { self.groups() };
        let items: Vec<Value> = names
            .into_iter()
            .map(|name| {
                let versions = self.versions(name).into_iter().map(|version| {
                    let of = Version { group: name.to_owned(), version };
                    let resources: Vec<Value> =
                        self.within(&of).map(|known| self.aggregated_resource(known)).collect();
                    json!({
                        "version": of.version,
                        "resources": resources,
                        "freshness": "Current",
                    })
                });
                let versions: Vec<Value> = versions.collect();
                json!({
                    "metadata": {"name": name, "creationTimestamp": null},
                    "versions": versions,
                })
            })
            .collect();
        json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": format!("apidiscovery.k8s.io/{discovery_version}"),
            "metadata": {},
            "items": items,
        })
    }

    fn aggregated_resource(&self, of: &ResourceType) -> Value {
        let mut resource = json!({
            "resource": of.resource,
            "responseKind": {"group": of.group, "version": of.version, "kind": of.kind},
            "scope": if of.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": of.singular,
            "verbs": VERBS,
        });
        if !of.short_names.is_empty() {
            resource["shortNames"] = json!(of.short_names);
        }
        if !self.categories(of).is_empty() {
            resource["categories"] = json!(self.categories(of));
        }
        resource
    }
}

/// Order of versions: stable ones before beta before alpha, newer before older, then anything else.
fn rank(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let other = || (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other() };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits(rest));
    let Ok(major) = major.parse() else { return other() };
    let ranked = |level: u8, text: &str| text.parse().ok().map(|minor| (level, major, minor));
    let found = if rest.is_empty() {
        Some((3, major, 0))
    } else if let Some(minor) = rest.strip_prefix("beta") {
        ranked(2, minor)
    } else if let Some(minor) = rest.strip_prefix("alpha") {
        ranked(1, minor)
    } else {
        None
    };
    found.map_or_else(other, |(level, major, minor)| {
        (level, major, minor, Reverse(version.to_owned()))
    })
}

/// `/`: where to begin.
pub(super) fn root(types: &Types) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for group in types.groups() {
        paths.push(format!("/apis/{group}"));
        let versions = types.versions(group).into_iter();
        paths.extend(versions.map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(["/openapi/v2", "/openapi/v3", "/version"].map(str::to_owned));
    json!({"paths": paths})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_preferred_in_kubernetes_order() {
        let mut all = ["v1alpha1", "v2", "v1", "foo", "v10", "v1beta2", "v2beta1", "v1beta1"];
        all.sort_by_cached_key(|version| Reverse(rank(version)));
        assert_eq!(all, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }
}
