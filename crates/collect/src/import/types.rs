//! Which type an object is of, for input that says it only in part: the built-in table, the CRDs
//! that the input itself holds, and, where both are silent, a guess that is reported.

use std::collections::BTreeMap;

use serde::Deserialize;
use stele_record::kube::{Resource, builtin, builtin_kind};

/// Group and name.
type Key = (String, String);

#[derive(Default)]
pub(super) struct Types {
    /// From CRDs, by group and kind.
    learned: BTreeMap<Key, Resource>,
    /// What frames were recorded under, by group and plural.
    used: BTreeMap<Key, Resource>,
    guessed: BTreeMap<Key, String>,
}

#[derive(Deserialize)]
struct Definition {
    spec: DefinitionSpec,
}

#[derive(Deserialize)]
struct DefinitionSpec {
    group: String,
    names: Names,
    scope: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    plural: String,
    kind: String,
    #[serde(default)]
    singular: String,
    #[serde(default)]
    short_names: Vec<String>,
}

/// `apps/v1` as group and version.
pub(super) fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl Types {
    /// Learns a type from a CRD, if `object` is one that can be read.
    pub(super) fn learn(&mut self, object: &str) {
        let Ok(Definition { spec }) = serde_json::from_str(object) else { return };
        let resource = Resource {
            group: spec.group.clone(),
            version: String::new(),
            resource: spec.names.plural,
            kind: spec.names.kind.clone(),
            singular: spec.names.singular,
            short_names: spec.names.short_names,
            namespaced: spec.scope == "Namespaced",
        };
        self.learned.insert((spec.group, spec.names.kind), resource);
    }

    /// The type named by group, version and plural. `kind` is that of the objects, where the frame
    /// says it; `namespaced` whether an object was seen in a namespace.
    pub(super) fn by_plural(
        &mut self,
        (group, version, plural): (&str, &str, &str),
        kind: &str,
        namespaced: Option<bool>,
    ) -> Resource {
        let key = (group.to_owned(), plural.to_owned());
        let learned = || self.learned.values().find(|r| r.group == group && r.resource == plural);
        let known = builtin(group, plural)
            .or_else(|| learned().cloned())
            .or_else(|| self.used.get(&key).cloned());
        let mut resource = known.unwrap_or_else(|| {
            self.guessed.insert(key.clone(), format!("{group}/{plural}: whether it is namespaced"));
            Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                resource: plural.to_owned(),
                kind: String::new(),
                singular: kind.to_lowercase(),
                short_names: Vec::new(),
                namespaced: namespaced.unwrap_or(true),
            }
        });
        version.clone_into(&mut resource.version);
        if resource.kind.is_empty() {
            kind.clone_into(&mut resource.kind);
        }
        self.used.insert(key, resource.clone());
        resource
    }

    /// The type of objects that name their apiVersion and kind.
    pub(super) fn by_kind(
        &mut self,
        api_version: &str,
        kind: &str,
        namespaced: Option<bool>,
    ) -> Resource {
        let (group, version) = group_version(api_version);
        let learned = self.learned.get(&(group.to_owned(), kind.to_owned())).cloned();
        let known = builtin_kind(group, kind).or(learned);
        let mut resource = known.unwrap_or_else(|| {
            let plural = guess_plural(kind);
            let key = (group.to_owned(), plural.clone());
            let guess = format!("{api_version} {kind}: the plural name {plural}");
            self.guessed.insert(key, guess);
            Resource {
                group: group.to_owned(),
                version: String::new(),
                resource: plural,
                kind: kind.to_owned(),
                singular: kind.to_lowercase(),
                short_names: Vec::new(),
                namespaced: namespaced.unwrap_or(false),
            }
        });
        version.clone_into(&mut resource.version);
        let key = (resource.group.clone(), resource.resource.clone());
        let seen_before = self.used.get(&key).is_some_and(|used| used.namespaced);
        resource.namespaced |= seen_before;
        self.used.insert(key, resource.clone());
        resource
    }

    /// All types that frames were recorded under.
    pub(super) fn used(&self) -> Vec<Resource> {
        self.used.values().cloned().collect()
    }

    /// What was guessed, in words.
    pub(super) fn guesses(&self) -> Vec<String> {
        self.guessed.values().cloned().collect()
    }
}

/// English plurals as code generators make them.
fn guess_plural(kind: &str) -> String {
    let singular = kind.to_lowercase();
    let before_y =
        singular.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match before_y {
        Some(stem) => format!("{stem}ies"),
        None if singular.ends_with(['s', 'x', 'z'])
            || singular.ends_with("ch")
            || singular.ends_with("sh") =>
        {
            format!("{singular}es")
        }
        None => format!("{singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_stated_and_knowledge_is_used() {
        let mut types = Types::default();
        assert_eq!(types.by_kind("v1", "Pod", None).resource, "pods");
        assert_eq!(types.by_kind("apps/v1", "Deployment", None).resource, "deployments");
        assert!(types.guesses().is_empty());
        for (kind, plural) in [("Policy", "policies"), ("Gateway", "gateways"), ("Mesh", "meshes")]
        {
            let resource = types.by_kind("example.org/v2", kind, Some(true));
            assert_eq!((resource.resource.as_str(), resource.version.as_str()), (plural, "v2"));
        }
        assert_eq!(types.guesses().len(), 3);
        types.learn(
            r#"{"spec":{"group":"example.org","scope":"Namespaced",
                "names":{"plural":"oxen","kind":"Ox","shortNames":["ox"]}}}"#,
        );
        let ox = types.by_kind("example.org/v1", "Ox", None);
        assert_eq!((ox.resource.as_str(), ox.namespaced), ("oxen", true));
        assert_eq!(types.by_plural(("example.org", "v1", "oxen"), "", None), ox);
        assert_eq!(types.guesses().len(), 3);
    }
}
