//! The shapes of `/v1/responses`.

use super::reader::{Read, Reader, base64_bytes};

/// What its top level may hold.
pub(super) const RESPONSES: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "service_tier",
    "input",
    "max_output_tokens",
    "tools",
    "text",
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "context_management",
    "models",
    "plugins",
];

/// A member of its top level.
pub(super) fn responses(reader: &mut Reader<'_>, key: &'static str) -> Read<()> {
    match key {
        "input" => reader.array(item),
        "tools" => reader.tools(|kind, local| match kind {
            Some("function" | "custom" | "local_shell" | "apply_patch" | "computer" | "computer_use_preview") => true,
            Some("shell") => local,
            _ => false,
        }),
        "text" => reader.schema(),
        "previous_response_id" => reader.unbounded_if_set("`previous_response_id` adds stored input of unknown length"),
        "conversation" => reader.unbounded_if_set("`conversation` adds stored input of unknown length"),
        "prompt" => reader.unbounded_if_set("`prompt` adds a stored prompt of unknown length"),
        "background" => reader.unbounded_if_set("`background` leaves the bill to a reply that may never be fetched"),
        "context_management" => reader.unbounded_if_set("`context_management` lets the provider compact the context, and bills it"),
        _ => reader.common(key),
    }
}

/// What was seen of an input item.
#[derive(Default)]
struct Item {
    role: bool,
    id: bool,
    encrypted: bool,
    result_bytes: u64,
}

fn item(reader: &mut Reader<'_>) -> Read<()> {
    let (mut kind, mut item) = (None, Item::default());
    reader.object(&["type", "role", "id", "content", "output", "result", "encrypted_content"], |reader, key| {
        match key {
            "type" => kind = reader.word()?,
            "content" => reader.array(part)?,
            "output" if reader.walk.peek() == Some(b'{') => part(reader)?,
            "output" => reader.array(part)?,
            "result" => item.result_bytes = reader.raw()?.len() as u64,
            other => {
                reader.skip()?;
                item.role |= other == "role";
                item.id |= other == "id";
                item.encrypted |= other == "encrypted_content";
            }
        }
        Ok(())
    })?;
    judge(reader, kind.as_deref(), &item);
    Ok(())
}

/// What an input item of this kind costs beyond its bytes. What the provider adds to it from its own store is bounded by the context
/// window only, as documents are; what *names* stored input and nothing else has no bound that is known here.
fn judge(reader: &mut Reader<'_>, kind: Option<&str>, item: &Item) {
    const STORED: &str = "`input[]` refers to a stored item of unknown length";
    match kind {
        Some("item_reference") => reader.unbounded(STORED),
        None if item.id && !item.role => reader.unbounded(STORED),
        Some("image_generation_call") => {
            reader.terms.images += 1;
            reader.media_bytes += item.result_bytes;
        }
        Some("reasoning") => reader.terms.documents |= !item.encrypted,
        Some("compaction" | "compaction_summary") => reader.terms.documents = true,
        Some(kind) if is_text(kind) => {}
        Some(kind) if kind.ends_with("_call") || kind.starts_with("mcp_") => reader.terms.documents = true,
        Some(kind) => reader.unbounded(format!("`input[]` of type `{}` has no known bound", super::short(kind))),
        None => {}
    }
}

/// Items whose cost is in their bytes: what was said, and what the client's own tools were asked and answered.
fn is_text(kind: &str) -> bool {
    let kind = kind.strip_suffix("_output").unwrap_or(kind);
    matches!(
        kind,
        "message" | "function_call" | "custom_tool_call" | "local_shell_call" | "shell_call" | "apply_patch_call" | "computer_call"
    )
}

fn part(reader: &mut Reader<'_>) -> Read<()> {
    let (mut kind, mut picture, mut file) = (None, None, 0);
    let mut stored = false;
    reader.object(&["type", "image_url", "file_id", "file_url", "file_data"], |reader, key| {
        match key {
            "type" => kind = reader.word()?,
            "image_url" => picture = Some(base64_bytes(reader.raw()?)),
            "file_data" => file = reader.raw()?.len() as u64,
            _ => stored |= reader.is_set()?,
        }
        Ok(())
    })?;
    match kind.as_deref() {
        Some("input_image" | "computer_screenshot") => {
            reader.terms.images += 1;
            reader.media_bytes += picture.unwrap_or(0);
        }
        Some("input_file") if stored => reader.unbounded("`input_file` by `file_id` or `file_url` is of unknown size"),
        Some("input_file") => {
            reader.terms.documents = true;
            reader.media_bytes += file;
        }
        Some("input_audio") => reader.terms.audio_input = true,
        None | Some("input_text" | "output_text" | "text" | "refusal" | "summary_text" | "reasoning_text") => {}
        Some(kind) => reader.unbounded(format!("`input[].content[]` of type `{}` has no known bound", super::short(kind))),
    }
    Ok(())
}
