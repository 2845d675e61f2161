//! The figures as text, by Prometheus' exposition format 0.0.4. What is shown is copied under the lock and written after it.

use super::histogram::{COST, DURATION, FIRST_TOKEN, Histogram, OVERHEAD, REPLY_TOKENS, Scale};
use super::labels::Groups;
use super::{CLASSES, EVENTS, Metrics, Money};
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The decimals of dollars.
const NANO: usize = 9;

/// Name, help and scale of each histogram, in the order of [`super::Figures::histograms`].
const HISTOGRAMS: [(&str, &str, &Scale); 5] = [
    ("iron_request_duration_seconds", "From the request read to the end of the reply, of calls that were sent.", &DURATION),
    ("iron_time_to_first_token_seconds", "From the request read to the first byte of a stream passed on.", &FIRST_TOKEN),
    (
        "iron_router_overhead_seconds",
        "Time of the router's own: before a call was sent (waiting for budget included), and from the head of the reply to its first byte passed on.",
        &OVERHEAD,
    ),
    ("iron_reply_tokens", "Tokens of a reply, reasoning included.", &REPLY_TOKENS),
    ("iron_request_cost_usd", "Cost of a call whose price is known.", &COST),
];

/// The whole text.
pub(super) fn render(metrics: &Metrics, money: &Money) -> String {
    let calls = metrics.lock().clone();
    let labels: Vec<_> = calls.groups.iter().map(|(provider, model, _)| names(provider, model)).collect();
    let mut page = Page { out: String::with_capacity(4096 + labels.len() * 8192) };
    page.family("iron_requests_total", "counter", "Calls that ended: status as the client saw it, 0 where it saw none.");
    for (group, status, ending, count) in calls.statuses.iter() {
        let of = match status {
            Some(status) => format!("{},status=\"{status}\"", labels.get(group).map_or("", String::as_str)),
            None => format!("{},status=\"other\"", names("other", "other")),
        };
        page.whole("iron_requests_total", &format!("{of},outcome=\"{}\"", ending.as_str()), count);
    }
    page.tokens_and_cost(&calls.groups, &labels);
    for (index, (name, help, scale)) in HISTOGRAMS.into_iter().enumerate() {
        page.family(name, "histogram", help);
        let bounds: Vec<_> = scale.bounds.iter().map(|bound| decimal(*bound, scale.decimals)).collect();
        for (of, (.., figures)) in labels.iter().zip(calls.groups.iter()) {
            page.histogram(name, of, &bounds, figures.histograms()[index]);
        }
    }
    page.gauges(metrics, money);
    page.out
}

/// The text being written.
struct Page {
    out: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample; `labels` may be empty.
    fn sample(&mut self, name: &str, labels: &str, value: &str) {
        let parts: [&str; 6] = if labels.is_empty() { [name, "", "", " ", value, "\n"] } else { [name, "{", labels, "} ", value, "\n"] };
        parts.into_iter().for_each(|part| self.out.push_str(part));
    }

    fn whole(&mut self, name: &str, labels: &str, value: u64) {
        self.sample(name, labels, &value.to_string());
    }

    fn tokens_and_cost(&mut self, groups: &Groups, labels: &[String]) {
        self.family(
            "iron_tokens_total",
            "counter",
            "Tokens that were billed. The classes are disjoint: input is without cached, output without reasoning.",
        );
        for (of, (.., figures)) in labels.iter().zip(groups.iter()) {
            for (class, tokens) in CLASSES.into_iter().zip(figures.tokens) {
                self.whole("iron_tokens_total", &format!("{of},class=\"{class}\""), tokens);
            }
        }
        self.family("iron_cost_usd_total", "counter", "What calls cost, as far as prices are known.");
        for (of, (.., figures)) in labels.iter().zip(groups.iter()) {
            self.sample("iron_cost_usd_total", of, &decimal(figures.cost_nano_usd, NANO));
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, bounds: &[String], histogram: &Histogram) {
        let mut so_far = 0_u64;
        for (bound, count) in bounds.iter().map(String::as_str).chain(["+Inf"]).zip(histogram.counts()) {
            so_far = so_far.saturating_add(*count);
            let _ = writeln!(self.out, "{name}_bucket{{{labels},le=\"{bound}\"}} {so_far}");
        }
        let _ = writeln!(self.out, "{name}_sum{{{labels}}} {}", decimal(histogram.sum, histogram.scale.decimals));
        let _ = writeln!(self.out, "{name}_count{{{labels}}} {so_far}");
    }

    /// What is not by model.
    fn gauges(&mut self, metrics: &Metrics, money: &Money) {
        self.family("iron_events_total", "counter", "Events told; those that are not calls since the router started.");
        for (name, count) in EVENTS.into_iter().zip(&metrics.events) {
            self.whole("iron_events_total", &format!("type=\"{name}\""), count.load(Relaxed));
        }
        self.gauge("iron_requests_in_flight", "Calls under way.", &metrics.in_flight.load(Relaxed).max(0).to_string());
        self.gauge("iron_budget_spent_usd", "What counts against the budget.", &decimal(money.spent.0, NANO));
        self.gauge("iron_budget_held_usd", "What is held for calls under way.", &decimal(money.held.0, NANO));
        if let Some(limit) = money.limit {
            self.gauge("iron_budget_limit_usd", "The budget. Absent: unlimited.", &decimal(limit.0, NANO));
        }
        let started = metrics.started.load(Relaxed);
        if started > 0 {
            self.gauge("iron_start_time_seconds", "When the router started, Unix time.", &decimal(started, 3));
        }
        self.family("iron_build_info", "gauge", "The release that runs; always 1.");
        self.whole("iron_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    }

    fn gauge(&mut self, name: &str, help: &str, value: &str) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }
}

/// The labels of a group.
fn names(provider: &str, model: &str) -> String {
    format!("provider=\"{}\",model=\"{}\"", escaped(provider), escaped(model))
}

/// A label's value with what must be escaped in it. Line feeds are not in it any more.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A whole number with a point so many digits from its end, without noughts that say nothing.
fn decimal(number: u64, decimals: usize) -> String {
    let digits = format!("{number:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.into() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for (number, decimals, text) in
            [(0, 6, "0"), (50_000, 6, "0.05"), (600_000_000, 6, "600"), (7, 9, "0.000000007"), (12, 0, "12"), (1_500, 3, "1.5")]
        {
            assert_eq!(decimal(number, decimals), text);
        }
        assert_eq!(decimal(u64::MAX, 9), "18446744073.709551615");
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(names("a\\b", "c\"d"), r#"provider="a\\b",model="c\"d""#);
    }
}
