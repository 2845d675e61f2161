//! What is known of OpenAI's models beside their prices. Read off the number in the name, so that models to come are taken for the newest
//! kind.

/// Whether a model reasons, so that it takes `reasoning_effort`: `o1`, `o3`, `o4-mini`, `gpt-5`, `gpt-oss`, … and what is to come. Those
/// that chat (`gpt-5-chat-latest`) do not. The name may say whose the model is (`openai/gpt-5`) or what it was tuned from
/// (`ft:o4-mini:…`).
pub(super) fn reasons(model: &str) -> bool {
    let name = bare(model);
    if is_o(name) {
        return true;
    }
    let Some(name) = name.strip_prefix("gpt-") else { return false };
    let Some((version, rest)) = number(name) else { return name.starts_with("oss") };
    let chats = rest.split('-').nth(1) == Some("chat");
    // Some call gpt-3.5 `gpt-35`.
    version >= 5 && version != 35 && !chats
}

/// Whether a model can be told to call several tools at once, or not to: `o1`, `o3`, … take no word about it.
pub(super) fn takes_parallel_calls(model: &str) -> bool {
    !is_o(bare(model))
}

/// The name without whose it is.
fn bare(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("ft:").unwrap_or(name)
}

/// Whether it is an `o` with a number.
fn is_o(name: &str) -> bool {
    name.strip_prefix('o').and_then(number).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(['-', ':', '@']))
}

/// The number at the beginning of a text, and what follows.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::{reasons, takes_parallel_calls};

    #[test]
    fn who_reasons() {
        for model in [
            "o1",
            "o3-mini",
            "o4-mini-2025-04-16",
            "o11",
            "gpt-5",
            "gpt-5-mini",
            "gpt-5.1",
            "gpt-5.2-codex",
            "gpt-12",
            "openai/gpt-5-nano",
            "openai/o3",
            "ft:o4-mini:acme::abc",
            "o3:online",
            "gpt-oss-120b",
            "openai/gpt-oss-20b:free",
        ] {
            assert!(reasons(model), "{model}");
        }
        for model in [
            "",
            "o",
            "omni-moderation",
            "o200k",
            "gpt-4o",
            "gpt-4.1-mini",
            "gpt-3.5-turbo",
            "gpt-35-turbo",
            "gpt-5-chat-latest",
            "openai/gpt-5.1-chat",
            "ft:gpt-4o-mini:acme::o3",
            "openai/",
            "gpt-99999999999999999999",
            "llama-o3",
            "gpt-",
            "ö1",
        ] {
            assert!(!reasons(model), "{model}");
        }
    }

    #[test]
    fn who_is_told_of_parallel_calls() {
        assert!(["gpt-4o", "gpt-5", "mistral", ""].into_iter().all(takes_parallel_calls));
        assert!(!["o3", "openai/o4-mini", "ft:o4-mini:acme::abc"].into_iter().any(takes_parallel_calls));
    }
}
