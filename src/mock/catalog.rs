//! The endpoints without a conversation: models of both protocols, embeddings, moderations, speech.
//!
//! Pure: request JSON in, reply values out. Vectors and sounds are arithmetic, the same for the same input.

use super::answer::{Answer, Ask, Problem, Tokens};
use super::encode;
use super::openai;
use super::text;
use crate::call::Protocol;
use crate::clock::UnixMs;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The most inputs of one embeddings request, and the most dimensions.
const MAX_INPUTS: usize = 2048;
const MAX_DIMENSIONS: u64 = 3072;

/// Bytes of a spoken reply.
const SPEECH_BYTES: usize = 4096;

/// When every model was made: 2025-01-01.
const CREATED: u64 = 1_735_689_600;

const OPENAI_MODELS: [&str; 6] = ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5-nano", "o3-mini", "text-embedding-3-small"];
const ANTHROPIC_MODELS: [(&str, &str); 2] =
    [("claude-sonnet-4-20250514", "Claude Sonnet 4"), ("claude-3-5-haiku-latest", "Claude Haiku 3.5")];

const MODERATION_CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// Whether a model is one of those that do not exist; all others do.
pub(super) fn nonexistent(model: &str) -> bool {
    model.starts_with("nonexistent-")
}

/// `GET /v1/models`.
pub(super) fn models(protocol: Protocol) -> Answer {
    let body = match protocol {
        Protocol::OpenAi => {
            let models: Vec<Value> = OPENAI_MODELS.iter().map(|id| openai_model(id)).collect();
            json!({"object": "list", "data": models})
        }
        Protocol::Anthropic => {
            let models: Vec<Value> = ANTHROPIC_MODELS.iter().map(|(id, name)| anthropic_model(id, name)).collect();
            json!({"first_id": models[0]["id"], "last_id": models[models.len() - 1]["id"], "has_more": false, "data": models})
        }
    };
    Answer::json(&body)
}

/// `GET /v1/models/{id}`.
pub(super) fn model(protocol: Protocol, id: &str) -> Result<Answer, Problem> {
    if nonexistent(id) {
        return Err(Problem::unknown_model(protocol, id));
    }
    Ok(Answer::json(&match protocol {
        Protocol::OpenAi => openai_model(id),
        Protocol::Anthropic => {
            let name = ANTHROPIC_MODELS.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| name);
            anthropic_model(id, name)
        }
    }))
}

fn openai_model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "mock"})
}

fn anthropic_model(id: &str, name: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": name, "created_at": UnixMs(CREATED * 1000).rfc3339(), "lifecycle": "active"})
}

/// `POST /v1/embeddings`.
pub(super) fn embeddings(ask: &Ask<'_>) -> Result<Answer, Problem> {
    let model = openai::model(ask)?;
    let inputs = inputs(ask.field("input"))?;
    let usual = if model.contains("3-large") { MAX_DIMENSIONS } else { 1536 };
    let dimensions = match ask.field("dimensions") {
        Value::Null => usual,
        wanted => {
            let wanted = wanted.as_u64().filter(|wanted| (1..=MAX_DIMENSIONS).contains(wanted));
            wanted.ok_or_else(|| Problem::field("dimensions", "Invalid 'dimensions': expected 1 to 3072."))?
        }
    };
    let base64 = *ask.field("encoding_format") == "base64";
    let embedding = |(index, input): (usize, &Value)| {
        let vector = vector(input, dimensions);
        let vector = if base64 { encoded(&vector) } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": vector})
    };
    let data: Vec<Value> = inputs.iter().enumerate().map(embedding).collect();
    let input = inputs.iter().map(input_tokens).sum();
    let body = json!({"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": input, "total_tokens": input}});
    Ok(Answer::metered(&body, Tokens { input, ..Tokens::default() }))
}

/// The inputs: a text, a list of texts, a list of tokens, a list of lists of tokens.
fn inputs(input: &Value) -> Result<Vec<Value>, Problem> {
    let inputs = match input {
        Value::Null => return Err(openai::missing("input")),
        Value::Array(items) if items.iter().any(|item| !item.is_u64()) => items.clone(),
        one => vec![one.clone()],
    };
    let valid = |input: &Value| match input {
        Value::String(text) => !text.is_empty(),
        Value::Array(tokens) => !tokens.is_empty() && tokens.iter().all(Value::is_u64),
        _ => false,
    };
    if inputs.len() > MAX_INPUTS || !inputs.iter().all(valid) {
        return Err(Problem::field("input", "'$.input' is invalid."));
    }
    Ok(inputs)
}

fn input_tokens(input: &Value) -> u64 {
    match input {
        Value::String(text) => text::tokens_of(text),
        Value::Array(tokens) => tokens.len() as u64,
        _ => 0,
    }
}

