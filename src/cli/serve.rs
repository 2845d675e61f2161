//! `serve`: a router in the foreground.

use super::args::Invocation;
use super::console::Console;
use super::{FAILED, OK, bill, logger, signals, start_failed};
use crate::call::Protocol;
use crate::config::is_loopback_host;
use crate::error::Error;
use crate::router::LlmRouter;
use crate::settings::{Outside, TokenSource};
use log::LevelFilter;

pub(super) fn run(invocation: &Invocation, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let started = signals::catch().map_err(Error::Config).and_then(|()| start(invocation, outside));
    let code = match started {
        Ok(running) => running.until_stopped(console),
        Err(error) => start_failed(&error, console),
    };
    logger::flush();
    code
}

struct Running {
    router: LlmRouter,
    token: TokenSource,
    protocols: Vec<Protocol>,
}

fn start(invocation: &Invocation, outside: &Outside<'_>) -> Result<Running, Error> {
    let mut settings = invocation.settings.clone().complete(outside)?;
    settings.keep_usual_ledger(outside);
    logger::start(settings.log_format(), logger::level(outside, LevelFilter::Info)?);
    let checked = settings.check(outside)?;
    let token = checked.token.clone();
    let protocols = checked.config.upstreams.iter().map(|upstream| upstream.protocol).collect();
    let host = checked.config.host.clone();
    let router = checked.start()?;
    warn_of_strangers(&host);
    Ok(Running { router, token, protocols })
}

fn warn_of_strangers(host: &str) {
    if !is_loopback_host(host) {
        log::warn!("--host {host}: other machines can reach this router; whoever has the client token can spend with its keys");
    }
}

impl Running {
    fn until_stopped(mut self, console: &mut Console) -> u8 {
        let base = self.router.anthropic_base_url();
        console.line(&format!("listening on {base}"));
        self.tell_token(&base, console);
        signals::wait();
        if console.err_is_terminal {
            console.note("stopping; once more stops at once");
        }
        self.router.shutdown();
        log::info!("{}", bill::line(&self.router.stats()));
        if self.router.is_running() { FAILED } else { OK }
    }

    /// Where the client token is: on a terminal the token itself, if it can't be known otherwise.
    fn tell_token(&self, base: &str, console: &mut Console) {
        match &self.token {
            TokenSource::Given => {}
            TokenSource::File(path) | TokenSource::ToFile(path) => {
                log::info!("client token: in {}", path.display());
                if console.err_is_terminal {
                    console.note(&format!("see it live: {}", self.router.dashboard_url()));
                }
            }
            TokenSource::IcToken if console.err_is_terminal => {
                console.note(&format!("clients send the IC token as their API key\nsee it live: {}", self.router.dashboard_url()));
            }
            TokenSource::Random if console.err_is_terminal => console.note(&self.notice(base)),
            TokenSource::IcToken => log::info!("client token: the IC token"),
            TokenSource::Random => {
                log::warn!("the client token is random and shown nowhere: give --client-token or --token-file, or start it on a terminal");
            }
        }
    }

    /// The lines that point clients here, with the token.
    fn notice(&self, base: &str) -> String {
        let token = self.router.api_key();
        let mut notice = format!("client token: {token}\npoint clients here with:");
        if self.protocols.contains(&Protocol::OpenAi) {
            notice += &format!("\n  export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY={token}");
        }
        if self.protocols.contains(&Protocol::Anthropic) {
            notice += &format!("\n  export ANTHROPIC_BASE_URL={base} ANTHROPIC_API_KEY={token}");
        }
        notice + &format!("\nsee it live: {}", self.router.dashboard_url())
    }
}
