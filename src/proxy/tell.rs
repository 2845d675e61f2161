//! Events as log lines, for whoever reads the log.

use crate::clock::UnixMs;
use crate::event::Event;
use crate::row::{RequestInfo, Row};
use std::time::{Duration, SystemTime};

/// Writes an event to the log: one line, names and figures only.
pub(crate) fn log(event: &Event) {
    match event {
        Event::RouterStarted { port, .. } => log::info!("{} port={port}", event.name()),
        Event::RouterStopped { .. } => log::info!("{}", event.name()),
        Event::RequestStarted(info) => log::debug!("{} {}", event.name(), describe(info)),
        Event::RequestCompleted(row) => log::info!("{} {}", event.name(), figures(row)),
        Event::RequestFailed(row) => log::warn!("{} {}", event.name(), figures(row)),
        Event::ThresholdReached { crossing, .. } => {
            let whose = crossing.agent.as_deref().map(|agent| format!(" agent={agent:?}")).unwrap_or_default();
            log::warn!("{}{whose} percent={} spent={} limit={}", event.name(), crossing.percent, crossing.spent, crossing.limit);
        }
        Event::LedgerFailed { why, .. } => log::error!("{}: {why}", event.name()),
    }
}

fn describe(info: &RequestInfo) -> String {
    let model = info.model.as_deref().unwrap_or("-");
    let stream = if info.stream { " stream" } else { "" };
    format!("#{} {} {} to={} model={model:?}{stream}", info.serial, info.method, info.path, info.upstream)
}

fn figures(row: &Row) -> String {
    let (info, outcome, bill) = (describe(&row.info), &row.outcome, &row.bill);
    let first_byte = outcome.first_byte.map_or_else(|| "-".into(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
    let total = outcome.total.as_secs_f64() * 1e3;
    let tokens = bill.usage.map_or_else(|| "-".into(), |usage| format!("{}+{}", usage.input_tokens(), usage.output_tokens()));
    let cost = bill.cost.map_or_else(|| "unknown".into(), |cost| cost.to_string());
    let estimated = if bill.estimated { " estimated" } else { "" };
    let code = row.code.map(|code| format!(" code={code}")).unwrap_or_default();
    format!(
        "{info} status={} end={}{code} bytes={} first_byte_ms={first_byte} total_ms={total:.1} tokens={tokens} cost={cost}{estimated}",
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
