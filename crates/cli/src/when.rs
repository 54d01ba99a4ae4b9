//! Times as people read them: RFC 3339 with milliseconds, and ages as kubectl prints them.
//!
//! Not here: reading times (`stele_state::point`).

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// `2026-11-23T03:12:09.000Z`, from nanoseconds since the Unix epoch.
pub(crate) fn rfc3339(ns: i64) -> String {
    format!("{:.3}", timestamp(ns))
}

fn timestamp(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns))
        .expect("invariant: every i64 of nanoseconds is in jiff's range")
}

/// Nanoseconds since the Unix epoch of an RFC 3339 time, as Kubernetes writes them.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// How long before `now_ns` something was: `2h ago`, `now`, or `in 5m`.
pub(crate) fn relative(then_ns: i64, now_ns: i64) -> String {
    let seconds = now_ns.saturating_sub(then_ns) / 1_000_000_000;
    match seconds {
        0 => String::from("now"),
        1.. => format!("{} ago", duration(seconds)),
        _ => format!("in {}", duration(-seconds)),
    }
}

/// The age of something created at `then_ns`, seen at `now_ns`.
pub(crate) fn age(then_ns: i64, now_ns: i64) -> String {
    duration(now_ns.saturating_sub(then_ns).div_euclid(1_000_000_000))
}

/// A duration with the precision that kubectl gives it: two units where the second one matters.
pub(crate) fn duration(seconds: i64) -> String {
    let two = |big: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => String::from("<invalid>"),
        -1..0 => String::from("0s"),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, 'm', s % MINUTE, 's'),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, 'h', s % HOUR / MINUTE, 'm'),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, 'd', s % DAY / HOUR, 'h'),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, 'y', s % YEAR / DAY, 'd'),
        s => format!("{}y", s / YEAR),
    }
}

/// A number with its thousands apart, as in `1 204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_kubectls_precision() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (10 * MINUTE + 5, "10m"),
            (179 * MINUTE, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (30 * HOUR, "30h"),
            (2 * DAY + 3 * HOUR, "2d3h"),
            (9 * DAY, "9d"),
            (3 * YEAR + 4 * DAY, "3y4d"),
            (9 * YEAR, "9y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn times_go_there_and_back() {
        let ns = 1_795_403_529_123_456_789;
        assert_eq!(rfc3339(ns), "2026-11-23T03:12:09.123Z");
        assert_eq!(parse_rfc3339("2026-11-23T03:12:09.123456789Z"), Some(ns));
        assert_eq!(relative(ns, ns + 7_200_000_000_000), "120m ago");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1204), "1 204");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
