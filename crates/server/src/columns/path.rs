//! The JSON paths of printer columns: members, places of arrays, all of them, and filters.
//!
//! Kubernetes admits `.spec.a`, `['a']`, `[0]`, `[*]` and `[?(@.a=="b")]` in the definition of a
//! column. A path in another form finds nothing, as it does there.

use serde_json::Value;

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Place(i64),
    All,
    /// Items in which what is found at the path compares so with the text.
    Filter {
        path: Path,
        compare: Compare,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Compare {
    Exists,
    Equal(String),
    Other(String),
}

impl Path {
    /// Reads a path; `None` if it has another form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.trim_start_matches('$');
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if rest.starts_with('[') { bracket(rest)? } else { member(rest)? };
            steps.extend(step);
            rest = after;
        }
        Some(Self(steps))
    }

    /// All values it leads to, in their order.
    pub(super) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.from(value)).collect();
        }
        found
    }

    /// The names of members that it begins with.
    pub(super) fn members(&self) -> Vec<&str> {
        let names = self.0.iter().map_while(|step| match step {
            Step::Member(name) => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }
}

impl Step {
    fn from<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Place(place) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if *place < 0 { len + place } else { *place };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::All => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(members) => members.values().collect(),
                _ => Vec::new(),
            },
            Self::Filter { path, compare } => {
                let items = value.as_array().into_iter().flatten();
                items.filter(|item| compare.holds(path.find(item).first().copied())).collect()
            }
        }
    }
}

impl Compare {
    fn holds(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::Exists, found) => found.is_some(),
            (_, None) => false,
            (Self::Equal(text), Some(found)) => super::scalar(found) == *text,
            (Self::Other(text), Some(found)) => super::scalar(found) != *text,
        }
    }
}

/// A member, with or without a dot before it; a backslash takes the meaning from a dot.
fn member(text: &str) -> Option<(Option<Step>, &str)> {
    let text = text.strip_prefix('.').unwrap_or(text);
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' if at == 0 => return None,
            '.' | '[' => return Some((step_of(name), &text[at..])),
            c => name.push(c),
        }
    }
    Some((step_of(name), ""))
}

fn step_of(name: String) -> Option<Step> {
    match name.as_str() {
        "" => None,
        "*" => Some(Step::All),
        _ => Some(Step::Member(name)),
    }
}

fn bracket(text: &str) -> Option<(Option<Step>, &str)> {
    let inner = text.strip_prefix('[')?;
    if let Some(filter) = inner.strip_prefix("?(") {
        let (filter, after) = filter.split_once(")]")?;
        return Some((Some(parse_filter(filter)?), after));
    }
    for quote in ['\'', '"'] {
        if let Some(name) = inner.strip_prefix(quote) {
            let (name, after) = name.split_once(quote)?;
            return Some((Some(Step::Member(name.to_owned())), after.strip_prefix(']')?));
        }
    }
    let (place, after) = inner.split_once(']')?;
    let step = match place.trim() {
        "*" => Step::All,
        number => Step::Place(number.parse().ok()?),
    };
    Some((Some(step), after))
}

fn parse_filter(text: &str) -> Option<Step> {
    let text = text.trim();
    let path = |text: &str| Path::parse(text.trim().strip_prefix('@')?);
    for (sign, equal) in [("==", true), ("!=", false)] {
        if let Some((left, right)) = text.split_once(sign) {
            let right = right.trim().trim_matches(['"', '\'']).to_owned();
            let compare = if equal { Compare::Equal(right) } else { Compare::Other(right) };
            return Some(Step::Filter { path: path(left)?, compare });
        }
    }
    Some(Step::Filter { path: path(text)?, compare: Compare::Exists })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_they_find_in_kubernetes() {
        let value = json!({
            "spec": {"a": 1, "b.c": "x", "list": [10, 20, 30]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"},
            ]},
            "metadata": {"labels": {"app.kubernetes.io/name": "n"}},
        });
        for (path, wanted) in [
            (".spec.a", json!([1])),
            ("{.spec.a}", json!([1])),
            (r".spec.b\.c", json!(["x"])),
            (".spec['b.c']", json!(["x"])),
            (".spec.list[1]", json!([20])),
            (".spec.list[-1]", json!([30])),
            (".spec.list[*]", json!([10, 20, 30])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type!='Ready')].status", json!(["False"])),
            (r".metadata.labels.app\.kubernetes\.io/name", json!(["n"])),
            (".spec.none", json!([])),
        ] {
            let found = Path::parse(path).unwrap();
            assert_eq!(json!(found.find(&value)), wanted, "{path}");
        }
        for odd in ["..a", ".a[", ".a[x]", ".a[?(b)]", r".a\"] {
            assert_eq!(Path::parse(odd), None, "{odd}");
        }
        assert_eq!(Path::parse(".a.b[0].c").unwrap().members(), ["a", "b"]);
    }
}
