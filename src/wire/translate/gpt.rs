//! What is known of OpenAI's models beside their prices. Read off the number in the name, so that models to come are taken for the newest
//! kind.

use super::form::Effort;

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

/// Whether a model takes no tools while it reasons: `/v1/chat/completions` refuses the two together from `gpt-5.4` on, and some of these
/// models reason unless they are told not to.
pub(super) fn reasons_without_tools(model: &str) -> bool {
    version(bare(model)).is_some_and(|version| version >= (5, 4))
}

/// The word for an effort that a model knows: few know all. What it does not know becomes the nearest that it does.
pub(super) fn effort_word(effort: Effort, model: &str) -> &'static str {
    let name = bare(model);
    let version = version(name);
    let knows_more = version.is_some_and(|version| version >= (5, 2)) || name.contains("codex-max");
    let known = match effort {
        Effort::Minimal if version != Some((5, 0)) => Effort::Low,
        Effort::XHigh | Effort::Max if knows_more => Effort::XHigh,
        Effort::XHigh | Effort::Max => Effort::High,
        effort => effort,
    };
    known.as_str()
}

/// The two numbers in the name of a model that is called `gpt-` and reasons.
fn version(name: &str) -> Option<(u32, u32)> {
    if !reasons(name) {
        return None;
    }
    let (major, rest) = number(name.strip_prefix("gpt-")?)?;
    Some((major, rest.strip_prefix('.').and_then(number).map_or(0, |(minor, _)| minor)))
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
    use super::*;

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
    fn who_takes_no_tools_while_reasoning() {
        for model in ["gpt-5.4", "gpt-5.5-2026-04-23", "openai/gpt-5.6-terra", "gpt-6-astra", "gpt-5.10"] {
            assert!(reasons_without_tools(model), "{model}");
        }
        for model in ["gpt-5", "gpt-5-mini", "gpt-5.3-codex", "gpt-5.4-chat-latest", "gpt-oss-120b", "gpt-4.5", "gpt-35-turbo", "o3", ""] {
            assert!(!reasons_without_tools(model), "{model}");
        }
    }

    #[test]
    fn efforts_by_model() {
        for (model, effort, word) in [
            ("gpt-5", Effort::Minimal, "minimal"),
            ("gpt-5.1", Effort::Minimal, "low"),
            ("o3", Effort::Minimal, "low"),
            ("gpt-5", Effort::XHigh, "high"),
            ("o4-mini", Effort::Max, "high"),
            ("gpt-5.1-codex-max", Effort::XHigh, "xhigh"),
            ("gpt-5.2", Effort::Max, "xhigh"),
            ("gpt-5.2", Effort::Medium, "medium"),
        ] {
            assert_eq!(effort_word(effort, model), word, "{model}");
        }
    }

    #[test]
    fn who_is_told_of_parallel_calls() {
        assert!(["gpt-4o", "gpt-5", "mistral", ""].into_iter().all(takes_parallel_calls));
        assert!(!["o3", "openai/o4-mini", "ft:o4-mini:acme::abc"].into_iter().any(takes_parallel_calls));
    }
}
