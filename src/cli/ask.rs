//! `ask`: one question through a router of its own.

use super::args::Invocation;
use super::chat::{self, Answer, Failure, Question};
use super::client::Connection;
use super::console::Console;
use super::{FAILED, OK, explain, logger};
use crate::call::{Protocol, Refusal, UpstreamId};
use crate::config::Config;
use crate::error::Error;
use crate::mock::{Mock, MockConfig};
use crate::money::NanoUsd;
use crate::router::{LlmRouter, random_token};
use crate::settings::{LogFormat, Outside};
use crate::wire::route::{Table, choose, parse_target};
use log::LevelFilter;
use serde_json::json;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Bytes of a question on standard input.
const MOST_INPUT: u64 = 8 << 20;

pub(super) fn run(invocation: &Invocation, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let code = match prepare(invocation, outside) {
        Ok(asking) => asking.ask(invocation, console),
        Err(error) => {
            let (why, code) = explain(&error);
            report(invocation, console, &why, None);
            code
        }
    };
    logger::flush();
    code
}

/// A running router and what to ask through it.
struct Asking {
    router: LlmRouter,
    /// Kept up while the router needs it.
    _mock: Option<Mock>,
    protocol: Protocol,
    model: String,
    text: String,
    silence: Duration,
}

fn prepare(invocation: &Invocation, outside: &Outside<'_>) -> Result<Asking, Error> {
    let text = text_of(invocation)?;
    logger::start(LogFormat::Text, logger::level(outside, LevelFilter::Error)?);
    let mock = if invocation.has("mock") { Some(Mock::start(MockConfig::default())?) } else { None };
    let config = configured(invocation, outside, mock.as_ref())?;
    let (model, timeouts) = (invocation.value("model").map(str::to_string), config.timeouts);
    let upstreams = config.upstreams.clone();
    let assigned_by_control = config.control.is_some();
    let router = LlmRouter::start(config)?;
    // Which of them the control server's key is for, the router knows and says.
    let usable = vec![true; upstreams.len()];
    let primary = upstreams.iter().position(|u| assigned_by_control && u.name == router.provider()).map(UpstreamId);
    let table = Table { upstreams: &upstreams, usable: &usable, primary };
    let model = match model {
        Some(model) => model,
        None => default_model(&table).ok_or_else(|| Error::Config("which model? give -m MODEL".into()))?,
    };
    let refused = |refusal: Refusal| Error::Config(refusal.message);
    // A path that belongs to neither protocol: the model alone decides.
    let target = parse_target("/", "").map_err(refused)?;
    let protocol = choose(&target, "POST", Some(&model), false, &table).map_err(refused)?.client;
    let silence = timeouts.connect + timeouts.first_byte.max(timeouts.idle) + Duration::from_secs(5);
    Ok(Asking { router, _mock: mock, protocol, model, text, silence })
}

fn text_of(invocation: &Invocation) -> Result<String, Error> {
    let text = match invocation.texts.first().map(String::as_str) {
        None => return Err(Error::Config("ask what? give TEXT in quotes, or - to read standard input".into())),
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().take(MOST_INPUT + 1).read_to_string(&mut text);
            read.map_err(|source| Error::Io { what: "read standard input".into(), source })?;
            text
        }
        Some(text) => text.to_string(),
    };
    if text.trim().is_empty() {
        return Err(Error::Config("the question is empty".into()));
    }
    if text.len() as u64 > MOST_INPUT {
        return Err(Error::Config("the question is longer than 8 MiB".into()));
    }
    Ok(text)
}

/// The config as given, but for what makes the router reachable by others.
fn configured(invocation: &Invocation, outside: &Outside<'_>, mock: Option<&Mock>) -> Result<Config, Error> {
    let given = invocation.settings.clone();
    let mut settings = match mock {
        Some(mock) => given.on_mock(mock.base_url(), outside)?,
        None => given.complete(outside)?,
    };
    for name in super::commands::LISTENING {
        settings.forget(name);
    }
    if mock.is_none() {
        settings.keep_usual_ledger(outside);
    }
    let mut config = settings.check(outside)?.config;
    config.client_token = Some(random_token()?);
    Ok(config)
}

