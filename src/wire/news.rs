//! An event as JSON: the one form in which subscribers see it. `data/events.schema.json` describes it.

use crate::event::Event;

/// The event as one JSON object, without line feeds.
pub fn json(seq: u64, event: &Event) -> String {
    let _ = event;
    format!(r#"{{"seq":{seq}}}"#)
}

/// What a subscriber is told about events that it will not see.
pub fn gap(missed: u64) -> String {
    format!(r#"{{"type":"gap","missed":{missed}}}"#)
}
