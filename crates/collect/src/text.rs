//! Errors of a JSON parser in words that repeat nothing of the document: it may hold secrets.

/// What is wrong and where, with quoted parts of the document left out.
pub(crate) fn describe(error: &serde_json::Error) -> String {
    let full = error.to_string();
    let mut out = String::with_capacity(full.len());
    // `invalid type: string "the value", expected ...`: the value may hold quotes itself, so that
    // everything from the first to the last goes.
    match (full.find('"'), full.rfind('"')) {
        (Some(first), Some(last)) if last > first => {
            out.push_str(&full[..first]);
            out.push('…');
            out.push_str(&full[last + 1..]);
        }
        _ => out.push_str(&full),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_appear() {
        let error = serde_json::from_str::<u8>(r#""pass\"word""#).unwrap_err();
        let text = describe(&error);
        assert!(!text.contains("pass") && text.contains("expected u8"), "{text}");
        let error = serde_json::from_str::<Vec<u8>>("[1,").unwrap_err();
        assert!(describe(&error).contains("EOF"));
    }
}
