//! The shapes of `/v1/messages`.

use super::reader::{Read, Reader};
use std::borrow::Cow;

/// What its top level may hold.
pub(super) const MESSAGES: &[&str] = &[
    "model",
    "stream",
    "service_tier",
    "messages",
    "max_tokens",
    "thinking",
    "tools",
    "output_config",
    "output_format",
    "mcp_servers",
    "container",
    "thread",
    "fallbacks",
    "context_management",
    "speed",
    "inference_geo",
];

/// A member of its top level.
pub(super) fn messages(reader: &mut Reader<'_>, key: &'static str) -> Read<()> {
    match key {
        "messages" => reader.array(|reader| {
            reader.object(&["role", "content"], |reader, key| if key == "content" { reader.array(block) } else { reader.skip() })
        }),
        "tools" => reader.tools(|kind, _| kind.is_none_or(is_of_the_client)),
        "output_config" | "output_format" => reader.schema(),
        "thinking" => thinking(reader),
        "context_management" => context_management(reader),
        "mcp_servers" => reader.unbounded_if_set("`mcp_servers` lets the provider call tools, and bills every turn with them"),
        "container" => reader.unbounded_if_set("`container` holds files of unknown size"),
        "fallbacks" => reader.unbounded_if_set("`fallbacks` lets the provider ask further models, each with a price of its own"),
        "thread" => thread(reader),
        "speed" => other_than(reader, "standard", "`speed` has a price that is not in the table"),
        "inference_geo" => other_than(reader, "global", "`inference_geo` multiplies the prices"),
        _ => reader.common(key),
    }
}

/// A thread that begins holds nothing yet; one that goes on adds all that was said in it.
fn thread(reader: &mut Reader<'_>) -> Read<()> {
    let mut begins = false;
    reader.object(&["type"], |reader, _| {
        begins = reader.word()?.as_deref() == Some("create");
        Ok(())
    })?;
    if !begins {
        reader.terms.continues_thread = true;
        reader.unbounded("`thread` continues a conversation of unknown length");
    }
    Ok(())
}

/// Tools of the provider's design that the client runs; all others run at the provider, turn after turn within one request.
fn is_of_the_client(kind: &str) -> bool {
    kind == "custom" || ["bash_", "text_editor_", "computer_", "memory_"].iter().any(|family| kind.starts_with(family))
}

fn other_than(reader: &mut Reader<'_>, usual: &str, words: &'static str) -> Read<()> {
    if reader.word()?.as_deref() != Some(usual) {
        reader.unbounded(words);
    }
    Ok(())
}

/// Thinking may be shown short or not at all, and is billed whole. One that sets itself no budget (`adaptive`) has one of 0.
pub(super) fn thinking(reader: &mut Reader<'_>) -> Read<()> {
    let (mut disabled, mut budget) = (false, None);
    reader.object(&["type", "budget_tokens"], |reader, key| {
        match key {
            "type" => disabled = reader.word()?.as_deref() == Some("disabled"),
            _ => budget = Some(reader.number("thinking.budget_tokens")?),
        }
        Ok(())
    })?;
    reader.terms.thinking_budget = (!disabled).then(|| budget.unwrap_or(0)).max(reader.terms.thinking_budget);
    Ok(())
}

/// Edits that clear something only take away; others (compaction) ask the model once more.
fn context_management(reader: &mut Reader<'_>) -> Read<()> {
    const WORDS: &str = "`context_management` lets the provider compact the context, and bills it";
    if reader.walk.peek() != Some(b'{') {
        return reader.unbounded_if_set(WORDS);
    }
    reader.object(&["edits"], |reader, _| {
        reader.array(|reader| {
            let mut kind = None;
            reader.object(&["type"], |reader, _| {
                kind = reader.word()?;
                Ok(())
            })?;
            if !kind.is_some_and(|kind| kind.starts_with("clear_")) {
                reader.unbounded(WORDS);
            }
            Ok(())
        })
    })
}

/// Where the content of a picture or a document comes from.
#[derive(Default)]
struct Source<'a> {
    kind: Option<Cow<'a, str>>,
    data_bytes: u64,
}

fn source<'a>(reader: &mut Reader<'a>) -> Read<Source<'a>> {
    let mut source = Source::default();
    reader.object(&["type", "data", "content"], |reader, key| {
        match key {
            "type" => source.kind = reader.word()?,
            "data" => source.data_bytes = reader.raw()?.len() as u64,
            _ => reader.array(block)?,
        }
        Ok(())
    })?;
    Ok(source)
}

fn block(reader: &mut Reader<'_>) -> Read<()> {
    let (mut kind, mut from) = (None, Source::default());
    reader.object(&["type", "source", "content", "input"], |reader, key| {
        match key {
            "type" => kind = reader.word()?,
            "source" => from = source(reader)?,
            "content" => reader.array(block)?,
            _ => reader.rewritten(Reader::skip)?,
        }
        Ok(())
    })?;
    match kind.as_deref() {
        Some("image") => {
            reader.terms.images += 1;
            reader.media_bytes += if from.kind.as_deref() == Some("base64") { from.data_bytes } else { 0 };
        }
        Some("document") => document(reader, &from),
        None | Some("text" | "tool_use" | "tool_result" | "thinking" | "redacted_thinking" | "search_result") => {}
        Some("server_tool_use" | "mcp_tool_use" | "mcp_tool_result" | "tool_reference") => {}
        // What the provider's tools had found in earlier turns, partly encrypted, partly whole documents.
        Some(kind) if kind.ends_with("_tool_result") || kind == "web_search_result" => reader.terms.documents = true,
        Some(kind) => reader.unbounded(format!("`messages[].content[]` of type `{}` has no known bound", super::short(kind))),
    }
    Ok(())
}

fn document(reader: &mut Reader<'_>, from: &Source<'_>) {
    match from.kind.as_deref() {
        Some("base64") => {
            reader.terms.documents = true;
            reader.media_bytes += from.data_bytes;
        }
        None | Some("text" | "content") => {}
        Some(_) => reader.unbounded("`document` by `url` or `file_id` is of unknown size"),
    }
}
