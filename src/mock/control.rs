//! The control server's side of its protocol: provider keys, budget leases, analytics events. Any token is known.
//!
//! State is in memory, bounded, and forgotten with the process. Failures are asked for by the token's own text, so that a router can be
//! tried against them without another way in.

use super::encode;
use super::leases::{ALLOCATED, Books, Grant, Refused};
use super::stats::Booked;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The longest token.
const MAX_TOKEN_CHARS: usize = 2000;

/// The longest id, model name or the like.
const MAX_TEXT_CHARS: usize = 256;

/// Events remembered for telling duplicates, and keys handed out first.
const MAX_REMEMBERED: usize = 100_000;

/// The calls of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Key,
    Handshake,
    Report,
    Refresh,
    Return,
    Event,
}

impl Call {
    const ALL: [Self; 6] = [Self::Key, Self::Handshake, Self::Report, Self::Refresh, Self::Return, Self::Event];

    /// The call at a path.
    pub(super) fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.path() == path)
    }

    /// Its path.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Key => "/api/v1/agents/provider-key",
            Self::Handshake => "/api/v1/budget/handshake",
            Self::Report => "/api/v1/budget/report",
            Self::Refresh => "/api/v1/budget/refresh",
            Self::Return => "/api/v1/budget/return",
            Self::Event => "/api/v1/analytics/events",
        }
    }

    /// Its name in the statistics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Key => "provider_key",
            Self::Handshake => "budget_handshake",
            Self::Report => "budget_report",
            Self::Refresh => "budget_refresh",
            Self::Return => "budget_return",
            Self::Event => "analytics_event",
        }
    }
}

/// A reply: status and body.
pub(super) type Reply = (u16, Value);

/// What the control server remembers.
#[derive(Default)]
pub(super) struct Control {
    books: Books,
    events: HashSet<String>,
    keyed: HashSet<String>,
}

