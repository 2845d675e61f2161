//! What whole chat completions and the chunks of streamed ones have in common: [`Completion`], its [`Choice`]s, and what a message or a
//! delta says ([`Said`]). Compatible servers are read here, too, with what they add (thoughts, errors in place of replies) and what
//! they leave out (ids, indexes).

use super::read_usage::read_usage;
use crate::call::Protocol;
use crate::money::Usage;
use crate::wire::json::{Json, Kind, Raw};
use crate::wire::translate::failure;
use crate::wire::translate::form::{Failure, FailureKind, Stop, Text};
use std::borrow::Cow;

/// The outermost object.
#[derive(Debug, Default)]
pub(super) struct Completion<'a> {
    pub(super) id: Option<Raw<'a>>,
    pub(super) model: Option<Raw<'a>>,
    pub(super) created: Option<Raw<'a>>,
    pub(super) choices: Option<Raw<'a>>,
    usage: Option<Raw<'a>>,
    x_groq: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
    object: Option<Raw<'a>>,
}

/// One of the answers; only the first is of interest, since one was asked for.
#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    index: Option<Raw<'a>>,
    /// The message, or the delta of one.
    pub(super) said: Said<'a>,
    finish_reason: Option<Raw<'a>>,
    /// The stop sequence that was met: vLLM's name for it, and SGLang's. Numbers of tokens stand there, too.
    stop_reason: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
}

/// What a message or a delta says.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    /// Thoughts: DeepSeek's name for them, and OpenRouter's. Some servers give both.
    reasoning_content: Option<Raw<'a>>,
    reasoning: Option<Raw<'a>>,
    content: Option<Raw<'a>>,
    refusal: Option<Raw<'a>>,
    tool_calls: Option<Raw<'a>>,
    function_call: Option<Raw<'a>>,
}

/// The kinds of what is said in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Thought,
    Text,
    Refusal,
}

/// A tool call, or a piece of one. What is not there is empty.
#[derive(Debug)]
pub(super) struct CallPiece<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) arguments: Text<'a>,
}

