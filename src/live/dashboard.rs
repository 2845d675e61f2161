//! The page for people: one self-contained document, put together at compile time from the files beside this one, and the form that asks
//! for the token.
//!
//! Both go with [`csp`]: the only script and the only styles that run are the ones compiled in, known by their SHA-256; the page talks to
//! the router it came from and to nobody else. What events say is inserted as text; the policy forbids the other ways.

use ring::digest::{SHA256, digest};
use std::sync::OnceLock;

/// The one style element of both documents.
macro_rules! style {
    () => {
        include_str!("dashboard/style.css")
    };
}

/// The one script of the page: its files in the order in which they build on one another, in a scope of their own.
macro_rules! script {
    () => {
        concat!(
            "\"use strict\";\n(() => {\n",
            include_str!("dashboard/format.js"),
            include_str!("dashboard/series.js"),
            include_str!("dashboard/store.js"),
            include_str!("dashboard/socket.js"),
            include_str!("dashboard/chart.js"),
            include_str!("dashboard/list.js"),
            include_str!("dashboard/details.js"),
            include_str!("dashboard/panels.js"),
            include_str!("dashboard/app.js"),
            "})();\n"
        )
    };
}

/// The head of both documents.
macro_rules! head {
    () => {
        concat!(include_str!("dashboard/head.html"), "<style>", style!(), "</style>\n</head>\n")
    };
}

const PAGE: &str = concat!(head!(), include_str!("dashboard/page.html"), "<script>", script!(), "</script>\n</body>\n</html>\n");
const LOGIN: &str = concat!(head!(), include_str!("dashboard/login.html"), include_str!("dashboard/login_end.html"), "</body>\n</html>\n");
const LOGIN_AGAIN: &str = concat!(
    head!(),
    include_str!("dashboard/login.html"),
    include_str!("dashboard/login_error.html"),
    include_str!("dashboard/login_end.html"),
    "</body>\n</html>\n"
);

const LOGIN_ANEW: &str = concat!(
    head!(),
    include_str!("dashboard/login.html"),
    include_str!("dashboard/login_spent.html"),
    include_str!("dashboard/login_end.html"),
    "</body>\n</html>\n"
);

/// What was tried before the form is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    WrongToken,
    /// An address whose token was used already, or is too old.
    SpentAddress,
}

/// The page, whole. To be sent as `text/html; charset=utf-8` with [`csp`].
pub(crate) fn page() -> &'static str {
    PAGE
}

/// The form that asks for the token: one field `token`, posted to `/dashboard`. It says what was wrong before.
pub(crate) fn login(asked: Asked) -> &'static str {
    match asked {
        Asked::Nothing => LOGIN,
        Asked::WrongToken => LOGIN_AGAIN,
        Asked::SpentAddress => LOGIN_ANEW,
    }
}

/// The `Content-Security-Policy` of both documents.
pub(crate) fn csp() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'",
            source_hash(script!()),
            source_hash(style!())
        )
    })
}

/// The text of an inline element as a policy names it (CSP level 3, section 2.3.1).
fn source_hash(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = digest(&SHA256, text.as_bytes());
    let letter = |bits: u32| char::from(LETTERS[(bits & 63) as usize]);
    let mut name = String::from("sha256-");
    for three in hash.as_ref().chunks(3) {
        let bits = three.iter().chain([0, 0].iter()).take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        name.extend((0..=three.len()).map(|at| letter(bits >> (18 - 6 * at))));
    }
    // 32 bytes are ten groups of three and two more: one letter is padding.
    name.push('=');
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between two marks, the first of them at its only place.
    fn between<'t>(text: &'t str, open: &str, close: &str) -> &'t str {
        assert_eq!(text.matches(open).count(), 1, "{open}");
        text.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map(|(inner, _)| inner).expect("both marks")
    }

    #[test]
    fn hashes_are_those_that_browsers_compute() {
        // The example of the CSP specification.
        assert_eq!(source_hash("alert('Hello, world.');"), "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
    }

    #[test]
    fn the_policy_names_what_the_documents_hold() {
        assert!(csp().contains(&format!("script-src '{}'", source_hash(between(page(), "<script>", "</script>")))));
        for document in [page(), login(Asked::Nothing), login(Asked::WrongToken), login(Asked::SpentAddress)] {
            assert!(csp().contains(&format!("style-src '{}'", source_hash(between(document, "<style>", "</style>")))));
            assert!(!document.contains(" style=\"") && !document.contains(" onclick=\""), "nothing inline beside them");
        }
        assert!(!csp().contains("unsafe"));
        assert!(!login(Asked::Nothing).contains("<script"));
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        assert!(page().len() <= 200 * 1024, "{} bytes", page().len());
        for document in [page(), login(Asked::Nothing)] {
            let elsewhere = document.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://") && !elsewhere.contains("@import"));
        }
    }

    #[test]
    fn text_never_becomes_html() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "createContextualFragment"] {
            assert!(!page().contains(way), "{way}");
        }
    }

    #[test]
    fn the_form_tells_of_a_wrong_token_only_then() {
        assert!(login(Asked::Nothing).contains("name=\"token\"") && !login(Asked::Nothing).contains("role=\"alert\""));
        assert!(login(Asked::WrongToken).contains("role=\"alert\"") && login(Asked::SpentAddress).contains("works once"));
    }
}
