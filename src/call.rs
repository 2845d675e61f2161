//! The types of a request's journey, in the order in which it passes through them. Read this file first.
//!
//! ```text
//! socket ──http──▶ Inbound ──wire──▶ Call ──policy::admit──▶ Verdict
//!     Verdict::Forward(Hold) ──wire──▶ Outbound ──proxy::upstream──▶ Reply
//!     Verdict::Refuse(Refusal) ──wire::refusal─────────────────────▶ Reply
//! Reply ──proxy::relay──▶ Outcome ──policy::settle──▶ Event
//! ```
//!
//! Values only: nothing here opens a socket, reads a clock or decides anything.

use crate::money::NanoUsd;
use std::borrow::Cow;
use std::time::Duration;

/// The header fields of a message in the order in which they came; names as sent, values raw (obs-text included).
#[derive(Clone, Copy)]
pub struct Headers<'a>(pub &'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    /// The first value of `name` (any case), or `None`.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every value of `name` (any case), in order.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The first value of `name` as text; `None` when it is absent or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.0.iter().map(|field| (field.name, field.value))
    }
}

/// How long a request body says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body: neither `Content-Length` nor `Transfer-Encoding`.
    None,
    /// `Content-Length`, bytes.
    Fixed(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// HTTP/1.0 or 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// The head of one request as it came from a client, framing already checked.
#[derive(Clone, Copy)]
pub struct Inbound<'a> {
    /// The method, as sent (case matters, RFC 9110 9.1).
    pub method: &'a str,
    /// The request-target, as sent.
    pub target: &'a str,
    /// The protocol version of the request line.
    pub version: Version,
    /// The header fields.
    pub headers: Headers<'a>,
    /// How the body is delimited.
    pub length: BodyLength,
}

/// The two families of API that clients and providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OpenAI's API and everything compatible with it.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
}

