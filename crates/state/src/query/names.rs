//! Clusters and resource types by the names that people use.

use stele_record::kube;

use super::read::View;
use super::types::{Cluster, ResourceType};
use crate::tables::{ClusterRow, TypeRow, unrow};
use crate::{State, StateError, Time};

/// A type that a question is about; without a number nothing of it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) number: Option<u32>,
    pub(crate) shown: ResourceType,
}

impl State {
    /// All recorded clusters, in the order in which they were first seen.
    ///
    /// # Errors
    /// [`StateError::Engine`] or [`StateError::Damaged`].
    pub fn clusters(&self) -> Result<Vec<Cluster>, StateError> {
        let view = self.view()?;
        let mut clusters = Vec::new();
        for (number, row) in view.clusters()? {
            let first = view.first_time(number)?.map(Time);
            let last = view.last_time(number, u64::MAX)?.map(|(time, _)| Time(time));
            let mut objects = 0;
            for (type_id, _) in view.types(number)? {
                let alive = view.rows.alive.range((type_id, "", 0)..(type_id + 1, "", 0));
                objects += alive.count() as u64;
            }
            clusters.push(Cluster {
                id: row.id,
                name: row.name,
                objects,
                first_seen: first,
                last_seen: last.or(first),
            });
        }
        Ok(clusters)
    }

    /// The resource types of a cluster (id or name; may be left out if there is only one), by
    /// group and plural: those recorded, and those that discovery found.
    ///
    /// # Errors
    /// [`StateError::NotFound`] or [`StateError::Invalid`] for the cluster.
    pub fn resources(&self, cluster: Option<&str>) -> Result<Vec<ResourceType>, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(cluster)?;
        let id = view.cluster_row(cluster)?.id;
        let types = view.types(cluster)?;
        Ok(types.into_iter().map(|(_, row)| shown(&id, row)).collect())
    }

    /// The type that people mean by `po`, `deployments.apps` or `Deployment`.
    ///
    /// # Errors
    /// [`StateError::NotFound`], or [`StateError::Invalid`] if several types go by that name.
    pub fn resolve_type(
        &self,
        cluster: Option<&str>,
        text: &str,
    ) -> Result<ResourceType, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(cluster)?;
        Ok(view.choose(cluster, text)?.shown)
    }
}

impl View {
    pub(crate) fn clusters(&self) -> Result<Vec<(u32, ClusterRow)>, StateError> {
        let rows = self.rows.cluster_rows.iter();
        rows.map(|entry| {
            let (number, row) = entry?;
            Ok((number.value(), unrow(row.value())?))
        })
        .collect()
    }

    /// The clusters that a question is about: the one named, or all.
    pub(crate) fn some_clusters(&self, wanted: Option<&str>) -> Result<Vec<u32>, StateError> {
        let all = self.clusters()?;
        let Some(wanted) = wanted else {
            return Ok(all.into_iter().map(|(number, _)| number).collect());
        };
        if let Some((number, _)) = all.iter().find(|(_, row)| row.id == wanted) {
            return Ok(vec![*number]);
        }
        let named: Vec<&(u32, ClusterRow)> =
            all.iter().filter(|(_, row)| row.name == wanted).collect();
        match named[..] {
            [(number, _)] => Ok(vec![*number]),
            [] => Err(StateError::not_found(
                format!("no cluster {wanted:?} is recorded"),
                names_of(&all),
            )),
            _ => Err(StateError::invalid(
                format!("several clusters are named {wanted:?}"),
                format!("choose by id; {}", names_of(&all)),
            )),
        }
    }

    /// The one cluster that a question is about.
    pub(crate) fn one_cluster(&self, wanted: Option<&str>) -> Result<u32, StateError> {
        match self.some_clusters(wanted)?[..] {
            [number] => Ok(number),
            [] => Err(StateError::not_found(
                "no cluster is recorded yet",
                "start a recorder or import a recording",
            )),
            _ => Err(StateError::invalid(
                "several clusters are recorded",
                format!("choose one; {}", names_of(&self.clusters()?)),
            )),
        }
    }

    /// All types of a cluster that are known from its records, by group and plural.
    pub(crate) fn types(&self, cluster: u32) -> Result<Vec<(u32, TypeRow)>, StateError> {
        let mut types = Vec::new();
        for entry in self.rows.types.range((cluster, "", "")..(cluster + 1, "", "")) {
            let number = entry?.1.value();
            types.push((number, self.type_row(number)?));
        }
        Ok(types)
    }

    /// The types that a question is about: the one named, or all that are recorded.
    pub(crate) fn chosen(
        &self,
        cluster: u32,
        wanted: Option<&str>,
    ) -> Result<Vec<Chosen>, StateError> {
        if let Some(wanted) = wanted {
            return Ok(vec![self.choose(cluster, wanted)?]);
        }
        let id = self.cluster_row(cluster)?.id;
        let recorded = self.types(cluster)?.into_iter().filter(|(_, row)| row.recorded);
        Ok(recorded
            .map(|(number, row)| Chosen { number: Some(number), shown: shown(&id, row) })
            .collect())
    }

