//! What an answer has to say beside itself: blind stretches and other reserves, in the header
//! `Warning`, which kubectl prints and client-go logs.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use stele_state::query::{AsOf, GapSeen};
use stele_state::{Time, TimeBasis};

/// ListPlace in the log of an answer.
const LEDGER_INDEX: HeaderName = HeaderName::from_static("stele-ledger-index");
/// Number of gaps that an answer touches.
const GAPS: HeaderName = HeaderName::from_static("stele-gaps");
/// Whose clock the time asked for is compared with.
const TIME_BASIS: HeaderName = HeaderName::from_static("stele-time-basis");

/// Most gaps that an answer names.
const GAPS_NAMED_MAX: usize = 5;

/// Longest text of a warning.
const TEXT_BYTES_MAX: usize = 512;

/// What an answer has to say beside itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Warnings {
    texts: Vec<String>,
    gaps: usize,
    index: Option<u64>,
    claimed: bool,
}

impl Warnings {
    /// About an answer that stands there and touches these gaps.
    pub(super) fn about(as_of: &AsOf, gaps: &[GapSeen]) -> Self {
        let missed: Vec<&GapSeen> = gaps.iter().filter(|gap| !gap.recovered).collect();
        let mut texts: Vec<String> =
            missed.iter().take(GAPS_NAMED_MAX).map(|gap| describe(gap)).collect();
        if missed.len() > GAPS_NAMED_MAX {
            texts.push(format!(
                "nobody looked in {} more stretches: see `stele coverage`",
                missed.len() - GAPS_NAMED_MAX
            ));
        }
        let claimed = as_of.time_basis == TimeBasis::Claimed;
        Self { texts, gaps: missed.len(), index: as_of.index, claimed }
    }

    /// Says one more thing.
    pub(super) fn add(&mut self, text: impl Into<String>) {
        self.texts.push(text.into());
    }

    /// Puts it into the headers of an answer.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for text in &self.texts {
            headers.extend(value(text).map(|value| (header::WARNING, value)));
        }
        headers.extend(self.index.map(|index| (LEDGER_INDEX, HeaderValue::from(index))));
        headers.insert(GAPS, HeaderValue::from(self.gaps));
        let basis = if self.claimed { "event" } else { "observed" };
        headers.insert(TIME_BASIS, HeaderValue::from_static(basis));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// A gap in words.
pub(super) fn describe(gap: &GapSeen) -> String {
    let what = match (&gap.resource, gap.group.as_deref()) {
        (Some(resource), Some(group)) if !group.is_empty() => format!("{resource}.{group}"),
        (Some(resource), _) => resource.clone(),
        (None, _) => "the cluster".to_owned(),
    };
    let time = |time: Option<Time>, none: &str| match time {
        Some(time) => time.to_string(),
        None => none.to_owned(),
    };
    let versions = match (&gap.from_rv, &gap.to_rv) {
        (Some(from), Some(to)) => format!(", versions {from} to {to}"),
        _ => String::new(),
    };
    let detail = if gap.detail.is_empty() { String::new() } else { format!(": {}", gap.detail) };
    let stretch = match (gap.from, gap.to) {
        (None, None) => "at any time".to_owned(),
        (from, to) => {
            let (from, to) = (time(from, "the beginning"), time(to, "now"));
            format!("from {from} to {to}")
        }
    };
    format!("nobody looked at {what} {stretch}{versions} ({}{detail})", gap.reason)
}

/// `299 - "text"`, in ASCII.
fn value(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
        if quoted.len() >= TEXT_BYTES_MAX {
            break;
        }
    }
    HeaderValue::from_str(&format!("299 - \"{quoted}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_one_quoted_line_of_ascii() {
        let shown = value("a \"b\"\\\n\u{fc}").unwrap();
        assert_eq!(shown.to_str().unwrap(), r#"299 - "a \"b\"\\??""#);
        let long = value(&"\"".repeat(10_000)).unwrap();
        assert!(long.len() < TEXT_BYTES_MAX + 16);
    }
}
