//! The point a question is asked about, and the one grammar in which people write it.
//!
//! | written | means |
//! |---|---|
//! | `2026-11-23T03:12:09Z`, `… +02:00`, a space instead of `T` | that instant |
//! | `2026-11-23`, `2026-11-23T03:12` | that instant in the given time zone; refused without one |
//! | `2h`, `90m`, `1h30m`, `2h ago`, `3 days ago` | so long before now |
//! | `@1763867529` | Unix time in s, ms, µs or ns, told apart by the number of digits |
//! | `@1763867529.25` | Unix time in s, with up to nine digits of a fraction |
//! | `#812345` | the state as it was known after that record: exact and citable |
//! | `rv:4711` | everything up to that resource version |
//! | `now` | the newest record |

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::Time;

/// The point a question is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Point {
    /// The newest record.
    Now,
    /// The state at this time, by the records' effective times and with all that is known by now.
    Observed(Time),
    /// The state as it was known after this record.
    Index(u64),
    /// The state at this resource version: what the server would list with
    /// `resourceVersionMatch=Exact`.
    ResourceVersion(String),
}

/// Why a text names no point of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PointError {
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl PointError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

const GRAMMAR: &str = "write for example 2026-11-23T03:12:09Z, \"2h ago\", 90m, @1763867529, \
                       #812345, rv:4711 or now";

impl Point {
    /// Reads a point. `now` is the time that `2h ago` counts from; `tz` is used for texts that
    /// name no zone.
    ///
    /// # Errors
    /// A [`PointError`] with a hint for the person who wrote it.
    pub fn parse(text: &str, now: Time, tz: Option<&TimeZone>) -> Result<Self, PointError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(PointError::new("the time is empty", GRAMMAR));
        }
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self::Now);
        }
        if let Some(index) = text.strip_prefix('#') {
            return index.parse().map(Self::Index).map_err(|_| {
                PointError::new(
                    format!("#{index} is no ledger index"),
                    "write # and a whole number, for example #812345",
                )
            });
        }
        if let Some(rv) = text.strip_prefix("rv:") {
            if crate::rv::is_ordered(rv) {
                return Ok(Self::ResourceVersion(rv.to_owned()));
            }
            return Err(PointError::new(
                format!("rv:{rv} is no resource version that has an order"),
                "write rv: and the number, for example rv:4711",
            ));
        }
        if let Some(digits) = text.strip_prefix('@') {
            return parse_epoch(digits).map(Self::Observed);
        }
        parse_time(text, now, tz).map(Self::Observed)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Observed(time) => time.fmt(f),
            Self::Index(index) => write!(f, "#{index}"),
            Self::ResourceVersion(rv) => write!(f, "rv:{rv}"),
        }
    }
}

fn parse_epoch(digits: &str) -> Result<Time, PointError> {
    let bad = || {
        PointError::new(
            format!("@{digits} is no Unix time"),
            "write @ and seconds, milliseconds, microseconds or nanoseconds since 1970",
        )
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some((seconds, fraction)) = digits.split_once('.') {
        if !is_number(seconds) || !is_number(fraction) || fraction.len() > 9 {
            return Err(bad());
        }
        let seconds: i64 = seconds.parse().map_err(|_| bad())?;
        let ns: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
        let whole = seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(ns));
        return whole.map(Time).ok_or_else(bad);
    }
    if !is_number(digits) {
        return Err(bad());
    }
    let number: i64 = digits.parse().map_err(|_| bad())?;
    let unit = match digits.len() {
        ..=11 => 1_000_000_000,
        12..=14 => 1_000_000,
        15..=17 => 1_000,
        _ => 1,
    };
    number.checked_mul(unit).map(Time).ok_or_else(bad)
}

fn parse_time(text: &str, now: Time, tz: Option<&TimeZone>) -> Result<Time, PointError> {
    // A zone or a date must be tried before a span: "2026-11-23" is no span, but be sure of it.
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.as_bytes().get(4) == Some(&b'-') {
        return parse_date(text, tz);
    }
    if text.starts_with(['-', '+']) {
        return Err(PointError::new(
            format!("{text:?} has a sign"),
            "durations are always in the past: write 2h or \"2h ago\"",
        ));
    }
    let Ok(span) = text.parse::<Span>() else {
        return Err(PointError::new(format!("{text:?} names no point of time"), GRAMMAR));
    };
    let past = if span.is_negative() { span } else { span.negate() };
    let start = timestamp(now)?.to_zoned_datetime(tz.cloned().unwrap_or(TimeZone::UTC));
    let then = start
        .checked_add(past)
        .map_err(|e| PointError::new(format!("{text:?} is too far back: {e}"), ""))?;
    to_time(then.timestamp(), text)
}

