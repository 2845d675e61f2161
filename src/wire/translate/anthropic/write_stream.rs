//! The events of a streamed message, written.

use crate::wire::translate::form::Event;

/// Writes one stream.
#[derive(Debug, Default)]
pub(in super::super) struct StreamWriter {}

impl StreamWriter {
    /// Writes what a step means to a client, if anything. Errors are not its business.
    pub(in super::super) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let _ = (event, out);
    }
}
