//! The class `LlmRouter`.

use super::events::Events;
use super::keywords::{Arguments, Plan, amount, number, seconds};
use super::{errors, logs, process};
use crate::cli::bill;
use crate::mock::Mock;
use crate::money::NanoUsd;
use crate::settings::quoted;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The longest that "at once" may take.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How often a call that waits looks whether Ctrl-C was pressed.
const SIGNALS: Duration = Duration::from_millis(50);

/// A router and the process it runs in.
pub(super) struct Running {
    pid: u32,
    router: crate::LlmRouter,
    /// Stops after the router: fields are dropped in this order.
    mock: Option<Mock>,
}

impl Running {
    /// Stops; calls under way have `drain` to end.
    fn stop(&self, drain: Option<Duration>) {
        self.router.shutdown_within(drain.unwrap_or_else(|| self.router.drain()));
        if let Some(mock) = &self.mock {
            mock.stop();
        }
    }
}

/// Stops routers at once, where nobody is left to wait: at the end of the interpreter and in its collector. What can't be woken, such as a
/// name being looked up, is left to end by itself.
pub(super) fn stop_at_once(routers: Vec<Arc<Running>>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        routers.iter().for_each(|router| router.stop(Some(Duration::ZERO)));
        let _ = sender.send(());
    };
    if std::thread::Builder::new().name("iron-stop".into()).spawn(work).is_ok() {
        let _ = receiver.recv_timeout(AT_ONCE);
    }
}

#[doc = include_str!("llm_router.txt")]
#[pyclass(frozen, module = "iron_runtime", name = "LlmRouter")]
pub(super) struct LlmRouter {
    /// Always there; an `Option` so that a forked child can forget it.
    running: Option<Arc<Running>>,
}

