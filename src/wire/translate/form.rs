//! The one form in which a conversation stands between two protocols: what every reader makes and every writer takes. A third protocol
//! (OpenAI's Responses) is one reader and one writer more.
//!
//! Texts have their escapes undone; schemas, arguments and cache marks stay the bytes that were sent.

use crate::money::Usage;
use crate::wire::json::Raw;
use std::borrow::Cow;

/// Text of a message.
pub(super) type Text<'a> = Cow<'a, str>;

/// The signature of thinking that nobody signed: a compatible server's `reasoning_content`, in an Anthropic client's hands.
pub(super) const UNSIGNED: &str = "iron_runtime:reasoning_content";

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request<'a> {
    /// The model's name; readers refuse a request without one.
    pub(super) model: Text<'a>,
    /// What stands above the conversation, in order: empty texts left out.
    pub(super) system: Vec<System<'a>>,
    /// The conversation. Neighbours have different roles: readers join turns of one role; none is empty.
    pub(super) turns: Vec<Turn<'a>>,
    /// The tools offered.
    pub(super) tools: Vec<Tool<'a>>,
    /// Which of them must or may be called.
    pub(super) tool_choice: Option<ToolChoice<'a>>,
    /// Whether several may be called at once; `None`: not said.
    pub(super) parallel_calls: Option<bool>,
    /// The output limit, tokens.
    pub(super) max_output: Option<u64>,
    /// Stop sequences.
    pub(super) stop: Vec<Text<'a>>,
    /// The sampling temperature.
    pub(super) temperature: Option<f64>,
    /// Nucleus sampling.
    pub(super) top_p: Option<f64>,
    /// Who the end user is.
    pub(super) user: Option<Text<'a>>,
    /// How much to think.
    pub(super) reasoning: Option<Reasoning>,
    /// The form of the answer, if not free text.
    pub(super) format: Option<Format<'a>>,
    /// Which class of service; `None`: not said.
    pub(super) tier: Option<ServiceTier>,
    /// Whether the answer is to come as events.
    pub(super) stream: bool,
}

impl Request<'_> {
    /// Whether the last word is the assistant's, and no call.
    pub(super) fn begins_answer(&self) -> bool {
        let is_call = |part: &Part<'_>| matches!(part.content, Content::Call(_));
        self.turns.last().is_some_and(|turn| turn.role == Role::Assistant && !turn.parts.iter().any(is_call))
    }
}

/// A text above the conversation.
#[derive(Clone, Debug)]
pub(super) struct System<'a> {
    /// The text.
    pub(super) text: Text<'a>,
    /// Its cache mark.
    pub(super) cache: Option<Raw<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The user; results of tools stand in the user's turns.
    User,
    /// The model.
    Assistant,
}

/// What one side says before the other does.
#[derive(Clone, Debug)]
pub(super) struct Turn<'a> {
    /// Who.
    pub(super) role: Role,
    /// What, in order.
    pub(super) parts: Vec<Part<'a>>,
}

/// A part of a turn.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    /// What it is.
    pub(super) content: Content<'a>,
    /// Its cache mark: the value of `cache_control`.
    pub(super) cache: Option<Raw<'a>>,
}

impl<'a> From<Content<'a>> for Part<'a> {
    fn from(content: Content<'a>) -> Self {
        Self { content, cache: None }
    }
}

