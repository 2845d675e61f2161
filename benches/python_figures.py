"""The Python figures of README, measured on this machine.

Usage:
    python benches/python_figures.py [WHEEL]      # needs the package and openai; prints one figure a line
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Callable, Dict, List

from iron_runtime import LlmRouter

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}

IMPORT = "import time; start = time.perf_counter(); import iron_runtime; print((time.perf_counter() - start) * 1e3)"

FIRST = """
import json, time, urllib.request
from iron_runtime import LlmRouter
body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}).encode()
import http.client, logging
start = time.perf_counter()
router = LlmRouter(mock=True)
made = time.perf_counter()
connection = http.client.HTTPConnection("127.0.0.1", router.port)
fields = {"authorization": "Bearer " + router.api_key, "content-type": "application/json"}
connection.request("POST", "/v1/chat/completions", body, fields)
assert connection.getresponse().read()
print((made - start) * 1e3, (time.perf_counter() - start) * 1e3)
"""


def median_of_runs(program: str, runs: int = 21) -> List[float]:
    """The medians of what a program prints, over runs of their own."""
    command = [sys.executable, "-c", program]
    lines = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(runs)]
    return [statistics.median(float(line[column]) for line in lines) for column in range(len(lines[0]))]


def ms_of(call: Callable[[], object], count: int = 20) -> List[float]:
    """How long calls take, in milliseconds."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def overhead() -> None:
    """The SDK through a router against the SDK straight to the mock."""
    from openai import OpenAI

    command = [sys.executable, "-m", "iron_runtime", "mock", "--port", "0"]
    mock = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert mock.stdout is not None
        url = mock.stdout.readline().split()[-1]
        with LlmRouter(provider_key="sk-x", base_urls={"openai": url}) as router:
            straight = OpenAI(base_url=url + "/v1", api_key="sk-x")
            routed = OpenAI(base_url=router.base_url, api_key=router.api_key)
            calls = {"straight": lambda: straight.chat.completions.create(**BODY), "routed": lambda: routed.chat.completions.create(**BODY)}
            p50 = in_turns(calls)
            print(f"openai call, straight to the mock: {p50['straight']:.3f} ms p50")
            print(f"openai call, through the router:   {p50['routed']:.3f} ms p50")
            print(f"overhead of the router:            {p50['routed'] - p50['straight']:.3f} ms p50")
            raw(url, router)
    finally:
        mock.terminate()
        mock.communicate()


def in_turns(calls: Dict[str, Callable[[], object]]) -> Dict[str, float]:
    """The medians of several calls, measured in turns, so that all of them see the same machine."""
    times: Dict[str, List[float]] = {name: [] for name in calls}
    for turn in range(110):
        for name, call in calls.items():
            measured = ms_of(call)
            if turn >= 10:
                times[name] += measured
    return {name: statistics.median(values) for name, values in times.items()}


def raw(url: str, router: LlmRouter) -> None:
    """The same with nothing but a kept-alive connection: what the router itself costs."""
    import http.client

    body = json.dumps(BODY).encode()
    connections = {
        "straight": (http.client.HTTPConnection(url.split("//")[1]), "sk-x"),
        "routed": (http.client.HTTPConnection("127.0.0.1", router.port), router.api_key),
    }

    def call(name: str) -> None:
        connection, key = connections[name]
        fields = {"authorization": "Bearer " + key, "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, fields)
        assert connection.getresponse().read()

    p50 = in_turns({name: lambda name=name: call(name) for name in connections})  # type: ignore[misc]
    print(f"the same over http.client:         {p50['routed'] - p50['straight']:.3f} ms p50")


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 1:
        print(f"wheel: {os.path.getsize(sys.argv[1]) / 1e6:.2f} MB")
    print(f"import iron_runtime: {median_of_runs(IMPORT)[0]:.1f} ms")
    made, answered = median_of_runs(FIRST)
    print(f"LlmRouter(mock=True): {made:.1f} ms; to the first answered request: {answered:.1f} ms")
    overhead()


if __name__ == "__main__":
    main()
