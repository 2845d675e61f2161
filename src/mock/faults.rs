//! What a request asks the mock to do wrong, and with what timing: words to a [`Plan`].
//!
//! Parsing only; `deliver` carries the plan out.

use super::MockConfig;
use std::time::Duration;

/// The most words of a text reply.
const MAX_EVENTS: u64 = 100_000;

/// The longest latency or spacing.
const MAX_DELAY_MS: u64 = 600_000;

/// How `slow` behaves.
const SLOW_LATENCY: Duration = Duration::from_secs(1);
const SLOW_SPACING: Duration = Duration::from_millis(200);

/// A break of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// This error status.
    Status(u16),
    /// Broken off in the middle, or after this many bytes of the body.
    Cut(Option<u64>),
    /// Closed before any byte.
    CutBefore,
    /// Silent from the middle on, or after this many bytes of the body.
    Stall(Option<u64>),
    /// An error event in mid-stream.
    ErrorEvent,
    /// A body that can't be parsed.
    Garbage,
    /// The request itself.
    Echo,
}

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Before the first byte.
    pub(super) latency: Duration,
    /// Words of a text reply.
    pub(super) events: usize,
    /// Between events.
    pub(super) spacing: Duration,
    /// Whether other bodies than streams leave in pieces too.
    pub(super) slow: bool,
    /// Whether the body is compressed.
    pub(super) gzip: bool,
    /// `Retry-After`, seconds.
    pub(super) retry_after: Option<u64>,
    /// What goes wrong.
    pub(super) fault: Option<Fault>,
}

impl Plan {
    /// What a request gets that asks for nothing.
    pub(super) fn usual(config: &MockConfig) -> Self {
        Self {
            latency: config.latency,
            events: config.events.min(MAX_EVENTS as usize),
            spacing: config.spacing,
            slow: false,
            gzip: false,
            retry_after: None,
            fault: None,
        }
    }

    /// The plan that `words` (of a header) ask for.
    ///
    /// # Errors
    /// The word that is unknown or out of range, or the second of two faults.
    pub(super) fn with(mut self, words: &str) -> Result<Self, String> {
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, figure) = match word.split_once('=') {
                Some((name, figure)) => (name, Some(figure.parse::<u64>().map_err(|_| format!("x-mock: {word}: not a number"))?)),
                None => (word, None),
            };
            self.apply(name, figure).ok_or_else(|| format!("x-mock: {word}: unknown, out of range, or a second fault"))?;
        }
        Ok(self)
    }

    /// The plan that a model's name asks for: `mock-` and words; any other name asks for nothing.
    pub(super) fn with_model(self, model: &str) -> Self {
        model.strip_prefix("mock-").and_then(|words| self.with(words).ok()).unwrap_or(self)
    }

    fn apply(&mut self, name: &str, figure: Option<u64>) -> Option<()> {
        let delay = || figure.filter(|ms| *ms <= MAX_DELAY_MS).map(Duration::from_millis);
        match (name, figure) {
            ("latency", _) => self.latency = delay()?,
            ("spacing", _) => self.spacing = delay()?,
            ("events", Some(events)) if events <= MAX_EVENTS => self.events = events as usize,
            ("retry-after", Some(seconds)) => self.retry_after = Some(seconds),
            ("slow", None) => {
                self.slow = true;
                self.latency = self.latency.max(SLOW_LATENCY);
                self.spacing = self.spacing.max(SLOW_SPACING);
            }
            ("gzip", None) => self.gzip = true,
            _ if self.fault.is_none() => self.fault = Some(fault(name, figure)?),
            _ => return None,
        }
        Some(())
    }
}

fn fault(name: &str, figure: Option<u64>) -> Option<Fault> {
    match (name, figure) {
        ("cut", after) => Some(Fault::Cut(after)),
        ("stall", after) => Some(Fault::Stall(after)),
        ("cut-before", None) => Some(Fault::CutBefore),
        ("error-event", None) => Some(Fault::ErrorEvent),
        ("garbage", None) => Some(Fault::Garbage),
        ("echo", None) => Some(Fault::Echo),
        (status, None) if status.len() == 3 => status.parse().ok().filter(|status| (400..600).contains(status)).map(Fault::Status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Plan {
        Plan::usual(&MockConfig::default())
    }

    #[test]
    fn words_make_a_plan() {
        let ms = Duration::from_millis;
        let table = [
            ("", usual()),
            ("429", Plan { fault: Some(Fault::Status(429)), ..usual() }),
            (
                "latency=50, events=100,spacing=5,529",
                Plan { latency: ms(50), events: 100, spacing: ms(5), fault: Some(Fault::Status(529)), ..usual() },
            ),
            ("cut", Plan { fault: Some(Fault::Cut(None)), ..usual() }),
            ("stall=0,gzip", Plan { fault: Some(Fault::Stall(Some(0))), gzip: true, ..usual() }),
            ("slow,spacing=7", Plan { slow: true, latency: ms(1000), spacing: ms(7), ..usual() }),
            ("503,retry-after=0", Plan { fault: Some(Fault::Status(503)), retry_after: Some(0), ..usual() }),
        ];
        for (words, plan) in table {
            assert_eq!(usual().with(words), Ok(plan), "{words}");
        }
    }

    #[test]
    fn unknown_words_are_named() {
        for words in
            ["cutt", "200", "600", "0429", "+42", "cut=x", "events", "events=100001", "latency=600001", "429,cut", "gzip=1", "cut-before=3"]
        {
            assert!(usual().with(words).is_err_and(|why| why.starts_with("x-mock: ")), "{words}");
        }
    }

    #[test]
    fn a_model_may_ask_too() {
        assert_eq!(usual().with_model("mock-cut-before").fault, Some(Fault::CutBefore));
        assert_eq!(usual().with_model("mock-events=3").events, 3);
        for model in ["mock-model", "gpt-4o", "429", "mock-429-mini"] {
            assert_eq!(usual().with_model(model), usual(), "{model}");
        }
    }

    #[test]
    fn the_help_names_every_word() {
        for word in
            ["retry-after", "cut", "cut-before", "stall", "error-event", "garbage", "slow", "gzip", "echo", "latency", "events", "spacing"]
        {
            assert!(super::super::MOCK_HELP.contains(&format!("    {word}")), "{word}");
        }
    }
}
