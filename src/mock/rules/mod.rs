//! What the real providers refuse before a model sees anything: requests that a wrong client, or a wrong translation, would send.
//!
//! Request JSON in, a 400 in the provider's words out; nothing is changed. Only rules are here that the providers are known to have. Names
//! that are of neither provider are taken for those of compatible servers, which are more lenient.

pub(super) mod anthropic;
mod claude;
mod gpt;
pub(super) mod openai;
mod schemas;

use super::answer::Problem;
use super::encode;
use serde_json::Value;

/// Media types of pictures that both providers take.
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// The fields of `object` that are neither null nor known.
fn unknown<'a>(object: &'a Value, known: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, value)| !value.is_null() && !known.contains(&name.as_str())).map(|(name, _)| name.as_str())
}

/// A field that is there and not null.
fn given<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// Whether a name or an id has only the characters that both providers allow, and no more than `most`.
fn plain(name: &str, most: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.len() <= most && name.bytes().all(allowed)
}

/// The items of a list; none of anything else.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The media type by the first bytes of a picture; `None` where they are not known, which is no fault by itself.
fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// What is wrong with a picture of this media type, if anything is.
fn picture_fault(media_type: &str, base64: &str) -> Option<String> {
    if !IMAGE_TYPES.contains(&media_type) {
        return Some("Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'".to_owned());
    }
    let Some(bytes) = encode::from_base64(base64).filter(|bytes| !bytes.is_empty()) else {
        return Some("invalid base64 data".to_owned());
    };
    let found = picture_type(&bytes).filter(|found| *found != media_type)?;
    Some(format!("Image does not match the provided media type {media_type}: it is {found}"))
}

/// Whether an address is one from which a provider would fetch.
fn web(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.contains(' ')))
}

/// The media type and the content of `data:MEDIA;base64,CONTENT`.
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}

/// Refuses with the first fault there is.
fn refuse_if(param: &'static str, fault: Option<String>) -> Result<(), Problem> {
    fault.map_or(Ok(()), |fault| Err(Problem::field(param, fault)))
}

/// What the tests of the rules share.
#[cfg(test)]
mod testing {
    use super::super::answer::{Ask, Problem};
    use serde_json::Value;

    /// What is said about a body; empty if nothing.
    pub(super) fn verdict(body: &Value, of: impl Fn(&Ask<'_>) -> Result<(), Problem>) -> String {
        let body = body.as_object().cloned().unwrap_or_default();
        match of(&Ask { body: &body, serial: 1, now: 1, words: 8 }) {
            Ok(()) => String::new(),
            Err(problem) => {
                assert_eq!(problem.status, 400);
                problem.message
            }
        }
    }

    /// A body with other fields.
    pub(super) fn with(mut body: Value, more: &Value) -> Value {
        for (name, field) in more.as_object().into_iter().flatten() {
            body[name] = field.clone();
        }
        body
    }
}