#[pymethods]
impl LlmRouter {
    #[new]
    #[pyo3(signature = (api_key=None, server_url=None, cache_ttl_seconds=None, *, provider_key=None, provider_keys=None, base_urls=None, mock=None, agents=None, **settings))]
    #[pyo3(text_signature = "(api_key=None, server_url=None, cache_ttl_seconds=300, *, provider_key=None, provider_keys=None, \
                             base_urls=None, mock=False, agents=None, budget=None, **settings)")]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        api_key: Option<Bound<'_, PyAny>>,
        server_url: Option<Bound<'_, PyAny>>,
        cache_ttl_seconds: Option<Bound<'_, PyAny>>,
        provider_key: Option<Bound<'_, PyAny>>,
        provider_keys: Option<Bound<'_, PyAny>>,
        base_urls: Option<Bound<'_, PyAny>>,
        mock: Option<Bound<'_, PyAny>>,
        agents: Option<Bound<'_, PyAny>>,
        settings: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let arguments =
            Arguments { api_key, server_url, cache_ttl_seconds, provider_key, provider_keys, base_urls, mock, agents, settings };
        let plan = arguments.plan()?;
        prepare(py)?;
        let running = if plan.asks_a_server() { interruptible(py, move || start(plan))? } else { py.detach(|| start(plan)) };
        let running = Arc::new(running?);
        if let Some(process) = process::here() {
            process.add(Arc::downgrade(&running));
        }
        Ok(Self { running: Some(running) })
    }

    /// ``http://127.0.0.1:{port}/v1``: what OpenAI's clients take (Anthropic's work with it too).
    ///
    /// Raises:
    ///     RuntimeError: The router is stopped, or belongs to another process. So do all that tell an address.
    #[getter]
    fn base_url(&self) -> PyResult<String> {
        Ok(self.listening()?.base_url())
    }

    /// The same as ``base_url``.
    #[getter]
    fn openai_base_url(&self) -> PyResult<String> {
        Ok(self.listening()?.base_url())
    }

    /// ``http://127.0.0.1:{port}``: what Anthropic's clients take.
    #[getter]
    fn anthropic_base_url(&self) -> PyResult<String> {
        Ok(self.listening()?.anthropic_base_url())
    }

    /// The port it listens on.
    #[getter]
    fn port(&self) -> PyResult<u16> {
        Ok(self.listening()?.port())
    }

    /// What clients must send as their API key: the one given, else random for each router.
    #[getter]
    fn api_key(&self) -> PyResult<&str> {
        Ok(self.here()?.router.api_key())
    }

    /// ``"openai"`` or ``"anthropic"``; ``"unknown"`` while the control server has not told. With both, the first.
    #[getter]
    fn provider(&self) -> PyResult<&'static str> {
        Ok(self.here()?.router.provider())
    }

    /// Whether it listens. False after ``stop()`` and in a forked child.
    #[getter]
    fn is_running(&self) -> bool {
        self.here().is_ok_and(|running| running.router.is_running())
    }

    /// The budget in US dollars: the most that all calls together may cost. ``None``: no limit. It answers after ``stop()``, too.
    #[getter]
    fn budget(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let running = self.here()?;
        Ok(py.detach(|| running.router.budget()).map(NanoUsd::usd))
    }

    /// What was spent of the budget and the budget, in US dollars. ``None``: no limit. It answers after ``stop()``, too.
    #[getter]
    fn budget_status(&self, py: Python<'_>) -> PyResult<Option<(f64, f64)>> {
        let running = self.here()?;
        Ok(py.detach(|| running.router.budget_status()).map(|(spent, limit)| (spent.usd(), limit.usd())))
    }

    /// Set another budget, from now on: what was spent counts. Calls under way are not touched; calls that wait are looked at again.
    ///
    /// Args:
    ///     usd: The limit in US dollars; 0 allows nothing, ``None`` is no limit.
    ///
    /// Raises:
    ///     ValueError: It is negative, NaN, infinite or no number.
    fn set_budget(&self, py: Python<'_>, usd: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = amount("usd", usd)?;
        let running = self.here()?;
        py.detach(|| running.router.set_budget(limit));
        Ok(())
    }

    /// What the calls of this router have cost so far, in US dollars; also after ``stop()``.
    fn total_spent(&self, py: Python<'_>) -> PyResult<f64> {
        let running = self.here()?;
        Ok(py.detach(|| running.router.total_spent()).usd())
    }

    /// The dashboard's address, for a browser: it lets in whoever opens it first, once.
    ///
    /// Every look at this property makes another one, and the last 16 are good.
    #[getter]
    fn dashboard_url(&self) -> PyResult<String> {
        Ok(self.listening()?.dashboard_url())
    }

    /// ``http://127.0.0.1:{port}/metrics``: figures for Prometheus, which must send ``api_key`` as its bearer token.
    #[getter]
    fn metrics_url(&self) -> PyResult<String> {
        Ok(self.listening()?.metrics_url())
    }

    /// What happens in this router, as it happens: an iterator of dicts.
    ///
    /// Every event has ``type``, ``seq`` (counts from 1 without gaps) and ``at`` (Unix milliseconds); what else it has depends on
    /// ``type``: ``"llm_request_started"``, ``"llm_request_completed"``, ``"llm_request_failed"``,
    /// ``"budget_threshold_reached"``, ``"ledger_failed"``, ``"router_started"``, ``"router_stopped"``. More types may come: pass
    /// over those you don't know. Whoever takes events too slowly finds ``{"type": "gap", "missed": 12}`` where some were
    /// dropped; the router never waits for him. It ends with the router; after ``stop()`` it is empty.
    ///
    /// Other threads run while it waits, and may share it: each event goes to one of them. It is closed by ``close()``, at the
    /// end of a ``with``, or when it is collected. In ``asyncio`` programs ask in a thread:
    /// ``event = await asyncio.to_thread(next, events, None)``, with a ``timeout`` lest the program's end wait for an event.
    ///
    /// Args:
    ///     since: The ``seq`` of the last event seen: those behind it come first, of the last 4,096; 0: all of these. Default:
    ///         what happens from now on.
    ///     timeout: Iteration ends when nothing has happened for so many seconds; iterating again goes on where it ended.
    ///         0: what is there already. Default: no limit; Ctrl-C ends the waiting.
    ///
    /// Returns:
    ///     The iterator; its ``is_over`` says whether nothing will follow any more.
    ///
    /// Raises:
    ///     ValueError: ``since`` is no whole number from 0 on, or ``timeout`` no number of seconds.
    ///     RuntimeError: In a forked child, also from the iterator. Make a router of the child's own.
    ///
    /// Example:
    ///     >>> with LlmRouter(mock=True) as router:
    ///     ...     for event in router.events(since=0, timeout=0.5):
    ///     ...         print(event["type"])
    ///     router_started
    #[pyo3(signature = (since=None, timeout=None))]
    fn events(&self, since: Option<&Bound<'_, PyAny>>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Events> {
        let since = since.map(|since| number("since", since)).transpose()?;
        let timeout = timeout.map(|timeout| seconds("timeout", timeout)).transpose()?;
        let running = self.here()?;
        Ok(Events::new(running.router.events(since), timeout))
    }

    /// Call a function with every event, in a thread of its own; see ``events`` for what events are.
    ///
    /// ``stop()`` waits up to a second until the last ones have been dealt with. What the function raises is logged (logger
    /// ``iron_runtime``) and ends nothing.
    ///
    /// Args:
    ///     callback: What is called with each event, one at a time.
    ///     since: As of ``events``.
    ///
    /// Returns:
    ///     A handle: ``close()``, or the end of its ``with``, ends the calls. It need not be kept.
    ///
    /// Raises:
    ///     TypeError: ``callback`` can't be called.
    ///     ValueError: ``since`` is no whole number from 0 on.
    ///     RuntimeError: In a forked child.
    ///
    /// Example:
    ///     >>> seen = []
    ///     >>> with LlmRouter(mock=True) as router:
    ///     ...     listener = router.on_event(seen.append, since=0)
    ///     >>> [event["type"] for event in seen]
    ///     ['router_started', 'router_stopped']
    #[pyo3(signature = (callback, since=None))]
    fn on_event<'py>(
        &self,
        py: Python<'py>,
        callback: &Bound<'py, PyAny>,
        since: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !callback.is_callable() {
            return Err(PyTypeError::new_err("callback: must be something that can be called with an event"));
        }
        let events = self.events(since, None)?;
        py.import("iron_runtime._events")?.call_method1("listen", (self.key()?, events, callback))
    }

    /// The environment variables that point a program at this router.
    ///
    /// Args:
    ///     agent: The name of one of ``agents``: its calls are then known by its token, and count against its budget.
    ///
    /// Returns:
    ///     ``OPENAI_BASE_URL``, ``OPENAI_API_KEY``, ``ANTHROPIC_BASE_URL`` and ``ANTHROPIC_API_KEY``.
    ///
    /// Raises:
    ///     ValueError: There is no such agent.
    ///
    /// Example:
    ///     >>> import os, subprocess, sys
    ///     >>> with LlmRouter(mock=True) as router:
    ///     ...     program = [sys.executable, "-c", "import os; print(os.environ['OPENAI_BASE_URL'] != '')"]
    ///     ...     done = subprocess.run(program, env={**os.environ, **router.env()}, check=True)
    #[pyo3(signature = (agent=None))]
    fn env<'py>(&self, py: Python<'py>, agent: Option<&str>) -> PyResult<Bound<'py, PyDict>> {
        let router = self.listening()?;
        let unknown = |name| errors::config(format!("agent: this router has no agent {}; agents= names them", quoted(name)));
        let token = match agent {
            Some(name) => router.agent_token(name).ok_or_else(|| unknown(name))?,
            None => router.api_key(),
        };
        let variables = PyDict::new(py);
        variables.set_item("OPENAI_BASE_URL", router.base_url())?;
        variables.set_item("OPENAI_API_KEY", token)?;
        variables.set_item("ANTHROPIC_BASE_URL", router.anthropic_base_url())?;
        variables.set_item("ANTHROPIC_API_KEY", token)?;
        Ok(variables)
    }

    /// Figures since the router started; also after ``stop()``.
    ///
    /// Returns:
    ///     ``requests`` (calls that have ended), ``failed`` of them (no 2xx, or broken off), ``refused`` of them (by the router
    ///     itself), ``in_flight`` (calls under way); ``input_tokens`` (cached ones included), ``output_tokens`` and
    ///     ``cost_nano_usd``; ``spent_usd``, ``held_usd`` (for calls under way) and ``limit_usd`` (``None``: no limit) of the
    ///     budget; ``by_model``, ``by_provider``, ``by_agent`` and ``by_day`` (UTC): dicts of names to ``requests``, ``failed``,
    ///     ``refused``, ``input_tokens``, ``output_tokens`` and ``cost_nano_usd``.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let running = self.here()?;
        let stats = py.detach(|| running.router.stats().to_json());
        Ok(python_of(py, &stats)?.cast_into::<PyDict>()?)
    }

    /// Stop: take no more calls, wait up to 5 seconds for those under way, cut the rest. Twice is fine.
    ///
    /// Ctrl-C ends the waiting. A router that is collected without ``stop()``, or still runs when the interpreter ends, cuts
    /// what is under way at once.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, None)
    }

    fn __enter__(this: Py<Self>) -> PyResult<Py<Self>> {
        this.get().listening()?;
        Ok(this)
    }

    /// Stop and log one line: requests, tokens, cost. After an exception calls under way are cut at once.
    #[pyo3(signature = (exc_type=None, exc_value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: Option<Bound<'_, PyAny>>,
        exc_value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = (exc_value, traceback);
        let Ok(running) = self.here() else { return Ok(()) };
        // Who leaves by an exception reads no reply to its end.
        self.end(py, exc_type.map(|_| Duration::ZERO))?;
        let line = py.detach(|| bill::line(&running.router.stats()));
        // At the interpreter's very end there is nobody left to tell.
        py.import("iron_runtime._host").map_or(Ok(()), |host| host.call_method1("say", (line,)).map(drop))
    }

    fn __repr__(&self) -> String {
        match self.here() {
            Ok(running) if running.router.is_running() => {
                let router = &running.router;
                format!("LlmRouter(base_url='{}', provider='{}', api_key='***')", router.base_url(), router.provider())
            }
            Ok(_) => "LlmRouter(stopped)".into(),
            Err(_) => "LlmRouter(not running here)".into(),
        }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a router can't be pickled or copied: it lives in the process that made it; hand over base_url and api_key (or env()) instead",
        ))
    }
}

