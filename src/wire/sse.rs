//! Server-sent events as far as a relay needs them: where one event ends and the next may begin
//! (HTML Living Standard, 9.2.6: lines end in LF, CR or CRLF; an empty line ends an event).

use crate::call::Protocol;
use serde_json::json;

/// An SSE comment; clients ignore it, and it keeps idle connections open on their way.
pub const COMMENT: &[u8] = b": keepalive\n\n";

/// Follows a stream and tells whether it stands between two events. The answer does not depend on how the bytes were cut.
#[derive(Clone, Copy, Debug)]
pub struct Boundary {
    /// The last two line-end-relevant bytes: whether the current line is empty, and whether the last byte was a CR.
    line_empty: bool,
    last_cr: bool,
    at_boundary: bool,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { line_empty: true, last_cr: false, at_boundary: true }
    }
}

impl Boundary {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        // Only the tail matters: everything before the last byte that is no line end just makes the line non-empty.
        let tail = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r'));
        if let Some(at) = tail {
            *self = Self { line_empty: false, last_cr: false, at_boundary: false };
            self.ends(&bytes[at + 1..]);
        } else {
            self.ends(bytes);
        }
    }

    /// Whether an event has just ended, or nothing has come yet.
    pub fn is_between_events(&self) -> bool {
        self.at_boundary
    }

    fn ends(&mut self, line_ends: &[u8]) {
        for &byte in line_ends {
            if byte == b'\n' && self.last_cr {
                self.last_cr = false;
                continue;
            }
            self.at_boundary = self.line_empty;
            self.line_empty = true;
            self.last_cr = byte == b'\r';
        }
    }
}

/// The event that tells a client of its protocol that a stream broke off.
pub fn error_event(protocol: Protocol, code: &str, message: &str) -> Vec<u8> {
    match protocol {
        Protocol::OpenAi => {
            let data = json!({"error": {"message": message, "type": "upstream_error", "param": null, "code": code}});
            format!("data: {data}\n\n").into_bytes()
        }
        Protocol::Anthropic => {
            let data = json!({"type": "error", "error": {"type": "api_error", "message": message}});
            format!("event: error\ndata: {data}\n\n").into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(stream: &[u8]) -> bool {
        let mut boundary = Boundary::default();
        boundary.feed(stream);
        boundary.is_between_events()
    }

    #[test]
    fn boundaries() {
        for (stream, between) in [
            (&b""[..], true),
            (b"data: x", false),
            (b"data: x\n", false),
            (b"data: x\n\n", true),
            (b"data: x\r\n", false),
            (b"data: x\r\n\r\n", true),
            (b"data: x\r\r", true),
            (b"data: x\r", false),
            (b"data: x\n\r\n", true),
            (b"data: x\n\ndata", false),
            (b": c\n\n\n", true),
        ] {
            assert_eq!(after(stream), between, "{:?}", String::from_utf8_lossy(stream));
        }
    }

    proptest::proptest! {
        #[test]
        fn cutting_changes_nothing(stream in proptest::collection::vec(proptest::sample::select(b"\n\rx".to_vec()), 0..24), cut in 0usize..24) {
            let cut = cut.min(stream.len());
            let mut boundary = Boundary::default();
            boundary.feed(&stream[..cut]);
            boundary.feed(&stream[cut..]);
            let mut one_by_one = Boundary::default();
            stream.chunks(1).for_each(|byte| one_by_one.feed(byte));
            proptest::prop_assert_eq!(boundary.is_between_events(), after(&stream));
            proptest::prop_assert_eq!(one_by_one.is_between_events(), after(&stream));
        }
    }
}
