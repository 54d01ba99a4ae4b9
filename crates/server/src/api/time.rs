//! Times in JSON: RFC 3339 in UTC, with as many digits as the nanoseconds need.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{PartialSchema, ToSchema, openapi};

/// An instant, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub i64);

/// RFC 3339 in UTC.
pub fn format_time(unix_ns: i64) -> String {
    Instant(unix_ns).to_string()
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every i64 of nanoseconds is a date that jiff can show.
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH).fmt(f)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: Timestamp = text.parse().map_err(de::Error::custom)?;
        i64::try_from(time.as_nanosecond())
            .map(Self)
            .map_err(|_| de::Error::custom("a time after the year 2262"))
    }
}

impl PartialSchema for Instant {
    fn schema() -> openapi::RefOr<openapi::Schema> {
        openapi::ObjectBuilder::new()
            .schema_type(openapi::Type::String)
            .format(Some(openapi::SchemaFormat::KnownFormat(openapi::KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, up to nanoseconds"))
            .build()
            .into()
    }
}

impl ToSchema for Instant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_to_the_nanosecond() {
        for ns in [0, 1, -1, 1_763_867_529_000_000_001, i64::MAX, i64::MIN] {
            let text = serde_json::to_string(&Instant(ns)).unwrap();
            assert_eq!(serde_json::from_str::<Instant>(&text).unwrap(), Instant(ns), "{text}");
        }
    }
}
