//! Names of objects: one grammar that every backend can hold unchanged.

use std::fmt;
use std::str::FromStr;

use crate::StoreError;

/// Longest object name in bytes.
pub const OBJECT_NAME_BYTES_MAX: usize = 200;

/// A path of segments separated by `/`. Letters are lower case ASCII; digits, `-` and `.` are
/// allowed; no segment is empty or starts with a dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`] naming the rule that it breaks.
    pub fn parse(name: impl Into<String>) -> Result<Self, StoreError> {
        let name = name.into();
        match fault(&name) {
            None => Ok(Self(name)),
            Some(why) => Err(StoreError::InvalidName { name, why }),
        }
    }

    /// `directory/NUMBER` with the number in 20 digits, so that names sort as numbers do.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`] if `directory` is not part of a name.
    pub fn numbered(directory: &str, number: u64) -> Result<Self, StoreError> {
        Self::parse(format!("{directory}/{number:020}"))
    }

    /// The number of a name made by [`ObjectName::numbered`] with this directory.
    pub fn number_in(&self, directory: &str) -> Option<u64> {
        let digits = self.0.strip_prefix(directory)?.strip_prefix('/')?;
        if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > OBJECT_NAME_BYTES_MAX {
        return Some("its length is not between 1 and 200 bytes");
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-./".contains(&b);
    if !name.bytes().all(allowed) {
        return Some("only a-z, 0-9, '-', '.' and '/' are allowed");
    }
    if name.split('/').any(|segment| segment.is_empty() || segment.starts_with('.')) {
        return Some("a segment is empty or starts with a dot");
    }
    None
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for ObjectName {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for good in ["a", "segments/00000000000000000001", "a.b/c-d"] {
            assert_eq!(ObjectName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(201);
        for bad in ["", "/a", "a/", "a//b", "../a", "a/..", "a/.b", "A", "a b", "ä", &long] {
            ObjectName::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn numbers_sort_and_come_back() {
        let low = ObjectName::numbered("packs", 9).unwrap();
        let high = ObjectName::numbered("packs", u64::MAX).unwrap();
        assert!(low < high);
        assert_eq!(high.number_in("packs"), Some(u64::MAX));
        assert_eq!(high.number_in("segments"), None);
        assert_eq!(ObjectName::parse("packs/7").unwrap().number_in("packs"), None);
    }
}
