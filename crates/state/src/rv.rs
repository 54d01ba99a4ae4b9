//! Order of resource versions (KEP-5504): decimal numbers of any length, compared by length and
//! then by bytes. Anything else (extension API servers) has no order but that of the log.

use std::cmp::Ordering;

/// Whether `rv` is a number in the form that Kubernetes orders: no sign, no leading zero, not 0.
pub fn is_ordered(rv: &str) -> bool {
    !rv.is_empty() && !rv.starts_with('0') && rv.bytes().all(|b| b.is_ascii_digit())
}

/// Compares two resource versions of one resource; `None` if one of them has no order.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    (is_ordered(a) && is_ordered(b)).then(|| (a.len(), a).cmp(&(b.len(), b)))
}

/// What a version row says about its object. The number is its rank among rows of one resource
/// version: an end that is known only as "not later than rv" comes after what happened at rv.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    Body = 0,
    Deleted = 1,
    Gone = 2,
}

/// Bytes that sort versions of one object: by resource version where it has an order, otherwise
/// by `number`, the position of the version in the log.
pub(crate) fn order_key(rv: &str, number: u32, rank: Rank) -> Vec<u8> {
    let mut key = Vec::with_capacity(rv.len() + 6);
    if is_ordered(rv) {
        key.push(1);
        let len = u16::try_from(rv.len()).unwrap_or(u16::MAX);
        key.extend_from_slice(&len.to_be_bytes());
        key.extend_from_slice(&rv.as_bytes()[..usize::from(len)]);
        key.push(rank as u8);
    } else {
        key.push(0);
        key.extend_from_slice(&number.to_be_bytes());
        key.push(rank as u8);
    }
    key
}

/// The order key of a resource version that is a number.
pub(crate) fn numbered_key(number: i64, rank: u8) -> Vec<u8> {
    let mut key = order_key(&number.to_string(), 0, Rank::Body);
    if let Some(last) = key.last_mut() {
        *last = rank;
    }
    key
}

/// The resource version in an order key that has one.
pub(crate) fn of_order_key(key: &[u8]) -> Option<String> {
    let [1, _, _, rv @ .., _] = key else { return None };
    String::from_utf8(rv.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o1_resource_versions_are_numbers_of_any_length() {
        let long = "123456789012345678901234567890";
        assert_eq!(compare("9", "10"), Some(Ordering::Less));
        assert_eq!(compare(long, "99"), Some(Ordering::Greater));
        assert_eq!(compare(long, long), Some(Ordering::Equal));
        for odd in ["", "0", "007", "-1", "+1", "1a", "1.5", "abc"] {
            assert_eq!(compare(odd, "5"), None, "{odd}");
        }
        assert_eq!(of_order_key(&order_key("4711", 7, Rank::Gone)).as_deref(), Some("4711"));
        assert_eq!(of_order_key(&order_key("x", 7, Rank::Gone)), None);
        assert!(order_key("9", 7, Rank::Gone) < order_key("10", 1, Rank::Body));
        assert!(order_key("10", 1, Rank::Deleted) < order_key("10", 1, Rank::Gone));
        assert!(order_key("x", 1, Rank::Body) < order_key("a", 2, Rank::Body));
    }
}
