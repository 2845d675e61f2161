//! How many tokens a conversation has, estimated: for `/v1/messages/count_tokens` where the model's provider does not count.
//!
//! The rule, meant to be a little above what tokenizers say of prose and code:
//!
//! * text: a token for 4 bytes of ASCII, and for 1.5 characters of anything else; every text is rounded up
//! * 3 tokens a request, and 4 more for each turn, system text, tool, tool call and tool result
//! * schemas and arguments of tools count as their JSON text
//! * a picture: 765 tokens, whatever its size, as many as one of 1024 × 1024 pixels has in OpenAI's models
//! * a document: 2,000 tokens for every 50 KiB begun of it (its bytes, not its base64), about a page of print
//! * thinking is not counted: it does not go on to the other provider
//!
//! So it is never 0.

use super::anthropic::read_conversation;
use super::field::Field;
use super::form::{Content, Format, Part, Request, Source, Tool};
use super::loss::Loss;
use crate::call::{Protocol, Refusal};
use crate::wire::json::Raw;

/// What stands around every turn, tool, call and result.
const FRAME: u64 = 4;

/// What stands around the whole.
const REQUEST: u64 = 3;

/// A picture.
const PICTURE: u64 = 765;

/// A page of a document: its bytes and its tokens.
const PAGE_BYTES: u64 = 50 << 10;
const PAGE: u64 = 2_000;

/// Estimates the input tokens of a request to Anthropic's `count_tokens` for a model of another provider.
///
/// ```
/// use iron_runtime::wire::translate::count_tokens;
/// let body = br#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"How are you?"}]}"#;
/// assert_eq!(count_tokens(body).unwrap(), 3 + 4 + 3);
/// ```
///
/// # Errors
/// As [`request`](super::request), but that there may be no `max_tokens`.
pub fn count_tokens(body: &[u8]) -> Result<u64, Refusal> {
    let root = Field::root(Raw::parse(body)?, Protocol::Anthropic);
    Ok(of_request(&read_conversation(&root, &mut Loss::default())?))
}

fn of_request(request: &Request<'_>) -> u64 {
    let system: u64 = request.system.iter().map(|system| FRAME + of_text(&system.text)).sum();
    let turns: u64 = request.turns.iter().map(|turn| FRAME + of_parts(&turn.parts)).sum();
    let tools: u64 = request.tools.iter().map(of_tool).sum();
    let format = match &request.format {
        Some(Format::JsonSchema { schema, .. }) => FRAME + of_text(schema.text()),
        Some(Format::JsonObject) | None => 0,
    };
    REQUEST + system + turns + tools + format
}

fn of_tool(tool: &Tool<'_>) -> u64 {
    let description = tool.description.as_deref().map_or(0, of_text);
    FRAME + of_text(&tool.name) + description + tool.schema.map_or(0, |schema| of_text(schema.text()))
}

fn of_parts(parts: &[Part<'_>]) -> u64 {
    parts.iter().map(|part| of_content(&part.content)).sum()
}

fn of_content(content: &Content<'_>) -> u64 {
    match content {
        Content::Text(text) | Content::Refusal(text) => of_text(text),
        Content::Image(_) => PICTURE,
        Content::Document { source, title } => of_source(source) + title.as_deref().map_or(0, of_text),
        Content::Call(call) => FRAME + of_text(&call.name) + of_text(&call.arguments),
        Content::Result { content, .. } => FRAME + of_parts(content),
        Content::Thought(_) => 0,
    }
}

fn of_source(source: &Source<'_>) -> u64 {
    match source {
        Source::Text(text) => of_text(text),
        Source::Base64 { data, .. } => (data.len() as u64 / 4 * 3).div_ceil(PAGE_BYTES).max(1) * PAGE,
        Source::Url(_) => PAGE,
    }
}

/// In twelfths of a token: 3 for a byte of ASCII, 8 for any other character.
fn of_text(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let begins_other = |byte: &u8| !byte.is_ascii() && byte & 0b1100_0000 != 0b1000_0000;
    let others = text.bytes().filter(begins_other).count() as u64;
    (3 * ascii + 8 * others).div_ceil(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(body: &str) -> u64 {
        count_tokens(body.as_bytes()).expect(body)
    }

    /// A conversation of one user's turn with this content.
    fn turn(content: &str) -> u64 {
        count(&format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":{content}}}]}}"#)) - REQUEST - FRAME
    }

    #[test]
    fn texts() {
        assert_eq!((of_text(""), of_text("a"), of_text("abcd"), of_text("abcde")), (0, 1, 1, 2));
        assert_eq!((of_text("日本語"), of_text("é"), of_text("😀😀😀")), (2, 1, 2));
        assert_eq!(of_text(&"word ".repeat(1_000)), 1_250);
    }

    #[test]
    fn every_part_counts() {
        let pdf = |bytes: usize| {
            let data = "AAAA".repeat(bytes.div_ceil(3));
            turn(&format!(r#"[{{"type":"document","source":{{"type":"base64","media_type":"application/pdf","data":"{data}"}}}}]"#))
        };
        assert_eq!((pdf(3), pdf(51_200 - 3), pdf(51_300)), (2_000, 2_000, 4_000));
        assert_eq!(turn(r#"[{"type":"image","source":{"type":"url","url":"https://a.example/x"}},{"type":"text","text":"abcd"}]"#), 766);
        assert_eq!(turn(r#"[{"type":"document","source":{"type":"text","data":"abcd"}}]"#), 1);
    }

    #[test]
    fn tools_calls_and_results_count() {
        let tool = r#""tools":[{"name":"abcd","description":"abcd","input_schema":{"type":"object"}}]"#;
        let call = r#"{"role":"assistant","content":[{"type":"thinking","thinking":"abcd","signature":"s"},{"type":"tool_use","id":"1","name":"abcd","input":{"a":1}}]}"#;
        let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"abcd"}]}"#;
        let body = format!(r#"{{"model":"m","system":"abcd",{tool},"messages":[{{"role":"user","content":"a"}},{call},{result}]}}"#);
        let (system, tools, said, called, given) = (4 + 1, 4 + 1 + 1 + 5, 4 + 1, 4 + 4 + 1 + 2, 4 + 4 + 1);
        assert_eq!(count(&body), 3 + system + tools + said + called + given);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (body, words) in [
            (&br#"{"model":"m"}"#[..], "messages is missing"),
            (br#"{"messages":[{"role":"user","content":"a"}]}"#, "model is missing"),
            (br#"{"model":"m","messages":[{"role":"user","content":""}]}"#, "messages.0.content must not be empty"),
            (b"[]", "the request body must be an object"),
            (b"{", "not a JSON object"),
        ] {
            let refusal = count_tokens(body).expect_err("no request");
            assert!(refusal.message.contains(words), "{}", refusal.message);
        }
    }
}
