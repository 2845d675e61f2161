//! The byte order mark that a text may begin with ([`Bom`]): it is no part of what the text says.

/// Its bytes in UTF-8.
pub(in crate::wire) const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Looks for one at the start of a text that comes in pieces.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Bom {
    /// How much of it has come; `None`: there is none, or it has passed.
    seen: Option<usize>,
}

impl Default for Bom {
    fn default() -> Self {
        Self { seen: Some(0) }
    }
}

impl Bom {
    /// How many bytes at the front of the next piece belong to it, and what of earlier pieces only began like one: that is text, and comes
    /// before this piece's.
    pub(in crate::wire) fn pass(&mut self, bytes: &[u8]) -> (usize, &'static [u8]) {
        let Some(before) = self.seen else { return (0, b"") };
        let here = bytes.iter().zip(&BOM[before..]).take_while(|(byte, wanted)| byte == wanted).count();
        let seen = before + here;
        self.seen = (seen < BOM.len() && here == bytes.len()).then_some(seen);
        let is_text = self.seen.is_none() && seen < BOM.len();
        (here, if is_text { &BOM[..seen] } else { b"" })
    }
}
