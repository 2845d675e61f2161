//! An object of a request taken apart once: [`Members`]. Looking members up one by one would walk the whole of it every time.

use crate::call::Refusal;
use crate::wire::json::Raw;
use crate::wire::translate::field::Field;
use std::borrow::Cow;

/// The members of an object that are not null, in order.
pub(super) struct Members<'a, 'p> {
    object: &'p Field<'a, 'p>,
    members: Vec<(Cow<'a, str>, Raw<'a>)>,
}

impl<'a, 'p> Members<'a, 'p> {
    /// Takes an object apart.
    ///
    /// # Errors
    /// 400: it is none.
    pub(super) fn of(object: &'p Field<'a, 'p>) -> Result<Self, Refusal> {
        Ok(Self { object, members: object.members()?.collect() })
    }

    /// The last member of this name.
    pub(super) fn get(&self, key: &'p str) -> Option<Field<'a, 'p>> {
        self.members.iter().rev().find(|(name, _)| name == key).map(|(_, raw)| self.object.at(key, *raw))
    }

    /// That member.
    ///
    /// # Errors
    /// 400: there is none.
    pub(super) fn required(&self, key: &'p str) -> Result<Field<'a, 'p>, Refusal> {
        self.get(key).ok_or_else(|| self.object.at(key, self.object.raw).refused("is missing"))
    }

    /// What a member says, where there is one.
    ///
    /// # Errors
    /// What reading it gives.
    pub(super) fn read<T>(&self, key: &'p str, read: impl FnOnce(&Field<'a, 'p>) -> Result<T, Refusal>) -> Result<Option<T>, Refusal> {
        self.get(key).map(|field| read(&field)).transpose()
    }

    /// All of them, by name.
    pub(super) fn iter<'q>(&'q self) -> impl Iterator<Item = (&'q str, Field<'a, 'q>)> {
        self.members.iter().map(|(key, raw)| (&**key, self.object.at(key, *raw)))
    }
}
