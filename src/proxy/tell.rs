//! Events as log lines, for whoever reads the log.

use crate::call::Outcome;
use crate::clock::UnixMs;
use crate::event::{Event, RequestInfo};
use std::time::{Duration, SystemTime};

/// Writes an event to the log: one line, names and figures only.
pub(crate) fn log(event: &Event) {
    match event {
        Event::RouterStarted { port, .. } => log::info!("{} port={port}", event.name()),
        Event::RouterStopped { .. } => log::info!("{}", event.name()),
        Event::RequestStarted(info) => log::debug!("{} {}", event.name(), describe(info)),
        Event::RequestCompleted(info, outcome) => log::info!("{} {} {}", event.name(), describe(info), figures(outcome)),
        Event::RequestFailed(info, outcome) => log::warn!("{} {} {}", event.name(), describe(info), figures(outcome)),
    }
}

fn describe(info: &RequestInfo) -> String {
    let model = info.model.as_deref().unwrap_or("-");
    let stream = if info.stream { " stream" } else { "" };
    format!("#{} {} {} to={} model={model:?}{stream}", info.serial, info.method, info.path, info.upstream)
}

fn figures(outcome: &Outcome) -> String {
    let first_byte = outcome.first_byte.map_or_else(|| "-".into(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
    let total = outcome.total.as_secs_f64() * 1e3;
    format!(
        "status={} end={} bytes={} first_byte_ms={first_byte} total_ms={total:.1}",
        outcome.status,
        outcome.end.as_str(),
        outcome.reply_bytes
    )
}

/// The time that events carry.
pub(crate) fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixMs(since.as_millis() as u64)
}
