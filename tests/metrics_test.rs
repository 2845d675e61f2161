//! `/metrics`: its text by the format's grammar, its counts under many threads, its bounds, and what a snapshot keeps.

use iron_runtime::UnixMs;
use iron_runtime::call::{End, Outcome, Stages};
use iron_runtime::event::{Crossing, Event};
use iron_runtime::live::metrics::{Metrics, Money};
use iron_runtime::money::{NanoUsd, Usage};
use iron_runtime::row::{Bill, RequestInfo, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A sample: its name, its labels, its value as written.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: String,
}

impl Sample {
    fn number(&self) -> f64 {
        let number = self.value.parse::<f64>().unwrap_or_else(|_| panic!("{self:?}"));
        assert!(number.is_finite() && number >= 0.0, "{self:?}");
        number
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).map(String::as_str) == Some(*value))
    }
}

/// A text of format 0.0.4 that was parsed, and held to more than the format asks: every family has help and a type, no series is there twice.
struct Parsed {
    types: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

fn is_name(name: &str) -> bool {
    let first = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
    name.starts_with(first) && name.chars().all(|letter| first(letter) || letter.is_ascii_digit())
}

impl Parsed {
    fn new(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has an end");
        let mut parsed = Self { types: BTreeMap::new(), samples: Vec::new() };
        let (mut help, mut series) = (BTreeSet::new(), BTreeSet::new());
        for line in text.strip_suffix('\n').unwrap_or_default().split('\n') {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, said) = rest.split_once(' ').expect("a help");
                assert!(is_name(name) && !said.is_empty() && help.insert(name.to_string()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(help.contains(name) && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(parsed.types.insert(name.into(), kind.into()).is_none(), "one type: {line}");
                assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            } else {
                let sample = sample(line);
                assert!(series.insert((sample.name.clone(), sample.labels.clone())), "twice: {line}");
                let family = parsed.family(&sample.name);
                assert_eq!(parsed.types.keys().find(|name| **name == family), Some(&family), "its family was told before: {line}");
                let _ = sample.number();
                parsed.samples.push(sample);
            }
        }
        parsed
    }

    fn family(&self, name: &str) -> String {
        let histogram = |end: &str| name.strip_suffix(end).filter(|base| self.types.get(*base).is_some_and(|kind| kind == "histogram"));
        ["_bucket", "_sum", "_count"].into_iter().find_map(histogram).unwrap_or(name).into()
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.samples.iter().filter(|sample| sample.name == name && sample.has(labels)).collect();
        found.iter().map(|sample| sample.number()).sum()
    }

    fn one(&self, name: &str, labels: &[(&str, &str)]) -> &str {
        let found: Vec<_> = self.samples.iter().filter(|sample| sample.name == name && sample.has(labels)).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        &found[0].value
    }

    /// Series as the bound counts them: a histogram is one.
    fn series(&self) -> usize {
        let distinct = self.samples.iter().map(|sample| {
            let mut labels = sample.labels.clone();
            labels.remove("le");
            (self.family(&sample.name), labels)
        });
        distinct.collect::<BTreeSet<_>>().len()
    }

    /// Buckets by their bounds: ascending, cumulative, the last one endless and equal to the count.
    fn check_histograms(&self) {
        let families: Vec<_> = self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name).collect();
        assert_eq!(families.len(), 5);
        for family in families {
            let mut of: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
            for sample in self.samples.iter().filter(|sample| sample.name == format!("{family}_bucket")) {
                let mut labels = sample.labels.clone();
                let bound = labels.remove("le").expect("le").parse().expect("a number");
                of.entry(labels).or_default().push((bound, sample.number()));
            }
            for (labels, buckets) in of {
                let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{family} {labels:?}");
                let (last, all) = buckets[buckets.len() - 1];
                assert_eq!((last, all), (f64::INFINITY, self.sum(&format!("{family}_count"), &labels)));
                let _ = self.one(&format!("{family}_sum"), &labels);
            }
        }
    }
}

/// `name [{label="value",…}] value`, by the letter: no other space, no time.
fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label) && !label.contains(':') && !label.starts_with("__"), "{line}");
            let (value, behind) = value(behind);
            assert!(labels.insert(label.into(), value).is_none(), "a label twice: {line}");
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("one space");
    assert!(!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{line}");
    Sample { name: name.into(), labels, value: value.into() }
}

/// A label's value up to its quote, unescaped, and what stands behind that.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match letters.next().map(|(_, letter)| letter) {
                Some('n') => '\n',
                Some(letter @ ('\\' | '"')) => letter,
                other => panic!("no escape: {other:?} in {text}"),
            }),
            letter => value.push(letter),
        }
    }
    panic!("no end: {text}")
}

