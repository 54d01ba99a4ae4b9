//! The types of a cluster at a point: those that are recorded, and what CustomResourceDefinitions
//! say about theirs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use stele_record::kube::builtin;
use stele_state::query::{ResourceType, SnapshotQuery};
use stele_state::{Point, State, StateError};

use super::path::Version;
use super::status::Failure;
use crate::columns::Columns;

/// Group and plural name of CustomResourceDefinitions.
const CRD_GROUP: &str = "apiextensions.k8s.io";
const CRDS: &str = "customresourcedefinitions";

/// What a CustomResourceDefinition says about a type.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Definition {
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    names: Names,
    #[serde(default)]
    versions: Vec<DefinedVersion>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    #[serde(default)]
    list_kind: String,
    #[serde(default)]
    categories: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefinedVersion {
    name: String,
    #[serde(default)]
    additional_printer_columns: Vec<Value>,
    #[serde(default)]
    selectable_fields: Vec<SelectableField>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectableField {
    json_path: String,
}

/// A type, as of a point.
#[derive(Debug, Clone)]
pub(super) struct Type {
    pub(super) of: ResourceType,
    definition: Option<Definition>,
}

impl Type {
    /// The type with this group, version and plural name, at a point.
    pub(super) fn find(
        state: &State,
        cluster: &str,
        of: &Version,
        resource: &str,
        at: &Point,
        known_at: Option<u64>,
    ) -> Result<Self, Failure> {
        let mut known = state.resources(Some(cluster))?.into_iter();
        let found = known.find(|known| known.group == of.group && known.resource == resource);
        let found = found.filter(|known| known.version == of.version);
        let found = found.ok_or_else(Failure::no_such_path)?;
        let definition = match builtin(&found.group, resource) {
            Some(_) => None,
            None => definition(state, cluster, &found, at, known_at)?,
        };
        Ok(Self { of: found, definition })
    }

    /// Its columns.
    pub(super) fn columns(&self) -> Columns {
        match self.version() {
            Some(version) => Columns::custom(&version.additional_printer_columns),
            None => Columns::of(&self.of.group, &self.of.kind),
        }
    }

    /// Fields that its definition lets be selected by.
    pub(super) fn selectable(&self) -> Vec<String> {
        let fields = self.version().map(|version| version.selectable_fields.as_slice());
        fields.unwrap_or_default().iter().map(|field| field.json_path.clone()).collect()
    }

    /// Kind of a list of it.
    pub(super) fn list_kind(&self) -> String {
        match self.definition.as_ref().map(|definition| definition.spec.names.list_kind.as_str()) {
            Some(kind) if !kind.is_empty() => kind.to_owned(),
            _ => format!("{}List", self.of.kind),
        }
    }

    /// `v1`, `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        Version { group: self.of.group.clone(), version: self.of.version.clone() }.api_version()
    }

    fn version(&self) -> Option<&DefinedVersion> {
        let definition = self.definition.as_ref()?;
        definition.spec.versions.iter().find(|version| version.name == self.of.version)
    }
}

/// The definition of a type, if it is recorded and there was one.
fn definition(
    state: &State,
    cluster: &str,
    of: &ResourceType,
    at: &Point,
    known_at: Option<u64>,
) -> Result<Option<Definition>, StateError> {
    // A version of another type says nothing about when a definition was there.
    let at = match at {
        Point::ResourceVersion(_) => Point::Now,
        other => other.clone(),
    };
    let query = SnapshotQuery {
        name: Some(format!("{}.{}", of.resource, of.group)),
        known_at,
        ..SnapshotQuery::all(cluster, CRD_GROUP, CRDS, at)
    };
    let snapshot = match state.snapshot(&query) {
        Ok(snapshot) => snapshot,
        Err(StateError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    for slot in snapshot.slots(None, SLOTS)? {
        if let Some(seen) = snapshot.load(&slot)? {
            return Ok(serde_json::from_str(&seen.body).ok());
        }
    }
    Ok(None)
}

/// Lives of one name that are looked through for the one that exists.
const SLOTS: usize = 1_024;

/// Categories of all types of a cluster that have some, by group and plural name.
pub(super) fn categories(
    state: &State,
    cluster: &str,
    at: &Point,
) -> Result<BTreeMap<(String, String), Vec<String>>, StateError> {
    let mut found = BTreeMap::new();
    for (group, resource, categories) in BUILT_IN_CATEGORIES {
        let names = categories.iter().map(|&name| name.to_owned()).collect();
        found.insert(((*group).to_owned(), (*resource).to_owned()), names);
    }
    let query = SnapshotQuery::all(cluster, CRD_GROUP, CRDS, at.clone());
    let snapshot = match state.snapshot(&query) {
        Ok(snapshot) => snapshot,
        Err(StateError::NotFound { .. }) => return Ok(found),
        Err(error) => return Err(error),
    };
    let mut last = None;
    loop {
        let slots = snapshot.slots(last.as_ref(), SLOTS)?;
        let Some(end) = slots.last() else { return Ok(found) };
        last = Some(end.place.clone());
        for slot in &slots {
            let Some(seen) = snapshot.load(slot)? else { continue };
            let Ok(definition) = serde_json::from_str::<Definition>(&seen.body) else { continue };
            let categories = definition.spec.names.categories;
            if let Some((resource, group)) = slot.place.name.split_once('.')
                && !categories.is_empty()
            {
                found.insert((group.to_owned(), resource.to_owned()), categories);
            }
        }
    }
}

/// Categories of the types of Kubernetes itself.
const BUILT_IN_CATEGORIES: &[(&str, &str, &[&str])] = &[
    ("", "pods", &["all"]),
    ("", "replicationcontrollers", &["all"]),
    ("", "services", &["all"]),
    ("apps", "daemonsets", &["all"]),
    ("apps", "deployments", &["all"]),
    ("apps", "replicasets", &["all"]),
    ("apps", "statefulsets", &["all"]),
    ("autoscaling", "horizontalpodautoscalers", &["all"]),
    ("batch", "cronjobs", &["all"]),
    ("batch", "jobs", &["all"]),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", &["api-extensions"]),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", &["api-extensions"]),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", &["api-extensions"]),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", &["api-extensions"]),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", &["api-extensions"]),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", &["api-extensions"]),
    ("apiextensions.k8s.io", "customresourcedefinitions", &["api-extensions"]),
    ("apiregistration.k8s.io", "apiservices", &["api-extensions"]),
];
