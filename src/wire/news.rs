//! An event as JSON: the one form in which subscribers see it. `data/events.schema.json` describes it.
//!
//! Written member by member into one buffer: an event is rendered for every subscriber at once, on a thread that all of them wait for.

use crate::clock::UnixMs;
use crate::event::{Crossing, Event};
use crate::row::{Details, RequestInfo, Row};
use std::fmt::Arguments;
use std::io::Write;
use std::time::Duration;

/// The version of the form. Members and types may be added to it; what is there keeps its meaning.
pub const VERSION: u32 = 1;

/// What a subscriber is told about the router before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// When the router started.
    pub started_at: UnixMs,
    /// Whether calls are kept in a file.
    pub ledger: bool,
    /// Whether bodies are kept.
    pub capture: bool,
}

/// The event as one JSON object, without line feeds.
///
/// ```
/// use iron_runtime::{UnixMs, event::Event, wire::news};
/// let stopped = Event::RouterStopped { at: UnixMs(5) };
/// assert_eq!(news::json(17, &stopped), r#"{"seq":17,"at":5,"type":"router_stopped"}"#);
/// ```
pub fn json(seq: u64, event: &Event) -> String {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    append(&mut out, seq, event);
    text(out)
}

/// Appends the same object to `out`.
pub fn append(out: &mut Vec<u8>, seq: u64, event: &Event) {
    let mut object = Object::begin(out);
    object.number("seq", seq);
    object.event(event);
    object.end();
}

/// A call that is over, as its closing event but for the number, which belongs to the sequence and not to the call.
pub fn closed(row: &std::sync::Arc<Row>) -> String {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    let mut object = Object::begin(&mut out);
    object.event(&Event::closing(row.clone()));
    object.end();
    text(out)
}

/// What a subscriber is told about events that it will not see.
///
/// ```
/// assert_eq!(iron_runtime::wire::news::gap(3), r#"{"type":"gap","missed":3}"#);
/// ```
pub fn gap(missed: u64) -> String {
    format!(r#"{{"type":"gap","missed":{missed}}}"#)
}

/// The first message: what the router is, and the number of its last event.
pub fn hello(seq: u64, hello: &Hello) -> String {
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    object.string("type", "hello");
    object.number("version", VERSION.into());
    object.number("seq", seq);
    object.string("router", env!("CARGO_PKG_VERSION"));
    object.number("started_at", hello.started_at.0);
    object.flag("ledger", hello.ledger);
    object.flag("capture", hello.capture);
    object.end();
    text(out)
}

/// Room for an event without details.
const USUAL_BYTES: usize = 768;

fn text(out: Vec<u8>) -> String {
    // Never lossy: only text is written into the buffer.
    String::from_utf8(out).unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned())
}

/// A JSON object that is being written. Writing into memory does not fail, so results are let go.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    /// A member's name, which needs no escapes: it is one of ours.
    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn raw(&mut self, name: &str, value: Arguments<'_>) {
        self.name(name);
        let _ = self.out.write_fmt(value);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.raw(name, format_args!("{value}"));
    }

    fn optional(&mut self, name: &str, value: Option<u64>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.raw(name, format_args!("null")),
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.raw(name, format_args!("{value}"));
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        quoted(self.out, value);
    }

    fn word(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.string(name, value),
            None => self.raw(name, format_args!("null")),
        }
    }

    /// Milliseconds, to the microsecond.
    fn time(&mut self, name: &str, value: Option<Duration>) {
        match value.map(|value| value.as_micros()) {
            Some(us) => self.raw(name, format_args!("{}.{:03}", us / 1000, us % 1000)),
            None => self.raw(name, format_args!("null")),
        }
    }

    fn event(&mut self, event: &Event) {
        self.number("at", event.at().0);
        self.string("type", event.name());
        match event {
            Event::RouterStarted { port, .. } => self.number("port", u64::from(*port)),
            Event::RouterStopped { .. } => {}
            Event::RequestStarted(info) => self.request(info),
            Event::RequestCompleted(row) | Event::RequestFailed(row) => self.row(row),
            Event::ThresholdReached { crossing, .. } => self.crossing(crossing),
            Event::LedgerFailed { why, .. } => self.string("error", why),
        }
    }

    fn request(&mut self, info: &RequestInfo) {
        self.number("call", info.serial);
        self.word("agent", info.agent.as_deref());
        self.word("model", info.model.as_deref());
        self.string("provider", &info.upstream);
        self.string("method", &info.method);
        self.string("path", &info.path);
        self.flag("stream", info.stream);
        self.flag("translated", info.translated);
        self.optional("request_bytes", info.request_bytes);
    }

    fn row(&mut self, row: &Row) {
        self.request(&row.info);
        let (outcome, usage) = (&row.outcome, row.bill.usage.unwrap_or_default());
        self.number("status", u64::from(outcome.status));
        self.string("end", outcome.end.as_str());
        self.flag("refused", row.is_refused());
        self.word("code", row.code);
        self.word("request_id", row.request_id.as_deref());
        self.time("duration_ms", Some(outcome.total));
        self.time("first_byte_ms", outcome.first_byte);
        self.time("sent_ms", outcome.stages.sent);
        self.time("head_ms", outcome.stages.head);
        self.time("received_ms", outcome.stages.received);
        self.number("reply_bytes", outcome.reply_bytes);
        self.number("input_tokens", usage.input_tokens());
        self.number("cached_tokens", usage.cache_read);
        self.number("output_tokens", usage.output_tokens());
        self.number("reasoning_tokens", usage.reasoning);
        self.optional("cost_nano_usd", row.bill.cost.map(|cost| cost.0));
        self.flag("estimated", row.bill.estimated);
        if let Some(details) = &row.details {
            self.name("details");
            self.details(details);
        }
    }

    fn details(&mut self, details: &Details) {
        let content = details.content.get();
        let content = content.as_deref();
        let body = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let mut object = Object::begin(self.out);
        object.fields("request_headers", &details.request_headers);
        object.fields("reply_headers", &details.reply_headers);
        object.word("error", details.error.as_deref());
        object.word("request_body", body(content.map(|content| &content.request)).as_deref());
        object.word("reply_body", body(content.map(|content| &content.reply)).as_deref());
        object.end();
    }

    /// Header fields: pairs, because their order counts and a name may come twice.
    fn fields(&mut self, name: &str, fields: &[(String, String)]) {
        self.name(name);
        self.out.push(b'[');
        for (at, (name, value)) in fields.iter().enumerate() {
            self.out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
            quoted(self.out, name);
            self.out.push(b',');
            quoted(self.out, value);
            self.out.push(b']');
        }
        self.out.push(b']');
    }

    fn crossing(&mut self, crossing: &Crossing) {
        self.word("agent", crossing.agent.as_deref());
        self.number("percent", u64::from(crossing.percent));
        self.number("spent_nano_usd", crossing.spent.0);
        self.number("limit_nano_usd", crossing.limit.0);
    }
}

/// A JSON string. Its escapes leave no line feed in it, so that events can stand on lines.
fn quoted(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests;