impl Control {
    /// Answers one call. `bearer` is the token of the `Authorization` header, `base_url` the address of this server.
    pub(super) fn answer(&mut self, call: Call, body: &[u8], bearer: Option<&str>, base_url: &str) -> Reply {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return malformed(call);
        };
        let token = match token(call, &body, bearer) {
            Ok(token) => token.to_owned(),
            Err(reply) => return reply,
        };
        match call {
            Call::Key => self.key(&token, base_url),
            Call::Handshake => self.handshake(&token, &body),
            Call::Report => self.report(&token, &body),
            Call::Refresh => self.refresh(&token, &body),
            Call::Return => self.give_back(&token, &body),
            Call::Event => self.event(&body),
        }
    }

    /// What it has booked so far.
    pub(super) fn booked(&self) -> Booked {
        let (spent_micro_usd, lent_micro_usd, reports) = self.books.sums();
        Booked { spent_micro_usd, lent_micro_usd, reports, events: self.events.len() as u64 }
    }

    fn key(&mut self, token: &str, base_url: &str) -> Reply {
        let first = self.keyed.len() < MAX_REMEMBERED && self.keyed.insert(token.to_owned());
        let kind = if token.contains("stale") && first { "invalid-" } else { "" };
        let provider = if token.contains("anthropic") { "anthropic" } else { "openai" };
        let key = format!("sk-mock-{kind}{}", encode::digest(token));
        (200, json!({"provider_key": key, "provider": provider, "base_url": base_url}))
    }

    fn handshake(&mut self, token: &str, body: &Map<String, Value>) -> Reply {
        let Some(provider) = text(body, "provider") else { return error(400, "provider is required") };
        let Ok(asked) = sum(body, "requested_budget") else { return error(400, "requested_budget must be a positive integer") };
        if token.contains("noprovider") || !matches!(provider, "openai" | "anthropic") {
            return error(404, "no key for that provider");
        }
        match self.grant(token, asked) {
            Ok(grant) => (
                200,
                json!({
                    "ip_token": ip_token(), "lease_id": grant.lease_id, "budget_granted": grant.granted, "budget_remaining": grant.remaining,
                    "expires_at": null,
                }),
            ),
            Err(Refused::Exhausted(_)) => error(403, "Budget limit exceeded"),
            Err(refused) => refusal(refused),
        }
    }

    fn grant(&mut self, token: &str, asked: Option<u64>) -> Result<Grant, Refused> {
        let allocated = if token.contains("exhausted") { 0 } else { ALLOCATED };
        self.books.grant(token, allocated, asked, format!("lease_{}", encode::uuid4()))
    }

    fn report(&mut self, token: &str, body: &Map<String, Value>) -> Reply {
        let cost = body.get("cost_microdollars").and_then(Value::as_u64);
        let (Some(lease), Some(request), Some(cost)) = (text(body, "lease_id"), text(body, "request_id"), cost) else {
            return error(400, "lease_id, request_id and cost_microdollars are required");
        };
        let complete = body.get("tokens").is_some_and(Value::is_u64) && text(body, "model").is_some() && text(body, "provider").is_some();
        if !complete {
            return error(400, "tokens, model and provider are required");
        }
        match self.books.report(token, lease, request, cost) {
            Ok(remaining) => (200, json!({"success": true, "budget_remaining": remaining})),
            Err(Refused::Inactive) => error(403, "lease is not active"),
            Err(refused) => refusal(refused),
        }
    }

    fn refresh(&mut self, token: &str, body: &Map<String, Value>) -> Reply {
        let Some(lease) = text(body, "current_lease_id") else { return error(400, "current_lease_id is required") };
        let Ok(asked) = sum(body, "requested_budget") else { return error(400, "requested_budget must be a positive integer") };
        // What is denied leaves the old lease as it is.
        let granted = match self.books.lendable(token, lease) {
            Ok(0) => Err(Refused::Exhausted(0)),
            Ok(_) => self.books.end(token, lease, None).and_then(|_| self.grant(token, asked)),
            Err(refused) => Err(refused),
        };
        match granted {
            Ok(grant) => (
                200,
                json!({
                    "status": "approved", "budget_granted": grant.granted, "budget_remaining": grant.remaining, "lease_id": grant.lease_id,
                    "reason": null,
                }),
            ),
            Err(Refused::Exhausted(remaining)) => (
                200,
                json!({
                    "status": "denied", "budget_granted": null, "budget_remaining": remaining, "lease_id": null,
                    "reason": "insufficient_budget",
                }),
            ),
            Err(refused) => refusal(refused),
        }
    }

    fn give_back(&mut self, token: &str, body: &Map<String, Value>) -> Reply {
        let spent = body.get("spent_microdollars").and_then(Value::as_u64);
        let (Some(lease), Some(spent)) = (text(body, "lease_id"), spent) else {
            return error(400, "lease_id and spent_microdollars are required");
        };
        match self.books.end(token, lease, Some(spent)) {
            Ok(returned) => (200, json!({"success": true, "returned": returned})),
            Err(Refused::OverLease) => error(400, "spent_microdollars is more than the lease held"),
            Err(refused) => refusal(refused),
        }
    }

    fn event(&mut self, body: &Map<String, Value>) -> Reply {
        let one_of = |name: &str, words: &[&str]| text(body, name).is_some_and(|value| words.contains(&value));
        let valid = one_of("event_type", &["llm_request_completed", "llm_request_failed"])
            && one_of("provider", &["openai", "anthropic", "unknown"])
            && text(body, "model").is_some()
            && body.get("timestamp_ms").is_some_and(Value::is_u64)
            && ["input_tokens", "output_tokens", "cost_micros"].iter().all(|name| sum_or_zero(body.get(*name)));
        let Some(id) = text(body, "event_id").filter(|_| valid) else {
            let message = "event_id, timestamp_ms, event_type, model and provider are required; token counts are whole numbers";
            return (400, json!({"error": "VALIDATION_ERROR", "message": message}));
        };
        if self.events.contains(id) {
            return (200, json!({"event_id": id, "status": "duplicate"}));
        }
        if self.events.len() >= MAX_REMEMBERED {
            return (500, json!({"error": "INTERNAL_ERROR", "message": "the mock remembers no more events"}));
        }
        self.events.insert(id.to_owned());
        (202, json!({"event_id": id, "status": "accepted"}))
    }
}

