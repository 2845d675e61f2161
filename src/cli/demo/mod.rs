//! `demo`: the whole product on one machine. A mock provider, a router in front of it, and real requests over real sockets.
//!
//! The router's own delay is measured, not guessed: a second mock that answers at once is asked directly and through a second router, in
//! turns, and the medians are subtracted. Then a budget is spent, see [`money`]. On a terminal the router stays up, with traffic for its dashboard to show: see [`life`].

mod life;
mod money;

use super::args::Invocation;
use super::chat::{self, Answer, Failure, Question};
use super::client::{Connection, describe};
use super::console::{Console, Paint};
use super::{FAILED, OK, USAGE, logger, signals, start_failed};
use crate::call::Protocol;
use crate::config::{BaseUrl, Config, Upstream};
use crate::error::Error;
use crate::mock::{Mock, MockConfig};
use crate::provider::provider_of_model;
use crate::router::{LlmRouter, random_token};
use crate::settings::{LogFormat, Outside};
use log::LevelFilter;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The client's protocol, the model, whether as a stream. The last two are translated.
const REQUESTS: [(Protocol, &str, bool); 6] = [
    (Protocol::OpenAi, "gpt-4o-mini", false),
    (Protocol::OpenAi, "gpt-4o-mini", true),
    (Protocol::Anthropic, "claude-3-5-haiku-latest", false),
    (Protocol::Anthropic, "claude-3-5-haiku-latest", true),
    (Protocol::OpenAi, "claude-3-5-haiku-latest", true),
    (Protocol::Anthropic, "gpt-4o-mini", true),
];
/// Pairs of requests, direct and through the router, from which a median is taken.
const PAIRS: usize = 31;
/// Pairs before them that are not counted: connections are made, pages touched.
const WARM_UP: usize = 5;
const LIMIT: Duration = Duration::from_secs(20);

/// One request's account.
struct Account {
    protocol: Protocol,
    model: &'static str,
    stream: bool,
    result: Result<Answer, Failure>,
    /// What the router adds to the time to the first token.
    added: Result<Duration, Failure>,
}

pub(super) fn run(invocation: &Invocation, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let port = match invocation.number("port", 65_535) {
        Ok(port) => port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        Err(why) => {
            console.problem(&why);
            return USAGE;
        }
    };
    let json = invocation.has("json");
    let stays = console.out_is_terminal && !invocation.has("once") && !json;
    let code = match show(port, json, stays, outside, console) {
        Ok(code) => code,
        Err(error) => start_failed(&error, console),
    };
    logger::flush();
    code
}

fn show(port: u16, json: bool, stays: bool, outside: &Outside<'_>, console: &mut Console) -> Result<u8, Error> {
    if stays {
        signals::catch().map_err(Error::Config)?;
    }
    logger::start(LogFormat::Text, logger::level(outside, LevelFilter::Error)?);
    // A provider with a little latency, so that the figures look like life.
    let ms = Duration::from_millis;
    let mock = Mock::start(MockConfig { latency: ms(20), events: 20, spacing: ms(5), ..MockConfig::default() })?;
    let mut router = LlmRouter::start(Config { port, ..config_for(&mock)? })?;
    let accounts = accounts(&router)?;
    let spent = money::spend()?;
    let ok = accounts.iter().all(|account| account.result.is_ok()) && spent.is_right();
    if json {
        console.line(&as_json(&accounts, &spent, ok).to_string());
    } else {
        tell(&accounts, console);
        spent.tell(console);
        console.line(&how_to_try(&router, stays));
    }
    if stays {
        stay(&router, console)?;
    }
    router.shutdown();
    Ok(if ok { OK } else { FAILED })
}

/// Keeps the router at work until the first signal; then calls under way are cut, since nobody waits for them.
fn stay(router: &LlmRouter, console: &mut Console) -> Result<(), Error> {
    let life = life::Life::on(router);
    std::thread::scope(|scope| {
        life.begin(scope)?;
        console.line(&console.paint(Paint::Bold, &format!("\nSee it live: {}", router.dashboard_url())));
        console.line("Three agents are at work there. The demo stays up until Ctrl-C.");
        signals::wait();
        life.stop();
        router.shutdown_within(Duration::ZERO);
        Ok(())
    })
}

/// A router's config with both providers on the mock.
pub(super) fn config_for(mock: &Mock) -> Result<Config, Error> {
    let base: BaseUrl = mock.base_url().parse()?;
    Ok(Config {
        upstreams: vec![Upstream::openai(base.clone(), random_token()?), Upstream::anthropic(base, random_token()?)],
        ..Config::default()
    })
}

fn accounts(router: &LlmRouter) -> Result<Vec<Account>, Error> {
    let fast = Mock::start(MockConfig::default())?;
    let measured = LlmRouter::start(config_for(&fast)?)?;
    let account = |(protocol, model, stream)| Account {
        protocol,
        model,
        stream,
        result: open(router.port()).and_then(|mut to| once(&mut to, protocol, model, stream, router.api_key())),
        added: added(fast.port(), &measured, protocol, model, stream),
    };
    Ok(REQUESTS.into_iter().map(account).collect())
}

fn open(port: u16) -> Result<Connection, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Connection::open(address, LIMIT, LIMIT).map_err(|error| Failure { status: None, why: describe(&error) })
}

fn once(to: &mut Connection, protocol: Protocol, model: &str, stream: bool, token: &str) -> Result<Answer, Failure> {
    chat::ask(to, &Question { protocol, model, text: "Hello!", stream, token, fields: &[] }, &mut |_| {})
}

