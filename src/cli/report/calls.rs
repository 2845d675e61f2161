//! Calls one by one: for people, as JSON, as CSV.

use super::table::{columns, csv, dollars, name};
use crate::cli::bill::grouped;
use crate::clock::UnixMs;
use crate::money::NanoUsd;
use serde_json::{Value, json};

/// What a line tells of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub at: UnixMs,
    pub agent: Option<String>,
    pub model: Option<String>,
    pub provider: String,
    pub path: String,
    pub stream: bool,
    /// The status the client saw; 0: none.
    pub status: u16,
    /// How it ended, in the ledger's word.
    pub end: String,
    /// The code of a refusal or failure of ours.
    pub code: Option<String>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// `None`: no price is known.
    pub cost: Option<NanoUsd>,
    /// Whether the cost is an upper estimate.
    pub estimated: bool,
}

const HEADS: [&str; 13] = [
    "time",
    "agent",
    "model",
    "provider",
    "path",
    "stream",
    "status",
    "end",
    "code",
    "input_tokens",
    "output_tokens",
    "cost_nano_usd",
    "estimated",
];

/// For people. A cost that is an upper estimate has a `~` before it.
pub(super) fn text(calls: &[Line]) -> String {
    let amounts: Vec<u64> = calls.iter().map(|call| call.cost.unwrap_or_default().0).collect();
    let row = |(call, cost): (&Line, String)| {
        let cost = match (call.cost, call.estimated) {
            (None, _) => "unknown".into(),
            (Some(_), true) => format!("~{cost}"),
            (Some(_), false) => cost,
        };
        vec![
            call.at.rfc3339(),
            name(call.agent.as_deref().unwrap_or("-")),
            name(call.model.as_deref().unwrap_or("-")),
            name(&call.provider),
            name(call.code.as_ref().unwrap_or(&call.end)),
            call.status.to_string(),
            grouped(call.input_tokens),
            grouped(call.output_tokens),
            cost,
        ]
    };
    let rows: Vec<_> = calls.iter().zip(dollars(&amounts)).map(row).collect();
    let heads = ["time (UTC)", "agent", "model", "provider", "end", "status", "tokens in", "tokens out", "cost"];
    columns(&heads, 5, &rows).join("\n") + "\n"
}

/// For programs.
pub(super) fn as_json(calls: &[Line]) -> Value {
    let one = |call: &Line| {
        json!({
            "time": call.at.rfc3339(),
            "agent": call.agent,
            "model": call.model,
            "provider": call.provider,
            "path": call.path,
            "stream": call.stream,
            "status": call.status,
            "end": call.end,
            "code": call.code,
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "cost_nano_usd": call.cost.map(|cost| cost.0),
            "estimated": call.estimated,
        })
    };
    json!({ "rows": calls.iter().map(one).collect::<Vec<_>>() })
}

/// For spreadsheets; what is not known is empty.
pub(super) fn as_csv(calls: &[Line]) -> String {
    let mut text = csv(HEADS) + "\n";
    for call in calls {
        let cost = call.cost.map(|cost| cost.0.to_string()).unwrap_or_default();
        let (input, output) = (call.input_tokens.to_string(), call.output_tokens.to_string());
        text += &csv([
            call.at.rfc3339().as_str(),
            call.agent.as_deref().unwrap_or_default(),
            call.model.as_deref().unwrap_or_default(),
            &call.provider,
            &call.path,
            &call.stream.to_string(),
            &call.status.to_string(),
            &call.end,
            call.code.as_deref().unwrap_or_default(),
            &input,
            &output,
            &cost,
            &call.estimated.to_string(),
        ]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls() -> Vec<Line> {
        let whole = Line {
            at: UnixMs(0),
            model: Some("gpt-4o-mini".into()),
            provider: "openai".into(),
            path: "/v1/chat/completions".into(),
            status: 200,
            end: "complete".into(),
            input_tokens: 1200,
            output_tokens: 12,
            cost: Some(NanoUsd(187_200)),
            ..Line::default()
        };
        let refused = Line {
            agent: Some("a\x1b[1m".into()),
            status: 402,
            end: "refused".into(),
            code: Some("budget_exceeded".into()),
            input_tokens: 0,
            output_tokens: 0,
            cost: Some(NanoUsd::ZERO),
            ..whole.clone()
        };
        let cut = Line { stream: true, end: "client_gone".into(), estimated: true, ..whole.clone() };
        let unpriced = Line { model: Some("x".into()), cost: None, ..whole.clone() };
        vec![whole, refused, cut, unpriced]
    }

    #[test]
    fn for_people() {
        let text = text(&calls());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("1970-01-01T00:00:00.000Z  -") && lines[1].ends_with("200      1,200          12   $0.0001872"),
            "{text}"
        );
        assert!(lines[2].contains("budget_exceeded     402") && lines[2].contains("a\\u{1b}[1m"), "{text}");
        assert!(lines[3].ends_with(" ~$0.0001872") && lines[4].ends_with("unknown"), "{text}");
    }

    #[test]
    fn for_programs() {
        let json = as_json(&calls());
        let (refused, unpriced) = (&json["rows"][1], &json["rows"][3]);
        assert_eq!((&refused["code"], &refused["cost_nano_usd"]), (&json!("budget_exceeded"), &json!(0)));
        assert_eq!((&unpriced["cost_nano_usd"], &unpriced["agent"]), (&Value::Null, &Value::Null));
        let csv = as_csv(&calls());
        let columns = csv.lines().map(|line| line.matches(',').count() + 1);
        assert!(columns.into_iter().all(|columns| columns == HEADS.len()), "{csv}");
        assert!(
            csv.contains("1970-01-01T00:00:00.000Z,,gpt-4o-mini,openai,/v1/chat/completions,true,200,client_gone,,1200,12,187200,true")
        );
        assert_eq!(json["rows"][0].as_object().map(serde_json::Map::len), Some(HEADS.len()));
    }
}
