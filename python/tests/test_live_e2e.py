"""The live view: events as an iterator, as calls of a function and over a WebSocket; the dashboard's door; figures."""

import asyncio
import gc
import http.client
import http.cookiejar
import json
import logging
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
from conftest import MockProvider, direct
from test_process_life import INTERRUPTED, forks, run

from iron_runtime import IronError, LlmRouter

Event = Dict[str, Any]
MODEL = "gpt-4o-mini"
SCHEMA = Path(__file__).parents[2] / "data" / "events.schema.json"
CLOSING = ("llm_request_completed", "llm_request_failed")

# Far more than anything here takes: a hang ends, and is seen.
PATIENCE = 30.0


def call(router: LlmRouter, x_mock: str = "", model: str = MODEL, stream: bool = False) -> int:
    """One chat completion, read to its end; its status."""
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello!"}]}).encode()
    fields = {"authorization": "Bearer " + router.api_key, "content-type": "application/json", "x-agent-name": "tester"}
    if x_mock:
        fields["x-mock"] = x_mock
    try:
        with urllib.request.urlopen(urllib.request.Request(router.base_url + "/chat/completions", body, fields), timeout=60) as reply:
            reply.read()
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except http.client.HTTPException:
        return 0


def until(events: Iterator[Event], wanted: Callable[[Event], bool]) -> List[Event]:
    """Events up to the first that is wanted."""
    seen = []
    for event in events:
        seen.append(event)
        if wanted(event):
            return seen
    raise AssertionError(f"it never came: {seen}")


def is_closing(event: Event) -> bool:
    return event["type"] in CLOSING


def types(events: List[Event]) -> List[str]:
    return [event["type"] for event in events]


@pytest.fixture(scope="session")
def valid() -> Callable[[Event], Event]:
    """Holds an event to the schema."""
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMA.exists():
        pytest.skip("there is no schema here")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))

    def check(event: Event) -> Event:
        validator.validate(event)
        return event

    return check


def test_a_call_is_told_as_it_begins_and_as_it_ends(iron_router: LlmRouter, valid: Callable[[Event], Event]) -> None:
    with iron_router.events(timeout=PATIENCE) as events:
        assert call(iron_router) == 200
        started, completed = map(valid, until(events, is_closing))
        assert call(iron_router, stream=True) == 200
        streamed = until(events, is_closing)
    assert (started["type"], completed["type"]) == ("llm_request_started", "llm_request_completed")
    assert started["call"] == completed["call"] and completed["seq"] == started["seq"] + 1
    assert started["provider"] == "openai" and started["agent"] == "tester" and started["path"] == "/v1/chat/completions"
    assert (completed["model"], completed["status"], completed["end"], completed["code"]) == (MODEL, 200, "complete", None)
    assert completed["output_tokens"] > 0 and completed["cost_nano_usd"] == round(iron_router.total_spent() * 1e9) / 2
    assert all(event["stream"] for event in streamed) and streamed[-1]["duration_ms"] >= streamed[-1]["first_byte_ms"] > 0
    # In the order of the form, which is how people read it.
    assert list(completed)[:3] == ["seq", "at", "type"]


@pytest.mark.parametrize(("x_mock", "status", "end"), [("500", 500, "complete"), ("429", 429, "complete"), ("cut=40", 200, "upstream_cut")])
def test_a_call_that_fails(faulty: LlmRouter, x_mock: str, status: int, end: str, valid: Callable[[Event], Event]) -> None:
    with faulty.events(timeout=PATIENCE) as events:
        call(faulty, x_mock)
        failed = valid(until(events, is_closing)[-1])
    assert (failed["type"], failed["status"], failed["end"], failed["refused"]) == ("llm_request_failed", status, end, False)


