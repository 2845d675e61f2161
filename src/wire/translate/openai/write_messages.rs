//! What is said in a chat completion request, written: the system prompt, and of each turn what this protocol spreads over several
//! messages. In a user's turn the results of tools come first, each a message; pictures and documents in them, which a tool's message
//! can't hold, lead the user's own message behind them.

use crate::call::Protocol;
use crate::wire::json::{Array, Json, Object};
use crate::wire::translate::form::{Content, Part, Request, Role, Source, Text, Thought, Turn, UNSIGNED};
use crate::wire::translate::loss::Setting;
use crate::wire::translate::{Far, Loss};
use std::borrow::Cow;

/// The name of a document that has none.
const UNTITLED: &str = "document.pdf";

/// Writes the messages.
pub(super) fn write_messages(request: &Request<'_>, far: &Far, client: Protocol, loss: &mut Loss, messages: &mut Array<'_>) {
    if !request.system.is_empty() {
        messages.item().object(|message| {
            message.text("role", "system");
            message.text("content", &joined(request.system.iter().map(|system| Cow::Borrowed(&*system.text)), "\n\n"));
        });
    }
    for turn in &request.turns {
        match turn.role {
            Role::User => write_user(turn, client, loss, messages),
            Role::Assistant => write_assistant(turn, far, messages),
        }
    }
    // Here the model begins anew.
    if request.begins_answer() {
        loss.add("messages.prefill");
    }
}

/// Texts as one. One alone is not copied.
fn joined<'t>(mut texts: impl Iterator<Item = Text<'t>>, between: &str) -> Text<'t> {
    let first = texts.next().unwrap_or_default();
    match texts.next() {
        None => first,
        Some(second) => {
            let mut whole = first.into_owned();
            for text in std::iter::once(second).chain(texts) {
                whole.push_str(between);
                whole.push_str(&text);
            }
            whole.into()
        }
    }
}

/// What of a part is legible: a text, or a document that is one.
fn legible<'t>(part: &'t Part<'_>) -> Option<Text<'t>> {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => Some(Cow::Borrowed(text)),
        Content::Document { source: Source::Text(text), title } => Some(match title {
            Some(title) => Cow::Owned(format!("{title}\n{text}")),
            None => Cow::Borrowed(text),
        }),
        _ => None,
    }
}

fn write_user(turn: &Turn<'_>, client: Protocol, loss: &mut Loss, messages: &mut Array<'_>) {
    let mut said: Vec<&Part<'_>> = Vec::new();
    for part in &turn.parts {
        let Content::Result { call, content, is_error } = &part.content else { continue };
        if *is_error {
            loss.setting(Setting::ResultError, client);
        }
        messages.item().object(|message| {
            message.text("role", "tool");
            message.text("tool_call_id", call);
            message.text("content", &joined(content.iter().filter_map(legible), "\n"));
        });
        said.extend(content.iter().filter(|part| legible(part).is_none()));
    }
    said.extend(turn.parts.iter().filter(|part| !matches!(part.content, Content::Result { .. })));
    if said.is_empty() {
        return;
    }
    messages.item().object(|message| {
        message.text("role", "user");
        match said.as_slice() {
            [Part { content: Content::Text(text), .. }] => message.text("content", text),
            parts => message.key("content").array(|content| parts.iter().for_each(|part| write_part(part, content))),
        }
    });
}

fn write_part(part: &Part<'_>, parts: &mut Array<'_>) {
    let mut typed = |kind: &str, fill: &dyn Fn(&mut Object<'_>)| {
        parts.item().object(|place| {
            place.text("type", kind);
            fill(place);
        });
    };
    match &part.content {
        Content::Image(source) => typed("image_url", &|place| {
            place.key("image_url").object(|image| write_address(source, image.key("url")));
        }),
        Content::Document { source: source @ (Source::Base64 { .. } | Source::Url(_)), title } => typed("file", &|place| {
            place.key("file").object(|file| {
                file.text("filename", title.as_deref().unwrap_or(UNTITLED));
                write_address(source, file.key("file_data"));
            });
        }),
        _ => {
            if let Some(text) = legible(part) {
                typed("text", &|place| place.text("text", &text));
            }
        }
    }
}

fn write_address(source: &Source<'_>, place: Json<'_>) {
    match source {
        Source::Base64 { media_type, data } => place.plain(&["data:", media_type, ";base64,", data]),
        Source::Url(text) | Source::Text(text) => place.text(text),
    }
}

/// Writes what the model said. Thinking that somebody signed stays here: the provider has no use for another's.
fn write_assistant(turn: &Turn<'_>, far: &Far, messages: &mut Array<'_>) {
    let calls = || turn.parts.iter().filter_map(|part| if let Content::Call(call) = &part.content { Some(call) } else { None });
    let has_text = turn.parts.iter().any(|part| legible(part).is_some());
    let thinks = !far.own && unsigned(turn).next().is_some();
    let has_calls = calls().next().is_some();
    if !has_text && !has_calls && !thinks {
        return;
    }
    messages.item().object(|message| {
        message.text("role", "assistant");
        let text = joined(turn.parts.iter().filter_map(legible), "");
        message.text_or_null("content", (has_text || !has_calls).then_some(&*text));
        if thinks {
            message.text("reasoning_content", &joined(unsigned(turn), ""));
        }
        if has_calls {
            message.key("tool_calls").array(|list| {
                for call in calls() {
                    list.item().object(|place| {
                        place.text("id", &call.id);
                        place.text("type", "function");
                        place.key("function").object(|function| {
                            function.text("name", &call.name);
                            function.text("arguments", &call.arguments);
                        });
                    });
                }
            });
        }
    });
}

/// The thinking of a compatible server, which wants it back.
fn unsigned<'t>(turn: &'t Turn<'_>) -> impl Iterator<Item = Text<'t>> {
    turn.parts.iter().filter_map(|part| match &part.content {
        Content::Thought(Thought::Signed { text, signature }) if signature == UNSIGNED && !text.is_empty() => Some(Cow::Borrowed(&**text)),
        _ => None,
    })
}
