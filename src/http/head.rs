//! The request head: bytes to an [`Inbound`], or the [`Violation`] that says what is wrong with them.
//!
//! `httparse` finds the fields; what it forgives (bare line feeds, any number of framing fields, any target) is decided here, by
//! RFC 9112 read strictly: where two readers could disagree about where a message ends, there is no request. Pure: no socket, no clock.

use super::{ServerLimits, Violation};
use crate::call::{BodyLength, Headers, Inbound, Version};
use httparse::Header;
use std::mem::MaybeUninit;

/// The longest method name taken.
const MAX_METHOD_BYTES: usize = 32;

/// A checked head, with what the connection needs to know of it.
pub struct Head<'a> {
    /// The request, as a service gets it.
    pub inbound: Inbound<'a>,
    /// Whether the client wants another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Room for one parsed field; uninitialised, so that it costs nothing to make.
pub type Slot<'a> = MaybeUninit<Header<'a>>;

/// Parses `bytes`, a head up to and including its empty line (RFC 9112 2.1). `slots` bounds the number of fields.
///
/// # Errors
/// The [`Violation`] to answer with: 400, 405, 414, 417, 431 or 505.
///
/// ```
/// use iron_runtime::call::BodyLength;
/// use iron_runtime::http::{ServerLimits, head};
/// use std::mem::MaybeUninit;
/// use std::time::Duration;
/// let minute = Duration::from_secs(60);
/// let limits = ServerLimits {
///     max_connections: 1, max_header_bytes: 4096, max_headers: 8, max_target_bytes: 1024,
///     header_timeout: minute, body_timeout: minute, keep_alive: minute, write_timeout: minute,
/// };
/// let mut slots = [const { MaybeUninit::uninit() }; 8];
/// let bytes = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n";
/// let head = head::parse(bytes, &mut slots, &limits).unwrap();
/// assert_eq!((head.inbound.method, head.inbound.length, head.keep_alive), ("POST", BodyLength::Fixed(2), true));
/// ```
pub fn parse<'s, 'b: 's>(bytes: &'b [u8], slots: &'s mut [Slot<'b>], limits: &ServerLimits) -> Result<Head<'s>, Violation> {
    refuse_bare_line_feed(bytes, 0)?;
    if !bytes.first().copied().is_some_and(is_token_byte) {
        // httparse would skip any number of empty lines.
        return Err(REQUEST_LINE);
    }
    let mut parsed = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, bytes, slots) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(bad("malformed_head", "the request head is malformed")),
        Err(error) => return Err(head_violation(error, bytes)),
    }
    let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    check(parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default(), version, parsed.headers, limits)
}

/// Judges a head that has been taken apart.
pub(super) fn check<'a>(
    method: &'a str,
    target: &'a str,
    version: Version,
    headers: &'a [Header<'a>],
    limits: &ServerLimits,
) -> Result<Head<'a>, Violation> {
    check_method(method)?;
    check_target(target, limits)?;
    let fields = Fields::collect(headers)?;
    let length = fields.body_length(version)?;
    fields.check_host(version)?;
    let expects_continue = fields.expects_continue && version == Version::Http11 && length != BodyLength::None;
    let inbound = Inbound { method, target, version, headers: Headers(headers), length };
    Ok(Head { inbound, keep_alive: fields.keep_alive(version), expects_continue })
}

/// What can be said of a head that is not complete yet: bytes that no continuation can make good. `fresh` are the bytes after those that
/// were looked at before.
pub(super) fn check_partial(pending: &[u8], fresh: usize) -> Result<(), Violation> {
    match pending {
        [0x16, ..] => return Err(bad("tls_unsupported", "this address speaks plain HTTP, not TLS")),
        // The empty line that is forgiven before a request may have come by half.
        [b'\r'] => {}
        [first, ..] if !is_token_byte(*first) => return Err(REQUEST_LINE),
        _ => {}
    }
    let fresh = fresh.min(pending.len());
    if memchr::memchr(0, &pending[fresh..]).is_some() {
        return Err(bad("malformed_head", "the request head holds a NUL byte"));
    }
    refuse_bare_line_feed(pending, fresh)
}

const REQUEST_LINE: Violation = bad("malformed_request_line", "the request line is malformed");

/// A 400.
pub(super) const fn bad(code: &'static str, message: &'static str) -> Violation {
    Violation { status: 400, code, message }
}

