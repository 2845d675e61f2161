"""Money, through the real clients: budgets that hold, bills that are right, agents, and what is said when it ends."""

import concurrent.futures
import logging
import os
import urllib.request
from pathlib import Path
from typing import Any, Dict, List

import pytest
from conftest import MockProvider, direct

from iron_runtime import IronError, LlmRouter

openai = pytest.importorskip("openai")

MODEL = "gpt-4o-mini"
HELLO: List[Any] = [{"role": "user", "content": "Hello!"}]
FIGURES = {"requests", "failed", "refused", "input_tokens", "output_tokens", "cost_nano_usd"}


def client(router: LlmRouter, token: str = "") -> Any:
    return openai.OpenAI(base_url=router.base_url, api_key=token or router.api_key, max_retries=0)


def chat(router: LlmRouter, token: str = "", **more: Any) -> Any:
    with client(router, token) as to:
        reply = to.chat.completions.create(**{"model": MODEL, "messages": HELLO, **more})
        return list(reply) if more.get("stream") else reply


def billed(mock: MockProvider) -> int:
    """What the mock says it is owed so far, by its own prices, in nano-USD."""
    return int(str(mock.stats()["nano_usd"]))


def refused(router: LlmRouter, token: str = "", **more: Any) -> Any:
    with pytest.raises(openai.APIStatusError) as raised:
        chat(router, token, **more)
    assert raised.value.status_code == 402
    return raised.value


def test_the_program_of_the_contract(mock: MockProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real-openai")
    urls = {"openai": mock.url}
    with LlmRouter(provider_key=os.environ["OPENAI_API_KEY"], budget=10.0, base_urls=urls) as router:
        assert router.budget == 10.0 and router.budget_status == (0.0, 10.0)
        to = openai.OpenAI(base_url=router.base_url, api_key=router.api_key)
        to.chat.completions.create(model="gpt-5-nano", max_completion_tokens=50, messages=[{"role": "user", "content": "Hi"}])
        spent, limit = router.budget_status
        assert 0 < spent < limit and router.total_spent() == spent
        router.set_budget(0)
        try:
            to.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}])
            raise SystemExit("must be refused")
        except openai.APIStatusError as e:
            assert e.status_code == 402 and "Iron Cage budget limit exceeded" in str(e)
        to.close()
    with LlmRouter(provider_key=os.environ["OPENAI_API_KEY"], base_urls=urls) as router:
        assert router.budget is None and router.budget_status is None


@pytest.mark.parametrize("budget", [10, 10.0, 0, 0.0, 1e-6, None])
def test_amounts_that_are_taken(budget: Any) -> None:
    with LlmRouter(mock=True, budget=budget) as router:
        assert router.budget == budget and router.budget_status == (None if budget is None else (0.0, budget))
        router.set_budget(3)
        assert router.budget == 3.0
        router.set_budget(None)
        assert router.budget is None and router.budget_status is None


@pytest.mark.parametrize("budget", [-1, -0.01, float("nan"), float("inf"), float("-inf"), 1e30, True, "10", b"10", [1]], ids=repr)
def test_amounts_that_are_not(budget: Any) -> None:
    with pytest.raises(ValueError, match="budget"):
        LlmRouter(mock=True, budget=budget)
    with LlmRouter(mock=True, budget=1.0) as router:
        with pytest.raises(ValueError, match="usd") as refusal:
            router.set_budget(budget)
        assert isinstance(refusal.value, IronError) and router.budget == 1.0


def test_a_budget_of_nothing_refuses_in_both_protocols() -> None:
    anthropic = pytest.importorskip("anthropic")
    with LlmRouter(mock=True, budget=0) as router:
        error = refused(router)
        assert error.code == "budget_exceeded" and error.type == "iron_cage_budget_exceeded"
        assert error.response.headers["x-should-retry"] == "false"
        assert "Iron Cage budget limit exceeded. Spent: $0.00, Reserved: $" in str(error) and "Limit: $0.00" in str(error)
        with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key) as to:
            with pytest.raises(anthropic.APIStatusError) as raised:
                to.messages.create(model="claude-3-5-haiku-latest", max_tokens=100, messages=HELLO)
            assert raised.value.status_code == 402 and "Iron Cage budget limit exceeded" in str(raised.value)
            assert raised.value.body["type"] == "error"  # type: ignore[index]
        with client(router) as to:
            assert list(to.models.list())
        assert router.total_spent() == 0.0 and router.stats()["refused"] == 2


