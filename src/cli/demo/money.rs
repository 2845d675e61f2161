//! The part of the demo that spends: a budget of a few cents, real requests until one is refused, and the provider's own bill beside ours.

use super::{config_for, once, open};
use crate::call::Protocol;
use crate::cli::bill::grouped;
use crate::cli::console::{Console, Paint};
use crate::config::{Config, Spending};
use crate::error::Error;
use crate::mock::{Mock, MockConfig};
use crate::money::NanoUsd;
use crate::router::LlmRouter;
use serde_json::{Value, json};

/// Two cents.
const BUDGET: NanoUsd = NanoUsd(20_000_000);
/// What is asked in turns; neither gives a limit of its own but what its protocol asks for.
const MODELS: [(Protocol, &str, bool); 3] =
    [(Protocol::OpenAi, "gpt-4o", false), (Protocol::OpenAi, "gpt-4o", true), (Protocol::Anthropic, "claude-sonnet-4-20250514", true)];
/// A budget that holds ends the loop long before.
const MOST_REQUESTS: u64 = 2000;

/// What became of the budget.
#[derive(Debug, Default)]
pub(super) struct Spent {
    answered: u64,
    clamped: u64,
    /// The first and the last limit that was set.
    limits: Option<(String, String)>,
    /// The refusal, as the client saw it.
    refusal: Option<(Option<u16>, String)>,
    spent: NanoUsd,
    billed: NanoUsd,
}

/// Spends the budget until a request is refused.
pub(super) fn spend() -> Result<Spent, Error> {
    let mock = Mock::start(MockConfig::default())?;
    let spending = Spending { budget: Some(BUDGET), ..Spending::default() };
    let mut router = LlmRouter::start(Config { spending, ..config_for(&mock)? })?;
    let mut spent = Spent::default();
    while spent.refusal.is_none() && spent.answered < MOST_REQUESTS {
        for (protocol, model, stream) in MODELS {
            match open(router.port()).and_then(|mut to| once(&mut to, protocol, model, stream, router.api_key())) {
                Ok(answer) => spent.note(answer.clamped),
                Err(failure) => {
                    spent.refusal = Some((failure.status, failure.why));
                    break;
                }
            }
        }
    }
    router.shutdown();
    spent.spent = router.total_spent();
    spent.billed = NanoUsd(mock.stats().nano_usd);
    Ok(spent)
}

impl Spent {
    fn note(&mut self, clamped: Option<String>) {
        self.answered += 1;
        if let Some(limit) = clamped {
            self.clamped += 1;
            let first = self.limits.take().map_or_else(|| limit.clone(), |(first, _)| first);
            self.limits = Some((first, limit));
        }
    }

    /// Whether the budget did what it is for.
    pub(super) fn is_right(&self) -> bool {
        let refused = matches!(self.refusal, Some((Some(402), _)));
        refused && self.answered > 0 && self.spent <= BUDGET && self.spent == self.billed
    }

    pub(super) fn tell(&self, console: &mut Console) {
        console.line(&console.paint(Paint::Bold, &format!("\nA budget of {BUDGET}, spent through a router of its own:")));
        let clamped = match &self.limits {
            Some((first, last)) if first != last => {
                format!(", {} of them with a lower output limit ({first} … {last})", grouped(self.clamped))
            }
            Some((first, _)) => format!(", {} of them with a lower output limit ({first})", grouped(self.clamped)),
            None => String::new(),
        };
        console.line(&format!("  {} requests answered{clamped}", grouped(self.answered)));
        if let Some((status, why)) = &self.refusal {
            let status = status.map_or_else(|| "-".into(), |status| status.to_string());
            console.line(&format!("  the next one refused, status {status}: {why}"));
        }
        let verdict = format!("  spent {} of {BUDGET}; the provider's own bill: {}", self.spent, self.billed);
        let paint = if self.is_right() { Paint::Good } else { Paint::Bad };
        console.line(&console.paint(paint, &verdict));
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "limit_usd": BUDGET.usd(),
            "answered": self.answered,
            "clamped": self.clamped,
            "refused_with": self.refusal.as_ref().and_then(|(status, _)| *status),
            "refusal": self.refusal.as_ref().map(|(_, why)| why),
            "cost_nano_usd": self.spent.0,
            "billed_nano_usd": self.billed.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_is_refused_within_the_limit_and_equal_to_the_bill() {
        let right =
            || Spent { answered: 3, refusal: Some((Some(402), "no".into())), spent: NanoUsd(9), billed: NanoUsd(9), ..Spent::default() };
        assert!(right().is_right());
        for wrong in [
            Spent { answered: 0, ..right() },
            Spent { refusal: None, ..right() },
            Spent { refusal: Some((Some(502), "no".into())), ..right() },
            Spent { billed: NanoUsd(10), ..right() },
            Spent { spent: NanoUsd(BUDGET.0 + 1), billed: NanoUsd(BUDGET.0 + 1), ..right() },
        ] {
            assert!(!wrong.is_right(), "{wrong:?}");
        }
    }

    #[test]
    fn first_and_last_limits() {
        let mut spent = Spent::default();
        for limit in [None, Some("max_tokens=9"), Some("max_tokens=5"), Some("max_tokens=3"), None] {
            spent.note(limit.map(Into::into));
        }
        assert_eq!((spent.answered, spent.clamped), (5, 3));
        assert_eq!(spent.limits, Some(("max_tokens=9".into(), "max_tokens=3".into())));
    }
}
