//! Errors of providers, from one protocol into the other: whole bodies, and events in mid-stream.
//!
//! What kind of error it is stands in its words (`type`, `code`), else in the status. Gateways mix the protocols' words and servers have
//! their own spelling of them, so all words are read from everybody. What is no error of a provider at all, such as the page of a proxy
//! in between, gives its text.

use super::form::{Failure, FailureKind, Text};
use crate::call::Protocol;
use crate::wire::json::{Json, Kind, Object, Raw};
use std::borrow::Cow;

/// The most characters of a text that is not a provider's own message.
const MOST_CHARS: usize = 500;

/// How much of a body that is no JSON is looked at.
const MOST_BYTES: usize = 64 << 10;

/// Where servers put what they have to say.
const MESSAGE_KEYS: [&str; 6] = ["message", "detail", "error_description", "error", "msg", "title"];

/// Reads the body of an error reply. `raw` is the body as JSON, if it is any; `status` says the kind where the body does not.
pub(super) fn read<'a>(_upstream: Protocol, status: u16, raw: Option<Raw<'a>>, body: &'a [u8]) -> Failure<'a> {
    let Some(raw) = raw else {
        let start = body.get(..MOST_BYTES).unwrap_or(body);
        return Failure {
            kind: by_status(status),
            message: or_reason(plain(&String::from_utf8_lossy(start)), status),
            code: None,
            param: None,
        };
    };
    // One provider's compatible endpoint puts its errors into an array.
    let root = raw.items().next().unwrap_or(raw);
    match root.get("error") {
        Some(error) if error.kind() == Kind::Object => of_error(error, Some(root), status),
        _ => of_error(root, None, status),
    }
}