/// A call of some model that took so many microseconds.
fn row(model: &str, status: u16, end: End, micros: u64) -> Row {
    let after = |share: u64| Some(Duration::from_micros(micros * share / 10));
    let info = RequestInfo {
        serial: 1,
        at: UnixMs(1_790_000_000_000),
        agent: None,
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some(model.into()),
        stream: true,
        request_bytes: None,
        translated: false,
    };
    let outcome = Outcome {
        status,
        end,
        reply_bytes: 10,
        first_byte: after(5),
        total: Duration::from_micros(micros),
        stages: Stages { sent: after(1), head: after(4), received: after(9) },
    };
    let usage = Usage { input: 5, cache_read: 3, cache_write_5m: 1, cache_write_1h: 1, output: 7, reasoning: 2, ..Usage::default() };
    Row::new(info, outcome, Bill { usage: Some(usage), cost: Some(NanoUsd(1_500)), ..Bill::nothing() }, None)
}

fn closing(row: Row) -> Event {
    Event::closing(Arc::new(row))
}

fn refused(model: &str) -> Row {
    Row { bill: Bill::nothing(), outcome: Outcome::failed(402, End::Refused, Duration::ZERO), ..row(model, 402, End::Refused, 10) }
}

fn parsed(metrics: &Metrics) -> Parsed {
    let parsed = Parsed::new(&metrics.to_text(&Money::default()));
    parsed.check_histograms();
    parsed
}