impl Protocol {
    /// `"openai"` or `"anthropic"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// Where a call goes, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    ChatCompletions,
    /// `/v1/completions`.
    Completions,
    /// `/v1/responses`.
    Responses,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/messages`.
    Messages,
    /// `/v1/messages/count_tokens`.
    CountTokens,
    /// Anything else; passed through.
    Other,
}

impl Endpoint {
    /// Whether a POST to it carries one JSON object with a `model`.
    pub fn takes_model(self) -> bool {
        self != Self::Other
    }
}

/// The index of an upstream in [`Config::upstreams`](crate::config::Config::upstreams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub usize);

/// One well-formed, routed call: whom it is for and what is known of it. A `Call` that exists can be forwarded.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// What the client speaks; refusals and stream errors take this shape.
    pub protocol: Protocol,
    /// Where it goes.
    pub upstream: UpstreamId,
    /// The method.
    pub method: &'a str,
    /// Path without the provider prefix, `/v1/v1/` collapsed; starts with `/`.
    pub path: &'a str,
    /// The query without its `?`, if any.
    pub query: Option<&'a str>,
    /// What the path means.
    pub endpoint: Endpoint,
    /// The model the client named, if the body names one.
    pub model: Option<Cow<'a, str>>,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

/// The index of an agent in [`Config::agents`](crate::config::Config::agents).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AgentId(pub usize);

/// What policy decides about a call.
#[derive(Debug)]
pub enum Verdict {
    /// Send it; the hold must be settled on every way out.
    Forward(Hold),
    /// Only the holds of others are in the way: ask again with the ticket when one of them has been settled.
    Wait(Ticket),
    /// Answer this instead.
    Refuse(Refusal),
}

/// What an admitted call reserves until it is settled. It has no meaning of its own outside
/// [`policy::settle`](crate::policy::settle).
#[derive(Debug)]
#[must_use = "a hold must be settled on every way out"]
pub struct Hold {
    // The pure library has nobody to number calls for.
    #[cfg_attr(not(feature = "enabled"), allow(dead_code))]
    pub(crate) serial: u64,
    /// What is held on each account that pays for the call.
    pub(crate) amount: NanoUsd,
    /// The agent whose account pays too.
    pub(crate) agent: Option<AgentId>,
    /// Whether the control server's lease pays too.
    pub(crate) leased: bool,
    /// The output limit that the request must be lowered to, or given.
    pub(crate) clamp: Option<u64>,
}

impl Hold {
    /// The output limit that the request must be lowered to, or given.
    pub fn clamp(&self) -> Option<u64> {
        self.clamp
    }
}

/// A place in the line of calls that wait for others' holds. It must be presented again or given up.
#[derive(Debug)]
#[must_use = "a ticket must be presented again or given up"]
pub struct Ticket {
    pub(crate) number: u64,
}

/// Why a request was not forwarded, or could not be answered. One variant a row of the protocol's error table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 400: malformed HTTP, target or JSON; the text is the code.
    Invalid(&'static str),
    /// 401: no token, or a wrong one.
    Unauthorized,
    /// 402: spent leaves too little.
    BudgetExceeded,
    /// 402: the holds of other calls leave too little, also after the wait.
    InsufficientBudget,
    /// 402: the worst case is unbounded.
    Unmetered,
    /// 402: no price is known for the model.
    UnknownModelPrice,
    /// 403: `Host` is not a loopback name or allowed.
    ForbiddenHost,
    /// 403: `Origin` is foreign.
    ForbiddenOrigin,
    /// 404: an address of the router's own that does not exist.
    NotFound,
    /// 404 `thread_not_found`: the request continues a thread of messages that is not to be had here, so that the client sends the whole
    /// conversation anew, as it has to whenever a thread is gone.
    ThreadNotFound,
    /// 405: an address of the router's own that takes another method.
    MethodNotAllowed,
    /// 408: the request came too slowly.
    RequestTimeout,
    /// 413: body over its limit.
    TooLarge,
    /// 500: a fault of ours.
    Internal,
    /// 501: an upgrade we do not offer.
    UpgradeUnsupported,
    /// 502: the upstream refused, reset or answered garbage; the text is the code.
    Upstream(&'static str),
    /// 503: full house or control server unreachable; the text is the code.
    Overloaded(&'static str),
    /// 504: the upstream was silent past its limit.
    UpstreamTimeout,
}

impl Reason {
    /// The word by which programs know it: `error.code` in OpenAI's shape, and in the ledger.
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid(code) | Self::Upstream(code) | Self::Overloaded(code) => code,
            Self::Unauthorized => "invalid_api_key",
            Self::BudgetExceeded => "budget_exceeded",
            Self::InsufficientBudget => "insufficient_budget",
            Self::Unmetered => "unmetered_request",
            Self::UnknownModelPrice => "unknown_model_price",
            Self::ForbiddenHost => "forbidden_host",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::NotFound => "not_found",
            Self::ThreadNotFound => "thread_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::TooLarge => "request_too_large",
            Self::Internal => "internal_error",
            Self::UpgradeUnsupported => "upgrade_unsupported",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }
}

/// Whether a client may try again, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing said: the SDK's own rules.
    Unsaid,
    /// It can't help: `x-should-retry: false`.
    Never,
    /// `Retry-After`, whole seconds.
    After(u32),
}

/// A request answered by us: data, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The row of the table.
    pub reason: Reason,
    /// What happened, with figures, and what to do, naming the option.
    pub message: String,
    /// Whether trying again may help.
    pub retry: Retry,
}

impl Refusal {
    /// A refusal whose retry advice is the usual one of its reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let retry = match reason {
            Reason::Overloaded(_) | Reason::InsufficientBudget => Retry::After(1),
            Reason::RequestTimeout | Reason::Upstream(_) | Reason::UpstreamTimeout | Reason::Internal => Retry::Unsaid,
            _ => Retry::Never,
        };
        Self { reason, message: message.into(), retry }
    }
}

/// What goes to the provider, but for the credential, which is added at the last moment.
pub struct Outbound<'a> {
    /// The upstream it is for; its key is looked up with this and nothing else.
    pub upstream: UpstreamId,
    /// The method.
    pub method: &'a str,
    /// Path (with the upstream's own base path in front) and query.
    pub target: String,
    /// The end-to-end header fields of the client, less its credentials.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// How an exchange with the upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole reply reached the client.
    Complete,
    /// Answered by us without asking the upstream.
    Refused,
    /// The upstream could not be reached or did not answer.
    UpstreamFailed,
    /// The upstream's reply broke off or stalled.
    UpstreamCut,
    /// The client went away first.
    ClientGone,
    /// We ended it: shutdown, a panic, a path that forgot to settle.
    Abandoned,
}

/// What a finished exchange was, for settling and telling.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The status the client saw; 0 when it saw none.
    pub status: u16,
    /// How it ended.
    pub end: End,
    /// Body bytes of the reply passed to the client.
    pub reply_bytes: u64,
    /// From the request's last byte read to the reply's first byte written.
    pub first_byte: Option<Duration>,
    /// From the request's last byte read to the end.
    pub total: Duration,
}

impl Outcome {
    /// An exchange that never got to the upstream's reply.
    pub fn failed(status: u16, end: End, total: Duration) -> Self {
        Self { status, end, reply_bytes: 0, first_byte: None, total }
    }

    /// Whether the client got a whole 2xx reply.
    pub fn succeeded(&self) -> bool {
        self.end == End::Complete && (200..300).contains(&self.status)
    }
}