fn refuse_bare_line_feed(bytes: &[u8], from: usize) -> Result<(), Violation> {
    let bare = |at: usize| at == 0 || bytes[at - 1] != b'\r';
    if memchr::memchr_iter(b'\n', &bytes[from..]).any(|at| bare(from + at)) {
        return Err(bad("bare_line_feed", "the request head holds a line feed without a carriage return"));
    }
    Ok(())
}

fn head_violation(error: httparse::Error, bytes: &[u8]) -> Violation {
    match error {
        httparse::Error::TooManyHeaders => {
            Violation { status: 431, code: "headers_too_large", message: "the request has too many header fields" }
        }
        httparse::Error::Version if names_a_version(bytes) => {
            Violation { status: 505, code: "version_unsupported", message: "only HTTP/1.0 and HTTP/1.1 are spoken here" }
        }
        httparse::Error::HeaderName | httparse::Error::HeaderValue => bad("malformed_header", "a header field is malformed"),
        _ => REQUEST_LINE,
    }
}

/// Whether the request line has three words, the last a well-formed `HTTP/x.y`.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ');
    let (method, target, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let well_formed =
        matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit());
    well_formed && !method.is_empty() && !target.is_empty() && words.next().is_none()
}

fn check_method(method: &str) -> Result<(), Violation> {
    // httparse takes a few separators in a method; RFC 9110 5.6.2 does not.
    if method.len() > MAX_METHOD_BYTES || !method.bytes().all(is_token_byte) {
        return Err(bad("malformed_method", "the method is not a token of at most 32 bytes"));
    }
    if method == "CONNECT" || method == "TRACE" {
        return Err(Violation { status: 405, code: "method_not_allowed", message: "CONNECT and TRACE are not offered" });
    }
    Ok(())
}

fn check_target(target: &str, limits: &ServerLimits) -> Result<(), Violation> {
    if target.len() > limits.max_target_bytes {
        return Err(TARGET_TOO_LONG);
    }
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad("malformed_target", "the request target holds a byte that is not visible ASCII"));
    }
    Ok(())
}

/// The 414.
pub(super) const TARGET_TOO_LONG: Violation =
    Violation { status: 414, code: "target_too_long", message: "the request target is over its limit" };

