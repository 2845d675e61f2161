//! JSON written straight into bytes: [`Json`] is the place of one value, [`Object`] and [`Array`] what goes into a container. No tree is
//! built, and raw values go in as they are.

use super::Raw;

/// The place of one value. Dropped unused, it leaves a hole: every method takes it.
#[must_use = "a place without a value is no JSON"]
pub(in crate::wire) struct Json<'o>(&'o mut Vec<u8>);

impl<'o> Json<'o> {
    /// At the end of `out`.
    pub(in crate::wire) fn new(out: &'o mut Vec<u8>) -> Self {
        Self(out)
    }

    /// A string.
    pub(in crate::wire) fn text(self, text: &str) {
        // Writing to memory can't fail, nor can a string be no JSON.
        let _ = serde_json::to_writer(self.0, text);
    }

    /// A string that needs no escapes, such as base64.
    pub(in crate::wire) fn plain(self, parts: &[&str]) {
        self.0.push(b'"');
        parts.iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
        self.0.push(b'"');
    }

    /// A value as it was sent.
    pub(in crate::wire) fn raw(self, raw: Raw<'_>) {
        self.verbatim(raw.text());
    }

    /// A text that is JSON already.
    pub(in crate::wire) fn verbatim(self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// A whole number.
    pub(in crate::wire) fn whole(self, number: u64) {
        let _ = serde_json::to_writer(self.0, &number);
    }

    /// A finite number; any other is `null`.
    pub(in crate::wire) fn float(self, number: f64) {
        let _ = serde_json::to_writer(self.0, &number);
    }

    /// `true` or `false`.
    pub(in crate::wire) fn bool(self, value: bool) {
        self.verbatim(if value { "true" } else { "false" });
    }

    /// `null`.
    pub(in crate::wire) fn null(self) {
        self.verbatim("null");
    }

    /// An object.
    pub(in crate::wire) fn object(self, fill: impl FnOnce(&mut Object<'_>)) {
        self.0.push(b'{');
        fill(&mut Object { out: self.0, first: true });
        self.0.push(b'}');
    }

    /// An array.
    pub(in crate::wire) fn array(self, fill: impl FnOnce(&mut Array<'_>)) {
        self.0.push(b'[');
        fill(&mut Array { out: self.0, first: true });
        self.0.push(b']');
    }
}

/// An object being written.
pub(in crate::wire) struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Object<'_> {
    /// The place of a member's value. The key needs no escapes.
    pub(in crate::wire) fn key(&mut self, key: &str) -> Json<'_> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        Json(self.out)
    }

    /// A string member.
    pub(in crate::wire) fn text(&mut self, key: &str, text: &str) {
        self.key(key).text(text);
    }

    /// A string member that may be `null`.
    pub(in crate::wire) fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.key(key).text(text),
            None => self.key(key).null(),
        }
    }

    /// A whole number.
    pub(in crate::wire) fn whole(&mut self, key: &str, number: u64) {
        self.key(key).whole(number);
    }

    /// A raw member, where there is one.
    pub(in crate::wire) fn raw_if(&mut self, key: &str, raw: Option<Raw<'_>>) {
        if let Some(raw) = raw {
            self.key(key).raw(raw);
        }
    }
}

/// An array being written.
pub(in crate::wire) struct Array<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Array<'_> {
    /// The place of the next item.
    pub(in crate::wire) fn item(&mut self) -> Json<'_> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        Json(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let mut out = Vec::new();
        Json::new(&mut out).object(|object| {
            object.text("a", "x\"\n\u{1}é");
            object.key("b").array(|array| {
                array.item().whole(1);
                array.item().float(0.5);
                array.item().null();
                array.item().plain(&["data:", "eA=="]);
                array.item().object(|_| {});
            });
            object.key("c").bool(true);
            object.text_or_null("d", None);
            object.raw_if("e", Raw::parse(b" [1 ] ").ok());
            object.raw_if("f", None);
        });
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"a\":\"x\\\"\\n\\u0001é\",\"b\":[1,0.5,null,\"data:eA==\",{}],\"c\":true,\"d\":null,\"e\":[1 ]}"
        );
    }
}
