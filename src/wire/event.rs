//! The analytics event of a finished call, as it waits in the outbox: names and figures, never a prompt, a reply, a key or a token.

use crate::money::NanoUsd;
use crate::outbox::{Item, ItemKind};
use crate::row::Row;
use serde::Serialize;
use std::borrow::Cow;

/// The body of an event, but for the token.
#[derive(Serialize)]
struct Body<'a> {
    event_id: &'a str,
    timestamp_ms: u64,
    event_type: &'static str,
    model: &'a str,
    provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

/// The event of a row. `event_id` is a random UUID: the server tells duplicates by it.
pub fn event_item(row: &Row, event_id: String) -> Item {
    let failed = !row.outcome.succeeded();
    let usage = row.bill.usage;
    let body = Body {
        event_id: &event_id,
        timestamp_ms: row.info.at.0,
        event_type: if failed { "llm_request_failed" } else { "llm_request_completed" },
        model: row.info.model.as_deref().filter(|model| !model.is_empty()).unwrap_or("unknown"),
        provider: provider(row),
        input_tokens: usage.map(|usage| usage.input_tokens()),
        output_tokens: usage.map(|usage| usage.output_tokens()),
        cost_micros: row.bill.cost.map(nearest_micro_usd),
        error_code: failed.then(|| error_code(row)),
        error_message: failed.then(|| format!("status {}, {}", row.outcome.status, row.outcome.end.as_str())),
    };
    let body = serde_json::to_string(&body).unwrap_or_default();
    Item { kind: ItemKind::Event, key: event_id, body }
}

/// The protocol knows two providers: the upstream's name, else whose price was paid.
fn provider(row: &Row) -> &'static str {
    let known = |name: &str| ["openai", "anthropic"].into_iter().find(|known| *known == name);
    let of_price = || row.bill.price.as_ref().and_then(|price| known(&price.provider));
    known(&row.info.upstream).or_else(of_price).unwrap_or("unknown")
}

fn nearest_micro_usd(cost: NanoUsd) -> u64 {
    cost.0.saturating_add(500) / 1000
}

/// Our own word where we answered, else the provider's status, else how it ended.
fn error_code(row: &Row) -> Cow<'static, str> {
    match (row.code, row.outcome.status) {
        (Some(code), _) => code.into(),
        (None, status @ 400..) => format!("http_{status}").into(),
        _ => row.outcome.end.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{End, Outcome};
    use crate::clock::UnixMs;
    use crate::money::Usage;
    use crate::row::{Bill, RequestInfo};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::Duration;

    fn row(status: u16, end: End, code: Option<&'static str>) -> Row {
        let info = RequestInfo {
            serial: 1,
            at: UnixMs(1_700_000_000_123),
            agent: None,
            upstream: "openai".into(),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            model: Some("gpt-4o".into()),
            stream: false,
            request_bytes: None,
            translated: false,
        };
        Row::new(info, Outcome::failed(status, end, Duration::ZERO), Bill::nothing(), code)
    }

    fn body(row: &Row) -> Value {
        let item = event_item(row, "id-1".into());
        let mut body: Value = serde_json::from_str(&item.body).expect("JSON");
        assert_eq!((item.kind, body["event_id"].as_str()), (ItemKind::Event, Some("id-1")));
        body.as_object_mut().expect("an object").remove("event_id");
        body
    }

    #[test]
    fn a_completed_call() {
        let mut row = row(200, End::Complete, None);
        row.bill.usage = Some(Usage { input: 7, cache_read: 3, output: 5, ..Usage::default() });
        row.bill.cost = Some(NanoUsd(1_500));
        let expected = json!({
            "timestamp_ms": 1_700_000_000_123u64, "event_type": "llm_request_completed", "model": "gpt-4o", "provider": "openai",
            "input_tokens": 10, "output_tokens": 5, "cost_micros": 2,
        });
        assert_eq!(body(&row), expected);
    }

    #[test]
    fn failed_calls_say_why() {
        for (status, end, code, expected) in [
            (402, End::Refused, Some("budget_exceeded"), "budget_exceeded"),
            (429, End::Complete, None, "http_429"),
            (200, End::UpstreamCut, None, "upstream_cut"),
            (0, End::ClientGone, None, "client_gone"),
        ] {
            let body = body(&row(status, end, code));
            assert_eq!((&body["event_type"], &body["error_code"]), (&json!("llm_request_failed"), &json!(expected)));
            assert_eq!((body.get("input_tokens"), &body["cost_micros"]), (None, &json!(0)));
        }
    }

    #[test]
    fn what_is_not_known_is_left_out_or_unknown() {
        let mut row = row(200, End::Complete, None);
        let info = Arc::make_mut(&mut row.info);
        (info.model, info.upstream, row.bill.cost) = (None, "ollama".into(), None);
        let body = body(&row);
        assert_eq!((&body["model"], &body["provider"], body.get("cost_micros")), (&json!("unknown"), &json!("unknown"), None));
        assert_eq!(body.get("error_code"), None);
    }
}
