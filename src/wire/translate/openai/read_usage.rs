//! What a chat completion used.

use crate::call::Endpoint;
use crate::money::Usage;
use crate::wire::json::Raw;
use crate::wire::usage::told;

/// The tokens that a `usage` object tells, or `x_groq.usage`; `None` where it tells none. Where both do, `usage` counts.
pub(super) fn read_usage(usage: Option<Raw<'_>>, x_groq: Option<Raw<'_>>) -> Option<Usage> {
    let read = |usage: Raw<'_>| told(Endpoint::ChatCompletions, usage.text().as_bytes());
    usage.and_then(read).or_else(|| x_groq?.get("usage").and_then(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(usage: &str, x_groq: &str) -> Option<(u64, u64, u64)> {
        let found = read_usage(Raw::parse(usage.as_bytes()).ok(), Raw::parse(x_groq.as_bytes()).ok())?;
        Some((found.input, found.cache_read, found.output))
    }

    #[test]
    fn whoever_tells_it() {
        let told = r#"{"prompt_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}"#;
        let groq = r#"{"id":"req_1","usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
        assert_eq!(usage(told, groq), Some((6, 4, 3)));
        assert_eq!(usage("{}", groq), Some((7, 0, 1)));
        assert_eq!(usage(r#"{"prompt_tokens":0,"completion_tokens":0}"#, "{}"), None);
        assert_eq!(usage("7", r#"{"usage":[]}"#), None);
    }
}