impl LlmRouter {
    /// The router, in its own process.
    fn here(&self) -> PyResult<&Arc<Running>> {
        let running = self.running.as_ref().ok_or_else(errors::stopped)?;
        if running.pid == std::process::id() { Ok(running) } else { Err(errors::not_here(running.pid)) }
    }

    /// The router, while it has an address.
    fn listening(&self) -> PyResult<&crate::LlmRouter> {
        let router = &self.here()?.router;
        if router.is_running() { Ok(router) } else { Err(errors::stopped()) }
    }

    /// By what the Python side tells routers apart, as long as they exist.
    fn key(&self) -> PyResult<usize> {
        Ok(Arc::as_ptr(self.here()?).addr())
    }

    /// Waits, not for ever, until callbacks have been told the last events. Nobody has any where nobody asked for them.
    fn wait_for_listeners(py: Python<'_>, key: usize) -> PyResult<()> {
        let module = || py.import("sys")?.getattr("modules")?.get_item("iron_runtime._events");
        let Some(events) = module().ok().filter(|module| !module.is_none()) else { return Ok(()) };
        events.call_method1("wait_for", (key,)).map(drop)
    }

    /// Stops, in its own process; in another one there is nothing to stop.
    fn end(&self, py: Python<'_>, drain: Option<Duration>) -> PyResult<()> {
        let Ok(running) = self.here() else { return Ok(()) };
        if running.router.is_running() {
            let stopping = Arc::clone(running);
            interruptible(py, move || stopping.stop(drain))?;
            py.detach(logs::flush);
            Self::wait_for_listeners(py, self.key()?)?;
        }
        Ok(())
    }
}

