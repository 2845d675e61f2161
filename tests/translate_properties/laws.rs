//! What must hold of every translation, whatever comes in. The property test and the fuzz targets (`fuzz/fuzz_targets`) share these laws:
//! each takes any bytes, and panics where one is broken.

mod replies;
mod requests;
pub mod streams;

use iron_runtime::Protocol;
use serde_json::Value;

/// A chat completion request, for upstreams of Anthropic's protocol.
pub fn request_openai(input: &[u8]) {
    requests::hold(Protocol::OpenAi, input);
}

/// A messages request, for upstreams of OpenAI's protocol.
pub fn request_anthropic(input: &[u8]) {
    requests::hold(Protocol::Anthropic, input);
}

/// A stream of messages for an OpenAI client. The first byte is how the reply is to be read, the second how the rest is cut.
pub fn stream_openai(input: &[u8]) {
    streams::hold(Protocol::OpenAi, input);
}

/// A stream of chat completions for an Anthropic client, with the same two bytes in front.
pub fn stream_anthropic(input: &[u8]) {
    streams::hold(Protocol::Anthropic, input);
}

/// A whole reply, an error, a list of models. The first byte is whose it is, and the status of the error.
pub fn reply(input: &[u8]) {
    replies::hold(input);
}

/// Takes any bytes, and panics where they break it.
pub type Law = fn(&[u8]);

/// Every target, by the name of its corpus.
#[allow(dead_code, reason = "a fuzz target is one of them")]
pub const ALL: [(&str, Law); 5] = [
    ("request_openai", request_openai),
    ("request_anthropic", request_anthropic),
    ("stream_openai", stream_openai),
    ("stream_anthropic", stream_anthropic),
    ("reply", reply),
];

fn other(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::OpenAi => Protocol::Anthropic,
        Protocol::Anthropic => Protocol::OpenAi,
    }
}

/// The tree of a text, if it is JSON to a strict parser, and no deeper and no larger in its numbers than that takes.
fn tree(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// The tree of what was written, which must be JSON. `None`: too deep or too large a number for this parser.
fn written(text: &[u8]) -> Option<Value> {
    match serde_json::from_slice(text) {
        Ok(value) => Some(value),
        Err(fault) => {
            let bounds = ["recursion limit", "out of range"];
            let beyond = bounds.iter().any(|bound| fault.to_string().contains(bound));
            assert!(beyond, "no JSON was written: {fault}: {}", String::from_utf8_lossy(text));
            None
        }
    }
}

/// The items of an array; none of anything else.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a string holds the text of a JSON object.
fn is_object_text(value: &Value) -> bool {
    // What is an object but for its depth or the size of its numbers is one, too.
    let fault = |fault: serde_json::Error| fault.to_string().contains("recursion") || fault.to_string().contains("out of range");
    value.as_str().is_some_and(|text| serde_json::from_str::<Value>(text).map_or_else(fault, |value| value.is_object()))
}
