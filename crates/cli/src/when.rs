//! Times as people read them: RFC 3339 with milliseconds, and ages as kubectl prints them.
//!
//! Not here: reading times (`stele_state::point`).

use jiff::Timestamp;
pub(crate) use stele_server::columns::duration;

/// `2026-11-23T03:12:09.000Z`, from nanoseconds since the Unix epoch.
pub(crate) fn rfc3339(ns: i64) -> String {
    format!("{:.3}", timestamp(ns))
}

fn timestamp(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns))
        .expect("invariant: every i64 of nanoseconds is in jiff's range")
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
    fn times_go_there_and_back() {
        let ns = 1_795_403_529_123_456_789;
        assert_eq!(rfc3339(ns), "2026-11-23T03:12:09.123Z");
        assert_eq!(relative(ns, ns + 7_200_000_000_000), "120m ago");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1204), "1 204");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