/// A vector of length 1 that depends on the input alone.
fn vector(input: &Value, dimensions: u64) -> Vec<f32> {
    let mut hasher = DefaultHasher::new();
    input.to_string().hash(&mut hasher);
    let mut state = hasher.finish() | 1;
    let raw: Vec<f64> = (0..dimensions)
        .map(|_| {
            // xorshift64 (Marsaglia): any full-period step will do.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    raw.into_iter().map(|x| (x / length) as f32).collect()
}

fn encoded(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    Value::String(encode::base64(&bytes))
}

/// `POST /v1/moderations`: nothing is ever flagged.
pub(super) fn moderations(ask: &Ask<'_>) -> Result<Answer, Problem> {
    let count = match ask.field("input") {
        Value::Null => return Err(openai::missing("input")),
        Value::Array(inputs) if inputs.iter().all(Value::is_string) => inputs.len().min(MAX_INPUTS),
        _ => 1,
    };
    let each = |value: Value| -> Value { MODERATION_CATEGORIES.iter().map(|name| ((*name).to_owned(), value.clone())).collect() };
    let result = json!({
        "flagged": false, "categories": each(json!(false)), "category_scores": each(json!(0.0001)),
        "category_applied_input_types": each(json!(["text"])),
    });
    let model = ask.model().unwrap_or("omni-moderation-latest");
    Ok(Answer::json(&json!({"id": ask.id("modr-"), "model": model, "results": vec![result; count]})))
}

/// `POST /v1/audio/speech`: bytes of the right kind, though nothing to listen to.
pub(super) fn speech(ask: &Ask<'_>) -> Result<Answer, Problem> {
    openai::model(ask)?;
    if ask.field("input").as_str().is_none_or(str::is_empty) {
        return Err(openai::missing("input"));
    }
    let kind = match ask.field("response_format").as_str() {
        Some("wav") => "audio/wav",
        Some("opus") => "audio/opus",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("pcm") => "audio/pcm",
        _ => "audio/mpeg",
    };
    let mut sound = vec![0xff, 0xfb, 0x90, 0x00];
    sound.extend((sound.len()..SPEECH_BYTES).map(|at| (at * 31 % 251) as u8));
    Ok(Answer::bytes(kind, sound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::answer::testing::reply;

    #[test]
    fn vectors_are_unit_vectors_of_their_input() {
        let body = |input: Value| json!({"model": "text-embedding-3-small", "input": input, "dimensions": 4});
        let first = reply(body(json!("a")), embeddings).expect("a reply");
        assert_eq!(first["data"], reply(body(json!(["a"])), embeddings).expect("a reply")["data"]);
        let vector: Vec<f64> = first["data"][0]["embedding"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-6);
        assert_eq!(vector.len(), 4);
    }

    #[test]
    fn embeddings_take_every_kind_of_input() {
        let table = [
            (json!("abcde"), Ok((1, 2))),
            (json!(["abcd", "abcd"]), Ok((2, 2))),
            (json!([1, 2, 3]), Ok((1, 3))),
            (json!([[1, 2], [3]]), Ok((2, 3))),
            (json!(null), Err(400)),
            (json!(""), Err(400)),
            (json!([]), Err(400)),
            (json!([1, "a"]), Err(400)),
        ];
        for (input, expected) in table {
            let got = reply(json!({"model": "m", "input": input, "encoding_format": "base64"}), embeddings)
                .map(|body| (body["data"].as_array().map_or(0, Vec::len), body["usage"]["total_tokens"].as_u64().unwrap_or(0)))
                .map_err(|problem| problem.status);
            assert_eq!(got, expected, "{input}");
        }
    }

    #[test]
    fn base64_vectors_are_little_endian_floats() {
        let body = reply(json!({"model": "m", "input": "a", "encoding_format": "base64"}), embeddings).expect("a reply");
        assert_eq!(body["data"][0]["embedding"].as_str().map(str::len), Some(1536 * 4 * 4 / 3));
        assert_eq!(encoded(&[1.0]), json!("AACAPw=="));
    }

    #[test]
    fn models_are_listed_in_both_shapes() {
        let Answer::Whole { body, .. } = models(Protocol::Anthropic) else { panic!("a stream") };
        let list: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(list["last_id"], "claude-3-5-haiku-latest");
        assert!(model(Protocol::OpenAi, "gpt-whatever").is_ok());
        assert_eq!(model(Protocol::OpenAi, "nonexistent-1").err().map(|problem| problem.code), Some(Some("model_not_found")));
    }

    #[test]
    fn moderations_answer_each_text() {
        assert_eq!(reply(json!({"input": ["a", "b"]}), moderations).map(|body| body["results"].as_array().map(Vec::len)), Ok(Some(2)));
    }
}
