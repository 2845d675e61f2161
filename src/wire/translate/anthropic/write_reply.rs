//! A message, written.

use super::write_usage::write_usage;
use crate::wire::json::{Array, Json, Object};
use crate::wire::translate::form::{Content, Reply, Stop, Thought, UNSIGNED};

/// Writes a whole reply.
pub(in super::super) fn write_reply(reply: &Reply<'_>, out: &mut Vec<u8>) {
    Json::new(out).object(|body| {
        body.text("id", &reply.id);
        body.text("type", "message");
        body.text("role", "assistant");
        body.text("model", &reply.model);
        body.key("content").array(|blocks| reply.parts.iter().for_each(|part| write_block(&part.content, blocks)));
        write_stop(Some(&reply.stop), body);
        write_usage(&reply.usage, body.key("usage"));
    });
}

/// `stop_reason` and `stop_sequence`; `None`: it has not ended.
pub(super) fn write_stop(stop: Option<&Stop<'_>>, object: &mut Object<'_>) {
    let (reason, sequence) = match stop {
        None => (None, None),
        Some(Stop::End) => (Some("end_turn"), None),
        Some(Stop::Length) => (Some("max_tokens"), None),
        Some(Stop::Calls) => (Some("tool_use"), None),
        Some(Stop::Sequence(sequence)) => (Some("stop_sequence"), Some(sequence.as_ref())),
        Some(Stop::Refusal) => (Some("refusal"), None),
    };
    object.text_or_null("stop_reason", reason);
    object.text_or_null("stop_sequence", sequence);
}

/// What a user says does not stand in a reply.
fn write_block(content: &Content<'_>, blocks: &mut Array<'_>) {
    let (kind, [first, second]) = match content {
        Content::Text(text) | Content::Refusal(text) => ("text", [Some(("text", text.as_ref())), None]),
        Content::Thought(Thought::Signed { text, signature }) => {
            let signature = if signature.is_empty() { UNSIGNED } else { signature };
            ("thinking", [Some(("thinking", text.as_ref())), Some(("signature", signature))])
        }
        Content::Thought(Thought::Redacted { data }) => ("redacted_thinking", [Some(("data", data.as_ref())), None]),
        Content::Call(call) => ("tool_use", [Some(("id", call.id.as_ref())), Some(("name", call.name.as_ref()))]),
        Content::Image(_) | Content::Document { .. } | Content::Result { .. } => return,
    };
    blocks.item().object(|block| {
        block.text("type", kind);
        first.into_iter().chain(second).for_each(|(key, text)| block.text(key, text));
        if let Content::Call(call) = content {
            block.key("input").verbatim(&call.arguments);
        }
    });
}