def test_the_bill_is_the_provider_s_own(mock: MockProvider) -> None:
    before = billed(mock)
    with direct(mock) as router, client(router) as to:
        to.chat.completions.create(model=MODEL, messages=HELLO)
        list(to.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
        list(to.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}))
        to.responses.create(model=MODEL, input="Hello!")
        list(to.responses.create(model="gpt-4.1", input="Hello!", stream=True))
        to.embeddings.create(model="text-embedding-3-small", input="Hello!")
    stats = router.stats()
    assert stats["requests"] == 6 and stats["failed"] == 0
    assert stats["cost_nano_usd"] == billed(mock) - before > 0
    assert set(stats["by_model"]) == {MODEL, "gpt-4.1", "text-embedding-3-small"}


def test_the_bill_of_the_other_protocol(mock: MockProvider) -> None:
    anthropic = pytest.importorskip("anthropic")
    before = billed(mock)
    with direct(mock) as router, anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key) as to:
        asked = {"model": "claude-sonnet-4-20250514", "max_tokens": 100, "messages": HELLO}
        to.messages.create(**asked)
        with to.messages.stream(**asked) as stream:
            assert stream.get_final_text()
    assert router.stats()["cost_nano_usd"] == billed(mock) - before > 0
    assert router.stats()["by_provider"]["anthropic"]["requests"] == 2


def test_streams_keep_their_shape_when_usage_is_asked_for_on_the_way(mock: MockProvider) -> None:
    with direct(mock) as router, client(router) as to:
        chunks = list(to.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        assert router.total_spent() > 0


def test_many_threads_never_pass_the_limit(mock: MockProvider) -> None:
    before, limit = billed(mock), 0.0005

    def spend(nth: int) -> int:
        try:
            assert chat(router, stream=nth % 2 == 0, max_tokens=40)
            return 0
        except openai.APIStatusError as error:
            assert error.status_code == 402, error
            return 1

    with direct(mock, budget=limit, budget_wait=0.2) as router:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            refusals = 0
            while refusals == 0 and router.stats()["requests"] < 5000:
                refusals = sum(pool.map(spend, range(64)))
        assert refusals > 0
        spent, of = router.budget_status or (0.0, 0.0)
        assert 0 < spent <= of == limit
    assert router.stats()["held_usd"] == 0.0
    assert router.stats()["cost_nano_usd"] == billed(mock) - before <= limit * 1e9


def test_a_raised_budget_lets_calls_through_again() -> None:
    with LlmRouter(mock=True, budget=0) as router:
        refused(router)
        router.set_budget(1.0)
        assert chat(router).choices
        router.set_budget(router.total_spent())
        refused(router)
        router.set_budget(None)
        assert chat(router).choices


def test_clamped_calls_say_so() -> None:
    # 1 cent: far less than the longest answer of this model costs.
    with LlmRouter(mock=True, budget=0.01) as router, client(router) as to:
        raw = to.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        assert raw.headers["x-iron-clamped"].startswith("max_completion_tokens=") and raw.parse().choices
        raw = to.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, max_tokens=10_000)
        assert raw.headers["x-iron-clamped"].startswith("max_tokens=")
    with LlmRouter(mock=True, budget=0.01, on_budget="refuse") as router:
        assert refused(router, model="gpt-4o", max_tokens=10_000).code == "budget_exceeded"
        assert chat(router, max_tokens=100).choices


def test_unknown_models(tmp_path: Path) -> None:
    echo = "mock-echo"
    with LlmRouter(mock=True, budget=1) as router:
        error = refused(router, model=echo)
        assert error.code == "unknown_model_price" and echo in str(error)
    with LlmRouter(mock=True, budget=1, unknown_model="allow") as router:
        assert chat(router, model=echo)
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"mock-echo": {"provider": "openai", "input": 1.0, "output": 2.0, "max_output_tokens": 1000}}}')
    with LlmRouter(mock=True, budget=1, prices=prices) as router:
        assert chat(router, model=echo) and router.budget == 1.0
    with pytest.raises(ValueError, match=r"bad\.json"):
        (tmp_path / "bad.json").write_text("{}x")
        LlmRouter(mock=True, prices=tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError):
        LlmRouter(mock=True, prices=tmp_path / "none.json")


