//! A refusal as the client's SDK expects an error: OpenAI's or Anthropic's JSON, so that its own typed exceptions are raised.

use crate::call::{Protocol, Reason, Refusal, Retry};
use serde_json::json;

/// Status, header fields and body of a refusal.
pub struct Rendered {
    /// The status.
    pub status: u16,
    /// `content-type` and, where it helps, `retry-after` or `x-should-retry`.
    pub headers: Vec<(&'static str, String)>,
    /// JSON in the client's protocol.
    pub body: Vec<u8>,
}

/// Renders a refusal in the shape of `protocol`.
pub fn render(refusal: &Refusal, protocol: Protocol) -> Rendered {
    let row = row(refusal.reason);
    let body = error_body(protocol, &row, &refusal.message);
    let mut headers = vec![("content-type", "application/json".to_string())];
    match refusal.retry {
        Retry::Unsaid => {}
        Retry::Never => headers.push(("x-should-retry", "false".into())),
        Retry::After(seconds) => headers.push(("retry-after", seconds.to_string())),
    }
    Rendered { status: row.status, headers, body }
}

/// The status of a refusal for this reason.
pub fn status(reason: Reason) -> u16 {
    row(reason).status
}

/// The error body of a status the HTTP server itself answers with.
pub fn violation_body(status: u16, code: &str, message: &str, protocol: Protocol) -> Vec<u8> {
    let (openai_type, anthropic_type) = match status {
        503 => ("overloaded_error", "overloaded_error"),
        500.. => ("server_error", "api_error"),
        413 => ("invalid_request_error", "request_too_large"),
        _ => ("invalid_request_error", "invalid_request_error"),
    };
    error_body(protocol, &Row { status, openai_type, code, anthropic_type }, message)
}

/// A row of the protocol's error table.
struct Row<'c> {
    status: u16,
    openai_type: &'static str,
    code: &'c str,
    anthropic_type: &'static str,
}

fn row(reason: Reason) -> Row<'static> {
    const INVALID: &str = "invalid_request_error";
    const EXCEEDED: &str = "iron_cage_budget_exceeded";
    const INSUFFICIENT: &str = "iron_cage_insufficient_budget";
    const UNMETERED: &str = "iron_cage_unmetered";
    let (status, openai_type, anthropic_type) = match reason {
        Reason::Invalid(_) => (400, INVALID, INVALID),
        Reason::Unauthorized => (401, INVALID, "authentication_error"),
        Reason::BudgetExceeded => (402, EXCEEDED, EXCEEDED),
        Reason::InsufficientBudget => (402, INSUFFICIENT, INSUFFICIENT),
        Reason::Unmetered | Reason::UnknownModelPrice => (402, UNMETERED, UNMETERED),
        Reason::ForbiddenHost | Reason::ForbiddenOrigin => (403, INVALID, "permission_error"),
        Reason::NotFound | Reason::ThreadNotFound => (404, INVALID, "not_found_error"),
        Reason::MethodNotAllowed => (405, INVALID, INVALID),
        Reason::RequestTimeout => (408, INVALID, INVALID),
        Reason::TooLarge => (413, INVALID, "request_too_large"),
        Reason::Internal => (500, "server_error", "api_error"),
        Reason::UpgradeUnsupported => (501, INVALID, INVALID),
        Reason::Upstream(_) => (502, "upstream_error", "api_error"),
        Reason::Overloaded(_) => (503, "overloaded_error", "overloaded_error"),
        Reason::UpstreamTimeout => (504, "upstream_error", "api_error"),
    };
    Row { status, openai_type, code: reason.code(), anthropic_type }
}

fn error_body(protocol: Protocol, row: &Row<'_>, message: &str) -> Vec<u8> {
    let value = match protocol {
        Protocol::OpenAi => json!({"error": {"message": message, "type": row.openai_type, "param": null, "code": row.code}}),
        // Anthropic's clients know by this word that they are to send the conversation whole.
        Protocol::Anthropic if row.code == Reason::ThreadNotFound.code() => {
            json!({"type": "error", "error": {"type": row.anthropic_type, "message": message, "details": {"error_code": row.code}}})
        }
        Protocol::Anthropic => json!({"type": "error", "error": {"type": row.anthropic_type, "message": message}}),
    };
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes() {
        let refusal = Refusal::new(Reason::Unauthorized, "no token");
        let openai = render(&refusal, Protocol::OpenAi);
        assert_eq!(openai.status, 401);
        let body: serde_json::Value = serde_json::from_slice(&openai.body).unwrap();
        assert_eq!(
            body,
            json!({"error": {"message": "no token", "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}})
        );
        let anthropic: serde_json::Value = serde_json::from_slice(&render(&refusal, Protocol::Anthropic).body).unwrap();
        assert_eq!(anthropic, json!({"type": "error", "error": {"type": "authentication_error", "message": "no token"}}));
    }

    #[test]
    fn a_lost_thread_is_told_in_the_word_that_clients_go_by() {
        let rendered = render(&Refusal::new(Reason::ThreadNotFound, "m"), Protocol::Anthropic);
        let body: serde_json::Value = serde_json::from_slice(&rendered.body).unwrap();
        let error = json!({"type": "not_found_error", "message": "m", "details": {"error_code": "thread_not_found"}});
        assert_eq!((rendered.status, &body["error"]), (404, &error));
    }

    #[test]
    fn retry_advice() {
        for (reason, status, field) in [
            (Reason::Invalid("unroutable"), 400, Some(("x-should-retry", "false"))),
            (Reason::Overloaded("router_full"), 503, Some(("retry-after", "1"))),
            (Reason::Upstream("upstream_reset"), 502, None),
            (Reason::UpstreamTimeout, 504, None),
        ] {
            let rendered = render(&Refusal::new(reason, "m"), Protocol::OpenAi);
            assert_eq!(rendered.status, status);
            assert_eq!(rendered.headers.get(1).map(|(name, value)| (*name, value.as_str())), field, "{reason:?}");
        }
    }
}