def test_a_provider_that_is_not_there() -> None:
    with LlmRouter(provider_key="sk-nobody", base_urls={"openai": "http://127.0.0.1:1"}) as router:
        with router.events(timeout=PATIENCE) as events:
            assert call(router) == 502
            failed = until(events, is_closing)[-1]
    assert (failed["type"], failed["status"], failed["end"]) == ("llm_request_failed", 502, "upstream_failed")
    assert failed["code"].startswith("upstream_") and not failed["refused"]


def test_a_call_that_is_refused(valid: Callable[[Event], Event]) -> None:
    with LlmRouter(mock=True, budget=0) as router, router.events(timeout=PATIENCE) as events:
        assert call(router) == 402
        refused = valid(until(events, is_closing)[-1])
    assert (refused["type"], refused["refused"], refused["end"]) == ("llm_request_failed", True, "refused")
    assert (refused["status"], refused["code"], refused["cost_nano_usd"]) == (402, "budget_exceeded", 0)


def test_thresholds(valid: Callable[[Event], Event]) -> None:
    with LlmRouter(mock=True, budget=1, thresholds=[50, 80]) as router, router.events(timeout=PATIENCE) as events:
        call(router)
        until(events, is_closing)
        spent = router.total_spent()
        router.set_budget(spent * 1.2)
        reached = [valid(next(events)), valid(next(events))]
    assert types(reached) == ["budget_threshold_reached"] * 2 and [event["percent"] for event in reached] == [50, 80]
    assert reached[0]["spent_nano_usd"] == round(spent * 1e9) and reached[0]["agent"] is None


def cross(router: LlmRouter, times: int) -> None:
    """Two hundred events each time, quickly."""
    spent = router.total_spent()
    for _ in range(times):
        router.set_budget(spent * 1000)
        router.set_budget(spent / 2)


@pytest.fixture
def busy(caplog: pytest.LogCaptureFixture) -> Iterator[LlmRouter]:
    """A router that can be made to tell much, and keeps it out of the log."""
    caplog.set_level(logging.CRITICAL, "iron_runtime")
    with LlmRouter(mock=True, budget=1, thresholds=list(range(1, 101))) as router:
        call(router)
        yield router


def places(events: List[Event]) -> int:
    """How many there were, gaps included; the number of each is its place."""
    last = 0
    for event in events:
        last += event["missed"] if event["type"] == "gap" else 1
        assert event.get("seq", last) == last
    return last


def test_who_is_slow_is_told_what_was_missed(busy: LlmRouter, valid: Callable[[Event], Event]) -> None:
    with busy.events(since=0) as slow, busy.events(since=0) as slowest:
        cross(busy, 100)
        seen, place = [], 0
        while place < 3 + 100 * 100:
            seen.append(next(slow))
            place += seen[-1].get("missed", 1)
        gaps = [valid(event)["missed"] for event in seen if event["type"] == "gap"]
        assert gaps and min(gaps) > 0
        # In time again: the rest comes whole.
        cross(busy, 1)
        busy.stop()
        rest = list(slow)
        assert types(rest) == ["budget_threshold_reached"] * 100 + ["router_stopped"]
        # Who took nothing until it was over has the same number of places.
        assert places(list(slowest)) == places(seen + rest) == rest[-1]["seq"]


def test_what_was_before(iron_router: LlmRouter) -> None:
    call(iron_router)
    with iron_router.events(since=0, timeout=PATIENCE) as all_of_it:
        seen = until(all_of_it, is_closing)
    assert types(seen) == ["router_started", "llm_request_started", "llm_request_completed"]
    assert [event["seq"] for event in seen] == [1, 2, 3]
    with iron_router.events(since=2, timeout=PATIENCE) as rest, iron_router.events(timeout=0) as new:
        assert until(rest, is_closing) == seen[2:]
        assert list(new) == []


def test_what_the_ring_has_no_more(busy: LlmRouter) -> None:
    cross(busy, 200)
    with busy.events(since=0, timeout=PATIENCE) as events:
        first, second = next(events), next(events)
    assert first["type"] == "gap" and second["seq"] == first["missed"] + 1