#[test]
fn a_call_is_in_every_figure_once() {
    let metrics = Metrics::default();
    let call = row("gpt-4o", 200, End::Complete, 1_000_000);
    metrics.see(&Event::RouterStarted { at: UnixMs(1_790_000_000_500), port: 1 });
    metrics.see(&Event::RequestStarted(call.info.clone()));
    assert_eq!(parsed(&metrics).one("iron_requests_in_flight", &[]), "1");
    metrics.see(&closing(call));
    let money = Money { spent: NanoUsd(1_500), held: NanoUsd(0), limit: Some(NanoUsd(2_000_000_000)) };
    let text = metrics.to_text(&money);
    let parsed = Parsed::new(&text);
    let of = [("provider", "openai"), ("model", "gpt-4o")];
    let with = |label, value| [of[0], of[1], (label, value)];
    assert_eq!(parsed.one("iron_requests_total", &with("status", "200")), "1");
    assert_eq!(parsed.sum("iron_requests_total", &[("outcome", "completed")]), 1.0);
    for (class, tokens) in [("input", "5"), ("cache_read", "3"), ("cache_write", "2"), ("output", "5"), ("reasoning", "2")] {
        assert_eq!(parsed.one("iron_tokens_total", &with("class", class)), tokens);
    }
    assert_eq!(parsed.one("iron_cost_usd_total", &of), "0.0000015");
    assert_eq!(parsed.one("iron_request_duration_seconds_sum", &of), "1");
    assert_eq!(parsed.one("iron_request_duration_seconds_bucket", &with("le", "1")), "1", "a bound belongs to its bucket");
    assert_eq!(parsed.one("iron_request_duration_seconds_bucket", &with("le", "0.5")), "0");
    assert_eq!(parsed.one("iron_time_to_first_token_seconds_sum", &of), "0.5");
    assert_eq!(parsed.one("iron_router_overhead_seconds_sum", &of), "0.2", "100 ms before it was sent, 100 ms behind the head");
    assert_eq!(parsed.one("iron_reply_tokens_sum", &of), "7");
    assert_eq!(parsed.one("iron_request_cost_usd_count", &of), "1");
    assert_eq!((parsed.one("iron_requests_in_flight", &[]), parsed.one("iron_start_time_seconds", &[])), ("0", "1790000000.5"));
    assert_eq!((parsed.one("iron_budget_spent_usd", &[]), parsed.one("iron_budget_limit_usd", &[])), ("0.0000015", "2"));
    assert_eq!(parsed.one("iron_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), "1");
}

#[test]
fn a_refusal_was_never_under_way_and_took_no_time() {
    let metrics = Metrics::default();
    metrics.see(&closing(refused("gpt-4o")));
    let parsed = parsed(&metrics);
    assert_eq!(parsed.one("iron_requests_in_flight", &[]), "0");
    assert_eq!(parsed.one("iron_requests_total", &[("status", "402"), ("outcome", "refused")]), "1");
    assert_eq!(parsed.sum("iron_request_duration_seconds_count", &[]), 0.0);
    assert_eq!(parsed.one("iron_events_total", &[("type", "llm_request_failed")]), "1");
}

#[test]
fn what_is_not_known_is_not_observed() {
    let metrics = Metrics::default();
    let mut cut = row("m", 0, End::UpstreamFailed, 9);
    cut.outcome = Outcome::failed(502, End::UpstreamFailed, Duration::from_micros(9));
    cut.bill = Bill { cost: None, ..Bill::nothing() };
    let mut whole = row("m", 200, End::Complete, 9);
    Arc::make_mut(&mut whole.info).stream = false;
    Arc::make_mut(&mut whole.info).model = None;
    metrics.see(&closing(cut));
    metrics.see(&closing(whole));
    let parsed = parsed(&metrics);
    let count = |name: &str, model: &str| parsed.sum(&format!("iron_{name}_count"), &[("model", model)]);
    assert_eq!((count("request_duration_seconds", "m"), count("router_overhead_seconds", "m")), (1.0, 0.0));
    assert_eq!((count("reply_tokens", "m"), count("request_cost_usd", "m")), (0.0, 0.0));
    assert_eq!((count("time_to_first_token_seconds", "none"), count("router_overhead_seconds", "none")), (0.0, 1.0));
}

#[test]
fn counts_agree_with_what_was_told_by_eight_threads() {
    let metrics = Metrics::default();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let metrics = &metrics;
            scope.spawn(move || {
                for n in 0..2_000_u64 {
                    let call = match n % 4 {
                        0 => refused("a"),
                        1 => row("a", 429, End::Complete, n),
                        2 => row("b", 200, End::UpstreamCut, n),
                        _ => row(if thread % 2 == 0 { "a" } else { "b" }, 200, End::Complete, n * 1000),
                    };
                    if call.outcome.end != End::Refused {
                        metrics.see(&Event::RequestStarted(call.info.clone()));
                    }
                    metrics.see(&closing(call));
                    if n % 500 == 0 {
                        parsed(metrics);
                    }
                }
            });
        }
    });
    let crossing = Crossing { agent: None, percent: 50, spent: NanoUsd(1), limit: NanoUsd(2) };
    metrics.see(&Event::ThresholdReached { at: UnixMs(1), crossing });
    let parsed = parsed(&metrics);
    let requests = |labels: &[(&str, &str)]| parsed.sum("iron_requests_total", labels);
    assert_eq!((requests(&[]), requests(&[("outcome", "refused")])), (16_000.0, 4_000.0));
    assert_eq!((requests(&[("status", "429")]), requests(&[("outcome", "completed")])), (4_000.0, 4_000.0));
    assert_eq!((requests(&[("outcome", "failed")]), requests(&[("model", "a")])), (8_000.0, 10_000.0));
    assert_eq!(parsed.sum("iron_tokens_total", &[]), 12_000.0 * 17.0);
    assert_eq!(parsed.sum("iron_request_duration_seconds_count", &[]), 12_000.0);
    let sent = 8 * (0..2_000_u64).map(|n| [0, n, n, n * 1000][n as usize % 4]).sum::<u64>();
    let summed = parsed.sum("iron_request_duration_seconds_sum", &[]);
    assert!((summed - sent as f64 / 1e6).abs() < 1e-6, "{summed} {sent}");
    assert_eq!(parsed.one("iron_requests_in_flight", &[]), "0");
    assert_eq!(parsed.one("iron_events_total", &[("type", "budget_threshold_reached")]), "1");
}

#[test]
fn ten_thousand_model_names_are_a_thousand_series_at_most() {
    let metrics = Metrics::default();
    for n in 0..10_000_u64 {
        let mut call = row(&format!("model-{n}"), 200 + (n % 400) as u16, End::Complete, n);
        Arc::make_mut(&mut call.info).upstream = format!("upstream-{}", n % 30).into();
        metrics.see(&closing(call));
    }
    let parsed = parsed(&metrics);
    assert!((900..=1_000).contains(&parsed.series()), "{}", parsed.series());
    assert_eq!((parsed.sum("iron_requests_total", &[]), parsed.sum("iron_reply_tokens_count", &[])), (10_000.0, 10_000.0));
    assert!(parsed.sum("iron_reply_tokens_count", &[("model", "other")]) > 9_000.0);
}

