//! A chat completion, written: the whole reply, and the words that streams share with it.

use super::write_usage::write_usage;
use crate::wire::json::{Json, Object};
use crate::wire::translate::form::{Call, Content, Part, Reply, Stop, Thought};

/// How thinking is signed, in the words of those gateways whose clients know `reasoning_details`.
pub(super) const THOUGHT_FORMAT: &str = "anthropic-claude-v1";

/// Writes a whole reply. `created`: Unix seconds, where the reply does not tell.
pub(in super::super) fn write_reply(reply: &Reply<'_>, created: u64, out: &mut Vec<u8>) {
    Json::new(out).object(|body| {
        body.text("id", &reply.id);
        body.text("object", "chat.completion");
        body.whole("created", reply.created.unwrap_or(created));
        body.text("model", &reply.model);
        body.key("choices").array(|choices| {
            choices.item().object(|choice| {
                choice.whole("index", 0);
                choice.key("message").object(|message| write_message(&reply.parts, message));
                choice.key("logprobs").null();
                choice.text("finish_reason", finish_reason(&reply.stop));
            });
        });
        write_usage(&reply.usage, body.key("usage"));
    });
}

/// The word for why it ended.
pub(super) fn finish_reason(stop: &Stop<'_>) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) => "stop",
        Stop::Length => "length",
        Stop::Calls => "tool_calls",
        Stop::Refusal => "content_filter",
    }
}

fn write_message(parts: &[Part<'_>], message: &mut Object<'_>) {
    let joined = |of: for<'p> fn(&'p Content<'_>) -> Option<&'p str>| -> Option<String> {
        let mut texts = parts.iter().filter_map(|part| of(&part.content)).peekable();
        texts.peek().is_some().then(|| texts.collect())
    };
    message.text("role", "assistant");
    message.text_or_null("content", joined(text_of).as_deref());
    message.text_or_null("refusal", joined(refusal_of).as_deref());
    if let Some(thinking) = joined(thinking_of) {
        message.text("reasoning_content", &thinking);
    }
    write_thoughts(parts, message);
    write_calls(parts, message);
}

fn text_of<'p>(content: &'p Content<'_>) -> Option<&'p str> {
    if let Content::Text(text) = content { Some(text) } else { None }
}

fn refusal_of<'p>(content: &'p Content<'_>) -> Option<&'p str> {
    if let Content::Refusal(text) = content { Some(text) } else { None }
}

/// Thinking whose text the provider leaves out is no thinking to a reader.
fn thinking_of<'p>(content: &'p Content<'_>) -> Option<&'p str> {
    match content {
        Content::Thought(Thought::Signed { text, .. }) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn write_thoughts(parts: &[Part<'_>], message: &mut Object<'_>) {
    let thoughts = || parts.iter().filter_map(|part| if let Content::Thought(thought) = &part.content { Some(thought) } else { None });
    if thoughts().next().is_none() {
        return;
    }
    message.key("reasoning_details").array(|details| {
        for (index, thought) in (0..).zip(thoughts()) {
            details.item().object(|detail| write_thought(thought, index, detail));
        }
    });
}

fn write_thought(thought: &Thought<'_>, index: u64, detail: &mut Object<'_>) {
    match thought {
        Thought::Signed { text, signature } => {
            detail.text("type", "reasoning.text");
            detail.text("text", text);
            if !signature.is_empty() {
                detail.text("signature", signature);
            }
        }
        Thought::Redacted { data } => {
            detail.text("type", "reasoning.encrypted");
            detail.text("data", data);
        }
    }
    detail.text("format", THOUGHT_FORMAT);
    detail.whole("index", index);
}

fn write_calls(parts: &[Part<'_>], message: &mut Object<'_>) {
    let calls = || parts.iter().filter_map(|part| if let Content::Call(call) = &part.content { Some(call) } else { None });
    if calls().next().is_none() {
        return;
    }
    message.key("tool_calls").array(|items| {
        for Call { id, name, arguments } in calls() {
            items.item().object(|item| {
                item.text("id", id);
                item.text("type", "function");
                item.key("function").object(|function| {
                    function.text("name", name);
                    function.text("arguments", arguments);
                });
            });
        }
    });
}
