//! A chat completion, written.

use crate::wire::json::Json;
use crate::wire::translate::form::Reply;

/// Writes a whole reply. `created`: Unix seconds, where the reply does not tell.
pub(in super::super) fn write_reply(reply: &Reply<'_>, created: u64, out: &mut Vec<u8>) {
    Json::new(out).object(|body| {
        body.text("id", &reply.id);
        body.whole("created", reply.created.unwrap_or(created));
    });
}
