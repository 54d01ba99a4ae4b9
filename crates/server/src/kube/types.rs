//! The types of a cluster at a point: those that are recorded, and what CustomResourceDefinitions
//! say about theirs.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use stele_record::kube::builtin;
use stele_state::query::{Filter, ListQuery, ResourceType, SnapshotQuery};
use stele_state::{Point, State, StateError};

use super::discovery::{self, Categories};
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

/// What the definitions of a cluster say at a point.
struct Definitions {
    /// By group and plural name.
    categories: Categories,
    /// Group and plural name of all types that one defines; none where that is not known for sure.
    defined: Option<BTreeSet<(String, String)>>,
}

/// The types of a cluster at a point: those that are recorded, less those whose definition is
/// recorded and was not there.
pub(super) fn discovered(
    state: &State,
    cluster: &str,
    at: &Point,
) -> Result<discovery::Types, StateError> {
    let Definitions { categories, defined } = definitions(state, cluster, at)?;
    let mut types = Vec::new();
    for known in state.resources(Some(cluster))? {
        let key = (known.group.clone(), known.resource.clone());
        let there = defined.as_ref().is_none_or(|defined| defined.contains(&key));
        if there
            || builtin(&known.group, &known.resource).is_some()
            || !was_defined(state, cluster, &known)?
        {
            types.push(known);
        }
    }
    Ok(discovery::Types::new(types, categories))
}

/// Whether any definition of a type was ever recorded: some types are served by other servers, and
/// have none.
fn was_defined(state: &State, cluster: &str, of: &ResourceType) -> Result<bool, StateError> {
    let filter = Filter {
        cluster: Some(cluster.to_owned()),
        resource: Some(format!("{CRDS}.{CRD_GROUP}")),
        name: Some(format!("{}.{}", of.resource, of.group)),
        ..Filter::default()
    };
    let list = ListQuery { without_bodies: true, ..ListQuery::new(filter, Point::Now) };
    Ok(!state.history(&list.into())?.lives.is_empty())
}

fn definitions(state: &State, cluster: &str, at: &Point) -> Result<Definitions, StateError> {
    let mut categories = Categories::new();
    for (group, resource, names) in BUILT_IN_CATEGORIES {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        categories.insert(((*group).to_owned(), (*resource).to_owned()), names);
    }
    let query = SnapshotQuery::all(cluster, CRD_GROUP, CRDS, at.clone());
    let snapshot = match state.snapshot(&query) {
        Ok(snapshot) => snapshot,
        Err(StateError::NotFound { .. }) => return Ok(Definitions { categories, defined: None }),
        Err(error) => return Err(error),
    };
    // A version of another type says nothing about when a definition was there, and where nobody
    // had looked it may have been there unseen.
    let sure =
        !matches!(at, Point::ResourceVersion(_)) && snapshot.gaps().iter().all(|gap| gap.recovered);
    let (mut defined, mut last) = (BTreeSet::new(), None);
    loop {
        let slots = snapshot.slots(last.as_ref(), SLOTS)?;
        let Some(end) = slots.last() else { break };
        last = Some(end.place.clone());
        for slot in &slots {
            let Some(seen) = snapshot.load(slot)? else { continue };
            let Some((resource, group)) = slot.place.name.split_once('.') else { continue };
            let key = (group.to_owned(), resource.to_owned());
            defined.insert(key.clone());
            let Ok(definition) = serde_json::from_str::<Definition>(&seen.body) else { continue };
            let names = definition.spec.names.categories;
            if !names.is_empty() {
                categories.insert(key, names);
            }
        }
    }
    Ok(Definitions { categories, defined: sure.then_some(defined) })
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
