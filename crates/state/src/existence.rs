//! Which objects may have existed at a time, found without reading those that did not.
//!
//! What exists now is in one table. What has ended is in another, by the length of its existence in
//! powers of two: at a time T only those can have existed that are of class c and began within
//! (T − 2^c, T], so that about half of what is read is wanted, however much ended before or began
//! after. It is there twice, by namespace and for all of them: to look class by class into each of
//! many namespaces takes longer than to read what is in them.
//!
//! An object's stretch is never shorter than the truth: it begins with the smallest effective time of
//! a version, and ends with the time of its end or the newest time of the cluster when that was
//! recorded, whichever is later. So it also holds every time at which it was still thought to exist.

use std::ops::Bound;

use crate::StateError;
use crate::fold::Fold;
use crate::life::LifeRow;
use crate::tables::Tables;

/// An end that has not come.
pub(crate) const OPEN: i64 = i64::MAX;

/// Smallest c with end − begin < 2^c.
fn class(begin: i64, end: i64) -> u8 {
    let length = end.saturating_sub(begin).max(0).cast_unsigned();
    // At most 63.
    (u64::BITS - length.leading_zeros()) as u8
}

/// First begin of a stretch of a class that can hold `time`.
fn earliest(time: i64, class: u8) -> i64 {
    // The longest class has no upper limit.
    if class >= 63 { i64::MIN } else { time.saturating_sub((1 << class) - 1) }
}

impl Fold<'_> {
    /// Notes when an object existed; `newest` is the newest effective time of its cluster.
    pub(crate) fn keep_existence(
        &mut self,
        object: u64,
        life: &mut LifeRow,
        newest: i64,
    ) -> Result<(), StateError> {
        let end = match (life.ended(), life.existence) {
            (None, _) => OPEN,
            // Of what had ended before, more became known.
            (Some((time, _)), Some((_, end))) if end != OPEN => time.max(end),
            (Some((time, _)), _) => time.max(newest),
        };
        let wanted = Some((life.begin.time, end));
        if life.existence == wanted {
            return Ok(());
        }
        let (type_id, namespace) = (life.type_id, life.namespace.as_str());
        match life.existence {
            Some((_, OPEN)) if end != OPEN => self.w.alive.remove((type_id, namespace, object)),
            Some((begin, end)) if end != OPEN => {
                let class = class(begin, end);
                self.w.existed.remove((type_id, namespace, class, begin, object));
                self.w.existed_anywhere.remove((type_id, class, begin, object));
            }
            _ => {}
        }
        if end == OPEN {
            self.w.alive.insert((type_id, namespace, object), life.begin.time);
        } else {
            let (begin, class) = (life.begin.time, class(life.begin.time, end));
            self.w.existed.insert((type_id, namespace, class, begin, object), end);
            self.w.existed_anywhere.insert((type_id, class, begin, object), end);
            let bits = self.w.classes.get((type_id, namespace))?.map_or(0, |bits| bits.value());
            if bits & (1 << class) == 0 {
                self.w.classes.insert((type_id, namespace), bits | 1 << class);
            }
            let bits = self.w.classes_anywhere.get(type_id)?.map_or(0, |bits| bits.value());
            if bits & (1 << class) == 0 {
                self.w.classes_anywhere.insert(type_id, bits | 1 << class);
            }
        }
        life.existence = wanted;
        Ok(())
    }
}

impl Tables {
    /// Objects of a type, of one namespace or all, that may have existed at a time; among them all
    /// that did.
    pub(crate) fn may_have_existed(
        &self,
        type_id: u32,
        namespace: Option<&str>,
        time: i64,
    ) -> Result<Vec<u64>, StateError> {
        let mut objects = Vec::new();
        let alive = match namespace {
            Some(namespace) => (
                Bound::Included((type_id, namespace, 0)),
                Bound::Included((type_id, namespace, u64::MAX)),
            ),
            None => (Bound::Included((type_id, "", 0)), Bound::Excluded((type_id + 1, "", 0))),
        };
        for row in self.alive.range(alive) {
            let (key, begin) = row?;
            objects.extend((begin.value() <= time).then_some(key.value().2));
        }
        let bits = match namespace {
            Some(namespace) => self.classes.get((type_id, namespace))?,
            None => self.classes_anywhere.get(type_id)?,
        };
        let bits = bits.map_or(0, |bits| bits.value());
        for class in (0..64).filter(|class| bits & (1 << class) != 0) {
            let begin = earliest(time, class);
            if let Some(namespace) = namespace {
                let key = |begin, object| (type_id, namespace, class, begin, object);
                for row in self.existed.range(key(begin, 0)..=key(time, u64::MAX)) {
                    let (key, end) = row?;
                    objects.extend((end.value() >= time).then_some(key.value().4));
                }
            } else {
                let key = |begin, object| (type_id, class, begin, object);
                for row in self.existed_anywhere.range(key(begin, 0)..=key(time, u64::MAX)) {
                    let (key, end) = row?;
                    objects.extend((end.value() >= time).then_some(key.value().3));
                }
            }
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stretch_that_holds_a_time_is_passed_over() {
        let edges = [i64::MIN, -1_000, -1, 0, 1, 2, 3, 7, 8, 9, 1_000, 1 << 40, i64::MAX - 1];
        for begin in edges {
            for end in edges.into_iter().filter(|end| *end >= begin) {
                for time in edges.into_iter().filter(|time| (begin..=end).contains(time)) {
                    let class = class(begin, end);
                    assert!(class < 64, "{begin} {end}");
                    assert!(earliest(time, class) <= begin, "{begin} {time} {end} {class}");
                }
            }
        }
    }
}
