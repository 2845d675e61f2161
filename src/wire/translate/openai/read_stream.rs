//! The chunks of a streamed chat completion, read.

use crate::wire::translate::form::Event;

/// Reads one stream.
#[derive(Debug, Default)]
pub(in super::super) struct StreamReader {}

impl StreamReader {
    /// Reads the data of one event. False: nothing is known of it.
    pub(in super::super) fn event(&mut self, data: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> bool {
        let _ = data;
        emit(Event::Ping);
        true
    }

    /// The stream ended without `[DONE]`: completes it where all but that had come.
    pub(in super::super) fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        emit(Event::Ping);
    }
}