/// What a part of a turn is.
#[derive(Clone, Debug)]
pub(super) enum Content<'a> {
    /// Text.
    Text(Text<'a>),
    /// The model's own words for not answering.
    Refusal(Text<'a>),
    /// A picture.
    Image(Source<'a>),
    /// A document.
    Document {
        /// Where it is.
        source: Source<'a>,
        /// Its title or file name.
        title: Option<Text<'a>>,
    },
    /// The model calls a tool.
    Call(Call<'a>),
    /// What a tool gave.
    Result {
        /// The call's id.
        call: Text<'a>,
        /// Texts, pictures and documents; may be empty.
        content: Vec<Part<'a>>,
        /// Whether it went wrong.
        is_error: bool,
    },
    /// The model's thinking.
    Thought(Thought<'a>),
}

/// Where a picture or document is.
#[derive(Clone, Debug)]
pub(super) enum Source<'a> {
    /// In the request.
    Base64 {
        /// Such as `image/png`, lower case.
        media_type: Text<'a>,
        /// Checked base64: of its alphabet, padded.
        data: Text<'a>,
    },
    /// At an `http` or `https` address.
    Url(Text<'a>),
    /// Plain text (documents only).
    Text(Text<'a>),
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    /// Its id.
    pub(super) id: Text<'a>,
    /// The tool's name.
    pub(super) name: Text<'a>,
    /// The arguments: the text of one JSON object. What a model wrote that is none stands inside `{"INVALID_JSON": "…"}`, the form that
    /// Anthropic's documentation names for this.
    pub(super) arguments: Text<'a>,
}

/// Thinking, as signed by who thought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thought<'a> {
    /// Legible.
    Signed {
        /// What was thought (or a summary).
        text: Text<'a>,
        /// Empty where nobody signed.
        signature: Text<'a>,
    },
    /// Not legible.
    Redacted {
        /// Opaque.
        data: Text<'a>,
    },
}

impl Thought<'_> {
    /// The same, not borrowed.
    pub(super) fn into_owned(self) -> Thought<'static> {
        let own = |text: Text<'_>| Cow::Owned(text.into_owned());
        match self {
            Self::Signed { text, signature } => Thought::Signed { text: own(text), signature: own(signature) },
            Self::Redacted { data } => Thought::Redacted { data: own(data) },
        }
    }
}

/// A tool that the client runs.
#[derive(Clone, Debug)]
pub(super) struct Tool<'a> {
    /// Its name.
    pub(super) name: Text<'a>,
    /// What it does.
    pub(super) description: Option<Text<'a>>,
    /// The JSON schema of its arguments; `None`: it takes none.
    pub(super) schema: Option<Raw<'a>>,
    /// Whether the arguments must follow the schema to the letter.
    pub(super) strict: bool,
    /// Its cache mark.
    pub(super) cache: Option<Raw<'a>>,
}

/// Which tools must or may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToolChoice<'a> {
    /// As the model sees fit.
    Auto,
    /// None.
    Never,
    /// At least one.
    Any,
    /// This one; readers check that it is offered.
    Named(Text<'a>),
}

/// How much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasoning {
    /// Not at all.
    Off,
    /// As much as the model sees fit, or by this measure.
    On(Option<Effort>),
    /// At most so many tokens.
    Budget(u64),
}

/// How hard to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    const WORDS: [(&'static str, Self); 6] = [
        ("minimal", Self::Minimal),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("xhigh", Self::XHigh),
        ("max", Self::Max),
    ];

    /// The word for it, which both protocols share.
    pub(super) fn as_str(self) -> &'static str {
        Self::WORDS[self as usize].0
    }

    /// The effort that a word names.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, effort)| *effort)
    }

    /// The thinking budget, tokens, for models that take one instead of a word.
    pub(super) fn budget(self) -> u64 {
        match self {
            Self::Minimal => 1_024,
            Self::Low => 4_096,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::XHigh | Self::Max => 32_768,
        }
    }

    /// The least effort whose budget is at least this; `High` above all.
    pub(super) fn of_budget(tokens: u64) -> Self {
        [Self::Low, Self::Medium].into_iter().find(|effort| tokens <= effort.budget()).unwrap_or(Self::High)
    }
}

/// The form of the answer.
#[derive(Clone, Debug)]
pub(super) enum Format<'a> {
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// The schema's name.
        name: Text<'a>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// The schema.
        schema: Raw<'a>,
        /// Whether to the letter; `None`: not said.
        strict: Option<bool>,
    },
}

/// A class of service that both protocols have a word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceTier {
    /// What the account has (`auto`).
    Auto,
    /// The usual one (`default`, `standard_only`).
    Standard,
}

