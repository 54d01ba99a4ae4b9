//! Points of time as answers show them: nanoseconds since the Unix epoch, written as RFC 3339.
//!
//! Not here: a clock. The fold takes every time from the records.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time, in nanoseconds since the Unix epoch. Serialised as RFC 3339 in UTC with as many digits
/// after the second as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// The time so many nanoseconds later, saturating at the ends of the range.
    #[must_use]
    pub const fn plus(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Reads RFC 3339 with a zone, for example `2026-11-23T03:12:09.5Z`.
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let timestamp: jiff::Timestamp = text.parse().map_err(|e: jiff::Error| e.to_string())?;
        i64::try_from(timestamp.as_nanosecond())
            .map(Self)
            .map_err(|_| format!("{text} is outside of the years 1678 to 2262"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Whose clock an effective time is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeBasis {
    /// The source's own clock at the moment it saw the bytes.
    Observed,
    /// The receive time that the origin of an imported recording claims.
    Claimed,
}

impl TimeBasis {
    pub(crate) fn from_code(code: u8) -> Self {
        if code == 1 { Self::Claimed } else { Self::Observed }
    }

    pub(crate) fn code(self) -> u8 {
        u8::from(self == Self::Claimed)
    }
}
