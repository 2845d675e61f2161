//! `run`: a program with its LLM calls through a router of its own. The program gets the router's address and token in its environment and
//! none of the real keys; its input, output and exit code are its own.

mod child;
mod environment;

use super::args::Invocation;
use super::commands::LISTENING;
use super::console::Console;
use super::{NOT_EXECUTABLE, NOT_FOUND, USAGE, bill, logger, start_failed};
use crate::config::{Config, Key};
use crate::error::Error;
use crate::mock::{Mock, MockConfig};
use crate::router::LlmRouter;
use crate::secret::Secret;
use crate::settings::{Origin, Outside, Settings, quoted};
use log::LevelFilter;
use std::ffi::OsString;
use std::io;
use std::process::Command;

pub(super) fn run(invocation: &Invocation, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let Some((name, arguments)) = invocation.program.split_first() else {
        console.problem("run what? give a program: iron-runtime run [OPTIONS] -- CMD …");
        return USAGE;
    };
    let code = match start(invocation, outside) {
        Ok(running) => running.until_it_ends(name, arguments, invocation.has("quiet"), console),
        Err(error) => start_failed(&error, console),
    };
    logger::flush();
    code
}

/// A router, and what the program must not see.
struct Running {
    router: LlmRouter,
    /// Kept up while the router needs it.
    _mock: Option<Mock>,
    secrets: Vec<Secret>,
}

fn start(invocation: &Invocation, outside: &Outside<'_>) -> Result<Running, Error> {
    let (mut settings, mock) = if invocation.has("mock") {
        let mock = Mock::start(MockConfig::default())?;
        (invocation.settings.clone().on_mock(mock.base_url(), outside)?, Some(mock))
    } else {
        let mut settings = invocation.settings.clone().complete(outside)?;
        settings.keep_usual_ledger(outside);
        (settings, None)
    };
    keep_to_itself(&mut settings);
    logger::start(settings.log_format(), logger::level(outside, LevelFilter::Error)?);
    let checked = settings.check(outside)?;
    let secrets = secrets(&checked.config);
    Ok(Running { router: checked.start()?, _mock: mock, secrets })
}

/// Where `serve` listens is no place for a router that belongs to one program: only what this command line says counts.
fn keep_to_itself(settings: &mut Settings) {
    for name in LISTENING {
        if settings.origin(name) != Some(&Origin::Flag) {
            settings.forget(name);
        }
    }
}

/// Every key of the config.
fn secrets(config: &Config) -> Vec<Secret> {
    let keys = config.upstreams.iter().filter_map(|upstream| if let Key::Given(key) = &upstream.key { Some(key) } else { None });
    let ic_token = config.control.as_ref().map(|control| &control.ic_token);
    keys.chain(ic_token).chain(config.agents.iter().map(|agent| &agent.token)).cloned().collect()
}

impl Running {
    fn until_it_ends(mut self, name: &OsString, arguments: &[OsString], quiet: bool, console: &mut Console) -> u8 {
        let mut command = Command::new(name);
        command.args(arguments);
        environment::prepare(&mut command, std::env::vars_os(), &self.secrets, &self.router);
        let ended = child::run_to_end(&mut command);
        self.router.shutdown();
        match ended {
            Ok(status) => {
                if !quiet {
                    console.note(&format!("iron-runtime: {}", bill::line(&self.router.stats())));
                }
                child::code_of(status)
            }
            Err(error) => {
                console.problem(&not_started(name, &error));
                if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
            }
        }
    }
}

/// Why the program could not be started.
fn not_started(name: &OsString, error: &io::Error) -> String {
    let name = quoted(&name.to_string_lossy());
    match error.kind() {
        io::ErrorKind::NotFound => format!("{name}: command not found"),
        io::ErrorKind::PermissionDenied => format!("{name}: can't be run: permission denied"),
        _ => format!("{name}: can't be run: {error}"),
    }
}
