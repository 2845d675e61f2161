//! The table of commands: what each is called, takes and does.

use super::args::Invocation;
use super::console::Console;
use super::{ask, demo, doctor, mock, serve};
use crate::settings::{Outside, SETTINGS, Setting};

/// One command.
pub(super) struct Command {
    pub name: &'static str,
    /// One line for the overview.
    pub about: &'static str,
    /// What follows the name in the usage line, beside the options.
    pub operands: &'static str,
    /// Prose for its own `--help`.
    pub details: &'static str,
    /// Options of its own.
    pub own: &'static [Own],
    /// Which of the settings it takes.
    pub takes: fn(&Setting) -> bool,
    pub action: fn(&Invocation, &Outside<'_>, &mut Console) -> u8,
}

/// An option that belongs to one command.
pub(super) struct Own {
    pub flag: &'static str,
    pub short: Option<char>,
    /// What its value is called; `None`: it takes none.
    pub value: Option<&'static str>,
    pub help: &'static str,
}

const JSON: Own = Own { flag: "json", short: None, value: None, help: "write one JSON object to stdout, for scripts" };

/// Settings that say where a router listens and who may use it; a private router has no use for them.
pub(super) const LISTENING: [&str; 5] = ["port", "host", "allow_host", "client_token", "token_file"];

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "serve",
        about: "run a router in the foreground",
        operands: "",
        details: "Runs a router until Ctrl-C or SIGTERM. One line goes to stdout when it is ready: `listening on http://127.0.0.1:PORT`. Logs go\n\
                  to stderr (IRON_LOG=error|warn|info|debug|off, default info). Clients send the client token as their API key.",
        own: &[],
        takes: |_| true,
        action: serve::run,
    },
    Command {
        name: "demo",
        about: "show it working: mock provider, router and real requests; no key, no network",
        operands: "",
        details: "Starts a mock provider and a router on this machine, sends four requests through real sockets (both protocols, plain and\n\
                  streamed), and tells what each took and what the router added. On a terminal it then stays up to be tried by hand.",
        own: &[
            Own { flag: "once", short: None, value: None, help: "end after the requests, also on a terminal" },
            JSON,
            Own { flag: "port", short: None, value: Some("N"), help: "port of the router; 0 picks a free one (default: 0)" },
        ],
        takes: |_| false,
        action: demo::run,
    },
    Command {
        name: "ask",
        about: "ask a model one question through a router",
        operands: "TEXT",
        details: "Sends TEXT (or standard input, when TEXT is -) as one message through a router of its own. The reply goes to stdout; tokens and\n\
                  times go to stderr. The model decides which provider is asked.",
        own: &[
            Own {
                flag: "model",
                short: Some('m'),
                value: Some("MODEL"),
                help: "model to ask (default: a small one of the configured provider)",
            },
            Own { flag: "stream", short: None, value: None, help: "show the reply while it arrives" },
            Own { flag: "mock", short: None, value: None, help: "ask a mock provider on this machine: no key, no network" },
            JSON,
        ],
        takes: |setting| !LISTENING.contains(&setting.name),
        action: ask::run,
    },
    Command {
        name: "doctor",
        about: "say what would go wrong, and how to mend it",
        operands: "",
        details: "Checks settings, keys, addresses, certificates, ports, proxies and the clock as `serve` with the same options would use them.\n\
                  One line a check: ok, warning or problem. Providers are reached without a key; nothing is spent.",
        own: &[JSON],
        takes: |_| true,
        action: doctor::run,
    },
    Command {
        name: "mock",
        about: "run the mock provider: OpenAI, Anthropic and a control server in one",
        operands: "",
        details: "Answers both providers' APIs and the control server's with made-up replies, until Ctrl-C or SIGTERM. Any key is accepted.",
        own: &[
            Own { flag: "port", short: None, value: Some("N"), help: "port to listen on; 0 picks a free one (default: 0)" },
            Own { flag: "latency-ms", short: None, value: Some("N"), help: "milliseconds before a reply begins (default: 0)" },
            Own { flag: "events", short: None, value: Some("N"), help: "words of a reply, each an event of a stream (default: 8)" },
            Own { flag: "spacing-ms", short: None, value: Some("N"), help: "milliseconds between two events of a stream (default: 0)" },
        ],
        takes: |_| false,
        action: mock::run,
    },
];

impl Command {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name)
    }

    pub(super) fn settings(&self) -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| (self.takes)(setting))
    }
}
