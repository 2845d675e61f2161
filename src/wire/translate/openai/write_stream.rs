//! The chunks of a streamed chat completion, written.

use crate::wire::translate::form::Event;

/// Writes one stream.
#[derive(Debug)]
pub(in super::super) struct StreamWriter {
    include_usage: bool,
    created: u64,
}

impl StreamWriter {
    /// `include_usage`: the client wants the usage in a chunk of its own; `created`: Unix seconds, where the reply does not tell.
    pub(in super::super) fn new(include_usage: bool, created: u64) -> Self {
        Self { include_usage, created }
    }

    /// Writes what a step means to a client, if anything. Errors are not its business.
    pub(in super::super) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let _ = (event, out, self.include_usage, self.created);
    }
}
