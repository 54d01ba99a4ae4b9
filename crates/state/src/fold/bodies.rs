//! Writing bodies: which row each goes to, when a row is sealed, and which dictionary it has.

use redb::ReadableTable;

use super::{Fold, as_u32};
use crate::StateError;
use crate::bodies::{
    BodyRow, FAMILY_MIN, Unpacker, dictionary_of, pack_dictionary, stem, unpack_dictionary,
};
use crate::tables::{LifeRow, row, unrow};

/// What is known of the objects of one make.
struct Family {
    objects: u32,
    dictionary: Option<u32>,
}

impl Fold<'_> {
    /// Stores the body of version `number`.
    pub(super) fn put_body(
        &mut self,
        object: u64,
        number: u32,
        life: &mut LifeRow,
        body: &str,
    ) -> Result<(), StateError> {
        if number == 0 {
            self.greet(life, body)?;
        }
        let (first, mut bodies) = match life.growing {
            Some(first) => (first, self.body_row(object, first)?),
            None => (number, BodyRow::new(self.family(life)?.dictionary)),
        };
        self.ready(bodies.dictionary)?;
        bodies.push(number - first, body, self.packer)?;
        let full = bodies.is_full();
        self.w.growing.insert((object, first), row(&bodies).as_slice())?;
        life.growing = Some(first);
        if full { self.seal_bodies(object, life) } else { Ok(()) }
    }

    /// Seals the row of an object that grows, if there is one.
    pub(super) fn seal_bodies(
        &mut self,
        object: u64,
        life: &mut LifeRow,
    ) -> Result<(), StateError> {
        let Some(first) = life.growing.take() else { return Ok(()) };
        let mut bodies = self.body_row(object, first)?;
        self.w.growing.remove((object, first))?;
        self.ready(bodies.dictionary)?;
        let dictionary = bodies.dictionary.and_then(|number| self.packer.dictionary(number));
        let dictionary = dictionary.as_ref().map(|ready| &ready.read);
        let mut unpacker = Unpacker { context: &mut self.unpacker, dictionary };
        let texts = bodies.texts(&mut unpacker)?;
        let mut family = self.family(life)?;
        if family.dictionary.is_none() && family.objects > 1 {
            self.found(life, &mut family, &texts)?;
        }
        self.ready(family.dictionary)?;
        bodies.seal(&texts, family.dictionary, self.packer)?;
        self.w.bodies.insert((object, first), row(&bodies).as_slice())?;
        Ok(())
    }

    /// Counts a new object among those of its make.
    fn greet(&mut self, life: &LifeRow, body: &str) -> Result<(), StateError> {
        let mut family = self.family(life)?;
        family.objects = family.objects.saturating_add(1);
        if family.dictionary.is_none() && family.objects == FAMILY_MIN {
            return self.found(life, &mut family, body.as_bytes());
        }
        self.put_family(life, &family)
    }

    /// Makes the dictionary of a family.
    fn found(
        &mut self,
        life: &LifeRow,
        family: &mut Family,
        texts: &[u8],
    ) -> Result<(), StateError> {
        let number = as_u32(self.count("dictionaries", 1)?)?;
        let content = dictionary_of(texts);
        self.w.dictionaries.insert(number, pack_dictionary(&content)?.as_slice())?;
        self.packer.prepare(number, &content);
        family.dictionary = Some(number);
        self.put_family(life, family)
    }

    fn family(&self, life: &LifeRow) -> Result<Family, StateError> {
        let found = self.w.families.get((life.type_id, stem(&life.name)))?;
        let (objects, dictionary) = found.map_or((0, 0), |found| found.value());
        Ok(Family { objects, dictionary: dictionary.checked_sub(1) })
    }

    fn put_family(&mut self, life: &LifeRow, family: &Family) -> Result<(), StateError> {
        let dictionary = family.dictionary.map_or(0, |number| number + 1);
        let key = (life.type_id, stem(&life.name));
        self.w.families.insert(key, (family.objects, dictionary))?;
        Ok(())
    }

    fn ready(&mut self, dictionary: Option<u32>) -> Result<(), StateError> {
        if let Some(number) = dictionary.filter(|_| self.packer.lacks(dictionary)) {
            let content = self.dictionary(number)?;
            self.packer.prepare(number, &content);
        }
        Ok(())
    }

    fn dictionary(&self, number: u32) -> Result<Vec<u8>, StateError> {
        let found = self.w.dictionaries.get(number)?;
        let found = found.ok_or_else(|| StateError::Damaged("no such dictionary".to_owned()))?;
        unpack_dictionary(found.value())
    }

    fn body_row(&self, object: u64, first: u32) -> Result<BodyRow, StateError> {
        let found = self.w.growing.get((object, first))?;
        let found = found.ok_or_else(|| StateError::Damaged("no such row of bodies".to_owned()))?;
        unrow(found.value())
    }
}
