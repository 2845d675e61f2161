//! What is said in a chat completion request, written: the system prompt, and of each turn what this protocol spreads over several
//! messages. In a user's turn the results of tools come first, each a message; pictures and documents in them, which a tool's message
//! can't hold, lead the user's own message behind them.

use crate::call::Protocol;
use crate::wire::json::{Array, Json, Object};
use crate::wire::translate::form::{Content, Part, Request, Role, Source, Text, Thought, Turn, UNSIGNED};
use crate::wire::translate::loss::Setting;
use crate::wire::translate::{Far, Loss};
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The name of a document that has none.
const UNTITLED: &str = "document.pdf";

/// The longest id of a call that the provider takes.
const LONGEST_ID: usize = 40;

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
            Role::User => write_user(turn, far, client, loss, messages),
            Role::Assistant => write_assistant(turn, far, messages),
        }
    }
    // Here the model begins anew.
    if request.begins_answer() {
        loss.add("messages.prefill");
    }
}

/// A call's id that the provider takes: a longer one ends in what is the same for the same id and no other.
fn short<'i>(id: &'i str, far: &Far) -> Cow<'i, str> {
    if !far.own || id.len() <= LONGEST_ID {
        return id.into();
    }
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let end = format!("_{:016x}", hasher.finish());
    let begin: String = id.chars().filter(char::is_ascii).take(LONGEST_ID - end.len()).collect();
    format!("{begin}{end}").into()
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

fn write_user(turn: &Turn<'_>, far: &Far, client: Protocol, loss: &mut Loss, messages: &mut Array<'_>) {
    let mut said: Vec<&Part<'_>> = Vec::new();
    for part in &turn.parts {
        let Content::Result { call, content, is_error } = &part.content else { continue };
        if *is_error {
            loss.setting(Setting::ResultError, client);
        }
        messages.item().object(|message| {
            message.text("role", "tool");
            message.text("tool_call_id", &short(call, far));
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
                        place.text("id", &short(&call.id, far));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_become_short_ones_that_differ() {
        let far = |own| Far { protocol: Protocol::OpenAi, own, model_limit: None };
        let (long, other) = (format!("toolu_{}", "é".repeat(40)), format!("toolu_{}e", "é".repeat(40)));
        assert_eq!(short("toolu_01", &far(true)), "toolu_01");
        assert_eq!(short(&long, &far(false)), long);
        assert!(short(&long, &far(true)).len() <= LONGEST_ID);
        assert_eq!(short(&long, &far(true)), short(&long, &far(true)));
        assert_ne!(short(&long, &far(true)), short(&other, &far(true)));
    }
}