/// Reads the value of `error`, in a body or in an event of a stream, where no status tells the kind.
pub(super) fn read_error(_upstream: Protocol, error: Raw<'_>) -> Failure<'_> {
    let status = error.get("code").and_then(Raw::as_u64).filter(|code| (400..600).contains(code)).map_or(500, |code| code as u16);
    of_error(error, Some(error), status)
}

/// The body of an error reply.
pub(super) fn write(client: Protocol, failure: &Failure<'_>, out: &mut Vec<u8>) {
    Json::new(out).object(|body| match client {
        Protocol::OpenAi => body.key("error").object(|error| write_openai(failure, error)),
        Protocol::Anthropic => {
            body.text("type", "error");
            body.key("error").object(|error| {
                error.text("type", anthropic_type(failure.kind));
                error.text("message", &failure.message);
            });
        }
    });
}

/// The event that ends a stream with an error, event lines and all.
pub(super) fn write_event(client: Protocol, failure: &Failure<'_>, out: &mut Vec<u8>) {
    let line: &[u8] = if client == Protocol::Anthropic { b"event: error\ndata: " } else { b"data: " };
    out.extend_from_slice(line);
    write(client, failure, out);
    out.extend_from_slice(b"\n\n");
}

/// An error value: the provider's own (then there is what it stands in), or anything that a server says instead.
fn of_error<'a>(error: Raw<'a>, outer: Option<Raw<'a>>, status: u16) -> Failure<'a> {
    let [code, kind, word] = ["code", "type", "status"].map(|key| error.str_of(key).filter(|text| !text.is_empty()));
    let own = error.str_of("message").filter(|message| !message.trim().is_empty() && (outer.is_some() || kind.is_some()));
    let message = own.unwrap_or_else(|| {
        let found = said(error).or_else(|| outer.and_then(words)).unwrap_or_default();
        or_reason(found, status)
    });
    let kind = kind_of([code.as_deref(), kind.as_deref(), word.as_deref()], status);
    // A number that is only the status once more is no code.
    let number = || error.get("code").filter(|code| code.as_u64().is_some_and(|number| !(100..600).contains(&number)));
    let code = code.or_else(|| number().map(|number| Cow::Borrowed(number.text())));
    Failure { kind, message, code, param: error.str_of("param") }
}

/// What a value says, wherever it puts it: in words, else as it is.
fn said(value: Raw<'_>) -> Option<String> {
    let members = || MESSAGE_KEYS.iter().filter_map(|key| value.get(key));
    words(value).or_else(|| members().chain([value]).find(|value| has_more(*value)).map(|value| plain(value.text())))
}

/// What it says in words.
fn words(value: Raw<'_>) -> Option<String> {
    let texts = [value].into_iter().chain(MESSAGE_KEYS.iter().filter_map(|key| value.get(key))).filter_map(Raw::as_str);
    texts.map(|text| plain(&text)).find(|text| !text.is_empty())
}

/// Whether it is a container that is not empty.
fn has_more(value: Raw<'_>) -> bool {
    value.items().next().is_some() || value.members().any(|(_, member)| !member.is_null() && member.text() != "\"\"")
}

/// The kind, by the first word that is known. Both protocols call all sorts of refusals `invalid_request_error`: there the status knows
/// better.
fn kind_of(words: [Option<&str>; 3], status: u16) -> FailureKind {
    match words.into_iter().flatten().find_map(named) {
        Some(FailureKind::InvalidRequest) if (400..500).contains(&status) => by_status(status),
        Some(kind) => kind,
        None => by_status(status),
    }
}

/// The kind that a word names, in any spelling: `not_found_error`, `NotFoundError`, `NOT_FOUND`.
fn named(word: &str) -> Option<FailureKind> {
    let mut plain: String = word.chars().filter(char::is_ascii_alphanumeric).take(64).map(|char| char.to_ascii_lowercase()).collect();
    if plain.ends_with("error") {
        plain.truncate(plain.len() - "error".len());
    }
    Some(match plain.as_str() {
        "invalidrequest" | "badrequest" | "invalidargument" | "failedprecondition" | "contextlengthexceeded" => FailureKind::InvalidRequest,
        "authentication" | "invalidapikey" | "invalidauthentication" | "unauthenticated" | "unauthorized" => FailureKind::Authentication,
        "billing" | "insufficientquota" | "billinghardlimitreached" | "billingnotactive" | "creditbalanceexhausted" => FailureKind::Billing,
        "permission" | "permissiondenied" | "requestforbidden" | "forbidden" | "missingscope" => FailureKind::Permission,
        "notfound" | "modelnotfound" => FailureKind::NotFound,
        "requesttoolarge" | "payloadtoolarge" => FailureKind::TooLarge,
        "ratelimit" | "ratelimitexceeded" | "toomanyrequests" | "resourceexhausted" | "requests" | "tokens" => FailureKind::RateLimit,
        "timeout" | "requesttimeout" | "gatewaytimeout" | "deadlineexceeded" => FailureKind::Timeout,
        "overloaded" | "serviceunavailable" | "unavailable" => FailureKind::Overloaded,
        "server" | "api" | "internalserver" | "internal" | "upstream" => FailureKind::Server,
        _ => return None,
    })
}

fn by_status(status: u16) -> FailureKind {
    match status {
        401 => FailureKind::Authentication,
        402 => FailureKind::Billing,
        403 => FailureKind::Permission,
        404 => FailureKind::NotFound,
        408 | 504 => FailureKind::Timeout,
        413 => FailureKind::TooLarge,
        429 => FailureKind::RateLimit,
        503 | 529 => FailureKind::Overloaded,
        400..500 => FailureKind::InvalidRequest,
        _ => FailureKind::Server,
    }
}

fn write_openai(failure: &Failure<'_>, error: &mut Object<'_>) {
    let (kind, code) = openai_words(failure);
    error.text("message", &failure.message);
    error.text("type", kind);
    error.text_or_null("param", failure.param.as_deref());
    error.text_or_null("code", failure.code.as_deref().or(code));
}

/// OpenAI's `type`, and the `code` where the provider gave none.
fn openai_words(failure: &Failure<'_>) -> (&'static str, Option<&'static str>) {
    const INVALID: &str = "invalid_request_error";
    let message = failure.message.to_ascii_lowercase();
    match failure.kind {
        // Programs that shorten their conversation and try again go by this code.
        FailureKind::InvalidRequest if is_too_long(&message) => (INVALID, Some("context_length_exceeded")),
        FailureKind::InvalidRequest => (INVALID, None),
        FailureKind::Authentication => (INVALID, Some("invalid_api_key")),
        FailureKind::Billing => ("insufficient_quota", Some("insufficient_quota")),
        FailureKind::Permission => ("request_forbidden", None),
        FailureKind::NotFound => (INVALID, message.contains("model").then_some("model_not_found")),
        FailureKind::TooLarge => (INVALID, Some("request_too_large")),
        FailureKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        FailureKind::Server => ("server_error", None),
        FailureKind::Timeout => ("server_error", Some("timeout")),
        FailureKind::Overloaded => ("overloaded_error", None),
    }
}

/// Whether Anthropic says that the conversation does not fit the model's window: it has no code for that.
fn is_too_long(message: &str) -> bool {
    message.starts_with("prompt is too long") || message.contains("exceed context limit")
}

fn anthropic_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::InvalidRequest => "invalid_request_error",
        FailureKind::Authentication => "authentication_error",
        FailureKind::Billing => "billing_error",
        FailureKind::Permission => "permission_error",
        FailureKind::NotFound => "not_found_error",
        FailureKind::TooLarge => "request_too_large",
        FailureKind::RateLimit => "rate_limit_error",
        FailureKind::Server => "api_error",
        FailureKind::Timeout => "timeout_error",
        FailureKind::Overloaded => "overloaded_error",
    }
}

