//! The shapes of `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`.

use super::reader::{Read, Reader, base64_bytes};

/// What a chat's top level may hold, beyond what every endpoint's may.
pub(super) const CHAT: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "service_tier",
    "messages",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "tools",
    "functions",
    "response_format",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "search_parameters",
    "enable_search",
    "deferred",
    "thinking",
    "reasoning",
    "reasoning_effort",
    "models",
    "plugins",
];

/// The same of a completion.
pub(super) const COMPLETION: &[&str] =
    &["model", "stream", "stream_options", "service_tier", "prompt", "max_tokens", "n", "best_of", "models", "plugins"];

/// The same of embeddings.
pub(super) const EMBEDDINGS: &[&str] = &["model", "service_tier", "input"];

/// A member of a chat's top level.
pub(super) fn chat(reader: &mut Reader<'_>, key: &'static str) -> Read<()> {
    match key {
        "messages" => reader.array(message),
        "tools" => reader.tools(|kind, _| matches!(kind, Some("function" | "custom"))),
        "functions" => reader.tools(|_, _| true),
        "response_format" => reader.schema(),
        "modalities" => reader.array(modality),
        "prediction" => reader.unbounded_if_set("`prediction` bills what the model rejects of it as output, beyond the output limit"),
        "web_search_options" => {
            // Also an empty object asks for it.
            reader.unbounded("`web_search_options` lets the provider search, and bills what it finds");
            reader.skip()
        }
        "search_parameters" | "enable_search" => {
            reader.unbounded_if_set("`search_parameters` or `enable_search` lets the provider search, and bills every source")
        }
        "deferred" => reader.unbounded_if_set("`deferred` leaves the bill to a reply that may never be fetched"),
        // Servers that offer other makers' models take their words for it.
        "thinking" => super::messages::thinking(reader),
        "reasoning" | "reasoning_effort" => {
            if reader.is_set()? {
                reader.terms.thinking_budget.get_or_insert(0);
            }
            Ok(())
        }
        _ => reader.common(key),
    }
}

/// A member of the top level of embeddings. What stands there in objects is a picture, perhaps by its address, that some servers take.
pub(super) fn embeddings(reader: &mut Reader<'_>, key: &'static str) -> Read<()> {
    match key {
        "input" => reader.array(|reader| {
            if reader.walk.peek() == Some(b'{') {
                reader.unbounded("`input[]` holds an object, whose tokens are not bounded by its text");
            }
            reader.skip()
        }),
        _ => reader.common(key),
    }
}

/// A member of a completion's top level.
pub(super) fn completion(reader: &mut Reader<'_>, key: &'static str) -> Read<()> {
    match key {
        "prompt" => prompts(reader),
        _ => reader.common(key),
    }
}

/// A string or an array of numbers is one prompt; of an array of strings or of arrays, each element is one.
fn prompts(reader: &mut Reader<'_>) -> Read<()> {
    let mut prompts = 0;
    reader.array(|reader| {
        prompts += u64::from(matches!(reader.walk.peek(), Some(b'"' | b'[')));
        reader.skip()
    })?;
    reader.prompts = prompts.max(1);
    Ok(())
}

fn modality(reader: &mut Reader<'_>) -> Read<()> {
    match reader.word()?.as_deref() {
        Some("audio") => reader.terms.audio_output = true,
        Some("text") => {}
        _ => reader.unbounded("`modalities` asks for output other than text and audio, for which no limit is known"),
    }
    Ok(())
}

fn message(reader: &mut Reader<'_>) -> Read<()> {
    reader.object(&["role", "content", "audio"], |reader, key| match key {
        "content" => reader.array(part),
        // What the model said aloud is named by its id in later turns; its length stays with the provider.
        "audio" => reader.unbounded_if_set("`messages[].audio` refers to stored audio of unknown length"),
        _ => reader.skip(),
    })
}

fn part(reader: &mut Reader<'_>) -> Read<()> {
    let (mut kind, mut picture) = (None, None);
    reader.object(&["type", "image_url", "input_audio", "file"], |reader, key| {
        match key {
            "type" => kind = reader.word()?,
            "image_url" => picture = Some(picture_bytes(reader)?),
            "input_audio" => {
                reader.terms.audio_input = true;
                reader.skip()?;
            }
            _ => file(reader)?,
        }
        Ok(())
    })?;
    if let Some(bytes) = picture {
        reader.terms.images += 1;
        reader.media_bytes += if kind.as_deref() == Some("image_url") { bytes } else { 0 };
    }
    match kind.as_deref() {
        None | Some("text" | "image_url" | "input_audio" | "file" | "refusal" | "thinking" | "reasoning") => {}
        Some(kind) => reader.unbounded(format!("`messages[].content[]` of type `{}` has no known bound", super::short(kind))),
    }
    Ok(())
}

/// The payload of `{"url": "data:…"}`, or of the bare string that some providers take.
fn picture_bytes(reader: &mut Reader<'_>) -> Read<u64> {
    if reader.walk.peek() == Some(b'"') {
        return Ok(base64_bytes(reader.raw()?));
    }
    let mut bytes = 0;
    reader.object(&["url"], |reader, _| {
        bytes = base64_bytes(reader.raw()?);
        Ok(())
    })?;
    Ok(bytes)
}

fn file(reader: &mut Reader<'_>) -> Read<()> {
    reader.object(&["file_data", "file_id"], |reader, key| {
        if key == "file_id" {
            return reader.unbounded_if_set("`file.file_id` refers to a stored file of unknown size");
        }
        reader.terms.documents = true;
        reader.media_bytes += reader.raw()?.len() as u64;
        Ok(())
    })
}
