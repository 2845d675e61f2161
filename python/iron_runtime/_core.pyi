"""The part of the package that is written in Rust."""

from os import PathLike
from types import TracebackType
from typing import Any, Callable, Literal, Mapping, NoReturn, Sequence, final

from iron_runtime._events import Listener

__all__ = [
    "Events",
    "LlmRouter",
    "__version__",
    "_end",
    "_next_log_lines",
    "_run_command",
    "_set_log_level",
    "_start_thread",
    "_take_inherited_sockets",
]

__version__: str

@final
class LlmRouter:
    """A local router for LLM calls: it listens on this machine, holds the providers' keys, forwards and streams.

    OpenAI's client and Anthropic's may both ask for models of both providers: the model's name decides where a call goes, and it is
    translated where client and provider speak different protocols. What could not be carried is named in ``x-iron-lossy``.

    When the constructor returns, the port is bound and listening. Any number of threads, tasks and processes may use the
    address; the object itself belongs to the process that made it.

    Where the keys come from, one of:

    - *Server mode*, ``api_key`` and ``server_url``: the keys are fetched from a control server.
    - *Direct mode*, ``provider_key`` or ``provider_keys``: they are given.
    - ``mock=True``: a mock provider inside this process answers; no key, no network.
    - None of these: ``IC_TOKEN`` with ``IC_SERVER`` from the environment, else ``OPENAI_API_KEY`` and ``ANTHROPIC_API_KEY``.

    ``OPENAI_BASE_URL`` and ``ANTHROPIC_BASE_URL`` are never read as the providers' addresses: they point at routers.

    Args:
        api_key: In server mode the IC token, by which the control server knows this router; otherwise what clients must send.
            Like every key it may be ``"env:NAME"`` or ``"file:PATH"``, read without ever becoming a Python string.
        server_url: The address of the control server, ``http://…`` or ``https://…``.
        cache_ttl_seconds: How long a key from the control server is used before it is fetched again, in seconds.
        provider_key: One provider's key; ``sk-ant-…`` is Anthropic's, anything else OpenAI's.
        provider_keys: Keys by provider: ``{"openai": …, "anthropic": …}``.
        base_urls: Other addresses of the providers: ``{"openai": …, "anthropic": …}``, with or without ``/v1``.
        mock: Use a mock provider inside this process.
        agents: Clients with a token and perhaps a budget of their own: ``{"researcher": {"budget": 0.5}, "writer": {"token": "…"}}``.
            Without ``token`` it is random: ``env("researcher")`` has it.
        budget: The most that all calls together may cost, in US dollars; 0 allows none. Default: no limit.
        on_budget: A call whose worst case does not fit gets a lower output limit (``"clamp"``, the default), or ``"refuse"``.
        budget_wait: Seconds a call waits for money that only other calls under way hold. Default 5.
        budget_window: Spending that counts: this router's (``"run"``, the default), or with earlier rows of the ledger ``"day"``,
            ``"month"`` (UTC) or ``"total"``.
        unknown_model: Under a budget, calls to a model without a known price: ``"refuse"`` (the default) or ``"allow"``.
        unmetered: Under a budget, calls whose worst case is unbounded: ``"refuse"`` (the default) or ``"allow"``.
        usage: ``"inject"`` (the default) asks streams to tell their usage, ``"observe"`` touches nothing.
        thresholds: Percentages of the budget that are logged, once each, when spending reaches them. Default ``[50, 80, 95, 100]``.
        prices: A file (JSON) of prices that override or add to the bundled ones.
        state: The ledger: a file with a row for every call. Default: the last 10,000 are kept in memory.
        on_ledger_error: While the ledger can't keep rows, calls go on (``"continue"``, the default), or are refused (``"stop"``).
        strict_translation: Refuse a request of which the other provider's protocol can't carry everything, instead of naming in the
            reply's ``x-iron-lossy`` header what was left out. Default False.
        capture: Keep the bodies of calls in memory for the dashboard, the first 64 KiB of each, of the last 200 calls; never in the
            ledger or the log. Default False.
        host: The address to listen on. Default ``"127.0.0.1"``.
        port: The port to listen on; 0 (the default) picks a free one.
        allow_host: Host names beside the loopback ones by which clients may reach the router.
        client_token: What clients must send, if it is not ``api_key``.
        token_file: A file with the client token; where it is missing or empty, the token is written there (mode 0600).
        openai_key: As ``provider_keys["openai"]``.
        anthropic_key: As ``provider_keys["anthropic"]``.
        openai_base_url: As ``base_urls["openai"]``.
        anthropic_base_url: As ``base_urls["anthropic"]``.
        config: A config file (TOML) with these names, ``[upstreams.NAME]`` and ``[agents.NAME]`` tables.
        keepalive_seconds: A stream silent for this long gets an SSE comment; 0 turns that off. Default 15.
        connect_timeout: Seconds to connect to a provider, TLS included. Default 10.
        first_byte_timeout: Seconds from the end of a request to the head of its reply. Default 600.
        idle_timeout: Seconds of silence inside a provider's reply. Default 300.
        header_timeout: Seconds a client may take to send a request head. Default 10.
        body_timeout: Seconds of silence inside a client's request body. Default 30.
        write_timeout: Seconds a client may take no bytes of its reply. Default 60.
        max_body_bytes: The largest JSON request body, in bytes or as ``"32MiB"`` (the default).
        max_upload_bytes: The largest upload, in bytes or as ``"1GiB"`` (the default).
        max_connections: Client connections at once. Default 1024.

    Raises:
        ValueError: A setting is missing, malformed or contradicts another one; the message says which and what is allowed.
            A keyword that does not exist is a ``TypeError`` as well.
        OSError: The port can't be listened on (``errno`` says why), or a file named in a setting can't be read.

    A control server that can't be reached is no error here: ``provider`` is ``"unknown"`` and calls are answered 503 until it
    can be. In ``asyncio`` programs direct mode and ``mock=True`` are quick enough to be called as they are; server mode asks the
    server first, so put it in a thread: ``router = await asyncio.to_thread(LlmRouter, token, url)``.

    Example:
        >>> from iron_runtime import LlmRouter
        >>> with LlmRouter(mock=True) as router:
        ...     router.provider
        'openai'
    """

    def __new__(
        cls,
        api_key: str | None = None,
        server_url: str | None = None,
        cache_ttl_seconds: float | None = 300,
        *,
        provider_key: str | None = None,
        provider_keys: Mapping[str, str] | None = None,
        base_urls: Mapping[str, str] | None = None,
        mock: bool = False,
        agents: Mapping[str, Mapping[str, float | str | None]] | None = None,
        budget: float | None = None,
        on_budget: Literal["clamp", "refuse"] | None = None,
        budget_wait: float | None = None,
        budget_window: Literal["run", "day", "month", "total"] | None = None,
        unknown_model: Literal["refuse", "allow"] | None = None,
        unmetered: Literal["refuse", "allow"] | None = None,
        usage: Literal["inject", "observe"] | None = None,
        thresholds: Sequence[int] | str | None = None,
        prices: str | PathLike[str] | None = None,
        state: str | PathLike[str] | None = None,
        on_ledger_error: Literal["continue", "stop"] | None = None,
        strict_translation: bool | None = None,
        capture: bool | None = None,
        host: str | None = None,
        port: int | None = None,
        allow_host: str | Sequence[str] | None = None,
        client_token: str | None = None,
        token_file: str | PathLike[str] | None = None,
        openai_key: str | None = None,
        anthropic_key: str | None = None,
        openai_base_url: str | None = None,
        anthropic_base_url: str | None = None,
        config: str | PathLike[str] | None = None,
        keepalive_seconds: float | None = None,
        connect_timeout: float | None = None,
        first_byte_timeout: float | None = None,
        idle_timeout: float | None = None,
        header_timeout: float | None = None,
        body_timeout: float | None = None,
        write_timeout: float | None = None,
        max_body_bytes: int | str | None = None,
        max_upload_bytes: int | str | None = None,
        max_connections: int | None = None,
    ) -> LlmRouter: ...
    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:{port}/v1``: what OpenAI's clients take (Anthropic's work with it too).

        Raises:
            RuntimeError: The router is stopped, or belongs to another process. So do all that tell an address.
        """

    @property
    def openai_base_url(self) -> str:
        """The same as ``base_url``."""

    @property
    def anthropic_base_url(self) -> str:
        """``http://127.0.0.1:{port}``: what Anthropic's clients take."""

    @property
    def api_key(self) -> str:
        """What clients must send as their API key: the one given, else random for each router."""

    @property
    def port(self) -> int:
        """The port it listens on."""

    @property
    def provider(self) -> str:
        """``"openai"`` or ``"anthropic"``; ``"unknown"`` while the control server has not told. With both, the first."""

    @property
    def is_running(self) -> bool:
        """Whether it listens. False after ``stop()`` and in a forked child."""

    @property
    def budget(self) -> float | None:
        """The budget in US dollars: the most that all calls together may cost. ``None``: no limit. It answers after ``stop()``, too."""

    @property
    def budget_status(self) -> tuple[float, float] | None:
        """What was spent of the budget and the budget, in US dollars. ``None``: no limit. It answers after ``stop()``, too."""

    def set_budget(self, usd: float | None) -> None:
        """Set another budget, from now on: what was spent counts. Calls under way are not touched; calls that wait are looked at again.

        Args:
            usd: The limit in US dollars; 0 allows nothing, ``None`` is no limit.

        Raises:
            ValueError: It is negative, NaN, infinite or no number.
        """

    def total_spent(self) -> float:
        """What the calls of this router have cost so far, in US dollars; also after ``stop()``."""

    @property
    def dashboard_url(self) -> str:
        """The dashboard's address, for a browser: it lets in whoever opens it first, once.

        Every look at this property makes another one, and the last 16 are good.
        """

    @property
    def metrics_url(self) -> str:
        """``http://127.0.0.1:{port}/metrics``: figures for Prometheus, which must send ``api_key`` as its bearer token."""

    def events(self, since: int | None = None, timeout: float | None = None) -> Events:
        """What happens in this router, as it happens: an iterator of dicts.

        Every event has ``type``, ``seq`` (counts from 1 without gaps) and ``at`` (Unix milliseconds); what else it has depends on
        ``type``: ``"llm_request_started"``, ``"llm_request_completed"``, ``"llm_request_failed"``,
        ``"budget_threshold_reached"``, ``"ledger_failed"``, ``"router_started"``, ``"router_stopped"``. More types may come: pass
        over those you don't know. Whoever takes events too slowly finds ``{"type": "gap", "missed": 12}`` where some were
        dropped; the router never waits for him. It ends with the router; after ``stop()`` it is empty.

        Other threads run while it waits, and may share it: each event goes to one of them. It is closed by ``close()``, at the
        end of a ``with``, or when it is collected. In ``asyncio`` programs ask in a thread:
        ``event = await asyncio.to_thread(next, events, None)``, with a ``timeout`` lest the program's end wait for an event.

        Args:
            since: The ``seq`` of the last event seen: those behind it come first, of the last 4,096; 0: all of these. Default:
                what happens from now on.
            timeout: Iteration ends when nothing has happened for so many seconds; iterating again goes on where it ended.
                0: what is there already. Default: no limit; Ctrl-C ends the waiting.

        Returns:
            The iterator; its ``is_over`` says whether nothing will follow any more.

        Raises:
            ValueError: ``since`` is no whole number from 0 on, or ``timeout`` no number of seconds.
            RuntimeError: In a forked child, also from the iterator. Make a router of the child's own.

        Example:
            >>> with LlmRouter(mock=True) as router:
            ...     for event in router.events(since=0, timeout=0.5):
            ...         print(event["type"])
            router_started
        """

    def on_event(self, callback: Callable[[dict[str, Any]], object], since: int | None = None) -> Listener:
        """Call a function with every event, in a thread of its own; see ``events`` for what events are.

        ``stop()`` waits up to a second until the last ones have been dealt with. What the function raises is logged (logger
        ``iron_runtime``) and ends nothing.

        Args:
            callback: What is called with each event, one at a time.
            since: As of ``events``.

        Returns:
            A handle: ``close()``, or the end of its ``with``, ends the calls. It need not be kept.

        Raises:
            TypeError: ``callback`` can't be called.
            ValueError: ``since`` is no whole number from 0 on.
            RuntimeError: In a forked child.

        Example:
            >>> seen = []
            >>> with LlmRouter(mock=True) as router:
            ...     listener = router.on_event(seen.append, since=0)
            >>> [event["type"] for event in seen]
            ['router_started', 'router_stopped']
        """

    def env(self, agent: str | None = None) -> dict[str, str]:
        """The environment variables that point a program at this router.

        Args:
            agent: The name of one of ``agents``: its calls are then known by its token, and count against its budget.

        Returns:
            ``OPENAI_BASE_URL``, ``OPENAI_API_KEY``, ``ANTHROPIC_BASE_URL`` and ``ANTHROPIC_API_KEY``.

        Raises:
            ValueError: There is no such agent.

        Example:
            >>> import os, subprocess, sys
            >>> with LlmRouter(mock=True) as router:
            ...     program = [sys.executable, "-c", "import os; print(os.environ['OPENAI_BASE_URL'] != '')"]
            ...     done = subprocess.run(program, env={**os.environ, **router.env()}, check=True)
        """

    def stats(self) -> dict[str, Any]:
        """Figures since the router started; also after ``stop()``.

        Returns:
            ``requests`` (calls that have ended), ``failed`` of them (no 2xx, or broken off), ``refused`` of them (by the router
            itself), ``in_flight`` (calls under way); ``input_tokens`` (cached ones included), ``output_tokens`` and
            ``cost_nano_usd``; ``spent_usd``, ``held_usd`` (for calls under way) and ``limit_usd`` (``None``: no limit) of the
            budget; ``by_model``, ``by_provider``, ``by_agent`` and ``by_day`` (UTC): dicts of names to ``requests``, ``failed``,
            ``refused``, ``input_tokens``, ``output_tokens`` and ``cost_nano_usd``.
        """

    def stop(self) -> None:
        """Stop: take no more calls, wait up to 5 seconds for those under way, cut the rest. Twice is fine.

        Ctrl-C ends the waiting. A router that is collected without ``stop()``, or still runs when the interpreter ends, cuts
        what is under way at once.
        """

    def __enter__(self) -> LlmRouter: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Stop and log one line: requests, tokens, cost. After an exception calls under way are cut at once."""

    def __reduce__(self) -> NoReturn: ...

@final
class Events:
    """What happens in a router, as dicts: what ``LlmRouter.events`` returns."""

    @property
    def is_over(self) -> bool:
        """Whether nothing will follow any more: it was closed, or the router has stopped and everything was taken."""

    def close(self) -> None:
        """End it, also under a thread that waits. Twice is fine."""

    def __iter__(self) -> Events: ...
    def __next__(self) -> dict[str, Any]: ...
    def __enter__(self) -> Events: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...

def _run_command(arguments: Sequence[str | bytes]) -> int: ...
def _next_log_lines() -> list[tuple[int, float, str, int, str]] | None: ...
def _start_thread(work: Callable[[], object]) -> None: ...
def _set_log_level(level: int) -> None: ...
def _take_inherited_sockets() -> list[int]: ...
def _end() -> None: ...
