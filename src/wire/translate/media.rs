//! What readers of both protocols need for what a conversation is made of: base64 and `data:` URLs, checked, and [`Turns`], which joins
//! neighbours of one role.

use super::form::{Content, Part, Role, Text, Turn};
use std::borrow::Cow;

/// Whether a text is base64 by the letter: the standard alphabet, padded, and not empty.
pub(super) fn is_base64(text: &str) -> bool {
    let bytes = text.as_bytes();
    let body = bytes.strip_suffix(b"==").or_else(|| bytes.strip_suffix(b"=")).unwrap_or(bytes);
    // Without a branch a byte, so that many are looked at at once: pictures have millions.
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() | (*byte == b'+') | (*byte == b'/');
    let is_of_it = |chunk: &[u8]| chunk.iter().fold(true, |so_far, byte| so_far & fits(byte));
    !body.is_empty() && bytes.len().is_multiple_of(4) && body.chunks(64).all(is_of_it)
}

/// The media type, in lower case and without parameters, and the data of a `data:MEDIA;base64,DATA` URL. The data is not checked.
pub(super) fn data_url<'a>(url: &Text<'a>) -> Option<(Text<'a>, Text<'a>)> {
    let (media_type, data) = match url {
        Cow::Borrowed(url) => split(url).map(|(media_type, data)| (Cow::Borrowed(media_type), Cow::Borrowed(data)))?,
        Cow::Owned(url) => split(url).map(|(media_type, data)| (Cow::Owned(media_type.to_owned()), Cow::Owned(data.to_owned())))?,
    };
    let upper = media_type.bytes().any(|byte| byte.is_ascii_uppercase());
    Some((if upper { media_type.to_ascii_lowercase().into() } else { media_type }, data))
}

fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and_then(|_| url.get(5..))?;
    let (head, data) = rest.split_once(',')?;
    let (head, base64) = head.rsplit_once(';')?;
    let media_type = head.split(';').next().unwrap_or(head).trim();
    (base64.trim().eq_ignore_ascii_case("base64") && !media_type.is_empty()).then_some((media_type, data))
}

/// A conversation being read: neighbours of one role become one turn, turns without parts none.
#[derive(Debug, Default)]
pub(super) struct Turns<'a>(Vec<Turn<'a>>);

impl<'a> Turns<'a> {
    /// What one side says next.
    pub(super) fn push(&mut self, role: Role, mut parts: Vec<Part<'a>>) {
        match self.0.last_mut() {
            _ if parts.is_empty() => {}
            Some(last) if last.role == role => last.parts.append(&mut parts),
            _ => self.0.push(Turn { role, parts }),
        }
    }

    /// The whole of it. Results of tools stand first in a user's turn, as they answer the calls right before it.
    pub(super) fn finish(mut self) -> Vec<Turn<'a>> {
        let is_result = |part: &Part<'_>| matches!(part.content, Content::Result { .. });
        for turn in self.0.iter_mut().filter(|turn| turn.role == Role::User) {
            if !turn.parts.is_sorted_by_key(|part| !is_result(part)) {
                turn.parts.sort_by_key(|part| !is_result(part));
            }
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_by_the_letter() {
        for text in ["eA==", "eHg=", "eHh4", "+/+/"] {
            assert!(is_base64(text), "{text}");
        }
        for text in ["", "=", "==", "====", "eA", "eA=", "eA===", "e===", "eHh4\n", "-_-_", "e=A=", "eA==eA==", "éé"] {
            assert!(!is_base64(text), "{text}");
        }
    }

    #[test]
    fn data_urls_are_split() {
        for (url, expected) in [
            ("data:image/png;base64,eA==", Some(("image/png", "eA=="))),
            ("DATA:Image/PNG;charset=utf-8;BASE64,eA==", Some(("image/png", "eA=="))),
            ("data:application/pdf;base64,", Some(("application/pdf", ""))),
            ("data:;base64,eA==", None),
            ("data:text/plain,eA==", None),
            ("data:image/png;base64", None),
            ("https://a.example/x,y", None),
            ("dat", None),
            ("dataé", None),
        ] {
            let expected = expected.map(|(media_type, data)| (Cow::from(media_type), Cow::from(data)));
            assert_eq!(data_url(&Cow::from(url)), expected, "{url}");
            assert_eq!(data_url(&Cow::from(url.to_owned())), expected, "{url}");
        }
    }

    #[test]
    fn neighbours_are_joined_and_results_come_first() {
        let text = |text: &'static str| Part::from(Content::Text(text.into()));
        let result = Part::from(Content::Result { call: "c".into(), content: Vec::new(), is_error: false });
        let mut turns = Turns::default();
        turns.push(Role::User, vec![text("a")]);
        turns.push(Role::Assistant, Vec::new());
        turns.push(Role::User, vec![text("b"), result]);
        turns.push(Role::Assistant, vec![text("c")]);
        let turns = turns.finish();
        assert_eq!(turns.iter().map(|turn| (turn.role, turn.parts.len())).collect::<Vec<_>>(), [(Role::User, 3), (Role::Assistant, 1)]);
        let first: Vec<_> = turns.first().into_iter().flat_map(|turn| &turn.parts).map(|part| format!("{:?}", part.content)).collect();
        assert!(first.first().is_some_and(|part| part.starts_with("Result")), "{first:?}");
        assert!(first.get(1).is_some_and(|part| part.contains("\"a\"")), "{first:?}");
    }
}
