//! A conversation in the words of Anthropic's messages: the system's texts, and the turns' blocks.

use crate::wire::json::{Array, Json, Object};
use crate::wire::translate::form::{Content, Part, Role, Source, System, Thought, Turn};
use std::borrow::Cow;

/// Writes what stands above the conversation: one string where nothing in it is marked.
pub(super) fn write_system(system: &[System<'_>], body: &mut Object<'_>) {
    match system {
        [] => {}
        [only] if only.cache.is_none() => body.text("system", &only.text),
        _ if system.iter().all(|text| text.cache.is_none()) => {
            let texts: Vec<&str> = system.iter().map(|system| &*system.text).collect();
            body.text("system", &texts.join("\n\n"));
        }
        _ => body.key("system").array(|blocks| {
            for system in system {
                blocks.item().object(|block| {
                    block.text("type", "text");
                    block.text("text", &system.text);
                    block.raw_if("cache_control", system.cache);
                });
            }
        }),
    }
}

/// What the user says before an assistant who speaks first: the provider wants the user to begin, and something said.
const NOTHING: &str = ".";

/// Writes the turns. Without thinking (`thinks`) no earlier thought goes on: the provider refuses one in the last answer, and passes over
/// the others.
pub(super) fn write_turns(turns: &[Turn<'_>], thinks: bool, messages: &mut Array<'_>) {
    if turns.first().is_some_and(|turn| turn.role == Role::Assistant) {
        write_said(NOTHING, messages);
    }
    for (nth, turn) in turns.iter().enumerate() {
        let last = nth + 1 == turns.len();
        let parts: Vec<&Part<'_>> = turn.parts.iter().filter(|part| goes_on(part, thinks)).collect();
        match (turn.role, &*parts) {
            (_, []) => {}
            (Role::User, [Part { content: Content::Text(text), cache: None }]) => write_said(text, messages),
            (Role::User, parts) => write_turn("user", parts, false, messages.item()),
            (Role::Assistant, parts) => write_turn("assistant", parts, last, messages.item()),
        }
    }
}

/// Writes what the user says in words and nothing else.
pub(super) fn write_said(text: &str, messages: &mut Array<'_>) {
    messages.item().object(|message| {
        message.text("role", "user");
        message.text("content", text);
    });
}

fn write_turn(role: &str, parts: &[&Part<'_>], trimmed: bool, message: Json<'_>) {
    message.object(|message| {
        message.text("role", role);
        message.key("content").array(|blocks| {
            for (nth, part) in parts.iter().enumerate() {
                write_block(part, trimmed && nth + 1 == parts.len(), blocks.item());
            }
        });
    });
}

fn goes_on(part: &Part<'_>, thinks: bool) -> bool {
    match &part.content {
        Content::Thought(Thought::Signed { signature, .. }) => thinks && !signature.is_empty(),
        Content::Thought(Thought::Redacted { .. }) => thinks,
        _ => true,
    }
}

/// Writes one block. `trimmed`: as the last text of an answer to be gone on with, which must not end in white space.
fn write_block(part: &Part<'_>, trimmed: bool, block: Json<'_>) {
    block.object(|block| {
        write_content(&part.content, trimmed, block);
        // Thinking takes no mark.
        if !matches!(part.content, Content::Thought(_)) {
            block.raw_if("cache_control", part.cache);
        }
    });
}

fn write_content(content: &Content<'_>, trimmed: bool, block: &mut Object<'_>) {
    match content {
        Content::Text(text) | Content::Refusal(text) => {
            block.text("type", "text");
            block.text("text", if trimmed { text.trim_end() } else { text });
        }
        Content::Image(source) => {
            block.text("type", "image");
            write_source(source, block.key("source"));
        }
        Content::Document { source, title } => {
            block.text("type", "document");
            write_source(source, block.key("source"));
            if let Some(title) = title {
                block.text("title", title);
            }
        }
        Content::Call(call) => {
            block.text("type", "tool_use");
            block.text("id", &named(&call.id));
            block.text("name", &call.name);
            block.key("input").verbatim(&call.arguments);
        }
        Content::Result { call, content, is_error } => write_result(call, content, *is_error, block),
        Content::Thought(Thought::Signed { text, signature }) => {
            block.text("type", "thinking");
            block.text("thinking", text);
            block.text("signature", signature);
        }
        Content::Thought(Thought::Redacted { data }) => {
            block.text("type", "redacted_thinking");
            block.text("data", data);
        }
    }
}

fn write_result(call: &str, content: &[Part<'_>], is_error: bool, block: &mut Object<'_>) {
    block.text("type", "tool_result");
    block.text("tool_use_id", &named(call));
    match content {
        [] => {}
        [Part { content: Content::Text(text), cache: None }] => block.text("content", text),
        parts => block.key("content").array(|blocks| parts.iter().for_each(|part| write_block(part, false, blocks.item()))),
    }
    if is_error {
        block.key("is_error").bool(true);
    }
}

fn write_source(source: &Source<'_>, place: Json<'_>) {
    place.object(|object| match source {
        Source::Base64 { media_type, data } => {
            object.text("type", "base64");
            object.text("media_type", media_type);
            object.key("data").plain(&[data]);
        }
        Source::Url(url) => {
            object.text("type", "url");
            object.text("url", url);
        }
        Source::Text(text) => {
            object.text("type", "text");
            object.text("media_type", "text/plain");
            object.text("data", text);
        }
    });
}

/// An id or a name with the characters that Anthropic's protocol has for it: others' have more.
pub(super) fn named(name: &str) -> Cow<'_, str> {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if name.chars().all(fits) { name.into() } else { name.replace(|char| !fits(char), "_").into() }
}
