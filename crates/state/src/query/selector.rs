//! Label and field selectors in the syntax of Kubernetes.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::fields;
use crate::StateError;
use crate::pick::Mask;

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

/// A field selector; all requirements must hold.
///
/// Read from a text alone it knows `metadata.name` and `metadata.namespace`; which other fields
/// there are depends on the type ([`FieldSelector::of_type`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Namespace,
    Name,
    /// In the object itself: where, and what counts if there is nothing.
    Inside(Vec<Vec<String>>, &'static str),
}

impl FieldSelector {
    /// Reads a selector for objects of a type: with the fields that Kubernetes offers for it, and
    /// with `more`, which a CustomResourceDefinition names (JSON paths such as `.spec.color`).
    ///
    /// # Errors
    /// [`StateError::Invalid`] names the field that can't be selected by.
    pub fn of_type(
        text: &str,
        group: &str,
        resource: &str,
        more: &[String],
    ) -> Result<Self, StateError> {
        let inside = |field: &str| {
            if let Some(places) = fields::places(group, resource, field) {
                let owned = |place: &&[&str]| place.iter().map(|&name| name.to_owned()).collect();
                return Some(places.iter().map(owned).collect());
            }
            let path = more.iter().find(|path| path.trim_start_matches('.') == field)?;
            let names = path.trim_start_matches('.').split('.');
            Some(vec![names.map(str::to_owned).collect()])
        };
        let mut known = vec!["metadata.name", "metadata.namespace"];
        known.extend(fields::known(group, resource));
        known.extend(more.iter().map(|path| path.trim_start_matches('.')));
        Self::read(text, &inside, &known)
    }

    fn read(text: &str, inside: &Inside<'_>, known: &[&str]) -> Result<Self, StateError> {
        bounded(text)?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| parse_field(part, inside, known)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object of this namespace and name fulfils what it says about them.
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        self.0.iter().all(|requirement| {
            let value = match requirement.field {
                Field::Namespace => namespace,
                Field::Name => name,
                Field::Inside(..) => return true,
            };
            (value == requirement.value) == requirement.equal
        })
    }

    /// Whether it asks for something that only the object itself says.
    pub fn looks_inside(&self) -> bool {
        self.0.iter().any(|requirement| matches!(requirement.field, Field::Inside(..)))
    }

    /// Whether an object's JSON fulfils what it says about other fields than namespace and name.
    pub fn matches_inside(&self, body: &str) -> bool {
        let mut mask = Mask::default();
        for requirement in &self.0 {
            if let Field::Inside(places, _) = &requirement.field {
                for place in places {
                    mask.add(&place.iter().map(String::as_str).collect::<Vec<_>>());
                }
            }
        }
        let object = mask.read(body);
        self.0.iter().all(|requirement| {
            let Field::Inside(places, absent) = &requirement.field else { return true };
            let found = places.iter().find_map(|place| scalar(&object, place));
            let value = found.as_deref().unwrap_or(absent);
            (value == requirement.value) == requirement.equal
        })
    }
}

/// Where a field of this name stands in an object, if it can be selected by.
type Inside<'a> = dyn Fn(&str) -> Option<Vec<Vec<String>>> + 'a;

/// The text of a scalar that is not empty.
fn scalar(object: &serde_json::Value, place: &[String]) -> Option<String> {
    let mut at = object;
    for name in place {
        at = at.get(name)?;
    }
    match at {
        serde_json::Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl FromStr for FieldSelector {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::read(text, &|_| None, &["metadata.name", "metadata.namespace"])
    }
}

fn parse_field(
    text: &str,
    inside: &Inside<'_>,
    known: &[&str],
) -> Result<FieldRequirement, StateError> {
    let hint = || format!("{} can be selected by, with = and !=", known.join(", "));
    let (key, value, equal) = if let Some((key, value)) = text.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = text.split_once('=') {
        (key, value.strip_prefix('=').unwrap_or(value), true)
    } else {
        return Err(StateError::invalid(format!("{text:?} is no field requirement"), hint()));
    };
    let field = match key.trim() {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        other => match inside(other) {
            Some(places) => Field::Inside(places, fields::absent(other)),
            None => {
                let message = format!("field {other:?} is not supported");
                return Err(StateError::invalid(message, hint()));
            }
        },
    };
    Ok(FieldRequirement { field, equal, value: value.trim().to_owned() })
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
        assert!(!fields.looks_inside());
        "status.phase=Running".parse::<FieldSelector>().unwrap_err();
        "metadata.name".parse::<FieldSelector>().unwrap_err();
    }

    #[test]
    fn fields_that_a_type_offers() {
        let of = |text| FieldSelector::of_type(text, "", "pods", &[]);
        let body = r#"{"spec":{"nodeName":"n1"},"status":{"phase":"Running"}}"#;
        assert!(of("spec.nodeName=n1,status.phase!=Failed").unwrap().matches_inside(body));
        assert!(!of("spec.nodeName=n2").unwrap().matches_inside(body));
        assert!(of("spec.hostNetwork=false,status.podIP=").unwrap().matches_inside(body));
        assert!(of("status.phase=Running").unwrap().looks_inside());
        of("status.phse!=Running").unwrap_err();
        let more = [".spec.color".to_owned()];
        let custom = FieldSelector::of_type("spec.color=red", "x.io", "widgets", &more).unwrap();
        assert!(custom.matches_inside(r#"{"spec":{"color":"red"}}"#));
        assert!(!custom.matches_inside("{}"));
        let event = FieldSelector::of_type("involvedObject.name=a", "events.k8s.io", "events", &[]);
        assert!(event.unwrap().matches_inside(r#"{"regarding":{"name":"a"}}"#));
    }
}
