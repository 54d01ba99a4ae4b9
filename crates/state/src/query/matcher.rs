//! A filter that is put to changes in memory, so that many subscriptions can share the reading.
//!
//! Invariant: it lets through what [`State::changes`] with the same filter gives, as long as no
//! cluster and no type has come up since it was made.

use std::collections::BTreeSet;

use super::Filter;
use super::types::ChangeBody;
use crate::{State, StateError};

/// See the module.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Ids; `None` means all.
    clusters: Option<BTreeSet<String>>,
    /// Cluster, group and plural; `None` means all.
    types: Option<BTreeSet<(String, String, String)>>,
    filter: Filter,
}

impl State {
    /// The filter, with the names in it resolved.
    ///
    /// # Errors
    /// As [`State::changes`].
    pub fn matcher(&self, filter: &Filter) -> Result<Matcher, StateError> {
        let view = self.view()?;
        let wanted = view.wanted(filter)?;
        let mut clusters = None;
        if filter.cluster.is_some() {
            let ids = wanted.clusters.iter().map(|number| Ok(view.cluster_row(*number)?.id));
            clusters = Some(ids.collect::<Result<_, StateError>>()?);
        }
        let mut types = None;
        if let Some(numbers) = &wanted.types {
            let names = numbers.iter().map(|number| {
                let row = view.type_row(*number)?;
                Ok((view.cluster_row(row.cluster)?.id, row.group, row.resource))
            });
            types = Some(names.collect::<Result<_, StateError>>()?);
        }
        Ok(Matcher { clusters, types, filter: filter.clone() })
    }

    /// How many clusters and types are known: when it changes, a [`Matcher`] has to be made anew.
    ///
    /// # Errors
    /// [`StateError::Engine`].
    pub fn names_known(&self) -> Result<u64, StateError> {
        let rows = self.tables();
        let count = |name| Ok::<u64, StateError>(rows.meta.get(name)?.map_or(0, |n| n.value()));
        Ok(count("clusters")? + count("types")?)
    }
}

impl Matcher {
    /// Whether a change passes the filter.
    pub fn matches(&self, change: &ChangeBody) -> bool {
        let of_cluster = |id: &str| self.clusters.as_ref().is_none_or(|ids| ids.contains(id));
        match change {
            ChangeBody::Gap(gap) => {
                let (cluster, group, resource) = (&gap.cluster, &gap.group, &gap.resource);
                let of_type = |types: &BTreeSet<(String, String, String)>| {
                    types.iter().any(|(id, of_group, of_resource)| {
                        cluster.as_ref().is_none_or(|cluster| cluster == id)
                            && group.as_ref().is_none_or(|group| group == of_group)
                            && resource.as_ref().is_none_or(|resource| resource == of_resource)
                    })
                };
                cluster.as_deref().is_none_or(of_cluster)
                    && (resource.is_none() || self.types.as_ref().is_none_or(of_type))
            }
            ChangeBody::Object(object) => {
                let of = &object.reference;
                let is = |wanted: &Option<String>, found: &str| {
                    wanted.as_ref().is_none_or(|wanted| wanted == found)
                };
                let of_type = |types: &BTreeSet<(String, String, String)>| {
                    types.iter().any(|(cluster, group, resource)| {
                        *cluster == of.cluster && *group == of.group && *resource == of.resource
                    })
                };
                is(&self.filter.namespace, &of.namespace)
                    && is(&self.filter.name, &of.name)
                    && of_cluster(&of.cluster)
                    && self.types.as_ref().is_none_or(of_type)
                    && self.filter.fields.matches(&of.namespace, &of.name)
                    && self.filter.matches_inside(object.json())
            }
        }
    }
}
