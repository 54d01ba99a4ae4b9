//! Recognises the form of the input by the names of the first document's members.

use super::Format;

/// Lines at the beginning that may be something else.
const LINES_TRIED: usize = 50;

/// The form, or `None` if no line of `prefix` looks like one that is known.
pub(super) fn detect(prefix: &[u8]) -> Option<Format> {
    let mut rest = prefix;
    for _ in 0..LINES_TRIED {
        if let Some(format) = classify(&members(rest)) {
            return Some(format);
        }
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        rest = &rest[end + 1..];
    }
    None
}

fn classify(members: &[Member]) -> Option<Format> {
    let has = |name: &str| members.iter().any(|member| member.name == name);
    let starts = |name: &str, value: &str| {
        members.iter().any(|member| member.name == name && member.value.starts_with(value))
    };
    if (has("res") && has("what")) || (has("rx") && has("e")) {
        Some(Format::Recording)
    } else if has("Header") || (has("header") && has("events")) {
        Some(Format::Etcd)
    } else if has("auditID") || starts("apiVersion", "\"audit.k8s.io/") {
        Some(Format::Audit)
    } else if starts("object", "{") {
        Some(Format::Watch)
    } else if has("apiVersion") || has("items") || (has("kind") && has("metadata")) {
        Some(Format::List)
    } else {
        None
    }
}

struct Member {
    name: String,
    /// The first bytes of the value.
    value: String,
}

/// The members of the object that `text` begins with, as far as they can be seen.
fn members(text: &[u8]) -> Vec<Member> {
    let mut found = Vec::new();
    let mut depth = 0usize;
    let mut at = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len());
    if text.get(at) != Some(&b'{') {
        return found;
    }
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            b'"' => {
                let end = string_end(text, at);
                let mut next = end;
                while text.get(next).is_some_and(u8::is_ascii_whitespace) {
                    next += 1;
                }
                if depth == 1 && text.get(next) == Some(&b':') {
                    let value = text[next + 1..].trim_ascii_start();
                    found.push(Member {
                        name: String::from_utf8_lossy(&text[at + 1..end - 1]).into_owned(),
                        value: String::from_utf8_lossy(&value[..value.len().min(32)]).into_owned(),
                    });
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The place after the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_forms_by_their_first_document() {
        for (text, format) in [
            (r#"{"t":1,"res":"v1/pods","what":"list","frame":{}}"#, Some(Format::Recording)),
            (r#"{"rx": 1.5, "e": {"type": "ADDED"#, Some(Format::Recording)),
            (r#"{"Header":{"revision":1},"Events":[]}"#, Some(Format::Etcd)),
            (r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"#, Some(Format::Audit)),
            ("{\n    \"type\": \"ADDED\",\n    \"object\": {\n", Some(Format::Watch)),
            (r#"{"apiVersion":"v1","items":[{"type":"x","object":{}"#, Some(Format::List)),
            ("{\n  \"kind\": \"Pod\",\n  \"metadata\": {}}", Some(Format::List)),
            ("garbage\n\n{\"auditID\":\"1\"}", Some(Format::Audit)),
            ("garbage", None),
            (r#"{"a":1}"#, None),
            (r#"{"a":""#, None),
            ("{\"\\", None),
            ("", None),
        ] {
            assert_eq!(detect(text.as_bytes()), format, "{text}");
        }
    }
}
