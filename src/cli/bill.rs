//! Figures of calls in words: the line at the end of `run`, `serve`, `ask` and of Python's `with`.

use crate::money::NanoUsd;
use crate::policy::Stats;
use crate::tally::Figures;

/// `3 requests, 1 failed, 1,204 tokens in, 56 out, $0.00023`; what did not happen is not told.
pub(crate) fn line(stats: &Stats) -> String {
    let totals = &stats.totals;
    of(&Figures { requests: totals.requests, failed: totals.failed, refused: totals.refused, ..stats.tally.all })
}

/// The same of some figures.
pub(crate) fn of(figures: &Figures) -> String {
    let mut line = format!("{} request{}", grouped(figures.requests), if figures.requests == 1 { "" } else { "s" });
    for (count, word) in [(figures.failed, "failed"), (figures.refused, "refused")] {
        if count > 0 {
            line += &format!(", {} {word}", grouped(count));
        }
    }
    let cost = NanoUsd(figures.cost_nano_usd);
    line + &format!(", {} tokens in, {} out, {cost}", grouped(figures.input_tokens), grouped(figures.output_tokens))
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, text) in [(0, "0"), (12, "12"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn lines() {
        let all = Figures { requests: 1, ..Figures::default() };
        assert_eq!(of(&all), "1 request, 0 tokens in, 0 out, $0.00");
        let all = Figures { requests: 1200, failed: 2, refused: 1, input_tokens: 4321, output_tokens: 7, cost_nano_usd: 525_000 };
        assert_eq!(of(&all), "1,200 requests, 2 failed, 1 refused, 4,321 tokens in, 7 out, $0.000525");
    }
}