/// The token a call comes with, or the refusal that it asks for.
fn token<'a>(call: Call, body: &'a Map<String, Value>, bearer: Option<&'a str>) -> Result<&'a str, Reply> {
    let given = body.get("ic_token").and_then(Value::as_str);
    // Reports and returns have no token in the body; for a key and an event the body's is the one that counts.
    let token = match call {
        Call::Key | Call::Event => given,
        _ => given.or(bearer),
    };
    let token = match token {
        Some(token) if !token.is_empty() && token.chars().count() <= MAX_TOKEN_CHARS => token,
        None if matches!(call, Call::Report | Call::Return) => return Err(failure(call, 401)),
        _ => return Err(failure(call, 400)),
    };
    let differs = bearer.is_some_and(|bearer| bearer != token);
    if token.contains("unauthorized") || differs {
        return Err(failure(call, 401));
    }
    if token.contains("down") {
        return Err(failure(call, 503));
    }
    if token.contains("unknown") {
        return Err(failure(call, if call == Call::Key { 404 } else { 401 }));
    }
    if token.contains("noprovider") && call == Call::Key {
        return Err(failure(call, 403));
    }
    Ok(token)
}

/// A refusal for the token, in the shape of its call.
fn failure(call: Call, status: u16) -> Reply {
    let (code, message) = match status {
        400 => ("INVALID_TOKEN", "ic_token must have 1 to 2000 characters"),
        401 => ("UNAUTHORIZED", "token is not valid"),
        403 => ("NO_PROVIDER_ASSIGNED", "no provider is assigned to this agent"),
        404 => ("INVALID_TOKEN", "no such agent"),
        _ => ("CRYPTO_UNAVAILABLE", "the mock control server was asked to be down"),
    };
    match call {
        Call::Key => (status, json!({"error": message, "code": code})),
        Call::Event => (status, json!({"error": code, "message": message})),
        _ => error(status, message),
    }
}

fn malformed(call: Call) -> Reply {
    let message = "body is not a JSON object";
    match call {
        Call::Key => (400, json!({"error": message, "code": "INVALID_TOKEN"})),
        Call::Event => (400, json!({"error": "VALIDATION_ERROR", "message": message})),
        _ => error(400, message),
    }
}

fn refusal(refused: Refused) -> Reply {
    match refused {
        Refused::Unknown => error(404, "unknown lease"),
        Refused::Inactive => error(400, "lease is not active"),
        Refused::OverLease => error(403, "more than the lease holds"),
        Refused::Exhausted(_) => error(403, "Budget limit exceeded"),
        Refused::Full => error(503, "the mock's books are full"),
    }
}

fn error(status: u16, message: &str) -> Reply {
    (status, json!({"error": message}))
}

/// A text field, not empty and of bounded length.
fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name)?.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_TEXT_CHARS)
}

/// A sum of money that may be left out.
fn sum(body: &Map<String, Value>, name: &str) -> Result<Option<u64>, ()> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().filter(|sum| *sum > 0).map(Some).ok_or(()),
    }
}

fn sum_or_zero(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.is_u64())
}

