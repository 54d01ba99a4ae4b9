//! What of an object's JSON an answer about an address shows: labels, account, images, owners.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What of an object's JSON an answer shows.
#[derive(Deserialize, Default)]
pub(super) struct Shown {
    #[serde(default)]
    pub(super) metadata: ShownMeta,
    #[serde(default)]
    pub(super) spec: ShownSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownMeta {
    #[serde(default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownSpec {
    #[serde(default)]
    pub(super) service_account_name: Option<String>,
    #[serde(default)]
    pub(super) containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
pub(super) struct Container {
    #[serde(default)]
    pub(super) image: String,
}

/// An owner as an object names it. It is stored in the row of a life too, in this order of its fields: a
/// change of them is a new [`crate::tables::FORMAT`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnerReference {
    #[serde(default)]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) controller: Option<bool>,
}

/// The one among the owners of an object that controls it.
pub(crate) fn controller(owners: Vec<OwnerReference>) -> Option<OwnerReference> {
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

/// All owners that an object's JSON names, the controller among them. What can't be read names none.
pub(super) fn owners(body: &str) -> Vec<OwnerReference> {
    #[derive(Deserialize)]
    struct Owned {
        metadata: OwnedMeta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OwnedMeta {
        #[serde(default)]
        owner_references: Option<Vec<OwnerReference>>,
    }
    // Most objects have no owner, and need not be parsed to tell.
    if !body.contains("\"ownerReferences\"") {
        return Vec::new();
    }
    let owned: Option<Owned> = serde_json::from_str(body).ok();
    owned.and_then(|owned| owned.metadata.owner_references).unwrap_or_default()
}

impl Shown {
    /// What can't be read shows nothing.
    pub(super) fn read(body: &str) -> Self {
        #[derive(Deserialize)]
        struct MetaOnly {
            #[serde(default)]
            metadata: ShownMeta,
        }
        serde_json::from_str(body).unwrap_or_else(|_| {
            // Some other kind whose spec is not a pod's.
            let meta: Option<MetaOnly> = serde_json::from_str(body).ok();
            Self { metadata: meta.map(|m| m.metadata).unwrap_or_default(), ..Self::default() }
        })
    }
}
