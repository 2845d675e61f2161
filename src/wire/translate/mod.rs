//! One protocol's conversation in the other's words: OpenAI's chat completions ⇄ Anthropic's messages; requests, replies, streams, errors.
//!
//! ```text
//! client's request ──read──▶ form::Request ──write──▶ upstream's request      request() → Translated
//! upstream's reply ──read──▶ form::Reply   ──write──▶ client's reply          Plan::reply()
//! upstream's event ──read──▶ form::Event*  ──write──▶ client's events         Plan::stream() → Stream
//! upstream's error ──read──▶ form::Failure ──write──▶ client's error          Plan::error()
//! ```
//!
//! Between reader and writer stands one form (`form`), so that a further protocol is a reader and a writer more, and so that nothing
//! below knows two protocols at once. What a writer can't carry it names ([`Loss`]); what would change the question itself is refused.
//! Everything is pure, and the result of a stream does not depend on how its bytes were cut.

mod anthropic;
mod claude;
mod count;
mod failure;
mod field;
mod form;
mod gpt;
mod ids;
mod list;
mod loss;
mod media;
mod openai;
mod stream;
mod thoughts;

pub use count::count_tokens;
pub use list::{ModelList, model};
pub use loss::Loss;
pub use stream::{Ended, Stream};
pub use thoughts::{Kept, Thoughts};

use crate::call::{Protocol, Refusal};
use crate::wire::bom::BOM;
use crate::wire::json::Raw;
use field::Field;

/// The output limit that a request to Anthropic's protocol gets where the client gave none and no table knows the model's own.
pub const DEFAULT_MAX_TOKENS: u64 = 4_096;

/// Whom a request is translated for.
#[derive(Clone, Copy, Debug)]
pub struct Far {
    /// What the upstream speaks.
    pub protocol: Protocol,
    /// Whether it is the protocol's own provider, not a server compatible with it: which fields it knows depends on that.
    pub own: bool,
    /// The most tokens that the model puts out, where that is known.
    pub model_limit: Option<u64>,
}

/// A translated request.
#[derive(Debug)]
pub struct Translated {
    /// The body for the upstream. Where the client gave no output limit there is none in it either, although Anthropic's protocol needs
    /// one: a budget may have a say in it first.
    pub body: Vec<u8>,
    /// The output limit that the client gave.
    pub max_output: Option<u64>,
    /// What was not carried.
    pub loss: Loss,
    /// How its reply is to be translated.
    pub plan: Plan,
}

/// How the reply of a translated request is translated back.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the client speaks.
    pub client: Protocol,
    /// What the upstream speaks.
    pub upstream: Protocol,
    /// Whether a stream's client wants the usage in a chunk of its own (OpenAI's `stream_options.include_usage`).
    pub include_usage: bool,
    /// The tool that stands for the form of the answer: its arguments are the answer's text.
    pub answer_tool: Option<String>,
    /// Names of tools that had to be shortened, and what they were: the client knows them by those.
    pub names: Vec<(String, String)>,
    /// When the call began, Unix seconds: for replies that do not tell.
    pub created: u64,
}

/// A translated reply.
#[derive(Debug)]
pub struct Whole {
    /// The body for the client.
    pub body: Vec<u8>,
    /// Thinking that the client can't carry, to be put into [`Thoughts`].
    pub kept: Vec<Kept>,
}

/// A reply that can't be read as one of its protocol, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbled(pub String);