/// A small model of the provider that takes what nothing else says; of an added upstream, its first whole name.
fn default_model(table: &Table<'_>) -> Option<String> {
    let first = || (0..table.upstreams.len()).find(|at| table.usable[*at]);
    let upstream = &table.upstreams[table.primary.map(|id| id.0).or_else(first)?];
    match upstream.name.as_str() {
        "openai" => Some("gpt-4o-mini".into()),
        "anthropic" => Some("claude-3-5-haiku-latest".into()),
        _ => {
            let whole = upstream.models.iter().find(|model| !model.ends_with('*'));
            whole.or_else(|| upstream.aliases.first().map(|(alias, _)| alias)).cloned()
        }
    }
}

impl Asking {
    fn ask(&self, invocation: &Invocation, console: &mut Console) -> u8 {
        let (stream, json) = (invocation.has("stream"), invocation.has("json"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.router.port()));
        let question =
            Question { protocol: self.protocol, model: &self.model, text: &self.text, stream, token: self.router.api_key(), fields: &[] };
        let connected = Connection::open(address, Duration::from_secs(5), self.silence);
        let mut at_line_start = true;
        let answered =
            connected.map_err(|error| Failure { status: None, why: super::client::describe(&error) }).and_then(|mut connection| {
                chat::ask(&mut connection, &question, &mut |piece| {
                    if !json {
                        console.piece(piece);
                        at_line_start = piece.ends_with('\n');
                    }
                })
            });
        // Settled, and with it the cost known, when the router has stopped.
        self.router.shutdown_within(self.router.drain());
        match answered {
            Ok(answer) => {
                self.tell(&answer, json, console);
                OK
            }
            Err(failure) => {
                if !at_line_start {
                    console.line("");
                }
                report(invocation, console, &failure.why, failure.status);
                FAILED
            }
        }
    }

    fn tell(&self, answer: &Answer, json: bool, console: &mut Console) {
        if json {
            console.line(&self.as_json(answer).to_string());
            return;
        }
        if !answer.text.ends_with('\n') {
            console.line("");
        }
        let count = |tokens: Option<u64>| tokens.map_or_else(|| "unknown".into(), |tokens| tokens.to_string());
        let cost = self.cost(answer).map_or_else(|| "cost unknown (no price for this model)".into(), |cost| cost.to_string());
        console.note(&format!(
            "{}: {} tokens in, {} out, {cost}; first token after {}, all after {}",
            self.model,
            count(answer.input_tokens),
            count(answer.output_tokens),
            readable(answer.first_token),
            readable(answer.total)
        ));
        if answer.is_cut_short() {
            console.note("the reply was cut short by its limit of tokens");
        }
    }

    /// What the router billed; `None`: tokens were used and no price is known.
    fn cost(&self, answer: &Answer) -> Option<NanoUsd> {
        let cost = NanoUsd(self.router.stats().tally.all.cost_nano_usd);
        let used = answer.input_tokens.unwrap_or(0) + answer.output_tokens.unwrap_or(0);
        (cost > NanoUsd::ZERO || used == 0).then_some(cost)
    }

    fn as_json(&self, answer: &Answer) -> serde_json::Value {
        let cost = self.cost(answer);
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        json!({
            "ok": true,
            "status": answer.status,
            "model": self.model,
            "protocol": self.protocol.as_str(),
            "text": answer.text,
            "stop": answer.stop,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "cost_nano_usd": cost.map(|cost| cost.0),
            "cost_usd": cost.map(NanoUsd::usd),
            "first_token_ms": ms(answer.first_token),
            "total_ms": ms(answer.total),
            "reply": answer.raw,
        })
    }
}

/// `0.7 ms`, `12 ms`, `3.4 s`.
fn readable(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_millis() {
        0..10 => format!("{:.1} ms", seconds * 1e3),
        10..1000 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// Says why there is no answer: to stderr, or as JSON to stdout.
fn report(invocation: &Invocation, console: &mut Console, why: &str, status: Option<u16>) {
    if invocation.has("json") {
        console.line(&json!({ "ok": false, "status": status, "error": why }).to_string());
        return;
    }
    match status {
        Some(status) if !(200..300).contains(&status) => console.problem(&format!("status {status}: {why}")),
        _ => console.problem(why),
    }
}
