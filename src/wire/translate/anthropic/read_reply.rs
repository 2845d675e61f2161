//! A message, read: the whole reply, and what streams share with it ([`read_stop`], [`arguments`]).

use super::read_usage::Counts;
use crate::wire::json::{Json, Kind, Raw};
use crate::wire::translate::Garbled;
use crate::wire::translate::form::{Call, Content, Part, Reply, Stop, Text, Thought};

/// Reads a whole reply. A call of `answer_tool` is the answer's text, and does not count as a call. Blocks of unknown types, and those of
/// tools that the provider runs itself, are passed over: no client of another protocol could answer them.
///
/// # Errors
/// [`Garbled`]: no message.
pub(in super::super) fn read_reply<'a>(raw: Raw<'a>, answer_tool: Option<&str>) -> Result<Reply<'a>, Garbled> {
    let content = raw.get("content").filter(|content| content.kind() == Kind::Array);
    let Some(content) = content else { return Err(complaint(raw)) };
    let mut parts: Vec<Part<'a>> = Vec::new();
    let (mut calls, mut answered) = (false, false);
    let is_answer = |call: &Call<'_>| answer_tool == Some(call.name.as_ref());
    for block in content.items() {
        match read_block(block) {
            // One answer is JSON, two in a row are not.
            Some(Content::Call(call)) if is_answer(&call) && answered => {}
            Some(Content::Call(call)) if is_answer(&call) => {
                answered = true;
                parts.push(Content::Text(call.arguments).into());
            }
            Some(content) => {
                calls |= matches!(content, Content::Call(_));
                parts.push(content.into());
            }
            None => {}
        }
    }
    let mut counts = Counts::default();
    if let Some(usage) = raw.get("usage") {
        counts.read(usage);
    }
    Ok(Reply {
        id: raw.str_of("id").unwrap_or_default(),
        model: raw.str_of("model").unwrap_or_default(),
        created: None,
        parts,
        stop: settled(read_stop(raw).unwrap_or(Stop::End), calls),
        usage: counts.usage(),
    })
}

/// Why it ended, from `stop_reason` and `stop_sequence` beside each other. `None`: not said.
pub(super) fn read_stop(raw: Raw<'_>) -> Option<Stop<'_>> {
    Some(match raw.str_of("stop_reason")?.as_ref() {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::Calls,
        "refusal" => Stop::Refusal,
        "stop_sequence" => raw.str_of("stop_sequence").map_or(Stop::End, Stop::Sequence),
        _ => Stop::End,
    })
}

/// The reason that fits what was said: a client told of calls looks for them, and one not told does not. So no calls are announced where
/// the only one was the answer, and calls are where a server says that the turn is over.
pub(super) fn settled(stop: Stop<'_>, calls: bool) -> Stop<'_> {
    match (stop, calls) {
        (Stop::Calls, false) => Stop::End,
        (Stop::End, true) => Stop::Calls,
        (stop, _) => stop,
    }
}

/// A call's arguments from its `input`: an object as it was sent. Some servers send the object's text.
pub(super) fn arguments(input: Option<Raw<'_>>) -> Text<'_> {
    let Some(input) = input else { return "{}".into() };
    let text = match input.kind() {
        Kind::Object => return input.text().into(),
        Kind::String => input.as_str().unwrap_or_default(),
        _ => input.text().into(),
    };
    if text.trim().is_empty() {
        return "{}".into();
    }
    if Raw::parse(text.as_bytes()).is_ok_and(|value| value.kind() == Kind::Object) {
        return text;
    }
    let mut wrapped = Vec::new();
    Json::new(&mut wrapped).object(|object| object.text("INVALID_JSON", &text));
    String::from_utf8(wrapped).unwrap_or_default().into()
}

/// A block that has a place in the form and is not empty.
fn read_block(block: Raw<'_>) -> Option<Content<'_>> {
    let filled = |name| block.str_of(name).filter(|text| !text.is_empty());
    match block.str_of("type")?.as_ref() {
        "text" => filled("text").map(Content::Text),
        "thinking" => {
            let (text, signature) = (block.str_of("thinking").unwrap_or_default(), block.str_of("signature").unwrap_or_default());
            (!text.is_empty() || !signature.is_empty()).then_some(Content::Thought(Thought::Signed { text, signature }))
        }
        "redacted_thinking" => filled("data").map(|data| Content::Thought(Thought::Redacted { data })),
        "tool_use" => {
            let (id, name) = (filled("id")?, filled("name")?);
            Some(Content::Call(Call { id, name, arguments: arguments(block.get("input")) }))
        }
        _ => None,
    }
}

/// What it is instead of a message.
fn complaint(raw: Raw<'_>) -> Garbled {
    let error = raw.get("error").and_then(|error| error.str_of("message"));
    Garbled(match error {
        Some(message) => format!("it is an error, not a message: {message}"),
        None => "it is no message: it has no array `content`".into(),
    })
}
