//! What a message of a chat completion request is made of, read: texts, pictures, files.

use super::members::Members;
use super::read_tools::mark;
use crate::call::Refusal;
use crate::wire::json::Kind;
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::{Content, Part, Source, Text};
use crate::wire::translate::media::{data_url, is_base64};

/// The types of parts in a system message.
pub(super) const PLAIN: &[&str] = &["text"];

/// The types of parts in a user's message, or in a tool's.
pub(super) const USER: &[&str] = &["text", "image_url", "file", "input_audio"];

/// The types of parts in an assistant's message.
pub(super) const ASSISTANT: &[&str] = &["text", "refusal"];

/// The types of pictures that Anthropic's models see.
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Reads a content, a string or parts of the `known` types. Texts of nothing but white space are left out: Anthropic refuses them.
///
/// # Errors
/// 400, naming the field.
pub(super) fn read_parts<'a>(content: &Field<'a, '_>, known: &[&str], loss: &mut Loss) -> Result<Vec<Part<'a>>, Refusal> {
    let mut parts = Vec::new();
    match content.raw.kind() {
        Kind::String => parts.push(Content::Text(content.text()?).into()),
        Kind::Array => {
            for part in content.items()? {
                parts.push(read_part(&part, known, loss)?);
            }
        }
        _ => return Err(content.refused("must be a string or an array of parts")),
    }
    parts.retain(|part| !matches!(&part.content, Content::Text(text) | Content::Refusal(text) if text.trim().is_empty()));
    Ok(parts)
}

fn read_part<'a>(part: &Field<'a, '_>, known: &[&str], loss: &mut Loss) -> Result<Part<'a>, Refusal> {
    let fields = Members::of(part)?;
    let kind = fields.required("type")?;
    let word = kind.text()?;
    let content = match &*word {
        word if !known.contains(&word) => return Err(kind.unknown(&known.join(", "))),
        "text" => Content::Text(fields.required("text")?.text()?),
        "refusal" => Content::Refusal(fields.required("refusal")?.text()?),
        "image_url" => Content::Image(picture(&fields.required("image_url")?, loss)?),
        "file" => document(&fields.required("file")?)?,
        _ => return Err(kind.untranslatable("sound")),
    };
    // Its lifetimes are not those of the other provider's marks, which cost something, too.
    if fields.get("prompt_cache_breakpoint").is_some() {
        loss.add("messages.prompt_cache_breakpoint");
    }
    Ok(Part { content, cache: mark(&fields)? })
}

/// A picture: an object with a `url`, or, as some clients have it, the address itself.
fn picture<'a>(image: &Field<'a, '_>, loss: &mut Loss) -> Result<Source<'a>, Refusal> {
    if image.raw.kind() == Kind::String {
        return picture_at(image);
    }
    let fields = Members::of(image)?;
    if fields.read("detail", |detail| detail.text())?.is_some_and(|detail| detail != "auto") {
        loss.add("image_url.detail");
    }
    picture_at(&fields.required("url")?)
}

fn picture_at<'a>(url: &Field<'a, '_>) -> Result<Source<'a>, Refusal> {
    let address = url.text()?;
    if is_web(&address) {
        return Ok(Source::Url(address));
    }
    let (media_type, data) =
        data_url(&address).ok_or_else(|| url.refused("must be an http or https address or data:MEDIA_TYPE;base64,DATA"))?;
    // Two common slips: a name that is none, and one that the bytes belie, which this client's own provider goes by.
    let media_type = if media_type == "image/jpg" { "image/jpeg".into() } else { media_type };
    let media_type = if PICTURES.contains(&&*media_type) { begun_like(&data).map_or(media_type, Text::from) } else { media_type };
    if !PICTURES.contains(&&*media_type) {
        return Err(url.refused(&format!("holds {}; known are {}", shown(&media_type), PICTURES.join(", "))));
    }
    checked(url, media_type, data)
}

/// The kind of picture whose base64 begins like this.
fn begun_like(data: &str) -> Option<&'static str> {
    let known = [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    known.iter().find(|(start, _)| data.starts_with(start)).map(|(_, kind)| *kind)
}

fn document<'a>(file: &Field<'a, '_>) -> Result<Content<'a>, Refusal> {
    let fields = Members::of(file)?;
    let title = fields.read("filename", |name| name.text())?.filter(|name| !name.is_empty());
    if let (None, Some(id)) = (fields.get("file_data"), fields.get("file_id")) {
        return Err(id.untranslatable("a file that is kept at another provider"));
    }
    let field = fields.required("file_data")?;
    let (media_type, data) = data_url(&field.text()?).ok_or_else(|| field.refused("must be data:application/pdf;base64,DATA"))?;
    if media_type != "application/pdf" {
        return Err(field.refused(&format!("holds {}; known is application/pdf", shown(&media_type))));
    }
    Ok(Content::Document { source: checked(&field, media_type, data)?, title })
}

fn checked<'a>(field: &Field<'a, '_>, media_type: Text<'a>, data: Text<'a>) -> Result<Source<'a>, Refusal> {
    if is_base64(&data) { Ok(Source::Base64 { media_type, data }) } else { Err(field.refused("holds data that is no base64")) }
}

fn is_web(address: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// A media type that somebody sent, short enough to be repeated.
fn shown(media_type: &str) -> String {
    media_type.chars().take(60).collect()
}
