//! What a request is answered with, before it meets the network: a whole body, a stream of events, or a problem in the provider's words.
//!
//! Values only. How an answer leaves, and how it breaks on request, is the business of `deliver`.

use crate::call::Protocol;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One request to an endpoint that takes a JSON object.
pub(super) struct Ask<'a> {
    /// The body.
    pub(super) body: &'a Map<String, Value>,
    /// The number of the request; ids are made of it.
    pub(super) serial: u64,
    /// Unix seconds.
    pub(super) now: u64,
    /// Words of a text reply.
    pub(super) words: usize,
}

impl Ask<'_> {
    /// A field; null where it is absent.
    pub(super) fn field(&self, name: &str) -> &Value {
        self.body.get(name).unwrap_or(&Value::Null)
    }

    /// Whether a field is `true`.
    pub(super) fn flag(&self, name: &str) -> bool {
        *self.field(name) == true
    }

    /// The model, if it is named.
    pub(super) fn model(&self) -> Option<&str> {
        self.field("model").as_str().filter(|model| !model.is_empty())
    }

    /// The strings of a field that holds one or a list of them.
    pub(super) fn strings(&self, name: &str) -> Vec<String> {
        match self.field(name) {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).map(String::from).collect(),
            _ => Vec::new(),
        }
    }

    /// An id with a prefix, e.g. `chatcmpl-mock00000001`.
    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}mock{:08}", self.serial)
    }
}

/// Tokens by class. The classes do not overlap, but that `cache_write_1h` is a part of `cache_write` and `reasoning` one of `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tokens {
    /// Input that no cache knew.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache.
    pub cache_write: u64,
    /// The part of `cache_write` that is kept for an hour.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// Reasoning.
    pub reasoning: u64,
}

impl Tokens {
    /// All input.
    pub(super) fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }

    /// Adds another reply's.
    pub(super) fn add(&mut self, other: Self) {
        self.input += other.input;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.cache_write_1h += other.cache_write_1h;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its `event:` line, if it has one.
    pub(super) event: Option<&'static str>,
    /// Its `data:` line.
    pub(super) data: String,
    /// Characters of the reply in it; 0 for an event of the frame around the reply.
    pub(super) chars: u64,
}

impl Frame {
    /// An event of OpenAI's chat stream.
    pub(super) fn data(data: &Value) -> Self {
        Self { event: None, data: data.to_string(), chars: 0 }
    }

    /// An event named by its `type`.
    pub(super) fn named(event: &'static str, data: &Value) -> Self {
        Self { event: Some(event), data: data.to_string(), chars: 0 }
    }

    /// The same with the characters of the reply that it carries.
    pub(super) fn carrying(self, text: &str) -> Self {
        Self { chars: text.chars().count() as u64, ..self }
    }

    /// The bytes that are sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let name = self.event.map(|name| format!("event: {name}\n")).unwrap_or_default();
        format!("{name}data: {}\n\n", self.data).into_bytes()
    }
}

/// Events that are made as they are sent, so that a long stream needs no more memory than a short one.
pub(super) type Frames = Box<dyn Iterator<Item = Frame>>;

/// A 200.
pub(super) enum Answer {
    /// One body.
    Whole {
        /// Its media type.
        kind: &'static str,
        /// Its bytes.
        body: Vec<u8>,
        /// What it used.
        tokens: Tokens,
    },
    /// `text/event-stream`.
    Stream {
        /// The events.
        frames: Frames,
        /// How many of them carry a part of the reply.
        carriers: usize,
        /// What the whole stream uses.
        tokens: Tokens,
        /// The event that reports a failure in mid-stream.
        failure: Frame,
    },
}

impl Answer {
    /// A JSON body that used nothing.
    pub(super) fn json(body: &Value) -> Self {
        Self::metered(body, Tokens::default())
    }

    /// A JSON body.
    pub(super) fn metered(body: &Value, tokens: Tokens) -> Self {
        Self::Whole { kind: "application/json", body: body.to_string().into_bytes(), tokens }
    }

    /// Bytes of another kind.
    pub(super) fn bytes(kind: &'static str, body: Vec<u8>) -> Self {
        Self::Whole { kind, body, tokens: Tokens::default() }
    }
}

/// A refusal in the provider's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The status.
    pub(super) status: u16,
    /// OpenAI's `type`; Anthropic's follows from the status.
    pub(super) kind: &'static str,
    /// OpenAI's `code`.
    pub(super) code: Option<&'static str>,
    /// OpenAI's `param`.
    pub(super) param: Option<&'static str>,
    /// For people.
    pub(super) message: String,
}

