//! What a demo that stays up does meanwhile: three agents ask the mock things, a call every second or so, so that whoever opens the
//! dashboard sees something happen. Plain and streamed calls of several models, some translated, a failure now and then, and a budget that
//! fills; spent, it refuses what comes, and is raised after a few refusals.

use super::LIMIT;
use crate::call::Protocol::{self, Anthropic, OpenAi};
use crate::cli::chat::{self, Question};
use crate::cli::client::Connection;
use crate::error::Error;
use crate::money::NanoUsd;
use crate::router::LlmRouter;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

/// The budget, and by how much it is raised when it is spent: three minutes or so.
const BUDGET: NanoUsd = NanoUsd(250_000_000);
/// Refusals after which the budget is raised: enough to be seen.
const REFUSALS: u32 = 3;

/// One call of an agent.
struct Step {
    protocol: Protocol,
    model: &'static str,
    stream: bool,
    /// Words of the question.
    words: usize,
    /// What the mock is to do, as its header `x-mock` has it.
    mock: &'static str,
    /// Between this call and the next one.
    pause_ms: u64,
}

const fn step(protocol: Protocol, model: &'static str, stream: bool, words: usize, mock: &'static str, pause_ms: u64) -> Step {
    Step { protocol, model, stream, words, mock, pause_ms }
}

/// An agent: what it does over and over, and what goes wrong at the end of every second round.
struct Agent {
    name: &'static str,
    round: &'static [Step],
    mishap: Step,
}

/// Their rounds have different lengths, so that what is seen does not repeat itself.
static AGENTS: [Agent; 3] = [
    Agent {
        name: "researcher",
        round: &[
            step(Anthropic, "claude-sonnet-4-20250514", true, 520, "latency=420,events=70,spacing=35", 900),
            step(Anthropic, "claude-sonnet-4-20250514", true, 690, "latency=610,events=110,spacing=30", 1400),
            step(OpenAi, "claude-3-5-haiku-latest", true, 240, "latency=180,events=45,spacing=20", 600),
            step(Anthropic, "claude-sonnet-4-20250514", true, 740, "latency=380,events=60,spacing=40", 1100),
        ],
        mishap: step(Anthropic, "claude-sonnet-4-20250514", true, 810, "529", 2300),
    },
    Agent {
        name: "coder",
        round: &[
            step(OpenAi, "gpt-4.1", true, 310, "latency=260,events=90,spacing=18", 700),
            step(OpenAi, "gpt-4.1", true, 360, "latency=340,events=120,spacing=16", 1500),
            step(OpenAi, "o3-mini", false, 150, "latency=1450,events=40", 800),
            step(OpenAi, "gpt-4.1", true, 420, "latency=220,events=75,spacing=20", 1000),
            step(OpenAi, "gpt-4o", true, 280, "latency=290,events=80,spacing=15", 600),
            step(OpenAi, "gpt-4.1", false, 480, "latency=900,events=60", 1900),
        ],
        mishap: step(OpenAi, "gpt-4.1", true, 450, "latency=300,events=100,spacing=18,cut", 1200),
    },
    Agent {
        name: "support",
        round: &[
            step(OpenAi, "gpt-4o-mini", true, 40, "latency=150,events=30,spacing=12", 1300),
            step(OpenAi, "gpt-4o-mini", false, 55, "latency=340,events=25", 900),
            step(OpenAi, "gpt-5-nano", false, 25, "latency=210,events=12", 700),
            step(OpenAi, "gpt-4o-mini", true, 70, "latency=190,events=40,spacing=12", 1600),
            step(Anthropic, "gpt-4o-mini", true, 60, "latency=160,events=35,spacing=14", 1000),
            step(OpenAi, "gpt-4o-mini", false, 45, "latency=280,events=20", 1100),
            step(Anthropic, "claude-3-5-haiku-latest", true, 90, "latency=240,events=35,spacing=16", 1200),
            step(OpenAi, "gpt-4o-mini", true, 65, "latency=170,events=30,spacing=12", 800),
        ],
        mishap: step(OpenAi, "gpt-4o-mini", false, 35, "429,retry-after=2", 2000),
    },
];

impl Agent {
    /// All it will ever do.
    fn steps(&self) -> impl Iterator<Item = &Step> {
        let twice = self.round.iter().chain(self.round).chain([&self.mishap]);
        twice.cycle()
    }
}

/// The agents at work.
pub(super) struct Life<'r> {
    router: &'r LlmRouter,
    refused: AtomicU32,
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl<'r> Life<'r> {
    /// Sets the budget that the agents fill.
    pub(super) fn on(router: &'r LlmRouter) -> Self {
        router.set_budget(Some(router.total_spent().plus(BUDGET)));
        Self { router, refused: AtomicU32::new(0), stopped: Mutex::new(false), changed: Condvar::new() }
    }

    /// Starts a thread for each agent.
    ///
    /// # Errors
    /// A thread can't be started.
    pub(super) fn begin<'s>(&'s self, scope: &'s Scope<'s, '_>) -> Result<(), Error> {
        let start = |agent: &'static Agent| {
            let name = format!("demo-{}", agent.name);
            std::thread::Builder::new().name(name).spawn_scoped(scope, move || self.work(agent)).map(drop)
        };
        AGENTS.iter().try_for_each(start).map_err(|source| {
            self.stop();
            Error::Io { what: "start the demo's agents".into(), source }
        })
    }

    /// No further call; what is under way ends with the router.
    pub(super) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn work(&self, agent: &Agent) {
        for step in agent.steps() {
            self.ask(agent.name, step);
            if self.rested(Duration::from_millis(step.pause_ms)) {
                return;
            }
        }
    }

    /// What becomes of a call is for the dashboard to tell; only a spent budget concerns us.
    fn ask(&self, agent: &str, step: &Step) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.router.port()));
        let Ok(mut to) = Connection::open(address, LIMIT, LIMIT) else { return };
        let text = "word ".repeat(step.words);
        let fields = [("x-iron-agent", agent), ("x-mock", step.mock)];
        let &Step { protocol, model, stream, .. } = step;
        let question = Question { protocol, model, text: &text, stream, token: self.router.api_key(), fields: &fields };
        let reply = chat::ask(&mut to, &question, &mut |_| {});
        if reply.is_err_and(|failure| failure.status == Some(402)) && self.refused.fetch_add(1, Relaxed) + 1 == REFUSALS {
            self.refused.store(0, Relaxed);
            self.router.set_budget(Some(self.router.total_spent().plus(BUDGET)));
        }
    }

    /// Waits so long; whether all is over before.
    fn rested(&self, pause: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        *self.changed.wait_timeout_while(stopped, pause, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner).0
    }
}
