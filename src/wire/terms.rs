//! What a request may cost, read off its body: [`read`]. And the two edits that a budget may make to it: an output limit lowered or put
//! in, `stream_options.include_usage` put in. No other byte changes.

use crate::call::{Endpoint, Refusal};
use crate::money::Terms;
use std::borrow::Cow;
use std::ops::Range;

/// What [`read`] found.
#[derive(Clone, Debug, Default)]
pub struct Reading<'a> {
    /// The model, exact: the value a provider's parser sees.
    pub model: Option<Cow<'a, str>>,
    /// Upper bounds.
    pub terms: Terms,
}

/// A change of the body: these bytes are replaced by that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where; empty for an insertion.
    pub at: Range<usize>,
    /// The text.
    pub text: String,
}

/// Reads a metered request body to its end.
///
/// # Errors
/// 400: no JSON object, or ambiguous.
pub fn read(_endpoint: Endpoint, _body: &[u8]) -> Result<Reading<'_>, Refusal> {
    Ok(Reading::default())
}

/// The edit that sets the output limit `field` to `limit`.
pub fn limit_output(_body: &[u8], _field: &str, _limit: u64) -> Option<Edit> {
    None
}

/// The edit that asks for the usage of a stream, where the body does not ask for it already.
pub fn include_usage(_body: &[u8]) -> Option<Edit> {
    None
}
