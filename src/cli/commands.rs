//! The table of commands: what each is called, takes and does.

use super::args::Invocation;
use super::console::Console;
use super::{ask, demo, doctor, mock, report, run, serve};
use crate::settings::{Outside, SETTINGS, Setting};

/// One command.
pub(super) struct Command {
    pub name: &'static str,
    /// One line for the overview.
    pub about: &'static str,
    /// What it takes beside options.
    pub operands: Operands,
    /// Prose for its own `--help`.
    pub details: &'static str,
    /// Options of its own.
    pub own: &'static [Own],
    /// Which of the settings it takes.
    pub takes: fn(&Setting) -> bool,
    pub action: fn(&Invocation, &Outside<'_>, &mut Console) -> u8,
}

/// Arguments that are no options.
pub(super) struct Operands {
    /// As the usage line shows them; empty: there are none.
    pub shown: &'static str,
    /// How many there may be.
    pub most: usize,
    /// Whether the first of them and all that follows it is a program to start.
    pub program: bool,
}

const NO_OPERANDS: Operands = Operands { shown: "", most: 0, program: false };

/// An option that belongs to one command.
pub(super) struct Own {
    pub flag: &'static str,
    pub short: Option<char>,
    /// What its value is called; `None`: it takes none.
    pub value: Option<&'static str>,
    pub help: &'static str,
}

/// What `report` needs of the settings.
const REPORTED: [&str; 4] = ["budget", "prices", "state", "config"];

const JSON: Own = Own { flag: "json", short: None, value: None, help: "write one JSON object to stdout, for scripts" };

/// Settings that say where a router listens and who may use it; a private router has no use for them.
pub(super) const LISTENING: [&str; 5] = ["port", "host", "allow_host", "client_token", "token_file"];

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "serve",
        about: "run a router in the foreground",
        operands: NO_OPERANDS,
        details: "Runs a router until Ctrl-C or SIGTERM. One line goes to stdout when it is ready: `listening on http://127.0.0.1:PORT`. Logs go\n\
                  to stderr (IRON_LOG=error|warn|info|debug|off, default info). Clients send the client token as their API key.",
        own: &[],
        takes: |_| true,
        action: serve::run,
    },
    Command {
        name: "demo",
        about: "show it working: mock provider, router, real requests, a budget spent; no key, no network",
        operands: NO_OPERANDS,
        details: "Starts a mock provider and a router on this machine, sends six requests through real sockets (both protocols, plain and\n\
                  streamed, two of them translated), and tells what each took and what the router added. Then it spends a budget of two\n\
                  cents until a request is refused, and compares the bills. On a terminal it then stays up to be tried by hand, and prints\n\
                  the address of its dashboard, which shows three agents at work. No ledger is touched.",
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
        operands: Operands { shown: "TEXT", most: 1, program: false },
        details: "Sends TEXT (or standard input, when TEXT is -) as one message through a router of its own. The reply goes to stdout; tokens,\n\
                  cost and times go to stderr. The model decides which provider is asked.",
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
        name: "run",
        about: "run a program with its LLM calls through a router; its budget is yours to set",
        operands: Operands { shown: "CMD [ARG…]", most: 0, program: true },
        details: "Starts a router of its own, sets OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY for CMD, takes the real\n\
                  keys out of its environment, and runs it: input and output untouched, signals passed on. Its exit code is CMD's: 128 and the\n\
                  signal's number when a signal ended it, 127 when CMD is not found, 126 when it can't be run. When it ends, one line on stderr\n\
                  tells requests, tokens and cost. Where to listen (port, host and the like) counts only as an option here, so that a config file\n\
                  may be shared with `serve`.",
        own: &[
            Own { flag: "mock", short: None, value: None, help: "let a mock provider on this machine answer: no key, no network" },
            Own { flag: "quiet", short: Some('q'), value: None, help: "leave the line at the end out" },
        ],
        takes: |_| true,
        action: run::run,
    },
    Command {
        name: "report",
        about: "tell what was spent: by model, provider, agent and day; what prices are charged",
        operands: Operands { shown: "[prices [MODEL]]", most: 2, program: false },
        details: "Reads the ledger that serve, run and ask keep, also while they write to it. DATE is a day, 2026-01-31 (UTC), or a time,\n\
                  2026-01-31T12:00. `report prices MODEL` tells what a call to MODEL would be charged, and why; `report prices` lists every price.",
        own: &[
            JSON,
            Own { flag: "csv", short: None, value: None, help: "write comma-separated values: a line per model, provider, agent and day" },
            Own { flag: "rows", short: None, value: None, help: "a line per call, the latest last" },
            Own { flag: "limit", short: None, value: Some("N"), help: "with --rows: the last N calls (default: 1000)" },
            Own { flag: "since", short: None, value: Some("DATE"), help: "calls from this day or time on" },
            Own { flag: "until", short: None, value: Some("DATE"), help: "calls up to the end of this day, or before this time" },
            Own { flag: "model", short: Some('m'), value: Some("MODEL"), help: "calls to this model only" },
            Own {
                flag: "provider",
                short: None,
                value: Some("NAME"),
                help: "calls to this upstream only; with prices: as it is charged there",
            },
            Own { flag: "agent", short: None, value: Some("NAME"), help: "calls of this agent only" },
        ],
        takes: |setting| REPORTED.contains(&setting.name),
        action: report::run,
    },
    Command {
        name: "doctor",
        about: "say what would go wrong, and how to mend it",
        operands: NO_OPERANDS,
        details: "Checks settings, keys, addresses, certificates, ports, proxies, ledger, prices and the clock as `serve` with the same options\n\
                  would use them. One line a check: ok, warning or problem. Providers are reached without a key; nothing is spent.",
        own: &[JSON],
        takes: |_| true,
        action: doctor::run,
    },
    Command {
        name: "mock",
        about: "run the mock provider: OpenAI, Anthropic and a control server in one",
        operands: NO_OPERANDS,
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