impl Problem {
    /// 400 for a field that is missing or wrong.
    pub(super) fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(400, message) }
    }

    /// A problem with the usual type and code of its status.
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        let (kind, code) = match status {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            403 => ("request_forbidden", Some("unsupported_country_region_territory")),
            405 => ("invalid_request_error", Some("method_not_allowed")),
            413 => ("invalid_request_error", Some("request_too_large")),
            429 => ("requests", Some("rate_limit_exceeded")),
            503 | 529 => ("server_error", Some("service_unavailable")),
            500.. => ("server_error", None),
            _ => ("invalid_request_error", None),
        };
        Self { status, kind, code, param: None, message: message.into() }
    }

    /// 404 for a model.
    pub(super) fn unknown_model(protocol: Protocol, model: &str) -> Self {
        let message = match protocol {
            Protocol::OpenAi => format!("The model `{model}` does not exist or you do not have access to it."),
            Protocol::Anthropic => format!("model: {model}"),
        };
        Self { code: Some("model_not_found"), ..Self::new(404, message) }
    }

    /// 404 for a thread of messages: it may be gone at any time, and here it is gone at once.
    pub(super) fn unknown_thread() -> Self {
        let message = "No usable thread was found for `previous_message_id`. Send the whole conversation to begin a new one.";
        Self { code: Some(THREAD_NOT_FOUND), ..Self::new(404, message) }
    }

    /// 404 for a path.
    pub(super) fn unknown_path(protocol: Protocol, method: &str, path: &str) -> Self {
        let message = match protocol {
            Protocol::OpenAi => format!("Invalid URL ({method} {path})"),
            Protocol::Anthropic => "Not found".to_owned(),
        };
        Self::new(404, message)
    }

    /// A problem that a request asked for, in the provider's own words where it has some.
    pub(super) fn on_request(protocol: Protocol, status: u16, model: &str) -> Self {
        let openai = protocol == Protocol::OpenAi;
        let message = match status {
            401 if openai => {
                "Incorrect API key provided: sk-****. You can find your API key at https://platform.openai.com/account/api-keys."
            }
            401 => "invalid x-api-key",
            403 if openai => "Country, region, or territory not supported",
            403 => "Your API key does not have permission to use the specified resource.",
            404 => return Self::unknown_model(protocol, model),
            429 if openai => "Rate limit reached for requests. Limit: 3 / min. Please try again in 1s.",
            429 => "This request would exceed your account's rate limit. Please try again later.",
            500 if openai => "The server had an error while processing your request. Sorry about that!",
            500 => "Internal server error",
            503 if openai => "The server is currently overloaded with other requests. Sorry about that! Please retry.",
            503 | 529 => "Overloaded",
            _ => return Self::new(status, format!("The mock was asked for a {status}.")),
        };
        Self::new(status, message)
    }

    /// The body in the shape of `protocol`.
    pub(super) fn body(&self, protocol: Protocol, request_id: &str) -> Value {
        match protocol {
            Protocol::OpenAi => {
                json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
            }
            Protocol::Anthropic => {
                let mut error = json!({"type": anthropic_type(self.status), "message": self.message});
                if let Some(code) = self.code.filter(|code| *code == THREAD_NOT_FOUND) {
                    error["details"] = json!({"error_code": code});
                }
                json!({"type": "error", "error": error, "request_id": request_id})
            }
        }
    }
}

/// The word by which Anthropic's clients know that a thread is gone.
const THREAD_NOT_FOUND: &str = "thread_not_found";

/// Anthropic's error types by status.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// What the tests of the builders share.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The answer to a body, as request number 7.
    pub(in super::super) fn answer(body: Value, of: impl Fn(&Ask<'_>) -> Result<Answer, Problem>) -> Result<Answer, Problem> {
        let body = body.as_object().cloned().unwrap_or_default();
        of(&Ask { body: &body, serial: 7, now: 1, words: 8 })
    }

    /// The whole JSON reply to a body.
    pub(in super::super) fn reply(body: Value, of: impl Fn(&Ask<'_>) -> Result<Answer, Problem>) -> Result<Value, Problem> {
        match answer(body, of)? {
            Answer::Whole { body, .. } => Ok(serde_json::from_slice(&body).expect("JSON")),
            Answer::Stream { .. } => panic!("a stream"),
        }
    }

    /// The data of the events that answer a body (null where it is no JSON), and how many carry a part of the reply; the tokens of those
    /// never exceed what the stream says it used.
    pub(in super::super) fn streamed(body: Value, of: impl Fn(&Ask<'_>) -> Result<Answer, Problem>) -> (Vec<Value>, usize) {
        let Ok(Answer::Stream { frames, carriers, tokens, .. }) = answer(body, of) else { panic!("no stream") };
        let frames: Vec<Frame> = frames.collect();
        assert_eq!(frames.iter().filter(|frame| frame.chars > 0).count(), carriers);
        assert!(frames.iter().map(|frame| frame.chars).sum::<u64>().div_ceil(4) <= tokens.output);
        (frames.iter().map(|frame| serde_json::from_str(&frame.data).unwrap_or(Value::Null)).collect(), carriers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_events() {
        assert_eq!(Frame::data(&json!({"a": 1})).bytes(), b"data: {\"a\":1}\n\n");
        assert_eq!(Frame::named("ping", &json!({"type": "ping"})).bytes(), b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }

    #[test]
    fn problems_have_the_shape_of_their_protocol() {
        let problem = Problem::on_request(Protocol::OpenAi, 429, "m");
        assert_eq!(problem.body(Protocol::OpenAi, "r")["error"]["code"], "rate_limit_exceeded");
        let problem = Problem::on_request(Protocol::Anthropic, 529, "m");
        let body = problem.body(Protocol::Anthropic, "req_1");
        assert_eq!((&body["error"]["type"], &body["request_id"]), (&json!("overloaded_error"), &json!("req_1")));
        assert!(Problem::on_request(Protocol::OpenAi, 404, "gpt-x").message.contains("`gpt-x`"));
    }
}