def test_several_at_once(iron_router: LlmRouter) -> None:
    with iron_router.events(timeout=PATIENCE) as one, iron_router.events(timeout=PATIENCE) as two:
        call(iron_router)
        assert until(one, is_closing) == until(two, is_closing)
        one.close()
        assert one.is_over and list(one) == [] and not two.is_over
        call(iron_router)
        assert len(until(two, is_closing)) == 2


def test_time_limits(iron_router: LlmRouter) -> None:
    events = iron_router.events(timeout=0.05)
    assert list(events) == [] and not events.is_over
    call(iron_router)
    # Over for now is not over.
    assert len(until(events, is_closing)) == 2
    assert list(events) == []


@pytest.mark.parametrize("wrong", [{"since": -1}, {"since": 1 << 64}, {"since": 1.5}, {"since": True}, {"since": "1"}], ids=repr)
def test_numbers_that_are_none(iron_router: LlmRouter, wrong: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="since: must be a whole number") as refusal:
        iron_router.events(**wrong)
    assert isinstance(refusal.value, IronError)
    with pytest.raises(ValueError, match="since"):
        iron_router.on_event(print, **wrong)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "1", True], ids=repr)
def test_time_limits_that_are_none(iron_router: LlmRouter, wrong: Any) -> None:
    with pytest.raises(ValueError, match="timeout: must be a number of seconds"):
        iron_router.events(timeout=wrong)


def test_after_the_end(iron_router: LlmRouter) -> None:
    events = iron_router.events(since=0)
    iron_router.stop()
    assert types(list(events)) == ["router_started", "router_stopped"]
    assert events.is_over and list(events) == []
    assert list(iron_router.events()) == []
    for address in ("dashboard_url", "metrics_url"):
        with pytest.raises(RuntimeError, match="Router is stopped"):
            getattr(iron_router, address)


