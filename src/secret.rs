//! Keys and tokens: values that must never be printed.
//!
//! [`Secret`] has neither `Debug` nor `Display`, is wiped when dropped, and is compared in constant time. The only way
//! to its text is [`Secret::expose`], so that a search for that word finds every place where a key is used.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A key or token, UTF-8, wiped from memory on drop.
///
/// ```
/// use iron_runtime::Secret;
/// let key = Secret::new("sk-live");
/// assert!(key.matches(b"sk-live") && !key.matches(b"sk-test"));
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The key itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this key, in time that depends on the lengths only.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// Whether there is no key in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_whole_values_only() {
        let key = Secret::new("abc");
        for (candidate, same) in [("abc", true), ("ab", false), ("abcd", false), ("", false), ("abd", false)] {
            assert_eq!(key.matches(candidate.as_bytes()), same, "{candidate}");
        }
    }
}
