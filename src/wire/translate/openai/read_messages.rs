//! The messages of a chat completion request, read into the one form: who says what, in turns.

use super::members::Members;
use super::read_parts::{ASSISTANT, PLAIN, USER, read_parts};
use super::read_request::named;
use super::read_tools::mark;
use crate::call::{Protocol, Refusal};
use crate::wire::json::{Json, Kind, Raw};
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::{Call, Content, Part, Role, System, Text, Thought, Turn};
use crate::wire::translate::loss::Setting;
use crate::wire::translate::media::Turns;
use serde::de::IgnoredAny;
use std::collections::HashSet;

/// What is said of the format of thinking in `reasoning_details`, where it is Anthropic's.
const ANTHROPIC_FORMAT: &str = "anthropic-claude-v1";

/// Reads the messages: what stands above the conversation, and the conversation.
///
/// # Errors
/// 400, naming the field.
pub(super) fn read_messages<'a>(messages: &Field<'a, '_>, loss: &mut Loss) -> Result<(Vec<System<'a>>, Vec<Turn<'a>>), Refusal> {
    let mut conversation = Conversation::default();
    for message in messages.items()? {
        conversation.message(&message, loss)?;
    }
    let (system, turns) = conversation.finish();
    if turns.is_empty() { Err(messages.refused("must not be empty")) } else { Ok((system, turns)) }
}

/// A conversation being read.
#[derive(Default)]
struct Conversation<'a> {
    system: Vec<System<'a>>,
    /// Where in `system` the last system message begins.
    last_system: usize,
    turns: Turns<'a>,
    /// The ids of the calls so far.
    calls: HashSet<Text<'a>>,
}

impl<'a> Conversation<'a> {
    fn message(&mut self, message: &Field<'a, '_>, loss: &mut Loss) -> Result<(), Refusal> {
        let fields = Members::of(message)?;
        let role = fields.required("role")?;
        match &*role.text()? {
            "system" | "developer" => self.system(&fields, loss),
            "user" => self.user(&fields, loss),
            "assistant" => self.assistant(&fields, loss),
            "tool" => self.tool(&fields, loss),
            "function" => Err(role.refused("is of the old form of calls, which can't be carried: use tools and the role \"tool\"")),
            _ => Err(role.unknown("system, developer, user, assistant, tool")),
        }
    }

    fn system(&mut self, message: &Members<'a, '_>, loss: &mut Loss) -> Result<(), Refusal> {
        lose_name(message, loss);
        let parts = marked(message, read_parts(&message.required("content")?, PLAIN, loss)?)?;
        if !parts.is_empty() {
            self.last_system = self.system.len();
        }
        self.system.extend(parts.into_iter().filter_map(|part| match part.content {
            Content::Text(text) => Some(System { text, cache: part.cache }),
            _ => None,
        }));
        Ok(())
    }

    fn user(&mut self, message: &Members<'a, '_>, loss: &mut Loss) -> Result<(), Refusal> {
        lose_name(message, loss);
        let content = message.required("content")?;
        let parts = marked(message, read_parts(&content, USER, loss)?)?;
        if parts.is_empty() {
            return Err(content.refused("must not be empty"));
        }
        self.turns.push(Role::User, parts);
        Ok(())
    }

    fn assistant(&mut self, message: &Members<'a, '_>, loss: &mut Loss) -> Result<(), Refusal> {
        message.read("audio", |audio| Err::<(), _>(audio.untranslatable("what was said aloud")))?;
        if let Some(call) = message.get("function_call") {
            return Err(call.refused("is the old form of calls, which can't be carried: use tool_calls"));
        }
        let mut parts = message.read("reasoning_details", thoughts)?.unwrap_or_default();
        let said = message.read("content", |content| read_parts(content, ASSISTANT, loss))?.unwrap_or_default();
        parts.extend(said);
        let refusal = message.read("refusal", |refusal| refusal.text())?;
        parts.extend(refusal.filter(|text| !text.trim().is_empty()).map(|text| Content::Refusal(text).into()));
        message.read("tool_calls", |calls| calls.items()?.try_for_each(|call| self.call(&call, &mut parts, loss)))?;
        let says = |part: &Part<'_>| !matches!(part.content, Content::Thought(_));
        if parts.iter().any(says) {
            self.turns.push(Role::Assistant, marked(message, parts)?);
        }
        Ok(())
    }

    fn call(&mut self, call: &Field<'a, '_>, parts: &mut Vec<Part<'a>>, loss: &mut Loss) -> Result<(), Refusal> {
        let fields = Members::of(call)?;
        fields.read("type", |kind| match &*kind.text()? {
            "function" => Ok(()),
            "custom" => Err(kind.untranslatable("a call without JSON arguments")),
            _ => Err(kind.unknown("function")),
        })?;
        let id = named(&fields.required("id")?)?;
        let function = fields.required("function")?;
        let function = Members::of(&function)?;
        let name = named(&function.required("name")?)?;
        let arguments = arguments(function.read("arguments", |field| field.text())?.unwrap_or_default(), loss);
        self.calls.insert(id.clone());
        parts.push(Part { content: Content::Call(Call { id, name, arguments }), cache: mark(&fields)? });
        Ok(())
    }