/// The fields that decide how a message is read.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> Fields<'a> {
    fn collect(headers: &[Header<'a>]) -> Result<Self, Violation> {
        let mut fields = Self::default();
        for field in headers {
            // The length first: most names are told apart by it.
            match field.name.len() {
                4 if field.name.eq_ignore_ascii_case("host") => fields.take_host(field.value)?,
                6 if field.name.eq_ignore_ascii_case("expect") => fields.take_expect(field.value)?,
                10 if field.name.eq_ignore_ascii_case("connection") => fields.take_connection(field.value),
                14 if field.name.eq_ignore_ascii_case("content-length") => fields.take_length(field.value)?,
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => fields.take_coding(field.value)?,
                _ => {}
            }
        }
        Ok(fields)
    }

    fn take_host(&mut self, value: &'a [u8]) -> Result<(), Violation> {
        match self.host.replace(value) {
            Some(_) => Err(bad("malformed_host", "there is more than one Host field")),
            None if !is_host(value) => Err(bad("malformed_host", "the Host field is malformed")),
            None => Ok(()),
        }
    }

    fn take_expect(&mut self, value: &[u8]) -> Result<(), Violation> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Violation { status: 417, code: "expectation_failed", message: "the only expectation met here is 100-continue" });
        }
        self.expects_continue = true;
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        match (number, self.content_length) {
            (None, _) => Err(bad("malformed_content_length", "Content-Length is not a number that can be counted to")),
            // Equal ones could be merged; no client sends them, so a repeated one is a sign of somebody's games.
            (_, Some(_)) => Err(bad("repeated_content_length", "there is more than one Content-Length field")),
            (Some(number), None) => {
                self.content_length = Some(number);
                Ok(())
            }
        }
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(bad("bad_transfer_encoding", "the only Transfer-Encoding taken is `chunked`, once"));
        }
        self.chunked = true;
        Ok(())
    }

    fn body_length(&self, version: Version) -> Result<BodyLength, Violation> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(bad("ambiguous_length", "there are both Content-Length and Transfer-Encoding")),
            (true, None) if version == Version::Http10 => Err(bad("bad_transfer_encoding", "HTTP/1.0 has no Transfer-Encoding")),
            (true, None) => Ok(BodyLength::Chunked),
            // A length of 0 is a body that has already ended.
            (false, Some(length)) => Ok(BodyLength::Fixed(length)),
            (false, None) => Ok(BodyLength::None),
        }
    }

    fn check_host(&self, version: Version) -> Result<(), Violation> {
        if self.host.is_none() && version == Version::Http11 {
            return Err(bad("missing_host", "there is no Host field"));
        }
        Ok(())
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// RFC 9110 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `uri-host [":" port]`. Narrower than RFC 3986: names of letters, digits, `-._~` only, so that no name that is sent here could be read
/// as something else (user names, lists, paths).
fn is_host(value: &[u8]) -> bool {
    let (host_ok, port) = match value.strip_prefix(b"[") {
        Some(rest) => match memchr::memchr(b']', rest) {
            Some(end) => (is_ipv6(&rest[..end]), &rest[end + 1..]),
            None => (false, rest),
        },
        None => {
            let end = memchr::memchr(b':', value).unwrap_or(value.len());
            (is_name(&value[..end]), &value[end..])
        }
    };
    host_ok && is_port(port)
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_name(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(b))
}

/// Nothing, `:` or `:` and a number.
fn is_port(text: &[u8]) -> bool {
    match text.strip_prefix(b":") {
        Some(digits) => digits.len() <= 5 && digits.iter().try_fold(0, |sum, b| digit(sum, *b)).is_some_and(|port| port <= 65535),
        None => text.is_empty(),
    }
}

fn digit(sum: u32, byte: u8) -> Option<u32> {
    char::from(byte).to_digit(10).map(|digit| sum * 10 + digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ServerLimits {
        ServerLimits { max_target_bytes: 64, ..ServerLimits::for_tests() }
    }

    fn status(head: &str) -> u16 {
        let mut slots = [const { MaybeUninit::uninit() }; 8];
        parse(head.as_bytes(), &mut slots, &limits()).map_or_else(|violation| violation.status, |_| 200)
    }

    #[test]
    fn hosts() {
        for good in ["a", "a.b", "localhost:80", "127.0.0.1:1", "[::1]", "[::1]:65535", "x:", "A_b~c-d"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["", ":80", "a:b", "a:65536", "a:+1", "a b", "a,b", "u@h", "a/b", "[::1", "::1", "[::1]x", "[a]", "[]", "a:1:2", "a%20"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn the_length_is_what_the_framing_fields_say() {
        for (fields, expected) in [
            ("", BodyLength::None),
            ("Content-Length: 0\r\n", BodyLength::Fixed(0)),
            ("content-length: 18446744073709551615\r\n", BodyLength::Fixed(u64::MAX)),
            ("Transfer-Encoding: CHUNKED\r\n", BodyLength::Chunked),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let mut slots = [const { MaybeUninit::uninit() }; 8];
            let parsed = parse(head.as_bytes(), &mut slots, &limits()).map(|head| head.inbound.length);
            assert_eq!(parsed, Ok(expected), "{fields:?}");
        }
    }

    #[test]
    fn keep_alive_by_version_and_option() {
        for (version, option, expected) in [
            ("1.1", "", true),
            ("1.1", "close", false),
            ("1.1", "x, Close", false),
            ("1.1", "keep-alive", true),
            ("1.0", "", false),
            ("1.0", "Keep-Alive", true),
            ("1.0", "keep-alive, close", false),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: h\r\nConnection: {option}\r\n\r\n");
            let mut slots = [const { MaybeUninit::uninit() }; 8];
            let parsed = parse(head.as_bytes(), &mut slots, &limits()).map(|head| head.keep_alive);
            assert_eq!(parsed, Ok(expected), "HTTP/{version} {option:?}");
        }
    }

    #[test]
    fn limits_of_count_and_target() {
        let many = "A: b\r\n".repeat(8);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n")), 431);
        let target = "x".repeat(64);
        assert_eq!(status(&format!("GET /{target} HTTP/1.1\r\nHost: h\r\n\r\n")), 414);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n"), 200);
    }

    #[test]
    fn a_partial_head_is_refused_as_soon_as_it_is_hopeless() {
        assert!(check_partial(b"GET / HTTP/1.1\r\nHost", 0).is_ok());
        assert!(check_partial(b"\r", 0).is_ok());
        for hopeless in [&b"\x16\x03\x01"[..], b"\r\n", b"\rG", b" GET", b"GET / HTTP/1.1\nHost", b"G\0", b"\n"] {
            assert!(check_partial(hopeless, 0).is_err(), "{hopeless:?}");
        }
        // A CRLF cut in two, looked at from its second half.
        assert!(check_partial(b"GET / HTTP/1.1\r\n", 15).is_ok());
    }
}
