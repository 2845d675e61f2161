//! `mock`: the built-in provider in the foreground.

use super::args::Invocation;
use super::console::Console;
use super::{OK, USAGE, logger, signals, start_failed};
use crate::error::Error;
use crate::mock::{MOCK_HELP, Mock, MockConfig};
use crate::router::random_token;
use crate::settings::{LogFormat, Outside};
use log::LevelFilter;
use std::time::Duration;

/// The longest that a reply may be held back or an event delayed: an hour.
const MOST_MS: u64 = 3_600_000;
/// The most words of a reply.
const MOST_EVENTS: u64 = 100_000;

pub(super) fn run(invocation: &Invocation, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let config = match config(invocation) {
        Ok(config) => config,
        Err(why) => {
            console.problem(&why);
            return USAGE;
        }
    };
    let code = match start(config, outside) {
        Ok((mock, token)) => until_stopped(&mock, &token, console),
        Err(error) => start_failed(&error, console),
    };
    logger::flush();
    code
}

fn config(invocation: &Invocation) -> Result<MockConfig, String> {
    let ms = |flag| invocation.number(flag, MOST_MS).map(|ms| ms.map(Duration::from_millis));
    let usual = MockConfig::default();
    Ok(MockConfig {
        port: invocation.number("port", 65_535)?.and_then(|port| u16::try_from(port).ok()).unwrap_or(usual.port),
        latency: ms("latency-ms")?.unwrap_or(usual.latency),
        events: invocation.number("events", MOST_EVENTS)?.and_then(|count| usize::try_from(count).ok()).unwrap_or(usual.events),
        spacing: ms("spacing-ms")?.unwrap_or(usual.spacing),
        host: usual.host,
        allocated_micro_usd: usual.allocated_micro_usd,
    })
}

/// The mock, and an IC token to be tried with it: any would do.
fn start(config: MockConfig, outside: &Outside<'_>) -> Result<(Mock, String), Error> {
    signals::catch().map_err(Error::Config)?;
    logger::start(LogFormat::Text, logger::level(outside, LevelFilter::Info)?);
    let token = random_token()?.expose().replace("iron-", "ic_mock_");
    Ok((Mock::start(config)?, token))
}

fn until_stopped(mock: &Mock, token: &str, console: &mut Console) -> u8 {
    let base = mock.base_url();
    console.line(&format!(
        "listening on {base}\n# in another shell, the next line makes every router use this mock (server mode):\nexport IC_TOKEN={token} IC_SERVER={base}"
    ));
    console.note(&format!(
        "direct mode: iron-runtime serve --openai-key any --anthropic-key any --openai-base-url {base} --anthropic-base-url {base}\n\
         what it has seen: curl {base}/__stats"
    ));
    if console.err_is_terminal {
        console.note(&format!("what a request can ask of it:\n{MOCK_HELP}"));
    }
    signals::wait();
    mock.stop();
    OK
}
