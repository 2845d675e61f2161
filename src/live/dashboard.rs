//! The page for people: one self-contained document, compiled in.

/// The page, whole.
pub(crate) fn page() -> &'static str {
    "<!doctype html><title>iron_runtime</title>"
}

/// The form that asks for the client token; `refused`: what was given is not it.
pub(crate) fn login(refused: bool) -> String {
    let _ = refused;
    String::from("<!doctype html><title>iron_runtime</title>")
}

/// The Content-Security-Policy of both.
pub(crate) fn csp() -> &'static str {
    "default-src 'none'"
}
