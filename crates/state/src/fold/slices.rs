//! Endpoint slices: the ways from a pod, and from a service, to the slices that ever named them.
//!
//! Not here: what a slice says; that is read from its versions when somebody asks.

use std::borrow::Cow;

use serde::Deserialize;
use stele_record::frame::FrameContext;

use super::Fold;
use super::reading::fits;
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

/// Whom a version of an endpoint slice names.
pub(super) struct Named<'a> {
    service: Option<Cow<'a, str>>,
    /// Keys of the uids of its targets.
    targets: Vec<Vec<u8>>,
}

/// Whom an object names as an endpoint slice. Of a slice that can't be read nothing is noted; its version
/// is kept like any other.
pub(super) fn read<'a>(frame: &FrameContext, raw: &'a str) -> Option<Named<'a>> {
    if frame.group != "discovery.k8s.io" || frame.resource != "endpointslices" {
        return None;
    }
    let slice: Slice<'_> = serde_json::from_str(raw).ok()?;
    let targets = slice.endpoints.unwrap_or_default().into_iter();
    let targets = targets.filter_map(|endpoint| Some(endpoint.target_ref?.uid));
    let uids = targets.filter(|uid| !uid.is_empty() && fits("uid", uid).is_ok());
    let service = slice.metadata.labels.and_then(|mut labels| labels.remove(SERVICE_NAME));
    Some(Named {
        service: service.filter(|service| fits("service", service).is_ok()),
        targets: uids.map(|uid| uid_key(&uid)).collect(),
    })
}

impl Fold<'_> {
    /// Notes whom a version of an endpoint slice names.
    pub(super) fn index_slice(
        &mut self,
        cluster: u32,
        object: u64,
        namespace: &str,
        slice: &Named<'_>,
    ) {
        if let Some(service) = &slice.service {
            self.w.slices.insert((cluster, namespace, service.as_ref(), object), ());
        }
        for uid in &slice.targets {
            self.w.targets.insert((cluster, uid.as_slice(), object), ());
        }
    }
}
