//! The `iron-runtime` command. One implementation: `main.rs` and the Python package both call [`run`].
//!
//! A command is a function from its `Invocation` and a `Console` to an exit code. Which commands and options there are stands in one
//! table (`commands`), from which parsing and `--help` are made.

mod args;
mod ask;
pub(crate) mod bill;
mod chat;
mod client;
mod commands;
mod console;
mod demo;
mod doctor;
mod help;
mod logger;
mod mock;
mod report;
mod run;
mod serve;
mod signals;

use crate::error::Error;
use crate::settings::Outside;
use args::Request;
use console::Console;
use std::ffi::OsString;
use std::io::ErrorKind;

/// It did what it was asked to.
const OK: u8 = 0;
/// It ran, and what it was asked to do failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong; nothing was started.
const USAGE: u8 = 2;
/// The address could not be listened on.
const NO_LISTENER: u8 = 3;
/// A second signal ended it at once.
const INTERRUPTED: u8 = 130;

/// `run`'s program is there and can't be started.
const NOT_EXECUTABLE: u8 = 126;
/// `run`'s program is not there.
const NOT_FOUND: u8 = 127;

/// Runs the command with its arguments, the program's name not among them, and returns the exit code: 0 done, 1 failed, 2 usage or
/// configuration, 3 can't listen, 130 stopped at once by a second signal; `run` gives its program's.
///
/// ```
/// assert_eq!(iron_runtime::cli::run(["--version".into()]), 0);
/// ```
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let outside = Outside::process();
    let mut console = Console::of_process(&outside);
    run_on(args, &outside, &mut console)
}

fn run_on(args: impl IntoIterator<Item = OsString>, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let code = act_on(args, outside, console);
    match console.lost() {
        Some(error) if code == OK => {
            console.problem(&format!("can't write to standard output: {error}"));
            FAILED
        }
        _ => code,
    }
}

fn act_on(args: impl IntoIterator<Item = OsString>, outside: &Outside<'_>, console: &mut Console) -> u8 {
    match args::parse(args) {
        Ok(Request::Version) => {
            console.line(concat!("iron-runtime ", env!("CARGO_PKG_VERSION")));
            OK
        }
        Ok(Request::Help(None)) => {
            console.line(&help::overview());
            OK
        }
        Ok(Request::Help(Some(command))) => {
            console.line(&help::of_command(command));
            OK
        }
        Ok(Request::Run(invocation)) => (invocation.command.action)(&invocation, outside, console),
        Err(usage) => {
            console.problem(&usage.why);
            console.note(&format!("try: {}", usage.try_instead()));
            USAGE
        }
    }
}

/// Tells why something could not be started, in the words of the command line, and gives the exit code.
fn start_failed(error: &Error, console: &mut Console) -> u8 {
    let (why, code) = explain(error);
    console.problem(&why);
    code
}

/// An operating error in the words of the command line, and its exit code.
fn explain(error: &Error) -> (String, u8) {
    match error {
        Error::NoProvider => (
            "no provider key: give --openai-key or --anthropic-key, or --api-key with --server-url; or set OPENAI_API_KEY, \
             ANTHROPIC_API_KEY, or IC_TOKEN with IC_SERVER; `iron-runtime demo` needs none of them"
                .into(),
            USAGE,
        ),
        Error::Bind { address, source } => {
            let hint = match source.kind() {
                ErrorKind::AddrInUse => "the port is in use; stop what holds it, or give another --port (0 picks a free one)",
                ErrorKind::PermissionDenied => "not permitted; ports below 1024 usually need more rights: give another --port",
                ErrorKind::AddrNotAvailable => "not an address of this machine; give another --host",
                _ => return (format!("can't listen on {address}: {source}"), NO_LISTENER),
            };
            (format!("can't listen on {address}: {hint}"), NO_LISTENER)
        }
        Error::Config(_) | Error::Io { .. } => (error.to_string(), USAGE),
        _ => (error.to_string(), FAILED),
    }
}

#[cfg(test)]
mod tests;
