//! A message, written.

use crate::wire::json::Json;
use crate::wire::translate::form::Reply;

/// Writes a whole reply.
pub(in super::super) fn write_reply(reply: &Reply<'_>, out: &mut Vec<u8>) {
    Json::new(out).object(|body| body.text("id", &reply.id));
}
