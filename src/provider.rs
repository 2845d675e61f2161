//! Which provider a key or a model belongs to, by its name alone.

use crate::call::Protocol;

/// The provider of a key: `"anthropic"` for `sk-ant-…`, `"openai"` for anything else.
pub fn detect_provider_from_key(key: &str) -> &'static str {
    provider_of_key(key).as_str()
}

/// [`detect_provider_from_key`] as a protocol.
pub fn provider_of_key(key: &str) -> Protocol {
    if key.starts_with("sk-ant-") { Protocol::Anthropic } else { Protocol::OpenAi }
}

/// The provider of a well-known model name; `None` for any other.
///
/// ```
/// use iron_runtime::{provider::provider_of_model, Protocol};
/// assert_eq!(provider_of_model("gpt-5-nano"), Some(Protocol::OpenAi));
/// assert_eq!(provider_of_model("claude-3-5-haiku-latest"), Some(Protocol::Anthropic));
/// assert_eq!(provider_of_model("llama-3.1-70b"), None);
/// ```
pub fn provider_of_model(model: &str) -> Option<Protocol> {
    const OPENAI: [&str; 14] = [
        "gpt",
        "chatgpt",
        "text-embedding",
        "text-moderation",
        "omni-moderation",
        "text-davinci",
        "davinci",
        "babbage",
        "dall-e",
        "whisper",
        "tts-",
        "codex-",
        "computer-use-preview",
        "sora-",
    ];
    // A fine-tune is named after its base model: `ft:gpt-4o-mini:org::id`.
    let model = model.strip_prefix("ft:").unwrap_or(model);
    if model.starts_with("claude") {
        Some(Protocol::Anthropic)
    } else if OPENAI.iter().any(|prefix| model.starts_with(prefix)) || is_o_series(model) {
        Some(Protocol::OpenAi)
    } else {
        None
    }
}

/// `o1`, `o3-mini`, `o4-mini-…`: an `o`, a digit, then nothing or a dash.
fn is_o_series(model: &str) -> bool {
    let mut bytes = model.bytes();
    bytes.next() == Some(b'o')
        && bytes.next().is_some_and(|b| b.is_ascii_digit())
        && matches!(bytes.find(|b| !b.is_ascii_digit()), None | Some(b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models() {
        use Protocol::{Anthropic, OpenAi};
        for (model, provider) in [
            ("gpt-4o", Some(OpenAi)),
            ("gpt-5-nano", Some(OpenAi)),
            ("chatgpt-4o-latest", Some(OpenAi)),
            ("o1", Some(OpenAi)),
            ("o1-preview", Some(OpenAi)),
            ("o3-mini", Some(OpenAi)),
            ("ft:gpt-4o-mini:acme::x", Some(OpenAi)),
            ("text-embedding-3-small", Some(OpenAi)),
            ("claude-sonnet-4-20250514", Some(Anthropic)),
            ("llama-3.1-70b", None),
            ("o", None),
            ("ollama", None),
            ("o1x", None),
            ("", None),
        ] {
            assert_eq!(provider_of_model(model), provider, "{model}");
        }
    }

    #[test]
    fn keys() {
        assert_eq!(detect_provider_from_key("sk-ant-api03-x"), "anthropic");
        for key in ["sk-proj-x", "sk-x", "anything", ""] {
            assert_eq!(detect_provider_from_key(key), "openai");
        }
    }
}