def test_it_ends_in_a_thread_when_the_router_stops(iron_router: LlmRouter) -> None:
    events = iron_router.events(since=0)
    seen: List[Event] = []
    threads = [threading.Thread(target=lambda: seen.extend(events), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    call(iron_router)
    iron_router.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    # Shared: each event went to one of them.
    assert sorted(event["seq"] for event in seen) == [1, 2, 3, 4]


def test_closed_under_a_thread_that_waits(iron_router: LlmRouter) -> None:
    events, seen = iron_router.events(since=0), threading.Event()

    def take() -> None:
        for _ in events:
            seen.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    assert seen.wait(PATIENCE)
    events.close()
    events.close()
    thread.join(PATIENCE)
    assert not thread.is_alive() and events.is_over


def test_others_run_while_one_waits(iron_router: LlmRouter) -> None:
    """With the GIL held by the one that waits, this would never come to its end."""
    events, got = iron_router.events(), []
    thread = threading.Thread(target=lambda: got.append(next(events)), daemon=True)
    thread.start()
    assert sum(range(1_000_000)) > 0 and thread.is_alive()
    call(iron_router)
    thread.join(PATIENCE)
    assert types(got) == ["llm_request_started"]


def test_collected_it_is_closed(iron_router: LlmRouter) -> None:
    for _ in range(3000):
        iron_router.events(since=0)
    gc.collect()
    # There would be no place left, had the others kept theirs.
    assert next(iron_router.events(since=0, timeout=PATIENCE))["type"] == "router_started"


def test_a_function_is_called(iron_router: LlmRouter) -> None:
    seen: List[Event] = []
    called_in = set()

    def keep(event: Event) -> None:
        seen.append(event)
        called_in.add(threading.current_thread())

    iron_router.on_event(keep, since=0)
    call(iron_router)
    # All of it has been told when stop() returns.
    iron_router.stop()
    assert types(seen) == ["router_started", "llm_request_started", "llm_request_completed", "router_stopped"]
    assert len(called_in) == 1 and threading.current_thread() not in called_in


def test_a_function_that_is_called_no_more(iron_router: LlmRouter) -> None:
    seen: List[Event] = []
    told = threading.Event()

    def keep(event: Event) -> None:
        seen.append(event)
        told.set()

    with iron_router.on_event(keep, since=0) as listener:
        assert told.wait(PATIENCE)
    count = len(seen)
    listener.close()
    call(iron_router)
    iron_router.stop()
    assert len(seen) == count == 1


def test_a_function_that_closes_itself_or_stops_the_router(iron_router: LlmRouter) -> None:
    seen: List[Event] = []
    other: List[Event] = []
    listeners: List[Any] = []

    def once(event: Event) -> None:
        seen.append(event)
        listeners[0].close()

    def stop(event: Event) -> None:
        other.append(event)
        iron_router.stop()

    listeners.append(iron_router.on_event(once))
    listeners.append(iron_router.on_event(stop))
    call(iron_router)
    listeners[1]._join(PATIENCE)
    assert types(seen) == ["llm_request_started"] and types(other)[-1] == "router_stopped" and not iron_router.is_running


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_function_that_raises(iron_router: LlmRouter, error: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen: List[Event] = []

    def fail(event: Event) -> None:
        raise error("mine")

    iron_router.on_event(fail, since=0)
    iron_router.on_event(seen.append, since=0)
    call(iron_router)
    with caplog.at_level(logging.ERROR, "iron_runtime"):
        iron_router.stop()
    assert types(seen)[0] == "router_started" and types(seen)[-1] == "router_stopped"
    records = [record for record in caplog.records if "callback of on_event failed on router_stopped" in record.getMessage()]
    assert len(records) == 1 and records[0].exc_info is not None and records[0].exc_info[0] is error


def test_what_can_t_be_called(iron_router: LlmRouter) -> None:
    with pytest.raises(TypeError, match="callback"):
        iron_router.on_event("print")  # type: ignore[arg-type]


def test_in_asyncio(iron_router: LlmRouter) -> None:
    async def main() -> List[Event]:
        loop = asyncio.get_running_loop()
        seen: List[Event] = []
        with iron_router.events(timeout=PATIENCE) as events:
            calling = loop.run_in_executor(None, call, iron_router)
            while not seen or not is_closing(seen[-1]):
                event: Optional[Event] = await loop.run_in_executor(None, next, events, None)
                assert event is not None
                seen.append(event)
            await calling
        return seen

    assert types(asyncio.run(main())) == ["llm_request_started", "llm_request_completed"]


@forks
def test_not_in_a_forked_child() -> None:
    run(
        """
        import logging
        router = LlmRouter(mock=True)
        events, listener = router.events(since=0), router.on_event(lambda event: None)
        waiting = threading.Thread(target=lambda: list(events), daemon=True)
        waiting.start()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                uses = [lambda: next(events), lambda: events.is_over, lambda: events.__enter__(), router.events,
                        lambda: router.on_event(print), lambda: router.dashboard_url, lambda: router.metrics_url]
                for number, use in enumerate(uses):
                    try:
                        use()
                        os.write(2, b"%d" % number)
                    except RuntimeError as error:
                        assert "not running here" in str(error), error
                events.close()
                listener.close()
                del events, uses, use, waiting
                gc.collect()
                with LlmRouter(mock=True) as mine:
                    seen = []
                    mine.on_event(seen.append, since=0)
                    call(mine)
                    assert next(mine.events(since=0))["type"] == "router_started"
                assert len(seen) == 4, seen
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        call(router)
        router.stop()
        waiting.join(30)
        assert not waiting.is_alive() and events.is_over
        """
    )


@forks
def test_forks_while_events_are_taken() -> None:
    run(
        """
        router = LlmRouter(mock=True)
        call(router)
        done, seen = threading.Event(), []
        def busy():
            while not done.is_set(): call(router)
        router.on_event(seen.append)
        threads = [threading.Thread(target=busy) for _ in range(2)]
        threads += [threading.Thread(target=lambda: list(router.events())) for _ in range(2)]
        for thread in threads: thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    with LlmRouter(mock=True) as mine:
                        mine.on_event(lambda event: None)
                        call(mine)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        done.set()
        for thread in threads[:2]: thread.join()
        router.stop()
        for thread in threads: thread.join()
        assert seen[-1]["type"] == "router_stopped"
        """
    )


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "router.stop()", "del router, events", "os._exit(0)"])
def test_the_end_of_the_interpreter(end: str) -> None:
    run(
        f"""
        def take(events):
            while not events.is_over: list(events)
        router = LlmRouter(mock=True)
        events = router.events(since=0)
        for timeout in [None, 0.01] * 4:
            threading.Thread(target=take, args=(router.events(timeout=timeout),), daemon=True).start()
        router.on_event(lambda event: call(router) if event["seq"] < 20 else None)
        assert next(events)["type"] == "router_started"
        call(router)
        {end}
        """
    )


def test_functions_hear_of_the_end_of_the_interpreter() -> None:
    out = run(
        """
        router = LlmRouter(mock=True)
        router.on_event(lambda event: print(event["type"], flush=True), since=0)
        call(router)
        """
    )
    assert out.split() == ["router_started", "llm_request_started", "llm_request_completed", "router_stopped"]


def test_where_threads_are_not_threads() -> None:
    run(
        """
        import _thread
        def patched(work, arguments, *more):
            raise SystemExit("would hang here")
        _thread.start_new_thread = threading._start_new_thread = patched
        if hasattr(threading, "_start_joinable_thread"):
            threading._start_joinable_thread = patched
        router = LlmRouter(mock=True)
        heard = os.pipe()
        router.on_event(lambda event: os.write(heard[1], b"."))
        router.stop()
        assert os.read(heard[0], 1) == b"."
        """
    )


def test_keyboard_interrupt_while_waiting() -> None:
    run(
        INTERRUPTED
        + """
with LlmRouter(mock=True) as router:
    events = router.events()
    try:
        threading.Timer(0.2, interrupt).start()
        next(events)
        raise SystemExit("not interrupted")
    except KeyboardInterrupt:
        pass
    call(router)
    assert next(events)["type"] == "llm_request_started"
"""
    )


def lines(socket: Any) -> Iterator[Event]:
    """What a WebSocket tells: frames of JSON lines."""
    for frame in socket:
        assert isinstance(frame, str)
        yield from map(json.loads, frame.split("\n"))


def test_over_a_websocket(iron_router: LlmRouter, valid: Callable[[Event], Event]) -> None:
    client = pytest.importorskip("websockets.sync.client")
    address = f"ws://127.0.0.1:{iron_router.port}/events"
    fields = {"Authorization": "Bearer " + iron_router.api_key}
    call(iron_router)
    with client.connect(address + "?since=0", additional_headers=fields, open_timeout=PATIENCE) as socket:
        told = lines(socket)
        hello = valid(next(told))
        assert (hello["type"], hello["version"], hello["seq"], hello["ledger"]) == ("hello", 1, 3, False)
        seen = [valid(event) for event in until(told, is_closing)]
        call(iron_router)
        seen += [valid(event) for event in until(told, is_closing)]
        with iron_router.events(since=0, timeout=PATIENCE) as events:
            assert seen == [next(events) for _ in seen]
        iron_router.stop()
        assert types([valid(event) for event in told]) == ["router_stopped"]


def test_a_websocket_without_the_token(iron_router: LlmRouter) -> None:
    client = pytest.importorskip("websockets.sync.client")
    invalid = pytest.importorskip("websockets.exceptions").InvalidStatus
    address = f"ws://127.0.0.1:{iron_router.port}/events"
    for fields, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401)):
        with pytest.raises(invalid) as raised:
            client.connect(address, additional_headers=fields, open_timeout=PATIENCE)
        assert raised.value.response.status_code == status
    with pytest.raises(invalid) as raised:
        client.connect(address, origin="http://example.com", additional_headers={"Authorization": "Bearer " + iron_router.api_key})
    assert raised.value.response.status_code == 403


