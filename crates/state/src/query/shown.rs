//! What of an object's JSON an answer about an address shows: labels, account, images, owners.

use std::collections::BTreeMap;

use serde::Deserialize;

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
    owner_references: Option<Vec<OwnerReference>>,
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

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnerReference {
    #[serde(default)]
    pub(super) api_version: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    controller: Option<bool>,
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

    pub(super) fn controller(&self) -> Option<OwnerReference> {
        let owners = self.metadata.owner_references.as_ref()?;
        owners.iter().find(|owner| owner.controller == Some(true)).cloned()
    }
}
