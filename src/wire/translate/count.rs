//! How many tokens a conversation has, estimated: for `/v1/messages/count_tokens` where the model's provider does not count.

use crate::call::Refusal;

/// Estimates the input tokens of a request to Anthropic's `count_tokens` for a model of another provider.
///
/// # Errors
/// As [`request`](super::request).
pub fn count_tokens(body: &[u8]) -> Result<u64, Refusal> {
    Ok(body.len() as u64 / 4)
}
