"""The built command in front of its own mock provider, for the tests of this folder.

`IRON` names the binary; `tests/run` sets it.
"""

import json
import os
import subprocess
import urllib.request
from typing import Iterator, List, NamedTuple

import pytest

IRON = os.environ.get("IRON", "target/debug/iron-runtime")
TOKEN = "client-token"


class Endpoint(NamedTuple):
    """A running router: where it is, what it wants, and the mock behind it."""

    url: str
    token: str
    mock: str

    def stats(self) -> dict:
        """The mock's own count of what reached it."""
        with urllib.request.urlopen(self.mock + "/__stats", timeout=10) as reply:
            return json.load(reply)


def start(*args: str) -> "tuple[subprocess.Popen[str], str]":
    """Starts the command and waits for its one line."""
    process = subprocess.Popen([IRON, *args], stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on "), line
    return process, line.split()[-1]


def environment() -> "dict[str, str]":
    """Ours, without keys that would change what the command does."""
    drop = ("OPENAI_", "ANTHROPIC_", "IC_", "IRON_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return {**kept, "IRON_LOG": "warn"}


@pytest.fixture(scope="session")
def router() -> Iterator[Endpoint]:
    """`serve` in direct mode with both providers on the mock."""
    running: List[subprocess.Popen] = []
    try:
        process, mock = start("mock", "--port", "0")
        running.append(process)
        keys = ["--openai-key", "sk-real-openai", "--anthropic-key", "sk-ant-real-anthropic"]
        urls = ["--openai-base-url", mock + "/v1", "--anthropic-base-url", mock]
        process, url = start("serve", "--port", "0", "--client-token", TOKEN, *keys, *urls)
        running.append(process)
        yield Endpoint(url, TOKEN, mock)
    finally:
        for process in reversed(running):
            process.terminate()
            assert process.wait(20) == 0
