//! What of a user's text may be shown. Keys turn up where they don't belong (in the wrong option, as a stray argument), so that every
//! message quotes through here.

/// The text in quotes, for a message; what looks like a key or a password is left out.
///
/// ```
/// use iron_runtime::settings::quoted;
/// assert_eq!(quoted("80a"), "\"80a\"");
/// assert_eq!(quoted("sk-proj-abcdefgh"), "(a value that looks like a key)");
/// ```
pub fn quoted(text: &str) -> String {
    if looks_like_key(text) {
        return "(a value that looks like a key)".into();
    }
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// A key so that its owner recognises it: a well-known beginning and, when it is long enough, its last four characters.
///
/// ```
/// use iron_runtime::settings::masked;
/// assert_eq!(masked("sk-proj-0123456789abcdefWXYZ"), "sk-proj-…WXYZ");
/// assert_eq!(masked("short"), "…");
/// ```
pub fn masked(key: &str) -> String {
    const BEGINNINGS: [&str; 6] = ["sk-ant-api03-", "sk-ant-", "sk-proj-", "sk-or-", "sk-", "ic_"];
    let beginning = BEGINNINGS.into_iter().find(|beginning| key.starts_with(beginning)).unwrap_or_default();
    let rest = &key[beginning.len()..];
    let last = if rest.len() >= 16 && rest.is_ascii() { &rest[rest.len() - 4..] } else { "" };
    format!("{beginning}…{last}")
}

fn looks_like_key(text: &str) -> bool {
    let long_word = text.len() >= 24 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+=".contains(&b));
    let mixed = text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_alphabetic());
    text.contains("sk-") || text.contains("ic_") || text.contains('@') || (long_word && mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_quoted() {
        for text in ["sk-x", "http://h?key=sk-x", "ic_abc", "user:password@host", "0123456789abcdef0123456789abcdef"] {
            assert!(!quoted(text).contains(text), "{text}");
        }
        for text in ["", "eight", "max-body-bytes", "127.0.0.1:80", "/etc/iron-runtime/config.toml", "a\nb"] {
            assert_eq!(quoted(text), format!("{text:?}"));
        }
        assert!(quoted(&"é".repeat(500)).len() < 200);
    }

    #[test]
    fn masks_show_at_most_four_letters_of_a_key() {
        for (key, shown) in [
            ("", "…"),
            ("sk-", "sk-…"),
            ("sk-0123456789", "sk-…"),
            ("sk-ant-api03-0123456789abcdef", "sk-ant-api03-…cdef"),
            ("0123456789abcde", "…"),
            ("0123456789abcdef", "…cdef"),
            ("ключ-ключ-ключ-ключ", "…"),
        ] {
            assert_eq!(masked(key), shown, "{key}");
        }
    }
}
