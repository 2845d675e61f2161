//! A conversation in the words of Anthropic's messages: the system's texts, and the turns' blocks.

use crate::wire::json::{Array, Json, Object};
use crate::wire::translate::form::{Content, Part, Role, Source, System, Thought, Turn};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

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
    let mut ids = Ids::default();
    for (nth, turn) in turns.iter().enumerate() {
        ids.turn(turn.role);
        let last = nth + 1 == turns.len();
        let parts: Vec<&Part<'_>> = turn.parts.iter().filter(|part| goes_on(part, thinks)).collect();
        match (turn.role, &*parts) {
            (_, []) => {}
            (Role::User, [Part { content: Content::Text(text), cache: None }]) => write_said(text, messages),
            (Role::User, parts) => write_turn("user", parts, false, &mut ids, messages.item()),
            (Role::Assistant, parts) => write_turn("assistant", parts, last, &mut ids, messages.item()),
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

fn write_turn<'r>(role: &str, parts: &[&'r Part<'_>], trimmed: bool, ids: &mut Ids<'r>, message: Json<'_>) {
    message.object(|message| {
        message.text("role", role);
        message.key("content").array(|blocks| {
            for (nth, part) in parts.iter().enumerate() {
                write_block(part, trimmed && nth + 1 == parts.len(), ids, blocks.item());
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
fn write_block<'r>(part: &'r Part<'_>, trimmed: bool, ids: &mut Ids<'r>, block: Json<'_>) {
    block.object(|block| {
        write_content(&part.content, trimmed, ids, block);
        // Thinking takes no mark.
        if !matches!(part.content, Content::Thought(_)) {
            block.raw_if("cache_control", part.cache);
        }
    });
}

fn write_content<'r>(content: &'r Content<'_>, trimmed: bool, ids: &mut Ids<'r>, block: &mut Object<'_>) {
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
            block.text("id", &ids.of_call(&call.id));
            block.text("name", &call.name);
            block.key("input").verbatim(&call.arguments);
        }
        Content::Result { call, content, is_error } => write_result(&ids.of_result(call), content, *is_error, ids, block),
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

fn write_result<'r>(call: &str, content: &'r [Part<'_>], is_error: bool, ids: &mut Ids<'r>, block: &mut Object<'_>) {
    block.text("type", "tool_result");
    block.text("tool_use_id", call);
    match content {
        [] => {}
        [Part { content: Content::Text(text), cache: None }] => block.text("content", text),
        parts => block.key("content").array(|blocks| parts.iter().for_each(|part| write_block(part, false, ids, blocks.item()))),
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

/// The ids of calls as they are written: each once in a conversation, on which the provider insists. Some servers number the calls of
/// every answer from 0.
#[derive(Default)]
struct Ids<'r> {
    /// All that were written.
    used: HashSet<String>,
    /// Of the last answer's calls: what each id became, in order; calls of one answer may share one, too.
    last: HashMap<&'r str, VecDeque<String>>,
}

impl<'r> Ids<'r> {
    /// A turn begins.
    fn turn(&mut self, role: Role) {
        if role == Role::Assistant {
            self.last.clear();
        }
    }

    fn of_call(&mut self, id: &'r str) -> String {
        let plain = named(id);
        let mut free = plain.to_string();
        let mut nth = 2_u32;
        while !self.used.insert(free.clone()) {
            free = format!("{plain}_{nth}");
            nth += 1;
        }
        self.last.entry(id).or_default().push_back(free.clone());
        free
    }

    fn of_result(&mut self, id: &'r str) -> String {
        let known = self.last.get_mut(id).and_then(|ids| if ids.len() > 1 { ids.pop_front() } else { ids.front().cloned() });
        known.unwrap_or_else(|| named(id).into_owned())
    }
}

/// An id or a name with the characters that Anthropic's protocol has for it: others' have more.
pub(super) fn named(name: &str) -> Cow<'_, str> {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if name.chars().all(fits) { name.into() } else { name.replace(|char| !fits(char), "_").into() }
}