/// A whole reply.
#[derive(Clone, Debug)]
pub(super) struct Reply<'a> {
    /// The provider's id of it, unchanged.
    pub(super) id: Text<'a>,
    /// The model that answered.
    pub(super) model: Text<'a>,
    /// Unix seconds, where the provider tells.
    pub(super) created: Option<u64>,
    /// Texts, refusals, thoughts and calls, in order.
    pub(super) parts: Vec<Part<'a>>,
    /// Why it ended.
    pub(super) stop: Stop<'a>,
    /// What it used.
    pub(super) usage: Usage,
}

/// Why a reply ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop<'a> {
    /// It had said what it had to say (also `pause_turn`, and anything unknown).
    End,
    /// The output limit, or the context window.
    Length,
    /// It waits for results of tools.
    Calls,
    /// A stop sequence, where the provider tells which.
    Sequence(Text<'a>),
    /// It would not answer, or a filter stopped it.
    Refusal,
}

impl Stop<'_> {
    /// The same, not borrowed.
    pub(super) fn into_owned(self) -> Stop<'static> {
        match self {
            Self::End => Stop::End,
            Self::Length => Stop::Length,
            Self::Calls => Stop::Calls,
            Self::Sequence(text) => Stop::Sequence(Cow::Owned(text.into_owned())),
            Self::Refusal => Stop::Refusal,
        }
    }
}

/// A step of a streamed reply. Readers make them in this order: `Start`, then `Open`, `Delta`s and `Close` of blocks, which may overlap,
/// then `Stop`, then `Usage` (it may come before `Stop`, too), then `End`. `Error` may come at any place and is the last.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// The reply begins. Exactly once, before anything but `Ping` and `Error`.
    Start {
        /// The provider's id of it.
        id: Text<'a>,
        /// The model that answers.
        model: Text<'a>,
        /// Unix seconds, where the provider tells.
        created: Option<u64>,
        /// What is known of the usage; all 0 where nothing is.
        usage: Usage,
    },
    /// A block begins. Numbers are 0, 1, 2… in the order of opening.
    Open(u32, Block<'a>),
    /// More of an open block; never empty.
    Delta(u32, Delta<'a>),
    /// A block has ended. Every block is closed, at the latest before `Stop`.
    Close(u32),
    /// Why it ended. Exactly once.
    Stop(Stop<'a>),
    /// What it used in all. At most once.
    Usage(Usage),
    /// The whole reply has come.
    End,
    /// The provider gave up.
    Error(Failure<'a>),
    /// Only a sign of life.
    Ping,
}

/// What begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block<'a> {
    /// Text.
    Text,
    /// The model's own words for not answering.
    Refusal,
    /// Thinking.
    Thought,
    /// Thinking that is not legible; complete.
    Redacted(Text<'a>),
    /// A tool call; its arguments follow in pieces, perhaps none, which means `{}`.
    Call {
        /// Its id.
        id: Text<'a>,
        /// The tool's name.
        name: Text<'a>,
    },
}

/// More of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delta<'a> {
    /// Of a text, a refusal, a thought, or a call's arguments.
    Text(Text<'a>),
    /// The thought's signature, whole or the next piece of it.
    Signature(Text<'a>),
}

/// An error of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure<'a> {
    /// What kind.
    pub(super) kind: FailureKind,
    /// The provider's own words.
    pub(super) message: Text<'a>,
    /// Its code, where the protocol has one.
    pub(super) code: Option<Text<'a>>,
    /// The parameter at fault, likewise.
    pub(super) param: Option<Text<'a>>,
}

/// The kinds of errors, by the names that one or the other protocol has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// `invalid_request_error`.
    InvalidRequest,
    /// `authentication_error`.
    Authentication,
    /// `billing_error`, `insufficient_quota`.
    Billing,
    /// `permission_error`.
    Permission,
    /// `not_found_error`.
    NotFound,
    /// `request_too_large`.
    TooLarge,
    /// `rate_limit_error`, `rate_limit_exceeded`.
    RateLimit,
    /// `api_error`, `server_error`.
    Server,
    /// `timeout_error`.
    Timeout,
    /// `overloaded_error`.
    Overloaded,
}
