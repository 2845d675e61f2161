"""The whole package once over with nothing but the standard library, for interpreters without the SDKs.

Usage:
    python smoke.py
"""

import json
import logging
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import iron_runtime
from iron_runtime import IronError, LlmRouter

HELLO = [{"role": "user", "content": "Hello!"}]


def call(router, stream=False):
    """One chat completion; the body of the reply."""
    body = json.dumps({"model": "gpt-4o-mini", "messages": HELLO, "stream": stream}).encode()
    fields = {"authorization": "Bearer " + router.api_key, "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(router.base_url + "/chat/completions", body, fields), timeout=60) as reply:
        return reply.read()


def calls():
    """Whole, streamed, from many threads, and what is counted."""
    with LlmRouter(mock=True) as router:
        assert json.loads(call(router))["choices"]
        assert call(router, stream=True).endswith(b"data: [DONE]\n\n")
        threads = [threading.Thread(target=call, args=(router,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stats = router.stats()
    assert [stats[name] for name in ("requests", "failed", "refused", "in_flight")] == [18, 0, 0, 0]
    assert router.total_spent() == stats["spent_usd"] == stats["cost_nano_usd"] / 1e9 > 0


def budgets():
    """A budget of nothing refuses; what was spent is still told after the end."""
    with LlmRouter(mock=True, budget=1) as router:
        call(router)
        router.set_budget(0)
        try:
            call(router)
            raise SystemExit("not refused")
        except urllib.error.HTTPError as error:
            assert error.code == 402
            error.close()
    spent, limit = router.budget_status
    assert 0 < spent == router.total_spent() and limit == router.budget == 0


def refusals():
    """Wrong settings, wrong tokens, use after stop."""
    for wrong in ({}, {"prot": 1, "mock": True}, {"provider_key": "x", "cache_ttl_seconds": -1}, {"mock": True, "port": 1 << 20}):
        try:
            LlmRouter(**wrong)
            raise SystemExit(f"accepted: {wrong!r}")
        except (ValueError, TypeError) as error:
            assert isinstance(error, IronError)
    router = LlmRouter(mock=True)
    try:
        urllib.request.urlopen(router.base_url + "/models", timeout=60)
        raise SystemExit("let in without a token")
    except urllib.error.HTTPError as error:
        assert error.code == 401
        error.close()
    router.stop()
    try:
        raise SystemExit(router.base_url)
    except RuntimeError as error:
        assert str(error) == "Router is stopped"


def logs():
    """Lines come through `logging`, in order, and stop with their level."""

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    lines = []
    log = logging.getLogger("iron_runtime")
    log.addHandler(Keep())
    log.setLevel(logging.INFO)
    with LlmRouter(mock=True) as router:
        call(router)
    assert lines[0].startswith("router_started") and lines[-1].startswith("1 request, "), lines
    log.setLevel(logging.ERROR)
    del lines[:]
    with LlmRouter(mock=True) as router:
        call(router)
    assert not lines, lines


def events():
    """What happens, taken and told."""
    told = []
    with LlmRouter(mock=True) as router:
        router.on_event(told.append, since=0)
        taken = router.events(since=0)
        call(router)
        assert next(taken)["type"] == "router_started"
    types = [event["type"] for event in told]
    assert types == ["router_started", "llm_request_started", "llm_request_completed", "router_stopped"], types
    assert told[1:] == list(taken)


def forks():
    """A child has a router of its own and none of its parent's."""
    if not hasattr(os, "fork"):
        return
    with LlmRouter(mock=True) as router:
        call(router)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                try:
                    router.stats()
                except RuntimeError as error:
                    assert "not running here" in str(error)
                    with LlmRouter(mock=True) as mine:
                        call(mine)
                    code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        call(router)


def command():
    """The command in the same package."""
    for arguments in (["--version"], ["demo", "--once"]):
        subprocess.run([sys.executable, "-m", "iron_runtime", *arguments], check=True, stdout=subprocess.DEVNULL, timeout=120)


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "ANTHROPIC_", "IC_", "IRON_"))]:
        del os.environ[name]
    for part in (calls, budgets, refusals, logs, events, forks, command):
        part()
    # Left running, with a stream that nobody reads to its end and a thread that waits for events: the interpreter must end all the same.
    left = LlmRouter(mock=True)
    threading.Thread(target=list, args=(left.events(),), daemon=True).start()
    call(left)
    print("iron_runtime", iron_runtime.__version__, "on Python", sys.version.split()[0], "is well")
