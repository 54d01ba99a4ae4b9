//! Which namespace and cluster a question is about, as flags, context and kubectl's habits have it.

use stele_record::kube::{Resource, builtins};
use stele_server::api::{Answer, ResourceItem};

use crate::args::{ClusterArgs, NamespaceArgs};
use crate::client::{Client, Query};
use crate::config::Context;
use crate::error::CliError;

/// Flags and context that say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) namespace: &'a NamespaceArgs,
    pub(crate) cluster: &'a ClusterArgs,
    pub(crate) context: &'a Context,
}

impl Scope<'_> {
    /// Adds namespace and cluster to a question about `kind`, or about all types. As with kubectl a
    /// namespace means nothing for types that live in none.
    ///
    /// # Errors
    /// When the server must be asked about the type and can't be.
    pub(crate) async fn add(
        &self,
        client: &Client,
        kind: Option<&str>,
        query: &mut Query,
    ) -> Result<(), CliError> {
        let cluster = self.cluster.cluster.as_ref().or(self.context.cluster.as_ref());
        query.extend(cluster.map(|cluster| ("cluster", cluster.clone())));
        let everywhere = match kind {
            _ if self.namespace.all_namespaces => true,
            Some(kind) => !namespaced(client, cluster, kind).await?,
            None => false,
        };
        if everywhere {
            query.push(("all", String::from("true")));
            return Ok(());
        }
        let named = self.namespace.namespace.as_ref().or(self.context.namespace.as_ref());
        query.push(("namespace", named.map_or("default", String::as_str).to_owned()));
        Ok(())
    }
}

/// Whether objects of the type that people write as `kind` live in namespaces. The server is asked
/// only about types that are not part of Kubernetes itself; what it does not know either, it
/// will say so itself.
async fn namespaced(
    client: &Client,
    cluster: Option<&String>,
    kind: &str,
) -> Result<bool, CliError> {
    if let Some(found) = builtins().find(|resource| is_called(resource, kind)) {
        return Ok(found.namespaced);
    }
    let query: Query = cluster.map(|cluster| ("cluster", cluster.clone())).into_iter().collect();
    let known: Answer<ResourceItem> = client.json("v1/resources", &query).await?;
    let found = known.items.into_iter().map(to_resource).find(|resource| is_called(resource, kind));
    Ok(found.is_none_or(|resource| resource.namespaced))
}

fn to_resource(item: ResourceItem) -> Resource {
    Resource {
        group: item.group,
        version: item.version,
        resource: item.resource,
        kind: item.kind,
        singular: item.singular,
        short_names: item.short_names,
        namespaced: item.namespaced,
    }
}

/// Whether people call a type so: plural, singular, short, its kind, or with group behind a dot.
fn is_called(resource: &Resource, text: &str) -> bool {
    let text = text.to_lowercase();
    let (name, rest) = text.split_once('.').map_or((text.as_str(), None), |(n, r)| (n, Some(r)));
    let named = name == resource.resource
        || name == resource.singular
        || name == resource.kind.to_lowercase()
        || resource.short_names.iter().any(|short| short == name);
    let version_and_group = format!("{}.{}", resource.version, resource.group);
    named && rest.is_none_or(|rest| rest == resource.group || rest == version_and_group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_all_their_names() {
        for (text, namespaced) in [
            ("no", false),
            ("Node", false),
            ("nodes", false),
            ("ns", false),
            ("crd", false),
            ("deploy", true),
            ("deployments.apps", true),
            ("deployment.v1.apps", true),
            ("clusterroles.rbac.authorization.k8s.io", false),
        ] {
            let found = builtins().find(|resource| is_called(resource, text));
            assert_eq!(found.map(|resource| resource.namespaced), Some(namespaced), "{text}");
        }
        assert!(!builtins().any(|resource| is_called(&resource, "deployments.example.org")));
    }
}
