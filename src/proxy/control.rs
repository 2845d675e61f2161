//! One POST to the control server: what the key cache, the leases and the background thread have in common. Who asks what, and what an
//! answer means, is theirs.

use crate::config::Control;
use std::time::Duration;
use zeroize::Zeroizing;

/// Bytes of the server's reply.
const REPLY_LIMIT: u64 = 64 << 10;

/// The longest text of the server's that is repeated in a message.
const MAX_TEXT_CHARS: usize = 200;

/// The longest wait that a `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The way to one control server.
pub(super) struct Client {
    control: Control,
    agent: ureq::Agent,
}

/// How a call is sent.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// The whole of it may take this long.
    pub(super) limit: Duration,
    /// Whether the token goes in the `Authorization` field too.
    pub(super) bearer: bool,
    /// Whether the connection is kept for the next call. Not where minutes lie between two: it would be stale more often than not.
    pub(super) keep: bool,
}

/// What the server answered.
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The body; there may be a key in it.
    pub(super) body: Zeroizing<Vec<u8>>,
    /// When to come again, if it said so.
    pub(super) retry_after: Option<Duration>,
}

impl Client {
    /// `agent` brings the connect limit, the TLS roots and the proxy.
    pub(super) fn new(control: Control, agent: ureq::Agent) -> Self {
        Self { control, agent }
    }

    /// The settings it was made with.
    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// Sends one call; `path` begins with `/`.
    ///
    /// # Errors
    /// There was no answer: why, in a few words.
    pub(super) fn post(&self, path: &str, body: &str, manner: Manner) -> Result<Answer, String> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.control.server_url))
            .config()
            .timeout_global(Some(manner.limit))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .header("content-type", "application/json");
        if manner.bearer {
            let field = Zeroizing::new(format!("Bearer {}", self.control.ic_token.expose()));
            request = request.header("authorization", field.as_str());
        }
        if !manner.keep {
            request = request.header("connection", "close");
        }
        let mut reply = request.send(body.as_bytes()).map_err(|error| error.to_string())?;
        let status = reply.status().as_u16();
        let retry_after = reply.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = reply.body_mut().with_config().limit(REPLY_LIMIT).read_to_vec();
        let body = Zeroizing::new(body.map_err(|error| error.to_string())?);
        Ok(Answer { status, body, retry_after: retry_after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)) })
    }
}

impl Answer {
    /// The `error` of a reply that says no, if it is text; `None` tells that this was hardly the control server.
    pub(super) fn error(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get("error")?.as_str().map(str::to_owned)
    }

    /// [`Answer::error`] with the status, fit for a message: printable, short, and without the token. Nothing else of a reply is ever
    /// repeated.
    pub(super) fn said(&self, control: &Control) -> String {
        let fit = |text: &String| !text.is_empty() && !text.contains(control.ic_token.expose()) && text.bytes().all(is_plain);
        let text = self.error().filter(fit).map(|text| format!(" {}", text.chars().take(MAX_TEXT_CHARS).collect::<String>()));
        format!("{}{}", self.status, text.unwrap_or_default())
    }

    /// Whether the server may answer otherwise if it is asked again.
    pub(super) fn is_passing(&self) -> bool {
        !(200..300).contains(&self.status) && (!(400..500).contains(&self.status) || matches!(self.status, 408 | 425 | 429))
    }

    /// Whether the server does not know this call at all: an older one, which answers as web servers do.
    pub(super) fn is_unknown_call(&self) -> bool {
        matches!(self.status, 404 | 405 | 501) && self.error().is_none()
    }
}

fn is_plain(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: Zeroizing::new(body.as_bytes().to_vec()), retry_after: None }
    }

    #[test]
    fn only_plain_errors_are_repeated() {
        let control =
            Control { server_url: "http://localhost".parse().expect("url"), ic_token: Secret::new("ic_CANARY"), cache_ttl: Duration::ZERO };
        let long = "x".repeat(500);
        for (body, said) in [
            (r#"{"error":"Budget limit exceeded"}"#, "403 Budget limit exceeded"),
            (r#"{"error":"token ic_CANARY"}"#, "403"),
            (r#"{"error":"two\nlines"}"#, "403"),
            (r#"{"error":""}"#, "403"),
            (r#"{"error":7}"#, "403"),
            ("<html>", "403"),
        ] {
            assert_eq!(answer(403, body).said(&control), said);
        }
        assert_eq!(answer(403, &format!(r#"{{"error":"{long}"}}"#)).said(&control).len(), 4 + MAX_TEXT_CHARS);
    }

    #[test]
    fn kinds_of_answers() {
        // (status, body) → asked again, unknown call
        for (status, body, passing, unknown) in [
            (200, "", false, false),
            (302, "", true, false),
            (400, "", false, false),
            (404, "not found", false, true),
            (404, r#"{"error":"unknown lease"}"#, false, false),
            (405, r#"{"message":"no"}"#, false, true),
            (429, "", true, false),
            (501, "", true, true),
            (503, r#"{"error":"x"}"#, true, false),
        ] {
            let answer = answer(status, body);
            assert_eq!((answer.is_passing(), answer.is_unknown_call()), (passing, unknown), "{status} {body}");
        }
    }
}