fn parse_date(text: &str, tz: Option<&TimeZone>) -> Result<Time, PointError> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return to_time(instant, text);
    }
    let local: civil::DateTime = text.parse().map_err(|e: jiff::Error| {
        PointError::new(format!("{text:?} is no date or time: {e}"), GRAMMAR)
    })?;
    let Some(tz) = tz else {
        return Err(PointError::new(
            format!("{text:?} names no time zone"),
            "add Z for UTC (2026-11-23T03:12Z), an offset (+01:00), or choose a zone with --tz",
        ));
    };
    // A local time that happens twice or never is not guessed.
    let instant = tz.to_ambiguous_timestamp(local).unambiguous().map_err(|e| {
        PointError::new(
            format!("{text:?} happens twice or never in that time zone: {e}"),
            "write the offset, for example +01:00",
        )
    })?;
    to_time(instant, text)
}

fn timestamp(time: Time) -> Result<Timestamp, PointError> {
    Timestamp::from_nanosecond(i128::from(time.0))
        .map_err(|e| PointError::new(format!("the time is out of range: {e}"), ""))
}

fn to_time(instant: Timestamp, text: &str) -> Result<Time, PointError> {
    i64::try_from(instant.as_nanosecond())
        .map(Time)
        .map_err(|_| PointError::new(format!("{text:?} is outside of the years 1678 to 2262"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_795_460_400_000_000_000); // 2026-11-23T19:00:00Z

    fn at(text: &str) -> Point {
        Point::parse(text, NOW, None).unwrap()
    }

    fn instant(text: &str) -> Point {
        Point::Observed(Time::parse(text).unwrap())
    }

    #[test]
    fn instants() {
        assert_eq!(at("2026-11-23T03:12:09Z"), instant("2026-11-23T03:12:09Z"));
        assert_eq!(at(" 2026-11-23 03:12:09.5Z "), instant("2026-11-23T03:12:09.5Z"));
        assert_eq!(at("2026-11-23T03:12+02:00"), instant("2026-11-23T01:12:00Z"));
        assert_eq!(at("@1763867529"), instant("2025-11-23T03:12:09Z"));
        assert_eq!(at("@1763867529.25"), instant("2025-11-23T03:12:09.25Z"));
        assert_eq!(at("@1763867529.123456789"), instant("2025-11-23T03:12:09.123456789Z"));
        assert_eq!(at("@1763867529123"), instant("2025-11-23T03:12:09.123Z"));
        assert_eq!(at("@1763867529123456"), instant("2025-11-23T03:12:09.123456Z"));
        assert_eq!(at("@1763867529123456789"), instant("2025-11-23T03:12:09.123456789Z"));
    }

    #[test]
    fn durations_are_always_in_the_past() {
        for text in ["2h", "2h ago", "120m", "2 hours ago", "1h60m", "1 hour, 60 mins ago"] {
            assert_eq!(at(text), instant("2026-11-23T17:00:00Z"), "{text}");
        }
        assert_eq!(at("90m"), instant("2026-11-23T17:30:00Z"));
        assert_eq!(at("3 days ago"), instant("2026-11-20T19:00:00Z"));
        assert_eq!(at("20s"), instant("2026-11-23T18:59:40Z"));
    }

    #[test]
    fn exact_points() {
        assert_eq!(at("#812345"), Point::Index(812_345));
        assert_eq!(at("rv:4711"), Point::ResourceVersion("4711".to_owned()));
        assert_eq!(at("NOW"), Point::Now);
    }

    #[test]
    fn a_time_without_zone_needs_one() {
        for text in ["2026-11-23", "2026-11-23T03:12", "2026-11-23 03:12:09"] {
            let error = Point::parse(text, NOW, None).unwrap_err();
            assert!(error.hint.contains('Z'), "{text}: {error:?}");
            assert_eq!(
                Point::parse(text, NOW, Some(&TimeZone::UTC)).unwrap(),
                instant(&match text.len() {
                    10 => format!("{text}T00:00:00Z"),
                    16 => format!("{text}:00Z"),
                    _ => format!("{}Z", text.replace(' ', "T")),
                })
            );
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for text in [
            "",
            "yesterday",
            "#",
            "#x",
            "#-1",
            "rv:",
            "rv:007",
            "@",
            "@12x",
            "@1.",
            "@.5",
            "@1.2.3",
            "@1.0123456789",
            "+2h",
            "-2h",
        ] {
            let error = Point::parse(text, NOW, None).unwrap_err();
            assert!(!error.hint.is_empty(), "{text}");
        }
        Point::parse("2026-13-45T00:00:00Z", NOW, None).unwrap_err();
        Point::parse("2026-11-23T03:12:09Zjunk", NOW, None).unwrap_err();
    }
}
