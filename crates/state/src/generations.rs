//! A cache of what was used lately, of bounded weight.
//!
//! Not here: what must not be forgotten. What was not used while others of the limit's
//! weight were put is forgotten; it never holds more than twice the limit, and one thing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
pub(crate) struct Generations<K, V, const LIMIT: usize> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    /// Of what is in `young`.
    weight: usize,
}

impl<K, V, const LIMIT: usize> Default for Generations<K, V, LIMIT> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight: 0 }
    }
}

impl<K: Eq + Hash, V, const LIMIT: usize> Generations<K, V, LIMIT> {
    /// What is kept under a key; it counts as used.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        if let Some((key, (value, weight))) = self.old.remove_entry(key) {
            self.put(key, value, weight);
        }
        self.young.get(key).map(|(value, _)| value)
    }

    /// Takes out what is kept under a key.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.old.remove(key) {
            return Some(value);
        }
        let (value, weight) = self.young.remove(key)?;
        self.weight -= weight;
        Some(value)
    }

    /// Keeps something, instead of what was under the key.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        if self.weight >= LIMIT {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.old.remove(&key);
        self.weight += weight;
        if let Some((_, before)) = self.young.insert(key, (value, weight)) {
            self.weight -= before;
        }
    }

    /// How many things there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// What is kept under a key for several threads, or is read now, with its weight. Nobody waits for a
/// read: two threads may read the same.
pub(crate) fn get_or<K: Eq + Hash, V, const LIMIT: usize, E>(
    kept: &Mutex<Generations<K, Arc<V>, LIMIT>>,
    key: K,
    read: impl FnOnce() -> Result<(V, usize), E>,
) -> Result<Arc<V>, E> {
    let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = lock().get(&key) {
        return Ok(Arc::clone(value));
    }
    let (value, weight) = read()?;
    let value = Arc::new(value);
    lock().put(key, Arc::clone(&value), weight);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_is_forgotten() {
        let mut kept: Generations<u32, u32, 10> = Generations::default();
        for number in 0..1_000 {
            kept.put(number, number + 1, 1);
            assert_eq!(kept.get(&0), Some(&1), "after {number}");
            assert!(kept.len() <= 21, "{} after {number}", kept.len());
        }
        assert_eq!(kept.get(&999), Some(&1_000));
        assert_eq!(kept.get(&900), None);
    }

    #[test]
    fn the_last_thing_under_a_key_is_the_one_that_counts() {
        let mut kept: Generations<u32, &str, 2> = Generations::default();
        kept.put(1, "early", 1);
        kept.put(2, "two", 1);
        kept.put(1, "late", 2);
        assert_eq!(kept.get(&1), Some(&"late"));
        assert_eq!(kept.take(&1), Some("late"));
        assert_eq!(kept.take(&1), None);
        assert_eq!(kept.get(&2), Some(&"two"));
    }
}
