//! Label and field selectors in the syntax of Kubernetes.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::StateError;

/// Longest selector: each object is held against all of it.
pub const SELECTOR_BYTES_MAX: usize = 4_096;

/// A label selector: all requirements must hold.
///
/// `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, joined by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl LabelSelector {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels fulfil it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::In(wanted) => value.is_some_and(|v| wanted.contains(v)),
                Test::NotIn(unwanted) => value.is_none_or(|v| !unwanted.contains(v)),
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
            }
        })
    }
}

impl FromStr for LabelSelector {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        bounded(text)?;
        split_outside_brackets(text).map(parse_requirement).collect::<Result<_, _>>().map(Self)
    }
}

/// Splits at commas that stand outside of brackets, and leaves out empty parts.
fn split_outside_brackets(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn parse_requirement(text: &str) -> Result<Requirement, StateError> {
    let (key, test) = if let Some(key) = text.strip_prefix('!') {
        (key, Test::Missing)
    } else if let Some((head, values)) = text.split_once('(') {
        let values = values.strip_suffix(')').ok_or_else(|| bad(text))?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => (key, Test::In(values)),
            [key, "notin"] => (key, Test::NotIn(values)),
            _ => return Err(bad(text)),
        }
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        (key, Test::In(vec![value.trim().to_owned()]))
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(legal) {
        return Err(bad(text));
    }
    Ok(Requirement { key: key.to_owned(), test })
}

fn bounded(text: &str) -> Result<(), StateError> {
    if text.len() <= SELECTOR_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the selector is over the limit of {SELECTOR_BYTES_MAX} bytes");
    Err(StateError::invalid(message, "ask in several parts"))
}

fn bad(text: &str) -> StateError {
    StateError::invalid(
        format!("{text:?} is no label requirement"),
        "write for example app=web, tier!=db, env in (a,b), env notin (c), canary or !canary",
    )
}

/// A field selector over `metadata.name` and `metadata.namespace`; all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    namespace: bool,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object of this namespace and name fulfils it.
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        self.0.iter().all(|requirement| {
            let value = if requirement.namespace { namespace } else { name };
            (value == requirement.value) == requirement.equal
        })
    }
}

impl FromStr for FieldSelector {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        bounded(text)?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(parse_field).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_field(text: &str) -> Result<FieldRequirement, StateError> {
    let hint = "metadata.name and metadata.namespace can be selected by, with = and !=";
    let (key, value, equal) = if let Some((key, value)) = text.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = text.split_once('=') {
        (key, value.strip_prefix('=').unwrap_or(value), true)
    } else {
        return Err(StateError::invalid(format!("{text:?} is no field requirement"), hint));
    };
    let namespace = match key.trim() {
        "metadata.name" => false,
        "metadata.namespace" => true,
        other => {
            return Err(StateError::invalid(format!("field {other:?} is not supported"), hint));
        }
    };
    Ok(FieldRequirement { namespace, equal, value: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        selector.parse::<LabelSelector>().unwrap().matches(&labels)
    }

    #[test]
    fn label_requirements() {
        let web = [("app", "web"), ("example.org/tier", "front")];
        for yes in [
            "",
            "app=web",
            "app==web",
            "app!=db",
            "tier!=db",
            "app in (db, web)",
            "app notin (db)",
            "other notin (db)",
            "app",
            "!canary",
            "app=web,example.org/tier in (front,back),!canary",
        ] {
            assert!(matches(yes, &web), "{yes}");
        }
        for no in ["app=db", "app!=web", "app in (db)", "app notin (web,db)", "canary", "!app"] {
            assert!(!matches(no, &web), "{no}");
        }
        for bad in ["=web", "app in web", "app in (web", "a b", "app near (web)", "!"] {
            bad.parse::<LabelSelector>().unwrap_err();
        }
        "a,".repeat(SELECTOR_BYTES_MAX).parse::<LabelSelector>().unwrap_err();
    }

    #[test]
    fn field_requirements() {
        let fields: FieldSelector = "metadata.name=a,metadata.namespace!=b".parse().unwrap();
        assert!(fields.matches("c", "a"));
        assert!(!fields.matches("b", "a"));
        assert!(!fields.matches("c", "x"));
        "status.phase=Running".parse::<FieldSelector>().unwrap_err();
        "metadata.name".parse::<FieldSelector>().unwrap_err();
    }
}
