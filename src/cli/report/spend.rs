//! What was spent, from the sums over the ledger: for people, as JSON under the keys of `stats()`, as CSV.

use super::table::{columns, csv, dollars, name};
use crate::cli::bill::{self, grouped};
use crate::money::NanoUsd;
use crate::tally::{Figures, NONE, Tally};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A table of the report: its word, and its names with their figures.
type Group<'t> = (&'static str, Vec<(String, &'t Figures)>);

/// By model, provider and agent the dearest first, by day in order.
fn groups(tally: &Tally) -> [Group<'_>; 4] {
    [
        ("model", dearest_first(&tally.by_model)),
        ("provider", dearest_first(&tally.by_provider)),
        ("agent", dearest_first(&tally.by_agent)),
        ("day", tally.by_day().collect()),
    ]
}

fn dearest_first(table: &BTreeMap<String, Figures>) -> Vec<(String, &Figures)> {
    let mut names: Vec<_> = table.iter().map(|(name, figures)| (name.clone(), figures)).collect();
    names.sort_by_key(|(_, figures)| std::cmp::Reverse((figures.cost_nano_usd, figures.requests)));
    names
}

/// For people. Where nothing has a name (no agents were used), that table is left out.
pub(super) fn text(tally: &Tally, limit: Option<NanoUsd>) -> String {
    let budget = limit.map(|limit| format!(" (budget {limit})")).unwrap_or_default();
    let mut text = format!("{}{budget}\n", bill::of(&tally.all));
    for (word, names) in groups(tally) {
        if names.iter().all(|(name, _)| name == NONE) {
            continue;
        }
        let costs: Vec<u64> = names.iter().map(|(_, figures)| figures.cost_nano_usd).collect();
        let rows: Vec<Vec<String>> = names
            .iter()
            .zip(dollars(&costs))
            .map(|((label, figures), cost)| {
                let counts = [figures.requests, figures.failed, figures.refused, figures.input_tokens, figures.output_tokens];
                std::iter::once(name(label)).chain(counts.map(grouped)).chain([cost]).collect()
            })
            .collect();
        text += "\n";
        for line in columns(&[word, "requests", "failed", "refused", "tokens in", "tokens out", "cost"], 1, &rows) {
            text += &line;
            text += "\n";
        }
    }
    text
}

/// For programs, under the keys of `stats()`. A report sees ended calls only, so that nothing is held.
pub(super) fn as_json(tally: &Tally, limit: Option<NanoUsd>) -> Value {
    let all = &tally.all;
    let by_day: BTreeMap<String, &Figures> = tally.by_day().collect();
    json!({
        "requests": all.requests,
        "failed": all.failed,
        "refused": all.refused,
        "input_tokens": all.input_tokens,
        "output_tokens": all.output_tokens,
        "cost_nano_usd": all.cost_nano_usd,
        "spent_usd": NanoUsd(all.cost_nano_usd).usd(),
        "held_usd": 0.0,
        "limit_usd": limit.map(NanoUsd::usd),
        "by_model": tally.by_model,
        "by_provider": tally.by_provider,
        "by_agent": tally.by_agent,
        "by_day": by_day,
    })
}

/// A line for everything (`all`), then one for each name of each table.
pub(super) fn as_csv(tally: &Tally) -> String {
    let mut text = String::from("by,name,requests,failed,refused,input_tokens,output_tokens,cost_nano_usd,cost_usd\n");
    let mut add = |by: &str, name: &str, figures: &Figures| {
        let cost = NanoUsd(figures.cost_nano_usd).to_string();
        let counts =
            [figures.requests, figures.failed, figures.refused, figures.input_tokens, figures.output_tokens, figures.cost_nano_usd]
                .map(|count| count.to_string());
        text += &csv([by, name].into_iter().chain(counts.iter().map(String::as_str)).chain([cost.trim_start_matches('$')]));
        text.push('\n');
    };
    add("all", "", &tally.all);
    for (word, names) in groups(tally) {
        for (name, figures) in names {
            add(word, &name, figures);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;

    fn tally() -> Tally {
        let figures =
            |input_tokens, cost_nano_usd| Figures { requests: 1, input_tokens, output_tokens: 7, cost_nano_usd, ..Figures::default() };
        let mut tally = Tally::default();
        let day = 86_400_000;
        tally.put(UnixMs(20_000 * day), Some("gpt-4o-mini"), Some("openai"), None, &figures(1500, 225_000));
        tally.put(UnixMs(20_001 * day), Some("claude, the"), Some("anthropic"), None, &figures(10, 1_500_000_000));
        let refused = Figures { requests: 1, refused: 1, ..Figures::default() };
        tally.put(UnixMs(20_001 * day), None, None, None, &refused);
        tally
    }

    #[test]
    fn for_people() {
        let want = "\
3 requests, 1 refused, 1,510 tokens in, 14 out, $1.500225 (budget $10.00)

model        requests  failed  refused  tokens in  tokens out       cost
claude, the         1       0        0         10           7  $1.500000
gpt-4o-mini         1       0        0      1,500           7  $0.000225
(none)              1       0        1          0           0  $0.000000

provider   requests  failed  refused  tokens in  tokens out       cost
anthropic         1       0        0         10           7  $1.500000
openai            1       0        0      1,500           7  $0.000225
(none)            1       0        1          0           0  $0.000000

day         requests  failed  refused  tokens in  tokens out       cost
2024-10-04         1       0        0      1,500           7  $0.000225
2024-10-05         2       0        1         10           7  $1.500000
";
        assert_eq!(text(&tally(), NanoUsd::from_usd(10.0)), want);
        assert_eq!(text(&Tally::default(), None), "0 requests, 0 tokens in, 0 out, $0.00\n");
    }

    #[test]
    fn for_programs() {
        let json = as_json(&tally(), None);
        assert_eq!((&json["requests"], &json["cost_nano_usd"], &json["spent_usd"]), (&json!(3), &json!(1_500_225_000), &json!(1.500225)));
        assert_eq!((&json["held_usd"], &json["limit_usd"]), (&json!(0.0), &Value::Null));
        let six = json!({
            "requests": 1, "failed": 0, "refused": 0, "input_tokens": 1500, "output_tokens": 7, "cost_nano_usd": 225_000
        });
        assert_eq!((&json["by_model"]["gpt-4o-mini"], &json["by_day"]["2024-10-04"]), (&six, &six));
        assert_eq!(json["by_agent"]["(none)"]["requests"], 3);
    }

    #[test]
    fn for_spreadsheets() {
        let csv = as_csv(&tally());
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "by,name,requests,failed,refused,input_tokens,output_tokens,cost_nano_usd,cost_usd");
        assert_eq!(lines[1], "all,,3,0,1,1510,14,1500225000,1.500225");
        assert_eq!(lines[2], "model,\"claude, the\",1,0,0,10,7,1500000000,1.50");
        assert_eq!((lines.len(), lines[10]), (11, "day,2024-10-05,2,0,1,10,7,1500000000,1.50"));
    }
}
