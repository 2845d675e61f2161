//! A chat completion, read.

use super::completion::{CallPiece, Choice, Completion, Finish, Speech, made_id, settled, wrapped};
use crate::wire::json::{Kind, Raw};
use crate::wire::translate::Garbled;
use crate::wire::translate::form::{Call, Content, Part, Reply, Stop, Text, Thought};
use serde::de::IgnoredAny;

/// Reads a whole reply.
///
/// # Errors
/// [`Garbled`]: no chat completion, or an error that came as one.
pub(in super::super) fn read_reply(raw: Raw<'_>) -> Result<Reply<'_>, Garbled> {
    if raw.kind() != Kind::Object {
        return Err(Garbled("it is no object".into()));
    }
    let completion = Completion::read(raw);
    if let Some(failure) = completion.error(raw) {
        return Err(Garbled(format!("it is an error: {}", failure.message)));
    }
    let choice = completion.choices().find(Choice::is_first).ok_or_else(|| Garbled("it has no choices".into()))?;
    let id = text_of(completion.id);
    let (parts, stop) = read_choice(&choice, &id)?;
    Ok(Reply {
        id,
        model: text_of(completion.model),
        created: completion.created.and_then(Raw::as_u64),
        parts,
        stop,
        usage: completion.usage().unwrap_or_default(),
    })
}

fn text_of(raw: Option<Raw<'_>>) -> Text<'_> {
    raw.and_then(Raw::as_str).unwrap_or_default()
}

fn read_choice<'a>(choice: &Choice<'a>, id: &str) -> Result<(Vec<Part<'a>>, Stop<'a>), Garbled> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    let mut has_refusal = false;
    let read = choice.said.words(&mut |kind, text| {
        has_refusal |= kind == Speech::Refusal;
        parts.push(said(kind, text).into());
    });
    if !read {
        return Err(Garbled("its message has words that can't be read".into()));
    }
    let words = parts.len();
    let calls = choice.said.calls().filter(|call| !call.name.is_empty()).enumerate();
    parts.extend(calls.map(|(nth, call)| Part::from(Content::Call(read_call(call, nth, id)))));
    let told = match choice.finish() {
        Finish::Broken(failure) => return Err(Garbled(failure.message.into_owned())),
        Finish::Stop(stop) => Some(stop),
        Finish::Open => None,
    };
    if told.is_none() && choice.said.is_nothing() {
        return Err(Garbled("its choice has no message".into()));
    }
    let has_calls = parts.len() > words;
    Ok((parts, settled(told, has_calls, has_refusal)))
}

fn said(kind: Speech, text: Text<'_>) -> Content<'_> {
    match kind {
        Speech::Thought => Content::Thought(Thought::Signed { text, signature: "".into() }),
        Speech::Text => Content::Text(text),
        Speech::Refusal => Content::Refusal(text),
    }
}

fn read_call<'a>(call: CallPiece<'a>, nth: usize, reply: &str) -> Call<'a> {
    let id = if call.id.is_empty() { made_id(reply, nth).into() } else { call.id };
    Call { id, name: call.name, arguments: arguments(call.arguments) }
}

/// Arguments as the text of one JSON object, whatever a model made of them.
fn arguments(text: Text<'_>) -> Text<'_> {
    match text.trim() {
        "" | "null" => "{}".into(),
        trimmed if trimmed.starts_with('{') && is_json(trimmed) => text,
        trimmed => wrapped(trimmed).into(),
    }
}

/// Whether it is JSON to the letter, escapes included: it becomes a part of other JSON.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}
