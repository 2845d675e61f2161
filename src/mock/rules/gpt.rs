//! Which models are OpenAI's own, and which of them reason.

/// Whether a model is OpenAI's own and not a compatible server's.
pub(super) fn own(model: &str) -> bool {
    let o_series = matches!(model.as_bytes(), [b'o', digit, ..] if digit.is_ascii_digit());
    o_series || ["gpt-", "chatgpt-", "ft:gpt-"].iter().any(|prefix| model.starts_with(prefix)) && !model.starts_with("gpt-oss")
}

/// Whether it reasons before it answers.
pub(super) fn reasons(model: &str) -> bool {
    own(model) && (model.starts_with('o') || model.starts_with("gpt-5")) && !model.contains("-chat")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        for (model, is_own, thinks) in [
            ("gpt-4o", true, false),
            ("gpt-5-nano", true, true),
            ("gpt-5-chat-latest", true, false),
            ("o3-mini", true, true),
            ("gpt-oss-120b", false, false),
            ("deepseek-reasoner", false, false),
            ("mock-429", false, false),
        ] {
            assert_eq!((own(model), reasons(model)), (is_own, thinks), "{model}");
        }
    }
}
