//! Events as log lines, for whoever reads the log: a line for people, and the same as members for programs, by the names that the event
//! has them under where subscribers see it.

use crate::clock::UnixMs;
use crate::event::{Crossing, Event};
use crate::row::{RequestInfo, Row};
use log::kv::{self, Key, Source, Value, VisitSource};
use log::{Level, Record};
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, SystemTime};

/// Writes an event to the log: one line, names and figures only.
pub(crate) fn log(event: &Event) {
    let level = level(event);
    if level > log::STATIC_MAX_LEVEL || level > log::max_level() {
        return;
    }
    log::logger().log(
        &Record::builder()
            .level(level)
            .target(module_path!())
            .module_path_static(Some(module_path!()))
            .file_static(Some(file!()))
            .line(Some(line!()))
            .key_values(&Members(event))
            .args(format_args!("{}", Line(event)))
            .build(),
    );
}

fn level(event: &Event) -> Level {
    match event {
        Event::RequestStarted(_) => Level::Debug,
        Event::RouterStarted { .. } | Event::RouterStopped { .. } | Event::RequestCompleted(_) => Level::Info,
        Event::RequestFailed(_) | Event::ThresholdReached { .. } => Level::Warn,
        Event::LedgerFailed { .. } => Level::Error,
    }
}

/// An event for people.
struct Line<'e>(&'e Event);

impl Display for Line<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.write_str(self.0.name())?;
        match self.0 {
            Event::RouterStarted { port, .. } => write!(to, " port={port}"),
            Event::RouterStopped { .. } => Ok(()),
            Event::RequestStarted(info) => describe(info, to),
            Event::RequestCompleted(row) | Event::RequestFailed(row) => figures(row, to),
            Event::ThresholdReached { crossing, .. } => {
                if let Some(agent) = &crossing.agent {
                    write!(to, " agent={agent:?}")?;
                }
                write!(to, " percent={} spent={} limit={}", crossing.percent, crossing.spent, crossing.limit)
            }
            Event::LedgerFailed { why, .. } => write!(to, ": {why}"),
        }
    }
}

fn describe(info: &RequestInfo, to: &mut Formatter<'_>) -> fmt::Result {
    let model = info.model.as_deref().unwrap_or("-");
    let stream = if info.stream { " stream" } else { "" };
    write!(to, " #{} {} {} to={} model={model:?}{stream}", info.serial, info.method, info.path, info.upstream)
}

fn figures(row: &Row, to: &mut Formatter<'_>) -> fmt::Result {
    let (outcome, bill) = (&row.outcome, &row.bill);
    describe(&row.info, to)?;
    write!(to, " status={} end={}", outcome.status, outcome.end.as_str())?;
    if let Some(code) = row.code {
        write!(to, " code={code}")?;
    }
    let first_byte = outcome.first_byte.map_or_else(|| "-".into(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
    let total = outcome.total.as_secs_f64() * 1e3;
    let tokens = bill.usage.map_or_else(|| "-".into(), |usage| format!("{}+{}", usage.input_tokens(), usage.output_tokens()));
    let cost = bill.cost.map_or_else(|| "unknown".into(), |cost| cost.to_string());
    let estimated = if bill.estimated { " estimated" } else { "" };
    let bytes = outcome.reply_bytes;
    write!(to, " bytes={bytes} first_byte_ms={first_byte} total_ms={total:.1} tokens={tokens} cost={cost}{estimated}")?;
    // A provider's word: whatever is in it, it stays one value.
    row.request_id.as_deref().map_or(Ok(()), |id| write!(to, " request_id={id:?}"))
}

/// An event for programs.
struct Members<'e>(&'e Event);

impl Source for Members<'_> {
    fn visit<'kvs>(&'kvs self, to: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        let mut members = To(to);
        members.tell("type", self.0.name())?;
        match self.0 {
            Event::RouterStarted { port, .. } => members.tell("port", *port),
            Event::RouterStopped { .. } => Ok(()),
            Event::RequestStarted(info) => members.request(info),
            Event::RequestCompleted(row) | Event::RequestFailed(row) => members.row(row),
            Event::ThresholdReached { crossing, .. } => members.crossing(crossing),
            Event::LedgerFailed { why, .. } => members.tell("error", why.as_str()),
        }
    }
}

/// Where an event's members go.
struct To<'t, 'kvs>(&'t mut dyn VisitSource<'kvs>);