def page(address: str, token: str = "") -> Tuple[int, str, str]:
    """Status, type and text of a page."""
    request = urllib.request.Request(address, headers={"authorization": "Bearer " + token} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.headers["content-type"], reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read().decode()


def test_figures(iron_router: LlmRouter) -> None:
    call(iron_router)
    assert iron_router.metrics_url == f"http://127.0.0.1:{iron_router.port}/metrics"
    status, kind, text = page(iron_router.metrics_url, iron_router.api_key)
    assert status == 200 and kind.startswith("text/plain; version=0.0.4")
    assert f'model="{MODEL}"' in text and 'provider="openai"' in text and iron_router.api_key not in text
    for token in ("", "wrong"):
        assert page(iron_router.metrics_url, token)[0] == 401


class Browser:
    """As much of a browser as the dashboard's door needs: cookies, and a look at each step."""

    def __init__(self) -> None:
        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(Stay, urllib.request.HTTPCookieProcessor(self.cookies))

    def go(self, address: str, form: Optional[Dict[str, str]] = None) -> Tuple[int, Any, str]:
        """Status, fields and text."""
        body = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self.opener.open(address, body, timeout=60) as reply:
                return reply.status, reply.headers, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()


def test_the_dashboard_opens_once_for_each_address(iron_router: LlmRouter) -> None:
    address, plain = iron_router.dashboard_url, iron_router.anthropic_base_url + "/dashboard"
    assert address.startswith(plain + "?token=") and iron_router.api_key not in address and address != iron_router.dashboard_url
    browser = Browser()
    status, fields, _ = browser.go(address)
    assert status == 303 and fields["location"] == "/dashboard" and fields["referrer-policy"] == "same-origin"
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {word.strip() for word in fields["set-cookie"].split(";")}
    status, fields, text = browser.go(plain)
    assert status == 200 and fields["content-type"].startswith("text/html") and "<html" in text
    assert fields["cache-control"] == "no-store" and iron_router.api_key not in text and 'name="token"' not in text
    assert browser.go(iron_router.metrics_url)[0] == 200
    # Used up: whoever finds the address later meets the form, and the browser that was let in goes on.
    status, fields, text = Browser().go(address)
    assert status in (401, 403) and "set-cookie" not in fields and 'name="token"' in text
    assert browser.go(address)[0] == 303 and browser.go(plain)[0] == 200


def test_the_dashboard_s_form(iron_router: LlmRouter) -> None:
    plain, browser = iron_router.anthropic_base_url + "/dashboard", Browser()
    status, _, text = browser.go(plain)
    assert status in (401, 403) and 'name="token"' in text
    status, fields, _ = browser.go(plain, {"token": "wrong"})
    assert status in (401, 403) and "set-cookie" not in fields
    status, fields, _ = browser.go(plain, {"token": iron_router.api_key})
    assert status == 303 and fields["location"] == "/dashboard" and iron_router.api_key not in str(fields)
    assert browser.go(plain)[0] == 200
    # The cookie is for these pages, not for calls.
    assert browser.go(iron_router.base_url + "/models")[0] == 401


def test_no_token_of_anybody_in_events(mock: MockProvider) -> None:
    with direct(mock, client_token="the-client-token") as router, router.events(since=0) as events:
        router.dashboard_url  # noqa: B018
        call(router)
        call(router, "500")
        router.stop()
        told = json.dumps(list(events))
    assert "llm_request_failed" in told and "the-client-token" not in told and "sk-real" not in told and "token=" not in told


def test_threads_of_the_router_are_not_the_program_s(iron_router: LlmRouter) -> None:
    before = threading.active_count()
    for _ in range(10):
        iron_router.on_event(lambda event: None).close()
    iron_router.on_event(lambda event: None)
    iron_router.stop()
    assert threading.active_count() == before
