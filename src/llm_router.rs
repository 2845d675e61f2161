//! The router under the names that older programs import.

pub use crate::provider::detect_provider_from_key;
pub use crate::router::LlmRouter;
use crate::wire::{route, scan};

/// A provider's key with the provider it belongs to.
pub struct ProviderKey {
    /// The key.
    pub key: crate::Secret,
    /// `"openai"` or `"anthropic"`.
    pub provider: &'static str,
}

impl ProviderKey {
    /// Wraps a key; its provider is told by its beginning.
    pub fn new(key: impl Into<String>) -> Self {
        let key = crate::Secret::new(key);
        Self { provider: Self::detect_provider_from_key(key.expose()), key }
    }

    /// `"anthropic"` for `sk-ant-…`, else `"openai"`.
    pub fn detect_provider_from_key(key: &str) -> &'static str {
        detect_provider_from_key(key)
    }
}

/// The provider of the model that a JSON request body names; `None` for an unknown model or a body that names none.
///
/// ```
/// use iron_runtime::llm_router::detect_provider_from_model;
/// assert_eq!(detect_provider_from_model(br#"{"model":"gpt-5-nano"}"#), Some("openai"));
/// assert_eq!(detect_provider_from_model(b"not json"), None);
/// ```
pub fn detect_provider_from_model(body: &[u8]) -> Option<&'static str> {
    let model = scan::scan(body).ok()?.model?;
    crate::provider::provider_of_model(&model).map(crate::Protocol::as_str)
}

/// A path without its provider prefix, and the provider that the prefix names. The prefix ends where a segment ends.
///
/// ```
/// use iron_runtime::llm_router::strip_provider_prefix;
/// assert_eq!(strip_provider_prefix("/openai/v1/x"), ("/v1/x".to_string(), Some("openai")));
/// assert_eq!(strip_provider_prefix("/anthropic"), ("/".to_string(), Some("anthropic")));
/// assert_eq!(strip_provider_prefix("/openai.evil/x"), ("/openai.evil/x".to_string(), None));
/// ```
pub fn strip_provider_prefix(path: &str) -> (String, Option<&'static str>) {
    let (rest, provider) = route::split_provider_prefix(path);
    (rest.to_string(), provider.map(crate::Protocol::as_str))
}
