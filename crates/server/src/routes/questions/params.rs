//! Parameters of questions.

use serde::Deserialize;
use stele_state::query::{Filter, IpQuery, ListQuery, Port, Version};
use stele_state::{Point, rv};
use utoipa::{IntoParams, ToSchema};

use crate::context::Context;
use crate::error::ApiError;
use crate::filter::FilterParams;
use crate::params::flag;
use crate::points::parse;

/// A cluster.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ClusterParams {
    /// Id or name of the cluster; may be left out if there is only one.
    pub(crate) cluster: Option<String>,
}

/// Another form of the answer.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Raw {
    /// A Kubernetes `List`.
    List,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ObjectsParams {
    /// Id or name of the cluster; may be left out if there is only one.
    cluster: Option<String>,
    /// The resource type as people write it: `po`, `deployments.apps`, `Deployment`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Name of one object.
    name: Option<String>,
    /// Only this namespace; without it all.
    namespace: Option<String>,
    /// All namespaces; the same as leaving out `namespace`.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
    /// Label selector.
    selector: Option<String>,
    /// Field selector.
    field_selector: Option<String>,
    /// The point: a time, `2h ago`, `#INDEX`, `rv:N`; without it now.
    at: Option<String>,
    /// Pass over records after this index, to repeat an earlier answer exactly.
    known_at: Option<u64>,
    /// `false` leaves out the objects themselves.
    #[serde(default = "yes", deserialize_with = "flag")]
    #[param(default = true)]
    bodies: bool,
    /// Fail with 422 if the answer touches a stretch in which something may have been missed.
    #[serde(default, deserialize_with = "flag")]
    pub(crate) strict: bool,
    /// `list`: answer with a Kubernetes `List`.
    #[param(inline)]
    pub(crate) raw: Option<Raw>,
}

const fn yes() -> bool {
    true
}

