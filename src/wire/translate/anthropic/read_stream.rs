//! The events of a streamed message, read.

use crate::wire::translate::form::Event;

/// Reads one stream.
#[derive(Debug)]
pub(in super::super) struct StreamReader {
    /// See [`Plan::answer_tool`](crate::wire::translate::Plan::answer_tool).
    answer_tool: Option<String>,
}

impl StreamReader {
    /// A call of `answer_tool` is the answer's text, and does not count as a call.
    pub(in super::super) fn new(answer_tool: Option<String>) -> Self {
        Self { answer_tool }
    }

    /// Reads the data of one event. False: nothing is known of it.
    pub(in super::super) fn event(&mut self, data: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> bool {
        let _ = (data, &self.answer_tool);
        emit(Event::Ping);
        true
    }
}
