//! The page for people: one self-contained document, compiled in.

/// The page, whole.
pub(crate) fn page() -> &'static str {
    "<!doctype html><title>iron_runtime</title>"
}
