//! What a model's family says beside its price: the most that a picture costs, whether it may think unseen, whether it searches by itself.
//!
//! The first two are upper sides: a family we do not know costs the most and thinks.
//!
//! Pictures, from the providers' documentation of vision. OpenAI's tile models take a base and so much for each tile of 512 pixels; a picture
//! is first shrunk to 2048 pixels, then to 768 on its short side, which leaves 8 tiles at most: 85 + 170 × 8 = 1,445 tokens (o-series
//! 75 + 150 × 8 = 1,275, gpt-5 70 + 140 × 8 = 1,190), and 2,833 + 5,667 × 8 = 48,169 for gpt-4o-mini. Its patch models take 1,536 patches
//! at most, times 1.62 (mini), 1.72 (o4-mini) or 2.46 (nano): 3,779. Anthropic takes width × height / 750, about 1,600 tokens, and up to
//! 4,800 where a model sees in high resolution.

/// The most tokens one picture can cost.
pub(super) fn image_tokens(provider: &str, model: &str) -> u64 {
    const UNKNOWN: u64 = 16_384;
    let name = bare(model);
    if provider == "anthropic" || name.starts_with("claude") {
        return 5_000;
    }
    let table: [(&[&str], u64); 3] = [
        (&["gpt-4o-mini"], 48_200),
        (&["gpt-4.1-mini", "gpt-4.1-nano", "gpt-5-mini", "gpt-5-nano", "o4-mini"], 3_800),
        (&["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-4-turbo", "gpt-4-vision", "chatgpt-4o", "gpt-5-chat", "o1", "o3", "computer-use"], 1_445),
    ];
    let known = table.iter().find(|(families, _)| families.iter().any(|family| is_of(name, family)));
    known.map_or(if name == "gpt-5" { 1_445 } else { UNKNOWN }, |(_, tokens)| *tokens)
}

/// Whether it may think unseen though the request does not ask for it.
pub(super) fn reasons(model: &str) -> bool {
    let name = bare(model);
    // These Claude models think always; the others when they are asked to, which is read off the request.
    let always = ["claude-fable", "claude-mythos", "claude-sonnet-5-5", "claude-opus-5-5", "claude-sonnet-5.5", "claude-opus-5.5"];
    if name.starts_with("claude") {
        return always.iter().any(|family| is_of(name, family));
    }
    let never = ["gpt-3.5", "gpt-4", "gpt-4o", "gpt-4.1", "gpt-4.5", "chatgpt-4o", "gpt-audio", "babbage", "davinci", "text-embedding"];
    !never.iter().any(|family| is_of(name, family)) && !name.contains("embed")
}

/// Whether it searches by itself, and the provider bills every search beside the tokens (`gpt-4o-search-preview`, `o3-deep-research`,
/// `sonar`).
pub(in crate::policy) fn searches(model: &str) -> bool {
    bare(model).split(['-', ':']).any(|part| matches!(part, "search" | "research" | "sonar" | "online"))
}

/// The name without a provider or a fine-tune's mark before it.
fn bare(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("ft:").unwrap_or(name)
}

/// Whether a name is a family's or begins with it and a separator: `gpt-4` is not the family of `gpt-4o`.
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '@']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures() {
        for (provider, model, tokens) in [
            ("openai", "gpt-4o-mini", 48_200),
            ("openai", "gpt-4o-mini-2024-07-18", 48_200),
            ("openai", "ft:gpt-4o-mini-2024-07-18", 48_200),
            ("openrouter", "openai/gpt-4o-mini", 48_200),
            ("openai", "gpt-4o", 1_445),
            ("openai", "gpt-4.1", 1_445),
            ("openai", "o3", 1_445),
            ("openai", "gpt-5", 1_445),
            ("openai", "gpt-4.1-nano", 3_800),
            ("openai", "o4-mini", 3_800),
            ("openai", "gpt-5-nano", 3_800),
            ("openai", "gpt-5.4-mini", 16_384),
            ("openai", "gpt-6-sol", 16_384),
            ("anthropic", "claude-sonnet-4-0", 5_000),
            ("openrouter", "anthropic/claude-opus-4.5", 5_000),
            ("groq", "llama-4", 16_384),
        ] {
            assert_eq!(image_tokens(provider, model), tokens, "{provider} {model}");
        }
    }

    #[test]
    fn searching() {
        for (model, searches_itself) in [
            ("gpt-4o-search-preview-2025-03-11", true),
            ("gpt-5-search-api", true),
            ("openai/o3-deep-research", true),
            ("o4-mini-deep-research", true),
            ("perplexity/sonar-pro", true),
            ("sonar", true),
            ("perplexity/llama-3.1-sonar-large-128k-online", true),
            ("gpt-4o", false),
            ("sonata-large", false),
            ("nous-researcher", false),
        ] {
            assert_eq!(searches(model), searches_itself, "{model}");
        }
    }

    #[test]
    fn thinking() {
        for (model, thinks) in [
            ("gpt-4o", false),
            ("gpt-4o-mini", false),
            ("gpt-4.1-nano", false),
            ("gpt-4-turbo", false),
            ("gpt-3.5-turbo", false),
            ("ft:gpt-4.1-2025-04-14", false),
            ("text-embedding-3-small", false),
            ("claude-sonnet-4-0", false),
            ("claude-opus-5", false),
            ("claude-opus-5-5", true),
            ("anthropic/claude-opus-5.5", true),
            ("claude-fable-5", true),
            ("o3-mini", true),
            ("gpt-5-nano", true),
            ("gpt-6-sol", true),
            ("gpt-40", true),
            ("some-model", true),
        ] {
            assert_eq!(reasons(model), thinks, "{model}");
        }
    }
}
