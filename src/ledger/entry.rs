//! One row as the ledger keeps it, flat: [`Entry`].

use crate::call::End;
use crate::clock::UnixMs;
use crate::money::{NanoUsd, Price, Rates, Tier, Usage};
use crate::tally::Figures;
use std::fmt::Write;

/// A row of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When the call was admitted.
    pub at: UnixMs,
    /// The run of the router that kept it: random.
    pub run: String,
    /// Its number in that run.
    pub serial: u64,
    /// The agent.
    pub agent: Option<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The upstream.
    pub provider: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The status the client saw; 0: none.
    pub status: u16,
    /// How it ended, in the words of [`End::as_str`].
    pub end: String,
    /// The code we answered with, if we did.
    pub code: Option<String>,
    /// Tokens; `None`: nothing was used.
    pub usage: Option<Usage>,
    /// The cost; `None`: not known.
    pub cost: Option<NanoUsd>,
    /// Whether an upper estimate stands in for figures that the provider did not give.
    pub estimated: bool,
    /// The service tier.
    pub tier: String,
    /// The price it was computed with: a key of the table of prices.
    pub price_id: Option<i64>,
    /// Until the first byte of the reply, microseconds.
    pub first_byte_us: Option<u64>,
    /// Until the end, microseconds.
    pub total_us: u64,
    /// Bytes of the reply.
    pub reply_bytes: u64,
    /// The `x-request-id` that the client saw. This and what follows is not known of rows of schema 1.
    pub request_id: Option<String>,
    /// Body bytes of the request, where they were known before it was sent.
    pub request_bytes: Option<u64>,
    /// Whether client and upstream spoke different protocols.
    pub translated: bool,
    /// Until it left for the upstream, microseconds, to the nearest.
    pub sent_us: Option<u64>,
    /// Until the head of the upstream's reply had come, microseconds.
    pub head_us: Option<u64>,
    /// Until the last byte of the upstream's reply had come, microseconds.
    pub received_us: Option<u64>,
}

impl Entry {
    /// Refused by us before anything was sent.
    pub fn is_refused(&self) -> bool {
        ending(&self.end, self.status).1
    }

    /// Sent, and answered without a 2xx, or cut.
    pub fn is_failed(&self) -> bool {
        ending(&self.end, self.status).0
    }

    /// What it adds to sums.
    pub fn figures(&self) -> Figures {
        Figures {
            requests: 1,
            failed: self.is_failed().into(),
            refused: self.is_refused().into(),
            input_tokens: self.usage.map_or(0, |usage| usage.input_tokens()),
            output_tokens: self.usage.map_or(0, |usage| usage.output_tokens()),
            cost_nano_usd: self.cost.unwrap_or_default().0,
        }
    }
}

/// Whether a call that ended so failed, and whether it was refused.
pub(super) fn ending(end: &str, status: u16) -> (bool, bool) {
    let refused = end == End::Refused.as_str();
    let succeeded = end == End::Complete.as_str() && (200..300).contains(&status);
    (!refused && !succeeded, refused)
}

/// The price that a row used, as one line of JSON, and its key: a hash of that line, so that journals and tables agree without asking.
pub(super) fn price_line(price: &Price, tier: Tier, rates: &Rates) -> (i64, String) {
    let mut line = serde_json::json!({
        "provider": price.provider, "model": price.model, "source": price.source, "tier": tier.as_str(), "unit": "pico-USD per token",
    });
    for (class, rate) in classes(rates) {
        if let Some(rate) = rate {
            line[class] = rate.into();
        }
    }
    let text = line.to_string();
    (fnv(text.as_bytes()), text)
}

fn classes(rates: &Rates) -> [(&'static str, Option<u64>); 9] {
    [
        ("input", Some(rates.input)),
        ("cache_read", Some(rates.cache_read)),
        ("cache_write_5m", Some(rates.cache_write_5m)),
        ("cache_write_1h", Some(rates.cache_write_1h)),
        ("input_audio", rates.input_audio),
        ("input_image", rates.input_image),
        ("output", Some(rates.output)),
        ("output_audio", rates.output_audio),
        ("output_image", rates.output_image),
    ]
}

/// FNV-1a, 64 bits: the same in every release, which the standard library's hash does not promise.
fn fnv(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)).cast_signed()
}

/// Random hex digits: the name of a run.
pub(super) fn run_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().fold(String::with_capacity(16), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// The first bytes of a text, ending between two characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
