//! Reading a client's request with a place to point at: [`Field`] is a value and where it stands, and every complaint names that place in
//! the words of the client's protocol (`messages[0].content`, `messages.0.content`).

use crate::call::{Protocol, Reason, Refusal};
use crate::wire::json::{Kind, Raw};
use std::borrow::Cow;
use std::fmt::Write;

/// One step from a value into it.
#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

/// A value of a request, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a, 'p> {
    /// The value.
    pub(super) raw: Raw<'a>,
    client: Protocol,
    step: Option<Step<'p>>,
    parent: Option<&'p Field<'a, 'p>>,
}

impl<'a, 'p> Field<'a, 'p> {
    /// The whole body of a request of this protocol.
    pub(super) fn root(raw: Raw<'a>, client: Protocol) -> Self {
        Self { raw, client, step: None, parent: None }
    }

    /// A member of it, by a key seen in it.
    pub(super) fn at<'q>(&'q self, key: &'q str, raw: Raw<'a>) -> Field<'a, 'q>
    where
        'p: 'q,
    {
        Field { raw, client: self.client, step: Some(Step::Key(key)), parent: Some(self) }
    }

    /// Its members that are not null.
    ///
    /// # Errors
    /// 400: it is no object.
    pub(super) fn members(&self) -> Result<impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> + use<'a>, Refusal> {
        if self.raw.kind() != Kind::Object {
            return Err(self.expected("an object"));
        }
        Ok(self.raw.members().filter(|(_, value)| !value.is_null()))
    }

    /// The last member of this name that is not null.
    pub(super) fn get<'q>(&'q self, key: &'q str) -> Option<Field<'a, 'q>>
    where
        'p: 'q,
    {
        self.raw.get(key).map(|raw| self.at(key, raw))
    }

    /// That member.
    ///
    /// # Errors
    /// 400: there is none.
    pub(super) fn required<'q>(&'q self, key: &'q str) -> Result<Field<'a, 'q>, Refusal>
    where
        'p: 'q,
    {
        self.get(key).ok_or_else(|| self.at(key, self.raw).refused("is missing"))
    }

    /// Its items.
    ///
    /// # Errors
    /// 400: it is no array.
    pub(super) fn items<'q>(&'q self) -> Result<impl Iterator<Item = Field<'a, 'q>>, Refusal>
    where
        'p: 'q,
    {
        if self.raw.kind() != Kind::Array {
            return Err(self.expected("an array"));
        }
        let child = move |(nth, raw)| Field { raw, client: self.client, step: Some(Step::Index(nth)), parent: Some(self) };
        Ok(self.raw.items().enumerate().map(child))
    }

    /// Its text.
    ///
    /// # Errors
    /// 400: it is no string.
    pub(super) fn text(&self) -> Result<Cow<'a, str>, Refusal> {
        self.raw.as_str().ok_or_else(|| match self.raw.kind() {
            Kind::String => self.refused("has an escape that is none (a lone surrogate)"),
            _ => self.expected("a string"),
        })
    }

    /// Its number.
    ///
    /// # Errors
    /// 400: it is no number.
    pub(super) fn float(&self) -> Result<f64, Refusal> {
        self.raw.as_f64().filter(|number| number.is_finite()).ok_or_else(|| self.expected("a number"))
    }

    /// Its number, whole and not negative.
    ///
    /// # Errors
    /// 400: it is none.
    pub(super) fn whole(&self) -> Result<u64, Refusal> {
        self.raw.as_u64().ok_or_else(|| self.expected("a whole number"))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// 400: it is neither.
    pub(super) fn bool(&self) -> Result<bool, Refusal> {
        self.raw.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// Itself, if it is an object.
    ///
    /// # Errors
    /// 400: it is none.
    pub(super) fn object(&self) -> Result<Raw<'a>, Refusal> {
        if self.raw.kind() == Kind::Object { Ok(self.raw) } else { Err(self.expected("an object")) }
    }

    /// A 400 `invalid_field`: this field, and what is wrong with it (`is missing`, `must not be empty`).
    pub(super) fn refused(&self, why: &str) -> Refusal {
        Refusal::new(Reason::Invalid("invalid_field"), format!("{} {why}", self.place()))
    }

    /// The same where the value itself is of use to the reader: a short word such as a role or a type.
    pub(super) fn unknown(&self, known: &str) -> Refusal {
        let shown: String = self.raw.text().chars().take(60).collect();
        self.refused(&format!("is {shown}; known are {known}"))
    }

    /// A 400 `untranslatable_content`: this client's protocol has it, the other has not, and an answer without it would be an answer to
    /// something else.
    pub(super) fn untranslatable(&self, what: &str) -> Refusal {
        Refusal::new(
            Reason::Invalid("untranslatable_content"),
            format!("{}: {what} can't be carried to this model's provider: leave it out, or use the provider's own client", self.place()),
        )
    }

    fn expected(&self, what: &str) -> Refusal {
        let found = match self.raw.kind() {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        };
        self.refused(&format!("must be {what}, not {found}"))
    }

    /// Where it stands.
    pub(super) fn place(&self) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(field) = at {
            steps.extend(field.step);
            at = field.parent;
        }
        let mut place = String::new();
        for step in steps.iter().rev() {
            let dot = if place.is_empty() { "" } else { "." };
            // Writing to a string can't fail.
            let _ = match (step, self.client) {
                (Step::Key(key), _) => write!(place, "{dot}{key}"),
                (Step::Index(nth), Protocol::OpenAi) => write!(place, "[{nth}]"),
                (Step::Index(nth), Protocol::Anthropic) => write!(place, "{dot}{nth}"),
            };
        }
        if place.is_empty() { "the request body".into() } else { place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_in_the_clients_words() {
        let body = br#"{"messages":[{"content":7,"null":null}]}"#;
        let raw = Raw::parse(body).expect("an object");
        for (client, place) in [(Protocol::OpenAi, "messages[0].content"), (Protocol::Anthropic, "messages.0.content")] {
            let root = Field::root(raw, client);
            let messages = root.required("messages").expect("a member");
            let message = messages.items().expect("an array").next().expect("an item");
            let content = message.required("content").expect("a member");
            assert_eq!(content.text().unwrap_err().message, format!("{place} must be a string, not a number"));
            assert!(message.get("null").is_none());
            assert!(message.required("role").unwrap_err().message.ends_with("role is missing"));
            assert_eq!(root.text().unwrap_err().message, "the request body must be a string, not an object");
        }
    }
}
