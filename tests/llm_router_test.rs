//! The pure rules that users' own tests know.

use iron_runtime::llm_router::{ProviderKey, detect_provider_from_key, detect_provider_from_model, strip_provider_prefix};

#[test]
fn the_provider_of_a_key() {
    for (key, provider) in
        [("sk-ant-api03-abc", "anthropic"), ("sk-proj-abc", "openai"), ("sk-abc", "openai"), ("anything", "openai"), ("", "openai")]
    {
        assert_eq!(detect_provider_from_key(key), provider, "{key}");
        assert_eq!(ProviderKey::new(key).provider, provider, "{key}");
    }
}

#[test]
fn the_provider_of_a_body() {
    for (body, provider) in [
        (r#"{"model":"gpt-4o","messages":[]}"#, Some("openai")),
        (r#"{"model":"gpt-5-nano"}"#, Some("openai")),
        (r#"{"model":"o1-preview"}"#, Some("openai")),
        (r#"{"model":"o3-mini"}"#, Some("openai")),
        (r#"{"model":"claude-sonnet-4-20250514"}"#, Some("anthropic")),
        (r#"{"messages":[{"model":"claude"}],"model":"chatgpt-4o-latest"}"#, Some("openai")),
        (r#"{"model":"llama-3.1-70b"}"#, None),
        (r#"{"model":42}"#, None),
        (r#"{"messages":[]}"#, None),
        ("not json", None),
        ("", None),
    ] {
        assert_eq!(detect_provider_from_model(body.as_bytes()), provider, "{body}");
    }
}

#[test]
fn the_prefix_of_a_path() {
    for (path, rest, provider) in [
        ("/anthropic", "/", Some("anthropic")),
        ("/anthropic/v1/messages", "/v1/messages", Some("anthropic")),
        ("/openai/v1/x", "/v1/x", Some("openai")),
        ("/openai/", "/", Some("openai")),
        ("/v1/chat/completions", "/v1/chat/completions", None),
        ("/openai.evil.com/x", "/openai.evil.com/x", None),
        ("/openai@evil/x", "/openai@evil/x", None),
        ("/openai:99/x", "/openai:99/x", None),
        ("/openai//evil.com/x", "/openai//evil.com/x", None),
        ("/OpenAI/v1/x", "/OpenAI/v1/x", None),
        ("/", "/", None),
        ("", "", None),
    ] {
        assert_eq!(strip_provider_prefix(path), (rest.to_string(), provider), "{path}");
    }
}