/// The text, or the phrase of the status where there is none.
fn or_reason(text: String, status: u16) -> Text<'static> {
    if !text.is_empty() {
        return text.into();
    }
    match status {
        400 => "Bad Request".into(),
        401 => "Unauthorized".into(),
        402 => "Payment Required".into(),
        403 => "Forbidden".into(),
        404 => "Not Found".into(),
        405 => "Method Not Allowed".into(),
        408 => "Request Timeout".into(),
        413 => "Content Too Large".into(),
        422 => "Unprocessable Content".into(),
        429 => "Too Many Requests".into(),
        500 => "Internal Server Error".into(),
        502 => "Bad Gateway".into(),
        503 => "Service Unavailable".into(),
        504 => "Gateway Timeout".into(),
        529 => "Overloaded".into(),
        other => format!("the provider answered with status {other}").into(),
    }
}

/// A text for a message: without tags, white space folded, at most [`MOST_CHARS`]. Empty where it is not legible.
fn plain(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if !text.starts_with('<') {
        return fold(text);
    }
    // A page's title mostly says again what its body says.
    let body = fold(&without_tags(text, &["script", "style", "title"]));
    if body.is_empty() { fold(&without_tags(text, &["script", "style"])) } else { body }
}

/// Folds white space and leaves out what can't be shown. Where that is much, it was no text but, say, compressed.
fn fold(text: &str) -> String {
    let (mut out, mut chars, mut bad) = (String::new(), 0, 0);
    let mut gap = false;
    for char in text.chars() {
        if char.is_whitespace() {
            gap = true;
        } else if char.is_control() || char == char::REPLACEMENT_CHARACTER {
            bad += 1;
        } else {
            if std::mem::take(&mut gap) && chars > 0 {
                out.push(' ');
                chars += 1;
            }
            if chars >= MOST_CHARS {
                out.truncate(out.char_indices().nth(MOST_CHARS - 1).map_or(out.len(), |(at, _)| at));
                out.push('…');
                break;
            }
            out.push(char);
            chars += 1;
        }
    }
    if bad * 4 > chars { String::new() } else { out }
}

/// The text of a page. Nothing between the tags of `skipped` belongs to it.
fn without_tags(html: &str, skipped: &[&str]) -> String {
    // Of the same length, byte by byte.
    let lower = html.to_ascii_lowercase();
    let mut out = String::new();
    let mut at = 0;
    while let Some(open) = html[at..].find('<').map(|found| at + found) {
        out.push_str(&html[at..open]);
        out.push(' ');
        let name = |tag: &&&str| lower[open + 1..].strip_prefix(**tag).is_some_and(|rest| rest.starts_with(['>', ' ', '\t', '\r', '\n']));
        let end = match skipped.iter().find(name) {
            _ if lower[open..].starts_with("<!--") => "-->".to_string(),
            Some(tag) => format!("</{tag}>"),
            None => ">".to_string(),
        };
        let Some(close) = lower[open..].find(&end) else { return unescaped(&out) };
        at = open + close + end.len();
    }
    out.push_str(&html[at..]);
    unescaped(&out)
}

