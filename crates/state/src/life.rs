//! The row of one life of an object: one uid.
//!
//! It has the newest versions itself, so most of what is asked of an object is read with one row.
//! What follows from them is not stored as well. Not here: rows of older versions (`versions`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::bodies::Place;
use crate::existence::OPEN;
use crate::query::Verb;
use crate::query::shown::OwnerReference;
use crate::tables::{VersionRow, row, uid_key, uid_of_key, unrow};
use crate::{StateError, rv, versions};

/// One life of an object: one uid.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LifeRow {
    pub(crate) type_id: u32,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Number of versions.
    pub(crate) versions: u32,
    pub(crate) begin: Begin,
    /// An address of it has been seen.
    pub(crate) addressed: bool,
    /// There are rows of it in `facts`.
    pub(crate) has_facts: bool,
    /// Begin and end of its row in `existed`; an end of [`OPEN`] stands for one in `alive`.
    pub(crate) existence: Option<(i64, i64)>,
    pub(crate) controlled: Controlled,
    /// The newest ones in order of its versions.
    pub(crate) newest: Vec<VersionRow>,
}

/// Who controls an object by its versions, in whatever order they came: with this, a chain of owners is
/// followed without reading the body of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Controlled {
    /// No version has told yet, or it is something with addresses: of that the body is read anyway.
    #[default]
    Untold,
    /// Nobody, in all of them.
    Free,
    /// The same owner in all of them.
    By(OwnerReference),
    /// Not the same in all of them: the body of each version tells.
    Varies,
}

impl Controlled {
    /// Takes in what one more version tells.
    pub(crate) fn take(&mut self, controller: Option<OwnerReference>) {
        let told = controller.map_or(Self::Free, Self::By);
        if *self == Self::Untold {
            *self = told;
        } else if *self != told {
            *self = Self::Varies;
        }
    }
}

/// What came first, and the body that came last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) index: u64,
    /// Smallest effective time of a version.
    pub(crate) time: i64,
    /// Resource version of the first version in order.
    pub(crate) rv: String,
    pub(crate) last_body: Place,
}

#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    type_id: u32,
    namespace: &'a str,
    name: &'a str,
    /// The key of its uid.
    uid: &'a [u8],
    addressed: bool,
    has_facts: bool,
    /// Versions that it does not have itself.
    older: u32,
    /// Left out where the versions tell it.
    begin: Option<Begin>,
    /// Left out where the versions tell it.
    existence: Option<Option<(i64, i64)>>,
    controlled: Cow<'a, Controlled>,
    newest: &'a [u8],
}

impl LifeRow {
    /// The bytes of the row.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let begin = Some(&self.begin).filter(|begin| Begin::of(&self.newest) != **begin);
        let existence = (self.existence != self.told_existence()).then_some(self.existence);
        let newest = self.newest.len();
        row(&Packed {
            type_id: self.type_id,
            namespace: &self.namespace,
            name: &self.name,
            uid: &uid_key(&self.uid),
            addressed: self.addressed,
            has_facts: self.has_facts,
            older: self.versions.wrapping_sub(u32::try_from(newest).unwrap_or(u32::MAX)),
            begin: begin.cloned(),
            existence,
            controlled: Cow::Borrowed(&self.controlled),
            newest: &versions::pack(&self.newest),
        })
    }

    /// Reads the row.
    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self, StateError> {
        let packed: Packed<'_> = unrow(bytes)?;
        let newest = versions::unpack(packed.newest)?;
        let uid = uid_of_key(packed.uid);
        let mut life = Self {
            type_id: packed.type_id,
            namespace: packed.namespace.to_owned(),
            name: packed.name.to_owned(),
            uid: uid
                .ok_or_else(|| StateError::Damaged("no uid in the row of a life".to_owned()))?,
            versions: u32::try_from(newest.len()).unwrap_or(u32::MAX).wrapping_add(packed.older),
            begin: packed.begin.unwrap_or_else(|| Begin::of(&newest)),
            addressed: packed.addressed,
            has_facts: packed.has_facts,
            existence: None,
            controlled: packed.controlled.into_owned(),
            newest,
        };
        life.existence = packed.existence.unwrap_or_else(|| life.told_existence());
        Ok(life)
    }

    /// The newest version in order.
    pub(crate) fn last(&self) -> Option<&VersionRow> {
        self.newest.last()
    }

    /// Order key of the newest version; before all others if there is none.
    pub(crate) fn last_order(&self) -> Vec<u8> {
        self.last().map(VersionRow::order).unwrap_or_default()
    }

    /// Resource version of the newest version.
    pub(crate) fn last_rv(&self) -> &str {
        self.last().map_or("", |last| &last.rv)
    }

    /// Effective time and record of the end, if the newest version is one.
    pub(crate) fn ended(&self) -> Option<(i64, u64)> {
        let last = self.last().filter(|last| Verb::from_code(last.verb).is_end())?;
        Some((last.time, last.index))
    }

    /// The existence that most lives have.
    fn told_existence(&self) -> Option<(i64, i64)> {
        Some((self.begin.time, self.ended().map_or(OPEN, |(time, _)| time)))
    }
}

impl Begin {
    /// As it is if these are all versions.
    fn of(newest: &[VersionRow]) -> Self {
        let mut begin = Self::default();
        let Some(first) = newest.iter().find(|version| version.number == 0) else { return begin };
        begin = Self { index: first.index, time: first.time, rv: first.rv.clone(), ..begin };
        for version in newest {
            begin.take(version.time, &version.rv);
        }
        if let Some(last) = newest.iter().max_by_key(|version| version.number) {
            begin.last_body = last.body;
        }
        begin
    }

    /// Takes in a version that came later.
    pub(crate) fn take(&mut self, time: i64, rv: &str) {
        self.time = self.time.min(time);
        if self.rv.is_empty() || rv::compare(rv, &self.rv).is_some_and(std::cmp::Ordering::is_lt) {
            rv.clone_into(&mut self.rv);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(names: &[Option<&str>]) -> Controlled {
        let mut controlled = Controlled::default();
        for name in names {
            controlled.take(name.map(|name| OwnerReference {
                name: name.to_owned(),
                controller: Some(true),
                ..OwnerReference::default()
            }));
        }
        controlled
    }

    #[test]
    fn who_controls_is_told_only_where_all_versions_say_the_same() {
        assert_eq!(taken(&[]), Controlled::Untold);
        assert_eq!(taken(&[None, None]), Controlled::Free);
        assert!(
            matches!(taken(&[Some("a"), Some("a")]), Controlled::By(owner) if owner.name == "a")
        );
        for names in [[None, Some("a")], [Some("a"), None], [Some("a"), Some("b")]] {
            assert_eq!(taken(&names), Controlled::Varies);
            assert_eq!(taken(&[&names[..], &names[..1]].concat()), Controlled::Varies);
        }
    }
}