def test_agents(mock: MockProvider) -> None:
    agents: Dict[str, Dict[str, Any]] = {"researcher": {"budget": 0.5}, "writer": {"budget": 0, "token": "writer-token"}, "idle": {}}
    with direct(mock, budget=1.0, agents=agents) as router:
        researcher, writer = router.env("researcher")["OPENAI_API_KEY"], router.env(agent="writer")["ANTHROPIC_API_KEY"]
        assert writer == "writer-token" and len({researcher, writer, router.api_key, router.env("idle")["OPENAI_API_KEY"]}) == 4
        assert router.env("writer")["OPENAI_BASE_URL"] == router.base_url
        with pytest.raises(ValueError, match="nobody"):
            router.env("nobody")
        assert chat(router, researcher).choices
        assert refused(router, writer).code == "budget_exceeded"
        # A header is a label; it never lends another agent's limit.
        refused(router, writer, extra_headers={"x-iron-agent": "researcher"})
        assert chat(router, extra_headers={"X-Agent-Name": "guest"}).choices
    by_agent = router.stats()["by_agent"]
    assert by_agent["researcher"]["requests"] == 1 and by_agent["researcher"]["cost_nano_usd"] > 0
    assert by_agent["writer"]["refused"] == 2 and by_agent["guest"]["requests"] == 1


def test_stats() -> None:
    with LlmRouter(mock=True, budget=1.0) as router:
        assert chat(router).choices
    stats = router.stats()
    assert set(stats) == FIGURES | {"in_flight", "spent_usd", "held_usd", "limit_usd", "by_model", "by_provider", "by_agent", "by_day"}
    for name in ("by_model", "by_provider", "by_agent", "by_day"):
        assert stats[name] and all(set(figures) == FIGURES for figures in stats[name].values()), name
        assert sum(figures["cost_nano_usd"] for figures in stats[name].values()) == stats["cost_nano_usd"], name
    assert stats["by_model"][MODEL]["requests"] == 1 and stats["by_provider"]["openai"]["output_tokens"] == stats["output_tokens"] > 0
    assert stats["spent_usd"] == router.total_spent() and stats["limit_usd"] == 1.0 and stats["held_usd"] == 0.0


def test_money_answers_after_the_end() -> None:
    router = LlmRouter(mock=True, budget=2)
    assert chat(router).choices
    router.stop()
    spent = router.total_spent()
    assert spent > 0 and router.budget == 2.0 and router.budget_status == (spent, 2.0)
    assert router.stats()["spent_usd"] == spent


def test_the_line_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "iron_runtime"):
        with LlmRouter(mock=True, budget=1) as router:
            chat(router)
            router.set_budget(0)
            refused(router)
    stats, line = router.stats(), caplog.records[-1].getMessage()
    assert line.startswith("2 requests, 1 refused, ") and f"{stats['input_tokens']} tokens in, {stats['output_tokens']} out, $0.0" in line


def test_thresholds_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def told() -> List[str]:
        lines = [record.getMessage() for record in caplog.records]
        return [line.split("percent=")[1].split()[0] for line in lines if line.startswith("budget_threshold_reached")]

    with caplog.at_level(logging.INFO, "iron_runtime"):
        with LlmRouter(mock=True, budget=1, thresholds=[50, 80]) as router:
            chat(router)
            spent = router.total_spent()
            router.set_budget(spent * 1.5)
            router.set_budget(spent * 1.5)
            router.set_budget(spent * 1.1)
            # Raised, and passed again.
            router.set_budget(1)
            router.set_budget(spent * 1.5)
        assert told() == ["50", "80", "50"]


def test_a_ledger_outlives_its_router(mock: MockProvider, tmp_path: Path) -> None:
    state = tmp_path / "ledger.db"
    with direct(mock, state=state, budget=1, budget_window="total") as router:
        chat(router)
        spent = router.total_spent()
    assert state.exists() and state.stat().st_mode & 0o077 == 0
    with direct(mock, state=state, budget=1, budget_window="total") as router:
        assert router.budget_status == (spent, 1.0)
    with direct(mock, state="none") as router:
        assert router.total_spent() == 0.0
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("ledger.db")] == []


def test_the_page_of_figures_is_the_same() -> None:
    with LlmRouter(mock=True) as router:
        chat(router)
        asked = urllib.request.Request(router.anthropic_base_url + "/stats", headers={"authorization": "Bearer " + router.api_key})
        with urllib.request.urlopen(asked, timeout=30) as reply:
            assert b"cost_nano_usd" in reply.read()
