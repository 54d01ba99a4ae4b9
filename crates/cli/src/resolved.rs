//! What a question was resolved to, said on standard error, so that a report can be repeated
//! exactly; and the gaps that the answer touches.

use stele_server::api::{Answer, GapSeen, LedgerPosition, TimeUsed};

use crate::app::App;
use crate::error::Exit;
use crate::when::{relative, rfc3339};

/// Gaps that are written out; the rest is counted.
const GAPS_SHOWN_MAX: usize = 5;

/// The part of an answer that every kind of answer has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolved<'a> {
    pub(crate) ledger: &'a LedgerPosition,
    pub(crate) time: Option<&'a TimeUsed>,
    pub(crate) gaps: &'a [GapSeen],
}

impl<'a, T> From<&'a Answer<T>> for Resolved<'a> {
    fn from(answer: &'a Answer<T>) -> Self {
        Self { ledger: &answer.ledger, time: answer.time.as_ref(), gaps: &answer.gaps }
    }
}

impl Resolved<'_> {
    /// Says when and where in the log the answer stands.
    pub(crate) fn note(&self, app: &App) {
        app.ui.note(&self.sentence(app.now_ns()));
    }

    fn sentence(&self, now: i64) -> String {
        let at = |ns: i64| format!("{} ({})", rfc3339(ns), relative(ns, now));
        let ledger = self.ledger;
        let index = ledger.index.map_or_else(|| String::from("none"), |index| index.to_string());
        let place = format!("ledger index {index}, checkpoint {}", ledger.checkpoint);
        let Some(time) = self.time else { return format!("As of {place}.") };
        let when = match (time.at, time.since, time.until) {
            (Some(point), ..) => match &time.resource_version {
                Some(version) => format!("As of rv:{version}, {}, ", at(point.0)),
                None => format!("As of {}, ", at(point.0)),
            },
            (None, Some(since), Some(until)) => {
                format!("From {} to {}, ", at(since.0), at(until.0))
            }
            (None, Some(since), None) => format!("From {}, ", at(since.0)),
            _ => String::from("As of "),
        };
        let basis = match time.basis.as_str() {
            "event" => ", by the time that the origin claims",
            "mixed" => ", by observed and claimed times",
            _ => "",
        };
        format!("{when}{place}{basis}.")
    }

    /// Warns of the gaps, and gives the exit code that they call for. At a point in time every gap
    /// around it counts; over a stretch one in which nothing was missed only makes times late.
    pub(crate) fn warn(&self, app: &App) -> Exit {
        for gap in self.gaps.iter().take(GAPS_SHOWN_MAX) {
            app.ui.warn(&describe(gap));
        }
        if self.gaps.len() > GAPS_SHOWN_MAX {
            let more = self.gaps.len() - GAPS_SHOWN_MAX;
            app.ui.warn(&format!("and {more} more gaps: see `stele coverage`"));
        }
        let point = self.time.is_some_and(|time| time.since.is_none());
        let counts = |gap: &GapSeen| point || !gap.recovered;
        if self.gaps.iter().any(counts) { Exit::Gap } else { Exit::Done }
    }
}

/// A gap in a line.
pub(crate) fn describe(gap: &GapSeen) -> String {
    let what = match (&gap.group, &gap.resource) {
        (Some(group), Some(resource)) if !group.is_empty() => format!(" for {resource}.{group}"),
        (_, Some(resource)) => format!(" for {resource}"),
        _ => String::new(),
    };
    let to = gap.to.map_or_else(|| String::from("now"), |to| rfc3339(to.0));
    let effect = if gap.recovered { "nothing was missed, times are late" } else { "blind" };
    let from = gap.from.map_or_else(|| String::from("the beginning"), |from| rfc3339(from.0));
    let source = match gap.index {
        Some(index) => format!("record {index}"),
        None => String::from("concluded"),
    };
    let detail = if gap.detail.is_empty() { String::new() } else { format!(": {}", gap.detail) };
    format!("gap{what} {from} - {to}: {effect} ({}{detail}), {source}", gap.reason)
}

#[cfg(test)]
mod tests {
    use stele_server::api::Instant;

    use super::*;

    const NOW: i64 = 1_795_403_529_000_000_000;

    #[test]
    fn the_sentence_names_time_and_place() {
        let ledger = LedgerPosition {
            origin: String::from("o"),
            index: Some(812_345),
            checkpoint: 812_400,
            root: String::new(),
        };
        let mut time = TimeUsed {
            basis: String::from("observed"),
            resource_version: None,
            at: Some(Instant(NOW)),
            since: None,
            until: None,
        };
        let sentence = |time: Option<&TimeUsed>| {
            Resolved { ledger: &ledger, time, gaps: &[] }.sentence(NOW + 10_800_000_000_000)
        };
        assert_eq!(
            sentence(Some(&time)),
            "As of 2026-11-23T03:12:09.000Z (3h ago), ledger index 812345, checkpoint 812400."
        );
        time = TimeUsed { at: None, basis: String::from("index"), ..time };
        assert_eq!(sentence(Some(&time)), "As of ledger index 812345, checkpoint 812400.");
        assert_eq!(sentence(None), "As of ledger index 812345, checkpoint 812400.");
    }
}
