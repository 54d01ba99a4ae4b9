//! What a path of the Kubernetes API names.

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/`: which paths there are.
    Root,
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiV3,
    /// A document below `/openapi/v3`: the path behind it.
    Schema(String),
    /// `/api`: the versions of the core group.
    CoreVersions,
    /// `/apis`: the groups.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/VERSION` and `/apis/GROUP/VERSION`: the types.
    Types(Version),
    /// Objects, or one of them.
    Objects(Objects),
}

/// A version of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// `""` for the core group.
    pub(super) group: String,
    pub(super) version: String,
}

impl Version {
    /// `v1`, `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// Objects of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objects {
    pub(super) of: Version,
    /// Plural name.
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// `status`, `log` and the like.
    pub(super) subresource: Option<String>,
}

/// Reads a path behind the prefix, without its first slash.
pub(super) fn parse(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    Some(match parts.as_slice() {
        [""] => Target::Root,
        ["healthz" | "livez" | "readyz"] => Target::Health,
        ["version"] => Target::Version,
        ["openapi", "v2"] => Target::OpenApiV2,
        ["openapi", "v3"] => Target::OpenApiV3,
        ["openapi", "v3", name @ ..] => Target::Schema(name.join("/")),
        ["api"] => Target::CoreVersions,
        ["apis"] => Target::Groups,
        ["apis", group] => Target::Group((*group).to_owned()),
        ["api", version] => Target::Types(of("", version)),
        ["apis", group, version] => Target::Types(of(group, version)),
        ["api", version, rest @ ..] => Target::Objects(objects(of("", version), rest)?),
        ["apis", group, version, rest @ ..] => Target::Objects(objects(of(group, version), rest)?),
        _ => return None,
    })
}

fn of(group: &str, version: &str) -> Version {
    Version { group: group.to_owned(), version: version.to_owned() }
}

fn objects(of: Version, rest: &[&str]) -> Option<Objects> {
    let owned = |text: &&str| (*text).to_owned();
    let (namespace, rest) = match rest {
        // What follows a namespace is a type in it, but for two names of its own subresources.
        ["namespaces", namespace, resource, rest @ ..]
            if !(matches!(*resource, "status" | "finalize") && rest.is_empty()) =>
        {
            (Some(owned(namespace)), [&[*resource], rest].concat())
        }
        _ => (None, rest.to_vec()),
    };
    if rest.iter().any(|part| part.is_empty()) {
        return None;
    }
    let (resource, name, sub) = match rest.as_slice() {
        [resource] => (resource, None, None),
        [resource, name] => (resource, Some(owned(name)), None),
        [resource, name, sub @ ..] => (resource, Some(owned(name)), Some(sub.join("/"))),
        [] => return None,
    };
    Some(Objects { of, resource: owned(resource), namespace, name, subresource: sub })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        match parse(path) {
            Some(Target::Objects(o)) => format!(
                "{} {} ns={:?} name={:?} sub={:?}",
                o.of.api_version(),
                o.resource,
                o.namespace,
                o.name,
                o.subresource
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_mean_what_they_mean_to_an_api_server() {
        for (path, wanted) in [
            ("api/v1/pods", "v1 pods ns=None name=None sub=None"),
            ("api/v1/namespaces/a/pods/b", r#"v1 pods ns=Some("a") name=Some("b") sub=None"#),
            ("api/v1/namespaces/a", r#"v1 namespaces ns=None name=Some("a") sub=None"#),
            (
                "api/v1/namespaces/a/status",
                r#"v1 namespaces ns=None name=Some("a") sub=Some("status")"#,
            ),
            ("api/v1/namespaces/a/pods", r#"v1 pods ns=Some("a") name=None sub=None"#),
            (
                "apis/apps/v1/namespaces/a/deployments/b/scale",
                r#"apps/v1 deployments ns=Some("a") name=Some("b") sub=Some("scale")"#,
            ),
            ("apis/apps/v1/deployments", "apps/v1 deployments ns=None name=None sub=None"),
        ] {
            assert_eq!(shown(path), wanted, "{path}");
        }
        assert_eq!(parse(""), Some(Target::Root));
        assert_eq!(parse("apis/apps/"), Some(Target::Group("apps".to_owned())));
        assert_eq!(parse("apis/apps/v1"), Some(Target::Types(of("apps", "v1"))));
        assert_eq!(
            parse("openapi/v3/apis/apps/v1"),
            Some(Target::Schema("apis/apps/v1".to_owned()))
        );
        for none in ["x", "api/v1//pods", "openapi/v9"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
