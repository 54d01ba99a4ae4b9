//! Endpoint slices: the ways from a pod, and from a service, to the slices that ever named them.
//!
//! Not here: what a slice says; that is read from its versions when somebody asks.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Context, Fold};
use crate::StateError;
use crate::tables::uid_key;

/// Label that names the service of a slice.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Deserialize)]
struct Slice<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    endpoints: Option<Vec<Endpoint<'a>>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: Option<std::collections::BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(borrow, default)]
    target_ref: Option<Target<'a>>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
}

impl Fold<'_> {
    /// Notes whom a version of an endpoint slice names. Of a slice that can't be read nothing is
    /// noted; its version is kept like any other.
    pub(super) fn index_slice(
        &mut self,
        context: &Context,
        object: u64,
        raw: &RawValue,
    ) -> Result<(), StateError> {
        let frame = &context.frame;
        if frame.group != "discovery.k8s.io" || frame.resource != "endpointslices" {
            return Ok(());
        }
        let Ok(slice) = serde_json::from_str::<Slice<'_>>(raw.get()) else { return Ok(()) };
        let namespace = slice.metadata.namespace.as_ref();
        let labels = slice.metadata.labels.unwrap_or_default();
        if let Some(service) = labels.get(SERVICE_NAME) {
            self.w.slices.insert((context.cluster, namespace, service.as_ref(), object), ());
        }
        for endpoint in slice.endpoints.unwrap_or_default() {
            let Some(target) = endpoint.target_ref.filter(|t| !t.uid.is_empty()) else { continue };
            let uid = uid_key(&target.uid);
            self.w.targets.insert((context.cluster, uid.as_slice(), object), ());
        }
        Ok(())
    }
}