impl Drop for LlmRouter {
    /// Collected without `stop()`: stops at once, since a collector must not wait. In a forked child nothing is touched.
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        if running.pid != std::process::id() {
            std::mem::forget(running);
        } else if running.router.is_running() {
            Python::attach(|py| py.detach(|| stop_at_once(vec![running])));
        }
    }
}

/// Once in each process: logs, exit and forks are taken care of.
fn prepare(py: Python<'_>) -> PyResult<()> {
    let host = py.import("iron_runtime._host")?;
    logs::install();
    if process::here().is_some_and(process::Process::open_log) {
        host.call_method0("start_log")?;
    }
    Ok(())
}

/// JSON as Python's own objects.
fn python_of<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(value) => Ok(value.into_pyobject(py)?.to_owned().into_any()),
        Value::Number(number) => match number.as_u64() {
            Some(number) => Ok(number.into_pyobject(py)?.into_any()),
            None => Ok(number.as_f64().into_pyobject(py)?.into_any()),
        },
        Value::String(text) => Ok(text.into_pyobject(py)?.into_any()),
        Value::Array(items) => {
            let items = items.iter().map(|item| python_of(py, item)).collect::<PyResult<Vec<_>>>()?;
            Ok(items.into_pyobject(py)?.into_any())
        }
        Value::Object(fields) => {
            let dict = PyDict::new(py);
            for (name, value) in fields {
                dict.set_item(name, python_of(py, value)?)?;
            }
            Ok(dict.into_any())
        }
    }
}

fn start(plan: Plan) -> Result<Running, crate::Error> {
    let (router, mock) = plan.start()?;
    Ok(Running { pid: std::process::id(), router, mock })
}

/// Does `work` on a thread of its own and waits for it without the GIL. Ctrl-C ends the waiting; the work is left to itself.
fn interruptible<T: Send + 'static>(py: Python<'_>, work: impl FnOnce() -> T + Send + 'static) -> PyResult<T> {
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let work = move || drop(sender.send(work()));
    std::thread::Builder::new().name("iron-wait".into()).spawn(work)?;
    loop {
        let (back, result) = py.detach(move || {
            let result = receiver.recv_timeout(SIGNALS);
            (receiver, result)
        });
        receiver = back;
        match result {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Err(errors::internal("the router broke down; this is a fault of ours")),
        }
    }
}