fn unescaped(text: &str) -> String {
    const ENTITIES: [(&str, &str); 6] = [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    ENTITIES.iter().fold(text.to_string(), |text, (entity, plain)| text.replace(entity, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_stream(error: &str) -> (FailureKind, String, Option<String>) {
        let raw = Raw::parse(error.as_bytes()).unwrap_or_else(|_| panic!("{error}"));
        let failure = read_error(Protocol::OpenAi, raw);
        (failure.kind, failure.message.into_owned(), failure.code.map(Cow::into_owned))
    }

    #[test]
    fn errors_in_streams_have_no_status() {
        use FailureKind::*;
        for (error, kind, message, code) in [
            (r#"{"type":"overloaded_error","message":"Overloaded"}"#, Overloaded, "Overloaded", None),
            (
                r#"{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}"#,
                InvalidRequest,
                "m",
                Some("context_length_exceeded"),
            ),
            (r#"{"message":"m","type":"BadRequestError","param":null,"code":400}"#, InvalidRequest, "m", None),
            (r#"{"message":"m","code":429}"#, RateLimit, "m", None),
            (r#"{"message":"m","code":1302}"#, Server, "m", Some("1302")),
            (r#"{"message":"m","code":"server_error"}"#, Server, "m", Some("server_error")),
            (r#""went wrong""#, Server, "went wrong", None),
            ("{}", Server, "Internal Server Error", None),
            ("7", Server, "Internal Server Error", None),
        ] {
            assert_eq!(in_stream(error), (kind, message.into(), code.map(String::from)), "{error}");
        }
    }

    #[test]
    fn events_end_with_an_empty_line() {
        let failure = Failure { kind: FailureKind::Timeout, message: "late".into(), code: None, param: None };
        for (client, event) in [
            (
                Protocol::OpenAi,
                "data: {\"error\":{\"message\":\"late\",\"type\":\"server_error\",\"param\":null,\"code\":\"timeout\"}}\n\n",
            ),
            (
                Protocol::Anthropic,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\"message\":\"late\"}}\n\n",
            ),
        ] {
            let mut out = Vec::new();
            write_event(client, &failure, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), event);
        }
    }

    #[test]
    fn statuses_without_words() {
        use FailureKind::*;
        for (status, kind) in [(400, InvalidRequest), (401, Authentication), (402, Billing), (403, Permission), (404, NotFound)]
            .into_iter()
            .chain([(408, Timeout), (413, TooLarge), (422, InvalidRequest), (429, RateLimit), (500, Server), (302, Server)])
            .chain([(502, Server), (503, Overloaded), (504, Timeout), (529, Overloaded), (599, Server)])
        {
            let failure = read(Protocol::Anthropic, status, None, b"");
            assert_eq!(failure.kind, kind, "{status}");
            assert!(!failure.message.is_empty());
        }
    }

    #[test]
    fn what_is_not_legible_is_not_repeated() {
        for body in [&b""[..], b" \r\n", b"\x1f\x8b\x08\x00\x00\x00\xff\xfe\xfd", b"<", b"<br", b"<!-- x", b"<script>alert(1)</script>"] {
            assert_eq!(read(Protocol::OpenAi, 502, None, body).message, "Bad Gateway", "{body:?}");
        }
        // Two bytes a character: the cut falls into one.
        let long = "é".repeat(MOST_BYTES);
        let message = read(Protocol::OpenAi, 502, None, &long.as_bytes()[1..]).message.into_owned();
        assert_eq!(message, format!("{}…", "é".repeat(MOST_CHARS - 1)));
        assert_eq!(plain("a < b > c"), "a < b > c");
        assert_eq!(plain("<p>caf\u{e9} &amp; <b>tea</b>\n\n<İ></p>"), "café & tea");
    }

    #[test]
    fn a_body_may_end_anywhere() {
        for body in [
            "<!DOCTYPE html><html><head><title>é</title><STYLE>p{}</style></head><!-- - -- --><body a=\"<\"><p>1 &lt; 2 &amp;amp; 3 𝄞</p></body>",
            r#"[{"error":{"message":"é\ud834\udd1e \ud834","type":"BadRequestError","param":{"a":1},"code":4e2,"status":"x"}}, 7]"#,
            r#"{"error":["a",{"b":null}],"message":{"c":""},"detail":"\u0000<b>","code":-1}"#,
        ] {
            for at in 0..=body.len() {
                for bytes in [&body.as_bytes()[..at], &body.as_bytes()[at..]] {
                    let failure = read(Protocol::OpenAi, 500, Raw::parse(bytes).ok(), bytes);
                    assert!(!failure.message.is_empty(), "{bytes:?}");
                    for client in [Protocol::OpenAi, Protocol::Anthropic] {
                        let mut out = Vec::new();
                        write(client, &failure, &mut out);
                        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
                    }
                }
            }
        }
    }
}