/// Translates a request: the body of a chat completion for an upstream of Anthropic's protocol, or of a message for one of OpenAI's.
/// `recall` gives the thinking that was kept for a tool call's id.
///
/// ```
/// use iron_runtime::Protocol;
/// use iron_runtime::wire::translate::{Far, request};
/// let far = Far { protocol: Protocol::Anthropic, own: true, model_limit: Some(64_000) };
/// let body = br#"{"model":"claude-sonnet-4-20250514","messages":[{"role":"user","content":"Hi"}],"max_tokens":50,"seed":7}"#;
/// let translated = request(Protocol::OpenAi, &far, body, &|_| None).unwrap();
/// assert_eq!(translated.loss.to_header(), "seed");
/// let text = String::from_utf8(translated.body).unwrap();
/// assert_eq!(text, r#"{"model":"claude-sonnet-4-20250514","max_tokens":50,"messages":[{"role":"user","content":"Hi"}]}"#);
/// ```
///
/// # Errors
/// 400 `invalid_json`, `json_too_deep`: no JSON object, or deeper than 128. 400 `invalid_field`, naming it. 400 `untranslatable_content`:
/// something without which the answer would be one to another question.
pub fn request(client: Protocol, far: &Far, body: &[u8], recall: &dyn Fn(&str) -> Option<Kept>) -> Result<Translated, Refusal> {
    let raw = Raw::parse(body)?;
    let root = Field::root(raw, client);
    let mut loss = Loss::default();
    let (mut form, include_usage) = match client {
        Protocol::OpenAi => openai::read_request(&root, &mut loss)?,
        Protocol::Anthropic => (anthropic::read_request(&root, &mut loss)?, false),
    };
    thoughts::restore(&mut form, recall);
    ids::fit_ids(&mut form, far);
    let names = ids::fit_names(&mut form, far);
    lower_limit(&mut form, far, client, &mut loss);
    let mut out = Vec::with_capacity(body.len() + 256);
    let answer_tool = match far.protocol {
        Protocol::Anthropic => {
            anthropic::thin_marks(&mut form, &mut loss);
            anthropic::write_request(&form, far, client, &mut loss, &mut out)
        }
        Protocol::OpenAi => {
            openai::write_request(&form, far, client, &mut loss, &mut out);
            None
        }
    };
    let plan = Plan { client, upstream: far.protocol, include_usage, answer_tool, names, created: 0 };
    Ok(Translated { body: out, max_output: form.max_output, loss, plan })
}

/// Lowers an output limit to the most that the model puts out: the client had another model in mind, and the provider would refuse it.
fn lower_limit(request: &mut form::Request<'_>, far: &Far, client: Protocol, loss: &mut Loss) {
    if let (Some(wanted), Some(most)) = (request.max_output, far.model_limit)
        && wanted > most
    {
        loss.setting(loss::Setting::OutputLimit, client);
        request.max_output = Some(most);
    }
}

impl Plan {
    /// Translates a whole reply (2xx).
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn reply(&self, body: &[u8]) -> Result<Whole, Garbled> {
        let raw = Raw::parse(body.strip_prefix(BOM).unwrap_or(body)).map_err(|_| Garbled("it is no JSON".into()))?;
        let answer_tool = self.answer_tool.as_deref();
        let mut form = match self.upstream {
            Protocol::Anthropic => anthropic::read_reply(raw, answer_tool)?,
            Protocol::OpenAi => openai::read_reply(raw)?,
        };
        ids::restore_names(&mut form, &self.names);
        let mut out = Vec::with_capacity(body.len() + 256);
        match self.client {
            Protocol::OpenAi => openai::write_reply(&form, self.created, &mut out),
            Protocol::Anthropic => anthropic::write_reply(&form, &mut out),
        }
        let kept = if self.client == Protocol::OpenAi { thoughts::of_reply(&form) } else { Vec::new() };
        Ok(Whole { body: out, kept })
    }

    /// Translates the body of an error reply, whatever it is: what is no error of the upstream's protocol (a page of a proxy in between)
    /// gives its text.
    pub fn error(&self, status: u16, body: &[u8]) -> Vec<u8> {
        let body = body.strip_prefix(BOM).unwrap_or(body);
        let raw = Raw::parse(body).ok();
        let form = failure::read(self.upstream, status, raw, body);
        let mut out = Vec::new();
        failure::write(self.client, &form, &mut out);
        out
    }

    /// A translator for the events of one reply.
    pub fn stream(&self) -> Stream {
        Stream::new(self)
    }
}