    fn tool(&mut self, message: &Members<'a, '_>, loss: &mut Loss) -> Result<(), Refusal> {
        let id = message.required("tool_call_id")?;
        let call = id.text()?;
        if !self.calls.contains(&call) {
            return Err(id.refused(&format!("{} answers no call of an earlier message", id.raw.text())));
        }
        let mut content = message.read("content", |content| read_parts(content, USER, loss))?.unwrap_or_default();
        // Only the result as a whole can be marked.
        let inner = content.iter_mut().filter_map(|part| part.cache.take()).last();
        let cache = mark(message)?.or(inner);
        self.turns.push(Role::User, vec![Part { content: Content::Result { call, content, is_error: false }, cache }]);
        Ok(())
    }

    /// Where nobody but the system speaks, its last message is the question: Anthropic's protocol needs one.
    fn finish(mut self) -> (Vec<System<'a>>, Vec<Turn<'a>>) {
        let mut turns = self.turns.finish();
        if turns.is_empty() && !self.system.is_empty() {
            let said = self.system.drain(self.last_system..);
            let parts = said.map(|System { text, cache }| Part { content: Content::Text(text), cache }).collect();
            turns.push(Turn { role: Role::User, parts });
        }
        (self.system, turns)
    }
}

fn lose_name(message: &Members<'_, '_>, loss: &mut Loss) {
    if message.get("name").is_some() {
        loss.add("messages.name");
    }
}

/// A mark on a whole message is one on its last part.
fn marked<'a>(message: &Members<'a, '_>, mut parts: Vec<Part<'a>>) -> Result<Vec<Part<'a>>, Refusal> {
    if let (Some(mark), Some(last)) = (mark(message)?, parts.last_mut()) {
        last.cache.get_or_insert(mark);
    }
    Ok(parts)
}

/// The thinking in `reasoning_details` that Anthropic has signed. What others thought, and what nobody signed, it would not take.
fn thoughts<'a>(details: &Field<'a, '_>) -> Result<Vec<Part<'a>>, Refusal> {
    let mut thoughts: Vec<(Option<Raw<'a>>, Thought<'a>)> = Vec::new();
    for detail in details.items()? {
        let fields = Members::of(&detail)?;
        if fields.read("format", |format| format.text())?.is_some_and(|format| format != ANTHROPIC_FORMAT) {
            continue;
        }
        let text = |key| Ok::<_, Refusal>(fields.read(key, |field| field.text())?.unwrap_or_default());
        match fields.read("type", |kind| kind.text())?.as_deref() {
            Some("reasoning.text") => {
                add_text(&mut thoughts, fields.get("index").map(|index| index.raw), text("text")?, text("signature")?)
            }
            Some("reasoning.encrypted") => thoughts.push((None, Thought::Redacted { data: text("data")? })),
            _ => {}
        }
    }
    let useful = |thought: &Thought<'_>| match thought {
        Thought::Signed { signature: proof, .. } | Thought::Redacted { data: proof } => !proof.is_empty(),
    };
    Ok(thoughts.into_iter().map(|(_, thought)| thought).filter(useful).map(|thought| Content::Thought(thought).into()).collect())
}

/// Adds legible thinking. Clients that put the pieces of a stream in a row send one thought as many, all of one index.
fn add_text<'a>(thoughts: &mut Vec<(Option<Raw<'a>>, Thought<'a>)>, index: Option<Raw<'a>>, text: Text<'a>, signature: Text<'a>) {
    match thoughts.last_mut() {
        Some((Some(last), Thought::Signed { text: before, signature: signed })) if Some(*last) == index => {
            before.to_mut().push_str(&text);
            signed.to_mut().push_str(&signature);
        }
        _ => thoughts.push((index, Thought::Signed { text, signature })),
    }
}

/// A call's arguments as the text of one JSON object, whatever the model wrote.
fn arguments<'a>(text: Text<'a>, loss: &mut Loss) -> Text<'a> {
    if matches!(text.trim(), "" | "null") {
        return "{}".into();
    }
    // The first looks at brackets and depth, the second at what stands in strings: both go on as they are.
    let whole = Raw::parse(text.as_bytes()).is_ok_and(|raw| raw.kind() == Kind::Object);
    if whole && serde_json::from_str::<IgnoredAny>(&text).is_ok() {
        return text;
    }
    loss.setting(Setting::CallArguments, Protocol::OpenAi);
    let mut wrapped = Vec::with_capacity(text.len() + 32);
    Json::new(&mut wrapped).object(|object| object.text("INVALID_JSON", &text));
    String::from_utf8(wrapped).unwrap_or_default().into()
}
