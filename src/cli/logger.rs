//! Log lines on stderr: text for people, or a JSON object a line for programs, in which what a line has beside its text (the figures of a
//! call, its `request_id`) are members of their own. The thread that logs never waits for whoever reads: lines go through a bounded queue to one
//! writing thread; when the queue is full they are counted instead.
//!
//! Other crates are heard from `warn` on only: their chatter may hold header fields.

use crate::clock::UnixMs;
use crate::error::Error;
use crate::settings::{LogFormat, Outside, quoted};
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Map, json};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

/// Lines that may wait for the writer.
const QUEUE: usize = 4096;
/// How long the end of the process waits for the writer.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// What the writer is sent.
enum Entry {
    Line(String),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

struct Logger {
    queue: SyncSender<Entry>,
    format: LogFormat,
    lost: AtomicU64,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The level that `IRON_LOG` asks for, else `default`.
///
/// # Errors
/// [`Error::Config`]: it is no level.
pub(super) fn level(outside: &Outside<'_>, default: LevelFilter) -> Result<LevelFilter, Error> {
    let Some(text) = outside.text("IRON_LOG")? else { return Ok(default) };
    match text.to_ascii_lowercase().as_str() {
        "error" => Ok(LevelFilter::Error),
        "warn" => Ok(LevelFilter::Warn),
        "info" => Ok(LevelFilter::Info),
        "debug" => Ok(LevelFilter::Debug),
        "off" => Ok(LevelFilter::Off),
        _ => Err(Error::Config(format!("IRON_LOG: must be error, warn, info, debug or off, not {}", quoted(&text)))),
    }
}

/// Starts logging. A second call changes the level only; a host program's own logger is left in place.
pub(super) fn start(format: LogFormat, level: LevelFilter) {
    let logger = LOGGER.get_or_init(|| {
        let (queue, entries) = sync_channel(QUEUE);
        // Without its thread nothing is written and lines are counted as lost: logging is no reason not to serve.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || write(&entries));
        Logger { queue, format, lost: AtomicU64::new(0) }
    });
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

/// Waits a moment for lines under way; called before the process ends.
pub(super) fn flush() {
    let Some(logger) = LOGGER.get() else { return };
    let (done, written) = sync_channel(1);
    if logger.queue.try_send(Entry::Flush(done)).is_ok() {
        let _ = written.recv_timeout(FLUSH_LIMIT);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("iron_runtime") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut line = String::new();
        if lost > 0 {
            let message = format_args!("{lost} log lines were lost: stderr is not read fast enough");
            line = self.rendered(&Record::builder().level(Level::Warn).target(module_path!()).args(message).build());
        }
        line += &self.rendered(record);
        if self.queue.try_send(Entry::Line(line)).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn rendered(&self, record: &Record<'_>) -> String {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        render(self.format, at, record)
    }
}

fn render(format: LogFormat, at: UnixMs, record: &Record<'_>) -> String {
    let (at, level) = (at.rfc3339(), record.level());
    match format {
        LogFormat::Text => format!("{at} {level:<5} {}\n", one_line(&record.args().to_string())),
        LogFormat::Json => {
            let mut members = Members(Map::new());
            // What can't be written as JSON is left out.
            let _ = record.key_values().visit(&mut members);
            let level = level.as_str().to_ascii_lowercase();
            for (name, value) in
                [("time", at), ("level", level), ("target", record.target().into()), ("message", record.args().to_string())]
            {
                members.0.insert(name.into(), value.into());
            }
            format!("{}\n", serde_json::Value::Object(members.0))
        }
    }
}

/// What a line has beside its text.
struct Members(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Members {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut member = Member(serde_json::Value::Null);
        value.visit(&mut member)?;
        self.0.insert(key.to_string(), member.0);
        Ok(())
    }
}

/// One of them, as JSON.
struct Member(serde_json::Value);

impl<'v> VisitValue<'v> for Member {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.0 = json!(value.to_string());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = serde_json::Value::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = json!(value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = json!(value);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = json!(value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = json!(value);
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = json!(value);
        Ok(())
    }
}

/// Without line breaks and other control characters: what came from outside must not look like a line of ours.
fn one_line(message: &str) -> String {
    message.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

fn write(entries: &Receiver<Entry>) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
            Entry::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(format: LogFormat, level: Level, members: &[(&str, Value<'_>)]) -> String {
        let message = format_args!("a\nb \"c\"");
        render(format, UnixMs(0), &Record::builder().level(level).target("iron_runtime::x").args(message).key_values(&members).build())
    }

    #[test]
    fn lines() {
        let members = [("call", Value::from(7_u64)), ("ms", 1.5.into()), ("model", Value::null()), ("stream", true.into())];
        let members = [&members[..], &[("code", Value::from("x\ny")), ("level", "no level".into())]].concat();
        let text = rendered(LogFormat::Text, Level::Info, &members);
        assert_eq!(text, "1970-01-01T00:00:00.000Z INFO  a\\nb \"c\"\n");
        let plain = json!({"time": "1970-01-01T00:00:00.000Z", "level": "warn", "target": "iron_runtime::x", "message": "a\nb \"c\""});
        let mut full = plain.clone();
        for (name, value) in
            [("call", json!(7)), ("ms", json!(1.5)), ("model", json!(null)), ("stream", json!(true)), ("code", json!("x\ny"))]
        {
            full[name] = value;
        }
        for (members, want) in [(&[][..], plain), (&members[..], full)] {
            let line = rendered(LogFormat::Json, Level::Warn, members);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            assert_eq!((value, line.lines().count()), (want, 1));
        }
    }

    #[test]
    fn levels() {
        for (text, want) in
            [("warn", Some(LevelFilter::Warn)), ("OFF", Some(LevelFilter::Off)), ("", Some(LevelFilter::Info)), ("loud", None)]
        {
            let variable = |_: &str| Some(text.into());
            let outside = Outside { variable: &variable, read: &|_| Err(std::io::ErrorKind::NotFound.into()) };
            assert_eq!(level(&outside, LevelFilter::Info).ok(), want, "{text}");
        }
    }
}