/// How an answer ends, as far as `finish_reason` tells.
#[derive(Debug)]
pub(super) enum Finish<'a> {
    /// It does not.
    Open,
    Stop(Stop<'a>),
    /// The server gave up.
    Broken(Failure<'a>),
}

impl<'a> Completion<'a> {
    pub(super) fn read(raw: Raw<'a>) -> Self {
        let mut found = Self::default();
        for (key, value) in raw.members() {
            let place = match key.as_ref() {
                "id" => &mut found.id,
                "model" => &mut found.model,
                "created" => &mut found.created,
                "choices" => &mut found.choices,
                "usage" => &mut found.usage,
                "x_groq" => &mut found.x_groq,
                "error" => &mut found.error,
                "object" => &mut found.object,
                _ => continue,
            };
            set(place, value);
        }
        found
    }

    /// What it used, where it tells.
    pub(super) fn usage(&self) -> Option<Usage> {
        read_usage(self.usage, self.x_groq)
    }

    /// Whether it is something that is known: an answer, or an account.
    pub(super) fn is_known(&self) -> bool {
        self.choices.is_some_and(|choices| choices.kind() == Kind::Array) || self.usage.is_some()
    }

    /// The error that it is: the value of `error`, Groq's word for a stream that it broke off, or, from vLLM, the object itself.
    pub(super) fn error(&self, whole: Raw<'a>) -> Option<Failure<'a>> {
        let broken_off = || self.x_groq?.get("error").filter(something);
        let is_itself = || self.object.filter(|object| object.text() == r#""error""#).map(|_| whole);
        self.error.filter(something).or_else(broken_off).or_else(is_itself).map(read_error)
    }

    pub(super) fn choices(&self) -> impl Iterator<Item = Choice<'a>> + use<'a> {
        self.choices.into_iter().flat_map(Raw::items).map(Choice::read)
    }
}

impl<'a> Choice<'a> {
    fn read(raw: Raw<'a>) -> Self {
        let (mut found, mut delta, mut message) = (Self::default(), None, None);
        for (key, value) in raw.members() {
            let place = match key.as_ref() {
                "index" => &mut found.index,
                "delta" => &mut delta,
                "message" => &mut message,
                "finish_reason" => &mut found.finish_reason,
                "stop_reason" | "matched_stop" => &mut found.stop_reason,
                "error" => &mut found.error,
                _ => continue,
            };
            set(place, value);
        }
        found.said = delta.or(message).map(Said::read).unwrap_or_default();
        found
    }

    /// Whether it is the answer, not one beside it. Some servers do not number.
    pub(super) fn is_first(&self) -> bool {
        self.index.and_then(Raw::as_u64).unwrap_or(0) == 0
    }

    /// Why the answer ended. OpenRouter tells errors of the providers behind it in the choice; DeepSeek breaks off when it is full.
    pub(super) fn finish(&self) -> Finish<'a> {
        if let Some(error) = self.error.filter(something) {
            return Finish::Broken(read_error(error));
        }
        let Some(reason) = self.finish_reason.and_then(Raw::as_str) else { return Finish::Open };
        match reason.as_ref() {
            "" => Finish::Open,
            "length" | "max_tokens" | "model_length" => Finish::Stop(Stop::Length),
            "tool_calls" | "function_call" | "tool_use" => Finish::Stop(Stop::Calls),
            "content_filter" => Finish::Stop(Stop::Refusal),
            "error" => broken(FailureKind::Server, "the provider broke off with finish_reason error"),
            "insufficient_system_resource" => broken(FailureKind::Overloaded, "the provider broke off for want of resources"),
            _ => Finish::Stop(self.stop_sequence().map_or(Stop::End, Stop::Sequence)),
        }
    }

    /// The stop sequence that was met. Words for the ends of other protocols are none.
    fn stop_sequence(&self) -> Option<Text<'a>> {
        let told = self.stop_reason.and_then(Raw::as_str)?;
        let is_word = told.is_empty() || matches!(told.as_ref(), "stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token");
        (!is_word).then_some(told)
    }
}

impl<'a> Said<'a> {
    fn read(raw: Raw<'a>) -> Self {
        let mut found = Self::default();
        for (key, value) in raw.members() {
            let place = match key.as_ref() {
                "reasoning_content" => &mut found.reasoning_content,
                "reasoning" => &mut found.reasoning,
                "content" => &mut found.content,
                "refusal" => &mut found.refusal,
                "tool_calls" => &mut found.tool_calls,
                "function_call" => &mut found.function_call,
                _ => continue,
            };
            set(place, value);
        }
        found
    }

    /// Whether it says anything at all.
    pub(super) fn is_nothing(&self) -> bool {
        [self.reasoning_content, self.reasoning, self.content, self.refusal, self.tool_calls, self.function_call]
            .iter()
            .all(Option::is_none)
    }

    /// Hands over its words: thoughts, then text, then the refusal; nothing empty. False: some of them can't be read.
    pub(super) fn words(&self, take: &mut impl FnMut(Speech, Text<'a>)) -> bool {
        let thoughts = [self.reasoning_content, self.reasoning].into_iter().flatten().find(|thought| thought.text() != "\"\"");
        let all = [(Speech::Thought, thoughts), (Speech::Text, self.content), (Speech::Refusal, self.refusal)];
        let mut read = true;
        for (kind, words) in all {
            read &= words.is_none_or(|words| speak(kind, words, take));
        }
        read
    }

    /// Its tool calls in order. One by the older `function_call` counts as one without an id.
    pub(super) fn calls(&self) -> impl Iterator<Item = CallPiece<'a>> + use<'a> {
        let older = self.function_call.filter(|call| call.kind() == Kind::Object).map(CallPiece::of_function);
        self.tool_calls.into_iter().flat_map(Raw::items).filter_map(CallPiece::read).chain(older)
    }
}

impl<'a> CallPiece<'a> {
    /// A call of a function; of anything else none was offered.
    fn read(raw: Raw<'a>) -> Option<Self> {
        let (mut index, mut id, mut function) = (None, None, None);
        for (key, value) in raw.members() {
            match key.as_ref() {
                "index" => set(&mut index, value),
                "id" => set(&mut id, value),
                "function" => set(&mut function, value),
                _ => {}
            }
        }
        let id = id.and_then(Raw::as_str).unwrap_or_default();
        Some(Self { index: index.and_then(Raw::as_u64), id, ..Self::of_function(function?) })
    }

    fn of_function(function: Raw<'a>) -> Self {
        let (mut name, mut arguments) = (None, None);
        for (key, value) in function.members() {
            match key.as_ref() {
                "name" => set(&mut name, value),
                "arguments" => set(&mut arguments, value),
                _ => {}
            }
        }
        // Some servers write the arguments as they are, not as a text.
        let text = |raw: Raw<'a>| raw.as_str().unwrap_or(Cow::Borrowed(raw.text()));
        Self {
            index: None,
            id: Cow::Borrowed(""),
            name: name.and_then(Raw::as_str).unwrap_or_default(),
            arguments: arguments.map(text).unwrap_or_default(),
        }
    }
}

/// Why an answer ended, all told. What it holds says more than the word for it: some servers end calls with `stop`, others end with
/// `tool_calls` what holds none, and a client would wait for ever for what to answer.
pub(super) fn settled(told: Option<Stop<'_>>, has_calls: bool, has_refusal: bool) -> Stop<'_> {
    match told {
        Some(stop @ (Stop::Length | Stop::Refusal)) => stop,
        _ if has_calls => Stop::Calls,
        _ if has_refusal => Stop::Refusal,
        Some(stop @ Stop::Sequence(_)) => stop,
        _ => Stop::End,
    }
}

/// The id of a call that has none: unlike others as far as the reply's is.
pub(super) fn made_id(reply: &str, nth: usize) -> String {
    format!("call_{reply}_{nth}")
}

/// Arguments that are no JSON object, inside one.
pub(super) fn wrapped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 24);
    Json::new(&mut out).object(|object| object.text("INVALID_JSON", text));
    // What was written is UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

/// Words: a string, or an array of parts, such as Mistral's models give with their thinking. Parts without words are passed over.
fn speak<'a>(kind: Speech, words: Raw<'a>, take: &mut impl FnMut(Speech, Text<'a>)) -> bool {
    match words.kind() {
        Kind::String => {
            let text = words.as_str();
            let read = text.is_some();
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                take(kind, text);
            }
            read
        }
        Kind::Array => {
            // What can't be read must not silence the rest.
            let mut read = true;
            words.items().for_each(|part| read &= speak_part(kind, part, take));
            read
        }
        _ => false,
    }
}

fn speak_part<'a>(kind: Speech, part: Raw<'a>, take: &mut impl FnMut(Speech, Text<'a>)) -> bool {
    let (kind, member) = match part.str_of("type").as_deref() {
        Some("text") => (kind, "text"),
        Some("refusal") => (Speech::Refusal, "refusal"),
        Some("thinking") => (Speech::Thought, "thinking"),
        _ => return true,
    };
    part.get(member).is_none_or(|words| speak(kind, words, take))
}

fn read_error(error: Raw<'_>) -> Failure<'_> {
    failure::read_error(Protocol::OpenAi, error)
}

fn broken(kind: FailureKind, message: &'static str) -> Finish<'static> {
    Finish::Broken(Failure { kind, message: message.into(), code: None, param: None })
}

/// Whether the value of `error` says that there is one: some servers have the member in every chunk.
fn something(error: &Raw<'_>) -> bool {
    match error.text().as_bytes() {
        [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] | [b'"', inner @ .., b'"'] => !inner.trim_ascii().is_empty(),
        word => !matches!(word, b"null" | b"false" | b"0"),
    }
}

/// The last one that is not null counts.
fn set<'a>(place: &mut Option<Raw<'a>>, value: Raw<'a>) {
    if !value.is_null() {
        *place = Some(value);
    }
}