/// A token of the shape that routers expect; nothing is encrypted in it.
fn ip_token() -> String {
    let part = |bytes: &[u8]| encode::base64(bytes);
    format!("AES256:{}:{}:{}", part(&encode::random::<12>()), part(&encode::random::<48>()), part(&encode::random::<16>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(control: &mut Control, path: &str, body: Value, bearer: Option<&str>) -> Reply {
        let call = Call::at(path).expect("a call");
        control.answer(call, body.to_string().as_bytes(), bearer, "http://127.0.0.1:1")
    }

    #[test]
    fn keys_are_given_or_refused_by_the_token() {
        let long = "x".repeat(2001);
        let table = [
            ("ic_any", 200, json!(null)),
            ("ic_anthropic", 200, json!(null)),
            ("", 400, json!("INVALID_TOKEN")),
            (&long, 400, json!("INVALID_TOKEN")),
            ("ic_unauthorized", 401, json!("UNAUTHORIZED")),
            ("ic_noprovider", 403, json!("NO_PROVIDER_ASSIGNED")),
            ("ic_unknown", 404, json!("INVALID_TOKEN")),
            ("ic_down", 503, json!("CRYPTO_UNAVAILABLE")),
        ];
        for (token, status, code) in table {
            let (got, body) = ask(&mut Control::default(), "/api/v1/agents/provider-key", json!({"ic_token": token}), None);
            assert_eq!((got, &body["code"]), (status, &code), "{token}");
            if status == 200 {
                let provider = if token.contains("anthropic") { "anthropic" } else { "openai" };
                assert_eq!((&body["provider"], &body["base_url"]), (&json!(provider), &json!("http://127.0.0.1:1")));
                assert!(body["provider_key"].as_str().is_some_and(|key| key.starts_with("sk-mock-")));
            }
        }
    }

    #[test]
    fn a_stale_token_gets_a_bad_key_once() {
        let mut control = Control::default();
        let mut key =
            || ask(&mut control, "/api/v1/agents/provider-key", json!({"ic_token": "ic_stale"}), None).1["provider_key"].to_string();
        assert!(key().contains("invalid"));
        assert!(!key().contains("invalid"));
    }

    #[test]
    fn a_budget_is_lent_used_and_returned() {
        let mut control = Control::default();
        let hello = json!({"ic_token": "ic_1", "provider": "openai"});
        let (status, lent) = ask(&mut control, "/api/v1/budget/handshake", hello, Some("ic_1"));
        assert_eq!((status, &lent["budget_granted"], &lent["budget_remaining"]), (200, &json!(10_000_000), &json!(90_000_000)));
        assert_eq!(lent["ip_token"].as_str().map(|token| token.split(':').count()), Some(4));
        let report = json!({"lease_id": lent["lease_id"], "request_id": "r", "tokens": 5, "cost_microdollars": 300, "model": "m", "provider": "openai"});
        assert_eq!(ask(&mut control, "/api/v1/budget/report", report.clone(), None).0, 401);
        assert_eq!(ask(&mut control, "/api/v1/budget/report", report.clone(), Some("ic_other")).0, 404);
        assert_eq!(
            ask(&mut control, "/api/v1/budget/report", report, Some("ic_1")),
            (200, json!({"success": true, "budget_remaining": 90_000_000}))
        );
        let refresh = json!({"ic_token": "ic_1", "current_lease_id": lent["lease_id"], "requested_budget": 99_999_700});
        let (status, more) = ask(&mut control, "/api/v1/budget/refresh", refresh, Some("ic_1"));
        assert_eq!((status, &more["status"], &more["budget_granted"]), (200, &json!("approved"), &json!(99_999_700)));
        let back = json!({"lease_id": more["lease_id"], "spent_microdollars": 700});
        assert_eq!(
            ask(&mut control, "/api/v1/budget/return", back.clone(), Some("ic_1")),
            (200, json!({"success": true, "returned": 99_999_000}))
        );
        assert_eq!(ask(&mut control, "/api/v1/budget/return", back, Some("ic_1")).0, 400);
    }

    #[test]
    fn handshakes_are_checked() {
        let table = [
            (json!({"ic_token": "t"}), 400),
            (json!({"ic_token": "t", "provider": "openai", "requested_budget": -1}), 400),
            (json!({"ic_token": "t", "provider": "other"}), 404),
            (json!({"ic_token": "unauthorized", "provider": "openai"}), 401),
            (json!({"ic_token": "exhausted", "provider": "openai"}), 403),
            (json!({"ic_token": "down", "provider": "openai"}), 503),
        ];
        for (body, status) in table {
            assert_eq!(ask(&mut Control::default(), "/api/v1/budget/handshake", body.clone(), None).0, status, "{body}");
        }
        let differing = json!({"ic_token": "t", "provider": "openai"});
        assert_eq!(ask(&mut Control::default(), "/api/v1/budget/handshake", differing, Some("u")).0, 401);
    }

    #[test]
    fn events_are_taken_once() {
        let mut control = Control::default();
        let event = json!({
            "ic_token": "t", "event_id": "e1", "timestamp_ms": 1, "event_type": "llm_request_completed", "model": "m", "provider": "openai",
            "input_tokens": 3,
        });
        let mut send = |event: &Value| ask(&mut control, "/api/v1/analytics/events", event.clone(), None);
        assert_eq!(send(&event), (202, json!({"event_id": "e1", "status": "accepted"})));
        assert_eq!(send(&event), (200, json!({"event_id": "e1", "status": "duplicate"})));
        for (field, value) in
            [("event_type", json!("x")), ("timestamp_ms", json!("1")), ("event_id", json!("")), ("input_tokens", json!(-1))]
        {
            let mut event = event.clone();
            event[field] = value;
            assert_eq!(send(&event).1["error"], "VALIDATION_ERROR", "{field}");
        }
        let mut unauthorized = event;
        unauthorized["ic_token"] = json!("unauthorized");
        assert_eq!(send(&unauthorized).1["error"], "UNAUTHORIZED");
    }
}