#[test]
fn no_name_breaks_the_text() {
    let metrics = Metrics::default();
    let names = ["a\"b", "a\\b", "a\nb", "a\\", "}", "é€", "\0\u{1}", "", " ", "{le=\"+Inf\"} 1\niron_x 1", &"x".repeat(5_000)];
    for name in names {
        metrics.see(&closing(row(name, 200, End::Complete, 1)));
        // The same name with what is left out of labels is the same series.
        metrics.see(&closing(row(&format!("{name}\r"), 200, End::Complete, 1)));
    }
    let parsed = parsed(&metrics);
    let models: Vec<_> =
        parsed.samples.iter().filter(|sample| sample.name == "iron_cost_usd_total").map(|sample| &sample.labels["model"]).collect();
    assert_eq!(models[..5], ["a\"b", "a\\b", "ab", "a\\", "}"]);
    assert!(models.iter().all(|model| model.len() <= 128 && !model.chars().any(char::is_control)));
    assert_eq!((models.len(), parsed.sum("iron_requests_total", &[])), (names.len() - 1, 22.0), "two have no name at all");
}

/// The text but for what is not kept.
fn kept(metrics: &Metrics) -> String {
    let text = metrics.to_text(&Money::default());
    text.lines().filter(|line| !line.contains("_in_flight ") && !line.contains("_start_time_")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_snapshot_brings_every_figure_back_and_adds() {
    let metrics = Metrics::default();
    for n in 0..500_u64 {
        metrics.see(&closing(row(&format!("model-{}", n % 90), 200 + (n % 7) as u16, End::Complete, n * 7_777)));
    }
    metrics.see(&closing(refused("x")));
    let snapshot = metrics.snapshot();
    let again = Metrics::default();
    assert!(again.restore(&snapshot));
    assert_eq!(kept(&again), kept(&metrics));
    assert_eq!(again.snapshot(), snapshot);
    assert!(again.restore(&snapshot));
    assert_eq!(parsed(&again).sum("iron_requests_total", &[]), 1_002.0);
    let added = Metrics::default();
    added.wait_for_earlier();
    assert!(!added.is_whole());
    added.add(&metrics);
    assert!(added.is_whole());
    assert_eq!(kept(&added), kept(&metrics));
}

#[test]
fn what_is_no_snapshot_changes_nothing() {
    let metrics = Metrics::default();
    for text in ["", "{}", "null", r#"{"version":2,"groups":[],"statuses":[],"events":[]}"#] {
        assert!(!metrics.restore(text), "{text}");
    }
    let strange = r#"{"version":1,"groups":[{"provider":"p","model":"m","tokens":[1,2,3,4,5],"cost_nano_usd":6,"histograms":[[[1],9]]}],
        "statuses":[[7,200,0,1],[0,200,9,1],[0,200,0,18446744073709551615],[0,200,0,1]],"events":[["no_such",1]]}"#;
    assert!(metrics.restore(strange));
    let parsed = parsed(&metrics);
    assert_eq!((parsed.sum("iron_tokens_total", &[]), parsed.sum("iron_request_duration_seconds_count", &[])), (15.0, 0.0));
}

/// Every figure that the dashboard in `data/grafana.json` asks for is told, with the labels that it is asked by.
#[test]
fn the_grafana_dashboard_asks_for_what_there_is() {
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../data/grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let metrics = Metrics::default();
    metrics.see(&Event::RouterStarted { at: UnixMs(1), port: 1 });
    metrics.see(&closing(row("m", 200, End::Complete, 1)));
    let parsed = Parsed::new(&metrics.to_text(&Money { limit: Some(NanoUsd(1)), ..Money::default() }));
    let mut asked = BTreeSet::new();
    for expression in targets.map(|target| target["expr"].as_str().expect("an expression")) {
        let names =
            expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| word.starts_with("iron_"));
        for name in names {
            assert!(parsed.samples.iter().any(|sample| sample.name == name), "{name} in {expression}");
            asked.insert(parsed.family(name));
        }
    }
    let missing: Vec<_> = parsed.types.keys().filter(|family| !asked.contains(*family) && *family != "iron_build_info").collect();
    assert!(missing.is_empty(), "not shown: {missing:?}");
}

/// Prometheus' own checker, where it is installed.
#[test]
fn promtool_finds_nothing_to_say() {
    let metrics = Metrics::default();
    metrics.see(&Event::RouterStarted { at: UnixMs(1_790_000_000_500), port: 1 });
    metrics.see(&closing(row("gpt-4o \"\\", 200, End::Complete, 123_456)));
    metrics.see(&closing(refused("gpt-4o")));
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else { return };
    let text = metrics.to_text(&Money { limit: Some(NanoUsd(5)), ..Money::default() });
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let said = promtool.wait_with_output().expect("it ends");
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
}