/// The median time to the first token through the router, less the same asked of the provider directly, in its own protocol.
fn added(direct: u16, router: &LlmRouter, protocol: Protocol, model: &str, stream: bool) -> Result<Duration, Failure> {
    let (mut to_mock, mut to_router) = (open(direct)?, open(router.port())?);
    let native = provider_of_model(model).unwrap_or(protocol);
    let (mut straight, mut routed) = (Vec::new(), Vec::new());
    for nth in 0..WARM_UP + PAIRS {
        let direct = once(&mut to_mock, native, model, stream, "any")?.first_token;
        let through = once(&mut to_router, protocol, model, stream, router.api_key())?.first_token;
        if nth >= WARM_UP {
            straight.push(direct);
            routed.push(through);
        }
    }
    Ok(median(routed).saturating_sub(median(straight)))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn tell(accounts: &[Account], console: &mut Console) {
    console.line("A mock provider and a router on this machine: real sockets, no key, no network.\n");
    let head = format!(
        "{:<10} {:<8} {:<24} {:>6} {:>12} {:>10} {:>10} {:>13}",
        "client", "", "model", "status", "first token", "total", "in / out", "router adds"
    );
    console.line(&console.paint(Paint::Bold, &head));
    for account in accounts {
        let kind = if account.stream { "streamed" } else { "plain" };
        let start = format!("{:<10} {kind:<8} {:<24}", account.protocol.as_str(), account.model);
        let line = match &account.result {
            Ok(answer) => format!("{start} {}", figures(answer, account)),
            Err(failure) => {
                let status = failure.status.map_or_else(|| "-".into(), |status| status.to_string());
                format!("{start} {} {}", console.paint(Paint::Bad, &format!("{status:>6}")), failure.why)
            }
        };
        console.line(&line);
    }
    let succeeded = accounts.iter().filter(|account| account.result.is_ok()).count();
    let verdict = format!("\n{succeeded} of {} requests succeeded.", accounts.len());
    let paint = if succeeded == accounts.len() { Paint::Good } else { Paint::Bad };
    console.line(&console.paint(paint, &verdict));
    console.line("A client's call for the other provider's model is translated, both ways.");
    console.line(&format!(
        "\"router adds\" is measured: the median time to the first token of {PAIRS} requests through a router, less that of {PAIRS} sent directly."
    ));
}

fn figures(answer: &Answer, account: &Account) -> String {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let tokens = |tokens: Option<u64>| tokens.map_or_else(|| "?".into(), |tokens| tokens.to_string());
    let added = account.added.as_ref().map_or_else(|_| "-".into(), |added| format!("{} \u{b5}s", added.as_micros()));
    format!(
        "{:>6} {:>12} {:>10} {:>10} {added:>13}",
        answer.status,
        ms(answer.first_token),
        ms(answer.total),
        format!("{} / {}", tokens(answer.input_tokens), tokens(answer.output_tokens)),
    )
}

fn as_json(accounts: &[Account], spent: &money::Spent, ok: bool) -> serde_json::Value {
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let request = |account: &Account| {
        let mut request = json!({ "protocol": account.protocol.as_str(), "model": account.model, "stream": account.stream });
        match &account.result {
            Ok(answer) => {
                request["status"] = answer.status.into();
                request["first_token_ms"] = ms(answer.first_token).into();
                request["total_ms"] = ms(answer.total).into();
                request["input_tokens"] = answer.input_tokens.into();
                request["output_tokens"] = answer.output_tokens.into();
                request["router_adds_us"] = account.added.as_ref().ok().map(|added| added.as_nanos() as f64 / 1e3).into();
            }
            Err(failure) => {
                request["status"] = failure.status.into();
                request["error"] = failure.why.as_str().into();
            }
        }
        request
    };
    json!({ "ok": ok, "requests": accounts.iter().map(request).collect::<Vec<_>>(), "budget": spent.as_json() })
}

/// The exact lines to try it by hand.
fn how_to_try(router: &LlmRouter, stays: bool) -> String {
    let (openai, anthropic, token) = (router.base_url(), router.anthropic_base_url(), router.api_key());
    let lead = if stays {
        "Try it in another shell:"
    } else {
        "To try it by hand, start `iron-runtime demo` on a terminal: it then stays up and prints these lines with its own address."
    };
    format!(
        r#"
{lead}

  curl {openai}/chat/completions -H 'content-type: application/json' -H 'authorization: Bearer {token}' \
    -d '{{"model": "gpt-4o-mini", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  curl {anthropic}/v1/messages -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' -H 'x-api-key: {token}' \
    -d '{{"model": "claude-3-5-haiku-latest", "max_tokens": 100, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  from openai import OpenAI        # Python: pip install openai
  client = OpenAI(base_url="{openai}", api_key="{token}")
  print(client.chat.completions.create(model="gpt-4o-mini", messages=[{{"role": "user", "content": "Hello!"}}]).choices[0].message.content)
  # the same client, the other provider: model="claude-3-5-haiku-latest"

  from anthropic import Anthropic  # Python: pip install anthropic
  client = Anthropic(base_url="{anthropic}", api_key="{token}")
  print(client.messages.create(model="claude-3-5-haiku-latest", max_tokens=100, messages=[{{"role": "user", "content": "Hello!"}}]).content[0].text)"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let ms = Duration::from_millis;
        assert_eq!(median(vec![ms(9), ms(1), ms(2)]), ms(2));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