impl<'kvs> To<'_, 'kvs> {
    fn tell(&mut self, name: &'static str, value: impl Into<Value<'kvs>>) -> Result<(), kv::Error> {
        self.0.visit_pair(Key::from_str(name), value.into())
    }

    fn maybe(&mut self, name: &'static str, value: Option<impl Into<Value<'kvs>>>) -> Result<(), kv::Error> {
        self.0.visit_pair(Key::from_str(name), value.map_or_else(Value::null, Into::into))
    }

    fn request(&mut self, info: &'kvs RequestInfo) -> Result<(), kv::Error> {
        self.tell("call", info.serial)?;
        self.maybe("agent", info.agent.as_deref())?;
        self.maybe("model", info.model.as_deref())?;
        self.tell("provider", &*info.upstream)?;
        self.tell("method", &*info.method)?;
        self.tell("path", &*info.path)?;
        self.tell("stream", info.stream)?;
        self.tell("translated", info.translated)?;
        self.maybe("request_bytes", info.request_bytes)
    }

    fn row(&mut self, row: &'kvs Row) -> Result<(), kv::Error> {
        let (outcome, usage) = (&row.outcome, row.bill.usage.unwrap_or_default());
        self.request(&row.info)?;
        self.tell("status", outcome.status)?;
        self.tell("end", outcome.end.as_str())?;
        self.tell("refused", row.is_refused())?;
        self.maybe("code", row.code)?;
        self.maybe("request_id", row.request_id.as_deref())?;
        self.tell("duration_ms", milliseconds(outcome.total))?;
        self.maybe("first_byte_ms", outcome.first_byte.map(milliseconds))?;
        self.maybe("sent_ms", outcome.stages.sent.map(milliseconds))?;
        self.maybe("head_ms", outcome.stages.head.map(milliseconds))?;
        self.maybe("received_ms", outcome.stages.received.map(milliseconds))?;
        self.tell("reply_bytes", outcome.reply_bytes)?;
        self.tell("input_tokens", usage.input_tokens())?;
        self.tell("cached_tokens", usage.cache_read)?;
        self.tell("output_tokens", usage.output_tokens())?;
        self.tell("reasoning_tokens", usage.reasoning)?;
        self.maybe("cost_nano_usd", row.bill.cost.map(|cost| cost.0))?;
        self.tell("estimated", row.bill.estimated)
    }

    fn crossing(&mut self, crossing: &'kvs Crossing) -> Result<(), kv::Error> {
        self.maybe("agent", crossing.agent.as_deref())?;
        self.tell("percent", crossing.percent)?;
        self.tell("spent_nano_usd", crossing.spent.0)?;
        self.tell("limit_nano_usd", crossing.limit.0)
    }
}

/// With microseconds.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// The time that events carry.
pub(crate) fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixMs(since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{End, Outcome};
    use crate::row::Bill;
    use crate::wire::news;
    use serde_json::{Map, Value as Json};
    use std::sync::Arc;

    /// The names of an event's members.
    struct Names(Vec<String>);

    impl<'kvs> VisitSource<'kvs> for Names {
        fn visit_pair(&mut self, name: Key<'kvs>, _: Value<'kvs>) -> Result<(), kv::Error> {
            self.0.push(name.to_string());
            Ok(())
        }
    }

    #[test]
    fn members_have_the_names_that_subscribers_see() {
        let info = Arc::new(RequestInfo {
            serial: 1,
            at: UnixMs(0),
            agent: None,
            upstream: "openai".into(),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            model: None,
            stream: false,
            request_bytes: None,
            translated: false,
        });
        let row = Arc::new(Row::new(info.clone(), Outcome::failed(502, End::UpstreamFailed, Duration::ZERO), Bill::nothing(), None));
        let crossing = Crossing { agent: None, percent: 80, spent: Default::default(), limit: Default::default() };
        for event in [
            Event::RouterStarted { at: UnixMs(0), port: 1 },
            Event::RouterStopped { at: UnixMs(0) },
            Event::RequestStarted(info),
            Event::RequestFailed(row),
            Event::ThresholdReached { at: UnixMs(0), crossing },
            Event::LedgerFailed { at: UnixMs(0), why: "full".into() },
        ] {
            let mut names = Names(Vec::new());
            assert!(Members(&event).visit(&mut names).is_ok());
            let seen: Map<String, Json> = serde_json::from_str(&news::json(1, &event)).unwrap_or_default();
            let mut seen: Vec<String> = seen.keys().filter(|name| !matches!(name.as_str(), "seq" | "at")).cloned().collect();
            seen.sort();
            names.0.sort();
            assert_eq!(names.0, seen, "{}", event.name());
        }
    }
}
