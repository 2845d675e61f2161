//! What a request may cost, read off its body: [`read`]. Which addresses cost anything: [`metered`]. And the two edits that a budget may
//! make to a body: an output limit lowered or put in ([`limit_output`]), `stream_options.include_usage` put in ([`include_usage`]). No
//! other byte changes.
//!
//! # Why the bound is one
//!
//! [`Terms::input_tokens`] is
//!
//! > the bytes of the body − the bytes of pictures and documents in it + allowances
//!
//! and that is at least what the provider counts, because:
//!
//! 1. **A token is at least one byte of text.** The tokenisers in question work on UTF-8 and have no empty token; their special tokens are
//!    the provider's own (5). So a text has no more tokens than bytes.
//! 2. **JSON is at least as long as what it says.** Every escape is longer than its character (`\n` 2 for 1, `\u00e9` 6 for 2, a surrogate
//!    pair 12 for 4), every other byte stands for itself, and bytes that are no UTF-8, which a parser may blow up to U+FFFD, are refused.
//!    A token in an array of token numbers is a digit and a comma or bracket at least.
//! 3. **Each part's own markup pays for the provider's.** Around a message the provider puts three or four tokens; `{"role":"","content":""}`
//!    is 24 bytes that are no text. A part of a message (`{"type":"text","text":""}`), a call of a tool, a tool, an input item: likewise.
//! 4. **What is written anew gets room.** Schemas and the arguments of Anthropic's `tool_use` reach the model as the provider writes them,
//!    not as they were sent: for every value in them 6 tokens more, for every byte beyond ASCII 2 more (an escape `\u00e9` for two bytes).
//! 5. **What the provider adds gets room**: [`REQUEST_TOKENS`] for a request, [`TOOLS_TOKENS`] if it has tools, [`DESIGNED_TOOL_TOKENS`]
//!    for each tool whose description is the provider's own, [`SCHEMA_TOKENS`] for a schema of the answer.
//! 6. **Pictures are counted**, and their base64 is not, but only where the protocol takes a picture and the part says it is one: there no
//!    provider reads it as text. A `data:` URL anywhere else is text. By URL or id a picture costs no more than inside the request
//!    (providers scale it down first), so it is bounded all the same and counted alike.
//! 7. **Documents** inside the request set [`Terms::documents`]: a page costs its text and its picture, both compressed, so that only the
//!    context window bounds them. The same flag stands for earlier turns whose length the provider alone knows (reasoning by id, results
//!    of its own tools). Documents by URL or id, and everything else that only names stored input, set [`Terms::unbounded`].
//! 8. **Audio** counts by its bytes: at 8 kbit/s, less than any codec of these protocols, a second is 1,000 bytes and some ten tokens.
//!
//! What this takes on trust, because no provider publishes it: that text is not normalised into something longer before it is
//! tokenised, that a schema's references are not unfolded, that encrypted reasoning (`encrypted_content`, `signature`) is longer than what
//! it stands for, and that members unknown here add no input. Content of a *type* unknown here is unbounded.
//!
//! What is read must be what the provider reads. So the grammar is held to, `null` is absent, keys are compared with their escapes undone,
//! and a member that is read here and stands twice is refused.

mod chat;
mod common;
mod edits;
mod messages;
mod metering;
mod reader;
mod responses;

pub use common::{DESIGNED_TOOL_TOKENS, SCHEMA_TOKENS, TOOLS_TOKENS};
pub use edits::{include_usage, limit_output};
pub use metering::{Metering, metered};

use crate::call::{Endpoint, Refusal};
use crate::money::Terms;
use crate::wire::json::Malformed;
use reader::{Read, Reader};
use std::borrow::Cow;
use std::ops::Range;

/// What a provider adds to any request: the frame of a conversation, the start of the answer. OpenAI and Anthropic add fewer than ten
/// tokens, the templates of open models (their own system prompt, the date) up to a hundred.
pub const REQUEST_TOKENS: u64 = 256;

/// What [`read`] found.
#[derive(Clone, Debug, Default)]
pub struct Reading<'a> {
    /// The model, exact: the value a provider's parser sees.
    pub model: Option<Cow<'a, str>>,
    /// Upper bounds.
    pub terms: Terms,
}

/// A change of the body: these bytes are replaced by that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where; empty for an insertion.
    pub at: Range<usize>,
    /// The text.
    pub text: String,
}

/// Reads a metered request body to its end, in one pass and without building a tree. See the module's text for why the bounds hold.
///
/// # Errors
/// 400 `invalid_json`, `json_too_deep`: no JSON object, or deeper than 512. 400 `duplicate_field`: something that is read here stands twice.
/// 400 `invalid_field`: a model that is no string, a limit that is no whole number.
///
/// ```
/// use iron_runtime::call::Endpoint;
/// use iron_runtime::wire::terms::{REQUEST_TOKENS, read};
/// let body = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"max_tokens":20,"n":2}"#;
/// let reading = read(Endpoint::ChatCompletions, body).unwrap();
/// assert_eq!(reading.model.as_deref(), Some("gpt-4o"));
/// assert_eq!(reading.terms.input_tokens, body.len() as u64 + REQUEST_TOKENS);
/// assert_eq!((reading.terms.output_limit, reading.terms.choices), (Some(20), 2));
/// ```
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Reading<'_>, Refusal> {
    std::str::from_utf8(body).map_err(|fault| Malformed { at: fault.valid_up_to() })?;
    let (keys, member) = shape(endpoint);
    let mut reader = Reader::new(body);
    reader.walk.space();
    if reader.walk.peek() != Some(b'{') {
        return Ok(reader.walk.malformed()?);
    }
    reader.object(keys, member)?;
    reader.walk.end()?;
    let mut terms = reader.terms;
    terms.input_tokens = (body.len() as u64).saturating_sub(reader.media_bytes) + reader.extra_tokens + REQUEST_TOKENS;
    terms.output_field = terms.output_field.or(limit_fields(endpoint).first().copied());
    terms.choices = reader.answers.saturating_mul(reader.prompts);
    Ok(Reading { model: reader.model, terms })
}

/// Reads the member of a top level whose key is among its shape's.
type Member = for<'a> fn(&mut Reader<'a>, &'static str) -> Read<()>;

/// The keys of an endpoint's top level that are read, and how.
fn shape(endpoint: Endpoint) -> (&'static [&'static str], Member) {
    match endpoint {
        Endpoint::ChatCompletions => (chat::CHAT, chat::chat),
        Endpoint::Completions => (chat::COMPLETION, chat::completion),
        Endpoint::Embeddings => (chat::EMBEDDINGS, chat::embeddings),
        Endpoint::Responses => (responses::RESPONSES, responses::responses),
        Endpoint::Messages => (messages::MESSAGES, messages::messages),
        Endpoint::CountTokens | Endpoint::Other => (&["model"], |reader, key| reader.common(key)),
    }
}

/// The members that limit the output of an endpoint; the first is the protocol's own today.
fn limit_fields(endpoint: Endpoint) -> &'static [&'static str] {
    match endpoint {
        Endpoint::ChatCompletions => &["max_completion_tokens", "max_tokens"],
        Endpoint::Completions | Endpoint::Messages => &["max_tokens"],
        Endpoint::Responses => &["max_output_tokens"],
        Endpoint::Embeddings | Endpoint::CountTokens | Endpoint::Other => &[],
    }
}

/// A client's word, short enough for a message.
fn short(word: &str) -> &str {
    word.char_indices().nth(40).map_or(word, |(end, _)| &word[..end])
}