    /// As [`View::chosen`], but all that are known, recorded or not.
    pub(crate) fn chosen_or_all(
        &self,
        cluster: u32,
        wanted: Option<&str>,
    ) -> Result<Vec<Chosen>, StateError> {
        if wanted.is_some() {
            return self.chosen(cluster, wanted);
        }
        let id = self.cluster_row(cluster)?.id;
        let types = self.types(cluster)?.into_iter();
        Ok(types
            .map(|(number, row)| Chosen { number: Some(number), shown: shown(&id, row) })
            .collect())
    }

    /// The type of this group and plural, recorded or not.
    pub(crate) fn typed(
        &self,
        cluster: u32,
        group: &str,
        resource: &str,
    ) -> Result<Chosen, StateError> {
        let id = self.cluster_row(cluster)?.id;
        let number = self.rows.types.get((cluster, group, resource))?.map(|number| number.value());
        let row = match (number, kube::builtin(group, resource)) {
            (Some(number), _) => self.type_row(number)?,
            (None, Some(known)) => return Ok(Chosen { number, shown: of_builtin(&id, known) }),
            (None, None) => TypeRow {
                group: group.to_owned(),
                resource: resource.to_owned(),
                ..TypeRow::default()
            },
        };
        Ok(Chosen { number, shown: shown(&id, row) })
    }

    /// The type that people mean.
    pub(crate) fn choose(&self, cluster: u32, text: &str) -> Result<Chosen, StateError> {
        let id = self.cluster_row(cluster)?.id;
        let mut all: Vec<Chosen> = self
            .types(cluster)?
            .into_iter()
            .map(|(number, row)| Chosen { number: Some(number), shown: shown(&id, row) })
            .collect();
        for builtin in kube::builtins() {
            let known = |chosen: &Chosen| {
                chosen.shown.group == builtin.group && chosen.shown.resource == builtin.resource
            };
            if !all.iter().any(known) {
                all.push(Chosen { number: None, shown: of_builtin(&id, builtin) });
            }
        }
        let mut found: Vec<Chosen> =
            all.into_iter().filter(|chosen| goes_by(&chosen.shown, text)).collect();
        // `events` is the core group's, as kubectl has it, and what is recorded comes first.
        for prefer in
            [(|t: &ResourceType| t.recorded) as fn(&ResourceType) -> bool, |t: &ResourceType| {
                t.group.is_empty()
            }]
        {
            if found.len() > 1 && found.iter().any(|chosen| prefer(&chosen.shown)) {
                found.retain(|chosen| prefer(&chosen.shown));
            }
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(StateError::not_found(
                format!("no resource type goes by {text:?}"),
                "the recorded types are listed by `resources`",
            )),
            _ => {
                let names: Vec<String> = found.iter().map(|c| full_name(&c.shown)).collect();
                Err(StateError::invalid(
                    format!("several resource types go by {text:?}"),
                    format!("choose one of {}", names.join(", ")),
                ))
            }
        }
    }
}

fn names_of(clusters: &[(u32, ClusterRow)]) -> String {
    let names: Vec<String> =
        clusters
            .iter()
            .map(|(_, row)| {
                if row.id == row.name {
                    row.id.clone()
                } else {
                    format!("{} ({})", row.name, row.id)
                }
            })
            .collect();
    format!("recorded are: {}", names.join(", "))
}

fn full_name(of: &ResourceType) -> String {
    if of.group.is_empty() { of.resource.clone() } else { format!("{}.{}", of.resource, of.group) }
}

/// Whether a type goes by a name: plural, singular, short name or kind in any case, with or
/// without `.group` or `.version.group`.
fn goes_by(of: &ResourceType, text: &str) -> bool {
    let text = text.to_lowercase();
    let (name, rest) = text.split_once('.').map_or((text.as_str(), None), |(n, r)| (n, Some(r)));
    let named = [&of.resource, &of.singular].into_iter().any(|known| known.to_lowercase() == name)
        || of.kind.to_lowercase() == name
        || of.short_names.iter().any(|known| known == name);
    let grouped = rest.is_none_or(|rest| {
        rest == of.group
            || if of.group.is_empty() {
                rest == of.version
            } else {
                rest == format!("{}.{}", of.version, of.group)
            }
    });
    named && grouped && !name.is_empty()
}

pub(crate) fn shown(cluster: &str, row: TypeRow) -> ResourceType {
    ResourceType {
        cluster: cluster.to_owned(),
        group: row.group,
        version: row.version,
        resource: row.resource,
        kind: row.kind,
        singular: row.singular,
        short_names: row.short_names,
        namespaced: row.namespaced,
        recorded: row.recorded,
    }
}

fn of_builtin(cluster: &str, known: kube::Resource) -> ResourceType {
    ResourceType {
        cluster: cluster.to_owned(),
        group: known.group,
        version: known.version,
        resource: known.resource,
        kind: known.kind,
        singular: known.singular,
        short_names: known.short_names,
        namespaced: known.namespaced,
        recorded: false,
    }
}