impl ObjectsParams {
    pub(crate) fn into_query(self, app: &Context) -> Result<ListQuery, ApiError> {
        if self.raw.is_some() && !self.bodies {
            return Err(ApiError::invalid("bodies: a raw list has them"));
        }
        let filter = FilterParams {
            cluster: self.cluster,
            kind: self.kind,
            name: self.name,
            namespace: self.namespace,
            all: self.all,
            selector: self.selector,
            field_selector: self.field_selector,
        };
        Ok(ListQuery {
            filter: filter.read()?,
            at: self.at.as_deref().map_or(Ok(Point::Now), |text| parse(app, text))?,
            known_at: self.known_at,
            without_bodies: !self.bodies,
        })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryParams {
    /// Id or name of the cluster; may be left out if there is only one.
    cluster: Option<String>,
    /// The resource type as people write it.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: String,
    /// Name of the object.
    name: String,
    /// Its namespace; without it those of that name in all namespaces.
    namespace: Option<String>,
    /// All namespaces; the same as leaving out `namespace`.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
    /// Leave out versions before this point.
    pub(crate) since: Option<String>,
    /// Leave out versions after this point.
    until: Option<String>,
    /// Pass over records after this index, to repeat an earlier answer exactly.
    known_at: Option<u64>,
    /// `true` puts the objects themselves in.
    #[serde(default, deserialize_with = "flag")]
    objects: bool,
    /// `true` puts in what the object owned, and what that owned, in the order of time.
    #[serde(default, deserialize_with = "flag")]
    pub(crate) owned: bool,
    /// `true` says in which paths each version differs from the one before it.
    #[serde(default, deserialize_with = "flag")]
    pub(crate) changes: bool,
}

impl HistoryParams {
    pub(crate) fn into_query(self, app: &Context) -> Result<ListQuery, ApiError> {
        let filter = FilterParams {
            cluster: self.cluster,
            kind: Some(self.kind),
            name: Some(self.name),
            namespace: self.namespace,
            all: self.all,
            selector: None,
            field_selector: None,
        };
        Ok(ListQuery {
            filter: filter.read()?,
            at: self.until.as_deref().map_or(Ok(Point::Now), |text| parse(app, text))?,
            known_at: self.known_at,
            without_bodies: !self.objects,
        })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReferrersParams {
    /// Id or name of the cluster; may be left out if there is only one.
    cluster: Option<String>,
    /// The resource type as people write it.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: String,
    /// Name of the object that is referred to.
    name: String,
    /// Its namespace; without it those of that name in all namespaces.
    namespace: Option<String>,
    /// All namespaces; the same as leaving out `namespace`.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
    /// The point: a time, `2h ago`, `#INDEX`, `rv:N`; without it now.
    at: Option<String>,
    /// Pass over records after this index, to repeat an earlier answer exactly.
    known_at: Option<u64>,
    /// `false` leaves out the objects themselves.
    #[serde(default = "yes", deserialize_with = "flag")]
    #[param(default = true)]
    bodies: bool,
}

impl ReferrersParams {
    pub(crate) fn into_query(self, app: &Context) -> Result<ListQuery, ApiError> {
        let filter = FilterParams {
            cluster: self.cluster,
            kind: Some(self.kind),
            name: Some(self.name),
            namespace: self.namespace,
            all: self.all,
            selector: None,
            field_selector: None,
        };
        Ok(ListQuery {
            filter: filter.read()?,
            at: self.at.as_deref().map_or(Ok(Point::Now), |text| parse(app, text))?,
            known_at: self.known_at,
            without_bodies: !self.bodies,
        })
    }
}

/// Whether a version is not before a point.
pub(crate) fn since_filter(since: &Option<Point>, version: &Version) -> bool {
    match since {
        Some(Point::Observed(time)) => version.time >= *time,
        Some(Point::Index(index)) => version.index >= *index,
        Some(Point::ResourceVersion(wanted)) => {
            // What has no order can't be said to be before.
            rv::compare(&version.resource_version, wanted).is_none_or(std::cmp::Ordering::is_ge)
        }
        _ => true,
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffParams {
    /// Id or name of the cluster; may be left out if there is only one.
    cluster: Option<String>,
    /// The resource type as people write it; without it all.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Name of one object.
    name: Option<String>,
    /// Only this namespace; without it all.
    namespace: Option<String>,
    /// All namespaces; the same as leaving out `namespace`.
    #[serde(default, deserialize_with = "flag")]
    all: bool,
    /// Label selector.
    selector: Option<String>,
    /// Field selector.
    field_selector: Option<String>,
    /// The first point.
    pub(crate) since: String,
    /// The second point; without it now.
    pub(crate) until: Option<String>,
}

impl DiffParams {
    pub(crate) fn filter(self) -> Result<Filter, ApiError> {
        FilterParams {
            cluster: self.cluster,
            kind: self.kind,
            name: self.name,
            namespace: self.namespace,
            all: self.all,
            selector: self.selector,
            field_selector: self.field_selector,
        }
        .read()
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct IpParams {
    /// Id or name of the cluster; without it all of them.
    cluster: Option<String>,
    /// The point; without it, and without `since`, now.
    pub(crate) at: Option<String>,
    /// Begin of a stretch.
    pub(crate) since: Option<String>,
    /// End of the stretch; without it now.
    pub(crate) until: Option<String>,
    /// How far the clock of whoever saw the traffic may be off, in milliseconds.
    #[serde(default)]
    tolerance_ms: u64,
    /// Pass over records after this index, to repeat an earlier answer exactly.
    known_at: Option<u64>,
    /// The port that the traffic was for, as `443` or `443/tcp`: it tells apart what shares a
    /// node's address, and leads through a service to its endpoints.
    port: Option<String>,
}

impl IpParams {
    pub(crate) fn into_query(self) -> Result<IpQuery, ApiError> {
        let Self { cluster, tolerance_ms, known_at, port, .. } = self;
        let port = port.as_deref().map(Port::parse).transpose();
        let port = port.map_err(|e| ApiError::invalid(format!("port: {e}")))?;
        Ok(IpQuery { cluster, tolerance_ms, known_at, port, without_services: false })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BatchParams {
    /// Id or name of the cluster; without it all of them.
    cluster: Option<String>,
    /// How far the clock of whoever saw the traffic may be off, in milliseconds.
    #[serde(default)]
    pub(crate) tolerance_ms: u64,
    /// Pass over records after this index, to repeat earlier answers exactly.
    pub(crate) known_at: Option<u64>,
    /// `true` puts in which services pods stood in and where services led. It takes more time than
    /// all the rest.
    #[serde(default, deserialize_with = "flag")]
    services: bool,
}

impl BatchParams {
    pub(crate) fn into_query(self) -> IpQuery {
        let Self { cluster, tolerance_ms, known_at, services } = self;
        IpQuery { cluster, tolerance_ms, known_at, port: None, without_services: !services }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CoverageParams {
    /// Id or name of the cluster; without it all of them.
    cluster: Option<String>,
    /// The resource type as people write it; without it all.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Begin of the stretch; without it the first record.
    pub(crate) since: Option<String>,
    /// End of the stretch; without it now.
    pub(crate) until: Option<String>,
}

impl CoverageParams {
    pub(crate) fn filter(self) -> Filter {
        Filter { cluster: self.cluster, resource: self.kind, ..Filter::default() }
    }
}
