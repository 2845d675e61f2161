//! The two edits that a budget may make to a body: [`limit_output`], [`include_usage`].

use super::{Edit, limit_fields};
use crate::call::Endpoint;
use crate::wire::json::Walk;
use std::ops::Range;

/// The edits that keep every output limit of the body at or below `limit`, from the last to the first, so that they can be made in turn.
/// `field` is put in where the body has none; a `null` counts as none.
///
/// ```
/// use iron_runtime::call::Endpoint;
/// use iron_runtime::wire::terms::{Edit, limit_output};
/// let edits = limit_output(br#"{"max_tokens":500}"#, Endpoint::Messages, "max_tokens", 64);
/// assert_eq!(edits, [Edit { at: 14..17, text: "64".into() }]);
/// ```
pub fn limit_output(body: &[u8], endpoint: Endpoint, field: &str, limit: u64) -> Vec<Edit> {
    let fields = limit_fields(endpoint);
    let (mut edits, mut given, mut empty, mut null) = (Vec::new(), false, true, None);
    let opened = members(body, |key, at| {
        empty = false;
        let own = key == field.as_bytes();
        if own || fields.iter().any(|known| known.as_bytes() == key) {
            let value = &body[at.clone()];
            if value == b"null" {
                null = null.take().or(own.then_some(at));
                return;
            }
            given = true;
            if exceeds(value, limit) {
                edits.push(Edit { at, text: limit.to_string() });
            }
        }
    });
    let Some(opened) = opened.filter(|_| !fields.is_empty()) else { return Vec::new() };
    match null {
        _ if given => {}
        Some(at) => edits.push(Edit { at, text: limit.to_string() }),
        None => {
            let comma = if empty { "" } else { "," };
            edits.push(Edit { at: opened..opened, text: format!("\"{field}\":{limit}{comma}") });
        }
    }
    edits.reverse();
    edits
}

/// Whether a limit is larger, or no number that could be compared.
fn exceeds(value: &[u8], limit: u64) -> bool {
    let own = std::str::from_utf8(value).ok().and_then(|digits| digits.parse::<u64>().ok());
    own.is_none_or(|own| own > limit)
}

/// The edit that asks for the usage of a stream, where the body asks for a stream and not for its usage.
///
/// ```
/// use iron_runtime::wire::terms::{Edit, include_usage};
/// let edit = include_usage(br#"{"stream":true,"stream_options":{}}"#);
/// assert_eq!(edit, Some(Edit { at: 33..33, text: r#""include_usage":true"#.into() }));
/// ```
pub fn include_usage(body: &[u8]) -> Option<Edit> {
    let (mut stream, mut options) = (false, None);
    let opened = members(body, |key, at| match key {
        b"stream" => stream = &body[at] == b"true",
        b"stream_options" => options = Some(at),
        _ => {}
    })?;
    if !stream {
        return None;
    }
    match options {
        None => Some(Edit { at: opened..opened, text: r#""stream_options":{"include_usage":true},"#.into() }),
        Some(at) if &body[at.clone()] == b"null" => Some(Edit { at, text: r#"{"include_usage":true}"#.into() }),
        Some(at) => include_in(body, at),
    }
}

/// The same inside the `stream_options` that are there. What is no object, or says neither yes nor no, is the provider's to refuse.
fn include_in(body: &[u8], options: Range<usize>) -> Option<Edit> {
    let (mut found, mut empty) = (None, true);
    let opened = members(&body[options.clone()], |key, at| {
        empty = false;
        if key == b"include_usage" {
            found = Some(options.start + at.start..options.start + at.end);
        }
    })?;
    let opened = options.start + opened;
    match found {
        None => Some(Edit { at: opened..opened, text: format!("\"include_usage\":true{}", if empty { "" } else { "," }) }),
        Some(at) => matches!(&body[at.clone()], b"false" | b"null").then(|| Edit { at, text: "true".into() }),
    }
}

/// Shows every member of an object, and returns where its first one would begin; `None` for what is no object. Of a key that stands
/// twice the last one counts, as most parsers have it.
fn members(text: &[u8], mut member: impl FnMut(&[u8], Range<usize>)) -> Option<usize> {
    let mut walk = Walk::new(text);
    walk.space();
    let opened = walk.at + 1;
    walk.expect(b'{').ok()?;
    let mut more = !walk.next_is(b'}');
    while more {
        let key = walk.key().ok()?;
        let start = walk.at;
        walk.value().ok()?;
        member(key.as_deref().unwrap_or_default(), start..walk.at);
        more = !walk.next_is(b'}');
        if more {
            walk.expect(b',').ok()?;
        }
    }
    walk.end().ok().map(|()| opened)
}
